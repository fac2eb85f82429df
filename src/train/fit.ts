/**
 * How much each entry recomputes so that the program fits its budget: as little as does. A plan is made for each try; bytes are those of the
 * plan, not an estimate.
 */
import { activationBytes, type CompiledProgram, compileProgram, type TargetOptions } from "../backends/compile.ts";
import { SharedKernels } from "../backends/kernels/shared.ts";
import type { Compilation, Compiled } from "../ir/pipeline.ts";
import { memoryOf } from "./budget.ts";
import { turn } from "./stopping.ts";

export interface Fitting {
  readonly name: string;
  readonly compilation: Compilation;
}
export interface Fitted {
  readonly lowered: readonly (Compiled & { readonly name: string })[];
  /** Planned, without a module. */
  readonly planned: CompiledProgram;
  /** The smallest budget that could be met; only where this one is not. */
  readonly smallest?: number;
}

/** Peaks of one entry by the step of its scale. Graphs that were looked at once may go: they are many, and large beside a small budget. */
export class Peaks {
  private readonly known = new Map<number, { readonly bytes: number; readonly added: number; compiled: WeakRef<Compiled> }>();
  constructor(
    private readonly compilation: Compilation,
    private readonly target: TargetOptions,
    private readonly shared = new SharedKernels(),
  ) {}
  /** Bytes, and the share of the work that is repeated. */
  at(step: number): { readonly bytes: number; readonly added: number } {
    let peak = this.known.get(step);
    if (!peak) {
      const compiled = this.compilation.finish(step);
      const bytes = activationBytes(compiled.graph, this.target, this.shared);
      peak = { bytes, added: compiled.recompute!.added, compiled: new WeakRef(compiled) };
      this.known.set(step, peak);
    }
    return peak;
  }
  compiled(step: number): Compiled {
    return this.known.get(step)?.compiled.deref() ?? this.compilation.finish(step);
  }
}

/** How often the rest of the program may turn out larger, because other kernels take more scratch. */
const TRIES = 3;

/**
 * Entries with as little recomputing as a budget asks for. Where none fits, the plan without one, and the smallest budget that could be met. `stream`: frozen
 * parameters that stay in their files.
 */
export async function fit(
  entries: readonly Fitting[],
  target: TargetOptions,
  memory: number,
  stream?: ReadonlySet<string>,
): Promise<Fitted> {
  const usual: (Compiled & { readonly name: string })[] = [];
  for (const { name, compilation } of entries) {
    await turn();
    usual.push({ name, ...compilation.finish() });
  }
  const shared = new SharedKernels();
  const first = await compileProgram(usual, target, true, shared, stream);
  const { total, arenas } = memoryOf(first.program);
  if (total <= memory) return { lowered: usual, planned: first };
  const peaks = entries.map(({ compilation }) => new Peaks(compilation, target, shared));
  let allowed = memory - (total - arenas.activations);
  for (let attempt = 0; attempt < TRIES; attempt++) {
    const steps = usual.map(({ recompute }, i) => (recompute ? firstWithin(peaks[i], recompute, allowed) : undefined));
    if (steps.some((s, i) => s === undefined && usual[i].recompute !== undefined)) break;
    const lowered = usual.map((u, i) =>
      steps[i] === undefined || steps[i] === u.recompute!.step ? u : { name: u.name, ...peaks[i].compiled(steps[i]) },
    );
    const planned = await compileProgram(lowered, target, true, shared, stream);
    const now = memoryOf(planned.program).total;
    if (now <= memory) return { lowered, planned };
    allowed -= now - memory;
  }
  const least = usual.map(({ recompute }, i) =>
    recompute ? Math.min(...cornersOf(recompute).map((s) => peaks[i].at(s).bytes)) : activationBytes(usual[i].graph, target, shared),
  );
  return { lowered: usual, planned: first, smallest: total - arenas.activations + Math.max(...least) };
}

type Scale = NonNullable<Compiled["recompute"]>;

/** Corners from the usual step on. */
const cornersOf = ({ usual, corners }: Scale): number[] => [usual, ...corners.filter((c) => c > usual)];

/** The first step from the usual one on that fits; `undefined`: no corner does, so a larger budget never fits less. */
function firstWithin(peaks: Peaks, scale: Scale, allowed: number): number | undefined {
  const fits = (step: number): boolean => peaks.at(step).bytes <= allowed;
  const corners = cornersOf(scale);
  if (fits(corners[0])) return corners[0];
  let [low, high] = [0, corners.length - 1];
  if (!fits(corners[high])) {
    const other = corners.findIndex(fits);
    if (other < 0) return undefined;
    [low, high] = [other - 1, other];
  }
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(corners[middle])) high = middle;
    else low = middle;
  }
  let [below, at] = [corners[low], corners[high]];
  while (at - below > 1) {
    const middle = (below + at) >> 1;
    if (fits(middle)) at = middle;
    else below = middle;
  }
  return at;
}

/** A program's peak with some recomputing, and the share of the step's work that this repeats. */
export interface FrontPoint {
  readonly bytes: number;
  readonly added: number;
}

/**
 * What recomputing buys: from the usual plan to the least memory, by steps of the entry whose peak is largest. A point that takes more memory than one that
 * repeats less is left out.
 */
export async function front(entries: readonly Fitting[], target: TargetOptions): Promise<FrontPoint[]> {
  const usual = entries.map(({ name, compilation }) => ({ name, ...compilation.finish() }));
  const shared = new SharedKernels();
  const { total, arenas } = memoryOf((await compileProgram(usual, target, true, shared)).program);
  const bytes = usual.map(({ graph, recompute }) => (recompute ? activationBytes(graph, target, shared) : 0));
  const largest = bytes.indexOf(Math.max(...bytes));
  const scale = usual[largest]?.recompute;
  if (!scale) return [{ bytes: total, added: 0 }];
  const peaks = new Peaks(entries[largest].compilation, target, shared);
  const corners = cornersOf(scale);
  const steps = corners.flatMap((c, i) => (i === 0 ? [c] : [Math.round((corners[i - 1] + c) / 2), c]));
  const out: FrontPoint[] = [];
  for (const step of [...new Set(steps)]) {
    const peak = peaks.at(step);
    const point = { bytes: total - arenas.activations + peak.bytes, added: peak.added };
    if (out.every((p) => p.bytes > point.bytes)) out.push(point);
  }
  return out;
}
