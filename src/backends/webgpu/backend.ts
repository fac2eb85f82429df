/** WebGPU: each kernel is a WGSL text, with what it binds. */
import type { WebGPULimits } from "../../ground/limits.ts";
import type { Dispatch, Kernel, Placed, Program } from "../../ground/program.ts";
import { Bug } from "../../ir/errors.ts";
import type { Backend, Code, Planned, Printer, TargetOptions } from "../backend.ts";
import { headOf } from "../kernels/describe.ts";
import type { LoopLanguage } from "../kernels/kernel.ts";
import { type Held, Holdings, Names } from "../kernels/names.ts";
import { sameRange } from "../plan.ts";
import { dense } from "../sparse.ts";
import { aligned, COUNT_SLOTS, overlap, pageBytes } from "./bindings.ts";
import { launches } from "./launch.ts";
import { productSchedule } from "./schedule.ts";

export const webgpu: Backend<Extract<TargetOptions, { readonly target: "webgpu" }>> = {
  /** Every operand may need a binding of its own; the printer shares bindings only where it must. */
  limits: ({ limits: { bindings } }) => {
    if (bindings < 4) throw new Bug(`no device has only ${bindings} bindings`);
    return { leaves: bindings - 2, cost: 300, operands: bindings, roots: 16 };
  },
  placing: ({ limits }) => ({ alignment: limits.alignment, page: pageBytes(limits) }),
  memoryUnit: 1,
  arithmetic: () => "plain",
  counts: true,
  streams: false,
  printer: ({ limits }) => new WebGPUPrinter(limits),
};

interface KnownKernel {
  readonly kernel: Kernel;
  /** What it was printed of: one of the launches of these loops for operands that lie so. */
  readonly loops: LoopLanguage;
  readonly placed: readonly Placed[];
  readonly launch: number;
  readonly labels: Set<string>;
  readonly holdings: Holdings;
}

class WebGPUPrinter implements Printer {
  /** By text, without names of what operands hold. */
  private readonly known = new Map<string, KnownKernel>();
  private readonly byName = new Map<string, KnownKernel>();
  private readonly names = new Names();
  /** All iterations of a loop have the same kernel objects: where their operands lie alike, so do their texts. */
  private readonly iterations = new WeakMap<LoopLanguage, Map<string, Dispatch>>();
  constructor(private readonly limits: WebGPULimits) {}

  slots(): number {
    return COUNT_SLOTS;
  }

  dispatch({ kernel, operands, label, measure, holds }: Planned, tensors: Program["tensors"][number][]): Dispatch[] {
    const held = holds ?? operands.map((t) => tensors[t]);
    const all = (k: LoopLanguage, at: string) => this.all(k, operands, held, at, tensors);
    if (kernel.kind !== "product" || !kernel.skip) return all(kernel, label);
    const plain = all(dense(kernel), label);
    // a sum that several invocations share runs in another order: it would have other bits
    const schedule = productSchedule(dense(kernel), this.limits);
    if (measure === undefined || plain.length !== 1 || (schedule.kind === "registers" && schedule.slices > 1)) return plain;
    const skipping = all(kernel, `${label}, skipping zeros`);
    const same = skipping.length === 1 && skipping[0].operands.every((o, i) => o === plain[0].operands[i]);
    return same ? [{ ...plain[0], skips: { measure, kernel: skipping[0].kernel, grid: skipping[0].grid } }] : plain;
  }
  private all(
    kernel: LoopLanguage,
    operands: readonly number[],
    held: readonly Held[],
    label: string,
    tensors: Program["tensors"][number][],
  ): Dispatch[] {
    const placed = operands.map((t) => tensors[t]);
    const { alignment } = this.limits;
    const pages = [...new Set(placed.map((p) => `${p.arena} ${p.page}`))];
    const alike = placed.map((p) => `${pages.indexOf(`${p.arena} ${p.page}`)} ${p.offset % alignment} ${p.bytes} ${p.dtype}`).join("\n");
    const first = this.iterations.get(kernel)?.get(alike);
    const ranges = placed.map((p) => aligned(p, alignment));
    const clash = ranges.some((r, i) => ranges.some((o, j) => j !== i && overlap(r, o)));
    const numberOf = (r: Placed): number => {
      const same = placed.indexOf(r);
      return same >= 0 ? operands[same] : tensors.push(r) - 1;
    };
    const seenAt = (name: string): void => {
      const { labels, holdings } = this.byName.get(name)!;
      labels.add(label);
      holdings.add(held);
    };
    if (first && !clash) {
      seenAt(first.kernel);
      return [{ ...first, operands: ranges.map(numberOf) }];
    }
    const loops = { ...kernel, name: label.replace(/[^A-Za-z0-9.]+/g, "_") };
    const made = launches(loops, placed, this.limits);
    const out = made.map((l, launch): Dispatch => {
      const key = `${l.kernel.code}\n${JSON.stringify(l.kernel.operands)}`;
      let seen = this.known.get(key);
      if (!seen) {
        const name = this.names.of(label);
        seen = { kernel: { ...l.kernel, name }, loops, placed, launch, labels: new Set(), holdings: new Holdings() };
        this.known.set(key, seen);
        this.byName.set(name, seen);
      }
      seenAt(seen.kernel.name);
      return { kernel: seen.kernel.name, operands: l.ranges.map(numberOf), grid: l.grid, label };
    });
    // one launch, with a binding for each operand in their order
    const plain = made.length === 1 && made[0].ranges.length === ranges.length && made[0].ranges.every((r, i) => sameRange(r, ranges[i]));
    if (plain && !clash) {
      if (!this.iterations.has(kernel)) this.iterations.set(kernel, new Map());
      this.iterations.get(kernel)!.set(alike, out[0]);
    }
    return out;
  }
  kernels(): Kernel[] {
    return [...this.known.values()].map(({ kernel, loops, placed, launch, labels, holdings }) => {
      const named = holdings.named(loops);
      const { code } = launches(named, placed, this.limits)[launch].kernel;
      return { ...kernel, code: [...headOf(named, labels, holdings).map((text) => `// ${text}`), code].join("\n") };
    });
  }
  async finish(): Promise<Code> {
    return {};
  }
}
