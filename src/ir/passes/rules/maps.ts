/** Identities of elementwise rows. Zero times anything is zero here: a graph that relies on 0·∞ = NaN means nothing anybody wants. */
import type { Node } from "../../graph.ts";
import { sizes } from "../../graph.ts";
import { castTo, isNeg, isNot, isWhere, type OpName, padOf, rowOf } from "../../ops/index.ts";
import type { Rule, Rules, ScopedBuilder } from "../../rewrite.ts";
import { constantAxes, elementwise, isMinus, isPlus, isTimes, scalarUnder, splat } from "./facts.ts";

const full = (b: ScopedBuilder, value: number, like: Node): Node => b.constant(value, like.type.dtype, like.type.shape);

/** x ∘ e = x, x ∘ z = z, from the columns of the row. Constants stand second where operands may change places. */
const neutral: Rule = (n, b) => {
  const algebra = rowOf(n).algebra;
  if (!algebra || n.inputs.length !== 2) return undefined;
  const q = splat(n.inputs[1]);
  if (q === undefined) return undefined;
  if (q === algebra.identity) return n.inputs[0];
  return q === algebra.absorbing ? full(b, q, n) : undefined;
};

/** What does not change along an axis is computed once and repeated. */
const narrow: Rule = (n, b) => {
  if (!elementwise(n) || n.inputs.length === 0) return undefined;
  const shape = sizes(n);
  let axes: number[] | undefined;
  for (const x of n.inputs) {
    const mine = constantAxes(x);
    axes = axes ? axes.filter((a) => mine.has(a)) : [...mine];
    if (axes.length === 0) return undefined;
  }
  return b.expand(
    b.make(
      n.op as OpName,
      n.inputs.map((x) => thinned(b, x, axes!)),
      n.attrs,
    ),
    shape,
  );
};

/** `x`, constant along the axes, with size 1 on them. */
export function thinned(b: ScopedBuilder, x: Node, axes: readonly number[]): Node {
  const shape = sizes(x).map((d, i) => (axes.includes(i) ? 1 : d));
  const value = splat(x);
  if (value !== undefined) return b.constant(value, x.type.dtype, shape);
  if (rowOf(x).role === "source") return b.make(x.op as OpName, x.inputs, { ...x.attrs, shape });
  return b.expand(x.inputs[0], shape);
}

/** The number that multiplies all elements: [x, c] of x·c, x/c, −x. */
function scaled(n: Node): [Node, number] | undefined {
  if (isTimes(n)) {
    const c = splat(n.inputs[1]);
    return c === undefined ? undefined : [n.inputs[0], c];
  }
  if (isNeg(n)) return [n.inputs[0], -1];
  return undefined;
}

const times = (b: ScopedBuilder, x: Node, c: number): Node => (c === 1 ? x : c === -1 ? b.neg(x) : b.mul(x, full(b, c, x)));
/** A quotient: linear in the first operand alone. */
const isQuotient = (n: Node): boolean => rowOf(n).role === "scale" && n.inputs.length === 2 && !rowOf(n).algebra?.commutative;

const mul: Rule = (n, b) => {
  const [x, y] = n.inputs;
  const c = splat(y);
  if (c !== undefined) {
    if (c === -1) return b.neg(x);
    const inner = scaled(x);
    if (inner && (n.type.dtype === "f32" || Number.isSafeInteger(inner[1] * c))) return times(b, inner[0], inner[1] * c);
  }
  if (n.type.dtype !== "f32") return undefined;
  // y·(c/x) = (y/x)·c, c a number.
  for (const [p, q] of [
    [x, y],
    [y, x],
  ] as const) {
    const above = isQuotient(q) ? splat(q.inputs[0]) : undefined;
    if (above !== undefined && splat(p) === undefined) return times(b, b.div(p, q.inputs[1]), above);
  }
  // Numbers and scalars go outwards, where they meet: (x·c)·y = (x·y)·c.
  if (c === undefined) {
    for (const [p, q] of [
      [x, y],
      [y, x],
    ] as const) {
      const inner = scaled(p);
      if (inner) return times(b, b.mul(inner[0], q), inner[1]);
    }
  }
  const s = scalarUnder(y) ?? scalarUnder(x);
  if (s && n.type.shape.length > 0) {
    const other = scalarUnder(y) ? x : y;
    if (scalarUnder(other) || !isTimes(other)) return undefined;
    const t = scalarUnder(other.inputs[1]) ?? scalarUnder(other.inputs[0]);
    if (!t) return undefined;
    const rest = scalarUnder(other.inputs[1]) ? other.inputs[0] : other.inputs[1];
    return b.mul(rest, b.broadcastTo(b.mul(s, t), n.type.shape));
  }
  return undefined;
};

const div: Rule = (n, b) => {
  const [x, y] = n.inputs;
  const c = splat(y);
  if (c !== undefined && c !== 0 && Number.isFinite(1 / c)) return b.mul(x, full(b, 1 / c, x));
  if (splat(x) === 0) return x;
  const inner = splat(x) === undefined ? scaled(x) : undefined;
  if (inner) return times(b, b.div(inner[0], y), inner[1]);
  const below = scaled(y);
  if (below && below[1] !== 0) return times(b, b.div(x, below[0]), 1 / below[1]);
  return undefined;
};

