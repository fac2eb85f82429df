/** An engine over a device: graphs go through the pipeline and become a program, the device opens it. */
import { type CompiledProgram, compileProgram, type TargetOptions } from "../backends/compile.ts";
import { UPDATE_ROWS } from "../ir/accumulate.ts";
import { Builder } from "../ir/build.ts";
import { graphCost } from "../ir/flops.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { FINER } from "../ir/passes/chunk.ts";
import { Compilation, type CompileOptions } from "../ir/pipeline.ts";
import type { Program, Session } from "../runtime/program.ts";
import { memoryOf } from "./budget.ts";
import type { BuildOptions, Built, Engine, EntryPoint } from "./engine.ts";
import { better, type Fitted, type Fitting, fit, front, mayImprove } from "./fit.ts";

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
  open(compiled: Pick<CompiledProgram, "program" | "module">): Promise<Session>;
}

export type Hooks = Pick<CompileOptions, "print" | "onPrint" | "stopAfter" | "without">;

export function backendEngine(driver: Driver, hooks: Hooks = {}): Engine {
  const { target, device, reason, memory, depth, rounding } = driver;
  return {
    device,
    reason,
    memory,
    depth,
    ...(rounding !== undefined && { rounding }),
    offloads: target.target === "wasm",
    build: (entries, options) => build(entries, options, target, hooks),
    front: (entries, options) =>
      front(
        [undefined, ...FINER].map((slice) => fittings(entries, options, hooks, slice)),
        target,
      ),
    open: ({ program, module }) => driver.open(module === undefined ? { program } : { program, module }),
  };
}

/** Compiles entry points that share parameters and states. Throws `Limit` where the target cannot hold them. */
async function build(entries: readonly EntryPoint[], options: BuildOptions, target: TargetOptions, hooks: Hooks): Promise<Built> {
  const tried = async (slice?: number, stream?: ReadonlySet<string>) => {
    const fitted = await fit(fittings(entries, options, hooks, slice), target, options.memory ?? Number.POSITIVE_INFINITY, stream);
    return { ...fitted, stream };
  };
  const { offload, stored } = options;
  const files = target.target === "wasm" && stored !== undefined && stored.size > 0 ? stored : undefined;
  // reading weights again in each step takes longer: only where nothing else fits
  const streams = [
    ...(offload === true && files !== undefined ? [] : [undefined]),
    ...(offload === false || files === undefined ? [] : [files]),
  ];
  let first: Awaited<ReturnType<typeof tried>> | undefined;
  let chosen: Awaited<ReturnType<typeof tried>> | undefined;
  for (const stream of streams) {
    let best = await tried(undefined, stream);
    first ??= best;
    // where weights alone are too much, only the smallest budget is asked for
    for (const [i, slice] of FINER.entries())
      if (i === FINER.length - 1 ? best.smallest !== undefined : mayImprove(best) && !tooHeavy(best, options))
        best = better(best, await tried(slice, stream));
    chosen = chosen === undefined ? best : better(chosen, best);
    if (chosen?.smallest === undefined) break;
  }
  const { lowered, smallest, stream } = chosen!;
  // where nothing fits, the plan is the usual one
  const { planned } = smallest === undefined ? chosen! : first!;
  const program = options.planOnly || smallest !== undefined ? planned : await compileProgram(lowered, target, false, undefined, stream);
  return {
    ...program,
    ...(smallest === undefined ? {} : { smallest }),
    notes: [...lowered.flatMap(({ name, notes }) => notes.map(({ text }) => `${name}: ${text}`)), ...broughtIn(program.program)],
    rounded: lowered.flatMap(({ rounded }) => rounded),
    recomputed: Object.fromEntries(
      lowered.flatMap(({ name, recompute }, i) =>
        recompute ? [[name, (recompute.seconds * (1 + recompute.added)) / first!.lowered[i].recompute!.seconds - 1]] : [],
      ),
    ),
    seconds: Object.fromEntries(
      lowered.flatMap(({ name, recompute }) => (recompute ? [[name, recompute.seconds * (1 + recompute.added)]] : [])),
    ),
    flops: Object.fromEntries(lowered.map(({ name, graph }) => [name, operations(graph)])),
  };
}

/** Whether what lasts from step to step takes more than the budget. */
function tooHeavy({ planned }: Fitted, { memory }: Pick<BuildOptions, "memory">): boolean {
  const { frozen, trained, states } = memoryOf(planned.program).arenas;
  return frozen + trained + states > (memory ?? Number.POSITIVE_INFINITY);
}

const fittings = (entries: readonly EntryPoint[], options: BuildOptions, hooks: Hooks, slice?: number): Fitting[] =>
  entries.map((entry) => ({ name: entry.name, compilation: compilationOf(entry, options, hooks, slice) }));

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
export function compilationOf(
  { graph, sizes, growing }: EntryPoint,
  options: Partial<BuildOptions>,
  hooks: Hooks,
  slice?: number,
): Compilation {
  return new Compilation(graph, {
    ...hooks,
    sizes,
    values: valuesOf(growing),
    options: {
      trained: options.trained,
      slice,
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
