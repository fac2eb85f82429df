/**
 * Takes into the iterations what is computed from one iteration's values alone and is not larger than what it consumes, so that a scalar leaves the
 * loop, not an activation. Only where all iterations of a structure agree, so that no body is written twice for it.
 */
import type { Node } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { encodeIterations, Interner, type Iteration, kindOf } from "./encode.ts";
import type { Membership } from "./iterations.ts";

const elements = (n: Node): number | undefined => {
  let size = 1;
  for (const d of n.type.shape) {
    if (typeof d !== "number") return undefined;
    size *= d;
  }
  return size;
};

interface Candidate {
  readonly iteration: number;
  readonly group: number;
  readonly after: readonly Node[];
  readonly shrinks: boolean;
}

export function sink(nodes: readonly Node[], members: Membership): void {
  const { iterationOf, constants } = members;
  const iterations = encodeIterations(nodes, members);
  const captured = capturedBy(iterations);
  const sizeOfClass = new Map<string, number>();
  for (const t of iterations) sizeOfClass.set(t.key, (sizeOfClass.get(t.key) ?? 0) + 1);

  const intern = new Interner();
  const constantKinds = new Map<Node, number>();
  const candidates = new Map<Node, Candidate>();
  const groups = new Map<number, Set<number>>();
  for (const n of nodes) {
    if (constants.has(n)) {
      constantKinds.set(n, intern.id(`${kindOf(n)}(${n.inputs.map((i) => constantKinds.get(i)).join(",")})`));
      continue;
    }
    if (iterationOf.has(n) || rowOf(n).role === "placeholder" || n.loop) continue;
    const found = candidate(n);
    if (!found) continue;
    candidates.set(n, found);
    if (!groups.has(found.group)) groups.set(found.group, new Set());
    groups.get(found.group)!.add(found.iteration);
  }
  const sunk = new Set<Node>();
  for (const [n, { iteration, group, after }] of candidates)
    if (groups.get(group)!.size === sizeOfClass.get(iterations[iteration].key) && after.every((x) => sunk.has(x))) sunk.add(n);
  // Only chains that end in less than they begin with: what follows the last node that shrinks stays outside.
  const useful = new Set<Node>();
  for (const n of [...sunk].reverse()) {
    if (!candidates.get(n)!.shrinks && !useful.has(n)) continue;
    useful.add(n);
    for (const i of n.inputs) if (sunk.has(i)) useful.add(i);
  }
  for (const n of useful) iterationOf.set(n, candidates.get(n)!.iteration);

  function candidate(n: Node): Candidate | undefined {
    let iteration: number | undefined;
    let consumed = 0;
    const operands: string[] = [];
    const after: Node[] = [];
    const counted = new Set<Node>();
    for (const i of n.inputs) {
      const from = iterationOf.get(i) ?? candidates.get(i)?.iteration;
      if (from === undefined) {
        if (!constants.has(i) && !captured.has(i)) return undefined;
        operands.push(constants.has(i) ? `c${constantKinds.get(i)}` : `o${i.id}`);
        continue;
      }
      if (iteration !== undefined && iteration !== from) return undefined;
      iteration = from;
      const size = elements(i);
      if (size === undefined) return undefined;
      if (!counted.has(i)) consumed += size;
      counted.add(i);
      operands.push(iterationOf.has(i) ? `m${iterations[from].index.get(i)}` : `s${candidates.get(i)!.group}`);
      if (!iterationOf.has(i)) after.push(i);
    }
    const made = elements(n);
    if (iteration === undefined || made === undefined || made > consumed) return undefined;
    return {
      iteration,
      group: intern.id(`${iterations[iteration].key}/${kindOf(n)}(${operands.join(",")})`),
      after,
      shrinks: made < consumed,
    };
  }
}

/** Values from outside that every iteration uses. */
function capturedBy(iterations: readonly Iteration[]): Set<Node> {
  const counts = new Map<Node, number>();
  for (const t of iterations) for (const u of new Set(t.uses)) counts.set(u, (counts.get(u) ?? 0) + 1);
  return new Set([...counts].filter(([, n]) => n === iterations.length).map(([u]) => u));
}
