/**
 * How much each entry recomputes so that the program fits its budget: as little as does. A plan is made for each try; bytes are those of the
 * plan, not an estimate.
 */
import type { TargetOptions } from "../../backends/backend.ts";
import { type CompiledProgram, compileProgram, outlook } from "../../backends/compile.ts";
import { backendOf } from "../../backends/index.ts";
import type { SharedKernels } from "../../backends/kernels/shared.ts";
import type { Compilation, Compiled } from "../../ir/pipeline.ts";
import { letEventsIn } from "../stages/stopping.ts";
import { memoryOf } from "./budget.ts";

/** What is known of a compilation: two entries that come to the same one share it. */
export class Known {
  private first: Compiled | undefined;
  readonly peaks: Peaks;
  constructor(
    readonly compilation: Compilation,
    target: TargetOptions,
    shared: SharedKernels,
  ) {
    this.peaks = new Peaks(compilation, () => this.usual, target, shared);
  }
  /** Without a budget. */
  get usual(): Compiled {
    this.first ??= this.compilation.finish();
    return this.first;
  }
}

/** An entry on its way to a program. It is compiled when somebody asks. */
export class Fitting {
  private made: Known | undefined;
  constructor(
    readonly name: string,
    /** Whether it has a backward half, so that there is something to recompute. */
    readonly differentiated: boolean,
    private readonly make: () => Known,
  ) {}
  get known(): Known {
    this.made ??= this.make();
    return this.made;
  }
  /** Without a budget. */
  get usual(): Compiled & { readonly name: string } {
    return { name: this.name, ...this.known.usual };
  }
  get peaks(): Peaks {
    return this.known.peaks;
  }
}

export interface Fitted {
  readonly lowered: readonly (Compiled & { readonly name: string })[];
  /** Planned, without a module. */
  readonly planned: CompiledProgram;
}

/** Each entry with the step whose peak is least. */
function leastOf(entries: readonly Fitting[]): Fitted["lowered"] {
  return entries.map(({ name, usual, peaks }) => {
    if (!usual.recompute) return usual;
    const [first, ...others] = feasible(usual.recompute);
    const step = others.reduce((best, other) => (peaks.bytes(other) < peaks.bytes(best) ? other : best), first);
    return step === usual.recompute.step ? usual : { name, ...peaks.compiled(step) };
  });
}

/** What does not fit. */
export class Unmet {
  private known: Promise<number> | undefined;
  constructor(
    /** The plan without a budget, of what was compiled. */
    readonly usual: Fitted,
    private readonly least: () => Promise<Fitted>,
  ) {}

  /** The smallest budget that could be met. */
  smallest(): Promise<number> {
    this.known ??= this.least().then(({ planned }) => memoryOf(planned.program).total);
    return this.known;
  }
}

/**
 * Seconds that a kernel takes beside the arithmetic that the cost model counts: it is handed out to threads, which wait for each other, and its operands are
 * packed. Measured as in docs/memory.md, from the quickstart in parts of its batch.
 */
const KERNEL = 12e-6;
const kernelsOf = ({ program }: CompiledProgram, name: string): number => program.entries.find((e) => e.name === name)?.steps.length ?? 0;

/** Seconds of each entry with a backward half, with what is repeated. */
export const secondsOf = ({ lowered, planned }: Fitted): ReadonlyMap<string, number> =>
  new Map(
    lowered.flatMap(({ name, recompute }): [string, number][] =>
      recompute ? [[name, recompute.seconds * (1 + recompute.added) + KERNEL * kernelsOf(planned, name)]] : [],
    ),
  );
/** Of all of them. */
export const workOf = (made: Fitted): number => [...secondsOf(made).values()].reduce((sum, seconds) => sum + seconds, 0);
/** Work repeated from which on other slices are looked at. */
const DEAR = 0.1;

/** Whether finer slices may do with less work, or at all. */
export function mayImprove(made: Fitted | Unmet): boolean {
  if (made instanceof Unmet) return true;
  const sum = (of: (r: NonNullable<Compiled["recompute"]>) => number): number =>
    made.lowered.reduce((all, { recompute }) => all + (recompute ? of(recompute) : 0), 0);
  return sum((r) => r.seconds * r.added) > DEAR * sum((r) => r.seconds);
}

/** Graphs of so many steps of a scale are held. */
const RECENT = 2;

interface Peak {
  readonly bytes: number;
  /** The share of the work that is repeated. */
  readonly added: number;
  /** Kernels that run. */
  readonly kernels: number;
}

