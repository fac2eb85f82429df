/** Prints a kernel's values in four lanes: every value is a v128 local, equal in all lanes where it does not vary with the lane axis. */
import { Bug } from "../../ir/errors.ts";
import { type Atom, axesOf, type Index, keyOf, valuesOf } from "../kernels/index.ts";
import type { LoopLanguage, Store } from "../kernels/kernel.ts";
import { LanePrinter } from "../lanes/values.ts";
import { call, floorDiv } from "./functions.ts";
import { type LaneState, NO_LANES, without } from "./indices.ts";
import { lanesOf, offsetText, pairLoad, plainLoad, splatLoad, storeLanes } from "./lanes.ts";
import { add, type Code, divU, firstLanes, get, i32, mul, remU, splatF, splatI } from "./text.ts";

export class Printer extends LanePrinter<LaneState, "v128", Code> {
  /** Byte addresses without the lane's part: key to local. */
  private bases = new Map<string, string>();

  constructor(
    kernel: LoopLanguage,
    code: Code,
    /** i32 locals: where each operand begins. */
    readonly pointers: readonly string[],
  ) {
    super(kernel, code, 4, 16, NO_LANES);
    for (const c of kernel.counts ?? []) this.counters.set(c.of, { into: c.into, total: code.local("v128", "nz") });
  }
  typeOf(): "v128" {
    return "v128";
  }
  override of(v: number): string {
    return get(super.of(v));
  }
  override scope(body: () => void): void {
    const { bases } = this;
    this.bases = new Map(bases);
    super.scope(body);
    this.bases = bases;
  }

  /** Operands whose stored elements are counted: which operand takes the number, and four running totals. */
  private readonly counters = new Map<number, { into: number; total: string }>();
  /** A unit of work begins. */
  startCounts(): void {
    for (const { total } of this.counters.values()) this.code.set(total, splatI(0));
  }
  /** A unit of work ends: its numbers go to its own place. */
  storeCounts(unit: string): void {
    for (const { into, total } of this.counters.values()) {
      const lane = (l: number) => `(i32x4.extract_lane ${l} ${get(total)})`;
      const sum = add(add(lane(0), lane(1)), add(lane(2), lane(3)));
      this.code.line(`(i32.store ${add(get(this.pointers[into]), mul(get(unit), 4))} ${sum})`);
    }
  }
  private count(s: Store): void {
    const counter = this.counters.get(s.operand);
    if (!counter) return;
    const valid = this.lanes.axis < 0 ? 1 : this.lanes.valid;
    const nonzero = `(f32x4.ne ${this.of(s.value)} ${splatF(0)})`;
    // true is -1
    this.code.set(
      counter.total,
      `(i32x4.sub ${get(counter.total)} ${valid === 4 ? nonzero : `(v128.and ${nonzero} ${firstLanes(valid)})`})`,
    );
  }

  /**
   * Addresses likewise: the part of one that stays the same in loops to come is put into a local, all terms whose axes are at hand, if the rest
   * is only the lane axis; `lane`: the one that is to be.
   */
  override lift(roots: readonly number[], stores: readonly Store[] = [], lane = -1): ReadonlySet<number> {
    const late = super.lift(roots);
    for (const v of late) {
      const value = this.kernel.values[v];
      if (value.kind === "load") this.liftBase(value.operand, value.index, lane);
    }
    for (const s of stores) this.liftBase(s.operand, s.index, lane);
    return late;
  }
  private liftBase(operand: number, index: Index, future: number): void {
    const lane = this.lanes.axis >= 0 ? this.lanes.axis : future;
    const rest = without(index, lane);
    if (!rest || [...axesOf(rest)].some((a) => !(this.available & (1 << a)) || a === this.lanes.axis)) return;
    if ([...valuesOf(rest)].some((v) => !this.known.has(this.keyOf(v)) || (lane >= 0 && this.deps[v] & (1 << lane)))) return;
    const key = `${operand} ${keyOf(rest)}`;
    if (this.bases.has(key)) return;
    this.bases.set(key, this.code.let("i32", "at", add(get(this.pointers[operand]), mul(this.scalarIndex(rest, 0), 4))));
  }

