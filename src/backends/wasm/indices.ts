import { axesOf, type Index } from "../kernels/index.ts";

/** Where the lanes are. */
export interface LaneState {
  /** The axis whose successive elements fill the lanes; -1: none, all lanes are equal. */
  readonly axis: number;
  /** i32 local: the lane axis's element in lane 0, times 4 (a byte offset). */
  readonly bytes: string;
  /** Added to `bytes`, a constant: which vector of an unrolled group. */
  readonly offset: number;
  /** How many lanes hold elements, 1 to 4. Loads may read beyond, nothing is stored beyond. */
  readonly valid: number;
}

export const NO_LANES: LaneState = { axis: -1, bytes: "", offset: 0, valid: 4 };

/** The index without its term in `axis`; `undefined` where the axis occurs inside a division. */
export function without(index: Index, axis: number): Index | undefined {
  const terms = index.terms.filter((t) => !(t.atom.kind === "axis" && t.atom.axis === axis));
  for (const t of terms) if ((t.atom.kind === "div" || t.atom.kind === "mod") && axesOf(t.atom.of).has(axis)) return undefined;
  return { base: index.base, terms };
}
