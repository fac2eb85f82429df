/**
 * A kernel of the loop language, with the places of its operands, as dispatches: mostly one. A scatter clears its rows first; a kernel whose operands
 * need more bindings than the device has runs over ranges of an axis, each of which touches fewer pages.
 */

import type { WebGPULimits } from "../../ground/limits.ts";
import type { Kernel, Placed } from "../../ground/program.ts";
import { Limit } from "../../ir/errors.ts";
import type { LoopLanguage, ScatterKernel } from "../kernels/kernel.ts";
import { Bindings, touched } from "./bindings.ts";
import { cutSum, halve, splittable } from "./cut.ts";
import { printLoop } from "./loop.ts";
import { printClear, printScan, printScatter, printSelect } from "./owners.ts";
import { printRegisters, printTiled } from "./product.ts";
import { type Forced, loopSchedule, productSchedule, selectSchedule } from "./schedule.ts";
import { leftSkips, printSkip } from "./skip.ts";
import { memoryType } from "./spelling.ts";
import { Template } from "./template.ts";

export interface Launch {
  readonly kernel: Kernel;
  /** One a binding of the kernel. */
  readonly ranges: readonly Placed[];
  readonly grid: readonly [number, number, number];
}

/**
 * Prints a kernel for a device. `placed`: one an operand of the kernel; operands that are distinct do not overlap. Throws `Limit` where no cut makes
 * it fit the device's bindings.
 */
export function launches(kernel: LoopLanguage, placed: readonly Placed[], limits: WebGPULimits, forced: Forced = {}): Launch[] {
  if (kernel.kind === "scatter") return scatter(kernel, placed, limits, { from: 0, to: kernel.rows });
  if (kernel.kind === "product" && kernel.skip) kernel = leftSkips(kernel);
  const bindings = new Bindings(kernel, placed, limits);
  if (bindings.fits) return print(kernel, bindings, limits, forced);
  for (const axis of splittable(kernel)) {
    const halves = halve(kernel, axis);
    if (!halves) continue;
    const fewer = halves.some((half) => new Bindings(half, placed, limits).bindings.length < bindings.bindings.length);
    if (fewer) return halves.flatMap((half) => launches(half, placed, limits, forced));
  }
  if (kernel.kind === "product") {
    for (let count = 2; count <= kernel.axes[3]; count *= 2) {
      const pieces = cutSum(kernel, count);
      const bound = pieces?.map((piece) => ({ piece, bindings: new Bindings(piece, placed, limits) }));
      if (bound?.every((b) => b.bindings.fits)) return bound.flatMap((b) => print(b.piece, b.bindings, limits, forced));
    }
  }
  throw tooMany(kernel, bindings, limits);
}

const tooMany = (kernel: LoopLanguage, { bindings }: Bindings, limits: WebGPULimits): Limit =>
  new Limit(
    `${kernel.name} touches ${bindings.length} buffers at once, and the device binds ${limits.bindings}: a smaller batch or sequence, or a device with larger bindings, may fit`,
  );

/** Over some rows of the table: they are cleared, then added to. */
function scatter(kernel: ScatterKernel, placed: readonly Placed[], limits: WebGPULimits, rows: { from: number; to: number }): Launch[] {
  const columns = kernel.axes[1];
  const windows = touched(kernel).map((w, o) => (o === kernel.out ? { low: rows.from * columns, high: rows.to * columns - 1 } : w));
  const bindings = new Bindings(kernel, placed, limits, windows);
  if (!bindings.fits) {
    if (rows.to - rows.from < 2) throw tooMany(kernel, bindings, limits);
    const middle = Math.ceil((rows.from + rows.to) / 2);
    return [
      { from: rows.from, to: middle },
      { from: middle, to: rows.to },
    ].flatMap((half) => scatter(kernel, placed, limits, half));
  }
  const out = {
    read: (index: string) => bindings.read(kernel.out, index),
    write: (index: string, value: string) => bindings.write(kernel.out, index, value),
    zero: memoryType(kernel.operands[kernel.out].dtype) === "f32" ? "0.0" : "0",
  };
  const clear = new Template(kernel, bindings, limits);
  printClear(kernel, rows, clear, out);
  const add = new Template(kernel, bindings, limits);
  printScatter(kernel, rows, add, out);
  return [launch(`${kernel.name}, clear`, bindings, clear), launch(kernel.name, bindings, add)];
}

const launch = (name: string, { bindings }: Bindings, t: Template): Launch => ({
  kernel: { name, code: t.text(), operands: bindings.map((b) => ({ access: b.access, dtype: b.range.dtype })) },
  ranges: bindings.map((b) => b.range),
  grid: t.grid,
});

function print(kernel: Exclude<LoopLanguage, ScatterKernel>, bindings: Bindings, limits: WebGPULimits, forced: Forced): Launch[] {
  const t = new Template(kernel, bindings, limits);
  switch (kernel.kind) {
    case "loop":
      printLoop(kernel, (forced.loop ?? loopSchedule)(kernel, limits), t);
      break;
    case "product": {
      if (kernel.skip) {
        printSkip(kernel, limits, t);
        break;
      }
      const schedule = (forced.product ?? productSchedule)(kernel, limits);
      if (schedule.kind === "tiled") printTiled(kernel, schedule, t);
      else printRegisters(kernel, schedule, t);
      break;
    }
    case "scan":
      printScan(kernel, t);
      break;
    case "select":
      printSelect(kernel, (forced.select ?? selectSchedule)(kernel, limits), t, (index, value) => bindings.write(kernel.out, index, value));
      break;
  }
  return [launch(kernel.name, bindings, t)];
}
