/** Kernels that are functions over byte addresses in one memory: what targets have in common whose kernels are such. */

import { SLACK, WASM_BYTES, wholePages } from "../ground/memory.ts";
import type { Arena, Dispatch, Kernel, Placed } from "../ground/program.ts";
import { Bug } from "../ir/errors.ts";
import type { Code, Planned, Printer } from "./backend.ts";
import type { FuseLimits } from "./kernels/fuse.ts";
import type { LoopLanguage } from "./kernels/kernel.ts";
import { Holdings, Names } from "./kernels/names.ts";
import type { SharedKernels } from "./kernels/shared.ts";
import { checkSize } from "./plan.ts";
import { dense } from "./sparse.ts";

/** Of kernels over one memory. */
export const MEMORY_LIMITS: FuseLimits = { leaves: 24, cost: 300, operands: 32, roots: 32 };

export interface Printed {
  readonly units: number;
  readonly scratch: number;
  readonly text: string;
  /** In C: how it is declared, and the lanes of its vectors. */
  readonly head?: string;
  readonly width?: number;
}
/** A kernel of a program, the places where it runs and what its operands hold there. */
export interface KnownKernel {
  readonly kernel: Kernel;
  readonly loops: LoopLanguage;
  readonly labels: Set<string>;
  readonly holdings: Holdings;
  readonly units: number;
}

/** What kernels take, by their structure: plans of one search have most of them in common. */
type Taken = Omit<Printed, "text">;
const taken = new WeakMap<SharedKernels, { readonly keys: WeakMap<LoopLanguage, string>; readonly known: Map<string, Taken> }>();
function takenOf(shared: SharedKernels) {
  const found = taken.get(shared) ?? { keys: new WeakMap(), known: new Map() };
  taken.set(shared, found);
  return found;
}

/** Kernels that are functions over byte addresses in one memory. */
export abstract class MemoryPrinter<O extends { readonly workers: number }> implements Printer {
  private readonly known = new Map<string, KnownKernel>();
  private readonly names = new Names();
  private readonly made: ReturnType<typeof takenOf>;
  /** Bytes that each worker needs. */
  private scratch = 0;
  constructor(
    protected readonly options: O,
    private readonly unread: boolean,
    shared: SharedKernels,
  ) {
    this.made = takenOf(shared);
  }

  protected abstract textOf(kernel: LoopLanguage): Printed;
  protected abstract code(kernels: readonly KnownKernel[], arenas: readonly Arena[]): Promise<Code> | Code;

  slots(kernel: LoopLanguage): number {
    return this.takes(this.keyOf(kernel), kernel).units;
  }
  /** All iterations of a loop have the same kernel objects: their structure is written out once. */
  private keyOf(kernel: LoopLanguage): string {
    const key = this.made.keys.get(kernel) ?? JSON.stringify({ ...kernel, name: "" });
    this.made.keys.set(kernel, key);
    return key;
  }
  private takes(key: string, kernel: LoopLanguage): Taken {
    const found = this.made.known.get(key);
    if (found) return found;
    const { text: _, ...made } = this.textOf({ ...kernel, name: "k" });
    this.made.known.set(key, made);
    return made;
  }

  dispatch(step: Planned, tensors: readonly Placed[]): Dispatch[] {
    const { kernel, label, measure } = step;
    if (kernel.kind !== "product" || !kernel.skip) return [this.one(step, kernel, label, tensors)];
    const plain = dense(kernel);
    if (measure === undefined) return [this.one(step, plain, label, tensors)];
    const skipping = this.one(step, kernel, `${label}, skipping zeros`, tensors);
    return [{ ...this.one(step, plain, label, tensors), skips: { measure, kernel: skipping.kernel, units: skipping.units } }];
  }
  private one({ operands, holds }: Planned, kernel: LoopLanguage, label: string, tensors: readonly Placed[]): Dispatch {
    const key = this.keyOf(kernel);
    let seen = this.known.get(key);
    if (!seen) {
      const name = this.names.of(label);
      const { units, scratch } = this.takes(key, kernel);
      const access = kernel.operands.map((o) => ({
        access: o.access === "read" ? ("read" as const) : ("read_write" as const),
        dtype: o.dtype,
      }));
      seen = {
        kernel: { name, code: name, operands: access },
        units,
        loops: { ...kernel, name },
        labels: new Set(),
        holdings: new Holdings(),
      };
      this.known.set(key, seen);
      this.scratch = Math.max(this.scratch, Math.ceil(scratch / 64) * 64);
    }
    seen.labels.add(label);
    seen.holdings.add(holds ?? operands.map((t) => tensors[t]));
    for (const c of kernel.counts ?? [])
      if (kernel.operands[c.into].count !== seen.units) throw new Bug(`${label} counts into ${kernel.operands[c.into].count} places`);
    return { kernel: seen.kernel.name, operands, units: seen.units, label };
  }
  kernels(): Kernel[] {
    return [...this.known.values()].map((k) => k.kernel);
  }
  async finish(arenas: Arena[]): Promise<Code> {
    const { workers } = this.options;
    const scratch = this.scratch * workers + SLACK;
    const total = arenas.reduce((sum, { pages }) => sum + pages.reduce((a, b) => a + b, 0), scratch);
    // a memory is whole pages: what the last one has over is planned as well
    arenas.push({ name: "scratch", workers, pages: [scratch, wholePages(total) - total] });
    if (this.unread) return {};
    checkSize(arenas, WASM_BYTES, "a WebAssembly memory");
    return this.code([...this.known.values()], arenas);
  }
}
