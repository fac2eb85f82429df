/** How slices of a node's result follow from slices of its operands, for each op. */
import { type Attrs, type Node, sizes } from "../graph.ts";
import { attrsOf, axesOfDot, passedAxes, readsOf, resized, rowOf } from "./index.ts";

/** One way to cut a node: the axis of its result, or that its result is the sum of what the slices give; and of each operand the axis, or all of it. */
export interface Tie {
  readonly result: number | "sum";
  readonly operands: readonly (number | undefined)[];
}

const each = (rank: number, tie: (axis: number) => Tie | undefined): Tie[] =>
  Array.from({ length: rank }, (_, axis) => tie(axis)).filter((t) => t !== undefined);
const product = (shape: readonly number[]): number => shape.reduce((p, d) => p * d, 1);

/** All ways to cut `n`; none for what takes its operands only whole. */
export function tiesOf(n: Node): readonly Tie[] {
  const row = rowOf(n);
  const shape = sizes(n);
  if (row.scalar !== undefined || row.role === "barrier")
    return each(shape.length, (axis) => ({ result: axis, operands: n.inputs.map(() => axis) }));
  if (row.role === "move") return move(n, shape);
  return rules[n.op]?.(n, shape) ?? [];
}

function move(n: Node, shape: readonly number[]): Tie[] {
  if (readsOf(n) === "in order") {
    const from = sizes(n.inputs[0]);
    return each(shape.length, (axis) => {
      const before = product(shape.slice(0, axis));
      const same = from.findIndex((d, i) => d === shape[axis] && product(from.slice(0, i)) === before);
      return same < 0 ? undefined : { result: axis, operands: [same] };
    });
  }
  const passed = passedAxes(n);
  return each(shape.length, (axis) => {
    const operands = passed[axis];
    return operands === "changed" ? undefined : { result: axis, operands };
  });
}

const rules: Readonly<Record<string, (n: Node, shape: readonly number[]) => Tie[]>> = {
  const: (n, shape) => (attrsOf(n, "const").data.length === 1 ? each(shape.length, (axis) => ({ result: axis, operands: [] })) : []),
  iota: (_, shape) => each(shape.length, (axis) => ({ result: axis, operands: [] })),
  // the number of an element is that of the first and its place: what is cut off must lie in one piece
  draw: (n, shape) =>
    each(shape.length, (axis) =>
      product(shape.slice(0, axis)) === 1 ? { result: axis, operands: n.inputs.map(() => undefined) } : undefined,
    ),
  reduce_sum: (n) => reduction(n, attrsOf(n, "reduce_sum", "reduce_max", "reduce_min").axes, true),
  reduce_max: (n) => reduction(n, attrsOf(n, "reduce_sum", "reduce_max", "reduce_min").axes, false),
  reduce_min: (n) => reduction(n, attrsOf(n, "reduce_sum", "reduce_max", "reduce_min").axes, false),
  argmax: (n) => reduction(n, [attrsOf(n, "argmax").axis], false),
  cumsum: (n, shape) => each(shape.length, (axis) => (axis === n.attrs.axis ? undefined : { result: axis, operands: [axis] })),
  dot: (n) => {
    const a = axesOfDot(n)!;
    const batch = a.lhsBatch.length;
    return [
      ...a.lhsBatch.map((l, i): Tie => ({ result: i, operands: [l, a.rhsBatch[i]] })),
      ...a.lhsFree.map((l, i): Tie => ({ result: batch + i, operands: [l, undefined] })),
      ...a.rhsFree.map((r, i): Tie => ({ result: batch + a.lhsFree.length + i, operands: [undefined, r] })),
      ...a.lhsContract.map((l, i): Tie => ({ result: "sum", operands: [l, a.rhsContract[i]] })),
    ];
  },
  gather: (n) => {
    const [x, at] = n.inputs.map((i) => i.type.shape.length);
    return [
      ...each(at, (axis) => ({ result: axis, operands: [undefined, axis] })),
      ...each(x - 1, (axis) => ({ result: at + axis, operands: [axis + 1, undefined] })),
    ];
  },
  scatter_add: (n) => {
    const [at, updates] = n.inputs.map((i) => i.type.shape.length);
    return [
      ...each(at, (axis): Tie => ({ result: "sum", operands: [axis, axis] })),
      ...each(updates - at, (axis) => ({ result: axis + 1, operands: [undefined, at + axis] })),
    ];
  },
};

function reduction(n: Node, axes: readonly number[], sums: boolean): Tie[] {
  const rank = n.inputs[0].type.shape.length;
  let kept = 0;
  return each(rank, (axis) => {
    if (!axes.includes(axis)) return { result: kept++, operands: [axis] };
    return sums ? { result: "sum", operands: [axis] } : undefined;
  });
}

/** The attributes of `n` where its result has only `size` places on `axis`, or, for a sum, as they are. */
export function cutAttrs(n: Node, axis: number | "sum", size: number): Attrs {
  if (axis === "sum") return n.attrs;
  if (rowOf(n).role === "move")
    return resized(
      n,
      sizes(n).map((d, i) => (i === axis ? size : d)),
    );
  const { shape } = n.attrs;
  return Array.isArray(shape) && !rowOf(n).supply ? { ...n.attrs, shape: shape.map((d, i) => (i === axis ? size : d)) } : n.attrs;
}
