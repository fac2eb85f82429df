/** Native code: the kernels in C files, which the machine's compiler compiles. */
import { WASM_PAGE } from "../../ground/memory.ts";
import type { Backend, Code, TargetOptions } from "../backend.ts";
import { describeKernel, headOf } from "../kernels/describe.ts";
import type { LoopLanguage } from "../kernels/kernel.ts";
import { type KnownKernel, MEMORY_LIMITS, MemoryPrinter } from "../memory.ts";
import { filesOf } from "./files.ts";
import { type FileKernel, type PrintedKernel, printKernel } from "./print.ts";

type Options = Extract<TargetOptions, { readonly target: "native" }>;

export const native: Backend<Options> = {
  limits: () => MEMORY_LIMITS,
  placing: () => ({ alignment: 64, page: Number.POSITIVE_INFINITY }),
  memoryUnit: WASM_PAGE,
  arithmetic: ({ machine }) => `of ${machine.lanes} lanes`,
  counts: false,
  streams: true,
  printer: (options, unread, shared) => new NativePrinter(options, unread, shared),
};

class NativePrinter extends MemoryPrinter<Options> {
  protected textOf(kernel: LoopLanguage): PrintedKernel {
    return printKernel(kernel, this.options.machine);
  }
  protected code(kernels: readonly KnownKernel[]): Code {
    const files = kernels.map(({ kernel, loops, labels, holdings }, i): FileKernel => {
      // to run, kernels and operands have no names of a program: a file that is compiled already serves every one with these kernels
      const named = this.options.readable ? holdings.named(loops) : { ...loops, name: String(i) };
      const head = this.options.readable ? headOf(named, labels, holdings) : describeKernel(named);
      const printed = this.textOf(named);
      return {
        ...printed,
        name: kernel.name,
        operands: loops.operands,
        text: [...head.map((line) => `// ${line}`), printed.text].join("\n"),
      };
    });
    return { files: filesOf(files) };
  }
}
