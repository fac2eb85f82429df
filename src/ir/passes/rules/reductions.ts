/** Sums and extremes over axes on which less happens than it seems. */
import { type Node, sizes } from "../../graph.ts";
import {
  iotaAxis,
  isExpand,
  isNeg,
  isReshape,
  isWhere,
  type OpName,
  padOf,
  permuteOrder,
  reducedAxes,
  rowOf,
  summedAxes,
} from "../../ops/index.ts";
import type { Rule, Rules, ScopedBuilder } from "../../rewrite.ts";
import { constantAxes, elements, isTimes, range, splat, unitReshape } from "./facts.ts";
import { thinned } from "./maps.ts";

const reduced = (b: ScopedBuilder, n: Node, x: Node, axes: readonly number[]): Node =>
  b.make(n.op as OpName, [x], { ...n.attrs, axes: [...axes].sort((p, q) => p - q) });

/** The same axes of all reductions that merge. */
const reduce: Rule = (n, b) => {
  const [x] = n.inputs;
  const axes = reducedAxes(n)!;
  const shape = sizes(x);
  if (axes.length === 0) return b.cast(x, n.type.dtype);
  // Over one element there is nothing to reduce.
  const idle = axes.filter((a) => shape[a] === 1);
  if (idle.length > 0) {
    const kept = range(shape.length).filter((a) => !idle.includes(a));
    const thin = b.reshape(
      x,
      kept.map((a) => shape[a]),
    );
    return reduced(
      b,
      n,
      thin,
      axes.filter((a) => !idle.includes(a)).map((a) => kept.indexOf(a)),
    );
  }
  const order = permuteOrder(x);
  if (order) {
    const inner = axes.map((a) => order[a]);
    const left = order.filter((a) => !inner.includes(a));
    const rank = [...left].sort((p, q) => p - q);
    return b.permute(
      reduced(b, n, x.inputs[0], inner),
      left.map((a) => rank.indexOf(a)),
    );
  }
  if (x.op === n.op && x.type.dtype === n.type.dtype) {
    const gone = reducedAxes(x)!;
    const kept = range(x.inputs[0].type.shape.length).filter((a) => !gone.includes(a));
    return reduced(b, n, x.inputs[0], [...gone, ...axes.map((a) => kept[a])]);
  }
  if (isReshape(x)) {
    const from = sizes(x.inputs[0]);
    const map = unitReshape(from, shape);
    if (map)
      return b.reshape(
        reduced(
          b,
          n,
          x.inputs[0],
          axes.map((a) => map[a]),
        ),
        sizes(n),
      );
  }
  return undefined;
};

/** Copies: the extreme of copies is one of them, their sum a multiple. */
const ofCopies: Rule = (n, b) => {
  const [x] = n.inputs;
  const axes = reducedAxes(n)!;
  const copied = constantAxes(x);
  const over = axes.filter((a) => copied.has(a));
  if (over.length === 0 || !(isExpand(x) || splat(x) !== undefined)) return undefined;
  const thin = thinned(b, x, over);
  const one = reduced(b, n, thin, axes);
  if (summedAxes(n) === undefined) return one;
  const times = elements(over.map((a) => sizes(x)[a]));
  return b.mul(one, b.constant(times, n.type.dtype, n.type.shape));
};

/** A factor that is constant along the axes is applied to the sum. */
const pullScale: Rule = (n, b) => {
  const [x] = n.inputs;
  const axes = summedAxes(n)!;
  if (isNeg(x)) return b.neg(reduced(b, n, x.inputs[0], axes));
  if (!isTimes(x) && !(rowOf(x).role === "scale" && x.inputs.length === 2)) return undefined;
  const sides = isTimes(x) ? [1, 0] : [1];
  for (const i of sides) {
    const copied = constantAxes(x.inputs[i]);
    const shape = sizes(x);
    if (!axes.every((a) => copied.has(a) || shape[a] === 1)) continue;
    const factor = b.reshape(
      thinned(
        b,
        x.inputs[i],
        axes.filter((a) => copied.has(a)),
      ),
      sizes(n),
    );
    const sum = reduced(b, n, x.inputs[1 - i], axes);
    return b.make(x.op as OpName, [sum, factor], x.attrs);
  }
  return undefined;
};

/** Zeros of a border add nothing. */
const ofPad: Rule = (n, b) => {
  const pad = padOf(n.inputs[0]);
  if (pad?.value !== 0) return undefined;
  const axes = summedAxes(n)!;
  const kept = range(pad.low.length).filter((a) => !axes.includes(a));
  return b.pad(
    reduced(b, n, n.inputs[0].inputs[0], axes),
    kept.map((a) => pad.low[a]),
    kept.map((a) => pad.high[a]),
  );
};

/**
 * Σ_j where(j = i, x, 0), x constant along j, is x where i lies in the range: so the gradient of a pick needs no pass over the axis.
 */
const ofPick: Rule = (n, b) => {
  const [x] = n.inputs;
  const axes = summedAxes(n)!;
  if (axes.length !== 1 || !isWhere(x) || splat(x.inputs[2]) !== 0 || n.type.dtype === "bool") return undefined;
  const [axis] = axes;
  const found = pickedBy(x.inputs[0], axis);
  if (!found || !constantAxes(x.inputs[1]).has(axis)) return undefined;
  const flat = (y: Node) => b.reshape(thinned(b, y, [axis]), sizes(n));
  const index = flat(found);
  const size = sizes(x)[axis];
  const inside = b.logic("and", b.compare("ge", index, 0), b.compare("lt", index, size));
  return b.where(inside, flat(x.inputs[1]), b.constant(0, n.type.dtype, n.type.shape));
};

/** The index i, if the condition is "the position on the axis equals i", i constant along it. */
function pickedBy(condition: Node, axis: number): Node | undefined {
  const scalar = rowOf(condition).scalar;
  if (scalar !== "eq") return undefined;
  for (const [i, j] of [
    [0, 1],
    [1, 0],
  ]) {
    const counted = positions(condition.inputs[i]);
    if (counted === axis && constantAxes(condition.inputs[j]).has(axis) && splat(condition.inputs[j]) === undefined)
      return condition.inputs[j];
  }
  return undefined;
}

/** The axis whose positions `n` holds: iota, or iota repeated along other axes. */
function positions(n: Node): number | undefined {
  const axis = iotaAxis(n);
  if (axis !== undefined) return axis;
  if (isExpand(n)) {
    const inner = positions(n.inputs[0]);
    return inner !== undefined && sizes(n.inputs[0])[inner] === sizes(n)[inner] ? inner : undefined;
  }
  return undefined;
}

export const reductionRules: Rules = {
  of: {
    reduce_sum: [reduce, ofCopies, pullScale, ofPad, ofPick],
    reduce_max: [reduce, ofCopies],
    reduce_min: [reduce, ofCopies],
  },
};
