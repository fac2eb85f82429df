/** Takes out of loops what nobody reads. */

import { type Body, type Graph, type Loop, type Node, node, order } from "../graph.ts";
import { makeArg } from "../make.ts";
import { attrsOf } from "../ops/index.ts";
import { isGet, rebuild, withInputs, withRoots } from "../rebuild.ts";

/**
 * Exports that no iteration's reader asks for, and carried values that neither a reader nor a live result needs, are gone, in all loops; then
 * what only they used.
 */
export function trim(graph: Graph): Graph {
  const roots = trimNodes(
    graph.results.map((r) => r.node),
    new Map(),
  );
  return withRoots(graph, roots);
}

interface Reads {
  readonly carried: Set<number>;
  /** By body. */
  readonly exports: Map<number, Set<number>>;
}
/** Where the live ones of a loop went: carried values, and each body's exports. */
interface Places {
  readonly slots: readonly number[];
  readonly exports: readonly (readonly number[])[];
}

function trimNodes(roots: readonly Node[], known: Map<Node, Node>): Node[] {
  const reads = new Map<Node, Reads>();
  for (const n of order(roots)) {
    if (!isGet(n)) continue;
    const [loop] = n.inputs;
    if (!reads.has(loop)) reads.set(loop, { carried: new Set(), exports: new Map() });
    const { carried, exports } = reads.get(loop)!;
    const { index } = attrsOf(n, "get");
    if (n.attrs.output === "carried") carried.add(index);
    else {
      const { body } = loop.loop!.iterations[attrsOf(n, "get").iteration!];
      if (!exports.has(body)) exports.set(body, new Set());
      exports.get(body)!.add(index);
    }
  }
  const places = new Map<Node, Places>();
  return rebuild(roots, known, (n, inputs) => {
    if (n.loop) {
      const live = placesOf(n.loop, reads.get(n)!);
      places.set(n, live);
      return trimLoop(n, n.loop, inputs, live);
    }
    if (!isGet(n)) return withInputs(n, inputs);
    const { slots, exports } = places.get(n.inputs[0])!;
    const from = n.attrs.output === "carried" ? slots : exports[n.inputs[0].loop!.iterations[attrsOf(n, "get").iteration!].body];
    const index = from.indexOf(attrsOf(n, "get").index);
    if (index === n.attrs.index) return withInputs(n, inputs);
    return node(n.op, inputs, { ...n.attrs, index }, n.type, n.origin);
  });
}

function placesOf({ carried, bodies }: Loop, reads: Reads): Places {
  const slots = new Set(reads.carried);
  for (let before = -1; before !== slots.size; ) {
    before = slots.size;
    bodies.forEach((body, b) => {
      const live = body.results.filter((_, i) => (i < carried ? slots.has(i) : reads.exports.get(b)?.has(i - carried)));
      const reached = new Set(order(live));
      for (let k = 0; k < carried; k++) if (reached.has(body.params[k])) slots.add(k);
    });
  }
  const ascending = (s: Iterable<number>) => [...s].sort((p, q) => p - q);
  return { slots: ascending(slots), exports: bodies.map((_, b) => ascending(reads.exports.get(b) ?? [])) };
}

function trimLoop(n: Node, loop: Loop, inputs: readonly Node[], { slots, exports }: Places): Node {
  const { carried } = loop;
  const given = inputs.slice(carried);
  const args: number[][] = [];
  const bodies = loop.bodies.map((body, b): Body => {
    const kept = [...slots.map((k) => body.results[k]), ...exports[b].map((i) => body.results[carried + i])];
    const reached = new Set(order(kept));
    const used = body.params.flatMap((p, i) => (i >= carried && reached.has(p) ? [i - carried] : []));
    args.push(used);
    const from = [...slots, ...used.map((j) => carried + j)];
    const params = from.map((old, i) => (old === i ? body.params[i] : makeArg(i, body.params[old].type, body.params[old].origin)));
    const results = trimNodes(kept, new Map(from.map((old, i) => [body.params[old], params[i]])));
    const same = params.length === body.params.length && results.length === body.results.length;
    return same && params.every((p, i) => p === body.params[i]) && results.every((r, i) => r === body.results[i])
      ? body
      : { params, results };
  });
  const live = [...new Set(loop.iterations.flatMap((t) => args[t.body].map((j) => t.args[j])))].sort((p, q) => p - q);
  const place = new Map(live.map((k, i) => [k, i]));
  if (slots.length === carried && live.length === given.length && bodies.every((body, b) => body === loop.bodies[b]))
    return withInputs(n, inputs);
  const iterations = loop.iterations.map((t) => ({ body: t.body, args: args[t.body].map((j) => place.get(t.args[j])!) }));
  const all = [...slots.map((k) => inputs[k]), ...live.map((k) => given[k])];
  return node(n.op, all, n.attrs, n.type, n.origin, { carried: slots.length, bodies, iterations });
}
