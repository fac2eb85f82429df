/** An engine over a device: graphs go through the pipeline and become a program, the device opens it. */
import type { TargetOptions } from "../../backends/backend.ts";
import { type CompiledProgram, compileProgram } from "../../backends/compile.ts";
import { backendOf } from "../../backends/index.ts";
import { SharedKernels } from "../../backends/kernels/shared.ts";
import { passes, tell } from "../../backends/lowering.ts";
import type { Program, Session } from "../../ground/program.ts";
import { UPDATE_ROWS } from "../../ir/accumulate.ts";
import { Builder } from "../../ir/build.ts";
import { graphCost } from "../../ir/flops.ts";
import type { Graph, Node } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { FINER } from "../../ir/passes/chunk.ts";
import { hooksFor, requirePass } from "../../ir/passes/pass.ts";
import { Compilation, type CompileOptions, early, pipeline } from "../../ir/pipeline.ts";
import { allNodes } from "../../ir/rewrite.ts";
import { memoryOf } from "./budget.ts";
import type { BuildOptions, Built, Engine, EntryPoint } from "./engine.ts";
import { type Fitted, Fitting, fit, front, Known, mayImprove, secondsOf, Unmet, workOf } from "./fit.ts";

/** What a device gives: how to compile for it, and how to run what was compiled. */
export interface Driver {
  readonly target: TargetOptions;
  /** In words, and why it was chosen. */
  readonly device: string;
  readonly reason: string;
  /** Bytes that programs may take where nobody says. */
  readonly memory: number;
  /** Runs that may be under way at once. */
  readonly depth: number;
  /** See `Engine`. */
  readonly rounding?: string | undefined;
  open(compiled: Pick<CompiledProgram, "program" | "module" | "files">): Promise<Session>;
}

export type Hooks = Pick<CompileOptions, "print" | "onPrint" | "stopAfter" | "without">;

export function backendEngine(driver: Driver, hooks: Hooks = {}): Engine {
  requirePass(passes, hooks);
  const { target, device, reason, memory, depth, rounding } = driver;
  return {
    device,
    reason,
    memory,
    depth,
    ...(rounding !== undefined && { rounding }),
    offloads: backendOf(target).streams,
    build: (entries, options) => build(entries, options, target, hooks),
    front: (entries, options) => {
      const slices = new Slices(entries, options, target, hooks);
      return front(
        [undefined, ...FINER].map((slice) => slices.of(slice)),
        target,
        slices.shared,
      );
    },
    open: ({ program, module, files }) => driver.open({ program, ...(module && { module }), ...(files && { files }) }),
  };
}

/** Entries as they are compiled for slices of each size. What does not depend on that is computed once. */
class Slices {
  /** Kernels of all plans that are made to meet a budget. */
  readonly shared: SharedKernels;
  private readonly whole: readonly Fitting[];
  private readonly others = new Map<number, readonly Fitting[]>();
  constructor(
    entries: readonly EntryPoint[],
    options: BuildOptions,
    private readonly target: TargetOptions,
    hooks: Hooks,
  ) {
    this.shared = new SharedKernels(hooks);
    this.whole = entries.map((entry) => {
      const differentiated = allNodes(entry.graph).some((n) => rowOf(n).role === "placeholder");
      return new Fitting(entry.name, differentiated, () => new Known(compilationOf(entry, options, hooks), target, this.shared));
    });
  }
  /** `undefined`: the usual ones. */
  of(slice: number | undefined): readonly Fitting[] {
    if (slice === undefined) return this.whole;
    const before = [this.whole, ...this.others.values()];
    const made =
      this.others.get(slice) ??
      this.whole.map((usual, i) => {
        const make = () => {
          const finer = usual.known.compilation.inSlices(slice);
          const same = before.map((all) => all[i].known).find((k) => k.compilation.sameSlices(finer));
          return same ?? new Known(finer, this.target, this.shared);
        };
        return new Fitting(usual.name, usual.differentiated, make);
      });
    this.others.set(slice, made);
    return made;
  }
  /** Whether all that was compiled for `made` is the same in these slices. */
  same(slice: number, before: number | undefined, made: Fitted | Unmet): boolean {
    const seen = new Set((made instanceof Unmet ? made.usual : made).lowered.map((l) => l.name));
    return this.of(slice).every((entry, i) => !seen.has(entry.name) || entry.known === this.of(before)[i].known);
  }
}

