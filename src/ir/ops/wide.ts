/**
 * Rows of reversible streams whose integers have two words: i32[2, ...], high words before low ones, of which a number is high·2²⁴ + low with
 * 0 ≤ low < 2²⁴. So its range is ±2⁵⁴, and a device needs nothing but i32. As in couplings.ts otherwise.
 */
import type { Attrs, Type } from "../graph.ts";
import type { AttrsFor, AttrsOf } from "./attributes.ts";
import { least, nearest, type Ratio, ratioOf, remainderOf } from "./integers.ts";
import { needCount, needDType, needSameShape, refuse } from "./mismatch.ts";
import type { Op, WideName } from "./op.ts";
import { count, empty, type Tensor, tensor } from "./tensor.ts";

/** What a high word counts. */
export const WORD = 2 ** 24;

/** The type of a stream without its axis of words. Throws `TypeMismatch`. */
function elementsOf(op: WideName, types: readonly Type[], i: number): Type {
  needDType(op, types, i, ["i32"]);
  const [words, ...shape] = types[i].shape;
  if (words !== 2) refuse(op, types, "integers of two words have an axis of 2 in front");
  return { dtype: "i32", shape };
}

/** The integers of a stream. */
function integersOf({ data }: Tensor): bigint[] {
  const n = data.length / 2;
  return Array.from({ length: n }, (_, i) => BigInt(data[i]) * BigInt(WORD) + BigInt(data[n + i]));
}
function wordsOf(xs: readonly bigint[], shape: readonly number[]): Tensor {
  const out = empty("i32", shape);
  xs.forEach((x, i) => {
    const high = x >> 24n;
    out.data[i] = Number(BigInt.asIntN(32, high));
    out.data[xs.length + i] = Number(x - high * BigInt(WORD));
  });
  return out;
}

const shapeOfStreams =
  (op: WideName, n: number): Op<AttrsOf["couple_wide"]>["shape"] =>
  (types, attrs, solver) => {
    needCount(op, types, n);
    ratioOf(attrs);
    types.forEach((_, i) => void elementsOf(op, types, i));
    needSameShape(op, types, solver);
    return types[0];
  };

const wide = (...xs: number[]): Tensor => wordsOf(xs.map(BigInt), [2, xs.length]);
const some = wide(-(2 ** 52) - 3, -1234567890123, -16777217, -6, -5, 0, 4, 5, 14, 15, 2 ** 24, 999999999999, 2 ** 52 + 1);
const added = wide(3, -400000000004, 5, 0, 7, -9, 100, -100, 1, 2, 2 ** 40, -4, -5);
const ratios: readonly Ratio[] = [
  { num: 1, den: 10 },
  { num: 2, den: 3 },
  { num: 1, den: 1 },
  { num: 9, den: 10 },
  { num: 1, den: 16384 },
  { num: 16383, den: 16384 },
  { num: 5, den: 2 },
];
const each = (x: Tensor, f: (x: bigint, i: number) => bigint): Tensor => wordsOf(integersOf(x).map(f), x.shape);
const places = (x: Tensor, r: Ratio): Tensor =>
  tensor(
    "i32",
    x.shape.slice(1),
    integersOf(x).map((v) => Number(remainderOf(v, r))),
  );
const coupled = (x: Tensor, f: Tensor, r: Ratio): Tensor => {
  const more = integersOf(f);
  return each(x, (v, i) => nearest(v, r) + more[i]);
};
const attrsOf = (r: Ratio): Attrs => ({ ...r });

export const wides: { readonly [K in WideName]: Op<AttrsFor<K>> } = {
  couple_wide: {
    doc: "couple_wide {num, den} (x, f), integers of two words: num/den·x to the nearest integer, halves upward, + f.",
    role: "index",
    shape: shapeOfStreams("couple_wide", 2),
    eval: ([x, f], attrs) => coupled(x, f, ratioOf(attrs)),
    vjp: "refused",
    examples: ratios.map((r) => ({ inputs: [some, added], attrs: attrsOf(r) })),
  },
  uncouple_wide: {
    doc: "uncouple_wide {num, den} (y, f, k): the x, of two words, of which y = couple_wide(x, f) and k = remainder_wide(x).",
    role: "index",
    shape: (types, attrs, solver) => {
      needCount("uncouple_wide", types, 3);
      shapeOfStreams("uncouple_wide", 2)(types.slice(0, 2), attrs, solver, []);
      needDType("uncouple_wide", types, 2, ["i32"]);
      needSameShape("uncouple_wide", [elementsOf("uncouple_wide", types, 0), types[2]], solver);
      return types[0];
    },
    eval: ([y, f, k], attrs) => {
      const r = ratioOf(attrs);
      const less = integersOf(f);
      return each(y, (v, i) => least(v - less[i], r) + BigInt(k.data[i]));
    },
    vjp: "refused",
    examples: ratios.map((r) => ({ inputs: [coupled(some, added, r), added, places(some, r)], attrs: attrsOf(r) })),
  },
  remainder_wide: {
    doc: "remainder_wide {num, den} (x of two words): its place, from 0, among the integers whose multiple by num/den rounds to the same.",
    role: "index",
    shape: (types, attrs) => {
      needCount("remainder_wide", types, 1);
      ratioOf(attrs);
      return elementsOf("remainder_wide", types, 0);
    },
    eval: ([x], attrs) => places(x, ratioOf(attrs)),
    vjp: "zero",
    examples: ratios.map((r) => ({ inputs: [some], attrs: attrsOf(r) })),
  },
  to_words: {
    doc: "to_words (x): whole numbers within ±2⁵⁴, which f32 holds, as integers of two words.",
    role: "index",
    shape: (types) => {
      needCount("to_words", types, 1);
      needDType("to_words", types, 0, ["f32"]);
      return { dtype: "i32", shape: [2, ...types[0].shape] };
    },
    eval: ([x]) =>
      wordsOf(
        Array.from(x.data, (v) => BigInt(Math.floor(v))),
        [2, ...x.shape],
      ),
    vjp: "zero",
    examples: [{ inputs: [tensor("f32", [7], [0, -1, 5, -(2 ** 24), 16777215, 3 * 2 ** 50, -5 * 2 ** 40])], attrs: {} }],
  },
  from_words: {
    doc: "from_words (x of two words): its value as f32.",
    role: "index",
    shape: (types) => {
      needCount("from_words", types, 1);
      return { dtype: "f32", shape: elementsOf("from_words", types, 0).shape };
    },
    eval: ([x]) => {
      const n = count(x.shape.slice(1));
      return tensor(
        "f32",
        x.shape.slice(1),
        Array.from({ length: n }, (_, i) => x.data[i] * WORD + x.data[n + i]),
      );
    },
    vjp: "zero",
    examples: [{ inputs: [some], attrs: {} }],
  },
};
