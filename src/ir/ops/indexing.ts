/** Rows in which data chooses the place. */
import { subDim } from "../dim.ts";
import { type AttrsFor, attrsOf } from "./attributes.ts";
import { bound } from "./bound.ts";
import { needAxis, needCount, needDType, needEqual, refuse } from "./mismatch.ts";
import type { IndexingName, Op } from "./op.ts";
import { unpacking } from "./quantise.ts";
import { copyBox, count, empty, stridesOf, type Tensor, tensor } from "./tensor.ts";

const clamp = (i: number, n: number): number => Math.max(0, Math.min(i, n - 1));

const x32: Tensor = tensor("f32", [3, 2], [1, -2, 3, 4, 5.5, -6]);
const idx: Tensor = tensor("i32", [2, 2], [2, 0, 2, 1]);

export const indexing: { readonly [K in IndexingName]: Op<AttrsFor<K>> } = {
  gather: {
    doc: "gather (x[V, ...rest], idx i32[...I]): rows of x by index, [...I, ...rest]. An index outside 0..V−1 takes the nearest row.",
    role: "index",
    shape: (types) => {
      needCount("gather", types, 2);
      needDType("gather", types, 1, ["i32"]);
      if (types[0].shape.length === 0) refuse("gather", types, "a scalar has no rows");
      return { dtype: types[0].dtype, shape: [...types[1].shape, ...types[0].shape.slice(1)] };
    },
    eval: ([x, at]) => {
      const out = empty(x.dtype, [...at.shape, ...x.shape.slice(1)]);
      const n = count(x.shape.slice(1));
      for (let i = 0; i < at.data.length; i++) {
        const from = clamp(at.data[i], x.shape[0]) * n;
        out.data.set(x.data.subarray(from, from + n), i * n);
      }
      return out;
    },
    vjp: "by transpose",
    linear: [[0]],
    transpose: ({ b, inputs: [x, at], cotangent }) => [b.make("scatter_add", [at, cotangent], { rows: x.type.shape[0] }), undefined],
    sparse: { any: [0] },
    examples: [
      { inputs: [x32, idx], attrs: {} },
      { inputs: [x32, tensor("i32", [], [1])], attrs: {} },
    ],
  },
  scatter_add: {
    doc: "scatter_add {rows} (idx i32[...I], upd[...I, ...rest]): [rows, ...rest], row r the sum of the updates whose index is r. An index outside 0..rows−1 counts as the nearest row, as in gather.",
    role: "index",
    shape: (types, attrs, solver) => {
      needCount("scatter_add", types, 2);
      needDType("scatter_add", types, 0, ["i32"]);
      needDType("scatter_add", types, 1, ["f32", "i32"]);
      const rank = types[0].shape.length;
      if (types[1].shape.length < rank) refuse("scatter_add", types, "there are fewer updates than indices");
      for (let i = 0; i < rank; i++) needEqual("scatter_add", types, [0, 1], [i, i], solver);
      return { dtype: types[1].dtype, shape: [attrs.rows, ...types[1].shape.slice(rank)] };
    },
    eval: ([at, upd], attrs) => {
      const rows = bound(attrs.rows);
      const rest = upd.shape.slice(at.shape.length);
      const out = empty(upd.dtype, [rows, ...rest]);
      const n = count(rest);
      for (let i = 0; i < at.data.length; i++) {
        const to = clamp(at.data[i], rows) * n;
        for (let j = 0; j < n; j++) out.data[to + j] += upd.data[i * n + j];
      }
      if (out.dtype === "i32") for (let i = 0; i < out.data.length; i++) out.data[i] |= 0;
      return out;
    },
    vjp: "by transpose",
    linear: [[1]],
    transpose: ({ b, inputs: [at], cotangent }) => [undefined, b.make("gather", [cotangent, at], {})],
    sparse: { all: [1], makes: "always" },
    examples: [
      { inputs: [tensor("i32", [3], [2, 0, 2]), x32], attrs: { rows: 4 } },
      { inputs: [idx, tensor("f32", [2, 2], [1, 2, 3, 4])], attrs: { rows: 3 } },
    ],
  },
  write: {
    doc: "write {axis} (old, at i32[], rows): old with rows put at position `at` of the axis; `at` is moved so that they fit.",
    role: "index",
    shape: (types, attrs, solver) => {
      needCount("write", types, 3);
      needDType("write", types, 1, ["i32"]);
      const [old, at, rows] = types;
      if (at.shape.length !== 0) refuse("write", types, "the position must be a scalar");
      if (old.dtype !== rows.dtype) refuse("write", types, "old and new rows have different dtypes");
      if (old.shape.length !== rows.shape.length) refuse("write", types, "old and new rows have different ranks");
      const axis = needAxis("write", types, attrs.axis, old.shape.length);
      for (let i = 0; i < old.shape.length; i++) if (i !== axis) needEqual("write", types, [0, 2], [i, i], solver);
      const room = subDim(old.shape[axis], rows.shape[axis]);
      if (typeof room === "number" && room < 0) refuse("write", types, `${rows.shape[axis]} rows do not fit axis ${axis}`);
      return old;
    },
    eval: ([old, at, rows], attrs) => {
      const { axis } = attrs;
      const out = empty(old.dtype, old.shape);
      out.data.set(old.data);
      const strides = stridesOf(old.shape);
      const position = clamp(at.data[0], old.shape[axis] - rows.shape[axis] + 1);
      copyBox(rows.shape, rows.data, 0, stridesOf(rows.shape), out.data, position * strides[axis], strides);
      return out;
    },
    over: 0,
    vjp: "by transpose",
    linear: [[0, 2]],
    transpose: ({ b, node, inputs: [, at, rows], cotangent, wants }) => {
      const { axis } = attrsOf(node, "write");
      const hole = wants(0) ? b.make("write", [cotangent, at, b.zeros(rows.type)], { axis }) : undefined;
      if (!wants(2)) return [hole, undefined, undefined];
      // The rows that were put, read back: a gather along the axis, which has to be the first for that.
      const rank = cotangent.type.shape.length;
      const order = [axis, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)];
      const n = rows.type.shape[axis];
      const last = b.constant(subDim(cotangent.type.shape[axis], n), "i32");
      const from = b.max(b.min(at, last), 0);
      const index = b.add(b.iota([n], 0), b.broadcastTo(from, [n]));
      const read = b.make("gather", [b.permute(cotangent, order), index], {});
      return [
        hole,
        undefined,
        b.permute(
          read,
          order.map((_, i) => order.indexOf(i)),
        ),
      ];
    },
    examples: [
      { inputs: [x32, tensor("i32", [], [1]), tensor("f32", [2, 2], [7, 8, 9, 10])], attrs: { axis: 0 } },
      { inputs: [x32, tensor("i32", [], [1]), tensor("f32", [3, 1], [7, 8, 9])], attrs: { axis: 1 } },
    ],
  },
  ...unpacking,
};
