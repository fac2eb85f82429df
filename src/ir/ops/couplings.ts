/**
 * Rows of reversible streams: y = c·x + f with c = num/den, and back. In f32 up to rounding; in i32, where a stream x stands for x·2⁻ᵠ, to the
 * bit: what a factor below 1 loses of an integer is its place among the integers that round to the same, which `remainder` gives and `pack`
 * puts away. Rows for integers of two words: wide.ts.
 */
import { Bug } from "../errors.ts";
import type { DType } from "../graph.ts";
import { type AttrsOf, attrsOf } from "./attributes.ts";
import { bounds } from "./bound.ts";
import { type Ratio, ratioOf } from "./integers.ts";
import { needCount, needDType, needSameShape, refuse } from "./mismatch.ts";
import type { CouplingName, Op } from "./op.ts";
import { count, empty, type Tensor, tensor } from "./tensor.ts";

/** num/den · x, rounded to the nearest integer, halves upward. */
const nearest = (x: number, { num, den }: Ratio): number => Math.floor((2 * num * x + den) / (2 * den));
/** The least integer that `nearest` takes to `q`. */
const least = (q: number, { num, den }: Ratio): number => -Math.floor(-(2 * den * q - den) / (2 * num));

const stream: readonly DType[] = ["f32", "i32"];

function elementwise(op: CouplingName, n: number | readonly number[], accepts: readonly DType[]): Pick<Op<AttrsOf["remainder"]>, "shape"> {
  return {
    shape: (types, attrs, solver) => {
      if (typeof n === "number") needCount(op, types, n);
      else if (!n.includes(types.length)) needCount(op, types, n[0]);
      ratioOf(attrs);
      for (let i = 0; i < types.length; i++) needDType(op, types, i, accepts);
      if (types.some((t) => t.dtype !== types[0].dtype)) refuse(op, types, "operands have different dtypes");
      needSameShape(op, types, solver);
      return types[0];
    },
  };
}
function each(x: Tensor, f: (i: number) => number): Tensor {
  const out = empty(x.dtype, x.shape);
  for (let i = 0; i < out.data.length; i++) out.data[i] = x.dtype === "i32" ? f(i) | 0 : f(i);
  return out;
}

/** Numbers of one word: as many as fit. */
export const perWord = (bits: number): number => Math.floor(32 / bits);
const wordsOf = (elements: number, bits: number): number => Math.ceil(elements / perWord(bits));
function bitsOf({ bits }: AttrsOf["pack"]): number {
  if (!Number.isInteger(bits) || bits < 1 || bits > 16) throw new Bug(`numbers of ${bits} bits are not packed`);
  return bits;
}

const ints = (...data: number[]): Tensor => tensor("i32", [data.length], data);
const floats = (...data: number[]): Tensor => tensor("f32", [data.length], data);
const some = ints(-1234567, -15, -6, -5, -4, 0, 4, 5, 14, 15, 999999, 400000001);
const added = ints(3, -4, 5, 0, 7, -9, 100, -100, 1, 2, 3, -4);
const tenth = { num: 1, den: 10 };
const third = { num: 2, den: 3 };
const whole = { num: 1, den: 1 };
const nines = { num: 9, den: 10 };
const ratios = [tenth, third, whole, nines, { num: 1, den: 7 }, { num: 5, den: 2 }];

