/** Sizes that must be known by now: it would be our mistake to ask too early. */
import type { Dim } from "../dim.ts";
import { Bug } from "../errors.ts";

/** A size as a number; `Bug` if it is a symbol. */
export function bound(d: Dim): number {
  if (typeof d !== "number") throw new Bug(`the size ${d} is not bound yet`);
  return d;
}
export const bounds = (dims: readonly Dim[]): readonly number[] => {
  for (const d of dims) bound(d);
  return dims as readonly number[];
};
