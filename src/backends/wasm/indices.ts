import { axesOf, type Index } from "../kernels/index.ts";
import type { Lanes } from "../lanes/values.ts";

export interface LaneState extends Lanes {
  /** i32 local: the lane axis's element in lane 0, times 4 (a byte offset), to which `offset`, in bytes, is added. */
  readonly bytes: string;
}

export const NO_LANES: LaneState = { axis: -1, bytes: "", offset: 0, valid: 4 };

/** The index without its term in `axis`; `undefined` where the axis occurs inside a division. */
export function without(index: Index, axis: number): Index | undefined {
  const terms = index.terms.filter((t) => !(t.atom.kind === "axis" && t.atom.axis === axis));
  for (const t of terms) if ((t.atom.kind === "div" || t.atom.kind === "mod") && axesOf(t.atom.of).has(axis)) return undefined;
  return { base: index.base, terms };
}
