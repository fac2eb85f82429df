/**
 * The library: compile a `.peft` file, train it, and use what was trained. For a page, which has no file system, see `peftc/runtime`.
 *
 * ```ts
 * import { compile, load, train } from "peftc";
 *
 * const project = compile("quickstart.peft");              // sizes, sites, stages, problems; nothing runs
 * const { runs } = await train("quickstart.peft", { set: { "train.steps": 100 } });
 * const model = await load("quickstart.peft", { adapter: runs[0].folder });
 * console.log(await model.generate("The ", { maxTokens: 40 }));
 * ```
 */
import { compile as compileFile } from "./compiler/compile.ts";
import type { GenerateStage, Project, Static } from "./compiler/project.ts";
import { ProblemsError } from "./compiler/report/unsound.ts";
import { type Conversion, type ConvertOptions, convertFolder } from "./exchange/convert.ts";
import { type ImportOptions, programFor } from "./exchange/import.ts";
import { type Inspected, type InspectOptions, inspectPath } from "./exchange/inspect.ts";
import { type Merged, type MergeOptions, mergingText, requirePlace, writeMerged } from "./exchange/merge.ts";
import type { RowFunction } from "./formats/data/makers/scored.ts";
import { InputError } from "./ir/errors.ts";
import { type DeviceChoice, openEngine } from "./node/engine.ts";
import { fetchSources, hubSources } from "./node/sources.ts";
import { openWorkspace, type Workspace } from "./node/workspace.ts";
import { dropSessions } from "./train/engine/kept.ts";
import type { RunEvent, Scalars } from "./train/events.ts";
import { wholeModelOf } from "./train/run/held.ts";
import { useAdapter } from "./train/run/restore.ts";
import { type FileHost, runFile, tokenizerOf } from "./train/run/run.ts";
import { openGenerator } from "./train/stages/generate.ts";
import { evaluateAll } from "./train/stages/predict.ts";
import { stagesOf } from "./train/stages/stages.ts";

export type { AttachmentReport, ModelReport, ParamDecl, Project, SiteReport, Stage, Static } from "./compiler/project.ts";
export type { Problem } from "./compiler/report/problem.ts";
export { ProblemsError } from "./compiler/report/unsound.ts";
export type { Conversion, ConvertOptions, Layout } from "./exchange/convert.ts";
export type { ImportOptions } from "./exchange/import.ts";
export type { Inspected, InspectOptions } from "./exchange/inspect.ts";
export type { Merged, MergeOptions } from "./exchange/merge.ts";
export type { RowFunction, RowValues } from "./formats/data/makers/scored.ts";
export { Bug, InputError, Limit } from "./ir/errors.ts";
export type { DeviceChoice } from "./node/engine.ts";
export { DeviceError, DeviceLost, NoDevice, OutOfMemory } from "./runtime/errors.ts";
export { Interrupted, type RunEvent, type Scalars } from "./train/events.ts";
export { RunProblem } from "./train/stages/nonfinite.ts";

export interface CompileOptions {
  /** Folder that relative paths start from; the working directory, unless told. */
  readonly cwd?: string;
  /** Seed of every stage. */
  readonly seed?: number;
  /** Fields of stages that win over the file's: `{ "train.steps": 10 }`. */
  readonly set?: Readonly<Record<string, Static>>;
}

export interface TrainOptions extends CompileOptions {
  /** Folder for the result; `runs/<file>/<stage>`, unless told, numbered where a finished run is there. */
  readonly output?: string;
  /** Write over a finished run in `output`. */
  readonly force?: boolean;
  /** Go on from the newest whole checkpoint. */
  readonly resume?: boolean;
  /** `auto`, unless told: a hardware WebGPU adapter, else WebAssembly. */
  readonly device?: DeviceChoice;
  /** What `scored(rows, "name")` calls: it is given rows as objects (`prompt`, `answer` and the file's columns) and gives a number for each. A reward for GRPO, for example. */
  readonly functions?: Readonly<Record<string, RowFunction>>;
  /** Told what happens, as it happens. */
  readonly listen?: (event: RunEvent) => void;
  /** Saves a checkpoint and throws `Interrupted` when it is aborted. */
  readonly signal?: AbortSignal;
}

