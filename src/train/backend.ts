/** An engine over a device: graphs go through the pipeline and become a program, the device opens it. */
import { type CompiledProgram, compileProgram, type TargetOptions } from "../backends/compile.ts";
import { UPDATE_ROWS } from "../ir/accumulate.ts";
import { Builder } from "../ir/build.ts";
import { graphCost } from "../ir/flops.ts";
import type { Graph, Node } from "../ir/graph.ts";
import { FINE } from "../ir/passes/chunk.ts";
import { Compilation, type CompileOptions } from "../ir/pipeline.ts";
import type { Session } from "../runtime/program.ts";
import type { BuildOptions, Built, Engine, EntryPoint } from "./engine.ts";
import { fit, front } from "./fit.ts";

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
  open(compiled: CompiledProgram): Promise<Session>;
}

export type Hooks = Pick<CompileOptions, "print" | "onPrint" | "stopAfter" | "without">;

export function backendEngine(driver: Driver, hooks: Hooks = {}): Engine {
  const { target, device, reason, memory, depth } = driver;
  return {
    device,
    reason,
    memory,
    depth,
    build: (entries, options) => build(entries, options, target, hooks),
    front: (entries, options) =>
      front(
        entries.map((entry) => ({ name: entry.name, compilation: compilationOf(entry, options, hooks) })),
        target,
      ),
    open: ({ program, module }) => driver.open(module === undefined ? { program } : { program, module }),
  };
}

/** Compiles entry points that share parameters and states. Throws `Limit` where the target cannot hold them. */
async function build(entries: readonly EntryPoint[], options: BuildOptions, target: TargetOptions, hooks: Hooks): Promise<Built> {
  const tried = (slice?: number) =>
    fit(
      entries.map((entry) => ({ name: entry.name, compilation: compilationOf(entry, options, hooks, slice) })),
      target,
      options.memory ?? Number.POSITIVE_INFINITY,
    );
  const first = await tried();
  // finer slices take longer: only where nothing else fits
  const finer = first.smallest === undefined ? undefined : await tried(FINE);
  const better = finer && (finer.smallest ?? 0) < first.smallest!;
  const { lowered, planned } = better && finer.smallest === undefined ? finer : first;
  const smallest = better ? finer.smallest : first.smallest;
  const program = options.planOnly || smallest !== undefined ? planned : await compileProgram(lowered, target);
  return {
    ...program,
    ...(smallest === undefined ? {} : { smallest }),
    notes: lowered.flatMap(({ name, notes }) => notes.map(({ text }) => `${name}: ${text}`)),
    recomputed: Object.fromEntries(lowered.flatMap(({ name, recompute }) => (recompute ? [[name, recompute.added]] : []))),
    flops: Object.fromEntries(lowered.map(({ name, graph }) => [name, operations(graph)])),
  };
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
