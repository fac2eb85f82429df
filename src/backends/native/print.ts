/**
 * Prints kernels as C. Each is a function of its own, `void NAME(operands..., from, to, scratch)`, that runs the units from..to-1; files hold several, and a table by
 * which they are called with addresses in one memory.
 */
import type { LoopLanguage } from "../kernels/kernel.ts";
import type { Printed } from "../lanes/loop.ts";
import { printLoop } from "./loop.ts";
import { prelude } from "./prelude.ts";
import { printProduct } from "./product.ts";
import { type Machine, productSchedule } from "./schedule.ts";
import { printScan, printScatter, printSelect } from "./special.ts";
import { letterOf } from "./spelling.ts";
import { Code } from "./text.ts";

export interface PrintedKernel extends Printed {
  /** The function's text, and what it is declared as. */
  readonly text: string;
  readonly head: string;
  readonly symbol: string;
  /** Lanes of its vectors. */
  readonly width: number;
}

/** A kernel's name as C has names. */
export const cName = (name: string): string => `k_${name.replace(/\W/g, "_")}`;

export function printKernel(kernel: LoopLanguage, machine: Machine): PrintedKernel {
  const code = new Code(["from", "to", "scratch", ...kernel.operands.map((o) => o.name)]);
  const { lanes } = machine;
  const printed = ((): Printed & { readonly width: number } => {
    switch (kernel.kind) {
      case "loop":
        return printLoop(kernel, code, lanes);
      case "product": {
        const schedule = productSchedule(kernel, machine);
        return { ...printProduct(kernel, schedule, code), width: schedule.width };
      }
      case "scatter":
        return printScatter(kernel, code, lanes);
      case "scan":
        return printScan(kernel, code, lanes);
      case "select":
        return printSelect(kernel, code, lanes);
    }
  })();
  const params = kernel.operands.map((o) => `${o.access === "read" ? "const " : ""}${letterOf(o.dtype)}32a *restrict ${o.name}`);
  const symbol = cName(kernel.name);
  const head = `void ${symbol}(${[...params, "ix from", "ix to", "char *scratch"].join(", ")})`;
  return { ...printed, head, symbol, text: code.text(`__attribute__((noinline)) ${head}`) };
}

export interface FileKernel extends PrintedKernel {
  /** In the program. */
  readonly name: string;
  readonly operands: readonly { readonly dtype: LoopLanguage["operands"][number]["dtype"] }[];
}

/** How a file's kernels are called: by their number in it, with byte addresses of operands in a memory. */
export const CALL = "peftc_call";

/** A C file that stands alone: these kernels and the function `CALL`. */
export function printFile(kernels: readonly FileKernel[]): string {
  const cases = kernels.map((k, i) => {
    const args = k.operands.map((o, j) => `(${letterOf(o.dtype)}32a *)(memory + at[${j}])`);
    return `    case ${i}: ${k.symbol}(${[...args, "from", "to", "memory + scratch"].join(", ")}); break;`;
  });
  const call = `void ${CALL}(char *memory, const u32 *at, u32 kernel, i32 from, i32 to, u32 scratch) {
  switch (kernel) {
${cases.join("\n")}
  }
}
`;
  const text = `${kernels.map((k) => k.text).join("\n\n")}\n\n${call}`;
  return `${prelude(text)}\n${text}`;
}
