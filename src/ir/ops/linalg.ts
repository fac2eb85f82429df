/** Dense linear algebra on the host, in f64; sizes are those of weights (a few thousand at most). */
import type { Tensor } from "./tensor.ts";

/**
 * Reduced QR by Householder reflections, x[m, n] = q[m, k]·r[k, n], k = min(m, n). Signs as LAPACK's geqrf: a reflected diagonal element
 * has the opposite sign of the element it came from; a column with nothing below the diagonal stays as it is.
 */
export function qr(x: Tensor): { q: Float64Array; r: Float64Array } {
  const [m, n] = x.shape;
  const k = Math.min(m, n);
  const a = Float64Array.from(x.data);
  const tau = new Float64Array(k);
  for (let j = 0; j < k; j++) {
    let below = 0;
    for (let i = j + 1; i < m; i++) below = Math.hypot(below, a[i * n + j]);
    if (below === 0) continue;
    const alpha = a[j * n + j];
    const beta = -Math.hypot(alpha, below) * (alpha < 0 ? -1 : 1);
    tau[j] = (beta - alpha) / beta;
    for (let i = j + 1; i < m; i++) a[i * n + j] /= alpha - beta;
    a[j * n + j] = beta;
    for (let c = j + 1; c < n; c++) reflect(a, n, m, j, tau[j], a, n, c);
  }
  const r = new Float64Array(k * n);
  for (let i = 0; i < k; i++) for (let j = i; j < n; j++) r[i * n + j] = a[i * n + j];
  const q = new Float64Array(m * k);
  for (let i = 0; i < k; i++) q[i * k + i] = 1;
  for (let j = k - 1; j >= 0; j--) if (tau[j] !== 0) for (let c = j; c < k; c++) reflect(a, n, m, j, tau[j], q, k, c);
  return { q, r };
}

/** Applies I − tau·v·vᵀ, v the j-th reflector stored below the diagonal of `a` (with 1 on it), to column c of `to`. */
function reflect(a: Float64Array, n: number, m: number, j: number, tau: number, to: Float64Array, width: number, c: number): void {
  let s = to[j * width + c];
  for (let i = j + 1; i < m; i++) s += a[i * n + j] * to[i * width + c];
  s *= tau;
  to[j * width + c] -= s;
  for (let i = j + 1; i < m; i++) to[i * width + c] -= a[i * n + j] * s;
}

export interface Svd {
  /** [m, k], column-orthonormal */
  readonly u: Float64Array;
  /** [k], largest first */
  readonly s: Float64Array;
  /** [k, n], row-orthonormal */
  readonly v: Float64Array;
}

const kept = new WeakMap<Float64Array, Svd>();

/**
 * Reduced singular value decomposition by one-sided Jacobi rotations (Hestenes) of the triangle of a QR: to full f64 precision, also for
 * small singular values. The sign of each pair is set so that the component of u of largest magnitude is positive. u, s and v of one
 * matrix are asked for one after the other, so the last results are kept as long as the matrix lives.
 */
export function svd(x: Tensor): Svd {
  const known = kept.get(x.data);
  if (known) return known;
  const [m, n] = x.shape;
  const wide = m < n;
  const rows = wide ? n : m;
  const k = wide ? m : n;
  // Columns of the tall matrix as rows of memory, so that rotations walk contiguous vectors.
  const tall = new Float64Array(rows * k);
  for (let i = 0; i < rows; i++) for (let j = 0; j < k; j++) tall[i * k + j] = wide ? x.data[j * n + i] : x.data[i * n + j];
  const { q, r } = qr({ dtype: "f32", shape: [rows, k], data: tall });
  // tall = q·r. Rotate the rows of rᵀ... of w = r's columns: r·V = U'·S.
  const w = new Float64Array(k * k);
  const v = new Float64Array(k * k);
  for (let i = 0; i < k; i++) {
    v[i * k + i] = 1;
    for (let j = 0; j < k; j++) w[j * k + i] = r[i * k + j];
  }
  jacobi(w, v, k);
  const norms = Array.from({ length: k }, (_, j) => {
    let s = 0;
    for (let i = 0; i < k; i++) s += w[j * k + i] ** 2;
    return Math.sqrt(s);
  });
  const order = norms.map((_, j) => j).sort((a, b) => norms[b] - norms[a] || a - b);
  const s = new Float64Array(k);
  const left = new Float64Array(rows * k); // rows of memory: vectors
  const right = new Float64Array(k * k);
  const done: Float64Array[] = [];
  order.forEach((from, to) => {
    s[to] = norms[from];
    const unit = completed(w.subarray(from * k, from * k + k), norms[from], norms[order[0]], done);
    done.push(unit);
    for (let i = 0; i < rows; i++) {
      let sum = 0;
      for (let j = 0; j < k; j++) sum += q[i * k + j] * unit[j];
      left[to * rows + i] = sum;
    }
    right.set(v.subarray(from * k, from * k + k), to * k);
  });
  const out = assemble(left, right, s, rows, k, wide);
  kept.set(x.data, out);
  return out;
}

