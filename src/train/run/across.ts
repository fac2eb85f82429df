/**
 * What a program takes on each of several processes of PyTorch, and what they send each other in an update: read off the printed program, before
 * anything runs. Bytes sent are those of ring collectives, a process's own: (n − 1)/n of what is gathered or scattered, twice that of what is summed.
 */

import type { TorchEntry } from "../../backends/torch/graphs.ts";
import { keptOf, liveOf } from "../../backends/torch/live.ts";
import type { TorchProgram } from "../../backends/torch/program.ts";
import { bind } from "../../ir/bind.ts";
import { Limit } from "../../ir/errors.ts";
import { order } from "../../ir/graph.ts";
import { roll } from "../../ir/loops/roll.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { elements } from "../values.ts";

interface AcrossOptions {
  readonly processes: number;
  readonly shard: "ddp" | "fsdp";
  /** Batches of an update. */
  readonly parts: number;
  /** Rows of a batch, where it is not those the entries were laid out for. */
  readonly rows?: number;
  /** Bodies of loops are recomputed for the backward half. */
  readonly recompute: boolean;
}

/** Bytes. */
export interface Across {
  readonly memory: {
    readonly parameters: number;
    /** Of trained parameters; with `ddp` the buckets that are summed as well. */
    readonly gradients: number;
    readonly states: number;
    /** `fsdp`: parameters of the layer at work and of the one that comes next, whole, and those outside of layers. */
    readonly gathered: number;
    /** Values that a backward half may ask for, at most: all that a forward half makes, where nothing is recomputed. Or what an update makes. */
    readonly activations: number;
    readonly total: number;
  };
  /** What collectives are given in one update, by what it is; and of that what a process sends. */
  readonly collectives: { readonly gathered: number; readonly scattered: number; readonly summed: number };
  readonly sent: number;
}

function acrossOf(printed: TorchProgram, entries: readonly TorchEntry[], options: AcrossOptions): Across {
  const { processes: n, shard, parts } = options;
  const sharded = shard === "fsdp" && n > 1;
  const bytes = (shape: readonly number[]) => 4 * elements(shape);
  // the leading axis is cut in equal pieces, the last of which may be short: the first process has the most
  const mine = (shape: readonly number[]) => (sharded ? bytes([Math.ceil(shape[0] / n), ...shape.slice(1)]) : bytes(shape));
  const step = printed.entries.filter((e) => !e.name.startsWith("evaluate"));
  const update = step.find((e) => e.kind === "update");
  const parted = new Set(sharded ? update?.parted : []);
  const gradientsOf = new Map(step.flatMap((e) => Object.entries(e.backward ?? {})));
  // a function that updates parameters itself asks for gradients as values
  const trained = new Set(gradientsOf.size > 0 ? gradientsOf.values() : printed.differentiated);

  let parameters = 0;
  let gradients = 0;
  const perModule = new Map<string, number>();
  let trainedBytes = 0;
  for (const [name, { shape, module }] of printed.params) {
    parameters += mine(shape);
    const block = printed.blocks.find((path) => module!.startsWith(`${path}.`)) ?? "";
    perModule.set(block, (perModule.get(block) ?? 0) + mine(shape) * (sharded ? n : 1));
    if (!trained.has(name)) continue;
    trainedBytes += sharded ? mine(shape) * n : bytes(shape);
    gradients += mine(shape) * (!sharded && n > 1 ? 2 : 1);
  }
  let states = 0;
  let whole = 0;
  for (const [name, { shape }] of printed.states) {
    if (gradientsOf.has(name)) continue;
    states += parted.has(`state:${name}`) ? mine(shape) : bytes(shape);
  }
  for (const { shape } of printed.tables?.made.values() ?? []) states += bytes(shape);
  // what an update reads whole is put together for it
  for (const key of (sharded && update?.reads) || []) {
    const [kind, name] = [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1)];
    const param = kind === "param" ? name : gradientsOf.get(name);
    if (param !== undefined && !parted.has(key)) whole += bytes(printed.params.get(param)!.shape);
  }
  const outside = perModule.get("") ?? 0;
  const inside = [...perModule].filter(([path]) => path !== "").map(([, size]) => size);
  const gathered = sharded ? outside + 2 * Math.max(0, ...inside) : 0;
  const { parted: inParts, whole: entire } = update?.temporary ?? { parted: 0, whole: 0 };
  const temporary = (sharded ? Math.ceil(inParts / n) : inParts) + entire;
  const updates = new Set(printed.entries.flatMap((e) => (e.temporary === undefined ? [] : [e.name])));
  const others = entries.filter((e) => !updates.has(e.name));
  const activations = Math.max(temporary, activationsOf(others, gradientsOf, options));

  const blocks = inside.reduce((sum, size) => sum + size, 0);
  const counted = sums(printed, gradientsOf);
  const ring = (n - 1) / n;
  const collectives =
    n === 1
      ? { gathered: 0, scattered: 0, summed: 0 }
      : sharded
        ? // forward: all; backward: layers once more, what lies outside of them stays
          {
            gathered: parts * (outside + 2 * blocks),
            scattered: parts * trainedBytes,
            summed: parts * counted + whole + 4 * (update?.totals ?? 0),
          }
        : { gathered: 0, scattered: 0, summed: trainedBytes + parts * counted };
  const sent = ring * (collectives.gathered + collectives.scattered + 2 * collectives.summed);
  return {
    memory: { parameters, gradients, states, gathered, activations, total: parameters + gradients + states + gathered + activations },
    collectives,
    sent,
  };
}

