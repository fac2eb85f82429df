/** A whole file: every stage in order, copies between them, what one stage leaves for the next. */
import type { Action, DatasetSpec, GenerateStage, Stage, TokenizerSource } from "../../compiler/project.ts";
import type { Problem } from "../../compiler/report/problem.ts";
import { asideOf, install } from "../../formats/aside.ts";
import { joinPath } from "../../formats/files.ts";
import { InputError, Limit } from "../../ir/errors.ts";
import { checkTables } from "../data/checks.ts";
import { stageTables, type Words } from "../data/inspect.ts";
import { entriesOf } from "../engine/entries.ts";
import { dropSessions } from "../engine/kept.ts";
import type { Scalars } from "../events.ts";
import type { RunHost } from "../host.ts";
import { report } from "../report/report.ts";
import { generate, type Prompt, type PromptTokenizer } from "../stages/generate.ts";
import { merge } from "../stages/merge.ts";
import { settle } from "../stages/numbers.ts";
import { evaluateStage, predictStage } from "../stages/predict.ts";
import { type ScoreHost, scoreStage } from "../stages/scores.ts";
import { stopIfAsked } from "../stages/stopping.ts";
import { type PreparedTrain, prepareTrain, type TrainResult, train } from "../stages/train.ts";
import { type Checkpoint, listCheckpoints } from "./checkpoint.ts";
import { chooseFolders, finishedRuns, isFinished, runFolder } from "./folders.ts";
import { isSame, requireSame } from "./identity.ts";
import { resultsIn } from "./results.ts";
import { newestWhole } from "./resume.ts";
import { identityOf } from "./run-identity.ts";
import { requireFree } from "./saving.ts";
import { actionsFor } from "./slice.ts";

interface RunOptions {
  readonly output: string | undefined;
  readonly force: boolean;
  readonly resume: boolean;
  /** Run the stages of this name alone, with what they need; of that, what is unchanged is taken from earlier runs. */
  readonly stage?: string | undefined;
  /** Take results of `train` stages from earlier runs whose settings, data, graph and weights were the same. */
  readonly reuse?: boolean;
}
export interface FileHost extends RunHost, ScoreHost {
  /** Takes the numbers of classes that are kept with a result. Gives warnings where its record is not sound. */
  adopt(folder: string, params?: Iterable<string>): Problem[];
  /** `undefined`: the folder has no tokenizer. */
  tokenizer(source: TokenizerSource): (PromptTokenizer & Words) | undefined;
  /** Prompts of a table, for `generate { data = ... }`. */
  prompts(stage: GenerateStage): Promise<readonly Prompt[]>;
}

/** Runs every stage. Gives the results of the `train` stages. */
export async function runFile(host: FileHost, options: RunOptions): Promise<TrainResult[]> {
  try {
    return await runStages(host, options);
  } finally {
    await dropSessions(host.values);
  }
}

async function runStages(host: FileHost, options: RunOptions): Promise<TrainResult[]> {
  const actions = options.stage === undefined ? host.project.actions : actionsFor(host.project, options.stage);
  const stages = actions.flatMap((a) => (a.kind === "stage" ? [a.stage] : []));
  const { folders, replaces } = chooseFolders(
    host.files,
    stages.map((stage) => ({ name: stage.name, verb: stage.verb, folder: runFolder(host.project.file, stage.folder) })),
    options,
  );
  const cached = options.reuse === true || options.stage !== undefined;
  const mine = new Set<string>();
  const how = { resume: options.resume, force: options.force, mine };
  // known before the first stage, where none of them may turn out to be finished already
  if (!cached && !options.resume) {
    const later = new Set<string>();
    for (const [i, stage] of stages.entries()) {
      if (stage.verb !== "train") continue;
      requireFree(host.files, stage, folders[i], { ...how, mine: later });
      if (stage.save !== undefined) later.add(stage.save);
    }
  }
  const results: TrainResult[] = [];
  const metrics = new Map<string, Scalars>();
  let number = 0;
  for (const action of actions) {
    if (action.kind === "limit") throw new Limit(`${action.what} is not built yet`, action.span);
    await stopIfAsked(host);
    await reportLoaded(action, host);
    if (action.kind === "copy") {
      for (const { from, to } of action.params) host.values.copy(from, to);
      continue;
    }
    if (action.kind === "merge") {
      host.listen({ event: "merged", ...merge(action, host.values) });
      continue;
    }
    if (action.kind === "number") {
      await settle(action, host, metrics);
      continue;
    }
    const { stage } = action;
    const folder = folders[number++];
    switch (stage.verb) {
      case "train": {
        for (const problem of await warnings(stage, host)) host.listen({ event: "problem", problem });
        const result =
          (options.resume && (await reuse(stage, host, folder))) ||
          (cached && (await reuseSame(stage, host, options))) ||
          (await train(stage, host, { folder, ...how }));
        if (stage.save !== undefined) mine.add(stage.save);
        metrics.set(stage.folder, result.results);
        results.push(result);
        break;
      }
      case "report":
        host.listen({ event: "stage", stage: stage.name, verb: "report", folder });
        report(stage, host, metrics, folder);
        break;
      case "generate":
        host.listen({ event: "stage", stage: stage.name, verb: "generate", folder });
        await generate(stage, host, tokenizerOf(stage, host), folder, await host.prompts(stage));
        host.predicted(stage, folder);
        break;
      case "evaluate":
        host.listen({ event: "stage", stage: stage.name, verb: "evaluate", folder });
        metrics.set(stage.folder, await evaluateStage(stage, host, folder));
        break;
      case "score":
        host.listen({ event: "stage", stage: stage.name, verb: "evaluate", folder });
        metrics.set(stage.folder, await scoreStage(stage, host, folder));
        break;
      case "predict":
        host.listen({ event: "stage", stage: stage.name, verb: "predict", folder });
        await predictStage(stage, host, folder);
        break;
    }
  }
  if (replaces === undefined) return results;
  const release = host.claim?.(replaces);
  try {
    install(host.files, replaces);
  } finally {
    release?.();
  }
  const aside = asideOf(replaces);
  host.listen({ event: "note", message: `what is in \`${aside}\` is in \`${replaces}\` now, in the place of what was there` });
  return results.map((result) => ({
    ...result,
    folder: result.folder === aside ? replaces : result.folder.replace(`${aside}/`, `${joinPath(replaces, "")}`),
  }));
}

