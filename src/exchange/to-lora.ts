/** Any change of a base's weights as a LoRA: what folds into the weights, or a whole model that was trained, by the truncated singular value decomposition of each difference. */
import type { ModelReport, Project } from "../compiler/project.ts";
import type { OutAdapter } from "../formats/adapters/out.ts";
import { isAdapter, readAdapter } from "../formats/adapters/read.ts";
import { nearest, product, transposed } from "../formats/adapters/truncated.ts";
import { readConfig } from "../formats/config.ts";
import { InputError } from "../ir/errors.ts";
import type { Workspace } from "../node/workspace.ts";
import { outAdapters } from "../train/run/artefacts.ts";
import { type Merge, merge } from "../train/stages/merge.ts";
import { ValueStore } from "../train/values.ts";
import { type Base, baseOf, type OwnPrograms } from "./base.ts";
import { selectorsFor } from "./selectors.ts";

/** The kinds of modules whose weight takes a pair of thin matrices: the method, and its parameters. */
const PAIRS = [
  { role: "Linear", method: "LoRA", down: "lora_A.weight", up: "lora_B.weight" },
  { role: "Conv2d", method: "LoRAConv", down: "lora_A.weight", up: "lora_B.weight" },
  { role: "Embedding", method: "LoRAEmbedding", down: "lora_embedding_A", up: "lora_embedding_B" },
] as const;

interface Approximated {
  readonly path: string;
  /** ‖ΔW − BA‖ / ‖ΔW‖, and ‖ΔW‖ / ‖W‖. */
  readonly error: number;
  readonly change: number;
}

export interface ToLora {
  readonly adapter: OutAdapter;
  readonly places: readonly Approximated[];
  /** Of all together. */
  readonly error: number;
  /** Parameters that are saved whole: they are no weight of a product, a table or a convolution. */
  readonly whole: readonly string[];
}

interface Changed {
  readonly path: string;
  readonly pair: (typeof PAIRS)[number];
  readonly up: Float64Array;
  readonly down: Float64Array;
}

const norm = (x: Float64Array): number => Math.sqrt(x.reduce((sum, v) => sum + v * v, 0));

/** P0672: nothing changed, or not where the base has a weight. P0693, P0694 as in `Base`. */
export function toLora(workspace: Workspace, programs: OwnPrograms, folder: string, given: string | undefined, rank: number): ToLora {
  const { files, sources } = workspace;
  const read = isAdapter(files, folder) ? readAdapter(files, folder, sources.mappings)! : undefined;
  if (read === undefined && readConfig(files, folder) === undefined)
    throw new InputError("P0660", `\`${folder}\` holds neither an adapter nor a model`);
  if (read === undefined && given === undefined)
    throw new InputError("P0694", `\`${folder}\` is a whole model: what it was trained from is not in it`, ["name its base with --base"]);
  const base = programs.base(given ?? baseOf(files, folder, read!.base), read?.taskType);
  const before = programs.sound(`${base.imported}\n${base.made}\n`);
  const after = changedModel(programs, base, folder, read !== undefined);
  const values = (project: Project) => new ValueStore(project, programs.sources("").open);
  const [old, now] = [values(before), values(after)];
  for (const action of after.actions) {
    if (action.kind === "copy") for (const { from, to } of action.params) now.copy(from, to);
    if (action.kind === "merge") merge(action as Merge, now);
  }
  const report = before.models[0];
  const target = after.models.at(-1)!;
  const theirs = new Map(target.params.map((name) => [after.params.get(name)!.path, name]));
  const turned = turnedWeights(programs, base, report);
  const changed: Changed[] = [];
  const places: Approximated[] = [];
  const whole = new Map<string, Float32Array>();
  let [missed, all] = [0, 0];
  for (const name of report.params) {
    const { path, shape } = before.params.get(name)!;
    const other = theirs.get(path);
    if (other === undefined || now.shape(other).join() !== shape.join())
      throw new InputError("P0672", `\`${folder}\` and its base differ in more than values: \`${path}\``, ["a LoRA changes no shapes"]);
    const [w, v] = [old.param(name), now.param(other)];
    if (w.every((x, i) => x === v[i])) continue;
    const pair = pairOf(report, path);
    const own = Object.values(report.ties).includes(path);
    if (pair === undefined || own || base.fresh.includes(path.split(".")[0])) {
      whole.set(path, v);
      continue;
    }
    const delta = Float64Array.from(v, (x, i) => x - w[i]);
    const flat = [shape[0], shape.slice(1).reduce((a, b) => a * b, 1)];
    // as the product has it: [out, in]; a table is the product of its turned one
    const turn = turned.has(path) || pair.role === "Embedding";
    const [rows, columns] = turn ? flat.reverse() : flat;
    const x = turn ? transposed(delta, columns, rows) : delta;
    const thin = nearest(x, rows, columns, rank);
    const near = product(thin.up, thin.down, rows, thin.rank, columns);
    const left = norm(x.map((d, i) => d - near[i]));
    const size = norm(x);
    places.push({ path, error: left / size, change: size / norm(Float64Array.from(w)) });
    [missed, all] = [missed + left ** 2, all + size ** 2];
    changed.push({ path, pair, ...padded(thin, rows, columns, rank) });
  }
  if (changed.length === 0)
    throw new InputError("P0672", `\`${folder}\` changes no weight of a product, a table or a convolution of its base`);
  const adapter = written(workspace, programs, base, changed, whole, rank);
  const named = { ...adapter, base: { ...adapter.base, name: read?.base ?? adapter.base.name } };
  return { adapter: named, places, error: Math.sqrt(missed / all), whole: [...whole.keys()] };
}

