/** How shapes meet, and axes counted from the end. */
import { type Dim, sameDim } from "./dim.ts";
import type { Node, Type } from "./graph.ts";
import { needAxis, type Solver, TypeMismatch } from "./ops/index.ts";

/** NumPy's rule: shapes are aligned at their ends; sizes are equal, or one of them is 1. */
export function broadcastShape(op: string, a: Type, b: Type, solver: Solver): Dim[] {
  const rank = Math.max(a.shape.length, b.shape.length);
  return Array.from({ length: rank }, (_, i) => {
    const p = i - (rank - a.shape.length);
    const q = i - (rank - b.shape.length);
    if (p < 0) return b.shape[q];
    if (q < 0 || sameDim(b.shape[q], 1)) return a.shape[p];
    if (sameDim(a.shape[p], 1)) return b.shape[q];
    if (solver.equal(a.shape[p], b.shape[q])) return a.shape[p];
    throw new TypeMismatch(`${op}: sizes ${a.shape[p]} and ${b.shape[q]} differ ${axisName(rank - i)}`, {
      op,
      types: [a, b],
      operands: [0, 1],
      axes: [p, q],
      sizes: [a.shape[p], b.shape[q]],
    });
  });
}

const axisName = (fromEnd: number): string => (fromEnd === 1 ? "on the last axis" : `on axis ${-fromEnd}`);

/** Axes −rank..rank−1 as 0..rank−1; out of range throws `TypeMismatch`. */
export function axisOf(op: string, x: Node, axis: number): number {
  const rank = x.type.shape.length;
  return needAxis(op, [x.type], axis < 0 ? axis + rank : axis, rank);
}