  protected expression(v: number): string {
    const value = this.kernel.values[v];
    switch (value.kind) {
      case "const":
        return value.dtype === "f32" ? splatF(value.value) : splatI(value.dtype === "bool" ? (value.value ? -1 : 0) : value.value);
      case "index":
        return this.vectorIndex(value.index);
      case "load": {
        const loaded = this.load(value.operand, value.index, value.guard);
        return value.dtype === "bool" ? `(i32x4.ne ${loaded} ${splatI(0)})` : loaded;
      }
      case "call": {
        const args = value.args.map((a) => this.of(a));
        const from = this.kernel.values[value.args[value.args.length - 1]].dtype;
        // a vector has no type: the bits are there
        if (value.fn === "bits") return args[0];
        if (value.fn === "shl" || value.fn === "shr") {
          const by = this.kernel.values[value.args[1]];
          const fn = value.fn === "shl" ? "shl" : "shr_u";
          if (by.kind === "const") return `(i32x4.${fn} ${args[0]} ${i32(by.value)})`;
          if (!this.varies(value.args[1])) return `(i32x4.${fn} ${args[0]} (i32x4.extract_lane 0 ${args[1]}))`;
          const steps = by.kind === "index" ? this.steps(by.index) : undefined;
          return fn === "shl" && steps ? this.shiftedBySteps(args[0], args[1], steps) : this.laneByLane(fn, args[0], args[1]);
        }
        if (value.fn === "floor_div") {
          const by = this.kernel.values[value.args[1]];
          if (by.kind !== "const") throw new Bug(`a divisor of ${this.kernel.name} is no literal`);
          return floorDiv(this.code, args[0], by.value);
        }
        if ((value.fn === "max" || value.fn === "min") && from === "f32") {
          // Against a number pmax(x, c) = x < c ? c : x is one instruction and passes a NaN in x on.
          const fixed = value.args.findIndex((a) => this.isNumber(a));
          if (fixed >= 0) return `(f32x4.p${value.fn} ${args[1 - fixed]} ${args[fixed]})`;
        }
        return call(this.code, value.fn, from, value.dtype, args);
      }
      default:
        throw new Bug(`value ${v} (${value.kind}) of ${this.kernel.name} is not supplied`);
    }
  }

  /** A shift of each lane by its own amount, for which there is no instruction. */
  private laneByLane(fn: "shl" | "shr_u", x: string, by: string): string {
    const out = this.code.let("v128", "s", x);
    for (let l = 0; l < this.lanes.valid; l++) {
      const shifted = `(i32.${fn} (i32x4.extract_lane ${l} ${get(out)}) (i32x4.extract_lane ${l} ${by}))`;
      this.code.set(out, `(i32x4.replace_lane ${l} ${get(out)} ${shifted})`);
    }
    return get(out);
  }

  /** Lanes shifted left by amounts with known differences: all by the least of them, then times powers of two. */
  private shiftedBySteps(x: string, by: string, steps: readonly number[]): string {
    const { valid } = this.lanes;
    const least = steps.indexOf(Math.min(...steps.slice(0, valid)));
    const powers = steps.map((s, l) => (l < valid ? (1 << (s - steps[least])) | 0 : 1));
    const shifted = `(i32x4.shl ${x} (i32x4.extract_lane ${least} ${by}))`;
    return `(i32x4.mul ${shifted} (v128.const i32x4 ${powers.join(" ")}))`;
  }

  private isNumber(v: number): boolean {
    const value = this.kernel.values[v];
    return value.kind === "const" && !Number.isNaN(value.value);
  }

  /** The lane axis's element in lane `lane`. */
  private laneElement(lane: number): string {
    const base = `(i32.shr_u ${get(this.lanes.bytes)} ${i32(2)})`;
    return add(base, i32(this.lanes.offset / 4 + lane));
  }

