/** The Mersenne Twister MT19937 (Matsumoto & Nishimura 1998) and what PyTorch's generator on the CPU makes of it. */

import { fromBrain, toBrain } from "./ops/halves.ts";

const SIZE = 624;
const SHIFT = 397;

export class Mt19937 {
  private readonly state = new Uint32Array(SIZE);
  private at = SIZE;

  /** As `torch.Generator().manual_seed(seed)`: the lower 32 bits of the seed count. */
  constructor(seed: number) {
    this.state[0] = seed % 2 ** 32;
    for (let i = 1; i < SIZE; i++) {
      const before = this.state[i - 1];
      this.state[i] = Math.imul(1812433253, before ^ (before >>> 30)) + i;
    }
  }

  /** A whole number, 0 … 2³² − 1. */
  next(): number {
    if (this.at === SIZE) this.twist();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private twist(): void {
    const s = this.state;
    for (let i = 0; i < SIZE; i++) {
      const y = (s[i] & 0x80000000) | (s[(i + 1) % SIZE] & 0x7fffffff);
      s[i] = s[(i + SHIFT) % SIZE] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }
}

/** Types that `uniform_` fills: what a number of theirs is, as f32. */
const FORMATS = { f32: Math.fround, bf16: (x: number) => fromBrain(toBrain(x)) } as const;
type TorchFormat = keyof typeof FORMATS;

/**
 * `torch.empty(count, dtype=…).uniform_(low, high, generator=…)` where the generator was seeded with `seed` and has drawn `skip` numbers: 24 bits each, times the width plus
 * `low` with one rounding to f32, then rounded to the type; what is rounded up to `high` becomes `low` (`uniform_real_distribution` in aten/src/ATen/core). PyTorch before
 * 2.13, or some version before it, took other bits for bf16.
 */
export function torchUniform(count: number, low: number, high: number, seed: number, skip = 0, format: TorchFormat = "f32"): Float32Array {
  const random = new Mt19937(seed);
  for (let i = 0; i < skip; i++) random.next();
  const round = FORMATS[format];
  const [from, to] = [Math.fround(low), Math.fround(high)];
  const width = Math.fround(to - from);
  const [least, most] = [round(from), round(to)];
  return Float32Array.from({ length: count }, () => {
    // exact in f64 before the sum
    const x = round(Math.fround(((random.next() & 0xffffff) / 2 ** 24) * width + from));
    return x >= most ? least : x;
  });
}

/** Normal numbers are made in blocks of this many. */
const BLOCK = 16;

/**
 * `torch.normal(0, std, size=(count,), generator=…)` in f32 by the Box–Muller transform (`normal_fill` and `normal_distribution` in aten/src/ATen). From 16 on it takes blocks of 16
 * numbers of 24 bits, the last block anew where the count is no multiple; fewer are made in pairs, of 53 bits.
 */
export function torchNormal(count: number, std: number, seed: number): Float32Array {
  const random = new Mt19937(seed);
  const out = new Float32Array(count);
  if (count < BLOCK) {
    const wide = () => {
      const [high, low] = [random.next(), random.next()];
      return ((high & 0x1fffff) * 2 ** 32 + low) / 2 ** 53;
    };
    for (let i = 0; i < count; i += 2) {
      const [angle, u] = [2 * Math.PI * wide(), wide()];
      const radius = Math.sqrt(-2 * Math.log1p(-u));
      out[i] = radius * Math.cos(angle) * std;
      if (i + 1 < count) out[i + 1] = radius * Math.sin(angle) * std;
    }
    return out;
  }
  const short = () => (random.next() & 0xffffff) / 2 ** 24;
  const drawn = Float64Array.from({ length: count }, short);
  const fill = (numbers: Float64Array, at: number) => {
    for (let i = 0; i < BLOCK / 2; i++) {
      const radius = Math.sqrt(-2 * Math.log(1 - numbers[i]));
      const angle = 2 * Math.PI * numbers[i + BLOCK / 2];
      out[at + i] = radius * Math.cos(angle) * std;
      out[at + i + BLOCK / 2] = radius * Math.sin(angle) * std;
    }
  };
  for (let at = 0; at + BLOCK <= count; at += BLOCK) fill(drawn.subarray(at, at + BLOCK), at);
  if (count % BLOCK !== 0) fill(Float64Array.from({ length: BLOCK }, short), count - BLOCK);
  return out;
}

/** From this many on PyTorch draws 64 bits for each place (`randperm_cpu` in aten/src/ATen/native/TensorFactories.cpp). */
const LARGE = Math.floor((2 ** 32 - 1) / 20);

/** The first `count` numbers of `torch.randperm(n, generator=torch.Generator().manual_seed(seed))`. */
export function torchRandperm(n: number, seed: number, count: number): Int32Array {
  const random = new Mt19937(seed);
  const out = new Int32Array(count);
  if (n < LARGE) {
    // Fisher–Yates from the front; only places that were exchanged are kept
    const moved = new Map<number, number>();
    for (let i = 0; i < count; i++) {
      const j = i < n - 1 ? i + (random.next() % (n - i)) : i;
      out[i] = moved.get(j) ?? j;
      moved.set(j, moved.get(i) ?? i);
    }
    return out;
  }
  // inside out: place i takes what place z had, place z takes i. What is behind `count` is never looked at
  for (let i = 0; i < n; i++) {
    const [high, low] = [random.next(), random.next()];
    const z = mod64(high, low, i + 1);
    if (i < count) out[i] = out[z];
    if (z < count) out[z] = i;
  }
  return out;
}

/** (high · 2³² + low) mod m for m < 2³¹, by 16 bits at a time so that all stays below 2⁵³. */
function mod64(high: number, low: number, m: number): number {
  let rest = high % m;
  rest = (rest * 65536 + (low >>> 16)) % m;
  return (rest * 65536 + (low & 0xffff)) % m;
}
