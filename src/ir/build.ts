/**
 * Makes nodes whose types follow from the op table. `make` (see make.ts) is the one door; `Builder` adds what makes expressions short:
 * broadcasting, promotion of dtypes, and movement that comes to nothing is left out.
 */

import { axisOf, broadcastShape } from "./broadcast.ts";
import { addDim, type Dim, Poly, sameDim, sameShape, subDim } from "./dim.ts";
import { Bug } from "./errors.ts";
import type { DType, Loop, Node, Origin, Type } from "./graph.ts";
import { make, makeArg, makeLoop, strict } from "./make.ts";
import {
  type AttrsFor,
  acceptedDType,
  type BinaryName,
  type CompareName,
  type Given,
  type LogicName,
  type OpName,
  ops,
  promote,
  refuse,
  type Solver,
  splatOf,
  type UnaryName,
} from "./ops/index.ts";

export * from "./make.ts";
export { TypeMismatch } from "./ops/index.ts";

/** A node, a number, or a size as a value. */
export type Operand = Node | Dim;
const isNode = (x: Operand): x is Node => typeof x === "object" && !(x instanceof Poly);

type ReduceKind = "sum" | "max" | "min" | "mean";

export class Builder {
  constructor(
    readonly origin: Origin,
    readonly solver: Solver = strict,
  ) {}

  at(origin: Origin): Builder {
    return new Builder(origin, this.solver);
  }
  make<K extends OpName>(op: K, inputs: readonly Node[], ...attrs: Given<K>): Node {
    return make(op, inputs, (attrs[0] ?? {}) as AttrsFor<K>, this.origin, this.solver);
  }

  // ---- sources

  /** A scalar, or with a shape all elements equal; without a dtype a size is i32, a number f32. */
  constant(value: Dim | boolean, dtype?: DType, shape: readonly Dim[] = []): Node {
    const known = typeof value === "boolean" ? Number(value) : value;
    const to = dtype ?? (typeof value === "boolean" ? "bool" : typeof value === "number" ? "f32" : "i32");
    if (typeof known !== "number" && (shape.length > 0 || to !== "i32"))
      return this.broadcastTo(this.cast(this.make("const", [], { shape: [], dtype: "i32", data: [known] }), to), shape);
    return this.make("const", [], { shape, dtype: to, data: [known] });
  }
  /** A constant tensor, row-major. */
  table(data: readonly number[], shape: readonly number[], dtype: DType = "f32"): Node {
    return this.make("const", [], { shape, dtype, data });
  }
  zeros(type: Type): Node {
    return this.constant(0, type.dtype, type.shape);
  }
  ones(type: Type): Node {
    return this.constant(1, type.dtype, type.shape);
  }
  iota(shape: readonly Dim[], axis: number): Node {
    return this.make("iota", [], { shape, axis });
  }
  /** `first`: the number of the first element, where it is not 0. */
  draw(kind: "uniform" | "normal" | "bits", shape: readonly Dim[], key: Node, step: Node, first?: Node): Node {
    return this.make("draw", first ? [key, step, first] : [key, step], { kind, shape });
  }
  input(name: string, type: Type): Node {
    return this.make("input", [], { name, shape: type.shape, dtype: type.dtype });
  }
  param(name: string, shape: readonly Dim[]): Node {
    return this.make("param", [], { name, shape });
  }
  state(name: string, type: Type): Node {
    return this.make("state", [], { name, shape: type.shape, dtype: type.dtype });
  }

  // ---- maps

  cast(x: Operand, dtype: DType): Node {
    if (!isNode(x)) return this.constant(x, dtype);
    if (x.type.dtype === dtype) return x;
    return this.make("cast", [x], { dtype });
  }
  /** Promotes where the op asks for it: `exp` of i32 is f32, `neg` of bool is i32. */
  unary(op: UnaryName, x: Node): Node {
    return this.make(op, [this.cast(x, acceptedDType(ops[op], x.type.dtype))]);
  }
  neg(x: Node): Node {
    return this.unary("neg", x);
  }

