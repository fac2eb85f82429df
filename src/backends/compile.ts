/** From flat graphs to a program: kernels, plan, text, for one target. */

import type { Dispatch, Entry, HostScalar, HostStep, Load, Program } from "../ground/program.ts";
import { type Graph, type Node, order } from "../ir/graph.ts";
import { rowOf } from "../ir/ops/index.ts";
import type { TargetOptions } from "./backend.ts";
import { backendOf } from "./index.ts";
import type { FuseLimits } from "./kernels/fuse.ts";
import { SharedKernels } from "./kernels/shared.ts";
import { singleLeaves } from "./leaves.ts";
import { hoist, hoisting, isDerived, type Loaded, type LoadGraph } from "./load.ts";
import { type Lowered, lower } from "./lower.ts";
import { tell } from "./lowering.ts";
import type { NativeFile } from "./native/files.ts";
import { bytesOf } from "./places.ts";
import { NOTHING_COUNTED, peakBytes, plan } from "./plan.ts";
import { type Sites, sitesOf } from "./sites.ts";
import { countedElements, countZeros } from "./sparse.ts";
import { LEAST, type StreamedPlan, streamed } from "./stream.ts";

export interface EntrySource {
  readonly name: string;
  /** Flat, sizes bound, no placeholders. */
  readonly graph: Graph;
  readonly scalars?: readonly HostScalar[];
}

export interface CompiledProgram {
  readonly program: Program;
  /** What became of low rank beside frozen products, by entry. */
  readonly sites: Readonly<Record<string, Sites>>;
  /** The WebAssembly module. */
  readonly module?: Uint8Array;
  /** The native kernels, in files to be compiled by themselves. */
  readonly files?: readonly NativeFile[];
}

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
  const backend = backendOf(options);
  const limits = backend.limits(options);
  const hoisted = hoist(entries.map((e) => leavesOnce(e.graph)));
  const sources: EntrySource[] = entries.map((e, i) => ({ ...e, graph: hoisted.graphs[i] }));
  sources.unshift(...hoisted.loads.map(({ entry, graph }) => ({ name: entry, graph })));
  tell([hoisting], sources, shared.hooks);
  const printer = backend.printer(options, planOnly, shared);
  const lowered = sources.map(({ name, graph }) => ({ name, ...loweredOnce(graph, limits, shared, name) }));
  const counted = backend.counts
    ? countZeros(lowered, { slots: (kernel) => printer.slots(kernel), operands: limits.operands })
    : { entries: lowered, ...NOTHING_COUNTED };
  const inputs = counted.entries;
  const placing = backend.placing(options);
  const left = stream && backend.streams ? streamable(stream, hoisted, sources) : undefined;
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
          : printer.dispatch(s, tensors).map((d) => (s.part === undefined ? d : { ...d, part: s.part })),
      ),
      inputs: [...e.inputs.keys()].filter((name) => !computed.has(name)),
      outputs: [...e.outputs.keys()],
      scalars,
    };
  });

  const arenas = [...planned.arenas];
  const { wat, module, files } = await printer.finish(arenas);
  const qualified = (pick: "inputs" | "outputs") =>
    Object.fromEntries(planned.entries.flatMap((e) => [...e[pick]].map(([name, t]) => [`${e.name}/${name}`, t])));
  const brings = [...("brings" in planned ? (planned as StreamedPlan).brings : [])];
  const given = new Map(hoisted.halves.map(({ param, as }) => [as, param]));
  const program: Program = {
    format: "peftc-program",
    version: 1,
    target: options.target,
    arithmetic: backend.arithmetic(options),
    arenas,
    tensors,
    kernels: printer.kernels(),
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
  const backend = backendOf(options);
  const { graphs } = hoist([leavesOnce(graph)]);
  const lowered = { name: "", ...loweredOnce(graphs[0], backend.limits(options), shared) };
  const { arenas, entries } = plan([lowered], { ...backend.placing(options), outline: true });
  return { bytes: peakBytes(arenas.filter((a) => a.name === "activations")), kernels: entries[0].kernels };
}
