/** Programs over small models, computed by the interpreter in f64. */
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { compile } from "../../src/compiler/compile.ts";
import type { Host, PredictStage, Project } from "../../src/compiler/project.ts";
import { normaliseConfig } from "../../src/formats/config.ts";
import type { JsonRecord } from "../../src/formats/files.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { ValueStore } from "../../src/train/values.ts";

const ROOT = path.resolve(import.meta.dirname, "../../specs");

/** The program `text`; folders of models are those of `configs`, with every weight there, as a file would have it. */
export function project(text: string, configs: Readonly<Record<string, JsonRecord>> = {}): Project {
  const host: Host = {
    readSource: (file) => {
      if (file === "main.peft") return text;
      const at = path.join(ROOT, file);
      return file.startsWith("std/") && statSync(at, { throwIfNoEntry: false }) ? readFileSync(at, "utf8") : undefined;
    },
    readConfig: (folder) => (configs[folder] ? normaliseConfig(configs[folder], folder) : undefined),
    readTensors: (folder) => (configs[folder] ? new Map() : undefined),
    matchTensors: (params) => ({ found: new Map(params.map((p) => [p.path, p.path])), missing: [], wrongShape: [], leftOver: [] }),
    readTokenizer: () => undefined,
    readAdapter: () => undefined,
  };
  return compile("main.peft", host);
}

export const problems = (p: Project): string[] =>
  p.problems.map(({ code, message, label }) => [`${code} ${message}`, label ?? ""].join(" ").trim());

export interface Inputs {
  readonly [name: string]: { readonly dtype: "f32" | "i32" | "bool"; readonly shape: readonly number[]; readonly data: readonly number[] };
}
export const ints = (shape: readonly number[], data: readonly number[]) => ({ dtype: "i32", shape, data }) as const;
export const floats = (shape: readonly number[], data: readonly number[]) => ({ dtype: "f32", shape, data }) as const;
export const bools = (shape: readonly number[], data: readonly number[]) => ({ dtype: "bool", shape, data }) as const;

/** A number for every element of every parameter, the same in each run: of the parameter's path alone. */
export function someValue(name: string, i: number): number {
  let h = 2166136261;
  for (const ch of `${name}#${i}`) h = Math.imul(h ^ ch.charCodeAt(0), 16777619);
  h = Math.imul(h ^ (h >>> 15), 2246822507);
  return ((h >>> 0) / 2 ** 32 - 0.5) * 0.6;
}

/** Graphs with their sizes bound, made once. */
const known = new WeakMap<Graph, Map<string, ReturnType<typeof compileGraph>>>();
function bound(graph: Graph, sizes: Readonly<Record<string, number>>): ReturnType<typeof compileGraph> {
  const all = known.get(graph) ?? new Map();
  known.set(graph, all);
  const key = JSON.stringify(sizes);
  if (!all.has(key)) all.set(key, compileGraph(graph, { sizes: new Map(Object.entries(sizes)) }));
  return all.get(key)!;
}

/**
 * What the program's last `predict` gives: columns by name. All parameters have their `values`; without these, those that a file holds are `someValue`, others their starts.
 * `sizes`: each symbol of the columns.
 */
export function predicted(
  p: Project,
  inputs: Inputs,
  sizes: Readonly<Record<string, number>>,
  values?: (path: string, i: number) => number,
): Record<string, Tensor> {
  if (p.problems.some((x) => x.severity === "error")) throw new Error(problems(p).join("\n"));
  const stage = p.actions.flatMap((a): PredictStage[] => (a.kind === "stage" && a.stage.verb === "predict" ? [a.stage] : [])).at(-1)!;
  const { graph } = bound(stage.entry.graph, sizes);
  const store = new ValueStore(p, () => undefined);
  const params = {
    get(name: string) {
      const { shape, path: at, source } = p.params.get(name)!;
      const n = shape.reduce((a, b) => a * b, 1);
      if (values === undefined && source.kind === "start") return tensor("f32", shape, Float64Array.from(store.param(name)));
      const data = Array.from({ length: n }, (_, i) => (values ?? someValue)(at, i));
      return tensor("f32", shape, Float64Array.from(data));
    },
  };
  const given = new Map(Object.entries(inputs).map(([name, { dtype, shape, data }]) => [name, tensor(dtype, shape, data)]));
  given.set("step", tensor("i32", [], [0])).set("steps", tensor("i32", [], [1]));
  const out = interpret(graph, { params, states: new Map(), inputs: given });
  return Object.fromEntries([...out].map(([key, value]) => [key.slice(key.indexOf(":") + 1), value]));
}

/** Names and shapes of a model's parameters. */
export const parameters = (p: Project, model = "m"): Record<string, readonly number[]> =>
  Object.fromEntries(
    [...p.params.values()].filter(({ owner }) => owner.kind === "model" && owner.name === model).map(({ path: at, shape }) => [at, shape]),
  );