export const couplings: { readonly [K in CouplingName]: Op<AttrsOf[K]> } = {
  couple: {
    doc: "couple {num, den} (x, f): num/den·x + f. In i32 the product is rounded to the nearest integer, halves upward.",
    role: "map",
    ...elementwise("couple", 2, stream),
    eval: ([x, f], attrs) => {
      const r = ratioOf(attrs);
      return each(x, (i) => (x.dtype === "i32" ? nearest(x.data[i], r) : (x.data[i] * r.num) / r.den) + f.data[i]);
    },
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, node, cotangent, wants }) => {
      const { num, den } = ratioOf(attrsOf(node, "couple", "uncouple"));
      return [wants(0) ? b.mul(cotangent, num / den) : undefined, cotangent];
    },
    invert: (b, node, i, result) =>
      i === 0 && node.type.dtype === "f32" ? b.make("uncouple", [result, node.inputs[1]], attrsOf(node, "couple")) : undefined,
    sparse: { all: [0, 1] },
    examples: [
      ...ratios.map((attrs) => ({ inputs: [some, added], attrs: { ...attrs } })),
      { inputs: [floats(1, -2, 0.5), floats(3, 4, 5)], attrs: { ...tenth } },
    ],
  },
  uncouple: {
    doc: "uncouple {num, den} (y, f, k in i32): the x of which y = couple(x, f) and k = remainder(x). In f32, without k: (y − f)·den/num.",
    role: "map",
    shape: (types, attrs, solver, nodes) => {
      const n = types[0]?.dtype === "i32" ? 3 : 2;
      return elementwise("uncouple", n, stream).shape(types, attrs, solver, nodes);
    },
    eval: ([y, f, k], attrs) => {
      const r = ratioOf(attrs);
      return each(y, (i) => {
        const d = y.data[i] - f.data[i];
        return k ? least(d, r) + k.data[i] : (d * r.den) / r.num;
      });
    },
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, node, cotangent, wants }) => {
      const { num, den } = ratioOf(attrsOf(node, "couple", "uncouple"));
      const scaled = b.mul(cotangent, den / num);
      return [scaled, wants(1) ? b.neg(scaled) : undefined];
    },
    examples: [
      ...ratios.map((r) => ({
        inputs: [
          each(some, (i) => nearest(some.data[i], r) + added.data[i]),
          added,
          each(some, (i) => some.data[i] - least(nearest(some.data[i], r), r)),
        ],
        attrs: { ...r },
      })),
      { inputs: [floats(1, -2, 0.5), floats(3, 4, 5)], attrs: { ...tenth } },
    ],
  },
  remainder: {
    doc: "remainder {num, den} (x): the place, from 0, of an i32 among the integers whose multiple by num/den rounds to the same.",
    role: "map",
    ...elementwise("remainder", 1, ["i32"]),
    eval: ([x], attrs) => {
      const r = ratioOf(attrs);
      return each(x, (i) => x.data[i] - least(nearest(x.data[i], r), r));
    },
    vjp: "zero",
    examples: ratios.map((attrs) => ({ inputs: [some], attrs: { ...attrs } })),
  },
  pack: {
    doc: "pack {bits} (x i32[n]): as many numbers of so many bits as a word holds; word w has x[w] in its lowest bits, then x[w + words] ...",
    role: "index",
    shape: (types, attrs) => {
      needCount("pack", types, 1);
      needDType("pack", types, 0, ["i32"]);
      const [n] = types[0].shape;
      if (types[0].shape.length !== 1 || typeof n !== "number") refuse("pack", types, "numbers to pack are a vector of known length");
      return { dtype: "i32", shape: [wordsOf(n, bitsOf(attrs))] };
    },
    eval: ([x], attrs) => {
      const bits = bitsOf(attrs);
      const words = wordsOf(x.data.length, bits);
      const out = empty("i32", [words]);
      for (let i = 0; i < x.data.length; i++) out.data[i % words] |= (x.data[i] & (2 ** bits - 1)) << (bits * Math.floor(i / words));
      return out;
    },
    vjp: "zero",
    examples: [
      { inputs: [ints(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0)], attrs: { bits: 4 } },
      { inputs: [ints(1, 0, 1, 1, 0)], attrs: { bits: 1 } },
      { inputs: [ints(7, 6, 5, 4, 3, 2, 1, 0, 7, 6, 5)], attrs: { bits: 3 } },
    ],
  },
  unpack: {
    doc: "unpack {shape, bits} (words): the numbers that `pack` put into the words.",
    role: "index",
    shape: (types, attrs) => {
      needCount("unpack", types, 1);
      needDType("unpack", types, 0, ["i32"]);
      const { shape } = attrs;
      if (types[0].shape[0] !== wordsOf(count(shape as readonly number[]), bitsOf(attrs)))
        refuse("unpack", types, "the words are not those of this shape");
      return { dtype: "i32", shape };
    },
    eval: ([w], attrs) => {
      const bits = bitsOf(attrs);
      const out = empty("i32", bounds(attrs.shape));
      const words = w.data.length;
      for (let i = 0; i < out.data.length; i++) out.data[i] = (w.data[i % words] >>> (bits * Math.floor(i / words))) & (2 ** bits - 1);
      return out;
    },
    vjp: "zero",
    examples: [
      { inputs: [ints(0x12345678, -2)], attrs: { bits: 4, shape: [2, 8] } },
      { inputs: [ints(0b1011)], attrs: { bits: 1, shape: [4] } },
      { inputs: [ints(-1234567890, 1234567890)], attrs: { bits: 3, shape: [11] } },
    ],
  },
};