  /** Promotes and broadcasts as NumPy does; bool counts as 0 or 1 in arithmetic; `div` and `pow` are f32. */
  binary(op: BinaryName, a: Operand, b: Operand): Node {
    const [x, y] = this.together(a, b);
    return this.make(op, this.matched(op, [x, y], acceptedDType(ops[op], promote(x.type.dtype, y.type.dtype))));
  }
  add(a: Operand, b: Operand): Node {
    return this.binary("add", a, b);
  }
  sub(a: Operand, b: Operand): Node {
    return this.binary("sub", a, b);
  }
  mul(a: Operand, b: Operand): Node {
    return this.binary("mul", a, b);
  }
  div(a: Operand, b: Operand): Node {
    return this.binary("div", a, b);
  }
  pow(a: Operand, b: Operand): Node {
    return this.binary("pow", a, b);
  }
  max(a: Operand, b: Operand): Node {
    return this.binary("max", a, b);
  }
  min(a: Operand, b: Operand): Node {
    return this.binary("min", a, b);
  }
  eq(a: Operand, b: Operand): Node {
    return this.binary("eq", a, b);
  }
  compare(op: CompareName, a: Operand, b: Operand): Node {
    return this.binary(op, a, b);
  }
  logic(op: LogicName, a: Operand, b: Operand): Node {
    return this.binary(op, a, b);
  }

  where(condition: Node, a: Operand, b: Operand): Node {
    const c = this.cast(condition, "bool");
    const [x, y] = this.together(a, b);
    const dtype = promote(x.type.dtype, y.type.dtype);
    const both = { dtype, shape: broadcastShape("where", x.type, y.type, this.solver) };
    const shape = broadcastShape("where", c.type, both, this.solver);
    return this.make("where", [
      this.broadcastTo(c, shape),
      this.broadcastTo(this.cast(x, dtype), shape),
      this.broadcastTo(this.cast(y, dtype), shape),
    ]);
  }

  /** Numbers become constants of the other operand's dtype where that loses nothing. */
  private together(a: Operand, b: Operand): [Node, Node] {
    const lift = (x: Operand, other: Operand): Node => {
      if (isNode(x)) return x;
      const integer = typeof x !== "number" || Number.isInteger(x);
      const whole = isNode(other) ? other.type.dtype !== "f32" : typeof other !== "number";
      return this.constant(x, integer && whole ? "i32" : "f32");
    };
    return [lift(a, b), lift(b, a)];
  }
  private matched(op: string, [x, y]: readonly [Node, Node], dtype: DType): Node[] {
    const shape = broadcastShape(op, x.type, y.type, this.solver);
    return [this.broadcastTo(this.cast(x, dtype), shape), this.broadcastTo(this.cast(y, dtype), shape)];
  }

  // ---- reductions

  /** Over `axes` (all, if left out), which disappear unless `keep`, then they stay with size 1. */
  reduce(kind: ReduceKind, x: Node, axes?: readonly number[], keep = false): Node {
    const over = axes ? axes.map((a) => axisOf(kind, x, a)) : x.type.shape.map((_, i) => i);
    if (kind === "mean") {
      const n = over.map((i) => this.constant(x.type.shape[i], "f32")).reduce((a, b) => this.mul(a, b), this.constant(1));
      const known = over.every((i) => typeof x.type.shape[i] === "number");
      const divisor = known ? this.constant(over.reduce((p, i) => p * (x.type.shape[i] as number), 1)) : n;
      return this.div(this.reduce("sum", this.cast(x, "f32"), over, keep), divisor);
    }
    const arithmetic = x.type.dtype === "bool" && kind !== "sum" ? this.cast(x, "i32") : x;
    let out = arithmetic;
    if (over.length > 0) out = this.make(`reduce_${kind}` as const, [arithmetic], { axes: [...over].sort((a, b) => a - b) });
    else if (x.type.dtype === "bool") out = this.cast(x, "i32");
    if (!keep) return out;
    return this.reshape(
      out,
      x.type.shape.map((d, i) => (over.includes(i) ? 1 : d)),
    );
  }
  argmax(x: Node, axis: number): Node {
    return this.make("argmax", [x], { axis: axisOf("argmax", x, axis) });
  }
  /** Puts back axes that a reduction took: `x` repeated along `axes` of `shape`. */
  restore(x: Node, shape: readonly Dim[], axes: readonly number[]): Node {
    const kept = shape.map((d, i) => (axes.includes(i) ? 1 : d));
    return this.expand(this.reshape(x, kept), shape);
  }

  // ---- movement

