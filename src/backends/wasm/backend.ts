/** WebAssembly: kernels are functions of one module, with SIMD. */
import { WASM_PAGE } from "../../ground/memory.ts";
import type { Arena } from "../../ground/program.ts";
import type { Backend, Code, TargetOptions } from "../backend.ts";
import { headOf } from "../kernels/describe.ts";
import type { LoopLanguage } from "../kernels/kernel.ts";
import { type KnownKernel, MEMORY_LIMITS, MemoryPrinter, type Printed } from "../memory.ts";
import { assemble } from "./assemble.ts";
import { printKernel, printModule } from "./print.ts";

type Options = Extract<TargetOptions, { readonly target: "wasm" }>;

export const wasm: Backend<Options> = {
  limits: () => MEMORY_LIMITS,
  placing: () => ({ alignment: 16, page: Number.POSITIVE_INFINITY }),
  memoryUnit: WASM_PAGE,
  arithmetic: ({ arithmetic }) => arithmetic,
  counts: true,
  streams: true,
  printer: (options, unread, shared) => new WasmPrinter(options, unread, shared),
};

class WasmPrinter extends MemoryPrinter<Options> {
  protected textOf(kernel: LoopLanguage): Printed {
    return printKernel(kernel, this.options.arithmetic === "relaxed");
  }
  protected async code(kernels: readonly KnownKernel[], arenas: readonly Arena[]): Promise<Code> {
    const functions = kernels.map(({ loops, labels, holdings }) => {
      const named = holdings.named(loops);
      return [...headOf(named, labels, holdings).map((text) => `;; ${text}`), this.textOf(named).text].join("\n");
    });
    const bytes = arenas.reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);
    const wat = printModule(functions, Math.ceil(bytes / WASM_PAGE), true);
    return { wat, module: await assemble(wat) };
  }
}
