/**
 * Weights in few bits: each run of `block` elements, in row-major order, over a scale of its own, to the nearest of a list of levels. The numbers
 * of the levels (codes) lie side by side in 32-bit words, the first in the lowest bits.
 */
import { type Dim, mulDim } from "../dim.ts";
import { Bug } from "../errors.ts";
import type { Type } from "../graph.ts";
import type { AttrsOf } from "./attributes.ts";
import { bounds } from "./bound.ts";
import { halfFormats, isHalfFormat, narrowWords } from "./halves.ts";
import { needCount, needDType, refuse } from "./mismatch.ts";
import type { HostName, IndexingName, Op } from "./op.ts";
import { empty, type Tensor, tensor } from "./tensor.ts";

/** Bits of a code: the fewest of 1, 2, 4, 8 and 16 that tell so many levels apart, so that a code lies in one word. */
export function codeBits(levels: number): number {
  for (const bits of [1, 2, 4, 8, 16]) if (levels <= 2 ** bits) return bits;
  return 0;
}

const MOST = 2 ** 16;
const wordsFor = (elements: number, bits: number): number => Math.ceil((elements * bits) / 32);
const product = (shape: readonly Dim[]): Dim => shape.reduce(mulDim, 1 as Dim);

/** The number of elements, levels and bits; refuses what does not fit together. */
function layoutOf(op: "quantise" | "dequantise", types: readonly Type[], shape: readonly Dim[], block: number) {
  const [, scale, levels] = types;
  const elements = product(shape);
  if (typeof elements !== "number") refuse(op, types, "needs known sizes");
  const [n] = levels.shape;
  if (levels.shape.length !== 1 || typeof n !== "number" || n < 2 || n > MOST)
    refuse(op, types, `levels are a list of 2 to ${MOST} numbers`);
  if (block < 1) refuse(op, types, "a block has at least one element");
  if (scale.shape.length !== 1 || scale.shape[0] !== Math.ceil(elements / block))
    refuse(op, types, `${elements} elements in blocks of ${block} have ${Math.ceil(elements / block)} scales`);
  return { elements, bits: codeBits(n) };
}

function formatOf(attrs: AttrsOf["narrow"]) {
  const { format } = attrs;
  if (!isHalfFormat(format)) throw new Bug(`there is no format ${String(format)}`);
  return halfFormats[format];
}

/** Equal parts of the range of the levels, from each of which the search for a level starts. */
const PARTS = 4096;

/** Gives the number of the level nearest to `x`; half-way between two the lower one. `levels` ascend. */
function nearestOf(levels: ArrayLike<number>): (x: number) => number {
  const last = levels.length - 1;
  const middles = Float64Array.from({ length: last }, (_, i) => (levels[i] + levels[i + 1]) / 2);
  const from = levels[0];
  const factor = PARTS / (levels[last] - from);
  const starts = new Uint16Array(PARTS);
  // a part begins with what is right for the part before, so that a rounded quotient does no harm
  for (let part = 0, low = 0; part < PARTS; part++) {
    while (low < last && from + (part - 1) / factor > middles[low]) low++;
    starts[part] = low;
  }
  return (x) => {
    const part = (x - from) * factor;
    let low = part > 0 ? starts[part < PARTS ? part | 0 : PARTS - 1] : 0;
    while (low < last && x > middles[low]) low++;
    return low;
  };
}

function codesOf(x: ArrayLike<number>, scale: ArrayLike<number>, levels: ArrayLike<number>, block: number, words: Int32Array): void {
  const bits = codeBits(levels.length);
  const nearest = nearestOf(levels);
  let [word, shift, next] = [0, 0, 0];
  for (let b = 0; b * block < x.length; b++) {
    const over = scale[b];
    const end = Math.min(x.length, (b + 1) * block);
    for (let i = b * block; i < end; i++) {
      word |= nearest(over === 0 ? 0 : x[i] / over) << shift;
      shift += bits;
      if (shift < 32) continue;
      words[next++] = word;
      word = shift = 0;
    }
  }
  if (shift > 0) words[next] = word;
}

export function quantise(x: Tensor, scale: Tensor, levels: Tensor, block: number): Tensor {
  const words = new Int32Array(wordsFor(x.data.length, codeBits(levels.data.length)));
  codesOf(x.data, scale.data, levels.data, block, words);
  return tensor("i32", [words.length], Float64Array.from(words));
}

/** The code of element `i`. */
function codeAt(words: Float64Array, i: number, bits: number): number {
  const at = i * bits;
  return (words[Math.floor(at / 32)] >>> (at & 31)) & (2 ** bits - 1);
}

