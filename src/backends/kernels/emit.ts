/**
 * From graph nodes to scalar values: `Emitter.at(node, coords)` gives the value of one element of a node. Movement becomes index
 * arithmetic, elementwise rows become calls, sources become literals; nodes that lie in memory become loads. Equal values are made once.
 */
import type { DType, Node } from "../../ir/graph.ts";
import { Bug, sizes as shapeOf } from "../../ir/graph.ts";
import { bound } from "../../ir/ops/bound.ts";
import { attrsOf, readsOf, rowOf, splatOf } from "../../ir/ops/index.ts";
import { packedAttrs } from "../../ir/ops/quantise.ts";
import { GROUPS, PARITY, ROTATIONS } from "../../ir/random.ts";
import { coupled } from "./couplings.ts";
import { constant, flatten, type Index, keyOf, range, scale, shift, unflatten, valueIndex, zero } from "./index.ts";
import type { ScalarFunction, Value } from "./kernel.ts";

/** Says how a node is had that is not to be computed here; `undefined` lets the emitter look into it. */
type Leaf = (node: Node, coords: readonly Index[], guard: number | undefined, emitter: Emitter) => number | undefined;

/** Whether the emitter can look into a node, rather than needing it in memory or in the kernel at hand. */
export function transparent(n: Node): boolean {
  const row = rowOf(n);
  return (
    row.scalar !== undefined || row.role === "move" || row.role === "barrier" || computedSource(n) || n.op in indexed || n.op in coupled
  );
}
/** Sources whose elements are computed: everything but what is handed in and tables. */
function computedSource(n: Node): boolean {
  const row = rowOf(n);
  return row.role === "source" && !row.supply && !isTable(n);
}
/** A constant with different elements, which lies in memory as a table. */
export const isTable = (n: Node): boolean => rowOf(n).role === "source" && n.attrs.data !== undefined && splatOf(n) === undefined;

export class Emitter {
  readonly values: Value[] = [];
  private readonly numbered = new Map<string, number>();
  private readonly memo = new Map<Node, Map<string, number>>();

  constructor(
    /** Sizes of the kernel's axes. */
    readonly sizes: readonly number[],
    private readonly leaf: Leaf,
  ) {}

  /** The number of a value; an equal one is not made twice. */
  value(v: Value, key: string): number {
    const seen = this.numbered.get(key);
    if (seen !== undefined) return seen;
    this.values.push(v);
    this.numbered.set(key, this.values.length - 1);
    return this.values.length - 1;
  }
  literal(value: number, dtype: DType): number {
    return this.value({ kind: "const", dtype, value }, `c ${dtype} ${Object.is(value, -0) ? "-0" : value}`);
  }
  index(index: Index): number {
    return index.terms.length === 0
      ? this.literal(index.base, "i32")
      : this.value({ kind: "index", dtype: "i32", index }, `i ${keyOf(index)}`);
  }
  load(operand: number, dtype: DType, index: Index, guard?: number): number {
    return this.value(
      guard === undefined ? { kind: "load", dtype, operand, index } : { kind: "load", dtype, operand, index, guard },
      `l ${operand} ${keyOf(index)} ${guard}`,
    );
  }
  call(fn: ScalarFunction, dtype: DType, ...args: number[]): number {
    return this.value({ kind: "call", dtype, fn, args }, `f ${fn} ${dtype} ${args}`);
  }

  /** The element of `n` at `coords`. Where `guard` is given and false, the result does not matter and memory is not touched. */
  at(n: Node, coords: readonly Index[], guard?: number): number {
    let seen = this.memo.get(n);
    if (!seen) {
      seen = new Map();
      this.memo.set(n, seen);
    }
    const key = `${coords.map(keyOf).join(",")}|${guard}`;
    let out = seen.get(key);
    if (out === undefined) {
      out = this.leaf(n, coords, guard, this) ?? this.compute(n, coords, guard);
      seen.set(key, out);
    }
    return out;
  }

  private compute(n: Node, coords: readonly Index[], guard: number | undefined): number {
    const row = rowOf(n);
    if (row.scalar) {
      const whole = n.type.dtype === "i32" && (row.scalar === "floor" || row.scalar === "ceil" || row.scalar === "round");
      const args = n.inputs.map((x) => this.at(x, coords, guard));
      if (whole || (row.scalar === "cast" && n.inputs[0].type.dtype === n.type.dtype)) return args[0];
      return this.call(row.scalar, n.type.dtype, ...args);
    }
    if (row.role === "barrier") return this.at(n.inputs[0], coords, guard);
    if (row.role === "move") return moved(this, n, coords, guard);
    const rule = indexed[n.op] ?? coupled[n.op] ?? computed[n.op];
    if (!rule) throw new Bug(`${n.op} is neither in memory nor computed element by element`);
    return rule(this, n, coords, guard);
  }

