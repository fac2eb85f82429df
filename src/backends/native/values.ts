/** Prints a kernel's values as vectors of C: equal in all lanes where a value does not vary with the lane axis. */
import { Bug } from "../../ir/errors.ts";
import { type Atom, axesOf, type Index, valuesOf } from "../kernels/index.ts";
import { dependence, type LoopLanguage, needed, type Store, usesOf, type Value } from "../kernels/kernel.ts";
import { letterOf, literal, spell, vectorType } from "./spelling.ts";
import { add, atom, type Code, divide, mul, rest } from "./text.ts";

/** Where the lanes are. */
export interface LaneState {
  /** The axis whose successive elements fill the lanes; -1: none, all lanes are equal. */
  readonly axis: number;
  /** An `ix` variable: the lane axis's element in lane 0, a multiple of the width. */
  readonly at: string;
  /** Added to it, a constant multiple of the width: which vector of an unrolled group. */
  readonly offset: number;
  /** How many lanes hold elements, 1 to the width. Plain loads may read beyond, nothing is stored beyond. */
  readonly valid: number;
}

/** More values than a kernel can have. */
const GROUP = 1 << 20;

export class Printer {
  readonly deps: readonly number[];
  /** Values at hand: number (with the vector's place in an unrolled group, where it varies with the lanes) to the name that holds them. */
  private known = new Map<number, string>();
  /** Axis variables at hand: axis to an expression. */
  private readonly axes = new Map<number, string>();
  private available = 0;
  lanes: LaneState;
  /** How `acc` and held values are had, if they are. */
  supply: (v: number) => string | undefined = () => undefined;

  constructor(
    readonly kernel: LoopLanguage,
    readonly code: Code,
    /** Lanes of a vector. */
    readonly width: number,
  ) {
    this.deps = dependence(kernel);
    this.lanes = { axis: -1, at: "", offset: 0, valid: width };
  }

  pointer(operand: number): string {
    return this.kernel.operands[operand].name;
  }
  setAxis(axis: number, text: string): void {
    this.axes.set(axis, text);
    this.available |= 1 << axis;
  }
  private keyOf(v: number): number {
    return this.varies(v) ? v + GROUP * (1 + this.lanes.offset / this.width) : v;
  }
  know(v: number, name: string): void {
    this.known.set(this.keyOf(v), name);
  }
  /** All values at hand under the present lanes. */
  private atHand(): Set<number> {
    const mine = 1 + this.lanes.offset / this.width;
    const out = new Set<number>();
    for (const key of this.known.keys()) {
      const group = Math.floor(key / GROUP);
      if (group === 0 || group === mine) out.add(key % GROUP);
    }
    return out;
  }

  /** Prints a block; what is made known in it is forgotten after it, as are axes that it sets. */
  block(open: string, body: () => void): void {
    const [known, available, lanes] = [this.known, this.available, this.lanes];
    this.known = new Map(known);
    this.code.block(open, body);
    this.known = known;
    this.available = available;
    this.lanes = lanes;
  }
  /** A loop of a variable of its own; `body` is given its name. Nothing is lifted out of it: the compiler does. */
  loop(hint: string, from: string, to: string, step: number, body: (name: string) => void): void {
    const name = this.code.name(hint);
    this.block(`for (ix ${name} = ${from}; ${name} < ${to}; ${name} += ${step})`, () => body(name));
  }
  /** Runs `body` with other lanes; what it makes known stays so, for these lanes. */
  withLanes(lanes: LaneState, body: () => void): void {
    const [before, available] = [this.lanes, this.available];
    this.lanes = lanes;
    this.available |= lanes.axis < 0 ? 0 : 1 << lanes.axis;
    body();
    this.lanes = before;
    this.available = available;
  }

  varies(v: number): boolean {
    return this.lanes.axis >= 0 && (this.deps[v] & (1 << this.lanes.axis)) !== 0;
  }

  /** Makes known all that `roots` need and that depends on no axis but those at hand. */
  lift(roots: readonly number[]): void {
    const list = needed(this.kernel.values, roots, this.atHand());
    const blocked = new Set<number>();
    for (const v of list) {
      const value = this.kernel.values[v];
      const late =
        (this.deps[v] & ~this.available) !== 0 || ((value.kind === "reduced" || value.kind === "acc") && this.supply(v) === undefined);
      if (late || usesOf(value).some((u) => blocked.has(u))) blocked.add(v);
      else this.emit(v);
    }
  }
  /** Emits whatever `roots` need that is not known yet. */
  need(roots: Iterable<number>): void {
    const wanted = [...roots];
    const seen = this.atHand();
    const supplied = new Set<number>();
    for (let v = 0; v < this.kernel.values.length; v++) if (!seen.has(v) && this.supply(v) !== undefined) supplied.add(v);
    // Supplied values need no operands.
    const reached = needed(this.kernel.values, wanted, new Set([...seen, ...supplied]));
    const direct = new Set([...wanted, ...reached.flatMap((v) => usesOf(this.kernel.values[v]))].filter((v) => supplied.has(v)));
    for (const v of direct) this.emit(v);
    for (const v of reached) this.emit(v);
  }
  of(v: number): string {
    const name = this.known.get(this.keyOf(v));
    if (!name) throw new Bug(`value ${v} of ${this.kernel.name} is used before it is computed`);
    return name;
  }
  /** The C type of a value. */
  typeOf(v: number): string {
    return vectorType(this.kernel.values[v].dtype, this.width);
  }