export const packing: { readonly [K in Extract<HostName, "quantise" | "narrow">]: Op<AttrsOf[K]> } = {
  quantise: {
    doc: "quantise {block} (x, scale f32[blocks], levels f32[n] ascending): codes of x / scale to the nearest level, half-way to the lower, packed in i32 words; each run of `block` elements in row-major order has one scale.",
    role: "host",
    shape: (types, attrs) => {
      needCount("quantise", types, 3);
      for (let i = 0; i < 3; i++) needDType("quantise", types, i, ["f32"]);
      const { elements, bits } = layoutOf("quantise", types, types[0].shape, attrs.block);
      return { dtype: "i32", shape: [wordsFor(elements, bits)] };
    },
    eval: ([x, scale, levels], attrs) => quantise(x, scale, levels, attrs.block),
    runs: [0, 1],
    direct: ([x, scale, levels], attrs, into) => codesOf(x, scale, levels, attrs.block, into),
    vjp: "refused",
    examples: [
      {
        inputs: [tensor("f32", [2, 3], [1, -2, 3, 4, 5.5, -6]), tensor("f32", [2], [4, 6]), tensor("f32", [4], [-1, -0.25, 0.5, 1])],
        attrs: { block: 4 },
      },
    ],
  },
  narrow: {
    doc: "narrow {format: f16 or bf16} (x): x in 16 bits, to the nearest with ties to even, two to an i32 word, the first in the lower half.",
    role: "host",
    shape: (types) => {
      needCount("narrow", types, 1);
      needDType("narrow", types, 0, ["f32"]);
      const elements = product(types[0].shape);
      if (typeof elements !== "number") refuse("narrow", types, "needs known sizes");
      return { dtype: "i32", shape: [wordsFor(elements, 16)] };
    },
    eval: ([{ data }], attrs) => {
      const { to } = formatOf(attrs);
      const words = new Int32Array(wordsFor(data.length, 16));
      for (let i = 0; i < data.length; i++) words[i >> 1] |= to(data[i]) << (16 * (i & 1));
      return tensor("i32", [words.length], Float64Array.from(words));
    },
    runs: [0],
    direct: ([x], attrs, into) => {
      if (!(x instanceof Float32Array) || !isHalfFormat(attrs.format)) throw new Bug("narrow is for f32, and a format of 16 bits");
      into[into.length - 1] = 0; // whose upper half may have no number
      narrowWords(attrs.format, x, new Uint16Array(into.buffer, into.byteOffset, x.length));
    },
    vjp: "refused",
    examples: (["f16", "bf16"] as const).map((format) => ({
      inputs: [tensor("f32", [5], [1, -2.00390625, 3.3, 1e-6, 0])],
      attrs: { format },
    })),
  },
};

export const unpacking: { readonly [K in Extract<IndexingName, "dequantise" | "widen">]: Op<AttrsOf[K]> } = {
  dequantise: {
    doc: "dequantise {shape, block} (codes i32[words], scale f32[blocks], levels f32[n]): the level of each code times the scale of its block; what `quantise` packed. Kernels compute it where it is read: it is never kept whole.",
    role: "index",
    shape: (types, attrs) => {
      needCount("dequantise", types, 3);
      needDType("dequantise", types, 0, ["i32"]);
      for (const i of [1, 2]) needDType("dequantise", types, i, ["f32"]);
      const { shape } = attrs;
      const { elements, bits } = layoutOf("dequantise", types, shape, attrs.block);
      if (types[0].shape.length !== 1 || types[0].shape[0] !== wordsFor(elements, bits))
        refuse("dequantise", types, `${elements} codes of ${bits} bits are ${wordsFor(elements, bits)} words`);
      return { dtype: "f32", shape };
    },
    eval: ([codes, scale, levels], attrs) => {
      const out = empty("f32", bounds(attrs.shape));
      const block = attrs.block;
      const bits = codeBits(levels.data.length);
      for (let i = 0; i < out.data.length; i++) out.data[i] = levels.data[codeAt(codes.data, i, bits)] * scale.data[Math.floor(i / block)];
      return out;
    },
    vjp: "refused",
    packed: true,
    sparse: {},
    examples: [
      {
        inputs: [tensor("i32", [1], [0b11_10_01_00_11_01]), tensor("f32", [2], [4, 6]), tensor("f32", [4], [-1, -0.25, 0.5, 1])],
        attrs: { shape: [2, 3], block: 4 },
      },
    ],
  },
  widen: {
    doc: "widen {shape, format: f16 or bf16} (words i32): what `narrow` packed. Kernels compute it where it is read: it is never kept whole.",
    role: "index",
    shape: (types, attrs) => {
      needCount("widen", types, 1);
      needDType("widen", types, 0, ["i32"]);
      const { shape } = attrs;
      const elements = product(shape);
      if (typeof elements !== "number" || types[0].shape.length !== 1 || types[0].shape[0] !== wordsFor(elements, 16))
        refuse("widen", types, `${elements} numbers of 16 bits, two to a word, are not so many words`);
      return { dtype: "f32", shape };
    },
    eval: ([words], attrs) => {
      const { from } = formatOf(attrs);
      const out = empty("f32", bounds(attrs.shape));
      for (let i = 0; i < out.data.length; i++) out.data[i] = from((words.data[i >> 1] >>> (16 * (i & 1))) & 0xffff);
      return out;
    },
    vjp: "refused",
    packed: true,
    sparse: {},
    examples: (["f16", "bf16"] as const).map((format) => ({
      inputs: [tensor("i32", [2], [0x3c00c000, 0x04003e01])],
      attrs: { shape: [3], format },
    })),
  },
};

/** Reads of a packed row, for kernels. */
export const packedAttrs = (attrs: AttrsOf["quantise"], levels: number): { readonly block: number; readonly bits: number } => ({
  block: attrs.block,
  bits: codeBits(levels),
});
