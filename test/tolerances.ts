/**
 * How far a device's f32 may lie from the meaning in f64, relative to the largest magnitude of the result (at least 1). u = 2⁻²⁴ is f32's unit
 * roundoff; every entry says what it allows for.
 */
const u = 2 ** -24;

export const tolerances = {
  /** Copies, integers, booleans, comparisons, draws by bits: nothing is rounded. */
  exact: 0,
  /** One elementwise function: the vector functions are within 8 units in the last place; products of two factors add one. */
  map: 16 * u,
  /** A sum of n terms of magnitude 1 in any order: errors of single additions add up like a random walk over n partial sums. */
  sum: (n: number): number => 4 * u * Math.sqrt(n) + 2 * u,
  /** A chain of some dozen ops with reductions, quotients and cancellation between them. */
  chain: 1e-5,
} as const;
