/** The nearest matrix of a rank to one that is given as a whole, or as a product of two thin ones. */

import { qr } from "../../ir/ops/linalg.ts";
import { svd } from "../../ir/ops/svd.ts";
import { drawInto, keyOf } from "../../ir/random.ts";

/** A pair of thin matrices, up [rows, rank] times down [rank, columns], row-major. */
export interface Thin {
  readonly up: Float64Array;
  readonly down: Float64Array;
  readonly rank: number;
}

/** Up to so many rows or columns all singular values are computed. */
const WHOLE = 384;
/** Columns beyond the rank that a subspace has, and how often it is turned towards the largest values at most. */
const MORE = 10;
const ROUNDS = 24;
/** What a round must add of the part that is caught, or it is the last. */
const GAIN = 1e-9;

/**
 * The truncated singular value decomposition of x [rows, columns]: up = U·S, down = V, of `rank` or the smaller side. Large matrices: by turning a drawn subspace (Halko, Martinsson
 * & Tropp 2011), until it catches no more.
 */
export function nearest(x: Float64Array, rows: number, columns: number, rank: number): Thin {
  const small = Math.min(rows, columns);
  const kept = Math.min(rank, small);
  if (small <= WHOLE || kept + MORE >= small) return truncated(svd({ dtype: "f32", shape: [rows, columns], data: x }), rows, columns, kept);
  const width = kept + MORE;
  let basis: Float64Array = new Float64Array(columns * width);
  drawInto(basis, "normal", keyOf(0, "truncated"), 0);
  let caught = 0;
  let left: Float64Array = new Float64Array(0);
  let seen: Float64Array = new Float64Array(0);
  for (let round = 0; round < ROUNDS; round++) {
    left = qr({ dtype: "f32", shape: [rows, width], data: product(x, basis, rows, columns, width) }).q;
    seen = product(transposed(x, rows, columns), left, columns, rows, width);
    const now = seen.reduce((sum, v) => sum + v * v, 0);
    if (now - caught <= GAIN * now) break;
    caught = now;
    basis = qr({ dtype: "f32", shape: [columns, width], data: seen }).q;
  }
  // x is about left · seenᵀ
  const inner = truncated(svd({ dtype: "f32", shape: [width, columns], data: transposed(seen, columns, width) }), width, columns, kept);
  return { ...inner, up: product(left, inner.up, rows, width, kept) };
}

/** The same of up [rows, inner] · down [inner, columns], by way of a square of `inner`. */
export function nearestOfProduct(up: Float64Array, down: Float64Array, rows: number, columns: number, inner: number, rank: number): Thin {
  if (inner >= Math.min(rows, columns)) return nearest(product(up, down, rows, inner, columns), rows, columns, rank);
  const left = qr({ dtype: "f32", shape: [rows, inner], data: up });
  const right = qr({ dtype: "f32", shape: [columns, inner], data: transposed(down, inner, columns) });
  const core = product(left.r, transposed(right.r, inner, inner), inner, inner, inner);
  const kept = Math.min(rank, inner);
  const found = truncated(svd({ dtype: "f32", shape: [inner, inner], data: core }), inner, inner, kept);
  return {
    rank: kept,
    up: product(left.q, found.up, rows, inner, kept),
    down: product(found.down, transposed(right.q, columns, inner), kept, inner, columns),
  };
}

function truncated({ u, s, v }: ReturnType<typeof svd>, rows: number, columns: number, rank: number): Thin {
  const all = s.length;
  const up = new Float64Array(rows * rank);
  for (let i = 0; i < rows; i++) for (let j = 0; j < rank; j++) up[i * rank + j] = u[i * all + j] * s[j];
  return { up, down: v.slice(0, rank * columns), rank };
}

/** a [n, k] · b [k, m]. */
export function product(a: Float64Array, b: Float64Array, n: number, k: number, m: number): Float64Array {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++)
    for (let l = 0; l < k; l++) {
      const f = a[i * k + l];
      if (f !== 0) for (let j = 0, o = i * m, p = l * m; j < m; j++) out[o + j] += f * b[p + j];
    }
  return out;
}

export function transposed(a: Float64Array, rows: number, columns: number): Float64Array {
  const out = new Float64Array(a.length);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[j * rows + i] = a[i * columns + j];
  return out;
}
