/** Numbers of a weight wherever they lie: what readers of files give, and devices take. */

/** How a number lies in 16 bits: IEEE 754's binary16, or the upper half of a binary32. */
export type HalfFormat = "f16" | "bf16";

export interface Weights {
  /** Numbers there are. */
  readonly length: number;
  /** Writes as many numbers as `into` has, from the `at`-th on. */
  fill(into: Float32Array, at: number): void | Promise<void>;
  /** The same as the nearest numbers of 16 bits; ties to even. Where they are kept so, it is their very bits. */
  fillWords(into: Uint16Array, at: number, format: HalfFormat): void | Promise<void>;
}
