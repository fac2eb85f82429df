/**
 * Counter-based random numbers, equal on every target.
 *
 * A draw is a function of (key, step, element): Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy
 * as 1, 2, 3", SC 2011) encrypts the counter (x0, x1) = (element index, step) under the two words of the key. All words are u32, additions
 * wrap. With k2 = k0 ^ k1 ^ PARITY:
 *
 *     x0 += k0; x1 += k1
 *     for group in 0..5:                      // four rounds each
 *       for r in ROTATIONS[group % 2]:  x0 += x1;  x1 = rotl(x1, r) ^ x0
 *       x0 += k[(group + 1) % 3];  x1 += k[(group + 2) % 3] + group + 1
 *
 * - `bits`: x0 as i32.
 * - `uniform`: (x0 >> 8) · 2⁻²⁴, in [0, 1): 24 bits, exact in f32, hence equal to the bit everywhere.
 * - `normal`: Box–Muller, √(−2 ln u) · cos(2π v) with u = ((x0 >> 8) + 1) · 2⁻²⁴ in (0, 1] and v = (x1 >> 8) · 2⁻²⁴.
 */

export const PARITY = 0x1bd11bda;
export const ROTATIONS: readonly [readonly number[], readonly number[]] = [
  [13, 15, 26, 6],
  [17, 29, 16, 24],
];
export const GROUPS = 5;

export type Key = readonly [number, number];
type DrawKind = "uniform" | "normal" | "bits";

/** One block: encrypts (c0, c1) under (k0, k1); all words are 32 bits, given and returned as signed. */
export function threefry(k0: number, k1: number, c0: number, c1: number): Key {
  const k = [k0 | 0, k1 | 0, k0 ^ k1 ^ PARITY];
  let x0 = (c0 + k[0]) | 0;
  let x1 = (c1 + k[1]) | 0;
  for (let group = 0; group < GROUPS; group++) {
    const rotations = ROTATIONS[group & 1];
    for (let i = 0; i < 4; i++) {
      const r = rotations[i];
      x0 = (x0 + x1) | 0;
      x1 = ((x1 << r) | (x1 >>> (32 - r))) ^ x0;
    }
    x0 = (x0 + k[(group + 1) % 3]) | 0;
    x1 = (x1 + k[(group + 2) % 3] + group + 1) | 0;
  }
  return [x0, x1];
}

const UNIT = 2 ** -24;

/** Fills `out` with the draw's elements `first`, `first` + 1, ... */
export function drawInto(out: Float64Array, kind: DrawKind, [k0, k1]: Key, step: number, first = 0): void {
  for (let i = 0; i < out.length; i++) {
    const [x0, x1] = threefry(k0, k1, first + i, step);
    if (kind === "bits") out[i] = x0;
    else if (kind === "uniform") out[i] = (x0 >>> 8) * UNIT;
    else out[i] = Math.sqrt(-2 * Math.log(((x0 >>> 8) + 1) * UNIT)) * Math.cos(2 * Math.PI * (x1 >>> 8) * UNIT);
  }
}

/**
 * The key of a draw: absorbs the seed and the UTF-8 bytes of each part, four at a time, with Threefry as the compression function
 * (the block is both counter and, added, feed-forward, as in Matyas–Meyer–Oseas). Parts are length-prefixed, so ("ab", "c") ≠ ("a", "bc").
 */
export function keyOf(seed: number, ...parts: readonly (string | number)[]): [number, number] {
  let k: Key = [seed | 0, Math.floor(seed / 2 ** 32) | 0];
  const absorb = (a: number, b: number) => {
    const [x0, x1] = threefry(k[0], k[1], a, b);
    k = [x0 ^ a, x1 ^ b];
  };
  const encoder = new TextEncoder();
  for (const part of parts) {
    const bytes = encoder.encode(String(part));
    absorb(bytes.length, typeof part === "number" ? 1 : 0);
    for (let i = 0; i < bytes.length; i += 8) {
      const word = (at: number) =>
        (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24);
      absorb(word(i), word(i + 4));
    }
  }
  return [k[0], k[1]];
}
