/**
 * What printers for processors with vectors know of a kernel's values: which are at hand, under which lanes, and which can be computed before
 * a loop begins. A value that varies with the lane axis is one vector; any other is equal in all lanes. How they are spelt is the printer's.
 */
import { Bug } from "../../ir/errors.ts";
import type { Atom, Index } from "../kernels/index.ts";
import { dependence, type LoopLanguage, needed, type Store, usesOf } from "../kernels/kernel.ts";
import { valueNames } from "../kernels/names.ts";

/** Where the lanes are. */
export interface Lanes {
  /** The axis whose successive elements fill the lanes; -1: none, all lanes are equal. */
  readonly axis: number;
  /** A constant, a multiple of a vector's: which vector of an unrolled group. */
  readonly offset: number;
  /** How many lanes hold elements, 1 to the width. Plain loads may read beyond, nothing is stored beyond. */
  readonly valid: number;
}

/** More values than a kernel can have. */
const GROUP = 1 << 20;

/** The text that a printer builds. */
interface Text<Type extends string> {
  line(text: string): void;
  set(name: string, value: string): void;
  let(type: Type, hint: string, value: string): string;
}

export abstract class LanePrinter<L extends Lanes, Type extends string, Code extends Text<Type>> {
  readonly deps: readonly number[];
  /** Values at hand: number (with the vector's place in an unrolled group, where it varies with the lanes) to the name that holds them. */
  protected known = new Map<number, string>();
  /** Axis variables at hand: axis to what holds it. */
  protected readonly axes = new Map<number, string>();
  protected available = 0;
  /** How `acc` and held values are had, if they are. */
  supply: (v: number) => string | undefined = () => undefined;

  constructor(
    readonly kernel: LoopLanguage,
    readonly code: Code,
    /** Lanes of a vector. */
    readonly width: number,
    /** What `offset` grows by from one vector of a group to the next. */
    private readonly step: number,
    public lanes: L,
  ) {
    this.deps = dependence(kernel);
  }

  /** The type of a value in the printer's language, and how the value is computed. */
  abstract typeOf(v: number): Type;
  protected abstract expression(v: number): string;
  abstract store(s: Store): void;

  setAxis(axis: number, text: string): void {
    this.axes.set(axis, text);
    this.available |= 1 << axis;
  }
  protected axisName(axis: number): string {
    const name = this.axes.get(axis);
    if (name === undefined) throw new Bug(`axis ${axis} of ${this.kernel.name} has no variable here`);
    return name;
  }
  protected keyOf(v: number): number {
    return this.varies(v) ? v + GROUP * (1 + this.lanes.offset / this.step) : v;
  }
  know(v: number, name: string): void {
    this.known.set(this.keyOf(v), name);
  }
  /** All values at hand under the present lanes. */
  private atHand(): Set<number> {
    const mine = 1 + this.lanes.offset / this.step;
    const out = new Set<number>();
    for (const key of this.known.keys()) {
      const group = Math.floor(key / GROUP);
      if (group === 0 || group === mine) out.add(key % GROUP);
    }
    return out;
  }

  /** Runs `body`; what it made known is forgotten, as are axes it set. */
  scope(body: () => void): void {
    const [known, available, lanes] = [this.known, this.available, this.lanes];
    this.known = new Map(known);
    body();
    this.known = known;
    this.available = available;
    this.lanes = lanes;
  }
  /** Runs `body` with other lanes; what it makes known stays so, for these lanes. */
  withLanes(lanes: L, body: () => void): void {
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

  /** Whether an atom differs from lane to lane. */
  protected moves(atom: Atom): boolean {
    if (atom.kind === "axis") return atom.axis === this.lanes.axis;
    if (atom.kind === "value") return this.varies(atom.value);
    return atom.of.terms.some((t) => this.moves(t.atom));
  }
  /** What lies between lane 0 of an index and each lane, where that does not depend on where the vector begins; else `undefined`. */
  protected steps(index: Index): readonly number[] | undefined {
    const out = new Array<number>(this.width).fill(0);
    for (const { factor, atom } of index.terms) {
      if (this.lanes.axis < 0 || !this.moves(atom)) continue;
      const own = this.atomSteps(atom);
      if (!own) return undefined;
      for (const l of out.keys()) out[l] += factor * own[l];
    }
    return out;
  }
  /** Vectors begin at multiples of their width: quotients and remainders by a divisor or a multiple of it follow the same pattern in each. */
  private atomSteps(atom: Atom): readonly number[] | undefined {
    const lanes = Array.from({ length: this.width }, (_, l) => l);
    if (atom.kind === "axis") return lanes;
    if (atom.kind === "value") return undefined;
    const { of, by } = atom;
    const unit = by % this.width === 0 ? this.width : by;
    const even = (n: number) => n % unit === 0;
    const fits = of.terms.every(({ factor, atom: inner }) =>
      inner.kind === "axis" && inner.axis === this.lanes.axis ? factor === 1 : !this.moves(inner) && even(factor),
    );
    if (this.width % unit !== 0 || !even(of.base) || !fits) return undefined;
    return lanes.map((l) => (atom.kind === "div" ? Math.floor(l / by) : l % by));
  }
  /** Stride along the lanes, in elements; `undefined` where the lanes' addresses are unrelated. */
  laneStride(index: Index): number | undefined {
    const steps = this.steps(index);
    return steps?.every((s, l) => s === l * steps[1]) ? steps[1] : undefined;
  }

  /** Makes known all that `roots` need and that depends on no axis but those at hand; gives what has to wait. */
  lift(roots: readonly number[]): ReadonlySet<number> {
    const late = new Set<number>();
    for (const v of needed(this.kernel.values, roots, this.atHand())) {
      const value = this.kernel.values[v];
      const waits =
        (this.deps[v] & ~this.available) !== 0 || ((value.kind === "reduced" || value.kind === "acc") && this.supply(v) === undefined);
      if (waits || usesOf(value).some((u) => late.has(u))) late.add(v);
      else this.emit(v);
    }
    return late;
  }
  /** Emits whatever `roots` need that is not known yet. */
  need(roots: Iterable<number>): void {
    const wanted = [...roots];
    const seen = this.atHand();
    const supplied = new Set<number>();
    for (let v = 0; v < this.kernel.values.length; v++) if (!seen.has(v) && this.supply(v) !== undefined) supplied.add(v);
    // supplied values need no operands
    const reached = needed(this.kernel.values, wanted, new Set([...seen, ...supplied]));
    const direct = new Set([...wanted, ...reached.flatMap((v) => usesOf(this.kernel.values[v]))].filter((v) => supplied.has(v)));
    for (const v of direct) this.emit(v);
    for (const v of reached) this.emit(v);
  }
  of(v: number): string {
    const name = this.known.get(this.keyOf(v));
    if (name === undefined) throw new Bug(`value ${v} of ${this.kernel.name} is used before it is computed`);
    return name;
  }
  private emit(v: number): void {
    this.know(v, this.code.let(this.typeOf(v), valueNames(this.kernel)[v], this.supply(v) ?? this.expression(v)));
  }
}