/** The vector over its length; of a vanishing one, a unit vector orthogonal to those before. */
function completed(vector: Float64Array, norm: number, largest: number, before: readonly Float64Array[]): Float64Array {
  const k = vector.length;
  if (norm > largest * 1e-15 * k && norm > 0) return vector.map((x) => x / norm);
  for (let axis = 0; axis < k; axis++) {
    const e = new Float64Array(k);
    e[axis] = 1;
    for (let twice = 0; twice < 2; twice++)
      for (const b of before) {
        let s = 0;
        for (let i = 0; i < k; i++) s += e[i] * b[i];
        for (let i = 0; i < k; i++) e[i] -= s * b[i];
      }
    const length = Math.sqrt(e.reduce((s, x) => s + x * x, 0));
    if (length > 0.5 / Math.sqrt(k)) return e.map((x) => x / length);
  }
  return new Float64Array(k);
}

/** Rotates pairs of rows of `w` until all are orthogonal, the rows of `v` along with them. */
function jacobi(w: Float64Array, v: Float64Array, k: number): void {
  for (let sweep = 0; sweep < 60; sweep++) {
    let rotated = false;
    for (let p = 0; p < k - 1; p++)
      for (let q = p + 1; q < k; q++) {
        let a = 0;
        let b = 0;
        let c = 0;
        for (let i = 0, x = p * k, y = q * k; i < k; i++, x++, y++) {
          a += w[x] * w[x];
          b += w[y] * w[y];
          c += w[x] * w[y];
        }
        if (Math.abs(c) <= 1e-15 * Math.sqrt(a * b) || c === 0) continue;
        rotated = true;
        const zeta = (b - a) / (2 * c);
        const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const cos = 1 / Math.sqrt(1 + t * t);
        rotate(w, p * k, q * k, k, cos, cos * t);
        rotate(v, p * k, q * k, k, cos, cos * t);
      }
    if (!rotated) return;
  }
}

function rotate(m: Float64Array, x: number, y: number, n: number, cos: number, sin: number): void {
  for (let i = 0; i < n; i++, x++, y++) {
    const a = m[x];
    const b = m[y];
    m[x] = cos * a - sin * b;
    m[y] = sin * a + cos * b;
  }
}

function assemble(left: Float64Array, right: Float64Array, s: Float64Array, rows: number, k: number, wide: boolean): Svd {
  // `left` holds k vectors of length `rows`, `right` k of length k. For a wide matrix their parts are exchanged.
  const [uLength, vLength] = wide ? [k, rows] : [rows, k];
  const [us, vs] = wide ? [right, left] : [left, right];
  const u = new Float64Array(uLength * k);
  const v = new Float64Array(k * vLength);
  for (let j = 0; j < k; j++) {
    let big = 0;
    for (let i = 0; i < uLength; i++) if (Math.abs(us[j * uLength + i]) > Math.abs(big) * (1 + 1e-12)) big = us[j * uLength + i];
    const sign = big < 0 ? -1 : 1;
    for (let i = 0; i < uLength; i++) u[i * k + j] = sign * us[j * uLength + i];
    for (let i = 0; i < vLength; i++) v[j * vLength + i] = sign * vs[j * vLength + i];
  }
  return { u, s, v };
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

/** The 16 levels of 4-bit NormalFloat: quantiles of the normal distribution scaled to −1..1, as in bitsandbytes. */
export const NF4_LEVELS: readonly number[] = [
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334, -0.09105003625154495,
  0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
  0.7229568362236023, 1.0,
];

/** Quantises and dequantises; a value half-way between two levels takes the lower one. */
export function nf4(x: Float64Array, block: number): Float64Array {
  const out = new Float64Array(x.length);
  for (let from = 0; from < x.length; from += block) {
    const to = Math.min(x.length, from + block);
    let scale = 0;
    for (let i = from; i < to; i++) scale = Math.max(scale, Math.abs(x[i]));
    if (scale === 0) continue;
    for (let i = from; i < to; i++) {
      const v = x[i] / scale;
      let level = 0;
      while (level < 15 && v > (NF4_LEVELS[level] + NF4_LEVELS[level + 1]) / 2) level++;
      out[i] = NF4_LEVELS[level] * scale;
    }
  }
  return out;
}
