/** Rows in which axes disappear. */
import type { Dim } from "../dim.ts";
import type { DType, Node, Type } from "../graph.ts";
import { type AttrsOf, attrsOf } from "./attributes.ts";
import { needAxes, needAxis, needCount, needDType } from "./mismatch.ts";
import type { ArithmeticName, Op, ReductionName } from "./op.ts";
import { larger, smaller } from "./scalar.ts";
import { copyBox, count, stridesOf, type Tensor, tensor } from "./tensor.ts";

const without = (shape: readonly Dim[], axes: readonly number[]) => shape.filter((_, i) => !axes.includes(i));

function reducedType(op: ReductionName, types: readonly Type[], axes: unknown, allowed: readonly DType[], dtype: DType): Type {
  needCount(op, types, 1);
  needDType(op, types, 0, allowed);
  return { dtype, shape: without(types[0].shape, needAxes(op, types, axes, types[0].shape.length)) };
}

/** The operand as a dense [kept, reduced] matrix. */
function gathered(x: Tensor, axes: readonly number[]): { shape: number[]; kept: number; reduced: number; data: Float64Array } {
  const keep = x.shape.flatMap((_, i) => (axes.includes(i) ? [] : [i]));
  const order = [...keep, ...[...axes].sort((a, b) => a - b)];
  const shape = keep.map((i) => x.shape[i]);
  const reduced = count(axes.map((i) => x.shape[i]));
  if (order.every((a, i) => a === i)) return { shape, kept: count(shape), reduced, data: x.data };
  const data = new Float64Array(x.data.length);
  const strides = stridesOf(x.shape);
  const moved = order.map((a) => x.shape[a]);
  copyBox(
    moved,
    x.data,
    0,
    order.map((a) => strides[a]),
    data,
    0,
    stridesOf(moved),
  );
  return { shape, kept: count(shape), reduced, data };
}

const plus = (a: number, b: number): number => a + b;

function fold(x: Tensor, { axes }: AttrsOf["reduce_sum"], dtype: DType, identity: number, merge: (a: number, b: number) => number): Tensor {
  const { shape, kept, reduced, data } = gathered(x, axes);
  const out = new Float64Array(kept);
  if (dtype === "f32" && merge === plus) {
    for (let i = 0, at = 0; i < kept; i++) {
      let sum = 0;
      for (const end = at + reduced; at < end; at++) sum += data[at];
      out[i] = sum;
    }
    return { dtype, shape, data: out };
  }
  for (let i = 0, at = 0; i < kept; i++) {
    let value = identity;
    for (const end = at + reduced; at < end; at++) value = merge(value, data[at]);
    out[i] = dtype === "i32" ? value | 0 : value;
  }
  return { dtype, shape, data: out };
}

const axesOf = (node: Node) => attrsOf(node, "reduce_sum", "reduce_max", "reduce_min").axes;

const x23: Tensor = tensor("f32", [2, 3], [1, -2, 3, 4, 5.5, -6]);
const i23: Tensor = tensor("i32", [2, 3], [1, -2, 3, 4, 5, -6]);
const x213: Tensor = tensor("f32", [2, 1, 3], [1, -2, 3, 4, 5.5, -6]);

function extreme(
  op: "reduce_max" | "reduce_min",
  merge: ArithmeticName,
  identity: number,
  f: (a: number, b: number) => number,
): Op<AttrsOf["reduce_max"]> {
  /** 1 where an element is the extreme one, shared among ties. */
  const share = (b: Parameters<Extract<Op, { vjp: "by expansion" }>["expansion"]>[0], node: Node): Node => {
    const x = node.inputs[0];
    const hits = b.cast(b.eq(x, b.restore(node, x.type.shape, axesOf(node))), "f32");
    return b.div(hits, b.restore(b.reduce("sum", hits, axesOf(node)), x.type.shape, axesOf(node)));
  };
  return {
    doc: `${op} {axes}: the ${op === "reduce_max" ? "largest" : "smallest"} over the axes, which disappear; NaN if one is there. Ties share the gradient, as in torch.amax.`,
    role: "reduce",
    shape: (types, attrs) => reducedType(op, types, attrs.axes, ["f32", "i32"], types[0]?.dtype),
    eval: ([x], attrs) => fold(x, attrs, x.dtype, identity, f),
    vjp: ({ b, node, inputs: [x], cotangent }) => [b.mul(share(b, node), b.restore(cotangent, x.type.shape, axesOf(node)))],
    jvp: ({ b, node, tangents: [t] }) => t && b.reduce("sum", b.mul(share(b, node), t), axesOf(node)),
    reduce: { identity, merge },
    examples: [
      { inputs: [x23], attrs: { axes: [1] } },
      { inputs: [x213], attrs: { axes: [0, 2] } },
      { inputs: [i23], attrs: { axes: [0] } },
    ],
  };
}

export const reductions: { readonly [K in ReductionName]: Op<AttrsOf[K]> } = {
  reduce_sum: {
    doc: "reduce_sum {axes}: the sum over the axes, which disappear. Sums of i32 and bool are i32.",
    role: "reduce",
    shape: (types, attrs) =>
      reducedType("reduce_sum", types, attrs.axes, ["f32", "i32", "bool"], types[0]?.dtype === "f32" ? "f32" : "i32"),
    eval: ([x], attrs) => fold(x, attrs, x.dtype === "f32" ? "f32" : "i32", 0, plus),
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, node, inputs: [x], cotangent }) => [b.restore(cotangent, x.type.shape, axesOf(node))],
    reduce: { identity: 0, merge: "add" },
    sparse: { all: [0] },
    examples: [
      { inputs: [x23], attrs: { axes: [1] } },
      { inputs: [x23], attrs: { axes: [0] } },
      { inputs: [x213], attrs: { axes: [0, 2] } },
      { inputs: [i23], attrs: { axes: [0, 1] } },
      { inputs: [tensor("bool", [3], [1, 0, 1])], attrs: { axes: [0] } },
    ],
  },
  reduce_max: extreme("reduce_max", "max", Number.NEGATIVE_INFINITY, larger),
  reduce_min: extreme("reduce_min", "min", Number.POSITIVE_INFINITY, smaller),
  argmax: {
    doc: "argmax {axis}: the index of the largest on the axis, the first of equals; i32.",
    role: "reduce",
    shape: (types, attrs) => {
      needCount("argmax", types, 1);
      needAxis("argmax", types, attrs.axis, types[0].shape.length);
      return reducedType("argmax", types, [attrs.axis], ["f32", "i32"], "i32");
    },
    eval: ([x], attrs) => {
      const { shape, kept, reduced, data } = gathered(x, [attrs.axis]);
      const out = new Float64Array(kept);
      for (let i = 0; i < kept; i++) {
        let best = 0;
        for (let j = 1; j < reduced; j++) if (data[i * reduced + j] > data[i * reduced + best]) best = j;
        out[i] = best;
      }
      return { dtype: "i32", shape, data: out };
    },
    vjp: "zero",
    examples: [
      { inputs: [x23], attrs: { axis: 1 } },
      { inputs: [x23], attrs: { axis: 0 } },
    ],
  },
};