const add: Rule = (n, b) => {
  const [x, y] = n.inputs;
  if (isNeg(y)) return b.sub(x, y.inputs[0]);
  if (isNeg(x)) return b.sub(y, x.inputs[0]);
  const c = splat(y);
  if (c !== undefined && isPlus(x)) {
    const d = splat(x.inputs[1]);
    if (d !== undefined) return b.add(x.inputs[0], full(b, c + d, x));
  }
  if (x === y) return b.mul(x, full(b, 2, x));
  return undefined;
};

/** Zeros around neighbours of one axis: the tensors one behind the other. So the gradients of slices meet. */
const joinPads: Rule = (n, b) => {
  const parts: Node[] = [];
  const flatten = (x: Node, depth: number): void => {
    if (isPlus(x) && depth < MOST_PARTS) for (const i of x.inputs) flatten(i, depth + 1);
    else parts.push(x);
  };
  flatten(n, 0);
  for (const p of parts) {
    const mine = paddedAxis(p);
    if (!mine) continue;
    for (const q of parts) {
      const its = paddedAxis(q);
      if (q === p || !its || its.axis !== mine.axis || its.low !== mine.low + mine.size) continue;
      const joined = b.padAxis(b.concat([p.inputs[0], q.inputs[0]], mine.axis), mine.axis, mine.low, its.high);
      return parts.filter((x) => x !== p && x !== q).reduce((sum, x) => b.add(sum, x), joined);
    }
  }
  return undefined;
};
const MOST_PARTS = 8;

/** The one axis around which a node has zeros, and how many. */
function paddedAxis(n: Node): { axis: number; low: number; high: number; size: number } | undefined {
  const pad = padOf(n);
  if (pad?.value !== 0) return undefined;
  const axes = pad.low.flatMap((d, i) => (d > 0 || pad.high[i] > 0 ? [i] : []));
  if (axes.length !== 1) return undefined;
  const [axis] = axes;
  return { axis, low: pad.low[axis], high: pad.high[axis], size: sizes(n.inputs[0])[axis] };
}

const sub: Rule = (n, b) => {
  const [x, y] = n.inputs;
  if (x === y) return full(b, 0, n);
  if (isNeg(y)) return b.add(x, y.inputs[0]);
  if (splat(x) === 0) return b.neg(y);
  const c = splat(y);
  if (c !== undefined) return b.add(x, full(b, -c, x));
  return undefined;
};

const neg: Rule = (n, b) => {
  const [x] = n.inputs;
  if (isNeg(x)) return x.inputs[0];
  if (isMinus(x)) return b.sub(x.inputs[1], x.inputs[0]);
  const inner = scaled(x);
  return inner ? times(b, inner[0], -inner[1]) : undefined;
};

/** Small whole powers as products, roots as roots. */
const pow: Rule = (n, b) => {
  const [x, y] = n.inputs;
  const p = splat(y);
  if (p === undefined) return undefined;
  const root = () => b.unary("sqrt", x);
  switch (p) {
    case 0:
      return full(b, 1, n);
    case 2:
      return b.mul(x, x);
    case 3:
      return b.mul(b.mul(x, x), x);
    case 4: {
      const square = b.mul(x, x);
      return b.mul(square, square);
    }
    case 0.5:
      return root();
    case -1:
      return b.div(1, x);
    case -0.5:
      return b.div(1, root());
    case -2:
      return b.div(1, b.mul(x, x));
    default:
      return undefined;
  }
};

const same: Rule = (n) => (n.inputs[0] === n.inputs[1] ? n.inputs[0] : undefined);

const not: Rule = (n) => (isNot(n.inputs[0]) ? n.inputs[0].inputs[0] : undefined);

const where: Rule = (n, b) => {
  const [c, x, y] = n.inputs;
  const known = splat(c);
  if (known !== undefined) return known ? x : y;
  if (x === y) return x;
  const [p, q] = [splat(x), splat(y)];
  if (p !== undefined && p === q && !(p === 0 && 1 / p !== 1 / q!)) return x;
  if (isNot(c)) return b.where(c.inputs[0], y, x);
  if (n.type.dtype === "bool" && p !== undefined && q !== undefined) return p ? c : b.unary("not", c);
  if (isWhere(x) && x.inputs[0] === c) return b.where(c, x.inputs[1], y);
  if (isWhere(y) && y.inputs[0] === c) return b.where(c, x, y.inputs[2]);
  // One condition in the other's branch: where(c, where(d, a, y), y) = where(c and d, a, y).
  if (isWhere(x) && x.inputs[2] === y) return b.where(b.logic("and", c, x.inputs[0]), x.inputs[1], y);
  return undefined;
};

const cast: Rule = (n, b) => {
  const [x] = n.inputs;
  const to = castTo(n)!;
  if (x.type.dtype === to) return x;
  const inner = castTo(x) === undefined ? undefined : x.inputs[0];
  // bool survives every cast, i32 survives none but to itself.
  return inner?.type.dtype === "bool" ? b.cast(inner, to) : undefined;
};

export const mapRules: Rules = {
  every: [neutral, narrow],
  of: {
    mul: [mul],
    div: [div],
    add: [add, joinPads],
    sub: [sub],
    neg: [neg],
    pow: [pow],
    max: [same],
    min: [same],
    and: [same],
    or: [same],
    not: [not],
    where: [where],
    cast: [cast],
  },
};
