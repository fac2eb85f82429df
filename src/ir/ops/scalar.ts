/**
 * What the elementwise rows compute for one element, in f64, and what that costs: the operators here, functions of one number in `functions.ts`. A runtime
 * needs just this of the op table, so these two files import nothing that runs.
 */
import type { BinaryName, OperatorName } from "./op.ts";

const TWO_OVER_SQRT_PI = 2 / Math.sqrt(Math.PI);

/**
 * The error function to about 1e-15: below 3 the all-positive series 2/√π·e^{-x²}·Σ 2ⁿx^{2n+1}/(2n+1)!!, above it Laplace's continued
 * fraction for erfc evaluated from the tail (Abramowitz & Stegun 7.1.6 and 7.1.14).
 */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (!(a < 6)) return Number.isNaN(x) ? x : Math.sign(x);
  let value: number;
  if (a < 3) {
    let term = a;
    let sum = a;
    for (let n = 1; term > sum * 1e-17; n++) {
      term *= (2 * a * a) / (2 * n + 1);
      sum += term;
    }
    value = TWO_OVER_SQRT_PI * Math.exp(-a * a) * sum;
  } else {
    let tail = 0;
    for (let k = 60; k >= 1; k--) tail = k / 2 / (a + tail);
    value = 1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * (a + tail));
  }
  return x < 0 ? -value : value;
}

/** To the nearest whole number, ties to even, as NumPy, PyTorch, WGSL and WebAssembly do. */
export function roundEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest < 0.5) return low;
  if (rest > 0.5) return low + 1;
  return low % 2 === 0 ? low : low + 1;
}

/** The remainder with the divisor's sign: a − b·floor(a/b). */
const floorMod = (a: number, b: number): number => a - b * Math.floor(a / b);

/** PyTorch's `pow`: unlike JavaScript's, 1 to any power is 1. */
const power = (a: number, b: number): number => (a === 1 ? 1 : a ** b);

/** NaN wins, as in PyTorch. */
export const larger = (a: number, b: number): number => (a > b || Number.isNaN(a) ? a : b);
export const smaller = (a: number, b: number): number => (a < b || Number.isNaN(a) ? a : b);

/** A function of numbers. Booleans are 0 and 1; integers wrap where they are stored. */
export interface Scalar {
  readonly of: (a: number, b: number, c: number) => number;
  /** Work for one element, in additions. */
  readonly cost: number;
}
/** What work for one element counts as, in additions: a sum or a comparison; a quotient or a root; a polynomial, from which on a value is worth keeping. */
export const COST = { sum: 1, quotient: 4, series: 10, wave: 12, power: 20 } as const;

const sum = (of: Scalar["of"]): Scalar => ({ of, cost: COST.sum });
const asks = (of: (a: number, b: number) => boolean): Scalar => sum((a, b) => (of(a, b) ? 1 : 0));

export const operators: Readonly<Record<BinaryName | OperatorName | "where", Scalar>> = {
  add: sum((a, b) => a + b),
  sub: sum((a, b) => a - b),
  mul: sum((a, b) => a * b),
  div: { of: (a, b) => a / b, cost: COST.quotient },
  pow: { of: power, cost: COST.power },
  max: sum(larger),
  min: sum(smaller),
  mod: { of: floorMod, cost: COST.quotient },
  eq: asks((a, b) => a === b),
  ne: asks((a, b) => a !== b),
  lt: asks((a, b) => a < b),
  le: asks((a, b) => a <= b),
  gt: asks((a, b) => a > b),
  ge: asks((a, b) => a >= b),
  and: sum((a, b) => a & b),
  or: sum((a, b) => a | b),
  neg: sum((x) => -x),
  not: sum((x) => 1 - x),
  where: sum((c, a, b) => (c ? a : b)),
};
