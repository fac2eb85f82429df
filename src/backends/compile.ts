/** From flat graphs to a program: kernels, plan, text, for one target. */

import type { WebGPULimits } from "../ground/limits.ts";
import { SLACK, WASM_BYTES, WASM_PAGE } from "../ground/memory.ts";
import type { Dispatch, Entry, HostScalar, HostStep, Kernel, Load, Placed, Program } from "../ground/program.ts";
import { Bug } from "../ir/errors.ts";
import { type Graph, type Node, order } from "../ir/graph.ts";
import { rowOf } from "../ir/ops/index.ts";
import { headOf } from "./kernels/describe.ts";
import type { FuseLimits } from "./kernels/fuse.ts";
import type { LoopLanguage } from "./kernels/kernel.ts";
import { SharedKernels } from "./kernels/shared.ts";
import { singleLeaves } from "./leaves.ts";
import { hoist, hoisting, isDerived, type Loaded, type LoadGraph } from "./load.ts";
import { type Lowered, lower } from "./lower.ts";
import { tell } from "./lowering.ts";
import type { NativeFile } from "./native/files.ts";
import type { Machine } from "./native/schedule.ts";
import { bytesOf } from "./places.ts";
import { checkSize, NOTHING_COUNTED, peakBytes, plan, sameRange } from "./plan.ts";
import { type Sites, sitesOf } from "./sites.ts";
import { countedElements, countZeros, dense } from "./sparse.ts";
import { LEAST, type StreamedPlan, streamed } from "./stream.ts";
import { MemoryTarget, Names, type Planned, type Target } from "./target.ts";
import { assemble } from "./wasm/assemble.ts";
import { printModule } from "./wasm/print.ts";
import { aligned, COUNT_SLOTS, overlap, pageBytes } from "./webgpu/bindings.ts";
import { launches } from "./webgpu/launch.ts";
import { productSchedule } from "./webgpu/schedule.ts";

export interface EntrySource {
  readonly name: string;
  /** Flat, sizes bound, no placeholders. */
  readonly graph: Graph;
  readonly scalars?: readonly HostScalar[];
}

export type TargetOptions =
  | {
      readonly target: "wasm";
      /** Whether multiply-adds may be fused: "relaxed" needs an engine with relaxed SIMD. */
      readonly arithmetic: "relaxed" | "plain";
      /** Threads that may run it; each has scratch of its own. */
      readonly workers: number;
    }
  | {
      readonly target: "native";
      readonly machine: Machine;
      readonly workers: number;
    }
  | { readonly target: "webgpu"; readonly limits: WebGPULimits };

export interface CompiledProgram {
  readonly program: Program;
  /** What became of low rank beside frozen products, by entry. */
  readonly sites: Readonly<Record<string, Sites>>;
  /** The WebAssembly module. */
  readonly module?: Uint8Array;
  /** The native kernels, in files to be compiled by themselves. */
  readonly files?: readonly NativeFile[];
}

/** Of kernels over one memory. */
const MEMORY_LIMITS: FuseLimits = { leaves: 24, cost: 300, operands: 32, roots: 32 };

/**
 * Compiles entries that share parameters and states by name. What depends on frozen parameters alone may move to entries that
 * sessions run by themselves when parameters have been written (`Program.loads`). Throws `Limit` where the program does not fit the target. `planOnly`: it need not fit,
 * and has no module. `shared`: kernels that were built for other plans. `stream`: frozen parameters that may stay in their files, on WebAssembly. */
