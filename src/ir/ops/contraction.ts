/** The one contraction. */
import type { Node } from "../graph.ts";
import { type AttrsOf, attrsOf } from "./attributes.ts";
import { needAxes, needCount, needDType, needEqual, refuse } from "./mismatch.ts";
import type { ContractionName, Op } from "./op.ts";
import { copyBox, count, stridesOf, type Tensor, tensor } from "./tensor.ts";

/** The axes of a `dot` by what they are: of each operand its batch, contracted and free axes, the free ones in order. */
export interface DotAxes {
  readonly lhsBatch: readonly number[];
  readonly rhsBatch: readonly number[];
  readonly lhsContract: readonly number[];
  readonly rhsContract: readonly number[];
  readonly lhsFree: readonly number[];
  readonly rhsFree: readonly number[];
}
export function dotAxes(attrs: AttrsOf["dot"], lhsRank: number, rhsRank: number): DotAxes {
  const { lhsBatch, rhsBatch, lhsContract, rhsContract } = attrs;
  const free = (rank: number, ...taken: (readonly number[])[]) =>
    Array.from({ length: rank }, (_, i) => i).filter((i) => !taken.some((t) => t.includes(i)));
  return {
    lhsBatch,
    rhsBatch,
    lhsContract,
    rhsContract,
    lhsFree: free(lhsRank, lhsBatch, lhsContract),
    rhsFree: free(rhsRank, rhsBatch, rhsContract),
  };
}

/** The operand with its axes in the order given, dense. */
function arranged(x: Tensor, axes: readonly number[]): Float64Array {
  if (axes.every((a, i) => a === i)) return x.data;
  const out = new Float64Array(x.data.length);
  const strides = stridesOf(x.shape);
  const shape = axes.map((a) => x.shape[a]);
  copyBox(
    shape,
    x.data,
    0,
    axes.map((a) => strides[a]),
    out,
    0,
    stridesOf(shape),
  );
  return out;
}

function dot(lhs: Tensor, rhs: Tensor, attrs: AttrsOf["dot"]): Tensor {
  const a = dotAxes(attrs, lhs.shape.length, rhs.shape.length);
  const size = (t: Tensor, axes: readonly number[]) => axes.map((i) => t.shape[i]);
  const batch = size(lhs, a.lhsBatch);
  const left = size(lhs, a.lhsFree);
  const right = size(rhs, a.rhsFree);
  const [B, M, N, K] = [count(batch), count(left), count(right), count(size(lhs, a.lhsContract))];
  const x = arranged(lhs, [...a.lhsBatch, ...a.lhsFree, ...a.lhsContract]);
  // Both with the contracted axes last: the inner loop then reads two rows. Four columns at once keep four sums in registers.
  const y = arranged(rhs, [...a.rhsBatch, ...a.rhsFree, ...a.rhsContract]);
  const out = new Float64Array(B * M * N);
  for (let b = 0; b < B; b++)
    for (let m = 0; m < M; m++) {
      const p = (b * M + m) * K;
      const o = (b * M + m) * N;
      let n = 0;
      for (; n + 4 <= N; n += 4) {
        const q0 = (b * N + n) * K;
        const q1 = q0 + K;
        const q2 = q1 + K;
        const q3 = q2 + K;
        let s0 = 0;
        let s1 = 0;
        let s2 = 0;
        let s3 = 0;
        for (let k = 0; k < K; k++) {
          const v = x[p + k];
          s0 += v * y[q0 + k];
          s1 += v * y[q1 + k];
          s2 += v * y[q2 + k];
          s3 += v * y[q3 + k];
        }
        out[o + n] = s0;
        out[o + n + 1] = s1;
        out[o + n + 2] = s2;
        out[o + n + 3] = s3;
      }
      for (; n < N; n++) {
        const q = (b * N + n) * K;
        let s = 0;
        for (let k = 0; k < K; k++) s += x[p + k] * y[q + k];
        out[o + n] = s;
      }
    }
  return { dtype: "f32", shape: [...batch, ...left, ...right], data: out };
}

/** The axes of a transposed product, put back into the operand's own order. */
function unpermuted(axes: readonly number[]): number[] {
  return axes.map((_, i) => axes.indexOf(i));
}
const range = (from: number, n: number) => Array.from({ length: n }, (_, i) => from + i);

