/** Numbers of 16 bits: IEEE halves, and bfloat16, the upper half of an f32. */
import type { HalfFormat } from "../../ground/weights.ts";

const f32 = new Float32Array(1);
const u32 = new Uint32Array(f32.buffer);

export function fromBrain(word: number): number {
  u32[0] = word << 16;
  return f32[0];
}

export function fromHalf(word: number): number {
  const exponent = (word >> 10) & 31;
  const fraction = (word & 1023) / 1024;
  const size =
    exponent === 0 ? fraction * 2 ** -14 : exponent === 31 ? (fraction === 0 ? Infinity : NaN) : (1 + fraction) * 2 ** (exponent - 15);
  return word & 0x8000 ? -size : size;
}

/** The nearest bfloat16, ties to even. */
export function toBrain(value: number): number {
  f32[0] = value;
  if (Number.isNaN(value)) return (u32[0] >>> 16) | 0x40;
  return (u32[0] + 0x7fff + ((u32[0] >>> 16) & 1)) >>> 16;
}

/** The nearest IEEE half, ties to even; too large is infinite. */
export function toHalf(value: number): number {
  f32[0] = value;
  const bits = u32[0];
  const sign = (bits >>> 16) & 0x8000;
  const size = Math.abs(f32[0]);
  if (Number.isNaN(size)) return sign | 0x7e00;
  if (size >= 65520) return sign | 0x7c00;
  const exponent = Math.max(((bits >>> 23) & 255) - 127, -14);
  const steps = size / 2 ** (exponent - 10);
  const floor = Math.floor(steps);
  const rest = steps - floor;
  const rounded = rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
  // the leading one of a normal number carries into the exponent by itself
  return sign | (((exponent + 14) << 10) + rounded);
}

export const halfFormats: Readonly<Record<HalfFormat, { readonly to: (x: number) => number; readonly from: (word: number) => number }>> = {
  f16: { to: toHalf, from: fromHalf },
  bf16: { to: toBrain, from: fromBrain },
};
export const isHalfFormat = (name: unknown): name is HalfFormat => name === "f16" || name === "bf16";

/** The bits, as f32, of every half by its number. */
let halves: Uint32Array | undefined;
function tableOfHalves(): Uint32Array {
  halves ??= new Uint32Array(Float32Array.from({ length: 65536 }, (_, word) => fromHalf(word)).buffer);
  return halves;
}

/** As many numbers as `into` has, widened. `words` may lie over the last half of `into`: each is read before its place is written over. */
export function widenWords(format: HalfFormat, words: Uint16Array, into: Float32Array): void {
  const out = new Uint32Array(into.buffer, into.byteOffset, into.length);
  if (format === "bf16") for (let i = 0; i < out.length; i++) out[i] = words[i] << 16;
  else {
    const table = tableOfHalves();
    for (let i = 0; i < out.length; i++) out[i] = table[words[i]];
  }
}

/** The nearest words to as many numbers as `into` has, as `to` of the format gives each. */
export function narrowWords(format: HalfFormat, values: Float32Array, into: Uint16Array): void {
  const bits = new Uint32Array(values.buffer, values.byteOffset, into.length);
  if (format === "bf16")
    for (let i = 0; i < into.length; i++) {
      const x = bits[i];
      // beyond infinity lie the numbers that are none: they stay so
      into[i] = (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x40 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16;
    }
  else
    for (let i = 0; i < into.length; i++) {
      const x = bits[i];
      const exponent = (x >>> 23) & 255;
      if (exponent < 113 || exponent > 142) into[i] = toHalf(values[i]);
      else {
        // a normal number as f32 and as half: the exponent's bias changes, 13 bits are rounded off, and a carry goes into the exponent
        const kept = (((exponent - 112) << 10) | ((x >>> 13) & 1023)) >>> 0;
        const rest = x & 0x1fff;
        into[i] = ((x >>> 16) & 0x8000) | (kept + (rest > 0x1000 || (rest === 0x1000 && kept & 1) ? 1 : 0));
      }
    }
}
