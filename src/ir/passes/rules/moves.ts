/** Movement: what comes to nothing goes, chains become one, and constants are not moved about but made where they are wanted. */
import { sizes } from "../../graph.ts";
import { concatAxis, iotaAxis, isExpand, isReshape, padOf, permuteOrder, sliceOf } from "../../ops/index.ts";
import type { Rule, Rules } from "../../rewrite.ts";
import { range, sameList, splat, unitReshape } from "./facts.ts";

/** Movement of equal elements is a constant of the new shape. */
const ofSplat: Rule = (n, b) => {
  const value = splat(n.inputs[0]);
  return value === undefined ? undefined : b.constant(value, n.type.dtype, n.type.shape);
};

const reshape: Rule = (n, b) => {
  const [x] = n.inputs;
  const shape = sizes(n);
  if (sameList(shape, sizes(x))) return x;
  if (isReshape(x)) return b.reshape(x.inputs[0], shape);
  const map = unitReshape(sizes(x), shape);
  if (!map) return splitExpanded(n, b);
  // Axes of size 1 come and go below `expand`.
  if (isExpand(x)) {
    const from = sizes(x.inputs[0]);
    const narrow = map.map((axis) => (axis < 0 ? 1 : from[axis]));
    return b.expand(b.reshape(x.inputs[0], narrow), shape);
  }
  // A permutation that only moves axes of size 1 is a reshape.
  const order = permuteOrder(x);
  if (order) {
    const inner = sizes(x.inputs[0]);
    const kept = order.filter((a) => inner[a] !== 1);
    if (kept.every((a, i) => i === 0 || a > kept[i - 1])) return b.reshape(x.inputs[0], shape);
  }
  const counted = iotaAxis(x);
  if (counted !== undefined) {
    const axis = map.indexOf(counted);
    if (axis >= 0) return b.iota(shape, axis);
  }
  return undefined;
};

/** reshape(expand(x)) where the reshape splits or merges only among axes that were not expanded, or only among those that were. */
const splitExpanded: Rule = (n, b) => {
  const x = n.inputs[0];
  if (!isExpand(x)) return undefined;
  const wide = sizes(x);
  const from = sizes(x.inputs[0]);
  const to = sizes(n);
  const narrow: number[] = [];
  // Walk both shapes in groups of equal products.
  for (let i = 0, j = 0; i < wide.length || j < to.length; ) {
    const [i0, j0] = [i, j];
    let p = i < wide.length ? wide[i++] : 1;
    let q = j < to.length ? to[j++] : 1;
    while (p !== q) {
      if (p < q) {
        if (i >= wide.length) return undefined;
        p *= wide[i++];
      } else {
        if (j >= to.length) return undefined;
        q *= to[j++];
      }
    }
    const group = range(i - i0, i0);
    const expanded = group.filter((a) => from[a] !== wide[a]);
    if (expanded.length === 0) narrow.push(...to.slice(j0, j));
    else if (group.every((a) => from[a] === 1)) narrow.push(...range(j - j0).map(() => 1));
    else return undefined;
  }
  return b.expand(b.reshape(x.inputs[0], narrow), to);
};

const permute: Rule = (n, b) => {
  const [x] = n.inputs;
  const order = permuteOrder(n)!;
  const shape = sizes(x);
  if (order.every((a, i) => a === i)) return x;
  const inner = permuteOrder(x);
  if (inner)
    return b.permute(
      x.inputs[0],
      order.map((a) => inner[a]),
    );
  const kept = order.filter((a) => shape[a] !== 1);
  if (kept.every((a, i) => i === 0 || a > kept[i - 1])) return b.reshape(x, sizes(n));
  if (isExpand(x)) return b.expand(b.permute(x.inputs[0], order), sizes(n));
  const counted = iotaAxis(x);
  return counted === undefined ? undefined : b.iota(sizes(n), order.indexOf(counted));
};

const expand: Rule = (n, b) => {
  const [x] = n.inputs;
  if (sameList(sizes(n), sizes(x))) return x;
  if (isExpand(x)) return b.expand(x.inputs[0], sizes(n));
  const counted = iotaAxis(x);
  if (counted !== undefined && sizes(x)[counted] === sizes(n)[counted]) return b.iota(sizes(n), counted);
  return undefined;
};