export interface TrainOutcome {
  /** One for each `train` stage, in order. */
  readonly runs: readonly {
    /** Where adapter, metrics and checkpoints are. */
    readonly folder: string;
    /** Updates made. */
    readonly steps: number;
    readonly stoppedEarly: boolean;
    /** Losses, gradient norms and, as `eval_...`, evaluations. */
    readonly history: readonly Scalars[];
  }[];
}

export interface LoadOptions extends CompileOptions {
  /** An adapter's folder or a run's; the newest result of the file, else the base, unless told. */
  readonly adapter?: string;
  readonly device?: DeviceChoice;
}

export interface GenerateOptions {
  /** 40, unless the file's last `generate` stage says otherwise; likewise the others. */
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topP?: number;
  readonly seed?: number;
}

export interface Loaded {
  readonly project: Project;
  /** What its values are, in a sentence. */
  readonly values: string;
  /** The prompt's continuation. */
  generate(prompt: string, options?: GenerateOptions): Promise<string>;
  /** Metrics by stage, as `peftc eval` prints them. */
  evaluate(): Promise<Readonly<Record<string, Scalars>>>;
  /** Frees the weights that `generate` keeps on the device for its next call. It can be called again after. */
  close(): Promise<void>;
}

/** Fetches what a file names on the Hugging Face hub (`hf://org/name`) into its cache; `train` and `load` do so themselves, `compile` cannot wait. */
export async function fetchHub(file: string, options: { readonly cwd?: string } = {}): Promise<void> {
  const { sources } = openWorkspace(options.cwd ?? process.cwd());
  await fetchSources(hubSources(file, (path) => sources.readSource(path)));
}

/** Compiles a file as far as its graphs. The user's mistakes are in `problems`; nothing throws for them, but malformed files (`InputError`) do. */
export function compile(file: string, options: CompileOptions = {}): Project {
  return compileIn(openWorkspace(options.cwd ?? process.cwd()), file, options);
}

/**
 * Runs every stage of a file, in order. Throws `ProblemsError` for a file with errors, `InputError` for data or files that cannot serve, `RunProblem` for a
 * loss that is no number, `DeviceError` for what the device does, `Interrupted` after saving.
 */
export async function train(file: string, options: TrainOptions = {}): Promise<TrainOutcome> {
  const workspace = openWorkspace(options.cwd ?? process.cwd());
  await fetchSources(hubSources(file, (path) => workspace.sources.readSource(path)));
  const project = sound(workspace, compileIn(workspace, file, options));
  const host = await hostFor(workspace, project, options);
  const { output, force = false, resume = false } = options;
  const results = await runFile(host, { output, force, resume });
  return {
    runs: results.map(({ folder, progress, stoppedEarly }) => ({ folder, steps: progress.step, stoppedEarly, history: progress.history })),
  };
}

