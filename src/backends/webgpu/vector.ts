/** Operands of a product that can be read four numbers at a time. */
import type { Index } from "../kernels/index.ts";
import { strideOf } from "../kernels/index.ts";
import type { ProductKernel } from "../kernels/kernel.ts";
import type { Bindings } from "./bindings.ts";

const SUM = 3;
const FOUR = 4;

/** A load as fours: which axis they run along, and the number of the four when that axis' variable counts fours. */
export interface Fours {
  readonly operand: number;
  readonly along: number;
  readonly index: Index;
}

/**
 * The loads of both sides that may be fours: plain loads, next to each other along the sum or along the side's own axis, that start at multiples of
 * four and never run over an edge. The operand is read in no other way.
 */
export function foursOf(kernel: ProductKernel, bindings: Bindings): { lhs?: Fours | undefined; rhs?: Fours | undefined } {
  const lhs = side(kernel, kernel.lhs, 1);
  const rhs = side(kernel, kernel.rhs, 2);
  const sides = new Set([kernel.lhs, kernel.rhs]);
  const only = (f: Fours | undefined): boolean => {
    if (!f || !bindings.mayBeFours(f.operand)) return false;
    return kernel.values.every((v, i) => {
      if (v.kind !== "load" || v.operand !== f.operand) return true;
      return sides.has(i) && (i !== kernel.lhs || lhs !== undefined) && (i !== kernel.rhs || rhs !== undefined);
    });
  };
  return { lhs: only(lhs) ? lhs : undefined, rhs: only(rhs) ? rhs : undefined };
}

function side(kernel: ProductKernel, value: number, own: number): Fours | undefined {
  const load = kernel.values[value];
  if (load.kind !== "load" || load.dtype !== "f32" || load.guard !== undefined || load.index.base % FOUR !== 0) return undefined;
  const along = [SUM, own].find((axis) => strideOf(load.index, axis) === 1 && kernel.axes[axis] % FOUR === 0);
  if (along === undefined) return undefined;
  const isAlong = (t: Index["terms"][number]) => t.atom.kind === "axis" && t.atom.axis === along;
  const others = load.index.terms.filter((t) => !isAlong(t));
  if (others.some((t) => t.factor % FOUR !== 0)) return undefined;
  const terms = load.index.terms.map((t) => (isAlong(t) ? t : { ...t, factor: t.factor / FOUR }));
  return { operand: load.operand, along, index: { base: load.index.base / FOUR, terms } };
}