const slice: Rule = (n, b) => {
  const [x] = n.inputs;
  const { start, stop, step } = sliceOf(n)!;
  const shape = sizes(x);
  const out = sizes(n);
  if (sameList(shape, out) && step.every((s, i) => s === 1 || out[i] === 1)) return x;
  // A step over nothing is no step; the end is put where the last element is.
  const ends = start.map((s, i) => (out[i] === 0 ? s : s + (out[i] - 1) * step[i] + 1));
  const steps = step.map((s, i) => (out[i] <= 1 ? 1 : s));
  if (!sameList(ends, stop) || !sameList(steps, step)) return b.slice(x, start, ends, steps);
  const inner = sliceOf(x);
  if (inner)
    return b.slice(
      x.inputs[0],
      start.map((s, i) => inner.start[i] + s * inner.step[i]),
      stop.map((_, i) => inner.start[i] + (start[i] + (out[i] - 1) * step[i]) * inner.step[i] + 1),
      step.map((s, i) => s * inner.step[i]),
    );
  const pad = padOf(x);
  if (pad && step.every((s) => s === 1)) {
    // What the slice takes of the middle, and what of the border.
    const within = sizes(x.inputs[0]);
    const from = start.map((s, i) => Math.min(Math.max(s - pad.low[i], 0), within[i]));
    const to = stop.map((s, i) => Math.min(Math.max(s - pad.low[i], 0), within[i]));
    if (from.some((f, i) => f >= to[i])) return b.constant(pad.value, n.type.dtype, out);
    const low = start.map((s, i) => Math.max(pad.low[i] - s, 0));
    const high = stop.map((_, i) => out[i] - low[i] - (to[i] - from[i]));
    return b.pad(b.slice(x.inputs[0], from, to), low, high, pad.value);
  }
  if (isExpand(x)) {
    const from = sizes(x.inputs[0]);
    const on = <T>(list: readonly T[], unit: T) => list.map((v, i) => (from[i] === 1 ? unit : v));
    return b.expand(b.slice(x.inputs[0], on(start, 0), on(stop, 1), on(step, 1)), out);
  }
  const order = permuteOrder(x);
  if (order) {
    const back = <T>(list: readonly T[]) => order.map((_, i) => list[order.indexOf(i)]);
    return b.permute(b.slice(x.inputs[0], back(start), back(stop), back(step)), order);
  }
  if (isReshape(x)) {
    const from = sizes(x.inputs[0]);
    const map = unitReshape(from, shape);
    if (map && shape.every((d, i) => d !== 1 || out[i] === 1)) {
      const place = (list: readonly number[], unit: number) => from.map((_, axis) => (map.includes(axis) ? list[map.indexOf(axis)] : unit));
      return b.reshape(b.slice(x.inputs[0], place(start, 0), place(stop, 1), place(step, 1)), out);
    }
  }
  const axis = concatAxis(x);
  if (axis !== undefined && step[axis] === 1) {
    let at = 0;
    for (const part of x.inputs) {
      const size = sizes(part)[axis];
      if (start[axis] >= at && stop[axis] <= at + size)
        return b.slice(
          part,
          start.map((s, i) => (i === axis ? s - at : s)),
          stop.map((s, i) => (i === axis ? s - at : s)),
          step,
        );
      at += size;
    }
  }
  const counted = iotaAxis(x);
  if (counted !== undefined && start[counted] === 0 && step[counted] === 1) return b.iota(out, counted);
  return undefined;
};

const pad: Rule = (n, b) => {
  const [x] = n.inputs;
  const { low, high, value } = padOf(n)!;
  if ([...low, ...high].every((d) => d === 0)) return x;
  if (splat(x) === value || sizes(x).includes(0)) return b.constant(value, n.type.dtype, n.type.shape);
  const inner = padOf(x);
  if (inner?.value === value)
    return b.pad(
      x.inputs[0],
      low.map((d, i) => d + inner.low[i]),
      high.map((d, i) => d + inner.high[i]),
      value,
    );
  return undefined;
};

const concat: Rule = (n, b) => {
  const axis = concatAxis(n)!;
  const parts = n.inputs.filter((x) => sizes(x)[axis] > 0);
  if (parts.length > 0 && parts.length < n.inputs.length) return b.concat(parts, axis);
  if (n.inputs.length === 1) return n.inputs[0];
  if (n.inputs.some((x) => concatAxis(x) === axis))
    return b.concat(
      n.inputs.flatMap((x) => (concatAxis(x) === axis ? x.inputs : [x])),
      axis,
    );
  const value = splat(n.inputs[0]);
  if (value !== undefined && n.inputs.every((x) => splat(x) === value)) return b.constant(value, n.type.dtype, n.type.shape);
  // Neighbours cut from one tensor grow together again.
  for (let i = 0; i + 1 < n.inputs.length; i++) {
    const [p, q] = [n.inputs[i], n.inputs[i + 1]];
    const [s, t] = [sliceOf(p), sliceOf(q)];
    if (!s || !t || p.inputs[0] !== q.inputs[0] || s.step[axis] !== 1 || t.step[axis] !== 1 || s.stop[axis] !== t.start[axis]) continue;
    const others = range(s.start.length).filter((a) => a !== axis);
    if (!others.every((a) => s.start[a] === t.start[a] && s.stop[a] === t.stop[a] && s.step[a] === t.step[a])) continue;
    const joined = b.slice(
      p.inputs[0],
      s.start,
      s.stop.map((d, a) => (a === axis ? t.stop[a] : d)),
      s.step,
    );
    return b.concat([...n.inputs.slice(0, i), joined, ...n.inputs.slice(i + 2)], axis);
  }
  return undefined;
};

/** Rows of what is the same in all rows. */
const gather: Rule = (n, b) => {
  const [x, index] = n.inputs;
  const value = splat(x);
  if (value !== undefined) return b.constant(value, n.type.dtype, n.type.shape);
  if (isExpand(x) && sizes(x.inputs[0])[0] === 1) {
    const rest = sizes(x.inputs[0]).slice(1);
    const one = b.reshape(x.inputs[0], [...index.type.shape.map(() => 1), ...rest]);
    return b.expand(one, sizes(n));
  }
  const at = splat(index);
  if (at !== undefined && index.type.shape.length === 0) {
    const row = Math.max(0, Math.min(at, sizes(x)[0] - 1));
    return b.reshape(b.sliceAxis(x, 0, row, row + 1), sizes(n));
  }
  return undefined;
};

export const moveRules: Rules = {
  of: {
    reshape: [ofSplat, reshape],
    permute: [ofSplat, permute],
    expand: [ofSplat, expand],
    slice: [ofSplat, slice],
    pad: [pad],
    concat: [concat],
    gather: [gather],
  },
};