  private emit(v: number): void {
    const value = this.kernel.values[v];
    this.know(v, this.code.let(this.typeOf(v), `v${v}`, this.supply(v) ?? this.expression(v, value)));
  }

  private expression(v: number, value: Value): string {
    switch (value.kind) {
      case "const":
        return literal(value.value, value.dtype, this.width);
      case "index":
        return this.vectorIndex(value.index);
      case "load": {
        const loaded = this.load(value.operand, value.index, value.guard);
        return value.dtype === "bool" ? `${atom(loaded)} != 0` : loaded;
      }
      case "call": {
        const last = this.kernel.values[value.args[value.args.length - 1]];
        return spell(value.fn, {
          args: value.args.map((a) => this.of(a)),
          from: last.dtype,
          to: value.dtype,
          width: this.width,
          constant: last.kind === "const" ? last.value : undefined,
        });
      }
      default:
        throw new Bug(`value ${v} (${value.kind}) of ${this.kernel.name} is not supplied`);
    }
  }

  // ---- indices

  /** An index in one lane, as an `ix` expression. */
  scalarIndex(index: Index, lane = 0): string {
    let out = String(index.base);
    for (const { factor, atom: a } of index.terms) out = add(mul(this.scalarAtom(a, lane), factor), out);
    return out;
  }
  private scalarAtom(a: Atom, lane: number): string {
    switch (a.kind) {
      case "axis":
        return a.axis === this.lanes.axis ? add(this.lanes.at, String(this.lanes.offset + lane)) : this.axisText(a.axis);
      case "value":
        return `${this.of(a.value)}[${this.varies(a.value) ? lane : 0}]`;
      case "div":
        return divide(this.scalarIndex(a.of, lane), a.by);
      case "mod":
        return rest(this.scalarIndex(a.of, lane), a.by);
    }
  }
  private axisText(axis: number): string {
    const text = this.axes.get(axis);
    if (text === undefined) throw new Bug(`axis ${axis} of ${this.kernel.name} has no variable here`);
    return text;
  }

  private moves(a: Atom): boolean {
    if (a.kind === "axis") return a.axis === this.lanes.axis;
    if (a.kind === "value") return this.varies(a.value);
    return a.of.terms.some((t) => this.moves(t.atom));
  }
  /** Stride along the lanes, in elements; `undefined` where the lanes' addresses are unrelated. */
  laneStride(index: Index): number | undefined {
    if (this.lanes.axis < 0) return 0;
    let stride = 0;
    for (const { factor, atom: a } of index.terms) {
      if (!this.moves(a)) continue;
      if (a.kind === "axis") stride += factor;
      else if (a.kind === "value" || !this.inOneBlock(a.of, a.by)) return undefined;
      else if (a.kind === "mod") stride += factor;
    }
    return stride;
  }
  /** Whether all lanes of a vector have the same quotient, and remainders one after the other: vectors begin at multiples of the width. */
  private inOneBlock(of: Index, by: number): boolean {
    const even = (n: number) => n % this.width === 0;
    return (
      even(by) &&
      even(of.base) &&
      of.terms.every(({ factor, atom: a }) =>
        a.kind === "axis" && a.axis === this.lanes.axis ? factor === 1 : !this.moves(a) && even(factor),
      )
    );
  }

  private vectorIndex(index: Index): string {
    const still = this.scalarIndex({ base: index.base, terms: index.terms.filter((t) => !this.moves(t.atom)) });
    const moving = index.terms.filter((t) => this.moves(t.atom));
    const start = `splat_i${this.width}((i32)(${still}))`;
    return [start, ...moving.map(({ factor, atom: a }) => (factor === 1 ? this.vectorAtom(a) : `${this.vectorAtom(a)} * ${factor}`))].join(
      " + ",
    );
  }
  private vectorAtom(a: Atom): string {
    const w = this.width;
    switch (a.kind) {
      case "axis":
        return `(splat_i${w}((i32)(${add(this.lanes.at, String(this.lanes.offset))})) + LANES${w})`;
      case "value":
        return this.of(a.value);
      case "div":
        return `(vi${w})((vu${w})(${this.vectorIndex(a.of)}) / ${a.by}u)`;
      case "mod":
        return `(vi${w})((vu${w})(${this.vectorIndex(a.of)}) % ${a.by}u)`;
    }
  }

