/** The types of GGUF's tensors that whole models are written in, and how rows become their bytes. */
import { fromHalf, toHalf } from "../ir/ops/halves.ts";

/** `blocks`: elements that share a scale; a row is a whole number of them. */
interface BlockType {
  readonly code: number;
  readonly block: number;
  /** Bytes of a block. */
  readonly bytes: number;
  readonly encode: (x: Float32Array, at: number, into: Uint8Array, to: number) => void;
}

const half = (value: number, into: Uint8Array, to: number): number => {
  const word = toHalf(value);
  into[to] = word & 255;
  into[to + 1] = word >>> 8;
  return fromHalf(word);
};
const f32 = new Float32Array(1);
const f32Bytes = new Uint8Array(f32.buffer);

/** Rounds half away from zero, as C's roundf. */
const round = (x: number): number => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

export const GGUF_TYPES = {
  f32: {
    code: 0,
    block: 1,
    bytes: 4,
    encode: (x, at, into, to) => {
      f32[0] = x[at];
      into.set(f32Bytes, to);
    },
  },
  f16: { code: 1, block: 1, bytes: 2, encode: (x, at, into, to) => void half(x[at], into, to) },
  // a scale in 16 bits, then 32 numbers of 4: x = scale · (q − 8); the largest magnitude is −8
  q4_0: {
    code: 2,
    block: 32,
    bytes: 18,
    encode: (x, at, into, to) => {
      let most = 0;
      for (let i = 0; i < 32; i++) if (Math.abs(x[at + i]) > Math.abs(most)) most = x[at + i];
      const scale = Math.fround(most / -8);
      half(scale, into, to);
      const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
      const code = (i: number) => Math.min(15, Math.trunc(Math.fround(Math.fround(x[at + i] * inverse) + 8.5)));
      for (let i = 0; i < 16; i++) into[to + 2 + i] = code(i) | (code(i + 16) << 4);
    },
  },
  // a scale in 16 bits, then 32 numbers of 8, −127 … 127
  q8_0: {
    code: 8,
    block: 32,
    bytes: 34,
    encode: (x, at, into, to) => {
      let most = 0;
      for (let i = 0; i < 32; i++) most = Math.max(most, Math.abs(x[at + i]));
      const scale = Math.fround(most / 127);
      half(scale, into, to);
      const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
      for (let i = 0; i < 32; i++) into[to + 2 + i] = round(Math.fround(x[at + i] * inverse)) & 255;
    },
  },
} satisfies Readonly<Record<string, BlockType>>;
export type GgufType = keyof typeof GGUF_TYPES;

/** Bytes of so many elements, whole blocks of them. */
export const sizeIn = (type: GgufType, elements: number): number => (elements / GGUF_TYPES[type].block) * GGUF_TYPES[type].bytes;

export function encodeBlocks(type: GgufType, values: Float32Array): Uint8Array {
  const { block, bytes, encode } = GGUF_TYPES[type];
  const out = new Uint8Array(sizeIn(type, values.length));
  for (let at = 0, to = 0; at < values.length; at += block, to += bytes) encode(values, at, out, to);
  return out;
}