/** A file with trained values, to use. Errors as in `train`; `generate` needs a `generate` stage in the file. */
export async function load(file: string, options: LoadOptions = {}): Promise<Loaded> {
  const workspace = openWorkspace(options.cwd ?? process.cwd());
  await fetchSources(hubSources(file, (path) => workspace.sources.readSource(path)));
  const first = compileIn(workspace, file, options);
  const unattached = wholeModelOf(first, workspace.files, options.adapter);
  const project = sound(workspace, unattached === undefined ? first : compileIn(workspace, file, options, unattached));
  const host = await hostFor(workspace, project, options);
  const values = await useAdapter(host, workspace.sources, options.adapter);
  return {
    project,
    values,
    async generate(prompt, given = {}) {
      const stage = stagesOf(project).findLast((s): s is GenerateStage => s.verb === "generate");
      if (stage === undefined) throw new InputError("P0737", `${file} has no \`generate\` stage`);
      const wanted = { ...stage, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
      const generator = await openGenerator(wanted, host, tokenizerOf(stage, host), [{ text: prompt }]);
      try {
        return (await generator.generate({ text: prompt }, 0, 0)).text;
      } finally {
        await generator.close();
      }
    },
    close: () => dropSessions(host.values),
    async evaluate() {
      return Object.fromEntries((await evaluateAll(host)).map(({ stage, metrics }) => [stage, metrics]));
    },
  };
}

/** Where relative paths start from; the working directory, unless told. */
interface From {
  readonly cwd?: string;
}

/**
 * Writes an adapter in another tool's layout (`peft`, `adapters`, `mlx`, `gguf`, `peftc`), several as one, a change of weights as a LoRA, or a whole
 * model as GGUF: what `peftc convert` does. Throws `InputError` for what is not there, is in the way, or cannot be said in the layout.
 */
export const convert = (folder: string, { cwd, ...options }: ConvertOptions & From): Conversion =>
  convertFolder(openWorkspace(cwd ?? process.cwd(), true), folder, options);

/** The text of a program that checks, for a model's folder or for an adapter's and its base, as `peftc import` writes it. Errors as in `convert`; `ProblemsError`. */
export const importFolder = (folder: string, { cwd, ...options }: ImportOptions & From = {}): { text: string; notes: readonly string[] } =>
  programFor(openWorkspace(cwd ?? process.cwd(), true), folder, options);

/** What an adapter's folder or a checkpoint holds, and where an adapter will load: what `peftc inspect` shows. Throws `InputError` where there is neither. */
export const inspect = (path: string, { cwd, ...options }: InspectOptions & From = {}): Promise<Inspected> =>
  inspectPath(openWorkspace(cwd ?? process.cwd(), true), path, options);

export interface MergeFileOptions extends CompileOptions, Omit<MergeOptions, "adapters"> {
  readonly adapters?: readonly string[];
  /** What compares the outputs before and after; `auto`, unless told. */
  readonly device?: DeviceChoice;
  readonly seed?: number;
}

/**
 * Folds what a file attaches into its model's weights and writes a transformers folder, as `peftc merge` does; says what rounding loses. Errors as in
 * `train`; P0692: the file has no such model, or attaches nothing to it.
 */
export async function merge(file: string, options: MergeFileOptions): Promise<Merged> {
  const workspace = openWorkspace(options.cwd ?? process.cwd());
  const { files, sources } = workspace;
  requirePlace(files, options);
  const wanted = { ...options, adapters: options.adapters ?? [] };
  const plain = sound(workspace, compileIn(workspace, file, options));
  const source = sources.readSource(file)!;
  const merging = mergingText(plain, files, source, wanted);
  if (merging === undefined)
    throw new InputError("P0692", `${file} has nothing to merge${options.model === undefined ? "" : ` in \`${options.model}\``}`);
  const longer = sources.with(file, `${source}\n${merging.text}\n`);
  const project = sound(workspace, compileFile(file, longer, { seed: options.seed, set: options.set }));
  const host = await hostFor(workspace, project, options);
  if (options.combination === undefined) await useAdapter(host, longer, wanted.adapters[0]);
  return writeMerged(host, files, merging.names, wanted);
}

function compileIn(workspace: Workspace, file: string, { seed, set }: CompileOptions, unattached?: string): Project {
  return compileFile(file, workspace.sources, { seed, set, unattached });
}

function sound(workspace: Workspace, project: Project): Project {
  const errors = project.problems.filter((p) => p.severity === "error");
  if (errors.length === 0) return project;
  throw new ProblemsError(errors, (path) => workspace.sources.readSource(path));
}

async function hostFor(
  workspace: Workspace,
  project: Project,
  options: Pick<TrainOptions, "device" | "functions" | "listen" | "signal">,
): Promise<FileHost> {
  const engine = await openEngine(options.device ?? "auto");
  const listen = options.listen ?? (() => {});
  listen({ event: "device", device: engine.device, reason: engine.reason });
  return workspace.host(project, engine, {
    listen,
    functions: options.functions,
    interrupted: () => options.signal?.aborted === true,
    now: () => performance.now() / 1000,
  });
}
