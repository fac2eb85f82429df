/** Elementwise rows. All operands of a row have equal shapes. */
import type { Builder } from "../build.ts";
import type { DType, Node } from "../graph.ts";
import type { AttrsFor } from "./attributes.ts";
import { type FunctionRow, functions } from "./functions.ts";
import { needCount, needDType, needSameShape, refuse } from "./mismatch.ts";
import type { BinaryName, CompareName, Example, FunctionName, LogicName, MapName, Op, PartialDerivative } from "./op.ts";
import { isConstant } from "./query.ts";
import { operators } from "./scalar.ts";
import { empty, type Tensor, tensor } from "./tensor.ts";

// ---- types

/** All operands of one dtype out of `accepts`, of one shape; the result is of that dtype, or of `result`. */
function alike(op: MapName, n: number, accepts: readonly DType[], result?: DType): Pick<Op, "shape" | "accepts"> {
  return {
    accepts,
    shape: (types, _attrs, solver) => {
      needCount(op, types, n);
      for (let i = 0; i < n; i++) needDType(op, types, i, accepts);
      if (n === 2 && types[0].dtype !== types[1].dtype) refuse(op, types, "operands have different dtypes");
      needSameShape(op, types, solver);
      return { dtype: result ?? types[0].dtype, shape: types[0].shape };
    },
  };
}

// ---- values

/** Integers wrap as 32-bit two's complement, on every target. */
function settle(out: Tensor): Tensor {
  if (out.dtype === "i32") for (let i = 0; i < out.data.length; i++) out.data[i] |= 0;
  return out;
}

function map1(f: (x: number) => number, dtype?: DType) {
  return ([x]: readonly Tensor[]): Tensor => {
    const out = empty(dtype ?? x.dtype, x.shape);
    for (let i = 0; i < out.data.length; i++) out.data[i] = f(x.data[i]);
    return settle(out);
  };
}
function map2(op: BinaryName, dtype?: DType) {
  const { of } = operators[op];
  return ([a, b]: readonly Tensor[]): Tensor => {
    const out = empty(dtype ?? a.dtype, a.shape);
    for (let i = 0; i < out.data.length; i++) out.data[i] = of(a.data[i], b.data[i], 0);
    return settle(out);
  };
}

// ---- examples

const row = (...data: number[]): Tensor => tensor("f32", [data.length], data);
const ints = (...data: number[]): Tensor => tensor("i32", [data.length], data);
const bools = (...data: number[]): Tensor => tensor("bool", [data.length], data);
const one = (...inputs: Tensor[]): Example => ({ inputs, attrs: {} });

// ---- rows

const number: readonly DType[] = ["f32", "i32"];
const float: readonly DType[] = ["f32"];
const any: readonly DType[] = ["f32", "i32", "bool"];

/** The row of a function of one number. */
function ofOne(op: FunctionName): Op {
  const { doc, of, slope, takes, inverse, whole, at, atWhole }: FunctionRow = functions[op];
  return {
    doc: whole ? `${doc.slice(0, -1)}; keeps the dtype.` : doc,
    role: "map",
    scalar: op,
    ...alike(op, 1, takes),
    eval: map1(of),
    ...(slope === "flat" ? { vjp: "zero" } : { vjp: "by partials", partials: [slope] }),
    ...(inverse && { invert: (b, _node, _i, result) => b.unary(inverse, result) }),
    sparse: of(0) === 0 ? { any: [0] } : undefined,
    examples: [one(row(...at)), ...(atWhole ? [one(ints(...atWhole))] : [])],
  };
}

function compare(op: CompareName, doc: string, allowed = number, commutative = false): Op {
  return {
    doc,
    role: "map",
    scalar: op,
    ...alike(op, 2, allowed, "bool"),
    eval: map2(op, "bool"),
    vjp: "zero",
    algebra: { commutative },
    sparse: { makes: "always" },
    examples: [one(row(1, 2, -3), row(1, 3, -4)), one(ints(1, 2, -3), ints(1, 3, -4))],
  };
}

function logic(op: LogicName, doc: string, algebra: Op["algebra"], sparse: Op["sparse"]): Op {
  return {
    doc,
    role: "map",
    scalar: op,
    ...alike(op, 2, ["bool"]),
    eval: map2(op),
    vjp: "zero",
    algebra,
    sparse,
    examples: [one(bools(0, 0, 1, 1), bools(0, 1, 0, 1))],
  };
}

/**
 * The larger (smaller) operand takes the gradient; ties share it, as in `torch.maximum`. Against a constant a tie gives 0, so that
 * max(x, 0) has the derivative of `torch.relu`.
 */
const chosen =
  (i: 0 | 1, compareTo: "gt" | "lt"): PartialDerivative =>
  (b, inputs) => {
    const mine = inputs[i];
    const other = inputs[1 - i];
    const wins = b.make(compareTo, [mine, other]);
    if (isConstant(other)) return b.cast(wins, "f32");
    return b.where(wins, 1, b.where(b.eq(mine, other), 0.5, 0));
  };