/** The base with what the folder does to it in its weights, as the last model of a program. */
function changedModel(programs: OwnPrograms, base: Base, folder: string, adapter: boolean): Project {
  const where = JSON.stringify(programs.relative(folder));
  return programs.sound(
    adapter
      ? `${base.imported}\n${base.made}\nattach adapter = load(${where}) to ${base.name}\nmodel changed_weights = merge(${base.name})\n`
      : `${base.imported}\nmodel changed_weights = ${base.chosen.name} from ${where}\n`,
  );
}

const moduleOf = (path: string): string => path.replace(/\.weight$/, "");

function pairOf(report: ModelReport, path: string): (typeof PAIRS)[number] | undefined {
  if (!path.endsWith(".weight")) return undefined;
  const kinds = report.modules[moduleOf(path)] ?? [];
  return PAIRS.find(({ role }) => kinds.includes(role));
}

/** The attachments of a program that puts pairs at these places. */
function attaching(
  base: Base,
  report: ModelReport,
  at: readonly { readonly path: string; readonly method: string }[],
  rank: number,
): string {
  const methods = [...new Set(at.map(({ method }) => method))];
  const all = Object.keys(report.modules).filter((path) => path !== "");
  const lines = methods.map((method) => {
    const paths = at.filter((one) => one.method === method).map(({ path }) => path);
    const to = selectorsFor(base.name, paths, all).join(", ");
    return `attach ${method.toLowerCase()} = ${method}(rank: ${rank}, alpha: ${rank}) to [${to}] expect ${paths.length}\n`;
  });
  return `${base.imported}\nimport { ${methods.join(", ")} } from "std/methods/lora"\n${base.made}\n${lines.join("")}`;
}

/** Paths of weights that are stored as [in, out]. */
function turnedWeights(programs: OwnPrograms, base: Base, report: ModelReport): Set<string> {
  const linear = Object.entries(report.modules).flatMap(([path, kinds]) =>
    kinds.includes("Linear") && report.shapes[`${path}.weight`] !== undefined ? [{ path, method: "LoRA" }] : [],
  );
  if (linear.length === 0) return new Set();
  const { attachments } = programs.sound(attaching(base, report, linear, 1));
  return new Set(attachments.flatMap((a) => a.sites.flatMap((s) => (s.turned ? [`${s.path}.weight`] : []))));
}

/** With columns and rows of zeros up to the rank, which all places share. */
function padded(
  { up, down, rank }: ReturnType<typeof nearest>,
  rows: number,
  columns: number,
  wanted: number,
): { up: Float64Array; down: Float64Array } {
  if (rank === wanted) return { up, down };
  const wide = new Float64Array(rows * wanted);
  for (let i = 0; i < rows; i++) for (let j = 0; j < rank; j++) wide[i * wanted + j] = up[i * rank + j];
  const long = new Float64Array(wanted * columns);
  long.set(down);
  return { up: wide, down: long };
}

function written(
  workspace: Workspace,
  programs: OwnPrograms,
  base: Base,
  changed: readonly Changed[],
  whole: ReadonlyMap<string, Float32Array>,
  rank: number,
): OutAdapter {
  const { files, sources } = workspace;
  const text = attaching(
    base,
    base.report,
    changed.map(({ path, pair }) => ({ path: moduleOf(path), method: pair.method })),
    rank,
  );
  const project = programs.sound(text);
  const values = new Map<string, ArrayLike<number>>();
  for (const { sites } of project.attachments)
    for (const { path, params } of sites) {
      const { pair, up, down } = changed.find((one) => moduleOf(one.path) === path)!;
      values.set(params[pair.down], Float32Array.from(down));
      values.set(params[pair.up], Float32Array.from(up));
    }
  const unchanged = new ValueStore(project, programs.sources("").open);
  const heads = [...project.params.values()].filter(({ owner, path }) => owner.kind === "model" && whole.has(path));
  for (const { name, path } of heads) values.set(name, whole.get(path)!);
  const parts = { attachments: project.attachments.map(({ name }) => name), heads: heads.map(({ name }) => name) };
  const [{ adapter }] = outAdapters(
    project,
    files,
    sources.mappings,
    parts,
    (name) => (values.get(name) ?? unchanged.param(name)) as Float32Array,
  );
  return adapter;
}