  /** An index in one lane, as an i32 expression. */
  scalarIndex(index: Index, lane: number): string {
    let out = i32(index.base);
    for (const { factor, atom } of index.terms) out = add(mul(this.scalarAtom(atom, lane), factor), out);
    return out;
  }
  private scalarAtom(atom: Atom, lane: number): string {
    switch (atom.kind) {
      case "axis":
        return atom.axis === this.lanes.axis ? this.laneElement(lane) : get(this.axisName(atom.axis));
      case "value":
        return `(i32x4.extract_lane ${this.varies(atom.value) ? lane : 0} ${this.of(atom.value)})`;
      case "div":
        return divU(this.scalarIndex(atom.of, lane), atom.by);
      case "mod":
        return remU(this.scalarIndex(atom.of, lane), atom.by);
    }
  }
  private vectorIndex(index: Index): string {
    const steps = this.steps(index);
    const splat = (e: string) => `(i32x4.splat ${e})`;
    if (steps) {
      const first = splat(this.scalarIndex(index, 0));
      return steps.every((s) => s === 0) ? first : `(i32x4.add ${first} (v128.const i32x4 ${steps.join(" ")}))`;
    }
    const moving = index.terms.filter((t) => this.moves(t.atom));
    const still = { base: index.base, terms: index.terms.filter((t) => !this.moves(t.atom)) };
    let out = still.base === 0 && still.terms.length === 0 ? undefined : splat(this.scalarIndex(still, 0));
    for (const { factor, atom } of moving) {
      const term = factor === 1 ? this.vectorAtom(atom) : `(i32x4.mul ${this.vectorAtom(atom)} ${splatI(factor)})`;
      out = out === undefined ? term : `(i32x4.add ${out} ${term})`;
    }
    return out!;
  }
  /** An atom that differs from lane to lane. */
  private vectorAtom(atom: Atom): string {
    if (atom.kind === "value") return this.of(atom.value);
    const out = this.code.let("v128", "i", `(i32x4.splat ${this.scalarAtom(atom, 0)})`);
    for (let l = 1; l < 4; l++) this.code.set(out, `(i32x4.replace_lane ${l} ${get(out)} ${this.scalarAtom(atom, l)})`);
    return get(out);
  }

  /** The byte address of lane 0 (for stride `undefined`: of the lane given) and the constant to add to it. */
  address(operand: number, index: Index, lane = 0): { at: string; offset: number } {
    const rest = without(index, this.lanes.axis);
    const base = rest && this.bases.get(`${operand} ${keyOf(rest)}`);
    if (base === undefined) return { at: add(get(this.pointers[operand]), mul(this.scalarIndex(index, lane), 4)), offset: 0 };
    const stride = this.laneStride(index) ?? 0;
    if (this.lanes.axis < 0 || stride === 0) return { at: get(base), offset: 0 };
    const extra = stride * (this.lanes.offset + 4 * lane);
    const at = add(get(base), mul(get(this.lanes.bytes), stride));
    return extra >= 0 ? { at, offset: extra } : { at: add(at, i32(extra)), offset: 0 };
  }

  private load(operand: number, index: Index, guard: number | undefined): string {
    if (guard !== undefined) return this.guardedLoad(operand, index, guard);
    const stride = this.laneStride(index);
    if (stride === 0) return splatLoad(this.address(operand, index));
    if (stride === 1) return plainLoad(this.address(operand, index));
    const steps = this.steps(index);
    if (steps?.every((s) => s === 0 || s === 1))
      return lanesOf(get(this.code.let("v128", "g", pairLoad(this.address(operand, index)))), steps);
    const out = this.code.local("v128", "g");
    this.gather(out, operand, index, stride);
    return get(out);
  }