function extreme(op: "max" | "min", sparse?: Op["sparse"]): Op {
  const compareTo = op === "max" ? "gt" : "lt";
  return {
    doc: `The ${op === "max" ? "larger" : "smaller"} of two; NaN if either is. Ties share the gradient; against a constant they give none.`,
    role: "map",
    scalar: op,
    ...alike(op, 2, number),
    eval: map2(op),
    vjp: "by partials",
    partials: [chosen(0, compareTo), chosen(1, compareTo)],
    algebra: { commutative: true },
    sparse,
    examples: [one(row(1, 2, -3), row(1.5, 0.5, -4)), one(ints(1, 2, -3), ints(4, 0, -4))],
  };
}

const zeroAt = (b: Builder, where: Node, value: Node): Node => b.where(where, 0, value);

export const maps: { readonly [K in MapName]: Op<AttrsFor<K>> } = {
  neg: {
    doc: "−x.",
    role: "scale",
    scalar: "neg",
    ...alike("neg", 1, number),
    eval: map1((x) => -x),
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, cotangent }) => [b.neg(cotangent)],
    invert: (b, _node, _i, result) => b.neg(result),
    sparse: { any: [0] },
    examples: [one(row(1, -2, 0.5)), one(ints(3, -4))],
  },
  ...(Object.fromEntries(Object.keys(functions).map((name) => [name, ofOne(name as FunctionName)])) as Record<FunctionName, Op>),
  not: {
    doc: "Logical not.",
    role: "map",
    scalar: "not",
    ...alike("not", 1, ["bool"]),
    eval: map1((x) => 1 - x),
    vjp: "zero",
    sparse: { makes: "always" },
    examples: [one(bools(0, 1))],
  },

  add: {
    doc: "a + b; i32 wraps.",
    role: "sum",
    scalar: "add",
    ...alike("add", 2, number),
    eval: ([a, b]) => {
      const out = empty(a.dtype, a.shape);
      for (let i = 0; i < out.data.length; i++) out.data[i] = a.data[i] + b.data[i];
      return settle(out);
    },
    vjp: "by transpose",
    linear: "all",
    transpose: ({ cotangent }) => [cotangent, cotangent],
    algebra: { commutative: true, identity: 0 },
    invert: (b, node, i, result) => b.sub(result, node.inputs[1 - i]),
    sparse: { all: [0, 1] },
    examples: [one(row(1, -2, 0.5), row(3, 4, 5)), one(ints(3, -4), ints(2 ** 31 - 1, 1))],
  },
  sub: {
    doc: "a − b; i32 wraps.",
    role: "sum",
    scalar: "sub",
    ...alike("sub", 2, number),
    eval: ([a, b]) => {
      const out = empty(a.dtype, a.shape);
      for (let i = 0; i < out.data.length; i++) out.data[i] = a.data[i] - b.data[i];
      return settle(out);
    },
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, cotangent, wants }) => [cotangent, wants(1) ? b.neg(cotangent) : undefined],
    algebra: { identity: 0 },
    invert: (b, node, i, result) => (i === 0 ? b.add(result, node.inputs[1]) : b.sub(node.inputs[0], result)),
    sparse: { all: [0, 1] },
    examples: [one(row(1, -2, 0.5), row(3, 4, 5)), one(ints(3, -4), ints(2, 1))],
  },
  mul: {
    doc: "a · b; i32 wraps.",
    role: "scale",
    scalar: "mul",
    ...alike("mul", 2, number),
    eval: ([a, b]) => {
      const out = empty(a.dtype, a.shape);
      if (a.dtype === "i32") for (let i = 0; i < out.data.length; i++) out.data[i] = Math.imul(a.data[i], b.data[i]);
      else for (let i = 0; i < out.data.length; i++) out.data[i] = a.data[i] * b.data[i];
      return out;
    },
    vjp: "by transpose",
    linear: [[0], [1]],
    transpose: ({ b, inputs, cotangent, wants }) => [
      wants(0) ? b.mul(cotangent, inputs[1]) : undefined,
      wants(1) ? b.mul(cotangent, inputs[0]) : undefined,
    ],
    algebra: { commutative: true, identity: 1, absorbing: 0 },
    invert: (b, node, i, result) => (node.type.dtype === "f32" ? b.div(result, node.inputs[1 - i]) : undefined),
    sparse: { any: [0, 1] },
    examples: [one(row(1, -2, 0.5), row(3, 4, 5)), one(ints(3, -4), ints(2, 1))],
  },
  div: {
    doc: "a / b, f32 only.",
    role: "scale",
    scalar: "div",
    ...alike("div", 2, float),
    eval: ([a, b]) => {
      const out = empty(a.dtype, a.shape);
      for (let i = 0; i < out.data.length; i++) out.data[i] = a.data[i] / b.data[i];
      return out;
    },
    vjp: ({ b, node, inputs, cotangent, wants }) => {
      const first = b.div(cotangent, inputs[1]);
      return [wants(0) ? first : undefined, wants(1) ? b.neg(b.mul(first, node)) : undefined];
    },
    jvp: ({ b, node, inputs, tangents: [p, q] }) => {
      const first = p && b.div(p, inputs[1]);
      const second = q && b.div(b.mul(q, node), inputs[1]);
      return first && second ? b.sub(first, second) : (first ?? (second && b.neg(second)));
    },
    algebra: { identity: 1 },
    invert: (b, node, i, result) => (i === 0 ? b.mul(result, node.inputs[1]) : b.div(node.inputs[0], result)),
    sparse: { any: [0] },
    examples: [one(row(1, -2, 0.5), row(3, 4, 5))],
  },
  pow: {
    doc: "a to the power b, f32 only. The slope in a is 0 where b is 0; the slope in b is 0 where a is 0.",
    role: "map",
    scalar: "pow",
    ...alike("pow", 2, float),
    eval: map2("pow"),
    vjp: "by partials",
    partials: [
      (b, [x, p]) => {
        const slope = b.mul(p, b.pow(x, b.sub(p, 1)));
        return isConstant(p) ? slope : zeroAt(b, b.eq(p, 0), slope);
      },
      (b, [x], y) => zeroAt(b, b.eq(x, 0), b.mul(y, b.unary("log", x))),
    ],
    algebra: { identity: 1 },
    examples: [one(row(1.5, 2, 0.5), row(3, -2, 0.5))],
  },
  max: extreme("max", { all: [0, 1], makes: "beside zero" }),
  min: extreme("min", { all: [0, 1], makes: "beside zero" }),
  mod: {
    doc: "a − b·floor(a/b): the remainder with the sign of b. A remainder by 0 is NaN in f32 and 0 in i32.",
    role: "map",
    scalar: "mod",
    ...alike("mod", 2, number),
    eval: map2("mod"),
    vjp: "by expansion",
    expansion: (b, { inputs: [x, y] }) => b.sub(x, b.mul(y, b.unary("floor", b.div(x, y)))),
    examples: [one(row(5.5, -5.5, 0.5), row(3, 3, -2)), one(ints(5, -5), ints(3, 3))],
  },

  eq: compare("eq", "a = b.", any, true),
  ne: compare("ne", "a ≠ b.", any, true),
  lt: compare("lt", "a < b."),
  le: compare("le", "a ≤ b."),
  gt: compare("gt", "a > b."),
  ge: compare("ge", "a ≥ b."),
  and: logic("and", "Logical and.", { commutative: true, identity: 1, absorbing: 0 }, { any: [0, 1] }),
  or: logic("or", "Logical or.", { commutative: true, identity: 0, absorbing: 1 }, { all: [0, 1] }),

  where: {
    doc: "where(c, a, b): a where the bool c holds, otherwise b. What is not chosen takes no gradient, even where it is NaN.",
    role: "map",
    scalar: "where",
    accepts: any,
    shape: (types, _attrs, solver) => {
      needCount("where", types, 3);
      needDType("where", types, 0, ["bool"]);
      if (types[1].dtype !== types[2].dtype) refuse("where", types, "the two choices have different dtypes");
      needSameShape("where", types, solver);
      return { dtype: types[1].dtype, shape: types[1].shape };
    },
    eval: ([c, a, b]) => {
      const out = empty(a.dtype, a.shape);
      for (let i = 0; i < out.data.length; i++) out.data[i] = c.data[i] ? a.data[i] : b.data[i];
      return out;
    },
    vjp: "by transpose",
    linear: [[1, 2]],
    transpose: ({ b, inputs: [c], cotangent, wants }) => [
      undefined,
      wants(1) ? b.where(c, cotangent, 0) : undefined,
      wants(2) ? b.where(c, 0, cotangent) : undefined,
    ],
    sparse: { all: [1, 2], makes: "beside zero" },
    examples: [{ inputs: [bools(1, 0, 1), row(1, 2, 3), row(4, 5, 6)], attrs: {} }],
  },
  cast: {
    doc: "cast {dtype}: f32 to i32 truncates towards 0, to bool asks for ≠ 0; bool gives 0 or 1.",
    role: "map",
    scalar: "cast",
    accepts: any,
    shape: (types, attrs) => {
      needCount("cast", types, 1);
      return { dtype: attrs.dtype, shape: types[0].shape };
    },
    eval: ([x], attrs) => {
      const to = attrs.dtype;
      const out = empty(to, x.shape);
      if (to === "bool") for (let i = 0; i < out.data.length; i++) out.data[i] = x.data[i] !== 0 ? 1 : 0;
      else if (to === "i32") for (let i = 0; i < out.data.length; i++) out.data[i] = Math.trunc(x.data[i]) | 0;
      else out.data.set(x.data);
      return out;
    },
    vjp: "zero",
    sparse: { any: [0] },
    examples: [
      { inputs: [row(1.5, -2.5, 0)], attrs: { dtype: "i32" } },
      { inputs: [ints(0, 2)], attrs: { dtype: "bool" } },
      { inputs: [bools(0, 1)], attrs: { dtype: "f32" } },
    ],
  },
};
