/** Which node belongs to which iteration of a static loop that was written out flat. */
import type { Node } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { constantNodes } from "../rebuild.ts";

export interface Membership {
  /** The iteration of each node that belongs to the loop, counted over the iterations that have nodes. */
  readonly iterationOf: Map<Node, number>;
  /** The number that each iteration has in the tags, ascending. */
  readonly numbers: readonly number[];
  /** Nodes that are made anew wherever they are used. They belong to no iteration. */
  readonly constants: ReadonlySet<Node>;
  /** Nodes that a derivative is taken by: they are never copied. */
  readonly taken: ReadonlySet<Node>;
}

/**
 * Assigns nodes to iterations by their tags (`tagged`), then
 * - takes out of an iteration what depends on no other iteration and is used by iterations far away (a bias that the first layer computes for all);
 * - takes in what has no tag, but lies between iterations.
 * `undefined` if there are fewer than two iterations, if a derivative is taken inside, or if a value jumps over an iteration: such a loop stays flat.
 */
export function assignIterations(nodes: readonly Node[], tagged: (n: Node) => number | undefined): Membership | undefined {
  const taken = new Set<Node>();
  for (const n of nodes) if (rowOf(n).role === "placeholder" && n.inputs.length > 1) taken.add(n.inputs[1]);
  const constants = constantNodes(nodes, (n) => taken.has(n));
  const tags = new Map<Node, number>();
  for (const n of nodes) {
    const iteration = tagged(n);
    if (iteration === undefined || constants.has(n) || rowOf(n).supply) continue;
    if (rowOf(n).role === "placeholder") return undefined;
    tags.set(n, iteration);
  }
  const numbers = [...new Set(tags.values())].sort((a, b) => a - b);
  if (numbers.length < 2) return undefined;
  const position = new Map(numbers.map((number, i) => [number, i]));
  const iterationOf = new Map([...tags].map(([n, number]) => [n, position.get(number)!]));
  hoist(nodes, iterationOf);
  if (!absorb(nodes, iterationOf)) return undefined;
  for (const [n, iteration] of iterationOf) {
    for (const i of n.inputs) {
      const from = iterationOf.get(i);
      if (from !== undefined && from !== iteration && from !== iteration - 1) return undefined;
    }
  }
  const left = [...new Set(iterationOf.values())].sort((a, b) => a - b);
  if (left.length !== numbers.length) {
    // Hoisting emptied an iteration: count anew, if the others still hang together.
    if (left.length < 2) return undefined;
    const renumbered = new Map(left.map((t, i) => [t, i]));
    for (const [n, iteration] of iterationOf) iterationOf.set(n, renumbered.get(iteration)!);
  }
  return { iterationOf, numbers: left.map((t) => numbers[t]), constants, taken };
}

function hoist(nodes: readonly Node[], iterationOf: Map<Node, number>): void {
  const free = new Set<Node>();
  for (const n of nodes)
    if (iterationOf.has(n) && n.inputs.every((i) => !iterationOf.has(i) || (free.has(i) && iterationOf.get(i) === iterationOf.get(n))))
      free.add(n);
  const out: Node[] = [];
  for (const n of nodes) {
    const iteration = iterationOf.get(n);
    if (iteration === undefined) continue;
    for (const i of n.inputs) {
      const from = iterationOf.get(i);
      if (from !== undefined && from !== iteration && from !== iteration - 1 && free.has(i)) out.push(i);
    }
  }
  while (out.length) {
    const n = out.pop()!;
    if (!iterationOf.delete(n)) continue;
    out.push(...n.inputs.filter((i) => iterationOf.has(i)));
  }
}

function absorb(nodes: readonly Node[], iterationOf: Map<Node, number>): boolean {
  const leads = new Set<Node>();
  for (let i = nodes.length - 1; i >= 0; i--) {
    const n = nodes[i];
    if (iterationOf.has(n) || leads.has(n)) for (const x of n.inputs) leads.add(x);
  }
  for (const n of nodes) {
    if (iterationOf.has(n) || !leads.has(n)) continue;
    const from = n.inputs.flatMap((i) => iterationOf.get(i) ?? []);
    if (from.length === 0) continue;
    if (rowOf(n).role === "placeholder") return false;
    iterationOf.set(n, Math.max(...from));
  }
  return true;
}