/** The same with a budget: layers are recomputed where it asks for that. `smallest`: what it would take at least, where that is not enough. */
export function fitAcross(
  printed: TorchProgram,
  entries: readonly TorchEntry[],
  options: AcrossOptions,
  budget = Number.POSITIVE_INFINITY,
): { readonly across: Across; readonly recompute: boolean; readonly smallest?: number } {
  const usual = acrossOf(printed, entries, options);
  if (usual.memory.total <= budget) return { across: usual, recompute: options.recompute };
  const least = acrossOf(printed, entries, { ...options, recompute: true });
  if (least.memory.total <= budget) return { across: least, recompute: true };
  return { across: usual, recompute: options.recompute, smallest: least.memory.total };
}

/** How PyTorch takes an update: in parts where there are several processes, and wherever it can be, since gradients are then those that it holds itself. */
export const splitsOf = (processes: number): "always" | "if additive" => (processes > 1 ? "always" : "if additive");

/** Throws `Limit` where a stage asks for loops that run backwards. */
export function requireForward(reverse: "exact" | number = 0): void {
  if (reverse === 0) return;
  const asked = `reverse = ${JSON.stringify(reverse)}`;
  throw new Limit(
    `\`${asked}\` runs loops backwards, which PyTorch does not; without it \`--recompute\` keeps of a layer only what goes in`,
  );
}

/** Bytes of the sums that parts of a batch add to: numbers of labels, losses. */
function sums(printed: TorchProgram, gradientsOf: ReadonlyMap<string, string>): number {
  let out = 0;
  for (const entry of printed.entries) {
    if (!entry.additive || entry.name.startsWith("evaluate") || /_rows$/.test(entry.name)) continue;
    for (const name of entry.adds) if (!gradientsOf.has(name)) out += 4 * elements(printed.states.get(name)!.shape);
  }
  return out;
}

/** Bytes of the entry that takes most. Gradients that PyTorch adds up by itself are no values of it. */
function activationsOf(
  entries: readonly TorchEntry[],
  gradientsOf: ReadonlyMap<string, string>,
  { rows, processes, recompute }: AcrossOptions,
): number {
  return Math.max(
    0,
    ...entries.map((entry) => {
      const sizes = new Map(entry.sizes);
      if (entry.batch !== undefined) sizes.set(entry.batch, Math.ceil((rows ?? sizes.get(entry.batch)!) / processes));
      const { results } = roll(bind(entry.graph, sizes));
      const asked = order(results.map((r) => r.node)).filter((n) => rowOf(n).role === "placeholder");
      const own = results.filter((r) => r.role !== "state" || !gradientsOf.has(r.name)).map((r) => r.node);
      return asked.length > 0 ? keptOf([...new Set([...own, ...asked.map((n) => n.inputs[0])])], recompute) : liveOf(own);
    }),
  );
}