  // ---- memory

  /** All lanes that hold an element. */
  inside(): string {
    return `(LANES${this.width} < ${this.lanes.valid})`;
  }
  private get whole(): boolean {
    return this.lanes.axis < 0 || this.lanes.valid === this.width;
  }
  private element(operand: number, at: string): string {
    return `${this.pointer(operand)}[${at}]`;
  }
  private vector(operand: number, at: string): string {
    return `*(const u${letterOf(this.kernel.operands[operand].dtype)}${this.width} *)(${this.pointer(operand)} + ${atom(at)})`;
  }
  private splat(operand: number, at: string): string {
    return `splat_${letterOf(this.kernel.operands[operand].dtype)}${this.width}(${this.element(operand, at)})`;
  }

  private load(operand: number, index: Index, guard: number | undefined): string {
    const letter = letterOf(this.kernel.operands[operand].dtype);
    const type = vectorType(this.kernel.operands[operand].dtype, this.width);
    const stride = this.laneStride(index);
    const gather = (mask: string | undefined) => {
      const at = this.vectorIndex(index);
      return `gather_${letter}${this.width}(${this.pointer(operand)}, ${mask === undefined ? at : `(${at}) & ${mask}`})`;
    };
    const plain = () => {
      if (stride === 0) return this.splat(operand, this.scalarIndex(index));
      if (stride === 1) return this.vector(operand, this.scalarIndex(index));
      // lanes without an element read the first of all
      return gather(this.whole ? undefined : this.inside());
    };
    if (guard === undefined) return plain();
    const g = this.of(guard);
    const out = this.code.name("g");
    if (!this.varies(guard)) {
      this.code.line(`${type} ${out} = {0};`);
      this.block(`if (${g}[0])`, () => this.code.set(out, plain()));
      return out;
    }
    const masked = (text: string, mask: string) => `(${type})((vi${this.width})${text} & ${mask})`;
    const mask = this.whole ? g : `(${g} & ${this.inside()})`;
    if (stride !== 1) return masked(gather(mask), mask);
    // where the guard holds for all, they lie side by side
    this.code.line(`${type} ${out};`);
    this.block(`if (all${this.width}(${g}))`, () => this.code.set(out, plain()));
    this.block("else", () => this.code.set(out, masked(gather(mask), mask)));
    return out;
  }

  /** Stores a value; lanes must lie along the store's index, or all lanes are equal and one element is stored. */
  store(s: Store): void {
    const c = this.code;
    if (s.guard !== undefined) throw new Bug("guarded stores are not printed");
    const value = this.kernel.values[s.value].dtype === "bool" ? c.let(`vi${this.width}`, "s", `-${this.of(s.value)}`) : this.of(s.value);
    const stride = this.laneStride(s.index);
    if (this.lanes.axis < 0) c.line(`${this.element(s.operand, this.scalarIndex(s.index))} = ${value}[0];`);
    else if (stride === 1) storeLanes(c, `${this.pointer(s.operand)} + ${atom(this.scalarIndex(s.index))}`, value, this);
    else if (stride !== undefined) {
      const at = c.let("ix", "at", this.scalarIndex(s.index));
      for (let l = 0; l < this.lanes.valid; l++) c.line(`${this.element(s.operand, add(at, String(stride * l)))} = ${value}[${l}];`);
    } else {
      const at = c.let(`vi${this.width}`, "at", this.vectorIndex(s.index));
      c.line(`for (int l = 0; l < ${this.lanes.valid}; l++) ${this.element(s.operand, `${at}[l]`)} = ${value}[l];`);
    }
  }
  /** A value with the lanes that hold no element replaced by `filler`. */
  filled(v: number, filler: string): string {
    if (this.whole) return this.of(v);
    return `sel_${letterOf(this.kernel.values[v].dtype)}${this.width}(${this.inside()}, ${this.of(v)}, ${filler})`;
  }
}

/** Stores the lanes that hold elements, side by side. */
export function storeLanes(c: Code, at: string, value: string, { width, lanes }: Pick<Printer, "width" | "lanes">): void {
  if (lanes.valid === width) c.line(`__builtin_memcpy(${at}, &${value}, ${4 * width});`);
  else c.line(`__builtin_memcpy(${at}, &${value}, ${4 * lanes.valid});`);
}

/** Axes of an index, and of the values inside it. */
export const touches = (index: Index, axis: number, deps: readonly number[]): boolean =>
  axesOf(index).has(axis) || [...valuesOf(index)].some((v) => (deps[v] & (1 << axis)) !== 0);
