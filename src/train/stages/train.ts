/** A `train` stage: data, program, session, loop, checkpoints, result. */
import type { DatasetSpec, Entry, TrainStage } from "../../compiler/project.ts";
import { NotAdditive } from "../../ir/accumulate.ts";
import { InputError } from "../../ir/errors.ts";
import { bindSizes, checkTable, type DataTable } from "../data/columns.ts";
import { withTargets } from "../data/targets.ts";
import { budgetOf, memoryOf } from "../engine/budget.ts";
import type { BuildOptions, Built, Engine, EntryPoint } from "../engine/engine.ts";
import { entryPoints } from "../engine/entries.ts";
import { dropSessions } from "../engine/kept.ts";
import { adviceFor, type Build, inParts, type Lay } from "../engine/parts.ts";
import type { Scalars } from "../events.ts";
import type { RunHost } from "../host.ts";
import { type Checkpoint, sweepPartial } from "../run/checkpoint.ts";
import { clearRun, unfinish, writeMarker } from "../run/folders.ts";
import type { Identity } from "../run/identity.ts";
import { findCheckpoint } from "../run/resume.ts";
import { identityOf } from "../run/run-identity.ts";
import { requireFree, type SaveOptions } from "../run/saving.ts";
import { elements } from "../values.ts";
import { Evaluation } from "./evaluate.ts";
import { NonFinite, type Progress, START } from "./loop.ts";
import { blame } from "./nonfinite.ts";
import { RowOrder } from "./row-order.ts";
import { stopIfAsked } from "./stopping.ts";
import { Summing } from "./summing.ts";
import { requireFit, TrainRun } from "./train-run.ts";

/** Entry points of a step in several batches. */
const NAMES = { count: "count", part: "gradients", finish: "update" };

/** A stage with its data read and checked, before anything is compiled. */
export interface LaidTrain {
  readonly stage: TrainStage;
  readonly tables: readonly DataTable[];
  readonly sizes: readonly ReadonlyMap<string, number>[];
  readonly order: RowOrder;
  readonly total: number;
  /** Rows of the largest batch of each table. */
  readonly full: readonly number[];
  /** Rows that are computed at once, and how often for one step: those of the stage, or smaller batches with the same sums. */
  readonly batch: number;
  readonly accumulate: number;
  readonly evaluation: Evaluation | undefined;
  readonly points: readonly EntryPoint[];
  /** By table, where a step is several batches. */
  readonly summing: readonly Summing[] | undefined;
  /** States of the entries, with the sizes they start with. */
  readonly states: ReadonlyMap<string, ReadonlyMap<string, number>>;
}
/** Everything about a stage that is known before anything is written: what `plan` prints, and what a run starts from. */
export interface PreparedTrain extends LaidTrain {
  readonly built: Built;
  readonly budget: number;
  /** What it was built with. */
  readonly options: BuildOptions;
  /** Where nothing fits: what would. */
  readonly advice?: readonly string[];
}

/** Reads and checks the data, compiles. Nothing is written; P07.. for data, P08.. for the stage, P0901 for memory. */
export async function prepareTrain(stage: TrainStage, host: RunHost): Promise<PreparedTrain> {
  const ready = await planTrain(stage, host, false);
  await requireFit(ready);
  return ready;
}

/** The same without a word on whether it fits; with `planOnly` it may be larger than the device holds, and is only to be looked at. */
export async function planTrain(
  stage: TrainStage,
  host: Pick<RunHost, "table" | "engine" | "place" | "project" | "values">,
  planOnly = true,
): Promise<PreparedTrain> {
  const laid = await layTrain(stage, host);
  const budget = budgetOf(stage, host.engine);
  const { trained, reverse, offload } = stage;
  if (offload === true && host.engine.offloads !== true)
    throw new InputError("P0902", `\`offload\` reads weights while a step runs, and ${host.engine.device} cannot wait for that`, [
      "`--device wasm` can; without it weights are loaded once",
    ]);
  const stored = storedWeights(stage, host);
  const lay: Lay = (other) => layTrain({ ...stage, ...other }, host);
  const attempt = async (files: boolean) => {
    const from = files ? { stored, offload: true } : { offload: false };
    const options: BuildOptions = { trained, memory: budget, reverse, place: host.place, planOnly, ...from };
    const build: Build = ({ points }, doubtful) => host.engine.build(points, { ...options, doubtful });
    return { options, build, parted: await inParts(laid, await build(laid, false), lay, build) };
  };
  const first = await attempt(offload === true);
  const fromFiles = offload === undefined && host.engine.offloads === true && stored.size > 0;
  const { options, build, parted } = first.parted.smallest !== undefined && fromFiles ? await attempt(true) : first;
  if (parted.smallest === undefined) return { ...parted, budget, stage, options };
  const smallest = Math.min(parted.smallest, first.parted.smallest ?? parted.smallest);
  const advice = await adviceFor(parted, budget, lay, build);
  return { ...parted, built: { ...first.parted.built, smallest: async () => smallest }, advice, budget, stage, options };
}

