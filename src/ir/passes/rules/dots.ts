/** Contractions take movement of their operands into their own axes. */
import { type Node, sizes } from "../../graph.ts";
import { axesOfDot, type DotAxes, isExpand, isReshape, padOf, permuteOrder } from "../../ops/index.ts";
import type { Rule, Rules, ScopedBuilder } from "../../rewrite.ts";
import { range, splat, unitReshape } from "./facts.ts";

interface Side {
  readonly batch: readonly number[];
  readonly contract: readonly number[];
}
const sideOf = (a: DotAxes, i: number): Side & { readonly free: readonly number[] } =>
  i === 0
    ? { batch: a.lhsBatch, contract: a.lhsContract, free: a.lhsFree }
    : { batch: a.rhsBatch, contract: a.rhsContract, free: a.rhsFree };

/** The contraction with one operand replaced, whose batch and contracted axes are given in the pairs' order. */
function withSide(b: ScopedBuilder, n: Node, i: number, x: Node, side: Side): Node {
  const a = axesOfDot(n)!;
  const other = sideOf(a, 1 - i);
  const [lhs, rhs] = i === 0 ? [side, other] : [other, side];
  return b.dot(i === 0 ? x : n.inputs[0], i === 0 ? n.inputs[1] : x, {
    lhsBatch: lhs.batch,
    rhsBatch: rhs.batch,
    lhsContract: lhs.contract,
    rhsContract: rhs.contract,
  });
}

/** Of the result: the first axis of the free ones of the operand. */
const freeStart = (a: DotAxes, i: number): number => a.lhsBatch.length + (i === 0 ? 0 : a.lhsFree.length);

const ofZero: Rule = (n, b) => (n.inputs.some((x) => splat(x) === 0) ? b.constant(0, "f32", n.type.shape) : undefined);

/** An operand's permutation becomes the axes' numbers; if its free axes change order, the result is permuted. */
const ofPermute: Rule = (n, b) => {
  const a = axesOfDot(n)!;
  for (const i of [0, 1]) {
    const order = permuteOrder(n.inputs[i]);
    if (!order) continue;
    const mine = sideOf(a, i);
    const inner = n.inputs[i].inputs[0];
    const out = withSide(b, n, i, inner, { batch: mine.batch.map((p) => order[p]), contract: mine.contract.map((p) => order[p]) });
    const free = mine.free.map((p) => order[p]);
    const sorted = [...free].sort((p, q) => p - q);
    const first = freeStart(a, i);
    const places = range(n.type.shape.length);
    free.forEach((p, k) => {
      places[first + k] = first + sorted.indexOf(p);
    });
    return b.permute(out, places);
  }
  return undefined;
};

/** Axes of size 1 that a reshape put in, or took out, do not matter to a contraction; they come back in the result. */
const ofUnits: Rule = (n, b) => {
  const a = axesOfDot(n)!;
  for (const i of [0, 1]) {
    const x = n.inputs[i];
    if (!isReshape(x)) continue;
    const shape = sizes(x);
    const map = unitReshape(sizes(x.inputs[0]), shape);
    if (!map) continue;
    const mine = sideOf(a, i);
    // Batch and contracted axes must exist in the operand; free ones of size 1 are restored by a reshape.
    if (![...mine.batch, ...mine.contract].every((p) => map[p] >= 0)) continue;
    return b.reshape(
      withSide(b, n, i, x.inputs[0], { batch: mine.batch.map((p) => map[p]), contract: mine.contract.map((p) => map[p]) }),
      sizes(n),
    );
  }
  return undefined;
};

/** Contracting over one element only multiplies; such pairs of axes go. */
const idlePairs: Rule = (n, b) => {
  const a = axesOfDot(n)!;
  const shapes = n.inputs.map(sizes);
  const idle = range(a.lhsContract.length).filter((k) => shapes[0][a.lhsContract[k]] === 1);
  const idleBatch = range(a.lhsBatch.length).filter((k) => shapes[0][a.lhsBatch[k]] === 1);
  if (idle.length === 0 && idleBatch.length === 0) return undefined;
  const parts = [0, 1].map((i) => {
    const mine = sideOf(a, i);
    const gone = [...idle.map((k) => mine.contract[k]), ...idleBatch.map((k) => mine.batch[k])];
    const kept = range(shapes[i].length).filter((p) => !gone.includes(p));
    const at = (axes: readonly number[], out: readonly number[]) => axes.filter((_, k) => !out.includes(k)).map((p) => kept.indexOf(p));
    return {
      x: b.reshape(
        n.inputs[i],
        kept.map((p) => shapes[i][p]),
      ),
      batch: at(mine.batch, idleBatch),
      contract: at(mine.contract, idle),
    };
  });
  const [l, r] = parts;
  return b.reshape(b.dot(l.x, r.x, { lhsBatch: l.batch, rhsBatch: r.batch, lhsContract: l.contract, rhsContract: r.contract }), sizes(n));
};

