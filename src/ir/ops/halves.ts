/** Numbers of 16 bits: IEEE halves, and bfloat16, the upper half of an f32. */
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

export type HalfFormat = "f16" | "bf16";
export const halfFormats: Readonly<Record<HalfFormat, { readonly to: (x: number) => number; readonly from: (word: number) => number }>> = {
  f16: { to: toHalf, from: fromHalf },
  bf16: { to: toBrain, from: fromBrain },
};
export const isHalfFormat = (name: unknown): name is HalfFormat => name === "f16" || name === "bf16";