/** Numbers from which on a frozen weight may be left in its file. */
const WORTH = 2 ** 18;
/** Weights that the stage only reads, and that a file holds as they are. */
function storedWeights({ trained }: TrainStage, { project, values }: Pick<RunHost, "project" | "values">): Set<string> {
  const changed = new Set(trained);
  return new Set([...project.params.keys()].filter((name) => !changed.has(name) && values.count(name) >= WORTH && values.inFile(name)));
}

const tableOf = (stage: TrainStage, spec: DatasetSpec, host: Pick<RunHost, "table">): Promise<DataTable | undefined> => {
  const { tokenizer, separate, sequence, evaluation: entries } = stage;
  return host.table({ spec, tokenizer, separate, sequence, entries });
};

/** The part of `prepareTrain` that needs no device. */
export async function layTrain(
  stage: TrainStage,
  host: Pick<RunHost, "table"> & { readonly engine?: Pick<Engine, "splits"> },
): Promise<LaidTrain> {
  const read: DataTable[] = [];
  for (const spec of stage.data) {
    const table = await tableOf(stage, spec, host);
    if (table === undefined) throw new InputError("P0731", `\`${spec.make}\` has no held-out part`, ["give it `split:`"]);
    read.push(table);
  }
  const tables = stage.step.map((entry, i) => {
    checkTable(entry.columns, entry.graph, read[i], stage.sequence);
    return withTargets(entry.columns, read[i], stage.sequence);
  });
  const sizes = stage.step.map((entry, i) => bindSizes(entry.columns, tables[i], stage.sequence));
  const { batch, accumulate, shuffle, seed } = stage;
  const order = new RowOrder({ rows: tables.map((t) => t.rows), batch, accumulate, shuffle, seed, stage: stage.name });
  const total = order.total(stage.steps, stage.epochs);
  const evaluation = await prepareEvaluation(stage, host);
  const batches = order.batchSizes(total);
  const splits = accumulate > 1 ? "always" : host.engine?.splits;
  const summing =
    splits &&
    summed(splits, () =>
      stage.step.map((entry, i) => new Summing({ names: NAMES, entry, number: i, table: tables[i], sizes: sizes[i], batches: batches[i] })),
    );
  const points = [...(summing?.flatMap((s) => s.points) ?? entryPoints("step", stage.step, sizes, batches)), ...(evaluation?.points ?? [])];
  const states = new Map<string, ReadonlyMap<string, number>>();
  stage.step.forEach((entry, i) => {
    for (const name of entry.states) if (!states.has(name)) states.set(name, sizes[i]);
  });
  const full = batches.map((b) => b[0]);
  return { stage, tables, sizes, order, total, full, batch, accumulate, evaluation, points, summing, states };
}

/** Steps as sums over parts of their batches; `undefined`: the batches of one do not add up, and need not. */
function summed(splits: "always" | "if additive", make: () => Summing[]): Summing[] | undefined {
  try {
    return make();
  } catch (error) {
    if (splits === "if additive" && error instanceof NotAdditive) return undefined;
    throw error;
  }
}

/** The evaluation that a stage asks for, or that its held data allows; `undefined`: none. */
export async function prepareEvaluation(stage: TrainStage, host: Pick<RunHost, "table">): Promise<Evaluation | undefined> {
  const given = stage.evaluate?.data;
  const specs = given === undefined ? stage.data.map((spec) => ({ ...spec, part: "held" as const })) : [given];
  const entries: Entry[] = [];
  const tables: DataTable[] = [];
  for (const [i, spec] of specs.entries()) {
    const table = await tableOf(stage, spec, host);
    if (table === undefined || stage.evaluation[i] === undefined) continue;
    entries.push(stage.evaluation[i]);
    tables.push(table);
  }
  if (entries.length === 0) {
    if (stage.evaluate === undefined) return undefined;
    throw new InputError("P0731", `stage \`${stage.name}\` evaluates, but its data has no held-out part`, [
      "give the data `split: 0.95`, or say `evaluate = { data: ... }`",
    ]);
  }
  const { batch, sequence, evaluate } = stage;
  return new Evaluation(entries, tables, { batch, sequence, metrics: evaluate?.metrics ?? [], best: evaluate?.best }, host);
}

