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

/** Seconds of all entries with a backward half, with what is repeated; and without. */
export const workOf = ({ lowered }: Fitted): number =>
  lowered.reduce((sum, { recompute }) => sum + (recompute ? recompute.seconds * (1 + recompute.added) : 0), 0);
const leastWork = ({ lowered }: Fitted): number => lowered.reduce((sum, { recompute }) => sum + (recompute?.seconds ?? 0), 0);

/** Work repeated from which on other slices are looked at. */
const DEAR = 0.1;

/** Whether finer slices may do with less work, or at all. */
export const mayImprove = (made: Fitted): boolean => made.smallest !== undefined || workOf(made) > (1 + DEAR) * leastWork(made);

/** What fits, then what repeats less; where neither fits, what needs less. */
export function better<F extends Fitted>(one: F, other: F): F {
  if (one.smallest !== undefined && other.smallest !== undefined) return other.smallest < one.smallest ? other : one;
  if (one.smallest !== undefined || other.smallest !== undefined) return one.smallest === undefined ? one : other;
  return workOf(other) < workOf(one) ? other : one;
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
  /** Seconds of the entry, by the cost model. */
  readonly seconds: number;
}

/**
 * What recomputing buys: from the usual plan to the least memory, by steps of the entry whose peak is largest; `slices`: the same entries in
 * ever finer slices. A point that takes more memory than one that repeats less is left out.
 */
export async function front(slices: readonly (readonly Fitting[])[], target: TargetOptions): Promise<FrontPoint[]> {
  const shared = new SharedKernels();
  const points: FrontPoint[] = [];
  let base: number | undefined;
  /** Number of the entry whose peak is largest in the usual plan. */
  let largest: number | undefined;
  for (const some of slices) {
    const usual = some.map(({ name, compilation }) => ({ name, ...compilation.finish() }));
    const { total, arenas } = memoryOf((await compileProgram(usual, target, true, shared)).program);
    if (largest === undefined) {
      const bytes = usual.map(({ graph, recompute }) => (recompute ? activationBytes(graph, target, shared) : 0));
      largest = bytes.indexOf(Math.max(...bytes));
    }
    const scale = usual[largest]?.recompute;
    if (!scale) return [{ bytes: total, added: 0, seconds: 0 }];
    base ??= scale.seconds;
    const peaks = new Peaks(some[largest].compilation, target, shared);
    const corners = cornersOf(scale);
    const steps = corners.flatMap((c, i) => (i === 0 ? [c] : [Math.round((corners[i - 1] + c) / 2), c]));
    for (const step of new Set(steps)) {
      const peak = peaks.at(step);
      const all = scale.seconds * (1 + peak.added);
      points.push({ bytes: total - arenas.activations + peak.bytes, added: all / base - 1, seconds: all });
    }
  }
  return envelope(points);
}

/** From the first of the points, which is the plan without a budget, down: without those that take more memory than one that repeats less. */
export function envelope<P extends FrontPoint>(points: readonly P[]): P[] {
  const out: P[] = [];
  for (const point of points.filter((p) => p.bytes <= points[0].bytes).sort((p, q) => p.added - q.added || p.bytes - q.bytes))
    if (out.every((p) => p.bytes > point.bytes)) out.push(point);
  return out;
}