/** Peaks of one entry by the step of its scale. Graphs that were looked at once may go: they are many, and large beside a small budget. */
export class Peaks {
  private readonly known = new Map<number, Peak & { readonly compiled: WeakRef<Compiled> }>();
  /** The last ones that were looked at: where a search ends, one of them is what it was for. */
  private recent: readonly Compiled[] = [];
  constructor(
    private readonly compilation: Compilation,
    private readonly usual: () => Compiled,
    private readonly target: TargetOptions,
    private readonly shared: SharedKernels,
  ) {}
  at(step: number): Peak {
    let peak = this.known.get(step);
    if (!peak) {
      const usual = this.usual();
      const compiled = step === usual.recompute?.step ? usual : this.compilation.finish(step);
      this.recent = [...this.recent, compiled].slice(-RECENT);
      const { bytes, kernels } = outlook(compiled.graph, this.target, this.shared);
      peak = { bytes, kernels, added: compiled.recompute?.added ?? 0, compiled: new WeakRef(compiled) };
      this.known.set(step, peak);
    }
    return peak;
  }
  bytes(step: number): number {
    return this.at(step).bytes;
  }
  /** Without a budget. */
  get usualBytes(): number {
    const { graph, recompute } = this.usual();
    return recompute ? this.bytes(recompute.step) : outlook(graph, this.target, this.shared).bytes;
  }
  compiled(step: number): Compiled {
    return this.known.get(step)?.compiled.deref() ?? this.compilation.finish(step);
  }
}

/** How often the rest of the program may turn out larger, because other kernels take more scratch. */
const TRIES = 3;

/**
 * Entries with as little recomputing as a budget asks for. `stream`: frozen parameters that stay in their files. `doubtful`: it probably does not fit; then what
 * can be recomputed is looked at by itself first, and the rest is not compiled in vain.
 */
export async function fit(
  entries: readonly Fitting[],
  target: TargetOptions,
  memory: number,
  shared: SharedKernels,
  { stream, doubtful = false }: { readonly stream?: ReadonlySet<string> | undefined; readonly doubtful?: boolean } = {},
): Promise<Fitted | Unmet> {
  const unit = backendOf(target).memoryUnit;
  const budget = Math.floor(memory / unit) * unit;
  const plan = (lowered: Fitted["lowered"]) => compileProgram(lowered, target, true, shared, stream);
  const planned = async (some: readonly Fitting[]): Promise<Fitted> => {
    const lowered: Fitted["lowered"][number][] = [];
    for (const entry of some) {
      await letEventsIn();
      lowered.push(entry.usual);
    }
    return { lowered, planned: await plan(lowered) };
  };
  /** What may be left for activations. */
  const roomIn = ({ planned: { program } }: Fitted): number => {
    const { total, arenas, spare } = memoryOf(program);
    return budget - (total - spare - arenas.activations);
  };
  /** What other steps may need less of. */
  const loose = ({ planned: { program } }: Fitted): number => {
    const { arenas, spare } = memoryOf(program);
    return arenas.streamed + arenas.scratch - spare + arenas.constants + arenas.measures;
  };
  const least = async (): Promise<Fitted> => {
    const lowered = leastOf(entries);
    return { lowered, planned: await plan(lowered) };
  };
  /** The smallest budget that is named is one that is met: so the least plan is made before one is refused, unless it is out of reach. */
  const last = async (usual: Fitted, reach: number): Promise<Fitted | Unmet> => {
    const inReach = entries.every((e) => !e.usual.recompute || feasible(e.usual.recompute).some((step) => e.peaks.bytes(step) <= reach));
    const made = inReach ? await least() : undefined;
    return made && memoryOf(made.planned.program).total <= budget ? made : new Unmet(usual, made ? async () => made : least);
  };
  const searched = entries.filter((e) => e.differentiated);
  const none = ({ usual: { recompute }, peaks }: Fitting, room: number): boolean =>
    recompute !== undefined && !roomy(peaks, recompute, room) && !feasible(recompute).some((step) => peaks.bytes(step) <= room);
  if (doubtful && searched.length > 0 && searched.length < entries.length) {
    const alone = await planned(searched);
    const room = roomIn(alone);
    if (searched.some((entry) => none(entry, room + loose(alone)))) return new Unmet(alone, least);
  }
  const first = await planned(entries);
  if (memoryOf(first.planned.program).total <= budget) return first;
  let allowed = roomIn(first);
  for (let attempt = 0; attempt < TRIES; attempt++) {
    let most = 0;
    const lowered: Fitted["lowered"][number][] = [];
    for (const { peaks, usual } of entries) {
      const step = usual.recompute && firstWithin(peaks, usual.recompute, allowed);
      if (usual.recompute && step === undefined) return last(first, roomIn(first) + loose(first));
      if (step !== undefined) most = Math.max(most, peaks.bytes(step));
      lowered.push(step === undefined || step === usual.recompute?.step ? usual : { name: usual.name, ...peaks.compiled(step) });
    }
    const made = { lowered, planned: await plan(lowered) };
    const { total, spare } = memoryOf(made.planned.program);
    if (total <= budget) return made;
    // what lies beside is as large as it turned out: a step that was one too few is not taken again
    allowed = Math.min(allowed - 1, budget - (total - spare - most));
  }
  return last(first, roomIn(first) + loose(first));
}

