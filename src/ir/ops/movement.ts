/** Rows that only move elements: what each shows of its operands is `reads`, from which its value and all that passes and kernels do with it follow. */
import { addDim, type Dim, divDim, least, mulDim, sameDim, subDim } from "../dim.ts";
import type { Attrs, Node, Type } from "../graph.ts";
import { attrsOf } from "./attributes.ts";
import { bound } from "./bound.ts";
import { needAxes, needAxis, needCount, needEqual, refuse } from "./mismatch.ts";
import type { Columns, Differentiation, MovementName, Op } from "./op.ts";
import { moved, straight } from "./reads.ts";
import { type Tensor, tensor } from "./tensor.ts";

/** Each by its name, with its attributes. */
export type MovementAttrs = {
  reshape: { readonly shape: readonly Dim[] };
  permute: { readonly order: readonly number[] };
  expand: { readonly shape: readonly Dim[] };
  slice: { readonly start: readonly Dim[]; readonly stop: readonly Dim[]; readonly step: readonly number[] };
  pad: { readonly low: readonly Dim[]; readonly high: readonly Dim[]; readonly value: number };
  concat: { readonly axis: number };
};
type Move<A> = Omit<Columns<A>, "role" | "eval" | "reads"> & Required<Pick<Columns<A>, "reads">> & Differentiation;

const product = (shape: readonly Dim[]): Dim => shape.reduce(mulDim, 1);
/** Whether a ≤ b can hold; symbols are at least 1. */
const mayNotExceed = (a: Dim, b: Dim): boolean => (least(subDim(a, b)) ?? 0) <= 0;

/** An attribute with one entry an axis of the operand. */
function perAxis<T extends Dim>(op: MovementName, types: readonly Type[], list: readonly T[], name: string): readonly T[] {
  if (list.length !== types[0].shape.length) refuse(op, types, `${name} has ${list.length} entries for rank ${types[0].shape.length}`);
  return list;
}

/** Number of positions start, start + step, ... below stop; `undefined` where symbols leave it open. */
function sliceSize(start: Dim, stop: Dim, step: number): Dim | undefined {
  const length = subDim(stop, start);
  if (step === 1) return length;
  if (typeof length === "number") return Math.ceil(length / step);
  return divDim(length, step);
}

const x23: Tensor = tensor("f32", [2, 3], [1, -2, 3, 4, 5.5, -6]);
const x213: Tensor = tensor("f32", [2, 1, 3], [1, -2, 3, 4, 5.5, -6]);
const inverseOrder = (order: readonly number[]): number[] => order.map((_, i) => order.indexOf(i));
const orderOf = (node: Node) => attrsOf(node, "permute").order;