  both(a: number | undefined, b: number | undefined): number | undefined {
    return a === undefined ? b : b === undefined || a === b ? a : this.call("and", "bool", a, b);
  }

  /** The condition low ≤ i < high, without the halves that always hold; `undefined` if it always holds, `false` if it never does. */
  within(i: Index, low: number, high: number): number | undefined | false {
    const r = range(i, this.sizes);
    if (r.high < low || r.low >= high) return false;
    const above = r.low >= low ? undefined : this.call("ge", "bool", this.index(i), this.literal(low, "i32"));
    const below = r.high < high ? undefined : this.call("lt", "bool", this.index(i), this.literal(high, "i32"));
    return this.both(above, below);
  }

  /** `index` (an i32 value) moved into 0..n-1, as an index. */
  clamped(index: number, n: number): Index {
    const v = this.values[index];
    if (v.kind === "const") return constant(Math.max(0, Math.min(v.value, n - 1)));
    if (v.kind === "index") {
      const r = range(v.index, this.sizes);
      if (r.low >= 0 && r.high < n) return v.index;
    }
    const low = this.call("max", "i32", index, this.literal(0, "i32"));
    return valueIndex(this.call("min", "i32", low, this.literal(n - 1, "i32")), 0, n - 1);
  }
}

export type Rule = (e: Emitter, n: Node, coords: readonly Index[], guard: number | undefined) => number;

/** What moves elements: that of the first operand in which the place lies, else what the move fills up with. */
function moved(e: Emitter, n: Node, coords: readonly Index[], guard: number | undefined): number {
  const reads = readsOf(n)!;
  if (reads === "in order") return e.at(n.inputs[0], reshaped(coords, shapeOf(n), shapeOf(n.inputs[0]), e.sizes), guard);
  const filler = reads.fill === undefined ? undefined : e.literal(reads.fill, n.type.dtype);
  const pieces: { inside: number | undefined; value: number }[] = [];
  for (const { operand, axes, bounded } of reads.parts) {
    const shape = shapeOf(n.inputs[operand]);
    let inside: number | undefined | false;
    const places = axes.map((read, a) => {
      if (read === "only") return zero;
      const [coord, offset] = [coords[read.axis], bound(read.offset)];
      const place = shift(scale(coord, read.step), offset);
      if (bounded.includes(a) && inside !== false) {
        const here = read.step === 1 ? e.within(coord, -offset, shape[a] - offset) : e.within(place, 0, shape[a]);
        inside = here === false ? false : e.both(inside, here);
      }
      return place;
    });
    if (inside === false) continue;
    pieces.push({ inside, value: e.at(n.inputs[operand], places, e.both(guard, inside)) });
    if (inside === undefined) break;
  }
  let out = filler ?? pieces[pieces.length - 1].value;
  for (let i = pieces.length - (filler === undefined ? 2 : 1); i >= 0; i--) {
    const { inside, value } = pieces[i];
    out = inside === undefined ? value : e.call("where", n.type.dtype, inside, value, out);
  }
  return out;
}

/** Rows of the role `index` that are loads. */
const indexed: Readonly<Record<string, Rule>> = {
  gather: (e, n, coords, guard) => {
    const [x, at] = n.inputs;
    const rank = at.type.shape.length;
    const place = e.clamped(e.at(at, coords.slice(0, rank), guard), shapeOf(x)[0]);
    return e.at(x, [place, ...coords.slice(rank)], guard);
  },
  // the code is cut out of its word by two shifts
  dequantise: (e, n, coords, guard) => {
    const [codes, scales, levels] = n.inputs;
    const [count] = shapeOf(levels);
    const { block, bits } = packedAttrs(attrsOf(n, "dequantise"), count);
    const each = 32 / bits;
    const at = flatten(coords, shapeOf(n));
    const [word, inside] = unflatten(at, [shapeOf(codes)[0], each], e.sizes);
    const top = e.index(shift(scale(inside, -bits), 32 - bits));
    const code = e.call("shr", "i32", e.call("shl", "i32", e.at(codes, [word], guard), top), e.literal(32 - bits, "i32"));
    const [group] = unflatten(at, [shapeOf(scales)[0], block], e.sizes);
    const level = e.at(levels, [count === 2 ** bits ? valueIndex(code, 0, count - 1) : e.clamped(code, count)], guard);
    return e.call("mul", "f32", level, e.at(scales, [group], guard));
  },
  widen: (e, n, coords, guard) => {
    const i32 = (x: number) => e.literal(x, "i32");
    const [word, inside] = unflatten(flatten(coords, shapeOf(n)), [shapeOf(n.inputs[0])[0], 2], e.sizes);
    const up = e.index(shift(scale(inside, -16), 16));
    const moved = e.call("shl", "i32", e.at(n.inputs[0], [word], guard), up);
    /** The 16 bits, in the upper half, over zeros. */
    const top = e.call("shl", "i32", e.call("shr", "i32", moved, i32(16)), i32(16));
    if (n.attrs.format === "bf16") return e.call("bits", "f32", top);
    // the exponent moves by the difference of the biases; where it is 0, the leading one that this makes up is taken off again
    const size = e.call("shr", "i32", e.call("shl", "i32", top, i32(1)), i32(4));
    const at = (bias: number) => e.call("bits", "f32", e.call("add", "i32", size, i32(bias << 23)));
    const small = e.call("sub", "f32", at(113), e.literal(2 ** -14, "f32"));
    const plain = e.call("where", "f32", e.call("lt", "bool", size, i32(1 << 23)), small, at(112));
    return e.call("where", "f32", e.call("lt", "bool", top, i32(0)), e.call("neg", "f32", plain), plain);
  },
};

