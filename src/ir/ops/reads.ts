/**
 * Which element of its operands each element of a node that moves elements shows: the one column of such a row. The interpreter's value, the
 * kernels' index arithmetic, and how demands, cuts and rows of a batch pass through are a rule each over it.
 */
import type { Dim } from "../dim.ts";
import { bound } from "./bound.ts";
import { copyBox, stridesOf, type Tensor } from "./tensor.ts";

/** The place on an axis of an operand: `offset + step ·` the place on `axis` of the result; or the only place, for an axis of size 1. */
type AxisRead = { readonly axis: number; readonly step: number; readonly offset: Dim } | "only";

export interface Part {
  readonly operand: number;
  /** One an axis of the operand; an axis of the result is read by at most one of them. */
  readonly axes: readonly AxisRead[];
  /** Axes of the operand on which a place may lie outside of it: there a later part shows, or `fill`. */
  readonly bounded: readonly number[];
}

/** `"in order"`: the elements of the one operand in row-major order, under another shape. */
export type Reads = "in order" | { readonly parts: readonly Part[]; readonly fill?: number };

export const straight = (axis: number): AxisRead => ({ axis, step: 1, offset: 0 });

/** The places on an axis of the result, `from..to`, that lie within an axis of an operand of that size. */
function inside({ step, offset }: Exclude<AxisRead, "only">, size: number, shown: number): readonly [from: number, to: number] {
  const at = bound(offset);
  const [low, high] = step > 0 ? [-at / step, (size - 1 - at) / step] : [(size - 1 - at) / step, -at / step];
  return [Math.max(0, Math.ceil(low)), Math.min(shown, Math.floor(high) + 1)];
}

/** The value of a move, of the shape given. */
export function moved(reads: Reads, inputs: readonly Tensor[], shape: readonly number[]): Tensor {
  const { dtype } = inputs[0];
  if (reads === "in order") return { dtype, shape, data: inputs[0].data };
  const strides = stridesOf(shape);
  const data = new Float64Array(shape.reduce((n, d) => n * d, 1));
  if (reads.fill) data.fill(reads.fill);
  // an earlier part lies over a later one
  for (const { operand, axes } of [...reads.parts].reverse()) {
    const x = inputs[operand];
    const own = stridesOf(x.shape);
    const by = shape.map(() => 0);
    const box = shape.map((size): readonly [number, number] => [0, size]);
    let from = 0;
    axes.forEach((read, a) => {
      if (read === "only") return;
      by[read.axis] = read.step * own[a];
      box[read.axis] = inside(read, x.shape[a], shape[read.axis]);
      from += bound(read.offset) * own[a];
    });
    if (box.some(([low, high]) => low >= high)) continue;
    const start = (steps: readonly number[]) => box.reduce((sum, [low], r) => sum + low * steps[r], 0);
    copyBox(
      box.map(([low, high]) => high - low),
      x.data,
      from + start(by),
      by,
      data,
      start(strides),
      strides,
    );
  }
  return { dtype, shape, data };
}
