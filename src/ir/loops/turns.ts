/** Which node belongs to which turn of a static loop that was written out flat. */
import type { Node } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { constantNodes } from "../rebuild.ts";

export interface Membership {
  /** The turn of each node that belongs to the loop, counted over the turns that have nodes. */
  readonly turnOf: Map<Node, number>;
  /** The number that each turn has in the tags, ascending. */
  readonly numbers: readonly number[];
  /** Nodes that are made anew wherever they are used. They belong to no turn. */
  readonly constants: ReadonlySet<Node>;
  /** Nodes that a derivative is taken by: they are never copied. */
  readonly taken: ReadonlySet<Node>;
}

/**
 * Assigns nodes to turns by their tags (`tagged`), then
 * - takes out of a turn what depends on no other turn and is used by turns far away (a bias that the first layer computes for all);
 * - takes in what has no tag, but lies between turns.
 * `undefined` if there are fewer than two turns, if a derivative is taken inside, or if a value jumps over a turn: such a loop stays flat.
 */
export function assignTurns(nodes: readonly Node[], tagged: (n: Node) => number | undefined): Membership | undefined {
  const taken = new Set<Node>();
  for (const n of nodes) if (rowOf(n).role === "placeholder" && n.inputs.length > 1) taken.add(n.inputs[1]);
  const constants = constantNodes(nodes, (n) => taken.has(n));
  const tags = new Map<Node, number>();
  for (const n of nodes) {
    const turn = tagged(n);
    if (turn === undefined || constants.has(n) || rowOf(n).supply) continue;
    if (rowOf(n).role === "placeholder") return undefined;
    tags.set(n, turn);
  }
  const numbers = [...new Set(tags.values())].sort((a, b) => a - b);
  if (numbers.length < 2) return undefined;
  const position = new Map(numbers.map((number, i) => [number, i]));
  const turnOf = new Map([...tags].map(([n, number]) => [n, position.get(number)!]));
  hoist(nodes, turnOf);
  if (!absorb(nodes, turnOf)) return undefined;
  for (const [n, turn] of turnOf) {
    for (const i of n.inputs) {
      const from = turnOf.get(i);
      if (from !== undefined && from !== turn && from !== turn - 1) return undefined;
    }
  }
  const left = [...new Set(turnOf.values())].sort((a, b) => a - b);
  if (left.length !== numbers.length) {
    // Hoisting emptied a turn: count anew, if the others still hang together.
    if (left.length < 2) return undefined;
    const again = new Map(left.map((t, i) => [t, i]));
    for (const [n, turn] of turnOf) turnOf.set(n, again.get(turn)!);
  }
  return { turnOf, numbers: left.map((t) => numbers[t]), constants, taken };
}

function hoist(nodes: readonly Node[], turnOf: Map<Node, number>): void {
  const free = new Set<Node>();
  for (const n of nodes)
    if (turnOf.has(n) && n.inputs.every((i) => !turnOf.has(i) || (free.has(i) && turnOf.get(i) === turnOf.get(n)))) free.add(n);
  const out: Node[] = [];
  for (const n of nodes) {
    const turn = turnOf.get(n);
    if (turn === undefined) continue;
    for (const i of n.inputs) {
      const from = turnOf.get(i);
      if (from !== undefined && from !== turn && from !== turn - 1 && free.has(i)) out.push(i);
    }
  }
  while (out.length) {
    const n = out.pop()!;
    if (!turnOf.delete(n)) continue;
    out.push(...n.inputs.filter((i) => turnOf.has(i)));
  }
}

function absorb(nodes: readonly Node[], turnOf: Map<Node, number>): boolean {
  const leads = new Set<Node>();
  for (let i = nodes.length - 1; i >= 0; i--) {
    const n = nodes[i];
    if (turnOf.has(n) || leads.has(n)) for (const x of n.inputs) leads.add(x);
  }
  for (const n of nodes) {
    if (turnOf.has(n) || !leads.has(n)) continue;
    const from = n.inputs.flatMap((i) => turnOf.get(i) ?? []);
    if (from.length === 0) continue;
    if (rowOf(n).role === "placeholder") return false;
    turnOf.set(n, Math.max(...from));
  }
  return true;
}
