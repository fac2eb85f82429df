import type { Command } from "commander";
import type { PredictStage, Project } from "../../compiler/project.ts";
import { combineCall } from "../../exchange/combine.ts";
import { holdsResult, settle, written } from "../../formats/aside.ts";
import { type FloatDType, readConfig } from "../../formats/config.ts";
import type { Files } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { keyOf } from "../../ir/random.ts";
import { wholeModelOf } from "../../train/run/held.ts";
import { useAdapter } from "../../train/run/restore.ts";
import { type Loss, Losses, nearest, stochastic } from "../../train/run/rounding.ts";
import { type Merge, merge as mergeModel } from "../../train/stages/merge.ts";
import { heldBy } from "../../train/stages/nonfinite.ts";
import { probe } from "../../train/stages/probe.ts";
import type { ValueStore } from "../../train/values.ts";
import { asksToCombine, type CombinationOptions, combinationOf, combining } from "../combination.ts";
import { type CommonOptions, collect, common, Session, wholeNumber } from "../context.ts";
import { line, Usage } from "../errors.ts";
import type { Io } from "../io.ts";
import { table } from "../table.ts";

interface MergeCommand extends CommonOptions, CombinationOptions {
  readonly seed?: string;
  readonly adapter: readonly string[];
  readonly output: string;
  readonly model?: string;
  readonly dtype?: string;
  readonly rounding: string;
  readonly force?: boolean;
}

const DTYPES: Readonly<Record<string, FloatDType>> = { f32: "F32", bf16: "BF16", f16: "F16" };
const OF_TORCH: Readonly<Record<string, FloatDType>> = { float32: "F32", bfloat16: "BF16", float16: "F16" };

/** `merge`: a model with its adapter in its weights, as a folder that transformers reads. */
export function merge(program: Command, io: Io): void {
  combining(common(program.command("merge").argument("<file>", "a .peft file that attaches something to a model")))
    .description("fold an adapter into its model's weights, say what rounding loses of it, and write a transformers folder")
    .requiredOption("--output <dir>", "folder for the merged model")
    .option("--adapter <dir>", "an adapter's folder, or a run's (default: the newest result); several are combined", collect, [])
    .option("--model <name>", "which model of the file (default: the last one with attachments)")
    .option("--dtype <type>", "f32, bf16 or f16 (default: as the model's folder says)")
    .option("--rounding <way>", "nearest, or stochastic: keeps small changes on average; --seed draws others", "nearest")
    .option("--force", "put it in the place of a model that is there, when it is whole")
    .addHelpText(
      "after",
      "\nExample:\n  peftc merge specs/examples/quickstart.peft --adapter my-adapter --output merged --dtype bf16\n  peftc merge my.peft --adapter a --adapter b --combine ties --density 0.5 --weights 0.7,0.3 --output merged\n",
    )
    .action(async (file: string, options: MergeCommand) => {
      const session = new Session(io, options);
      const { files } = session.workspace;
      if (!["nearest", "stochastic"].includes(options.rounding))
        throw new Usage(`--rounding ${options.rounding}: there is no such way`, ["the ways are: nearest, stochastic"]);
      if (options.dtype !== undefined && DTYPES[options.dtype] === undefined)
        throw new Usage(`--dtype ${options.dtype}: there is no such type`, [`the types are: ${Object.keys(DTYPES).join(", ")}`]);
      settle(files, options.output);
      if (holdsResult(files, options.output) && !options.force)
        throw new InputError("P0825", `\`${options.output}\` holds a model or a result already`, [
          "--force puts the merged model in its place",
        ]);
      const several = options.adapter.length > 1 || asksToCombine(options);
      if (several && options.adapter.length === 0) throw new Usage("nothing to combine", ["name the adapters: --adapter a --adapter b"]);
      if (!several && options.rank !== undefined) throw new Usage("--rank is that of several adapters together");
      const [adapter] = options.adapter;
      let names: { of: string; to: string } | undefined;
      const project = session.open(file, (p) => {
        if (several) {
          const all = combinedOnBase(p, files, session.source(file)!, options);
          names = all.names;
          return `${all.text}\n${statements({ ...p, models: [{ ...all.base, name: names.of }] }, names)}`;
        }
        names = chooseModel(p, file, options.model);
        if (wholeModelOf(p, files, adapter) !== undefined)
          throw new InputError("P0692", `\`${adapter}\` is a whole model: what ${file} attaches would act twice`, [
            "name an adapter's folder, or a run's",
          ]);
        return statements(p, names);
      });
      const host = session.host(project, await session.engine());
      if (!several) session.display.listen({ event: "note", message: await useAdapter(host, session.workspace.sources, adapter) });
      const action = project.actions.findLast((a): a is Merge => a.kind === "merge" && a.to === names!.to)!;
      const merged = mergeModel(action, host.values);
      session.display.listen({ event: "merged", ...merged });
      const dtype = options.dtype === undefined ? dtypeOf(project, action.of, files) : DTYPES[options.dtype];
      const seed = options.seed === undefined ? 0 : wholeNumber("--seed", options.seed);
      const [before] = await probe(checks(project).slice(0, 1), host.engine, host.values, seed);
      const losses = store(project, action, host.values, dtype, options.rounding === "stochastic" ? seed : undefined);
      const [after] = await probe(checks(project).slice(1), host.engine, host.values, seed);
      const parts = { models: [action.to], attachments: [], heads: [], objectives: objectivesWithValues(project, host.values) };
      written(files, options.output, (aside) => host.artefacts.models(aside, parts, (name) => host.values.param(name), dtype));
      const logits = compared(before, after);
      if (session.json)
        io.out(line({ event: "merge", file, output: options.output, dtype, rounding: options.rounding, ...losses, logits }));
      else io.out(text(options, dtype, losses, logits));
    });
}

