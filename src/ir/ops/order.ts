/** Rows for which the order along an axis matters. */
import { type AttrsFor, attrsOf } from "./attributes.ts";
import { needAxis, needCount, needDType, refuse } from "./mismatch.ts";
import type { Op, OrderName } from "./op.ts";
import { empty, stridesOf, type Tensor, tensor } from "./tensor.ts";

const x23: Tensor = tensor("f32", [2, 3], [1, -2, 3, 4, 5.5, -6]);

export const orders: { readonly [K in OrderName]: Op<AttrsFor<K>> } = {
  cumsum: {
    doc: "cumsum {axis}: sums of all elements up to and with each. Of bool: i32.",
    role: "scan",
    shape: (types, attrs) => {
      needCount("cumsum", types, 1);
      needAxis("cumsum", types, attrs.axis, types[0].shape.length);
      return { dtype: types[0].dtype === "f32" ? "f32" : "i32", shape: types[0].shape };
    },
    eval: ([x], attrs) => {
      const { axis } = attrs;
      const out = empty(x.dtype === "f32" ? "f32" : "i32", x.shape);
      const stride = stridesOf(x.shape)[axis];
      for (let i = 0; i < out.data.length; i++) {
        const first = Math.floor(i / stride) % x.shape[axis] === 0;
        out.data[i] = first ? x.data[i] : out.data[i - stride] + x.data[i];
        if (out.dtype === "i32") out.data[i] |= 0;
      }
      return out;
    },
    vjp: "by transpose",
    linear: "all",
    // Sums from the other end: turned round, summed, turned back. Subtracting from the total would lose digits.
    transpose: ({ b, node, cotangent }) => {
      const { axis } = attrsOf(node, "cumsum");
      return [b.reverse(b.make("cumsum", [b.reverse(cotangent, axis)], { axis }), axis)];
    },
    examples: [
      { inputs: [x23], attrs: { axis: 1 } },
      { inputs: [x23], attrs: { axis: 0 } },
      { inputs: [tensor("bool", [4], [1, 0, 1, 1])], attrs: { axis: 0 } },
    ],
  },
  kth: {
    doc: "kth (x[n], k i32[]): the k-th smallest of n, k from 1 (moved into 1..n). Equal elements share the gradient.",
    role: "scan",
    shape: (types) => {
      needCount("kth", types, 2);
      needDType("kth", types, 0, ["f32"]);
      needDType("kth", types, 1, ["i32"]);
      if (types[0].shape.length !== 1) refuse("kth", types, "needs a vector");
      if (types[1].shape.length !== 0) refuse("kth", types, "k must be a scalar");
      return { dtype: "f32", shape: [] };
    },
    eval: ([x, k]) => {
      const sorted = Float64Array.from(x.data).sort();
      return tensor("f32", [], [sorted[Math.max(0, Math.min(k.data[0], sorted.length) - 1)]]);
    },
    vjp: ({ b, node, inputs: [x], cotangent }) => {
      const hits = b.cast(b.eq(x, b.broadcastTo(node, x.type.shape)), "f32");
      return [b.mul(hits, b.broadcastTo(b.div(cotangent, b.reduce("sum", hits, [0])), x.type.shape)), undefined];
    },
    jvp: ({ b, node, inputs: [x], tangents: [t] }) => {
      if (!t) return undefined;
      const hits = b.cast(b.eq(x, b.broadcastTo(node, x.type.shape)), "f32");
      return b.div(b.reduce("sum", b.mul(hits, t), [0]), b.reduce("sum", hits, [0]));
    },
    examples: [{ inputs: [tensor("f32", [5], [3, -1, 2, 0.5, 7]), tensor("i32", [], [2])], attrs: {} }],
  },
};