type Scale = NonNullable<Compiled["recompute"]>;

/** Corners from the usual step on. */
const cornersOf = ({ usual, corners }: Scale): number[] => [usual, ...corners.filter((c) => c > usual)];

/** What is kept at a corner is looked at as next to nothing where it is at most so many times what all recomputing leaves. */
const NEAR = 1.25;

/**
 * Steps of which one has the least peak, or about that: the last of all, the last that keeps all separators, and the first two that keep hardly more. Whether a
 * budget can be met is decided by these alone, so that what one budget allows, a larger one does.
 */
function feasible(scale: Scale): number[] {
  const corners = cornersOf(scale);
  const borders = Math.max(scale.borders, scale.usual);
  const near = corners.findIndex((c) => scale.kept(c) <= NEAR * scale.kept(borders));
  return [...new Set([corners[corners.length - 1], borders, ...corners.slice(near, near + 2)])];
}

/** A budget for so many times what about all recomputing leaves is met without looking at that: how large the least peak is matters to budgets near it. */
const ROOMY = 2;
function roomy(peaks: Peaks, scale: Scale, allowed: number): boolean {
  const beside = peaks.bytes(scale.usual) - scale.kept(scale.usual);
  return ROOMY * (scale.kept(Math.max(scale.borders, scale.usual)) + Math.max(0, beside)) <= allowed;
}

/**
 * A step that fits where the one before does not, as far as is known of that one; `undefined`: none does. Where to look follows from what steps keep: a peak is
 * about that, and something that hardly changes.
 */
function firstWithin(peaks: Peaks, scale: Scale, allowed: number): number | undefined {
  const { usual } = scale;
  const fits = (step: number): boolean => peaks.bytes(step) <= allowed;
  if (fits(usual)) return usual;
  const least = (): number | undefined => feasible(scale).find(fits);
  let below = usual;
  let at = roomy(peaks, scale, allowed) ? Math.max(scale.borders, usual) : least();
  let beside = peaks.bytes(usual) - scale.kept(usual);
  for (let tries = 0; at !== undefined && at - below > 1; tries++) {
    const guess = tries % 3 === 2 ? (below + at) >> 1 : firstOf(below + 1, at - 1, (step) => scale.kept(step) + beside <= allowed);
    beside = peaks.bytes(guess) - scale.kept(guess);
    if (!fits(guess)) below = guess;
    // what is kept at the step before is by itself too much
    else if (scale.kept(guess - 1) + beside > allowed) return guess;
    else at = guess;
  }
  return at === undefined || fits(at) ? at : least();
}

/** The first of `from`..`to` for which `holds`, which then holds for all behind it; the last, if it holds for none. */
function firstOf(from: number, to: number, holds: (i: number) => boolean): number {
  let [low, high] = [from, to];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (holds(middle)) high = middle;
    else low = middle + 1;
  }
  return low;
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
export async function front(slices: readonly (readonly Fitting[])[], target: TargetOptions, shared: SharedKernels): Promise<FrontPoint[]> {
  const points: FrontPoint[] = [];
  let base: number | undefined;
  /** Number of the entry whose peak is largest in the usual plan. */
  let largest: number | undefined;
  for (const some of slices) {
    const usual = some.map((e) => e.usual);
    const { total, arenas, spare } = memoryOf((await compileProgram(usual, target, true, shared)).program);
    const { memoryUnit: unit } = backendOf(target);
    const whole = (activations: number) => Math.ceil((total - spare - arenas.activations + activations) / unit) * unit;
    if (largest === undefined) {
      const bytes = some.map((e) => (e.usual.recompute ? e.peaks.usualBytes : 0));
      largest = bytes.indexOf(Math.max(...bytes));
    }
    const scale = usual[largest]?.recompute;
    if (!scale) return [{ bytes: total, added: 0, seconds: 0 }];
    const { peaks } = some[largest];
    base ??= scale.seconds + KERNEL * peaks.at(scale.usual).kernels;
    const corners = cornersOf(scale);
    const steps = corners.flatMap((c, i) => (i === 0 ? [c] : [Math.round((corners[i - 1] + c) / 2), c]));
    for (const step of new Set(steps)) {
      const peak = peaks.at(step);
      const all = scale.seconds * (1 + peak.added) + KERNEL * peak.kernels;
      points.push({ bytes: whole(peak.bytes), added: all / base - 1, seconds: all });
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