/** Sources whose elements follow from their place. */
const computed: Readonly<Record<string, Rule>> = {
  const: (e, n) => {
    const value = splatOf(n);
    if (typeof value !== "number") throw new Bug(`a constant whose value is ${value} is not bound`);
    return e.literal(value, n.type.dtype);
  },
  iota: (e, n, coords) => e.index(coords[attrsOf(n, "iota").axis]),
  draw: (e, n, coords, guard) => {
    const [key, step, first] = n.inputs;
    const place = e.index(flatten(coords, shapeOf(n)));
    const element = first ? e.call("add", "i32", place, e.at(first, [], guard)) : place;
    const [x0, x1] = threefry(e, [e.at(key, [zero], guard), e.at(key, [constant(1)], guard)], [element, e.at(step, [], guard)]);
    if (n.attrs.kind === "bits") return x0;
    const unit = e.literal(2 ** -24, "f32");
    /** 24 bits as f32, exact. */
    const top = (x: number, plus = 0) => {
      const bits = e.call("shr", "i32", x, e.literal(8, "i32"));
      return e.call("mul", "f32", e.call("cast", "f32", plus ? e.call("add", "i32", bits, e.literal(plus, "i32")) : bits), unit);
    };
    if (n.attrs.kind === "uniform") return top(x0);
    const radius = e.call("sqrt", "f32", e.call("mul", "f32", e.literal(-2, "f32"), e.call("log", "f32", top(x0, 1))));
    return e.call("mul", "f32", radius, e.call("cos", "f32", e.call("mul", "f32", e.literal(2 * Math.PI, "f32"), top(x1))));
  },
};

/** Threefry-2x32-20 as values; see random.ts. */
function threefry(e: Emitter, [k0, k1]: readonly [number, number], [c0, c1]: readonly [number, number]): [number, number] {
  const i32 = (x: number) => e.literal(x | 0, "i32");
  const plus = (a: number, b: number) => e.call("add", "i32", a, b);
  const xor = (a: number, b: number) => e.call("xor", "i32", a, b);
  // The bits of the two shifts do not meet, so that their sum is their union.
  const rotated = (x: number, r: number) => plus(e.call("shl", "i32", x, i32(r)), e.call("shr", "i32", x, i32(32 - r)));
  const k = [k0, k1, xor(xor(k0, k1), i32(PARITY))];
  let x0 = plus(c0, k[0]);
  let x1 = plus(c1, k[1]);
  for (let group = 0; group < GROUPS; group++) {
    for (const r of ROTATIONS[group & 1]) {
      x0 = plus(x0, x1);
      x1 = xor(rotated(x1, r), x0);
    }
    x0 = plus(x0, k[(group + 1) % 3]);
    x1 = plus(x1, plus(k[(group + 2) % 3], i32(group + 1)));
  }
  return [x0, x1];
}

/**
 * Coordinates in `to` of the element at `coords` in `from`, two shapes of the same elements. Axes are taken in the smallest groups of equal
 * size, so that what a reshape does not touch is not divided.
 */
function reshaped(coords: readonly Index[], from: readonly number[], to: readonly number[], sizes: readonly number[]): Index[] {
  const out: Index[] = [];
  let i = 0;
  let j = 0;
  while (i < from.length || j < to.length) {
    const [i0, j0] = [i, j];
    let a = i < from.length ? from[i++] : 1;
    let b = j < to.length ? to[j++] : 1;
    while (a !== b) {
      if (a < b) a *= from[i++];
      else b *= to[j++];
    }
    out.push(...unflatten(flatten(coords.slice(i0, i), from.slice(i0, i)), to.slice(j0, j), sizes));
  }
  return out;
}
