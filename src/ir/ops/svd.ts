/**
 * Singular value decomposition on the host, in f64: QR first, then Golub and Kahan's bidiagonal form, then implicitly shifted QR steps
 * (Golub & Van Loan, "Matrix Computations", 4th ed., §8.6). All loops over elements walk rows of memory.
 */
import { Bug } from "../errors.ts";
import { householder, qr, reflectRows } from "./linalg.ts";
import type { Tensor } from "./tensor.ts";

interface Svd {
  /** [m, k], column-orthonormal */
  readonly u: Float64Array;
  /** [k], largest first */
  readonly s: Float64Array;
  /** [k, n], row-orthonormal */
  readonly v: Float64Array;
}

const kept = new WeakMap<Float64Array, Svd>();

/**
 * Reduced decomposition x[m, n] = u·diag(s)·v, k = min(m, n). The sign of each pair is set so that the component of u of largest magnitude
 * is positive. A matrix with an element that is not finite gives NaN throughout. u, s and v of one matrix are asked for one after the
 * other, so the result is kept as long as the matrix's data lives.
 */
export function svd(x: Tensor): Svd {
  let known = kept.get(x.data);
  if (!known) {
    known = x.data.every(Number.isFinite) ? decompose(x) : hopeless(x.shape[0], x.shape[1]);
    kept.set(x.data, known);
  }
  return known;
}

function hopeless(m: number, n: number): Svd {
  const k = Math.min(m, n);
  const nans = (size: number) => new Float64Array(size).fill(Number.NaN);
  return { u: nans(m * k), s: nans(k), v: nans(k * n) };
}

function decompose(x: Tensor): Svd {
  const [m, n] = x.shape;
  const wide = m < n;
  const rows = wide ? n : m;
  const k = wide ? m : n;
  const tall = wide ? transposed(x.data, m, n) : x.data;
  const { q, r } = qr({ dtype: "f32", shape: [rows, k], data: tall });
  const { d, e, left, right } = bidiagonal(r, k);
  diagonalise(d, e, left, right, k);
  const s = new Float64Array(k);
  const longs = new Float64Array(k * rows);
  const shorts = new Float64Array(k * k);
  const order = Array.from(d, (_, i) => i).sort((a, b) => Math.abs(d[b]) - Math.abs(d[a]) || a - b);
  order.forEach((from, to) => {
    s[to] = Math.abs(d[from]);
    const flip = d[from] < 0 ? -1 : 1;
    for (let i = 0; i < rows; i++) {
      let sum = 0;
      for (let j = 0, p = i * k, l = from * k; j < k; j++) sum += q[p + j] * left[l + j];
      longs[to * rows + i] = sum;
    }
    for (let j = 0; j < k; j++) shorts[to * k + j] = flip * right[from * k + j];
  });
  return wide ? signed(shorts, longs, s, k, m, n) : signed(longs, shorts, s, k, m, n);
}

/** From k left vectors of length m and k right vectors of length n, both as rows. */
function signed(lefts: Float64Array, rights: Float64Array, s: Float64Array, k: number, m: number, n: number): Svd {
  const u = new Float64Array(m * k);
  const v = rights;
  for (let j = 0; j < k; j++) {
    let big = 0;
    for (let i = 0; i < m; i++) if (Math.abs(lefts[j * m + i]) > Math.abs(big) * (1 + 1e-12)) big = lefts[j * m + i];
    const sign = big < 0 ? -1 : 1;
    for (let i = 0; i < m; i++) u[i * k + j] = sign * lefts[j * m + i];
    if (sign < 0) for (let i = 0; i < n; i++) v[j * n + i] = -v[j * n + i];
  }
  return { u, s, v };
}

function transposed(a: Float64Array, m: number, n: number): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) out[j * m + i] = a[i * n + j];
  return out;
}

/** r = leftᵀ·B·right with B upper bidiagonal: diagonal d, above it e. The rows of `left` and `right` are the vectors. */
function bidiagonal(r: Float64Array, k: number): { d: Float64Array; e: Float64Array; left: Float64Array; right: Float64Array } {
  const a = Float64Array.from(r);
  const d = new Float64Array(k);
  const e = new Float64Array(Math.max(0, k - 1));
  const lefts: { v: Float64Array; tau: number }[] = [];
  const rights: { v: Float64Array; tau: number }[] = [];
  for (let j = 0; j < k; j++) {
    const v = Float64Array.from({ length: k - j }, (_, i) => a[(j + i) * k + j]);
    const column = householder(v);
    d[j] = column.value;
    lefts.push({ v, tau: column.tau });
    reflectRows(a, k, j, j + 1, v, column.tau);
    if (j === k - 1) break;
    const w = a.slice(j * k + j + 1, (j + 1) * k);
    const row = householder(w);
    e[j] = row.value;
    rights.push({ v: w, tau: row.tau });
    if (row.tau === 0) continue;
    for (let i = j + 1; i < k; i++) {
      let s = 0;
      for (let c = 0, p = i * k + j + 1; c < w.length; c++) s += a[p + c] * w[c];
      s *= row.tau;
      for (let c = 0, p = i * k + j + 1; c < w.length; c++) a[p + c] -= s * w[c];
    }
  }
  const gather = (reflectors: readonly { v: Float64Array; tau: number }[], shift: number) => {
    const out = new Float64Array(k * k);
    for (let i = 0; i < k; i++) out[i * k + i] = 1;
    for (let j = reflectors.length - 1; j >= 0; j--) reflectRows(out, k, j + shift, j + shift, reflectors[j].v, reflectors[j].tau);
    return transposed(out, k, k);
  };
  return { d, e, left: gather(lefts, 0), right: gather(rights, 1) };
}