export async function compileProgram(
  entries: readonly EntrySource[],
  options: TargetOptions,
  planOnly = false,
  shared = new SharedKernels(),
  stream?: ReadonlySet<string>,
): Promise<CompiledProgram> {
  const limits = options.target === "webgpu" ? webgpuLimits(options.limits) : MEMORY_LIMITS;
  const page = options.target === "webgpu" ? pageBytes(options.limits) : Number.POSITIVE_INFINITY;
  const hoisted = hoist(entries.map((e) => leavesOnce(e.graph)));
  const sources: EntrySource[] = entries.map((e, i) => ({ ...e, graph: hoisted.graphs[i] }));
  sources.unshift(...hoisted.loads.map(({ entry, graph }) => ({ name: entry, graph })));
  tell([hoisting], sources, shared.hooks);
  const target: Target = options.target === "webgpu" ? new WebGPUTarget(options.limits) : new MemoryTarget(options, planOnly, shared);
  const lowered = sources.map(({ name, graph }) => ({ name, ...loweredOnce(graph, limits, shared, name) }));
  const counted =
    options.target === "native"
      ? { entries: lowered, ...NOTHING_COUNTED }
      : countZeros(lowered, { slots: (kernel) => target.slots(kernel), operands: limits.operands });
  const inputs = counted.entries;
  const placing = { alignment: alignmentOf(options), page };
  const left = stream && options.target !== "webgpu" ? streamable(stream, hoisted, sources) : undefined;
  const planned = left ? streamed(plan(inputs, { ...placing, stream: left }, counted), placing) : plan(inputs, placing, counted);

  const tensors = [...planned.tensors];
  const out = planned.entries.map((e, i): Entry => {
    const scalars = sources[i].scalars ?? [];
    const computed = new Set(scalars.map((s) => s.name));
    return {
      name: e.name,
      steps: e.steps.flatMap((s): (Dispatch | HostStep)[] =>
        "host" in s
          ? [{ host: s.host.op, attrs: s.host.attrs, operands: s.operands, results: s.results, label: s.label }]
          : target.dispatch(s, tensors).map((d) => (s.part === undefined ? d : { ...d, part: s.part })),
      ),
      inputs: [...e.inputs.keys()].filter((name) => !computed.has(name)),
      outputs: [...e.outputs.keys()],
      scalars,
    };
  });

  const arenas = [...planned.arenas];
  const { wat, module, files } = await codeOf(target, options, arenas, planOnly);
  const qualified = (pick: "inputs" | "outputs") =>
    Object.fromEntries(planned.entries.flatMap((e) => [...e[pick]].map(([name, t]) => [`${e.name}/${name}`, t])));
  const brings = [...("brings" in planned ? (planned as StreamedPlan).brings : [])];
  const given = new Map(hoisted.halves.map(({ param, as }) => [as, param]));
  const program: Program = {
    format: "peftc-program",
    version: 1,
    target: options.target,
    arithmetic: arithmeticOf(options),
    arenas,
    tensors,
    kernels: target.kernels(),
    entries: out,
    ...(hoisted.loads.length > 0 ? { loads: hoisted.loads.map(({ graph, ...load }) => loadOf(load, planned.params)) } : {}),
    ...(hoisted.halves.length > 0 ? { halves: Object.fromEntries(hoisted.halves.map(({ param, format }) => [param, format])) } : {}),
    ...(brings.length > 0
      ? {
          brings: Object.fromEntries(
            brings.map(([entry, list]) => [entry, list.map((b) => ({ ...b, param: given.get(b.param) ?? b.param }))]),
          ),
        }
      : {}),
    params: Object.fromEntries([
      ...hoisted.halves.map(({ param, as }) => [param, planned.params.get(as)!] as const),
      ...[...planned.params].filter(([name]) => !isDerived(name)),
      ...hoisted.loads.flatMap((l) =>
        l.handed.map((name) => [name, planned.entries.find((e) => e.name === l.entry)!.inputs.get(name)!] as const),
      ),
    ]),
    states: Object.fromEntries(planned.states),
    inputs: qualified("inputs"),
    outputs: qualified("outputs"),
    constants: planned.constants,
    ...(counted.measures.length > 0
      ? {
          measures: counted.measures.map((m, i) => ({
            ...planned.measures[i],
            elements: countedElements(m),
            entry: m.entry,
            label: m.of.origin.path,
          })),
        }
      : {}),
    ...(wat === undefined ? {} : { wat }),
  };
  const trained = new Set(entries.flatMap((e) => e.graph.results.flatMap((r) => (r.role === "param" ? [r.name] : []))));
  return {
    program,
    // nobody asks for those of a plan that does not fit
    get sites() {
      return Object.fromEntries(lowered.map((l) => [l.name, sitesOf(l, trained)]));
    },
    ...(module && { module }),
    ...(files && { files }),
  };
}

/** Of each graph, once: an entry is part of many plans before one fits. */
const leaves = new WeakMap<Graph, Graph>();
function leavesOnce(graph: Graph): Graph {
  const known = leaves.get(graph) ?? singleLeaves(graph);
  leaves.set(graph, known);
  return known;
}
const lowerings = new WeakMap<SharedKernels, WeakMap<Graph, Lowered>>();
function loweredOnce(graph: Graph, limits: FuseLimits, shared: SharedKernels, of = ""): Lowered {
  const made = lowerings.get(shared) ?? new WeakMap<Graph, Lowered>();
  lowerings.set(shared, made);
  const known = made.get(graph) ?? lower(graph, limits, shared, of);
  made.set(graph, known);
  return known;
}

/** Names, in the plan, of those that no entry computes from at loading and that are large. */
function streamable(stream: ReadonlySet<string>, { halves, loads }: Loaded, sources: readonly EntrySource[]): Set<string> {
  const nodesOf = (graph: Graph) => order(graph.results.map((r) => r.node)).filter((n) => rowOf(n).supply === "param");
  const nameOf = (n: Node) => String(n.attrs.name);
  const loading = new Set(loads.flatMap(({ graph, handed }) => [...handed, ...nodesOf(graph).map(nameOf)]));
  const allowed = new Set([
    ...[...stream].filter((name) => !loading.has(name)),
    ...halves.filter((h) => stream.has(h.param)).map((h) => h.as),
  ]);
  return new Set(
    sources.flatMap(({ graph }) =>
      nodesOf(graph)
        .filter((n) => allowed.has(nameOf(n)) && bytesOf(n) >= LEAST)
        .map(nameOf),
    ),
  );
}

function loadOf({ pieces, ...load }: Omit<LoadGraph, "graph">, params: ReadonlyMap<string, number>): Load {
  if (pieces === undefined) return load;
  const { count, whole, rest } = pieces;
  const made = Object.fromEntries(whole.map((name) => [name, params.get(name)!]));
  return { ...load, pieces: { count, made, ...(rest === undefined ? {} : { rest }) } };
}

