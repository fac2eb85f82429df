import { describe, expect, test } from "@jest/globals";
import { qr } from "../../src/ir/ops/linalg.ts";
import { svd } from "../../src/ir/ops/svd.ts";
import { drawInto, keyOf } from "../../src/ir/random.ts";
import { f32 } from "./graphs.ts";

function random(m: number, n: number) {
  const data = new Float64Array(m * n);
  drawInto(data, "normal", keyOf(1, m, n), 0);
  return f32([m, n], [...data]);
}
/** a[m, k] · b[k, n] */
function product(a: Float64Array, b: Float64Array, m: number, k: number, n: number): number[] {
  const out = new Array<number>(m * n).fill(0);
  for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) for (let l = 0; l < k; l++) out[i * n + j] += a[i * k + l] * b[l * n + j];
  return out;
}
const transposed = (a: Float64Array, m: number, n: number) => Float64Array.from(a, (_, at) => a[(at % m) * n + Math.floor(at / m)]);
const far = (a: ArrayLike<number>, b: ArrayLike<number>) => Math.max(...Array.from(a, (x, i) => Math.abs(x - b[i])));
const identity = (k: number) => Array.from({ length: k * k }, (_, i) => (i % (k + 1) === 0 ? 1 : 0));

const shapes: [number, number][] = [
  [1, 1],
  [5, 3],
  [3, 5],
  [6, 6],
  [20, 7],
];
const deficient = f32([4, 3], [1, 2, 3, 2, 4, 6, -1, -2, -3, 0, 0, 0]);

describe.each([...shapes.map(([m, n]) => random(m, n)), deficient, f32([2, 2], [0, 0, 0, 0])])("a matrix, number %#", (x) => {
  const [m, n] = x.shape;
  const k = Math.min(m, n);
  test("qr", () => {
    const { q, r } = qr(x);
    expect(far(product(q, r, m, k, n), x.data)).toBeLessThan(1e-13 * 10);
    expect(far(product(transposed(q, m, k), q, k, m, k), identity(k))).toBeLessThan(1e-13);
    for (let i = 0; i < k; i++) for (let j = 0; j < i; j++) expect(r[i * n + j]).toBe(0);
  });
  test("svd", () => {
    const { u, s, v } = svd(x);
    const scaled = Float64Array.from(u, (c, i) => c * s[i % k]);
    expect(far(product(scaled, v, m, k, n), x.data)).toBeLessThan(1e-12);
    expect(far(product(transposed(u, m, k), u, k, m, k), identity(k))).toBeLessThan(1e-12);
    expect(far(product(v, transposed(v, k, n), k, n, k), identity(k))).toBeLessThan(1e-12);
    expect([...s]).toEqual([...s].sort((a, b) => b - a));
  });
});

test("qr has LAPACK's signs", () => {
  // numpy.linalg.qr([[3, 1], [4, 2]])
  const { q, r } = qr(f32([2, 2], [3, 1, 4, 2]));
  expect(far(q, [-0.6, -0.8, -0.8, 0.6])).toBeLessThan(1e-15);
  expect(far(r, [-5, -2.2, 0, 0.4])).toBeLessThan(1e-15);
});