/** Rows x and y of [k, k]: (x, y) ← (c·x + s·y, c·y − s·x). */
function rotate(a: Float64Array, k: number, x: number, y: number, c: number, s: number): void {
  for (let i = 0, p = x * k, q = y * k; i < k; i++, p++, q++) {
    const u = a[p];
    const v = a[q];
    a[p] = c * u + s * v;
    a[q] = c * v - s * u;
  }
}

const STEPS_PER_VALUE = 60;

/** Drives e to 0 by rotations that `left` and `right` take part in. */
function diagonalise(d: Float64Array, e: Float64Array, left: Float64Array, right: Float64Array, k: number): void {
  const scale = Math.max(...[0, ...d].map(Math.abs), ...e.map(Math.abs));
  const tiny = Number.EPSILON * scale;
  let high = k - 1;
  for (let steps = 0; high > 0; steps++) {
    if (steps > STEPS_PER_VALUE * k) throw new Bug("a singular value decomposition does not converge");
    for (let i = 0; i < high; i++) if (Math.abs(e[i]) <= Number.EPSILON * (Math.abs(d[i]) + Math.abs(d[i + 1]))) e[i] = 0;
    if (e[high - 1] === 0) {
      high--;
      continue;
    }
    let low = high - 1;
    while (low > 0 && e[low - 1] !== 0) low--;
    let zero = high;
    while (zero >= low && Math.abs(d[zero]) > tiny) zero--;
    if (zero >= low) splitAt(zero, low, high, d, e, left, right, k);
    else step(low, high, d, e, left, right, k);
  }
}

/** A vanishing d[zero]: rotates the e beside it out of the block, which then falls in two. */
function splitAt(
  zero: number,
  low: number,
  high: number,
  d: Float64Array,
  e: Float64Array,
  left: Float64Array,
  right: Float64Array,
  k: number,
): void {
  d[zero] = 0;
  if (zero < high) {
    let f = e[zero];
    e[zero] = 0;
    for (let j = zero + 1; j <= high && f !== 0; j++) {
      const r = Math.hypot(d[j], f);
      const [c, s] = [d[j] / r, f / r];
      d[j] = r;
      rotate(left, k, j, zero, c, s);
      if (j < high) {
        f = -s * e[j];
        e[j] *= c;
      }
    }
    return;
  }
  let f = e[high - 1];
  e[high - 1] = 0;
  for (let j = high - 1; j >= low && f !== 0; j--) {
    const r = Math.hypot(d[j], f);
    const [c, s] = [d[j] / r, f / r];
    d[j] = r;
    rotate(right, k, j, high, c, s);
    if (j > low) {
      f = -s * e[j - 1];
      e[j - 1] *= c;
    }
  }
}

/** One implicitly shifted step on the block low..high: the shift is the eigenvalue of BᵀB's last 2 × 2 block nearest to its corner. */
function step(low: number, high: number, d: Float64Array, e: Float64Array, left: Float64Array, right: Float64Array, k: number): void {
  // In units of the block's last diagonal element, so that squares neither overflow nor vanish.
  const unit = Math.max(Math.abs(d[high]), Math.abs(d[high - 1]), Math.abs(e[high - 1]), Math.abs(d[low]));
  const [p, q, g0] = [d[high - 1] / unit, d[high] / unit, e[high - 1] / unit];
  const above = high - 2 >= low ? e[high - 2] / unit : 0;
  const a = p * p + above * above;
  const b = p * g0;
  const c0 = q * q + g0 * g0;
  const half = (a - c0) / 2;
  const shift = b === 0 ? c0 : c0 - (b * b) / (half + (half < 0 ? -1 : 1) * Math.hypot(half, b));
  let f = (d[low] / unit) ** 2 - shift;
  let g = (d[low] / unit) * (e[low] / unit);
  for (let i = low; i < high; i++) {
    let r = Math.hypot(f, g);
    let [c, s] = r === 0 ? [1, 0] : [f / r, g / r];
    if (i > low) e[i - 1] = r;
    f = c * d[i] + s * e[i];
    e[i] = c * e[i] - s * d[i];
    g = s * d[i + 1];
    d[i + 1] *= c;
    rotate(right, k, i, i + 1, c, s);
    r = Math.hypot(f, g);
    [c, s] = r === 0 ? [1, 0] : [f / r, g / r];
    d[i] = r;
    f = c * e[i] + s * d[i + 1];
    d[i + 1] = c * d[i + 1] - s * e[i];
    if (i < high - 1) {
      g = s * e[i + 1];
      e[i + 1] *= c;
    }
    rotate(left, k, i, i + 1, c, s);
  }
  e[high - 1] = f;
}
