/** A model with its adapter in its weights, and what rounding loses of it. */
import type { PredictStage, Project } from "../compiler/project.ts";
import type { Combination } from "../formats/adapters/combine.ts";
import { holdsResult, settle, written } from "../formats/aside.ts";
import { type FloatDType, readConfig } from "../formats/config.ts";
import type { Files } from "../formats/files.ts";
import { InputError } from "../ir/errors.ts";
import { own } from "../ir/own.ts";
import { keyOf } from "../ir/random.ts";
import { wholeModelOf } from "../train/run/held.ts";
import { type Loss, Losses, nearest, stochastic } from "../train/run/rounding.ts";
import type { FileHost } from "../train/run/run.ts";
import { type Merge, merge as mergeModel } from "../train/stages/merge.ts";
import { heldBy } from "../train/stages/nonfinite.ts";
import { probe } from "../train/stages/probe.ts";
import type { ValueStore } from "../train/values.ts";
import { combineCall } from "./combine.ts";

export const DTYPES = { f32: "F32", bf16: "BF16", f16: "F16" } as const satisfies Readonly<Record<string, FloatDType>>;
const OF_TORCH: Readonly<Record<string, FloatDType>> = { float32: "F32", bfloat16: "BF16", float16: "F16" };

export interface MergeOptions {
  /** Folder for the merged model; it appears whole, or not at all. */
  readonly output: string;
  /** Adapters' folders, or runs'; the newest result of the file, unless told. Several are combined. */
  readonly adapters: readonly string[];
  /** How several become one. */
  readonly combination?: Combination | undefined;
  /** Which model of the file; the last one with attachments, unless told. */
  readonly model?: string | undefined;
  /** As the model's folder says, unless told. */
  readonly dtype?: keyof typeof DTYPES | undefined;
  /** To the nearest, unless told; stochastically it keeps small changes on average. */
  readonly rounding?: "nearest" | "stochastic" | undefined;
  /** Of stochastic rounding, and of what is drawn to compare the outputs. */
  readonly seed?: number | undefined;
  /** Write over a model or a result that is there. */
  readonly force?: boolean | undefined;
}

export interface Merged extends Stored {
  readonly dtype: FloatDType;
  /** Of the first output on drawn inputs, before and after. */
  readonly logits: Difference;
}

/** P0825: something is at the output already. */
export function requirePlace(files: Files, { output, force }: Pick<MergeOptions, "output" | "force">): void {
  settle(files, output);
  if (holdsResult(files, output) && !force)
    throw new InputError("P0825", `\`${output}\` holds a model or a result already`, ["--force puts the merged model in its place"]);
}

/**
 * What is put behind the file `project` so that it merges, and the names in it; `undefined`: there is no such model. P0692: the adapter is a whole
 * model.
 */
export function mergingText(
  project: Project,
  files: Files,
  source: string,
  options: MergeOptions,
): { text: string; names: Names } | undefined {
  if (options.combination !== undefined) return combinedOnBase(project, files, source, options);
  const names = chooseModel(project, options.model);
  if (names === undefined) return undefined;
  const [adapter] = options.adapters;
  if (wholeModelOf(project, files, adapter) !== undefined)
    throw new InputError("P0692", `\`${adapter}\` is a whole model: what ${project.file} attaches would act twice`, [
      "name an adapter's folder, or a run's",
    ]);
  return { text: statements(project, names), names };
}

/** Carries out what `mergingText` put behind the file, with the values that `host` has, and writes the folder. P0910: it is not finite. */
export async function writeMerged(
  host: FileHost,
  files: Files,
  { to }: Names,
  { output, dtype: wanted, rounding, seed = 0 }: MergeOptions,
  tell: (merged: ReturnType<typeof mergeModel>) => void = () => {},
): Promise<Merged> {
  const { project, values, engine } = host;
  const action = project.actions.findLast((a): a is Merge => a.kind === "merge" && a.to === to)!;
  tell(mergeModel(action, values));
  const dtype = wanted === undefined ? dtypeOf(project, action.of, files) : DTYPES[wanted];
  const [before] = await probe(looks(project).slice(0, 1), engine, values, seed);
  const losses = store(project, action, values, dtype, rounding === "stochastic" ? seed : undefined);
  const [after] = await probe(looks(project).slice(1), engine, values, seed);
  const parts = { models: [action.to], attachments: [], heads: [], objectives: objectivesWithValues(project, values) };
  written(files, output, (aside) => host.artefacts.models(aside, parts, (name) => values.param(name), dtype));
  return { ...losses, dtype, logits: compared(before, after) };
}

interface Names {
  readonly of: string;
  readonly to: string;
}

/** The model with attachments that is to be merged, and a name for what it becomes; `undefined`: there is none, or none of that name. */
function chooseModel(project: Project, wanted: string | undefined): Names | undefined {
  const attached = project.models.filter((m) => project.attachments.some((a) => a.model === m.name));
  const of = wanted === undefined ? attached.at(-1)?.name : project.models.find((m) => m.name === wanted)?.name;
  if (of === undefined) return undefined;
  const taken = (name: string) => [...project.models, ...project.attachments].some((x) => x.name === name);
  let to = `${of}_merged`;
  while (taken(to)) to += "_";
  return { of, to };
}

