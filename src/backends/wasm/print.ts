/** Prints kernels as one WebAssembly module in text form, with one exported function a kernel. */
import type { LoopLanguage } from "../kernels/kernel.ts";
import type { Printed } from "../lanes/loop.ts";
import { printLoop } from "./loop.ts";
import { printProduct, productSchedule } from "./product.ts";
import { printSkip } from "./skip.ts";
import { printScan, printScatter, printSelect } from "./special.ts";
import { Code } from "./text.ts";

export interface PrintedKernel extends Printed {
  /** The function's text. */
  readonly text: string;
}

/**
 * The function of one kernel: `(from, to, scratch, ...operands)`. It runs the units from..to-1; `scratch` is this worker's own space;
 * operands are byte addresses.
 */
export function printKernel(kernel: LoopLanguage, relaxed: boolean): PrintedKernel {
  const code = new Code(relaxed, ["from", "to", "scratch", ...kernel.operands.map((o) => o.name)]);
  const pointers = kernel.operands.map((o) => `$${o.name}`);
  const range = ["$from", "$to"] as const;
  const printed = (() => {
    switch (kernel.kind) {
      case "loop":
        return printLoop(kernel, code, pointers, range, "$scratch");
      case "product":
        if (kernel.skip) return printSkip(kernel, relaxed, code, pointers, range, "$scratch");
        return printProduct(kernel, productSchedule(kernel, relaxed), code, pointers, range, "$scratch");
      case "scatter":
        return printScatter(kernel, code, pointers, range);
      case "scan":
        return printScan(kernel, code, pointers, range);
      case "select":
        return printSelect(kernel, code, pointers, range);
    }
  })();
  const params = ["$from", "$to", "$scratch", ...pointers].map((n) => `(param ${n} i32)`).join(" ");
  return { ...printed, text: code.text(`(func (export "${kernel.name}") ${params}`) };
}

/** The module's text. `pages`: of 64 KiB, the memory it imports as `env.memory`; shared memory needs the same number as a limit. */
export function printModule(functions: readonly string[], pages: number, shared: boolean): string {
  const memory = shared ? `${pages} ${pages} shared` : `${pages}`;
  return `(module\n(import "env" "memory" (memory ${memory}))\n${functions.join("\n")}\n)\n`;
}
