/** Dense linear algebra on the host, in f64; sizes are those of weights (a few thousand at most). */
import type { Tensor } from "./tensor.ts";

/**
 * Makes `v` a Householder vector with v[0] = 1 whose reflection I − tau·v·vᵀ maps what `v` was to (value, 0, ...). As LAPACK's larfg: the
 * value has the opposite sign of the first element; where nothing is behind that, it stays and tau is 0.
 */
export function householder(v: Float64Array): { value: number; tau: number } {
  let tail = 0;
  for (let i = 1; i < v.length; i++) tail = Math.hypot(tail, v[i]);
  const head = v[0];
  v[0] = 1;
  if (tail === 0) return { value: head, tau: 0 };
  const value = -Math.hypot(head, tail) * (head < 0 ? -1 : 1);
  for (let i = 1; i < v.length; i++) v[i] /= head - value;
  return { value, tau: (value - head) / value };
}

/** a ← (I − tau·v·vᵀ)·a on the rows from `row` and the columns from `column` on of a matrix `width` wide, walking along rows. */
export function reflectRows(a: Float64Array, width: number, row: number, column: number, v: Float64Array, tau: number): void {
  if (tau === 0) return;
  const w = new Float64Array(width);
  for (let i = 0; i < v.length; i++) for (let j = column, p = (row + i) * width; j < width; j++) w[j] += v[i] * a[p + j];
  for (let i = 0; i < v.length; i++) {
    const f = tau * v[i];
    for (let j = column, p = (row + i) * width; j < width; j++) a[p + j] -= f * w[j];
  }
}

/** Reduced QR by Householder reflections, x[m, n] = q[m, k]·r[k, n], k = min(m, n), signs as LAPACK's geqrf. */
export function qr(x: Tensor): { q: Float64Array; r: Float64Array } {
  const [m, n] = x.shape;
  const k = Math.min(m, n);
  const a = Float64Array.from(x.data);
  const reflectors: { v: Float64Array; tau: number }[] = [];
  const r = new Float64Array(k * n);
  for (let j = 0; j < k; j++) {
    const v = Float64Array.from({ length: m - j }, (_, i) => a[(j + i) * n + j]);
    const { value, tau } = householder(v);
    reflectors.push({ v, tau });
    reflectRows(a, n, j, j + 1, v, tau);
    r[j * n + j] = value;
    for (let c = j + 1; c < n; c++) r[j * n + c] = a[j * n + c];
  }
  const q = new Float64Array(m * k);
  for (let i = 0; i < k; i++) q[i * k + i] = 1;
  for (let j = k - 1; j >= 0; j--) reflectRows(q, k, j, j, reflectors[j].v, reflectors[j].tau);
  return { q, r };
}

/** A stack of systems A·X = B by Gaussian elimination with row exchanges. */
export function solveLinear(a: Float64Array, b: Float64Array, stack: number, n: number, m: number): Float64Array {
  const left = Float64Array.from(a);
  const right = Float64Array.from(b);
  for (let at = 0; at < stack; at++)
    eliminate(left.subarray(at * n * n, (at + 1) * n * n), right.subarray(at * n * m, (at + 1) * n * m), n, m);
  return right;
}

function eliminate(a: Float64Array, b: Float64Array, n: number, m: number): void {
  for (let j = 0; j < n; j++) {
    let pivot = j;
    for (let i = j + 1; i < n; i++) if (Math.abs(a[i * n + j]) > Math.abs(a[pivot * n + j])) pivot = i;
    if (pivot !== j) {
      swap(a, pivot * n, j * n, n);
      swap(b, pivot * m, j * m, m);
    }
    for (let i = j + 1; i < n; i++) {
      const f = a[i * n + j] / a[j * n + j];
      if (f === 0) continue;
      for (let c = j; c < n; c++) a[i * n + c] -= f * a[j * n + c];
      for (let c = 0; c < m; c++) b[i * m + c] -= f * b[j * m + c];
    }
  }
  for (let i = n - 1; i >= 0; i--)
    for (let c = 0; c < m; c++) {
      let s = b[i * m + c];
      for (let j = i + 1; j < n; j++) s -= a[i * n + j] * b[j * m + c];
      b[i * m + c] = s / a[i * n + i];
    }
}

function swap(m: Float64Array, x: number, y: number, n: number): void {
  for (let i = 0; i < n; i++) {
    const t = m[x + i];
    m[x + i] = m[y + i];
    m[y + i] = t;
  }
}
