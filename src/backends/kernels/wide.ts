/** Arithmetic of integers of two words, high·2²⁴ + low with 0 ≤ low < 2²⁴, in i32. Multipliers and divisors are at most 2¹⁴. */
import { WORD } from "../../ir/ops/wide.ts";
import type { Emitter } from "./emit.ts";

/** The numbers of its two values. */
export interface Wide {
  readonly high: number;
  readonly low: number;
}

/** Half of a low word: products of it by what is at most 2¹⁴ fit i32. */
const HALF = 2 ** 12;
/** What multiplies whole low words without leaving i32. */
const SMALL = 2 ** 6;

const i32 = (e: Emitter, x: number): number => e.literal(x, "i32");
const add = (e: Emitter, x: number, y: number): number => e.call("add", "i32", x, y);
const sub = (e: Emitter, x: number, y: number): number => e.call("sub", "i32", x, y);
const mul = (e: Emitter, x: number, by: number): number => (by === 1 ? x : e.call("mul", "i32", x, i32(e, by)));
const floorDiv = (e: Emitter, x: number, by: number): number => (by === 1 ? x : e.call("floor_div", "i32", x, i32(e, by)));
/** Quotient, downward, and rest. */
function split(e: Emitter, x: number, by: number): { quotient: number; rest: number } {
  const quotient = floorDiv(e, x, by);
  return { quotient, rest: sub(e, x, mul(e, quotient, by)) };
}

export const added = (e: Emitter, x: Wide, y: Wide): Wide => ({ high: add(e, x.high, y.high), low: add(e, x.low, y.low) });
export const less = (e: Emitter, x: Wide, y: Wide): Wide => ({ high: sub(e, x.high, y.high), low: sub(e, x.low, y.low) });
/** A number plus an i32 value so small that its low word stays in i32. */
export const plusSmall = (e: Emitter, x: Wide, y: number): Wide => ({ high: x.high, low: add(e, x.low, y) });

/** The number with its low word in its range again. */
export function settled(e: Emitter, x: Wide): Wide {
  const { quotient, rest } = split(e, x.low, WORD);
  return { high: add(e, x.high, quotient), low: rest };
}

/** The quotient, rounded downward, and the rest: long division by halves of the low word. */
export function dividedBy(e: Emitter, x: Wide, by: number): { quotient: Wide; rest: number } {
  if (by === 1) return { quotient: x, rest: i32(e, 0) };
  const high = split(e, x.high, by);
  if (by <= SMALL) {
    const low = split(e, add(e, mul(e, high.rest, WORD), x.low), by);
    return { quotient: { high: high.quotient, low: low.quotient }, rest: low.rest };
  }
  const halves = split(e, x.low, HALF);
  const upper = split(e, add(e, mul(e, high.rest, HALF), halves.quotient), by);
  const lower = split(e, add(e, mul(e, upper.rest, HALF), halves.rest), by);
  return { quotient: { high: high.quotient, low: add(e, mul(e, upper.quotient, HALF), lower.quotient) }, rest: lower.rest };
}

/** The product. */
export function timesSmall(e: Emitter, x: Wide, by: number): Wide {
  if (by === 1) return x;
  if (by <= SMALL) {
    const low = split(e, mul(e, x.low, by), WORD);
    return { high: add(e, mul(e, x.high, by), low.quotient), low: low.rest };
  }
  const halves = split(e, x.low, HALF);
  const lower = split(e, mul(e, halves.rest, by), HALF);
  const upper = split(e, add(e, mul(e, halves.quotient, by), lower.quotient), HALF);
  return { high: add(e, mul(e, x.high, by), upper.quotient), low: add(e, mul(e, upper.rest, HALF), lower.rest) };
}