/** An operand repeated along a free axis: repeat the result. Along a contracted axis: sum the other operand over it first. */
const ofExpand: Rule = (n, b) => {
  const a = axesOfDot(n)!;
  for (const i of [0, 1]) {
    const x = n.inputs[i];
    if (!isExpand(x)) continue;
    const from = sizes(x.inputs[0]);
    const shape = sizes(x);
    const mine = sideOf(a, i);
    const copied = (p: number) => from[p] === 1 && shape[p] !== 1;
    if (mine.free.some(copied)) {
      const thin = b.expand(
        x.inputs[0],
        shape.map((d, p) => (mine.free.includes(p) ? from[p] : d)),
      );
      return b.expand(withSide(b, n, i, thin, mine), sizes(n));
    }
    const k = mine.contract.findIndex(copied);
    if (k >= 0) {
      const other = sideOf(a, 1 - i);
      const axis = other.contract[k];
      const y = b.reduce("sum", n.inputs[1 - i], [axis]);
      const thin = b.reshape(
        b.expand(
          x.inputs[0],
          shape.map((d, p) => (p === mine.contract[k] ? 1 : d)),
        ),
        shape.filter((_, p) => p !== mine.contract[k]),
      );
      const drop = (axes: readonly number[], gone: number) => axes.filter((p) => p !== gone).map((p) => (p > gone ? p - 1 : p));
      const sides = [
        { batch: drop(mine.batch, mine.contract[k]), contract: drop(mine.contract, mine.contract[k]) },
        { batch: drop(other.batch, axis), contract: drop(other.contract, axis) },
      ];
      const [l, r] = i === 0 ? sides : [sides[1], sides[0]];
      const [p, q] = i === 0 ? [thin, y] : [y, thin];
      return b.dot(p, q, { lhsBatch: l.batch, rhsBatch: r.batch, lhsContract: l.contract, rhsContract: r.contract });
    }
  }
  return undefined;
};

/** Zeros around a contracted axis contribute nothing; around a free or batch axis they lie around the result. */
const ofPad: Rule = (n, b) => {
  const a = axesOfDot(n)!;
  for (const i of [0, 1]) {
    const x = n.inputs[i];
    const pad = padOf(x);
    if (pad?.value !== 0) continue;
    const mine = sideOf(a, i);
    const other = sideOf(a, 1 - i);
    const inner = sizes(x.inputs[0]);
    const y = n.inputs[1 - i];
    const start = sizes(y).map(() => 0);
    const stop = [...sizes(y)];
    for (const [own, its] of [...mine.batch.map((p, k) => [p, other.batch[k]]), ...mine.contract.map((p, k) => [p, other.contract[k]])]) {
      start[its] = pad.low[own];
      stop[its] = pad.low[own] + inner[own];
    }
    const cut = b.slice(y, start, stop);
    const [p, q] = i === 0 ? [x.inputs[0], cut] : [cut, x.inputs[0]];
    const out = b.dot(p, q, { lhsBatch: a.lhsBatch, rhsBatch: a.rhsBatch, lhsContract: a.lhsContract, rhsContract: a.rhsContract });
    const low = sizes(n).map(() => 0);
    const high = sizes(n).map(() => 0);
    mine.batch.forEach((own, k) => {
      low[k] = pad.low[own];
      high[k] = pad.high[own];
    });
    mine.free.forEach((own, k) => {
      low[freeStart(a, i) + k] = pad.low[own];
      high[freeStart(a, i) + k] = pad.high[own];
    });
    return b.pad(out, low, high);
  }
  return undefined;
};

/** A result whose free axes change sides is the contraction with its operands exchanged. */
const turned: Rule = (n, b) => {
  const x = n.inputs[0];
  const a = axesOfDot(x);
  const order = permuteOrder(n);
  if (!a || !order) return undefined;
  const [batch, l, r] = [a.lhsBatch.length, a.lhsFree.length, a.rhsFree.length];
  const wanted = [...range(batch), ...range(r, batch + l), ...range(l, batch)];
  if (!wanted.every((p, i) => p === order[i])) return undefined;
  return b.dot(x.inputs[1], x.inputs[0], {
    lhsBatch: a.rhsBatch,
    rhsBatch: a.lhsBatch,
    lhsContract: a.rhsContract,
    rhsContract: a.lhsContract,
  });
};

export const dotRules: Rules = {
  of: {
    dot: [ofZero, ofPermute, ofUnits, idlePairs, ofExpand, ofPad],
    permute: [turned],
  },
};
