/** Values of the interpreter: row-major arrays of f64. Integers are exact (|x| < 2^53), booleans are 0 or 1. */
import { Bug } from "../errors.ts";
import type { DType } from "../graph.ts";

export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

export const count = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** A tensor over `data`, whose length must be the number of elements of `shape`. */
export function tensor(dtype: DType, shape: readonly number[], data: Float64Array | readonly number[]): Tensor {
  if (data.length !== count(shape)) throw new Bug(`${data.length} values for a tensor of shape [${shape.join(", ")}]`);
  return { dtype, shape, data: data instanceof Float64Array ? data : Float64Array.from(data) };
}

export const empty = (dtype: DType, shape: readonly number[]): Tensor => ({ dtype, shape, data: new Float64Array(count(shape)) });

/** Row-major strides, in elements. */
export function stridesOf(shape: readonly number[]): number[] {
  const out = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    out[i] = step;
    step *= shape[i];
  }
  return out;
}

/**
 * Copies a strided box out of `from` into `to`: element (i0, i1, ...) of `shape` is read at `fromOffset + Σ i·fromStrides` and stored at
 * `toOffset + Σ i·toStrides`. Strides may be 0. The innermost axis is a plain loop, so its cost is that of the copy.
 */
export function copyBox(
  shape: readonly number[],
  from: Float64Array,
  fromOffset: number,
  fromStrides: readonly number[],
  to: Float64Array,
  toOffset: number,
  toStrides: readonly number[],
): void {
  if (count(shape) === 0) return;
  const rank = shape.length;
  if (rank === 0) {
    to[toOffset] = from[fromOffset];
    return;
  }
  const last = rank - 1;
  const n = shape[last];
  const fs = fromStrides[last];
  const ts = toStrides[last];
  const index = new Array<number>(last).fill(0);
  let f = fromOffset;
  let t = toOffset;
  for (;;) {
    for (let i = 0, p = f, q = t; i < n; i++, p += fs, q += ts) to[q] = from[p];
    let axis = last - 1;
    for (; axis >= 0; axis--) {
      f += fromStrides[axis];
      t += toStrides[axis];
      if (++index[axis] < shape[axis]) break;
      f -= fromStrides[axis] * shape[axis];
      t -= toStrides[axis] * shape[axis];
      index[axis] = 0;
    }
    if (axis < 0) return;
  }
}
