/** Prints loop kernels: maps and rows, four lanes at a time. */
import type { Index } from "../kernels/index.ts";
import type { LoopKernel, LoopLanguage, Reduction } from "../kernels/kernel.ts";
import { type Accumulator, type LoopPrinter, type Printed, type Walk, walkLoop } from "../lanes/loop.ts";
import { accumulate, acrossLanes, merged, start, totalOf } from "./accumulate.ts";
import type { LaneState } from "./indices.ts";
import { add, type Code, divU, get, i32, mul, remU } from "./text.ts";
import { Printer } from "./values.ts";

/** `from`, `to`, `scratch`: i32 locals. */
export function printLoop(
  kernel: LoopKernel,
  code: Code,
  pointers: readonly string[],
  [from, to]: readonly [string, string],
  scratch: string,
): Printed {
  return walkLoop(kernel, 4, () => new Loops(kernel, code, pointers, from, to, scratch));
}

class Loops extends Printer implements LoopPrinter<LaneState> {
  /** Four vectors: a cache line. */
  readonly grain = 16;
  readonly zero = i32(0);

  constructor(
    kernel: LoopLanguage,
    code: Code,
    pointers: readonly string[],
    private readonly from: string,
    private readonly to: string,
    private readonly scratch: string,
  ) {
    super(kernel, code, pointers);
  }

  units(body: (unit: string) => void): void {
    const unit = this.code.let("i32", "u", get(this.from));
    this.code.loop(unit, get(this.to), 1, () => {
      this.startCounts();
      this.scope(() => body(get(unit)));
      this.storeCounts(unit);
    });
  }
  unit(body: () => void): void {
    this.code.if(`(i32.lt_s ${get(this.from)} ${get(this.to)})`, () => {
      this.startCounts();
      body();
      this.storeCounts(this.from);
    });
  }
  axisLoop(axis: number, size: number, body: () => void): void {
    const variable = this.code.let("i32", `a${axis}`, i32(0));
    this.code.loop(variable, i32(size), 1, () => {
      this.scope(() => {
        this.setAxis(axis, variable);
        body();
      });
    });
  }
  walk(axis: number, whole: number, part?: { readonly number: string; readonly size: number }): Walk<LaneState> {
    const { code } = this;
    const bytes = code.let("i32", "x", part === undefined ? i32(0) : mul(part.number, 4 * part.size));
    let end = i32(4 * whole);
    if (part !== undefined) {
      const mine = code.let("i32", "end", add(get(bytes), i32(4 * part.size)));
      code.set(mine, `(select ${get(mine)} ${end} (i32.lt_u ${get(mine)} ${end}))`);
      end = get(mine);
    }
    const lanes = (offset: number, valid: number): LaneState => ({ axis, bytes, offset, valid });
    return {
      along: (count, body) => {
        const limit =
          count === 1 || part === undefined
            ? add(end, i32(-16 * (count - 1)))
            : get(code.let("i32", "lim", add(end, i32(-16 * (count - 1)))));
        code.loop(bytes, limit, 16 * count, () => this.scope(() => body(Array.from({ length: count }, (_, g) => lanes(16 * g, 4)))));
      },
      last: (behind, valid, when, body) => {
        const last = () => {
          code.set(bytes, i32(4 * behind));
          this.scope(() => body([lanes(0, valid)]));
        };
        if (when === undefined) last();
        else code.if(`(i32.eq ${when.part} ${i32(when.is)})`, last);
      },
    };
  }

  index(hint: string, value: string): string {
    return get(this.code.let("i32", hint, value));
  }
  quotient(of: string, by: number): string {
    return divU(of, by);
  }
  remainder(of: string, by: number): string {
    return remU(of, by);
  }
  takeAxis(axis: number, value: string): void {
    this.setAxis(axis, this.code.let("i32", `a${axis}`, value));
  }

  private place(at: number): string {
    const offset = this.lanes.offset + at;
    return `${offset ? `offset=${offset} ` : ""}(i32.add ${get(this.scratch)} ${get(this.lanes.bytes)})`;
  }
  hold(v: number, at: number): void {
    this.code.line(`(v128.store ${this.place(at)} ${this.of(v)})`);
  }
  held(_: number, at: number): string {
    return `(v128.load ${this.place(at)})`;
  }

  start(reductions: readonly Reduction[]): Accumulator[] {
    return start(this.code, reductions);
  }
  accumulate(acc: Accumulator, place: Index, along: boolean): void {
    accumulate(this, this.code, acc, () => {
      const first = `(i32x4.splat ${this.scalarIndex(place, 0)})`;
      return along ? `(i32x4.add ${first} (v128.const i32x4 0 1 2 3))` : first;
    });
  }
  settle(acc: Accumulator): void {
    if (acc.unordered) this.code.set(acc.total, totalOf(acc));
  }
  merge(into: Accumulator, other: Accumulator): void {
    this.code.set(into.total, merged(into.reduction, totalOf(into), totalOf(other)));
  }
  acrossLanes(acc: Accumulator): string {
    return acrossLanes(this.code, acc);
  }
}
