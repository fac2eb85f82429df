/** The Mersenne Twister MT19937 (Matsumoto & Nishimura 1998) and what PyTorch's generator on the CPU makes of it. */

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