export interface TrainOptions extends SaveOptions {
  readonly folder: string;
}
export interface TrainResult {
  readonly folder: string;
  readonly progress: Progress;
  readonly stoppedEarly: boolean;
  /** What later stages and reports may read: see `resultsOf`. */
  readonly results: Scalars;
}

/** Runs the stage and leaves the trained values in the host's store. Throws `Interrupted` after saving. */
export async function train(stage: TrainStage, host: RunHost, options: TrainOptions): Promise<TrainResult> {
  const started = host.now();
  const { folder } = options;
  host.listen({ event: "stage", stage: stage.name, verb: "train", folder });
  requireFree(host.files, stage, folder, options);
  const ready = await prepareTrain(stage, host);
  const identity = await identityOf(ready, host);
  await stopIfAsked(host);
  // two runs in one folder would take each other's files away
  const release = host.claim?.(folder);
  try {
    if (options.resume) sweepPartial(host.files, folder);
    const checkpoint = options.resume ? findCheckpoint(stage, host, folder, identity, ready.total) : undefined;
    return await claimed(ready, host, folder, identity, checkpoint, started);
  } finally {
    release?.();
  }
}

async function claimed(
  ready: PreparedTrain,
  host: RunHost,
  folder: string,
  identity: Identity,
  checkpoint: Checkpoint | undefined,
  started: number,
): Promise<TrainResult> {
  const { stage } = ready;
  host.listen({
    event: "plan",
    stage: stage.name,
    peak_bytes: memoryOf(ready.built.program).total,
    trained: stage.trained.reduce((sum, name) => sum + elements(host.values.shape(name)), 0),
    parameters: Object.keys(ready.built.program.params).reduce((sum, name) => sum + elements(host.values.shape(name)), 0),
    steps: ready.total,
  });

  await dropSessions(host.values);
  const session = await host.engine.open(ready.built);
  const run = new TrainRun(ready, host, session, folder, identity);
  try {
    await run.fill(checkpoint);
    // from here on the run is known to start: only now does an earlier one give way
    sweepPartial(host.files, folder);
    if (checkpoint === undefined) clearRun(host.files, folder);
    else unfinish(host.files, folder);
    run.begin(checkpoint);
    const end = await run.loop(checkpoint?.progress ?? START);
    await run.finish(end.best !== undefined);
    host.values.clock = { step: Math.max(0, end.step - 1), steps: ready.total };
    const seconds = Math.round((host.now() - started) * 1000) / 1000;
    const memory = memoryOf(ready.built.program);
    const bytes = { peak_bytes: run.peakBytes, planned_bytes: memory.total, activation_bytes: memory.arenas.activations };
    const results = { ...resultsOf(end), seconds, ...bytes, ...run.streams.rebuilt };
    writeMarker(host.files, folder, { stage: stage.name, step: end.step, seconds, results, identity: { ...identity } });
    host.listen({ event: "done", stage: stage.name, folder, seconds, stopped_early: end.stoppedEarly });
    return { folder, progress: end, stoppedEarly: end.stoppedEarly, results };
  } catch (error) {
    if (error instanceof NonFinite) throw await blame(ready, host, error, (step, visit) => run.replay(step, visit));
    throw error;
  } finally {
    await run.close();
  }
}

/**
 * Numbers of a finished run: `loss` and `watch/…` of the last step, `before/…` and `after/…` of the first and the last evaluation (of the best, where it is kept), `steps`.
 */
function resultsOf({ step, history, best }: Progress): Record<string, number> {
  const measured = history.filter((entry) => Object.keys(entry).some((name) => name.startsWith("eval_")));
  const last = history.findLast((entry) => entry.loss !== undefined);
  const numbers = (entry: (typeof history)[number] | undefined, from: string, to: string) =>
    Object.entries(entry ?? {}).flatMap(([name, value]): [string, number][] =>
      name.startsWith(from) && typeof value === "number" ? [[to + name.slice(from.length), value]] : [],
    );
  return Object.fromEntries([
    ...numbers(last, "watch/", "watch/"),
    // what the objective itself names
    ...Object.entries(last ?? {}).flatMap(([name, value]): [string, number][] =>
      typeof value === "number" && !name.includes("/") ? [[`last/${name}`, value]] : [],
    ),
    ...numbers(measured[0], "eval_", "before/"),
    ...numbers(best === undefined ? measured.at(-1) : measured.find((entry) => entry.step === best.step), "eval_", "after/"),
    ...(last === undefined ? [] : [["loss", last.loss as number] as const]),
    ["updates", step],
  ]);
}
