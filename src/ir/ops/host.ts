/** Decompositions and quantisation, computed on the host at loading. */
import type { Attrs, Type } from "../graph.ts";
import type { AttrsFor } from "./attributes.ts";
import { eliminate } from "./elimination.ts";
import { qr, solveLinear } from "./linalg.ts";
import { needCount, needDType, needEqual, refuse } from "./mismatch.ts";
import type { HostName, Op } from "./op.ts";
import { packing } from "./quantise.ts";
import { svd } from "./svd.ts";
import { count, type Tensor, tensor } from "./tensor.ts";

function matrixType(op: HostName, types: readonly Type[]): [number, number] {
  needCount(op, types, 1);
  needDType(op, types, 0, ["f32"]);
  const [m, n] = types[0].shape;
  if (types[0].shape.length !== 2) refuse(op, types, "needs a matrix");
  if (typeof m !== "number" || typeof n !== "number") refuse(op, types, "needs a matrix of known sizes");
  return [m, n];
}

function decomposition(
  op: HostName,
  doc: string,
  shape: (m: number, n: number, k: number) => number[],
  value: (x: Tensor) => Float64Array,
): Op {
  const sizes = ([m, n]: readonly number[]) => shape(m, n, Math.min(m, n));
  return {
    doc,
    role: "host",
    shape: (types) => ({ dtype: "f32", shape: sizes(matrixType(op, types)) }),
    eval: ([x]) => tensor("f32", sizes(x.shape), value(x)),
    vjp: "refused",
    examples: [
      { inputs: [tensor("f32", [3, 2], [1, -2, 3, 4, 5.5, -6])], attrs: {} },
      { inputs: [tensor("f32", [2, 3], [1, -2, 3, 4, 5.5, -6])], attrs: {} },
    ],
  };
}

export const hosts: { readonly [K in HostName]: Op<AttrsFor<K>> } = {
  svd_u: decomposition(
    "svd_u",
    "svd_u (x[m, n]): left singular vectors, [m, k], k = min(m, n); the largest component of each is positive.",
    (m, _n, k) => [m, k],
    (x) => svd(x).u,
  ),
  svd_s: decomposition(
    "svd_s",
    "svd_s (x[m, n]): singular values, largest first, [k].",
    (_m, _n, k) => [k],
    (x) => svd(x).s,
  ),
  svd_v: decomposition(
    "svd_v",
    "svd_v (x[m, n]): right singular vectors as rows, [k, n].",
    (_m, n, k) => [k, n],
    (x) => svd(x).v,
  ),
  qr_q: decomposition(
    "qr_q",
    "qr_q (x[m, n]): orthonormal columns [m, k] of the reduced decomposition, signs as LAPACK's.",
    (m, _n, k) => [m, k],
    (x) => qr(x).q,
  ),
  qr_r: decomposition(
    "qr_r",
    "qr_r (x[m, n]): the upper triangle [k, n] with x = q·r.",
    (_m, n, k) => [k, n],
    (x) => qr(x).r,
  ),
  ...packing,
  solve: {
    doc: "solve (A[..., n, n], B[..., n, m]): X with A·X = B; the leading axes are equal. A singular A gives inf or NaN.",
    role: "host",
    shape: (types: readonly Type[], _attrs: Attrs, solver) => {
      needCount("solve", types, 2);
      needDType("solve", types, 0, ["f32"]);
      needDType("solve", types, 1, ["f32"]);
      const rank = types[0].shape.length;
      if (rank < 2 || types[1].shape.length !== rank) refuse("solve", types, "needs two matrices, or two stacks of them, of equal rank");
      for (let i = 0; i < rank - 1; i++) needEqual("solve", types, [0, 1], [i, i], solver);
      needEqual("solve", types, [0, 0], [rank - 2, rank - 1], solver);
      return types[1];
    },
    eval: ([a, x]) => {
      const n = a.shape[a.shape.length - 1];
      const m = x.shape[x.shape.length - 1];
      return { ...x, data: solveLinear(a.data, x.data, count(a.shape.slice(0, -2)), n, m) };
    },
    inStep: (b, { inputs: [a, rhs] }) => eliminate(b, a, rhs),
    // X = A⁻¹B:  the cotangent of B is A⁻ᵀG, that of A is −(A⁻ᵀG)·Xᵀ.
    vjp: ({ b, node, inputs: [a], cotangent, wants }) => {
      const rank = a.type.shape.length;
      const inner = b.make("solve", [b.swapLast(a), cotangent], {});
      const batch = Array.from({ length: rank - 2 }, (_, i) => i);
      const outer = () =>
        b.neg(b.make("dot", [inner, node], { lhsBatch: batch, rhsBatch: batch, lhsContract: [rank - 1], rhsContract: [rank - 1] }));
      return [wants(0) ? outer() : undefined, inner];
    },
    jvp: ({ b, node, inputs: [a], tangents: [da, db] }) => {
      const moved = da && b.matmul(da, node);
      const rhs = moved && db ? b.sub(db, moved) : (db ?? (moved && b.neg(moved)));
      return rhs && b.make("solve", [a, rhs], {});
    },
    examples: [
      { inputs: [tensor("f32", [2, 2], [2, 1, -1, 3]), tensor("f32", [2, 3], [1, 2, 3, 4, 5, 6])], attrs: {} },
      { inputs: [tensor("f32", [2, 2, 2], [2, 1, -1, 3, 0, 0.5, -3, 2]), tensor("f32", [2, 2, 1], [1, 2, 3, 4])], attrs: {} },
    ],
  },
};