const rows: { readonly [K in MovementName]: Move<MovementAttrs[K]> } = {
  reshape: {
    doc: "reshape {shape}: the same elements in row-major order under another shape.",
    shape: (types, attrs, solver) => {
      needCount("reshape", types, 1);
      const { shape } = attrs;
      if (!solver.equal(product(types[0].shape), product(shape))) refuse("reshape", types, `cannot become [${shape.join(", ")}]`);
      return { dtype: types[0].dtype, shape };
    },
    reads: () => "in order",
    resized: (_attrs, shape) => ({ shape }),
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, inputs: [x], cotangent }) => [b.reshape(cotangent, x.type.shape)],
    invert: (b, node, _i, result) => b.reshape(result, node.inputs[0].type.shape),
    sparse: { any: [0] },
    examples: [{ inputs: [x23], attrs: { shape: [3, 2] } }],
  },
  permute: {
    doc: "permute {order}: axis i of the result is axis order[i] of the operand.",
    shape: (types, attrs) => {
      needCount("permute", types, 1);
      const order = needAxes("permute", types, attrs.order, types[0].shape.length);
      if (order.length !== types[0].shape.length) refuse("permute", types, "the order must name every axis");
      return { dtype: types[0].dtype, shape: order.map((a) => types[0].shape[a]) };
    },
    reads: (_shapes, { order }) => ({ parts: [{ operand: 0, axes: inverseOrder(order).map(straight), bounded: [] }] }),
    leading: ({ order }, lead, axes) => ({
      order: [...Array.from({ length: axes }, (_, a) => a), ...order.slice(lead).map((a) => a - lead + axes)],
    }),
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, node, cotangent }) => [b.permute(cotangent, inverseOrder(orderOf(node)))],
    invert: (b, node, _i, result) => b.permute(result, inverseOrder(orderOf(node))),
    sparse: { any: [0] },
    examples: [
      { inputs: [x23], attrs: { order: [1, 0] } },
      { inputs: [x213], attrs: { order: [2, 0, 1] } },
    ],
  },
  expand: {
    doc: "expand {shape}: axes of size 1 repeat to the size asked for; the rank stays.",
    shape: (types, attrs, solver) => {
      needCount("expand", types, 1);
      const shape = perAxis("expand", types, attrs.shape, "shape");
      shape.forEach((d, axis) => {
        if (!sameDim(types[0].shape[axis], 1)) needEqual("expand", [types[0], { ...types[0], shape }], [0, 1], [axis, axis], solver);
        else if (typeof d === "number" && d < 0) refuse("expand", types, `cannot become [${shape.join(", ")}]`);
      });
      return { dtype: types[0].dtype, shape };
    },
    reads: ([x], { shape }) => ({
      parts: [{ operand: 0, axes: x.map((d, a) => (sameDim(d, shape[a]) ? straight(a) : "only")), bounded: [] }],
    }),
    resized: (_attrs, shape) => ({ shape }),
    leading: (attrs) => attrs,
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, inputs: [x], cotangent }) => {
      const axes = x.type.shape.flatMap((d, i) => (sameDim(d, cotangent.type.shape[i]) ? [] : [i]));
      return [b.reshape(b.reduce("sum", cotangent, axes), x.type.shape)];
    },
    sparse: { any: [0] },
    examples: [{ inputs: [x213], attrs: { shape: [2, 4, 3] } }],
  },
  slice: {
    doc: "slice {start, stop, step}: on each axis positions start, start + step, ... below stop; step ≥ 1.",
    shape: (types, attrs) => {
      needCount("slice", types, 1);
      const start = perAxis("slice", types, attrs.start, "start");
      const stop = perAxis("slice", types, attrs.stop, "stop");
      const step = perAxis("slice", types, attrs.step, "step");
      const shape = types[0].shape.map((size, axis) => {
        const by = step[axis];
        if (!Number.isInteger(by) || by < 1) refuse("slice", types, `step ${by} on axis ${axis} is not a positive whole number`);
        if (!mayNotExceed(0, start[axis]) || !mayNotExceed(start[axis], stop[axis]) || !mayNotExceed(stop[axis], size))
          refuse("slice", types, `${start[axis]}..${stop[axis]} does not lie in axis ${axis} of size ${size}`);
        const n = sliceSize(start[axis], stop[axis], by);
        if (n === undefined) refuse("slice", types, `every ${by}th of ${start[axis]}..${stop[axis]} is not a whole size`);
        return n;
      });
      return { dtype: types[0].dtype, shape };
    },
    reads: (_shapes, { start, step }) => ({
      parts: [{ operand: 0, axes: start.map((offset, axis) => ({ axis, step: step[axis], offset })), bounded: [] }],
    }),
    resized: ({ start, stop, step }, shape) => {
      const same = shape.map((size, i) => sliceSize(start[i], stop[i], step[i]) === size);
      return {
        start: start.map((d, i) => (same[i] ? d : 0)),
        stop: stop.map((d, i) => (same[i] ? d : shape[i])),
        step: step.map((d, i) => (same[i] ? d : 1)),
      };
    },
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, node, inputs: [x], cotangent }) => {
      const { start, step } = attrsOf(node, "slice");
      let g = cotangent;
      // Elements that were stepped over get zeros: each axis [n] becomes [n, 1], padded to [n, step], flattened, and the tail is cut.
      step.forEach((by, axis) => {
        if (by === 1) return;
        const shape = g.type.shape;
        const split = b.reshape(g, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
        const wide = b.padAxis(split, axis + 1, 0, by - 1);
        const flat = b.reshape(wide, [...shape.slice(0, axis), mulDim(shape[axis], by), ...shape.slice(axis + 1)]);
        g = b.sliceAxis(flat, axis, 0, addDim(mulDim(subDim(shape[axis], 1), by), 1));
      });
      const high = x.type.shape.map((size, axis) => subDim(subDim(size, start[axis]), g.type.shape[axis]));
      return [b.pad(g, start, high)];
    },
    sparse: { any: [0] },
    examples: [
      { inputs: [x23], attrs: { start: [0, 1], stop: [2, 3], step: [1, 1] } },
      { inputs: [x23], attrs: { start: [1, 0], stop: [2, 3], step: [1, 2] } },
    ],
  },
  pad: {
    doc: "pad {low, high, value}: on each axis `low` elements of `value` before, `high` behind.",
    shape: (types, attrs) => {
      needCount("pad", types, 1);
      const low = perAxis("pad", types, attrs.low, "low");
      const high = perAxis("pad", types, attrs.high, "high");
      for (const d of [...low, ...high]) if (!mayNotExceed(0, d)) refuse("pad", types, `cannot pad by ${d}`);
      return { dtype: types[0].dtype, shape: types[0].shape.map((size, i) => addDim(addDim(low[i], size), high[i])) };
    },
    reads: (_shapes, { low, high, value }) => ({
      parts: [
        {
          operand: 0,
          axes: low.map((d, axis) => ({ axis, step: 1, offset: subDim(0, d) })),
          bounded: low.flatMap((d, axis) => (sameDim(d, 0) && sameDim(high[axis], 0) ? [] : [axis])),
        },
      ],
      fill: value,
    }),
    // Linear only around value 0, which is what `jvp` pads the tangent with.
    vjp: ({ b, node, inputs: [x], cotangent }) => {
      const { low } = attrsOf(node, "pad");
      return [
        b.slice(
          cotangent,
          low,
          x.type.shape.map((size, i) => addDim(low[i], size)),
        ),
      ];
    },
    jvp: ({ b, node, tangents: [t] }) => t && b.pad(t, attrsOf(node, "pad").low, attrsOf(node, "pad").high),
    sparse: { makes: "beside zero" },
    examples: [
      { inputs: [x23], attrs: { low: [0, 1], high: [1, 2], value: 0 } },
      { inputs: [x23], attrs: { low: [1, 0], high: [0, 0], value: 3 } },
    ],
  },
  concat: {
    doc: "concat {axis}: the operands one behind the other on an axis.",
    shape: (types, attrs, solver) => {
      if (types.length === 0) refuse("concat", types, "needs an operand");
      const rank = types[0].shape.length;
      const axis = needAxis("concat", types, attrs.axis, rank);
      for (let j = 1; j < types.length; j++) {
        if (types[j].dtype !== types[0].dtype) refuse("concat", types, "operands have different dtypes");
        if (types[j].shape.length !== rank) refuse("concat", types, "operands have different ranks");
        for (let i = 0; i < rank; i++) if (i !== axis) needEqual("concat", types, [0, j], [i, i], solver);
      }
      const size = types.map((t) => t.shape[axis]).reduce((a, b) => addDim(a, b));
      return { dtype: types[0].dtype, shape: types[0].shape.map((d, i) => (i === axis ? size : d)) };
    },
    reads: (shapes, { axis }) => {
      let from: Dim = 0;
      const parts = shapes.map((x, operand) => {
        const offset = subDim(0, from);
        from = addDim(from, x[axis]);
        const axes = x.map((_, a) => (a === axis ? { axis, step: 1, offset } : straight(a)));
        return { operand, axes, bounded: shapes.length > 1 ? [axis] : [] };
      });
      return { parts };
    },
    vjp: "by transpose",
    linear: "all",
    transpose: ({ b, node, inputs, cotangent, wants }) => {
      const { axis } = attrsOf(node, "concat");
      let from: Dim = 0;
      return inputs.map((x, i) => {
        const start = from;
        from = addDim(from, x.type.shape[axis]);
        return wants(i) ? b.sliceAxis(cotangent, axis, start, from) : undefined;
      });
    },
    examples: [{ inputs: [x23, x23, tensor("f32", [2, 1], [7, 8])], attrs: { axis: 1 } }],
  },
};

function complete<A extends Attrs>(row: Move<A>): Op<A> {
  return {
    ...row,
    role: "move",
    eval: (inputs, attrs) => {
      const types = inputs.map(({ dtype, shape }): Type => ({ dtype, shape }));
      const shape = row.shape(types, attrs, { equal: sameDim }, []).shape.map(bound);
      return moved(
        row.reads(
          inputs.map((x) => x.shape),
          attrs,
          shape,
        ),
        inputs,
        shape,
      );
    },
  };
}

export const movement = Object.fromEntries(Object.entries(rows).map(([name, row]) => [name, complete(row as Move<Attrs>)])) as Readonly<
  Record<MovementName, Op>
>;