function chooseModel(project: Project, file: string, wanted: string | undefined): { of: string; to: string } {
  const attached = project.models.filter((m) => project.attachments.some((a) => a.model === m.name));
  const of = wanted === undefined ? attached.at(-1)?.name : project.models.find((m) => m.name === wanted)?.name;
  if (of === undefined && wanted !== undefined)
    throw new Usage(`--model ${wanted}: ${file} has no such model`, [`it has: ${project.models.map((m) => m.name).join(", ")}`]);
  if (of === undefined) throw new Usage(`${file} attaches nothing to a model, so there is nothing to merge`);
  const taken = (name: string) => [...project.models, ...project.attachments].some((x) => x.name === name);
  let to = `${of}_merged`;
  while (taken(to)) to += "_";
  return { of, to };
}

/** A model of the file once more, as it came from its folder, with the adapters as one on it. */
function combinedOnBase(project: Project, files: Files, source: string, options: MergeCommand) {
  const base = project.models.findLast((m) => (options.model === undefined ? m.folder !== undefined : m.name === options.model));
  const { start, end } = base?.span ?? { start: 0, end: 0 };
  const made = /^model\s+\w+(?=\s*=[^=])[\s\S]*\bfrom\b/.test(source.slice(start, end)) ? source.slice(start, end) : undefined;
  if (base === undefined || made === undefined)
    throw new Usage(
      `${project.file} loads no ${options.model === undefined ? "model" : `model \`${options.model}\``} from a folder for the adapters to go on`,
    );
  const taken = new Set([...project.models, ...project.attachments].map(({ name }) => name));
  const fresh = (name: string): string => (taken.has(name) ? fresh(`${name}_`) : name);
  const names = { of: fresh(`${base.name}_base`), to: fresh(`${base.name}_merged`) };
  const call = combineCall(files, project.file, options.adapter, combinationOf(options, options.adapter.length));
  const text = `${made.replace(/^model\s+\w+/, `model ${names.of}`)}\nattach ${fresh("combined")} = ${call} to ${names.of}`;
  return { base, names, text };
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

const checks = (project: Project): PredictStage[] =>
  project.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "predict" ? [a.stage] : [])).slice(-2);

/** The type that the model's folder is in; other types than these are written as f32. */
function dtypeOf(project: Project, model: string, files: Files): FloatDType {
  const { folder } = project.models.find((m) => m.name === model)!;
  const config = folder === undefined ? undefined : readConfig(files, folder);
  return own(OF_TORCH, String(config?.torch_dtype)) ?? "F32";
}

interface Stored {
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

interface Difference {
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

const percent = (x: number): string => `${(100 * x).toPrecision(2)} %`;
/** Shown of many parameters: those that lose most. */
const SHOWN = 12;
/** A share of the change that is worth a warning. */
const MUCH = 0.1;

function text(options: MergeCommand, dtype: FloatDType, { parameters, all }: Stored, logits: Difference): string {
  const type = dtype.toLowerCase();
  const most = [...parameters].sort((a, b) => b.lost - a.lost).slice(0, SHOWN);
  const row = ({ change, lost, unchanged }: Loss) => [percent(change), percent(lost), percent(unchanged)];
  const rows = [
    ["parameter", "change", `lost in ${type}`, "unchanged"],
    ...most.map((p) => [p.path, ...row(p)]),
    ...(parameters.length > most.length ? [[`… ${parameters.length - most.length} more`, "", "", ""]] : []),
    ["all", ...row(all)],
  ];
  const notes: string[] = [];
  if (all.lost > MUCH)
    notes.push(
      `${type} loses ${percent(all.lost)} of what was learned: ${options.rounding === "nearest" ? "--rounding stochastic keeps it on average, " : ""}--dtype f32 keeps it all`,
    );
  notes.push(
    `the first output on drawn inputs differs by ${logits.difference.toPrecision(2)} at most, of values up to ${logits.of.toPrecision(2)}`,
  );
  return `${options.output}: ${type}, rounded ${options.rounding === "nearest" ? "to the nearest" : "stochastically"}\n${table(rows)}${notes.map((n) => `note: ${n}\n`).join("")}`;
}