  reshape(x: Node, shape: readonly Dim[]): Node {
    return sameShape(x.type.shape, shape) ? x : this.make("reshape", [x], { shape });
  }
  permute(x: Node, order: readonly number[]): Node {
    return order.length === x.type.shape.length && order.every((a, i) => a === i) ? x : this.make("permute", [x], { order });
  }
  /** Exchanges the last two axes. */
  swapLast(x: Node): Node {
    const rank = x.type.shape.length;
    if (rank < 2) refuse("permute", [x.type], "there are no two axes to exchange");
    return this.permute(
      x,
      x.type.shape.map((_, i) => (i === rank - 1 ? rank - 2 : i === rank - 2 ? rank - 1 : i)),
    );
  }
  expand(x: Node, shape: readonly Dim[]): Node {
    return this.agrees(x.type.shape, shape) ? x : this.make("expand", [x], { shape });
  }
  /** Whether nothing needs to be repeated. A size of 1 is never solved for. */
  private agrees(from: readonly Dim[], to: readonly Dim[]): boolean {
    return from.length === to.length && from.every((d, i) => sameDim(d, to[i]) || (!sameDim(d, 1) && this.solver.equal(d, to[i])));
  }
  /** To a shape that x broadcasts to: axes of size 1 in front as needed, then `expand`. A constant is made anew in that shape. */
  broadcastTo(x: Node, shape: readonly Dim[]): Node {
    if (this.agrees(x.type.shape, shape)) return x;
    const missing = shape.length - x.type.shape.length;
    if (missing < 0) refuse("expand", [x.type], `cannot become [${shape.join(", ")}]`);
    const splat = splatOf(x);
    const narrow = x.type.shape.every((d) => sameDim(d, 1));
    if (typeof splat === "number" && narrow) return this.constant(splat, x.type.dtype, shape);
    return this.expand(this.reshape(x, [...new Array<Dim>(missing).fill(1), ...x.type.shape]), shape);
  }
  slice(x: Node, start: readonly Dim[], stop: readonly Dim[], step?: readonly number[]): Node {
    const by = step ?? start.map(() => 1);
    if (sameShape(stop, x.type.shape) && start.every((d) => sameDim(d, 0)) && by.every((s) => s === 1)) return x;
    return this.make("slice", [x], { start, stop, step: by });
  }
  sliceAxis(x: Node, axis: number, start: Dim, stop: Dim, step = 1): Node {
    const a = axisOf("slice", x, axis);
    const on = <T>(mine: T, others: (d: Dim) => T) => x.type.shape.map((d, i) => (i === a ? mine : others(d)));
    return this.slice(
      x,
      on<Dim>(start, () => 0),
      on<Dim>(stop, (d) => d),
      on(step, () => 1),
    );
  }
  /** One position of an axis, which disappears. */
  pick(x: Node, axis: number, position: Dim): Node {
    const a = axisOf("slice", x, axis);
    const at = typeof position === "number" && position < 0 ? addDim(x.type.shape[a], position) : position;
    return this.reshape(
      this.sliceAxis(x, a, at, addDim(at, 1)),
      x.type.shape.filter((_, i) => i !== a),
    );
  }
  pad(x: Node, low: readonly Dim[], high: readonly Dim[], value = 0): Node {
    if ([...low, ...high].every((d) => sameDim(d, 0))) return x;
    return this.make("pad", [x], { low, high, value });
  }
  padAxis(x: Node, axis: number, low: Dim, high: Dim, value = 0): Node {
    const a = axisOf("pad", x, axis);
    const on = (mine: Dim) => x.type.shape.map((_, i): Dim => (i === a ? mine : 0));
    return this.pad(x, on(low), on(high), value);
  }
  /** Promotes the dtypes; axes other than `axis` must agree. */
  concat(xs: readonly Node[], axis: number): Node {
    if (xs.length === 0) throw new Bug("concat of nothing");
    const a = axisOf("concat", xs[0], axis);
    const dtype = xs.map((x) => x.type.dtype).reduce(promote);
    const all = xs.map((x) => this.cast(x, dtype));
    return all.length === 1 ? all[0] : this.make("concat", all, { axis: a });
  }
  /** The elements of an axis from the last to the first. */
  reverse(x: Node, axis: number): Node {
    const a = axisOf("gather", x, axis);
    const size = x.type.shape[a];
    const index = this.sub(this.constant(subDim(size, 1), "i32"), this.iota([size], 0));
    return this.take(x, index, a);
  }

  // ---- contraction