  /** Loads lane by lane. Lanes without an element repeat lane 0. */
  private gather(out: string, operand: number, index: Index, stride: number | undefined): void {
    if (stride !== undefined) {
      const { at, offset } = this.address(operand, index);
      const base = get(this.code.let("i32", "at", at));
      this.code.set(out, splatLoad({ at: base, offset }));
      for (let l = 1; l < this.lanes.valid; l++) {
        const step = 4 * stride * l;
        const to = step >= 0 ? { at: base, offset: offset + step } : { at: add(base, i32(step)), offset };
        this.code.set(out, `(v128.load32_lane ${offsetText(to.offset)} ${l} ${to.at} ${get(out)})`);
      }
      return;
    }
    const pointer = `(i32x4.splat ${get(this.pointers[operand])})`;
    const flat = get(this.code.let("v128", "i", `(i32x4.add ${pointer} (i32x4.shl ${this.vectorIndex(index)} ${i32(2)}))`));
    const where = (l: number) => `(i32x4.extract_lane ${l} ${flat})`;
    this.code.set(out, `(v128.load32_splat ${where(0)})`);
    for (let l = 1; l < this.lanes.valid; l++) this.code.set(out, `(v128.load32_lane ${l} ${where(l)} ${get(out)})`);
  }

  private guardedLoad(operand: number, index: Index, guard: number): string {
    const c = this.code;
    const g = this.of(guard);
    const out = c.let("v128", "g", splatI(0));
    const stride = this.laneStride(index);
    const whole = () => {
      if (stride === 0) c.set(out, splatLoad(this.address(operand, index)));
      else if (stride === 1) c.set(out, plainLoad(this.address(operand, index)));
      else this.gather(out, operand, index, stride);
    };
    if (!this.varies(guard)) {
      c.if(`(i32x4.extract_lane 0 ${g})`, whole);
      return get(out);
    }
    // The lanes that the guard lets through, one by one.
    const single = () => {
      for (let l = 0; l < this.lanes.valid; l++) {
        c.if(`(i32x4.extract_lane ${l} ${g})`, () => {
          const at = add(get(this.pointers[operand]), mul(this.scalarIndex(index, l), 4));
          c.set(out, `(v128.load32_lane ${l} ${at} ${get(out)})`);
        });
      }
    };
    c.if(`(v128.any_true ${g})`, () => {
      if (stride === 0 || stride === 1) {
        c.if(`(i32x4.all_true ${g})`, whole, single);
        if (stride === 0) c.set(out, `(v128.and ${get(out)} ${g})`);
      } else single();
    });
    return get(out);
  }

  /** Stores a value; lanes must lie along the store's index, or all lanes are equal and one element is stored. */
  store(s: Store): void {
    const c = this.code;
    const value = this.kernel.values[s.value];
    const text = value.dtype === "bool" ? `(v128.and ${this.of(s.value)} ${splatI(1)})` : this.of(s.value);
    if (s.guard !== undefined) throw new Bug("guarded stores are not printed");
    this.count(s);
    const stride = this.laneStride(s.index);
    if (this.lanes.axis < 0) {
      const { at, offset } = this.address(s.operand, s.index);
      c.line(`(v128.store32_lane ${offsetText(offset)} 0 ${at} ${text})`);
      return;
    }
    if (stride === 1) {
      const { at, offset } = this.address(s.operand, s.index);
      storeLanes(c, at, offset, text, this.lanes.valid);
      return;
    }
    const held = get(c.let("v128", "s", text));
    for (let l = 0; l < this.lanes.valid; l++) {
      const { at, offset } =
        stride === undefined
          ? { at: add(get(this.pointers[s.operand]), mul(this.scalarIndex(s.index, l), 4)), offset: 0 }
          : this.address(s.operand, s.index, l);
      c.line(`(v128.store32_lane ${offsetText(offset)} ${l} ${at} ${held})`);
    }
  }
  /** A value with the lanes that hold no element replaced by `filler`. */
  filled(v: number, filler: string): string {
    return this.lanes.axis < 0 || this.lanes.valid === 4
      ? this.of(v)
      : `(v128.bitselect ${this.of(v)} ${filler} ${firstLanes(this.lanes.valid)})`;
  }
}
