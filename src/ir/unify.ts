/**
 * The clean-up of the driver: equal nodes of a region are one. Draws are told apart by their keys, which hold the place they were written at, so that equal draws are the same
 * draw. Loops give up parameters that nobody reads, or that are another's twin.
 */
import { makeArg, makeLoop } from "./build.ts";
import type { Body, Graph, Loop, Node } from "./graph.ts";
import { order } from "./graph.ts";
import { mapRegions, rebuildHalves, remadeOn, Scope } from "./rewrite.ts";

export function unify(graph: Graph): Graph {
  return mapRegions(graph, (roots, known) => (rewriteLoop) => {
    const scope = new Scope();
    return rebuildHalves(
      roots,
      (n, inputs) => (n.loop ? withFewerParameters(rewriteLoop(n, inputs)) : scope.intern(remadeOn(n, inputs))),
      known,
    );
  });
}

/** The loop without unread and doubled parameters, and without doubled or unread operands; itself if there are none. */
function withFewerParameters(n: Node): Node {
  const loop = n.loop!;
  const { carried } = loop;
  // Operands: one place each.
  const placeOf = new Map<Node, number>();
  const given = n.inputs.slice(carried);
  const place = given.map((x, i) => {
    if (!placeOf.has(x)) placeOf.set(x, i);
    return placeOf.get(x)!;
  });
  const bodies: Body[] = [];
  const keptArgs: number[][] = [];
  let changed = false;
  loop.bodies.forEach((body, index) => {
    const iterations = loop.iterations.filter((t) => t.body === index);
    const read = new Set(order(body.results));
    const byValue = new Map<string, number>();
    const kept: number[] = [];
    const twin = new Map<Node, Node>();
    for (let p = carried; p < body.params.length; p++) {
      if (!read.has(body.params[p])) continue;
      const key = iterations.map((t) => place[t.args[p - carried]]).join();
      const first = byValue.get(key);
      if (first === undefined) {
        byValue.set(key, p);
        kept.push(p - carried);
      } else twin.set(body.params[p], body.params[first]);
    }
    keptArgs.push(kept);
    if (kept.length === body.params.length - carried) {
      bodies.push(body);
      return;
    }
    changed = true;
    const known = new Map<Node, Node>();
    const params = [
      ...body.params.slice(0, carried),
      ...kept.map((k, i) => makeArg(carried + i, body.params[carried + k].type, body.params[carried + k].origin)),
    ];
    for (const p of body.params.slice(0, carried)) known.set(p, p);
    for (const [i, k] of kept.entries()) known.set(body.params[carried + k], params[carried + i]);
    for (const [p, q] of twin) known.set(p, known.get(q)!);
    const scope = new Scope();
    bodies.push({
      params,
      results: rebuildHalves(body.results, (x, inputs) => (x.loop ? remadeOn(x, inputs) : scope.intern(remadeOn(x, inputs))), known),
    });
  });
  const iterations = loop.iterations.map((t) => ({ body: t.body, args: keptArgs[t.body].map((k) => place[t.args[k]]) }));
  const used = new Set(iterations.flatMap((t) => t.args));
  if (!changed && used.size === given.length) return n;
  const live = [...used].sort((a, b) => a - b);
  const next: Loop = { carried, bodies, iterations: iterations.map((t) => ({ body: t.body, args: t.args.map((k) => live.indexOf(k)) })) };
  return makeLoop([...n.inputs.slice(0, carried), ...live.map((k) => given[k])], next, n.origin, n.attrs);
}