function cotangentOf(side: "lhs" | "rhs", node: Node): { other: 0 | 1; attrs: AttrsOf["dot"]; order: number[] } {
  const a = dotAxes(attrsOf(node, "dot"), node.inputs[0].type.shape.length, node.inputs[1].type.shape.length);
  const nb = a.lhsBatch.length;
  const batch = range(0, nb);
  // The result's axes are batch, lhs free, rhs free. Contract the cotangent with the other operand over that one's free axes; what comes
  // out is batch, own free, and the other's contracted axes in the other's own order.
  const ofOther = side === "lhs" ? range(nb + a.lhsFree.length, a.rhsFree.length) : range(nb, a.lhsFree.length);
  const [otherBatch, otherFree, otherContract] =
    side === "lhs" ? [a.rhsBatch, a.rhsFree, a.rhsContract] : [a.lhsBatch, a.lhsFree, a.lhsContract];
  const [ownBatch, ownFree, ownContract] = side === "lhs" ? [a.lhsBatch, a.lhsFree, a.lhsContract] : [a.rhsBatch, a.rhsFree, a.rhsContract];
  const sorted = [...otherContract].sort((p, q) => p - q);
  const came = [...ownBatch, ...ownFree, ...sorted.map((axis) => ownContract[otherContract.indexOf(axis)])];
  return {
    other: side === "lhs" ? 1 : 0,
    attrs: { lhsBatch: batch, rhsBatch: otherBatch, lhsContract: ofOther, rhsContract: otherFree },
    order: unpermuted(came),
  };
}

const a23 = tensor("f32", [2, 3], [1, -2, 3, 4, 5.5, -6]);
const b34 = tensor("f32", [3, 4], [0.5, 1, -1, 2, 3, -0.5, 0.25, 1, -2, 1, 1, -3]);
const c232 = tensor("f32", [2, 3, 2], [1, -2, 3, 4, 5.5, -6, 0.5, 1, -1, 2, 3, -0.5]);

export const contraction: { readonly [K in ContractionName]: Op<AttrsOf[K]> } = {
  dot: {
    doc: "dot {lhsBatch, rhsBatch, lhsContract, rhsContract}: Σ over the contracted axes; the result's axes are batch, lhs free, rhs free (XLA's DotGeneral). f32. With {zeros} there is a third operand, an f32 of no axes, that has no part in the value: see the pass `sparse`.",
    role: "product",
    shape: (types, attrs, solver) => {
      needCount("dot", types, attrs.zeros === undefined ? 2 : 3);
      if (types.length > 2 && types[2].shape.length > 0) refuse("dot", types, "the third operand has no axes");
      needDType("dot", types, 0, ["f32"]);
      needDType("dot", types, 1, ["f32"]);
      const [l, r] = types;
      const lhsBatch = needAxes("dot", types, attrs.lhsBatch, l.shape.length);
      const rhsBatch = needAxes("dot", types, attrs.rhsBatch, r.shape.length);
      const lhsContract = needAxes("dot", types, attrs.lhsContract, l.shape.length);
      const rhsContract = needAxes("dot", types, attrs.rhsContract, r.shape.length);
      needAxes("dot", types, [...lhsBatch, ...lhsContract], l.shape.length);
      needAxes("dot", types, [...rhsBatch, ...rhsContract], r.shape.length);
      if (lhsBatch.length !== rhsBatch.length || lhsContract.length !== rhsContract.length) refuse("dot", types, "axes do not pair up");
      for (const [i, p] of lhsBatch.entries()) needEqual("dot", types, [0, 1], [p, rhsBatch[i]], solver);
      for (const [i, p] of lhsContract.entries()) needEqual("dot", types, [0, 1], [p, rhsContract[i]], solver);
      const a = dotAxes(attrs, l.shape.length, r.shape.length);
      return {
        dtype: "f32",
        shape: [...lhsBatch.map((i) => l.shape[i]), ...a.lhsFree.map((i) => l.shape[i]), ...a.rhsFree.map((i) => r.shape[i])],
      };
    },
    eval: ([l, r], attrs) => dot(l, r, attrs),
    vjp: "by transpose",
    linear: [[0], [1]],
    transpose: ({ b, node, inputs, cotangent, wants }) =>
      (["lhs", "rhs"] as const).map((side, i) => {
        if (!wants(i)) return undefined;
        const { other, attrs, order } = cotangentOf(side, node);
        return b.permute(b.make("dot", [cotangent, inputs[other]], attrs), order);
      }),
    sparse: { all: [0] },
    examples: [
      { inputs: [a23, b34], attrs: { lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0] } },
      { inputs: [c232, c232], attrs: { lhsBatch: [0], rhsBatch: [0], lhsContract: [1], rhsContract: [1] } },
      { inputs: [c232, a23], attrs: { lhsBatch: [], rhsBatch: [], lhsContract: [1, 0], rhsContract: [1, 0] } },
      { inputs: [c232, a23], attrs: { lhsBatch: [2], rhsBatch: [0], lhsContract: [1], rhsContract: [1] } },
      { inputs: [a23, a23], attrs: { lhsBatch: [], rhsBatch: [], lhsContract: [], rhsContract: [] } },
    ],
  },
};
