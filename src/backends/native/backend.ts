/** Native code: the kernels in C files, which the machine's compiler compiles. */
import type { Backend, Code, TargetOptions } from "../backend.ts";
import { describeKernel } from "../kernels/describe.ts";
import type { LoopLanguage } from "../kernels/kernel.ts";
import { MEMORY_LIMITS, MemoryPrinter, type Printed } from "../memory.ts";
import { filesOf } from "./files.ts";
import { type FileKernel, printKernel } from "./print.ts";

type Options = Extract<TargetOptions, { readonly target: "native" }>;

export const native: Backend<Options> = {
  limits: () => MEMORY_LIMITS,
  placing: () => ({ alignment: 64, page: Number.POSITIVE_INFINITY }),
  arithmetic: ({ machine }) => `of ${machine.lanes} lanes`,
  counts: false,
  streams: true,
  printer: (options, unread, shared) => new NativePrinter(options, unread, shared),
};

class NativePrinter extends MemoryPrinter<Options> {
  protected textOf(kernel: LoopLanguage): Omit<Printed, "name"> {
    return printKernel(kernel, this.options.machine);
  }
  protected code(): Code {
    // without its places: a file that is compiled already serves every program with these kernels
    const withHead = ({ text, ...printed }: Printed, loops: LoopLanguage) => ({
      ...printed,
      text: [...describeKernel(loops).map((line) => `// ${line}`), text].join("\n"),
    });
    const kernels = [...this.known.values()].map(
      ({ printed, loops }) => ({ ...withHead(printed, loops), operands: loops.operands }) as FileKernel,
    );
    return { files: filesOf(kernels) };
  }
}