/** Of one entry, as `compileProgram` plans it: bytes of activations at its peak, and how many kernels it runs. */
export function outlook(
  graph: Graph,
  options: TargetOptions,
  shared = new SharedKernels(),
): { readonly bytes: number; readonly kernels: number } {
  const limits = options.target === "webgpu" ? webgpuLimits(options.limits) : MEMORY_LIMITS;
  const page = options.target === "webgpu" ? pageBytes(options.limits) : Number.POSITIVE_INFINITY;
  const { graphs } = hoist([leavesOnce(graph)]);
  const { arenas, entries } = plan([{ name: "", ...loweredOnce(graphs[0], limits, shared) }], {
    alignment: alignmentOf(options),
    page,
  });
  return { bytes: peakBytes(arenas.filter((a) => a.name === "activations")), kernels: entries[0].steps.length };
}

class WebGPUTarget implements Target {
  private readonly known = new Map<string, { readonly kernel: Kernel; readonly loops: LoopLanguage }>();
  /** By a kernel's name: where it runs. */
  private readonly labels = new Map<string, Set<string>>();
  private readonly names = new Names();
  /** All iterations of a loop have the same kernel objects: where their operands lie alike, so do their texts. */
  private readonly iterations = new WeakMap<LoopLanguage, Map<string, Dispatch>>();
  constructor(private readonly limits: WebGPULimits) {}

  slots(): number {
    return COUNT_SLOTS;
  }

  dispatch({ kernel, operands, label, measure }: Planned, tensors: Program["tensors"][number][]): Dispatch[] {
    if (kernel.kind !== "product" || !kernel.skip) return this.all(kernel, operands, label, tensors);
    const plain = this.all(dense(kernel), operands, label, tensors);
    // a sum that several invocations share runs in another order: it would have other bits
    const schedule = productSchedule(dense(kernel), this.limits);
    if (measure === undefined || plain.length !== 1 || (schedule.kind === "registers" && schedule.slices > 1)) return plain;
    const skipping = this.all(kernel, operands, `${label}, skipping zeros`, tensors);
    const same = skipping.length === 1 && skipping[0].operands.every((o, i) => o === plain[0].operands[i]);
    return same ? [{ ...plain[0], skips: { measure, kernel: skipping[0].kernel, grid: skipping[0].grid } }] : plain;
  }
  private all(kernel: LoopLanguage, operands: readonly number[], label: string, tensors: Program["tensors"][number][]): Dispatch[] {
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
    if (first && !clash) {
      this.labels.get(first.kernel)!.add(label);
      return [{ ...first, operands: ranges.map(numberOf) }];
    }
    const made = launches({ ...kernel, name: label.replace(/[^A-Za-z0-9.]+/g, "_") }, placed, this.limits);
    const out = made.map((l): Dispatch => {
      const key = `${l.kernel.code}\n${JSON.stringify(l.kernel.operands)}`;
      let seen = this.known.get(key);
      if (!seen) {
        const name = this.names.of(label);
        seen = { kernel: { ...l.kernel, name }, loops: kernel };
        this.known.set(key, seen);
        this.labels.set(name, new Set());
      }
      this.labels.get(seen.kernel.name)!.add(label);
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
    return [...this.known.values()].map(({ kernel, loops }) => ({
      ...kernel,
      code: [...headOf(loops, this.labels.get(kernel.name)!).map((text) => `// ${text}`), kernel.code].join("\n"),
    }));
  }
}

/** Adds the workers' scratch to the arenas, and prints the kernels of targets with one memory. */
async function codeOf(
  target: Target,
  options: TargetOptions,
  arenas: Program["arenas"][number][],
  planOnly: boolean,
): Promise<Pick<Program, "wat"> & Pick<CompiledProgram, "module" | "files">> {
  if (!(target instanceof MemoryTarget) || options.target === "webgpu") return {};
  arenas.push({ name: "scratch", workers: options.workers, pages: [target.scratch * options.workers + SLACK] });
  if (planOnly) return {};
  checkSize(arenas, WASM_BYTES, "a WebAssembly memory");
  if (options.target === "native") return { files: target.files() };
  const bytes = arenas.reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);
  const wat = printModule(target.texts(), Math.ceil(bytes / WASM_PAGE), true);
  return { wat, module: await assemble(wat) };
}

function arithmeticOf(options: TargetOptions): string {
  if (options.target === "wasm") return options.arithmetic;
  return options.target === "native" ? `of ${options.machine.lanes} lanes` : "plain";
}

const alignmentOf = (options: TargetOptions): number =>
  options.target === "webgpu" ? options.limits.alignment : options.target === "native" ? 64 : 16;

/** Every operand may need a binding of its own; the printer shares bindings only where it must. */
function webgpuLimits(limits: WebGPULimits): FuseLimits {
  if (limits.bindings < 4) throw new Bug(`no device has only ${limits.bindings} bindings`);
  return { leaves: limits.bindings - 2, cost: 300, operands: limits.bindings, roots: 16 };
}
