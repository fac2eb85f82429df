/** Multiples of integers by fixed ratios, and back: what couplings of integer streams compute, for integers of any size. */

import { Bug } from "../errors.ts";
import type { Node } from "../graph.ts";
import { attrsOf } from "./attributes.ts";

/** Numerator and denominator of a factor: positive, without a common divisor, so small that sums of their product do not wrap. */
export const LARGEST_TERM = 1 << 14;

export interface Ratio {
  readonly num: number;
  readonly den: number;
}
export function ratioOf({ num, den }: Ratio): Ratio {
  for (const x of [num, den])
    if (!Number.isInteger(x) || x < 1 || x > LARGEST_TERM) throw new Bug(`${num}/${den} is no ratio of small positive integers`);
  return { num, den };
}

/** The ratio of a coupling, or of what undoes it. */
export const ratioAt = (n: Node): Ratio =>
  ratioOf(attrsOf(n, "couple", "uncouple", "remainder", "couple_wide", "uncouple_wide", "remainder_wide"));

/** How many integers at most round to the same multiple: one more than the largest remainder. */
const preimages = ({ num, den }: Ratio): number => Math.ceil(den / num);
/** Bits of a remainder; 0 where nothing is lost. */
export const remainderBits = (ratio: Ratio): number => Math.ceil(Math.log2(preimages(ratio)));

const floorDiv = (x: bigint, by: bigint): bigint => (x - (((x % by) + by) % by)) / by;

/** num/den · x, rounded to the nearest integer, halves upward. */
export const nearest = (x: bigint, { num, den }: Ratio): bigint => floorDiv(2n * BigInt(num) * x + BigInt(den), 2n * BigInt(den));
/** The least integer that `nearest` takes to `q`. */
export const least = (q: bigint, { num, den }: Ratio): bigint => -floorDiv(-(2n * BigInt(den) * q - BigInt(den)), 2n * BigInt(num));
/** The place of an integer, from 0, among those that `nearest` takes to the same. */
export const remainderOf = (x: bigint, ratio: Ratio): bigint => x - least(nearest(x, ratio), ratio);
