/** Bytes of values, as PyTorch keeps them. */
import { type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { orderUntil } from "../../ir/rebuild.ts";
import { findCalls } from "./patterns.ts";

/** Nodes that calls stand for, which are never stored. */
const insideCalls = (roots: readonly Node[]): Set<Node> =>
  new Set([...findCalls(roots, new Set(), false).values()].flatMap((call) => [...call.inside]));
const UNSTORED: ReadonlySet<string> = new Set(["source", "barrier", "placeholder", "region"]);
/** Whether a node has no memory of its own: what it gives lies in its operand's, or was there before. */
const isUnstored = (n: Node): boolean => {
  const { role } = rowOf(n);
  return role === "move" ? n.inputs.length === 1 && n.attrs.low === undefined : UNSTORED.has(role);
};

/** All values that are made: a backward half may ask for any. Of an iteration that is recomputed what it is given, and one iteration at a time. */
export function keptOf(roots: readonly Node[], recompute: boolean): number {
  const inside = insideCalls(roots);
  let total = 0;
  for (const n of order(roots)) {
    if (n.loop) {
      const iterations = n.loop.iterations.map((t) => keptOf(n.loop!.bodies[t.body].results, recompute));
      const given = n.inputs.slice(0, n.loop.carried).reduce((sum, i) => sum + sizeOf(i), 0);
      total += recompute ? given * iterations.length + Math.max(0, ...iterations) : iterations.reduce((sum, t) => sum + t, 0);
    } else if (!inside.has(n) && !isUnstored(n)) total += sizeOf(n);
  }
  return total;
}

/** The most that is alive at once, where values go after their last reader; of a loop the most of an iteration. `stop`: what was there before. */
export function liveOf(roots: readonly Node[], stop: (n: Node) => boolean = () => false): number {
  const inside = insideCalls(roots);
  const nodes = orderUntil(roots, stop).filter((n) => !stop(n));
  /** What holds the numbers that a node gives. */
  const holder = (n: Node): Node => (isUnstored(n) && n.inputs.length > 0 && !n.loop ? holder(n.inputs[0]) : n);
  const last = new Map<Node, number>();
  nodes.forEach((n, i) => {
    for (const x of n.inputs) last.set(holder(x), i);
  });
  for (const r of roots) last.set(holder(r), nodes.length);
  const ends = new Map<number, Node[]>();
  for (const [n, i] of last) ends.set(i, [...(ends.get(i) ?? []), n]);
  const held = (n: Node): number => {
    if (n.loop) return n.inputs.slice(0, n.loop.carried).reduce((sum, i) => sum + sizeOf(i), 0);
    return inside.has(n) || isUnstored(n) ? 0 : sizeOf(n);
  };
  let [live, most] = [0, 0];
  nodes.forEach((n, i) => {
    live += held(n);
    const iterations = n.loop?.iterations.map((t) => liveOf(n.loop!.bodies[t.body].results)) ?? [];
    most = Math.max(most, live + Math.max(0, ...iterations));
    for (const x of ends.get(i) ?? []) live -= held(x);
  });
  return most;
}
const sizeOf = (n: Node): number => (n.type.dtype === "bool" ? 1 : 4) * (n.type.shape as readonly number[]).reduce((a, b) => a * b, 1);
