/**
 * Takes into the turns what is computed from one turn's values alone and is not larger than what it consumes, so that a scalar leaves the
 * loop, not an activation. Only where all turns of a structure agree, so that no body is written twice for it.
 */
import type { Node } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { encodeTurns, Interner, kindOf, type Turn } from "./encode.ts";
import type { Membership } from "./turns.ts";

const elements = (n: Node): number | undefined => {
  let size = 1;
  for (const d of n.type.shape) {
    if (typeof d !== "number") return undefined;
    size *= d;
  }
  return size;
};

interface Candidate {
  readonly turn: number;
  readonly group: number;
  readonly after: readonly Node[];
  readonly shrinks: boolean;
}

export function sink(nodes: readonly Node[], members: Membership): void {
  const { turnOf, constants } = members;
  const turns = encodeTurns(nodes, members);
  const captured = capturedBy(turns);
  const sizeOfClass = new Map<string, number>();
  for (const t of turns) sizeOfClass.set(t.key, (sizeOfClass.get(t.key) ?? 0) + 1);

  const intern = new Interner();
  const constantKinds = new Map<Node, number>();
  const candidates = new Map<Node, Candidate>();
  const groups = new Map<number, Set<number>>();
  for (const n of nodes) {
    if (constants.has(n)) {
      constantKinds.set(n, intern.id(`${kindOf(n)}(${n.inputs.map((i) => constantKinds.get(i)).join(",")})`));
      continue;
    }
    if (turnOf.has(n) || rowOf(n).role === "placeholder" || n.loop) continue;
    const found = candidate(n);
    if (!found) continue;
    candidates.set(n, found);
    if (!groups.has(found.group)) groups.set(found.group, new Set());
    groups.get(found.group)!.add(found.turn);
  }
  const sunk = new Set<Node>();
  for (const [n, { turn, group, after }] of candidates)
    if (groups.get(group)!.size === sizeOfClass.get(turns[turn].key) && after.every((x) => sunk.has(x))) sunk.add(n);
  // Only chains that end in less than they begin with: what follows the last node that shrinks stays outside.
  const useful = new Set<Node>();
  for (const n of [...sunk].reverse()) {
    if (!candidates.get(n)!.shrinks && !useful.has(n)) continue;
    useful.add(n);
    for (const i of n.inputs) if (sunk.has(i)) useful.add(i);
  }
  for (const n of useful) turnOf.set(n, candidates.get(n)!.turn);

  function candidate(n: Node): Candidate | undefined {
    let turn: number | undefined;
    let consumed = 0;
    const operands: string[] = [];
    const after: Node[] = [];
    const counted = new Set<Node>();
    for (const i of n.inputs) {
      const from = turnOf.get(i) ?? candidates.get(i)?.turn;
      if (from === undefined) {
        if (!constants.has(i) && !captured.has(i)) return undefined;
        operands.push(constants.has(i) ? `c${constantKinds.get(i)}` : `o${i.id}`);
        continue;
      }
      if (turn !== undefined && turn !== from) return undefined;
      turn = from;
      const size = elements(i);
      if (size === undefined) return undefined;
      if (!counted.has(i)) consumed += size;
      counted.add(i);
      operands.push(turnOf.has(i) ? `m${turns[from].index.get(i)}` : `s${candidates.get(i)!.group}`);
      if (!turnOf.has(i)) after.push(i);
    }
    const made = elements(n);
    if (turn === undefined || made === undefined || made > consumed) return undefined;
    return { turn, group: intern.id(`${turns[turn].key}/${kindOf(n)}(${operands.join(",")})`), after, shrinks: made < consumed };
  }
}

/** Values from outside that every turn uses. */
function capturedBy(turns: readonly Turn[]): Set<Node> {
  const counts = new Map<Node, number>();
  for (const t of turns) for (const u of new Set(t.uses)) counts.set(u, (counts.get(u) ?? 0) + 1);
  return new Set([...counts].filter(([, n]) => n === turns.length).map(([u]) => u));
}