/** Warns about adapters that the file loads, when the base is what it is for them: earlier stages may have made it. */
export async function reportLoaded(action: Action, host: Pick<RunHost, "provenances" | "listen">): Promise<void> {
  const span = action.kind === "stage" ? action.stage.span : action.kind === "merge" ? action.span : undefined;
  if (span === undefined) return;
  for (const problem of await host.provenances.loaded(span)) host.listen({ event: "problem", problem });
}

/** What looks wrong in a stage's data; what cannot be used at all is thrown. */
async function warnings(stage: Stage, host: FileHost): Promise<Problem[]> {
  const make = (spec: DatasetSpec) =>
    host.table({
      spec,
      tokenizer: stage.tokenizer,
      separate: stage.separate,
      sequence: stage.verb === "train" ? stage.sequence : undefined,
      entries: entriesOf(stage),
    });
  return checkTables(await stageTables(stage, make, stage.tokenizer === undefined ? undefined : host.tokenizer(stage.tokenizer)));
}

/** Takes the values of a finished stage from its last checkpoint, if the folder holds one of the same run. */
async function reuse(stage: Stage & { verb: "train" }, host: FileHost, folder: string): Promise<TrainResult | undefined> {
  if (!isFinished(host.files, folder) || listCheckpoints(host.files, folder).length === 0) return undefined;
  const ready = await prepareTrain(stage, host);
  const checkpoint = newestWhole(host, folder)!;
  // it is to be longer now than it was: it goes on
  if (ready.total > Number(checkpoint.identity.settings.steps)) return undefined;
  requireSame(checkpoint.folder, checkpoint.identity, await identityOf(ready, host));
  return take(stage, host, folder, checkpoint, ready);
}

/** The result of an earlier run of the stage that was the same in all that it is made of: the newest such. */
async function reuseSame(stage: Stage & { verb: "train" }, host: FileHost, { output }: RunOptions): Promise<TrainResult | undefined> {
  const name = runFolder(host.project.file, stage.folder);
  const held = finishedRuns(host.files, name).filter((folder) => folder !== output);
  if (held.length === 0) return undefined;
  const ready = await prepareTrain(stage, host);
  const identity = await identityOf(ready, host);
  for (const folder of held) {
    const checkpoint = listCheckpoints(host.files, folder).length === 0 ? undefined : newestWhole(host, folder);
    if (checkpoint !== undefined && isSame(checkpoint.identity, identity)) return take(stage, host, folder, checkpoint, ready);
  }
  return undefined;
}

/** Leaves in the store what a finished stage's last checkpoint holds. */
function take(stage: Stage & { verb: "train" }, host: FileHost, folder: string, checkpoint: Checkpoint, ready: PreparedTrain): TrainResult {
  const { params, states, best } = checkpoint.snapshot();
  host.values.clock = { step: Math.max(0, checkpoint.progress.step - 1), steps: ready.total };
  for (const [name, held] of checkpoint.progress.best === undefined ? params : (best ?? params))
    host.values.setParam(name, held.values as Float32Array);
  for (const [name, held] of states) {
    if (host.values.lasts(name)) host.values.setState(name, held);
  }
  host.listen({ event: "note", message: `stage \`${stage.name}\` is finished already: its result is taken from ${joinPath(folder, "")}` });
  return { folder, progress: checkpoint.progress, stoppedEarly: false, results: resultsIn(host.files, folder) };
}

/** P0658 where a stage that reads or writes text has no tokenizer. */
export function tokenizerOf(stage: Stage, host: Pick<FileHost, "tokenizer">): PromptTokenizer {
  const source = stage.tokenizer;
  const tokenizer = source === undefined ? undefined : host.tokenizer(source);
  if (tokenizer === undefined) {
    const whose = source === undefined ? "no model of it" : `\`${typeof source === "string" ? source : source.folder}\``;
    throw new InputError("P0658", `stage \`${stage.name}\` needs a tokenizer, and ${whose} has none`, [
      "put tokenizer.json beside config.json, or give the model `tokenizer:`",
    ]);
  }
  return tokenizer;
}
