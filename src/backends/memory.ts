/** Kernels that are functions over byte addresses in one memory: what targets have in common whose kernels are such. */

import { SLACK, WASM_BYTES } from "../ground/memory.ts";
import type { Arena, Dispatch, Kernel } from "../ground/program.ts";
import { Bug } from "../ir/errors.ts";
import type { Code, Planned, Printer } from "./backend.ts";
import type { FuseLimits } from "./kernels/fuse.ts";
import type { LoopLanguage } from "./kernels/kernel.ts";
import type { SharedKernels } from "./kernels/shared.ts";
import { Names } from "./names.ts";
import { checkSize } from "./plan.ts";
import { dense } from "./sparse.ts";

/** Of kernels over one memory. */
export const MEMORY_LIMITS: FuseLimits = { leaves: 24, cost: 300, operands: 32, roots: 32 };

/** Kernels as text, by their structure: plans of one search have most of them in common. */
const texts = new WeakMap<SharedKernels, { readonly keys: WeakMap<LoopLanguage, string>; readonly printed: Map<string, Printed> }>();
export interface Printed {
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
export abstract class MemoryPrinter<O extends { readonly workers: number }> implements Printer {
  protected readonly known = new Map<string, { kernel: Kernel; printed: Printed; loops: LoopLanguage; labels: Set<string> }>();
  private readonly names = new Names();
  private readonly made: ReturnType<typeof textsOf>;
  /** Bytes that each worker needs. */
  private scratch = 0;
  constructor(
    protected readonly options: O,
    private readonly unread: boolean,
    shared: SharedKernels,
  ) {
    this.made = textsOf(shared);
  }

  protected abstract textOf(kernel: LoopLanguage): Omit<Printed, "name">;
  protected abstract code(arenas: readonly Arena[]): Promise<Code> | Code;

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
    const named = { ...kernel, name: name ?? "k" };
    const printed = { ...this.textOf(named), name: named.name };
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
  async finish(arenas: Arena[]): Promise<Code> {
    const { workers } = this.options;
    arenas.push({ name: "scratch", workers, pages: [this.scratch * workers + SLACK] });
    if (this.unread) return {};
    checkSize(arenas, WASM_BYTES, "a WebAssembly memory");
    return this.code(arenas);
  }
}
