/**
 * Only what is read is computed. Slices, and gathers of rows, move from where they stand towards the sources: through elementwise
 * functions, movement, reductions over other axes and the free axes of contractions, as far as all that read a node agree. So a head runs
 * only on the positions that the loss looks at.
 */

import { Builder } from "../build.ts";
import { type Graph, type Node, type Origin, sizes } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { withRoots } from "../rebuild.ts";
import { halvesInOrder, remadeOn, Scope, ScopedBuilder, withBodies, withResults } from "../rewrite.ts";
import { covering, type Demand, taken } from "./canonical/demand.ts";
import { Lifter, liftable } from "./canonical/lift.ts";
import { type Push, push, rowsOf } from "./canonical/push.ts";
import type { Pass } from "./pass.ts";

export const canonical: Pass = {
  name: "canonical",
  before: "any graph; simplified, if much is to move",
  after: "no slice, and no gather of rows, stands behind a node that could be computed for less",
  law: "results are equal",
  optional: true,
  run: (graph: Graph, { options }) =>
    withRoots(
      graph,
      region(
        graph.results.map((r) => r.node),
        options.reverse !== undefined,
      ),
    ),
};

/** `backwards`: loops of which several values are read at the end give them whole, since what came before is found again from all of them. */
function region(given: readonly Node[], backwards = false): Node[] {
  const roots = lifted(given);
  const ordered = halvesInOrder(roots);
  const pushes = pushesOf(ordered, new Set([...roots, ...(backwards ? endsOf(ordered) : [])]));
  if (pushes.size === 0 && !ordered.some((n) => n.loop)) return [...roots];
  const builderAt = builders(ordered);
  const done = new Map<Node, Node>();
  const demandOf = (n: Node): Demand => pushes.get(n)?.demand;
  const read = (b: Builder, n: Node, wants: Demand): Node =>
    taken(b, done.get(n)!, demandOf(n), wants, n.loop ? [] : sizes(n), (index) => done.get(index)!);
  const build = (n: Node): Node => {
    const b = builderAt(n.origin);
    const pushed = pushes.get(n);
    if (pushed)
      return pushed.build(
        b,
        n.inputs.map((x, i) => read(b, x, pushed.operands[i])),
      );
    const inputs = n.inputs.map((x) => read(b, x, undefined));
    if (!n.loop) return remadeOn(n, inputs);
    const bodies = n.loop.bodies.map((body) => withResults(body, region(body.results)));
    return withBodies(n, inputs, bodies);
  };
  for (const n of withIndices(ordered, pushes)) done.set(n, build(n));
  return roots.map((r) => done.get(r)!);
}

/** What is read outside of the iterations that give it, of loops with more than one such value in their last iteration. */
function endsOf(ordered: readonly Node[]): Node[] {
  const ends = new Map<string, Set<Node>>();
  for (const u of ordered)
    for (const n of u.inputs) {
      const { iteration } = n.origin;
      if (iteration === undefined || u.backward || u.origin.iteration?.loop === iteration.loop || iteration.iteration !== iteration.of - 1)
        continue;
      ends.set(iteration.loop, (ends.get(iteration.loop) ?? new Set()).add(n));
    }
  return [...ends.values()].flatMap((nodes) => (nodes.size > 1 ? [...nodes] : []));
}

/** First what is not worth slicing. */
function lifted(roots: readonly Node[]): readonly Node[] {
  const ordered = halvesInOrder(roots);
  const asked = ordered.filter((n) => rowOf(n).role === "placeholder").flatMap((n) => n.inputs);
  const cuts = liftable(ordered, new Set([...roots, ...asked]));
  if (cuts.size === 0) return roots;
  const done = new Map<Node, Node>();
  const lifter = new Lifter(cuts, (n) => done.get(n)!, builders(ordered));
  for (const n of ordered)
    done.set(
      n,
      lifter.build(n) ??
        remadeOn(
          n,
          n.inputs.map((x) => done.get(x)!),
        ),
    );
  return roots.map((r) => done.get(r)!);
}

/**
 * Equal slices are one. Not before differentiation: a gradient may be asked for by any node, and then counts what reads that node, not
 * what reads another of equal value.
 */
function builders(ordered: readonly Node[]): (origin: Origin) => Builder {
  if (ordered.some((n) => rowOf(n).role === "placeholder")) return (origin) => new Builder(origin);
  const scope = new Scope();
  return (origin) => new ScopedBuilder(scope, origin);
}

/** Which nodes are computed in part, users first. */
function pushesOf(ordered: readonly Node[], roots: ReadonlySet<Node>): Map<Node, Push> {
  const asked = new Map<Node, Demand[]>();
  const ask = (n: Node, d: Demand) => {
    const list = asked.get(n);
    if (list) list.push(d);
    else asked.set(n, [d]);
  };
  const out = new Map<Node, Push>();
  for (let i = ordered.length - 1; i >= 0; i--) {
    const n = ordered[i];
    const demand = roots.has(n) || n.loop ? undefined : covering(asked.get(n) ?? [], sizes(n));
    const rows = demand === undefined ? rowsOf(n) : undefined;
    const pushed = rows && worthChasing(n.inputs[0]) ? gatherPush(rows, n) : push(n, demand);
    if (pushed) out.set(n, pushed);
    n.inputs.forEach((x, k) => {
      ask(x, pushed?.operands[k]);
    });
  }
  return out;
}

/** A gather that gives its work to its operand: it is what comes back. */
const gatherPush = (rows: Demand, n: Node): Push => ({
  demand: undefined,
  operands: [rows, undefined],
  build: (b, [x]) => b.reshape(x, sizes(n)),
});

/** Whether a gather's operand is computed at all. */
const worthChasing = (n: Node): boolean => n.inputs.length > 0 && !n.loop;

/** The nodes in an order in which indices that choose rows come before what they choose. */
function withIndices(ordered: readonly Node[], pushes: ReadonlyMap<Node, Push>): Node[] {
  const needs = (n: Node): readonly Node[] => {
    const pushed = pushes.get(n);
    const indices = (pushed?.operands ?? []).flatMap((d) => (d?.kind === "rows" ? [d.index] : []));
    return indices.length ? [...n.inputs, ...indices] : n.inputs;
  };
  const out: Node[] = [];
  const seen = new Set<Node>();
  for (const root of [...ordered.filter((n) => !n.backward), ...ordered.filter((n) => n.backward)]) {
    if (seen.has(root)) continue;
    const stack: [Node, readonly Node[], number][] = [[root, needs(root), 0]];
    seen.add(root);
    while (stack.length) {
      const top = stack[stack.length - 1];
      const next = top[1][top[2]++];
      if (next === undefined) {
        out.push(top[0]);
        stack.pop();
      } else if (!seen.has(next)) {
        seen.add(next);
        stack.push([next, needs(next), 0]);
      }
    }
  }
  return out;
}