  dot(
    a: Node,
    b: Node,
    axes: {
      readonly lhsBatch?: readonly number[];
      readonly rhsBatch?: readonly number[];
      readonly lhsContract: readonly number[];
      readonly rhsContract: readonly number[];
    },
  ): Node {
    const { lhsBatch = [], rhsBatch = [], lhsContract, rhsContract } = axes;
    return this.make("dot", [this.cast(a, "f32"), this.cast(b, "f32")], { lhsBatch, rhsBatch, lhsContract, rhsContract });
  }

  /**
   * NumPy's `@`: the last axis of `a` with the second-last of `b`; leading axes broadcast; a vector counts as a row on the left, a column
   * on the right. Where one side has no leading axes it is one contraction, nothing is repeated.
   */
  matmul(a: Node, b: Node): Node {
    const [p, q] = [a.type.shape.length, b.type.shape.length];
    if (p === 0 || q === 0) refuse("matmul", [a.type, b.type], "a scalar has no axis to contract");
    const bContract = q === 1 ? 0 : q - 2;
    if (q <= 2) return this.dot(a, b, { lhsContract: [p - 1], rhsContract: [bContract] });
    if (p <= 2) {
      // The result's axes come as (row of a), batch of b, column of b: the row goes behind the batch.
      const out = this.dot(a, b, { lhsContract: [p - 1], rhsContract: [bContract] });
      if (p === 1) return out;
      const batch = q - 2;
      return this.permute(out, [...Array.from({ length: batch }, (_, i) => i + 1), 0, batch + 1]);
    }
    const lead = (x: Node): Type => ({ dtype: "f32", shape: x.type.shape.slice(0, -2) });
    const batch = broadcastShape("matmul", lead(a), lead(b), this.solver);
    const widen = (x: Node) => this.broadcastTo(x, [...batch, ...x.type.shape.slice(-2)]);
    const over = batch.map((_, i) => i);
    const n = batch.length;
    return this.dot(widen(a), widen(b), { lhsBatch: over, rhsBatch: over, lhsContract: [n + 1], rhsContract: [n] });
  }

  // ---- indexing and order

  /** Rows of x by index: [...index shape, ...rest of x]. */
  gather(x: Node, index: Node): Node {
    return this.make("gather", [x, this.cast(index, "i32")]);
  }
  /** `gather` along any axis; a list of indices takes the axis's place. */
  take(x: Node, index: Node, axis: number): Node {
    const a = axisOf("gather", x, axis);
    const rank = x.type.shape.length;
    const front = [a, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== a)];
    const read = this.gather(this.permute(x, front), index);
    const k = index.type.shape.length;
    // Axes of the result: k of the index, then the rest of x; the index's go to place `a`.
    const rest = Array.from({ length: rank - 1 }, (_, i) => k + i);
    return this.permute(read, [...rest.slice(0, a), ...Array.from({ length: k }, (_, i) => i), ...rest.slice(a)]);
  }
  scatterAdd(index: Node, updates: Node, rows: Dim): Node {
    return this.make("scatter_add", [this.cast(index, "i32"), updates], { rows });
  }
  write(old: Node, at: Node, rows: Node, axis: number): Node {
    return this.make("write", [old, at, rows], { axis: axisOf("write", old, axis) });
  }
  cumsum(x: Node, axis: number): Node {
    return this.make("cumsum", [x], { axis: axisOf("cumsum", x, axis) });
  }
  kth(x: Node, k: Operand): Node {
    return this.make("kth", [x, this.cast(k, "i32")]);
  }
  stopGradient(x: Node): Node {
    return this.make("stop_gradient", [x]);
  }

  // ---- loops and placeholders

  arg(index: number, type: Type): Node {
    return makeArg(index, type, this.origin);
  }
  loop(inputs: readonly Node[], loop: Loop): Node {
    return makeLoop(inputs, loop, this.origin);
  }
  carried(loop: Node, index: number): Node {
    return this.make("get", [loop], { output: "carried", index });
  }
  exported(loop: Node, iteration: number, index: number): Node {
    return this.make("get", [loop], { output: "export", iteration, index });
  }
  /** The exports of all iterations, one behind the other along the leading axis. */
  joined(loop: Node, index: number): Node {
    return this.make("get", [loop], { output: "joined", index });
  }
  grad(e: Node, x: Node): Node {
    return this.make("grad", [e, x]);
  }
  jvp(e: Node, x: Node, v: Node): Node {
    return this.make("jvp", [e, x, v]);
  }
}
