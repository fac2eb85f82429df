/** Prints a kernel's values as vectors of C: equal in all lanes where a value does not vary with the lane axis. */
import { Bug } from "../../ir/errors.ts";
import type { Atom, Index } from "../kernels/index.ts";
import type { LoopLanguage, Store } from "../kernels/kernel.ts";
import { LanePrinter, type Lanes } from "../lanes/values.ts";
import { letterOf, literal, spell, vectorType } from "./spelling.ts";
import { add, atom, type Code, divide, mul, rest } from "./text.ts";

export interface LaneState extends Lanes {
  /** An `ix` variable: the lane axis's element in lane 0, a multiple of the width, to which `offset`, in elements, is added. */
  readonly at: string;
}

/** So many different elements at most are loaded one by one for all lanes. */
const FEW = 4;
/** Numbers of 4 bits. */
const TABLE = 16;

export class Printer extends LanePrinter<LaneState, string, Code> {
  constructor(kernel: LoopLanguage, code: Code, width: number) {
    super(kernel, code, width, width, { axis: -1, at: "", offset: 0, valid: width });
  }

  pointer(operand: number): string {
    return this.kernel.operands[operand].name;
  }
  /** Prints a block; what is made known in it is forgotten after it, as are axes that it sets. */
  block(open: string, body: () => void): void {
    this.code.block(open, () => this.scope(body));
  }
  /** A loop of a variable of its own; `body` is given its name. Nothing is lifted out of it: the compiler does. */
  loop(hint: string, from: string, to: string, step: number, body: (name: string) => void): void {
    const name = this.code.name(hint);
    this.block(`for (ix ${name} = ${from}; ${name} < ${to}; ${name} += ${step})`, () => body(name));
  }
  /** The C type of a value. */
  typeOf(v: number): string {
    return vectorType(this.kernel.values[v].dtype, this.width);
  }

  protected expression(v: number): string {
    const value = this.kernel.values[v];
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
        return a.axis === this.lanes.axis ? add(this.lanes.at, String(this.lanes.offset + lane)) : this.axisName(a.axis);
      case "value":
        return `${this.of(a.value)}[${this.varies(a.value) ? lane : 0}]`;
      case "div":
        return divide(this.scalarIndex(a.of, lane), a.by);
      case "mod":
        return rest(this.scalarIndex(a.of, lane), a.by);
    }
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

  /** Few elements, each in some of the lanes. */
  private spread(operand: number, at: string, steps: readonly number[]): string {
    const { dtype } = this.kernel.operands[operand];
    const first = this.code.let("ix", "at", at);
    const names = new Map(
      [...new Set(steps)].map((s) => [
        s,
        this.code.let(dtype === "f32" ? "f32" : "i32", "x", this.element(operand, add(first, String(s)))),
      ]),
    );
    return `(${vectorType(dtype, this.width)}){${steps.map((s) => names.get(s)).join(", ")}}`;
  }
  /** Whether a place in a table that fits registers is what a load looks up. */
  private looksUp(operand: number, { base, terms }: Index): boolean {
    const { dtype, count } = this.kernel.operands[operand];
    const [term] = terms;
    const plain = base === 0 && terms.length === 1 && term.factor === 1 && term.atom.kind === "value" && term.atom.high < TABLE;
    return plain && dtype === "f32" && count === TABLE && this.width >= TABLE / 2;
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
      const steps = this.steps(index);
      if (steps && new Set(steps).size <= FEW) return this.spread(operand, this.scalarIndex(index), steps);
      if (this.looksUp(operand, index)) return `lookup${this.width}(${this.pointer(operand)}, ${this.vectorIndex(index)})`;
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
