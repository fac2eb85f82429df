/** What a target makes of planned kernels: dispatches, and text; and the targets whose kernels share one memory. */

import type { Dispatch, Kernel, Program } from "../ground/program.ts";
import { Bug } from "../ir/errors.ts";
import type { TargetOptions } from "./compile.ts";
import { describeKernel, headOf } from "./kernels/describe.ts";
import type { LoopLanguage } from "./kernels/kernel.ts";
import type { SharedKernels } from "./kernels/shared.ts";
import { filesOf, type NativeFile } from "./native/files.ts";
import { type FileKernel, printKernel as printC } from "./native/print.ts";
import type { PlannedStep } from "./plan.ts";
import { dense } from "./sparse.ts";
import { printKernel as printWasm } from "./wasm/print.ts";

export type Planned = Extract<PlannedStep, { kernel: LoopLanguage }>;

export interface Target {
  /** How many numbers a kernel counts into. */
  slots(kernel: LoopLanguage): number;
  /** The dispatches of a planned kernel; may add tensors (ranges that only this dispatch knows). */
  dispatch(step: Planned, tensors: Program["tensors"][number][]): Dispatch[];
  kernels(): Kernel[];
}

/** Names that are readable, fit an identifier, and differ. */
export class Names {
  private readonly taken = new Map<string, number>();
  of(label: string): string {
    const base = label.replace(/[^A-Za-z0-9.]+/g, "_").replace(/^_+|_+$/g, "") || "kernel";
    const n = this.taken.get(base) ?? 0;
    this.taken.set(base, n + 1);
    return n === 0 ? base : `${base}.${n + 1}`;
  }
}

/** Kernels as text, by their structure: plans of one search have most of them in common. */
const texts = new WeakMap<SharedKernels, { readonly keys: WeakMap<LoopLanguage, string>; readonly printed: Map<string, Printed> }>();
interface Printed {
  readonly name: string;
  readonly units: number;
  readonly scratch: number;
  readonly text: string;
  /** In C: how it is declared, and the lanes of its vectors. */
  readonly head?: string;
  readonly width?: number;
}
function textsOf(shared: SharedKernels) {
  const known = texts.get(shared) ?? { keys: new WeakMap(), printed: new Map() };
  texts.set(shared, known);
  return known;
}

/** Kernels that are functions over byte addresses in one memory. */
export class MemoryTarget implements Target {
  private readonly known = new Map<string, { kernel: Kernel; printed: Printed; loops: LoopLanguage; labels: Set<string> }>();
  private readonly names = new Names();
  private readonly made: ReturnType<typeof textsOf>;
  /** Bytes that each worker needs. */
  scratch = 0;
  constructor(
    private readonly options: Exclude<TargetOptions, { readonly target: "webgpu" }>,
    /** The text is not wanted, only what it takes. */
    private readonly unread: boolean,
    shared: SharedKernels,
  ) {
    this.made = textsOf(shared);
  }

  slots(kernel: LoopLanguage): number {
    return this.print(this.keyOf(kernel), kernel, undefined).units;
  }
  /** All iterations of a loop have the same kernel objects: their text is looked for once. */
  private keyOf(kernel: LoopLanguage): string {
    const key = this.made.keys.get(kernel) ?? JSON.stringify({ ...kernel, name: "" });
    this.made.keys.set(kernel, key);
    return key;
  }
  private print(key: string, kernel: LoopLanguage, name: string | undefined): Printed {
    const known = this.made.printed.get(key);
    if (known && (name === undefined || name === known.name || this.unread)) return known;
    const { options } = this;
    const named = { ...kernel, name: name ?? "k" };
    const text = options.target === "wasm" ? printWasm(named, options.arithmetic === "relaxed") : printC(named, options.machine);
    const printed = { ...text, name: named.name };
    this.made.printed.set(key, printed);
    return printed;
  }

  dispatch({ kernel, operands, label, measure }: Planned): Dispatch[] {
    if (kernel.kind !== "product" || !kernel.skip) return [this.one(kernel, operands, label)];
    if (measure === undefined) return [this.one(dense(kernel), operands, label)];
    const skipping = this.one(kernel, operands, `${label}, skipping zeros`);
    return [{ ...this.one(dense(kernel), operands, label), skips: { measure, kernel: skipping.kernel, units: skipping.units } }];
  }
  private one(kernel: LoopLanguage, operands: readonly number[], label: string): Dispatch {
    const key = this.keyOf(kernel);
    let seen = this.known.get(key);
    if (!seen) {
      const name = this.names.of(label);
      const printed = this.print(key, kernel, name);
      const access = kernel.operands.map((o) => ({
        access: o.access === "read" ? ("read" as const) : ("read_write" as const),
        dtype: o.dtype,
      }));
      seen = { kernel: { name, code: name, operands: access }, printed, loops: kernel, labels: new Set() };
      this.known.set(key, seen);
      this.scratch = Math.max(this.scratch, Math.ceil(printed.scratch / 64) * 64);
    }
    seen.labels.add(label);
    for (const c of kernel.counts ?? [])
      if (kernel.operands[c.into].count !== seen.printed.units)
        throw new Bug(`${label} counts into ${kernel.operands[c.into].count} places`);
    return { kernel: seen.kernel.name, operands, units: seen.printed.units, label };
  }
  kernels(): Kernel[] {
    return [...this.known.values()].map((k) => k.kernel);
  }
  /** The functions of a WebAssembly module. */
  texts(): string[] {
    return [...this.known.values()].map(({ printed, loops, labels }) =>
      [...headOf(loops, labels).map((text) => `;; ${text}`), printed.text].join("\n"),
    );
  }
  /** The kernels in C files. */
  files(): NativeFile[] {
    // without its places: a file that is compiled already serves every program with these kernels
    const withHead = ({ text, ...printed }: Printed, loops: LoopLanguage) => ({
      ...printed,
      text: [...describeKernel(loops).map((line) => `// ${line}`), text].join("\n"),
    });
    return filesOf(
      [...this.known.values()].map(({ printed, loops }) => ({ ...withHead(printed, loops), operands: loops.operands }) as FileKernel),
    );
  }
}