/** A model of the file once more, as it came from its folder, with the adapters as one on it; `undefined`: the file loads none from a folder. */
function combinedOnBase(
  project: Project,
  files: Files,
  source: string,
  { model, adapters, combination }: MergeOptions,
): { text: string; names: Names } | undefined {
  const base = project.models.findLast((m) => (model === undefined ? m.folder !== undefined : m.name === model));
  const { start, end } = base?.span ?? { start: 0, end: 0 };
  const made = /^model\s+\w+(?=\s*=[^=])[\s\S]*\bfrom\b/.test(source.slice(start, end)) ? source.slice(start, end) : undefined;
  if (base === undefined || made === undefined) return undefined;
  const taken = new Set([...project.models, ...project.attachments].map(({ name }) => name));
  const fresh = (name: string): string => (taken.has(name) ? fresh(`${name}_`) : name);
  const names = { of: fresh(`${base.name}_base`), to: fresh(`${base.name}_merged`) };
  const call = combineCall(files, project.file, adapters, combination!);
  const text = `${made.replace(/^model\s+\w+/, `model ${names.of}`)}\nattach ${fresh("combined")} = ${call} to ${names.of}`;
  return { text: `${text}\n${statements({ ...project, models: [{ ...base, name: names.of }] }, names)}`, names };
}

/** The merged model, and one call of both. */
function statements(project: Project, { of, to }: { of: string; to: string }): string {
  const [output] = project.models.find((m) => m.name === of)!.outputs;
  const look = (stage: string, model: string) => `predict ${stage} { model = ${model}  data = jsonl("drawn")  columns = ["${output}"] }`;
  return `model ${to} = merge(${of})\n${look("merge_before", of)}\n${look("merge_after", to)}`;
}

/** What objectives have from a run or a file goes on with the model. */
const objectivesWithValues = ({ params }: Project, values: ValueStore): string[] =>
  [...params.values()]
    .filter(({ owner, name, source }) => owner.kind === "objective" && (values.isHeld(name) || source.kind === "file"))
    .map(({ name }) => name);

const looks = (project: Project): PredictStage[] =>
  project.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "predict" ? [a.stage] : [])).slice(-2);

/** The type that the model's folder is in; other types than these are written as f32. */
function dtypeOf(project: Project, model: string, files: Files): FloatDType {
  const { folder } = project.models.find((m) => m.name === model)!;
  const config = folder === undefined ? undefined : readConfig(files, folder);
  return own(OF_TORCH, String(config?.torch_dtype)) ?? "F32";
}

export interface Stored {
  readonly parameters: readonly ({ readonly path: string } & Loss)[];
  readonly all: Loss;
}

/** Gives the merged model's parameters the values that the file will have, and says what that loses. `seed`: rounded stochastically. */
function store(project: Project, action: Merge, values: ValueStore, dtype: FloatDType, seed: number | undefined): Stored {
  const all = new Losses();
  const parameters: ({ path: string } & Loss)[] = [];
  const origins = new Map(action.folds.map((f) => [f.param, f.of]));
  for (const param of project.params.values()) {
    if (param.owner.kind !== "model" || param.owner.name !== action.to) continue;
    const exact = values.param(param.name);
    const bad = heldBy(param.name, exact, project);
    if (bad !== undefined)
      throw new InputError("P0910", `the merged model is not finite: ${culprit(project, action, param.name, values) ?? bad}`);
    const stored = seed === undefined ? nearest(exact, dtype) : stochastic(exact, dtype, keyOf(seed, "rounding", param.path));
    const of = origins.get(param.name);
    if (of !== undefined && values.shape(of).join() === param.shape.join()) {
      const base = values.param(of);
      const own = new Losses();
      for (const losses of [own, all]) losses.add(base, exact, stored, nearest(base, dtype));
      parameters.push({ path: param.path, ...own.result });
    }
    values.setParam(param.name, stored);
  }
  return { parameters, all: all.result };
}

/** What of the base or an adapter made a merged parameter one that is not finite. */
function culprit(project: Project, action: Merge, name: string, values: ValueStore): string | undefined {
  const [of] = action.folds.flatMap((f) => (f.param === name ? [f.of] : []));
  const own = project.attachments.flatMap((a) =>
    a.model === action.of ? [...a.sites.flatMap((s) => Object.values(s.params)), ...Object.values(a.shared)] : [],
  );
  return [...(of === undefined ? [] : [of]), ...own].flatMap((param) => heldBy(param, values.param(param), project) ?? [])[0];
}

export interface Difference {
  /** The largest difference, and the largest value before. */
  readonly difference: number;
  readonly of: number;
}

function compared(before: ArrayLike<number>, after: ArrayLike<number>): Difference {
  let [difference, of] = [0, 0];
  for (let i = 0; i < before.length; i++) {
    // what is not finite stays visible
    const d = Math.abs(before[i] - after[i]);
    if (!(d <= difference)) difference = d;
    of = Math.max(of, Math.abs(before[i]));
  }
  return { difference, of };
}