/** Compiles entry points that share parameters and states. Throws `Limit` where the target cannot hold them. */
async function build(entries: readonly EntryPoint[], options: BuildOptions, target: TargetOptions, hooks: Hooks): Promise<Built> {
  const memory = options.memory ?? Number.POSITIVE_INFINITY;
  const slices = new Slices(entries, options, target, hooks);
  const tried = async (slice?: number, stream?: ReadonlySet<string>) => {
    const doubtful = options.doubtful === true || slice !== undefined;
    return { made: await fit(slices.of(slice), target, memory, slices.shared, { stream, doubtful }), stream };
  };
  const { offload, stored } = options;
  const files = backendOf(target).streams && stored !== undefined && stored.size > 0 ? stored : undefined;
  // reading weights again in each step takes longer: only where nothing else fits
  const streams = [
    ...(offload === true && files !== undefined ? [] : [undefined]),
    ...(offload === false || files === undefined ? [] : [files]),
  ];
  const unmet: Unmet[] = [];
  let first: Fitted | undefined;
  let chosen: { readonly made: Fitted; readonly stream: ReadonlySet<string> | undefined } | undefined;
  for (const stream of streams) {
    const take = ({ made, stream: of }: Awaited<ReturnType<typeof tried>>): void => {
      first ??= made instanceof Unmet ? made.usual : made;
      if (made instanceof Unmet) unmet.push(made);
      else if (chosen === undefined || workOf(made) < workOf(chosen.made)) chosen = { made, stream: of };
    };
    let last = await tried(undefined, stream);
    let before: number | undefined;
    take(last);
    for (const [i, slice] of FINER.entries()) {
      // where weights alone are too much, only the smallest budget is asked for
      const worth = tooHeavy(last.made, memory) ? i === FINER.length - 1 : mayImprove(chosen?.made ?? last.made);
      if (!worth || slices.same(slice, before, last.made)) continue;
      last = await tried(slice, stream);
      before = slice;
      take(last);
    }
    if (chosen !== undefined) break;
  }
  // where nothing fits, the plan is the usual one
  const { made, stream } = chosen ?? { made: first!, stream: undefined };
  const { lowered } = made;
  const program =
    options.planOnly || chosen === undefined ? made.planned : await compileProgram(lowered, target, false, slices.shared, stream);
  const [seconds, usual] = [secondsOf(made), new Map(first!.lowered.map((l) => [l.name, l]))];
  return {
    ...program,
    ...(chosen === undefined ? { smallest: async () => Math.min(...(await Promise.all(unmet.map((u) => u.smallest())))) } : {}),
    notes: [...lowered.flatMap(({ name, notes }) => notes.map(({ text }) => `${name}: ${text}`)), ...broughtIn(program.program)],
    rounded: lowered.flatMap(({ rounded }) => rounded),
    recomputed: Object.fromEntries(
      lowered.flatMap(({ name, recompute }) => {
        const alone = usual.get(name)?.recompute;
        return recompute && alone ? [[name, (recompute.seconds * (1 + recompute.added)) / alone.seconds - 1]] : [];
      }),
    ),
    seconds: Object.fromEntries(seconds),
    flops: Object.fromEntries(lowered.map(({ name, graph }) => [name, operations(graph)])),
  };
}

/** Whether what lasts from step to step takes more than the budget. */
function tooHeavy(made: Fitted | Unmet, memory: number): boolean {
  const { planned } = made instanceof Unmet ? made.usual : made;
  const { frozen, trained, states } = memoryOf(planned.program).arenas;
  return frozen + trained + states > memory;
}

/** What is read again in each run of an entry, in words. */
function broughtIn({ brings = {}, tensors, params }: Program): string[] {
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(1)} MB`;
  return Object.entries(brings).map(([entry, list]) => {
    const held = new Set(list.map((b) => b.param));
    const all = [...held].reduce((sum, name) => sum + tensors[params[name]].bytes, 0);
    const read = list.reduce((sum, b) => sum + tensors[b.tensor].bytes, 0);
    return `${entry}: ${mb(all)} of frozen weights stay in their files: ${mb(read)} are read in each run`;
  });
}

/** An entry point on its way through the passes. */
export function compilationOf({ name, graph, sizes, growing }: EntryPoint, options: Partial<BuildOptions>, hooks: Hooks): Compilation {
  tell(early, [{ name, graph }], hooks);
  return new Compilation(graph, {
    ...hooksFor(pipeline, hooks),
    sizes,
    values: valuesOf(growing),
    options: {
      trained: options.trained,
      reverse: options.reverse || undefined,
      segment: options.segment,
      place: options.place,
      hostInputs: ["step", "steps", UPDATE_ROWS],
    },
  });
}

/** Sizes whose value is an input of that name. */
export function valuesOf(growing: readonly string[] | undefined): Map<string, Node> {
  const b = new Builder({ path: "" });
  return new Map((growing ?? []).map((name) => [name, b.input(name, { dtype: "i32", shape: [] })]));
}

/** Operations of one run: a multiply-add is two. */
function operations(graph: Graph): number {
  const { products, elements } = graphCost(graph).total;
  return 2 * products + elements;
}
