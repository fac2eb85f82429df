/** Prints loop kernels: maps and rows, vectors of the machine's width. What is invariant in a loop is left to the compiler to lift. */
import type { Index } from "../kernels/index.ts";
import type { LoopKernel, Reduction } from "../kernels/kernel.ts";
import { type Accumulator, type LoopPrinter, type Printed, type Walk, walkLoop } from "../lanes/loop.ts";
import { accumulate, acrossLanes, merged, start } from "./accumulate.ts";
import { letterOf } from "./spelling.ts";
import { add, type Code, divide, mul, rest } from "./text.ts";
import { type LaneState, Printer } from "./values.ts";

export const printLoop = (kernel: LoopKernel, code: Code, most: number): Printed & { readonly width: number } =>
  walkLoop(kernel, most, (width) => new Loops(kernel, code, width));

class Loops extends Printer implements LoopPrinter<LaneState> {
  readonly grain = 64;
  readonly zero = "0";

  units(body: (unit: string) => void): void {
    this.loop("u", "from", "to", 1, body);
  }
  unit(body: () => void): void {
    this.block("if (from < to)", body);
  }
  axisLoop(axis: number, size: number, body: () => void): void {
    this.loop(`a${axis}`, "0", String(size), 1, (name) => {
      this.setAxis(axis, name);
      body();
    });
  }
  walk(axis: number, whole: number, part?: { readonly number: string; readonly size: number }): Walk<LaneState> {
    const { code, width } = this;
    const x = code.variable("ix", "x", part === undefined ? "0" : mul(part.number, part.size));
    const end = part === undefined ? String(whole) : code.let("ix", "end", `least(${x} + ${part.size}, ${whole})`);
    const lanes = (at: string, offset: number, valid: number): LaneState => ({ axis, at, offset, valid });
    return {
      along: (count, body) =>
        this.block(`for (; ${x} < ${add(end, String(-(count - 1) * width))}; ${x} += ${count * width})`, () =>
          body(Array.from({ length: count }, (_, g) => lanes(x, g * width, width))),
        ),
      last: (behind, valid, when, body) =>
        this.block(when === undefined ? "" : `if (${when.part} == ${when.is})`, () =>
          body([lanes(code.let("ix", "x", String(behind)), 0, valid)]),
        ),
    };
  }

  index(hint: string, value: string): string {
    return this.code.let("ix", hint, value);
  }
  quotient(of: string, by: number): string {
    return divide(of, by);
  }
  remainder(of: string, by: number): string {
    return rest(of, by);
  }
  takeAxis(axis: number, value: string): void {
    this.setAxis(axis, this.index(`a${axis}`, value));
  }

  private place(v: number, at: number): string {
    return `*(u${letterOf(this.kernel.values[v].dtype)}${this.width} *)(scratch + ${at} + 4 * (${this.lanes.at} + ${this.lanes.offset}))`;
  }
  hold(v: number, at: number): void {
    this.code.set(this.place(v, at), this.of(v));
  }
  held(v: number, at: number): string {
    return this.place(v, at);
  }

  start(reductions: readonly Reduction[]): Accumulator[] {
    return start(this, reductions);
  }
  accumulate(acc: Accumulator, place: Index, along: boolean): void {
    const first = () => `splat_i${this.width}((i32)(${this.scalarIndex(place)}))`;
    accumulate(this, acc, () => (along ? `${first()} + LANES${this.width}` : first()));
  }
  settle(): void {
    // nothing is kept apart
  }
  merge({ reduction, total }: Accumulator, other: Accumulator): void {
    this.code.set(total, merged(reduction, this.width, total, other.total));
  }
  acrossLanes(acc: Accumulator): string {
    return acrossLanes(this, acc);
  }
}
