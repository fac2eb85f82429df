/** A `train` stage: data, program, session, loop, checkpoints, result. */
import type { Entry, TrainStage } from "../compiler/project.ts";
import { isRecord, joinPath, readRecord } from "../formats/files.ts";
import { Bug, InputError } from "../ir/errors.ts";
import type { Session, Values } from "../runtime/program.ts";
import { budgetOf, memoryOf, requireBudget, sourceOf } from "./budget.ts";
import {
  type Checkpoint,
  type Held,
  type Lent,
  readAll,
  readCheckpoint,
  type Snapshot,
  type Source,
  sweepPartial,
  writeCheckpoint,
} from "./checkpoint.ts";
import { bindSizes, checkTable, countTokens, type DataTable, fillBatch, tablePieces } from "./columns.ts";
import { sayingDensities } from "./densities.ts";
import type { BuildOptions, Built, EntryPoint } from "./engine.ts";
import { entryName, entryPoints } from "./entries.ts";
import { Evaluation, scalarsOf } from "./evaluate.ts";
import type { Scalars } from "./events.ts";
import { clearRun, MARKER, unfinish, writeMarker } from "./folders.ts";
import type { RunHost } from "./host.ts";
import { describeGraph, type Identity, STAMPED, sha256 } from "./identity.ts";
import { Journal } from "./journal.ts";
import { dropSessions } from "./kept.ts";
import { loadParams } from "./loading.ts";
import { type LoopPlan, NonFinite, type Progress, runLoop, START } from "./loop.ts";
import { blame } from "./nonfinite.ts";
import { adviceFor, type Build, inParts, type Lay } from "./parts.ts";
import { findCheckpoint } from "./resume.ts";
import { requireFree, type SaveOptions, saveResult } from "./saving.ts";
import { ORDER, Schedule } from "./schedule.ts";
import { stopIfAsked, stoppable } from "./stopping.ts";
import { FRACTION, Streams } from "./streams.ts";
import { Summing } from "./summing.ts";
import { withTargets } from "./targets.ts";
import { elements, narrow, zeros } from "./values.ts";

/** Entry points of an update in several batches. */
const NAMES = { count: "count", part: "gradients", finish: "update" };

/** A stage with its data read and checked, before anything is compiled. */
export interface LaidTrain {
  readonly stage: TrainStage;
  readonly tables: readonly DataTable[];
  readonly sizes: readonly ReadonlyMap<string, number>[];
  readonly schedule: Schedule;
  readonly total: number;
  /** Rows of the largest batch of each table. */
  readonly full: readonly number[];
  /** Rows that are computed at once, and how often for one update: those of the stage, or smaller batches with the same sums. */
  readonly batch: number;
  readonly accumulate: number;
  readonly evaluation: Evaluation | undefined;
  readonly points: readonly EntryPoint[];
  /** By table, where an update is several batches. */
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

/** P0901. */
export async function requireFit({ stage, built, budget, advice }: PreparedTrain): Promise<void> {
  await requireBudget(built, { bytes: budget, source: sourceOf(stage.memory, budget) }, advice);
}

/** The part of `prepareTrain` that needs no device. */
export async function layTrain(
  stage: TrainStage,
  host: Pick<RunHost, "table"> & { readonly engine?: { readonly splits?: boolean } },
): Promise<LaidTrain> {
  const read: DataTable[] = [];
  for (const spec of stage.data) {
    const table = await host.table({
      spec,
      tokenizer: stage.tokenizer,
      separate: stage.separate,
      sequence: stage.sequence,
      entries: stage.evaluation,
    });
    if (table === undefined) throw new InputError("P0731", `\`${spec.make}\` has no held part`, ["give it `split:`"]);
    read.push(table);
  }
  const tables = stage.step.map((entry, i) => {
    checkTable(entry.columns, entry.graph, read[i], stage.sequence);
    return withTargets(entry.columns, read[i], stage.sequence);
  });
  const sizes = stage.step.map((entry, i) => bindSizes(entry.columns, tables[i], stage.sequence));
  const { batch, accumulate, shuffle, seed } = stage;
  const schedule = new Schedule({ rows: tables.map((t) => t.rows), batch, accumulate, shuffle, seed, stage: stage.name });
  const total = schedule.total(stage.steps, stage.epochs);
  const evaluation = await prepareEvaluation(stage, host);
  const batches = schedule.batchSizes(total);
  const summing =
    accumulate === 1 && host.engine?.splits !== true
      ? undefined
      : stage.step.map(
          (entry, i) => new Summing({ names: NAMES, entry, number: i, table: tables[i], sizes: sizes[i], batches: batches[i] }),
        );
  const points = [...(summing?.flatMap((s) => s.points) ?? entryPoints("step", stage.step, sizes, batches)), ...(evaluation?.points ?? [])];
  const states = new Map<string, ReadonlyMap<string, number>>();
  stage.step.forEach((entry, i) => {
    for (const name of entry.states) if (!states.has(name)) states.set(name, sizes[i]);
  });
  const full = batches.map((b) => b[0]);
  return { stage, tables, sizes, schedule, total, full, batch, accumulate, evaluation, points, summing, states };
}

/** The evaluation that a stage asks for, or that its held data allows; `undefined`: none. */
export async function prepareEvaluation(stage: TrainStage, host: Pick<RunHost, "table">): Promise<Evaluation | undefined> {
  const given = stage.evaluate?.data;
  const specs = given === undefined ? stage.data.map((spec) => ({ ...spec, part: "held" as const })) : [given];
  const entries: Entry[] = [];
  const tables: DataTable[] = [];
  for (const [i, spec] of specs.entries()) {
    const table = await host.table({
      spec,
      tokenizer: stage.tokenizer,
      separate: stage.separate,
      sequence: stage.sequence,
      entries: stage.evaluation,
    });
    if (table === undefined || stage.evaluation[i] === undefined) continue;
    entries.push(stage.evaluation[i]);
    tables.push(table);
  }
  if (entries.length === 0) {
    if (stage.evaluate === undefined) return undefined;
    throw new InputError("P0731", `stage \`${stage.name}\` evaluates, but its data has no held part`, [
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
 * Numbers of a finished run: `loss` and `watch/…` of the last update, `before/…` and `after/…` of the first and the last evaluation (of the best, where it is kept), `updates`.
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
/** Those that a finished run left in its folder. */
export function resultsIn(files: RunHost["files"], folder: string): Scalars {
  const { results } = readRecord(files, joinPath(folder, MARKER));
  return (isRecord(results) ? results : {}) as Scalars;
}

/** What the run is, for checkpoints. Weights are those it starts from, so this must be asked before training. */
export async function identityOf(ready: PreparedTrain, host: RunHost): Promise<Identity> {
  const { stage } = ready;
  const data: Record<string, string> = {};
  for (const [i, table] of ready.tables.entries()) data[`${i > 0 ? `${i} ` : ""}${table.name}`] = await sha256(tablePieces(table));
  const weights: Record<string, string> = {};
  const byOwner = new Map<string, string[]>();
  for (const name of Object.keys(ready.built.program.params).sort()) {
    const owner = host.project.params.get(name)?.owner.name ?? name;
    byOwner.set(owner, [...(byOwner.get(owner) ?? []), name]);
  }
  for (const [owner, names] of byOwner) {
    const stamps = names.map((name) => host.values.stamp(name));
    const pieces = function* () {
      for (const [i, name] of names.entries()) {
        yield name;
        yield stamps[i] ?? host.values.param(name);
      }
    };
    weights[owner] = (stamps.every((s) => s === undefined) ? "" : STAMPED) + (await sha256(pieces()));
  }
  const { batch, accumulate, sequence, seed, shuffle, precision, reverse, evaluate, checkpoint } = stage;
  const settings: Record<string, unknown> = { steps: ready.total, batch, accumulate, sequence, seed, shuffle, precision, reverse };
  settings["order of rows"] = ORDER;
  settings["evaluate.every"] = evaluate?.every;
  settings["evaluate.best"] = evaluate?.best;
  settings["evaluate.stop_after"] = evaluate?.stopAfter;
  settings["checkpoint.every"] = checkpoint.every;
  return {
    settings: Object.fromEntries(Object.entries(settings).map(([name, value]) => [name, value === undefined ? "none" : String(value)])),
    graph: await sha256([...stage.step, ...stage.evaluation].map((entry) => describeGraph(entry.graph))),
    data,
    weights,
    arithmetic: `${ready.built.program.target} ${ready.built.program.arithmetic}${host.engine.rounding === undefined ? "" : ` ${host.engine.rounding}`}, peftc ${host.version}`,
  };
}

/** One run of a prepared stage on an open session. */
class TrainRun {
  private best: ReadonlyMap<string, Held> | undefined;
  private readonly journal: Journal;
  readonly streams: Streams;
  /** Where `replay` starts: the checkpoint with the last values known to be good; none: those that the stage began with. They are read again, not kept. */
  private origin: number | undefined;

  constructor(
    private ready: PreparedTrain,
    private readonly host: RunHost,
    private session: Session,
    private readonly folder: string,
    private readonly identity: Identity,
  ) {
    this.streams = new Streams({
      built: () => this.ready.built,
      say: (message) => host.listen({ event: "note", message }),
      most: Number(ready.stage.reverse) || 0,
      reopen: (segment) => this.reopen(segment),
    });
    this.journal = new Journal(host.files, joinPath(folder, "metrics.jsonl"));
  }

  /** Writes all parameters and states: those of the checkpoint where it has them. */
  async fill(checkpoint: Checkpoint | undefined): Promise<void> {
    const { program } = this.ready.built;
    const { values } = this.host;
    const snapshot = checkpoint?.snapshot();
    const kept = snapshot?.params ?? new Map<string, Held>();
    const { listen } = this.host;
    await loadParams(stoppable(this.session, this.host), program, {
      values,
      stage: this.ready.stage.name,
      listen,
      without: (name) => kept.has(name),
    });
    for (const [name, held] of kept) if (program.params[name] !== undefined) await this.session.write("param", name, held.values);
    for (const name of Object.keys(program.states)) {
      await this.session.write("state", name, (snapshot?.states.get(name) ?? this.startOf(name)).values);
    }
    this.best = snapshot?.best;
    this.streams.fraction = checkpoint?.progress.fraction ?? FRACTION;
    this.origin = checkpoint?.progress.step;
    this.streams.segment = checkpoint?.progress.segment;
    if (this.streams.segment !== undefined) await this.reopen(this.streams.segment);
  }

  /** The session at hand, which another may take the place of. */
  private readonly running: Pick<Session, "run"> = { run: (...call) => this.session.run(...call) };

  get peakBytes(): number {
    return this.session.memory.planned + this.session.memory.platform;
  }
  close(): Promise<void> {
    return this.session.close();
  }

  /** Goes on, from the values as they are, with a program that keeps streams at least every so many turns. P0901 where that one does not fit. */
  private async reopen(segment: number): Promise<void> {
    const { stage, points, options } = this.ready;
    const { engine, values, listen } = this.host;
    const built = await engine.build(points, { ...options, segment });
    const ready = { ...this.ready, built };
    await requireFit(ready);
    const params = await readAll(this.source.params);
    const states = new Map<string, Values>();
    for (const name of Object.keys(this.ready.built.program.states)) states.set(name, await this.session.read("state", name));
    await this.session.close();
    this.ready = ready;
    this.session = await engine.open(built);
    await loadParams(stoppable(this.session, this.host), built.program, {
      values,
      stage: stage.name,
      listen,
      without: (name) => params.has(name),
    });
    for (const [name, held] of params) if (built.program.params[name] !== undefined) await this.session.write("param", name, held.values);
    for (const [name, held] of states) await this.session.write("state", name, held);
  }

  /** Starts the record of the run. */
  begin(checkpoint: Checkpoint | undefined): void {
    this.journal.begin(checkpoint?.progress);
  }

  /** States that live from update to update; sums over the batches of one are zero in between. */
  private get states(): string[] {
    return Object.keys(this.ready.built.program.states).filter((name) => this.host.project.states.has(name));
  }

  private startOf(state: string): Held {
    const { program } = this.ready.built;
    if (!this.host.project.states.has(state)) return zeros(program.tensors[program.states[state]]);
    return this.host.values.state(state, this.ready.states.get(state) ?? new Map());
  }

  async loop(from: Progress): Promise<Progress & { stoppedEarly: boolean }> {
    const { stage, schedule, total, evaluation } = this.ready;
    const plan: LoopPlan = {
      stage: stage.name,
      total,
      updatesPerEpoch: schedule.updatesPerEpoch,
      checkpointEvery: this.checkpointEvery,
      evaluate:
        evaluation === undefined
          ? undefined
          : { every: stage.evaluate?.every, best: stage.evaluate?.best, stopAfter: stage.evaluate?.stopAfter },
      // the sums of one update must be finished before the next one adds to them
      depth: this.ready.summing === undefined && !this.streams.any ? this.host.engine.depth : 1,
    };
    return runLoop(plan, from, {
      update: (step) => this.update(step),
      tokens: (step) => this.tokens(step),
      evaluate: (step) => evaluation!.run(stoppable(this.session, this.host), Math.max(0, step - 1), total),
      keepBest: async () => {
        this.best = await readAll(this.source.params);
      },
      checkpoint: (progress) => this.checkpoint(progress),
      interrupted: () => this.host.interrupted(),
      listen: sayingDensities({ densities: () => this.session.densities?.() ?? [] }, this.host.listen),
      now: () => this.host.now(),
      peakBytes: () => this.peakBytes,
      log: (entry) => this.journal.add(entry),
    });
  }

  private get checkpointEvery(): number {
    return this.ready.stage.checkpoint.every ?? Math.max(1, Math.round(this.ready.total / 10));
  }

  private async update(step: number): Promise<Scalars> {
    const { schedule, stage, tables, sizes, total, full, summing } = this.ready;
    const { table, batches } = schedule.update(step);
    const { streams } = this;
    if (summing !== undefined) return scalarsOf(await summing[table].run(this.running, batches, { step, steps: total }, streams));
    const [rows] = batches;
    const inputs = fillBatch(stage.step[table].columns, tables[table], rows, sizes[table]);
    const name = entryName("step", table, rows.length, full[table]);
    return scalarsOf(await streams.run(name, (more) => this.session.run(name, { ...inputs, ...more, step, steps: total })));
  }

  private tokens(step: number): number {
    const { schedule, stage, tables, sizes } = this.ready;
    const { table, batches } = schedule.update(step);
    return countTokens(stage.step[table].columns, tables[table], batches.flat(), sizes[table]);
  }

  /** Runs the updates from the last known good values up to `to`, calling `visit` before each and after the last. */
  async replay(to: number, visit: (step: number, snapshot: Snapshot) => Promise<boolean>): Promise<void> {
    const from = await this.rewind();
    for (let step = from; step <= to; step++) {
      if (await visit(step, await this.snapshot())) return;
      await this.update(step);
    }
    await visit(to + 1, await this.snapshot());
  }

  /** Writes the last good values to the device; gives the updates that they have had. */
  private async rewind(): Promise<number> {
    const { host, folder, origin: step } = this;
    let checkpoint: Checkpoint | undefined;
    try {
      checkpoint = step === undefined ? undefined : readCheckpoint(host.files, folder, step);
    } catch (error) {
      // gone or damaged since: the start is there in any case
      if (!(error instanceof InputError)) throw error;
    }
    const snapshot = checkpoint?.snapshot();
    for (const name of this.ready.stage.trained)
      await this.session.write("param", name, snapshot?.params.get(name)?.values ?? host.values.weights(name));
    for (const name of Object.keys(this.ready.built.program.states))
      await this.session.write("state", name, (snapshot?.states.get(name) ?? this.startOf(name)).values);
    return checkpoint?.progress.step ?? 0;
  }

  /** What is trained, and the states, where they lie. */
  private get source(): Source {
    const { states, tensors } = this.ready.built.program;
    const params = new Map<string, Lent>();
    for (const name of this.ready.stage.trained)
      params.set(name, { dtype: "f32", shape: this.host.values.shape(name), read: () => this.session.read("param", name) });
    const stateOf = (name: string): Lent => {
      const { dtype, shape } = tensors[states[name]];
      return { dtype, shape, read: () => this.session.read("state", name) };
    };
    return {
      params,
      states: new Map(this.states.map((name) => [name, stateOf(name)])),
      ...(this.best === undefined ? {} : { best: this.best }),
    };
  }

  private async snapshot(): Promise<Snapshot> {
    const { params, states, best } = this.source;
    return { params: await readAll(params), states: await readAll(states), ...(best === undefined ? {} : { best }) };
  }

  /** What the usable form of a checkpoint is written from: nothing where the stage trains no adapter. */
  private async usable(): Promise<Snapshot> {
    const { stage } = this.ready;
    if (stage.attachments.length === 0 && stage.objectives.length === 0) return { params: new Map(), states: new Map() };
    const { params, states } = this.source;
    const lasting = new Map([...states].filter(([name]) => this.host.values.lasts(name)));
    return { params: await readAll(params), states: await readAll(lasting) };
  }

  private async checkpoint(progress: Progress): Promise<string> {
    const { stage, schedule, total } = this.ready;
    const usable = await this.usable();
    const value = (name: string) => this.valueIn(usable, name);
    const made = await this.host.provenances.of(stage, value);
    const path = await writeCheckpoint(
      this.host.files,
      this.folder,
      this.source,
      {
        progress: {
          ...progress,
          ...(this.streams.integer ? { fraction: this.streams.fraction } : {}),
          ...(this.streams.segment === undefined ? {} : { segment: this.streams.segment }),
        },
        identity: this.identity,
        total,
        epochs: Math.ceil(total / schedule.updatesPerEpoch),
        updatesPerEpoch: schedule.updatesPerEpoch,
        batch: stage.batch,
        checkpointEvery: this.checkpointEvery,
        evaluateEvery: stage.evaluate?.every,
      },
      (folder) => {
        this.host.artefacts.adapter(folder, stage, value, made);
      },
      stage.checkpoint.keep,
    );
    this.origin = progress.step;
    return path;
  }

  private valueIn({ params, states }: Snapshot, name: string): Float32Array {
    const held = params.get(name) ?? states.get(name);
    if (held === undefined && this.ready.stage.trained.includes(name)) throw new Bug(`${name} is asked for as it was`);
    return held === undefined ? this.host.values.either(name) : (narrow("f32", held.values) as Float32Array);
  }

  /** Writes the result, and leaves it in the store for later stages. */
  async finish(useBest: boolean): Promise<void> {
    const { stage } = this.ready;
    const { host } = this;
    const end = this.source;
    const params = useBest && this.best !== undefined ? this.best : await readAll(end.params);
    for (const [name, held] of params) host.values.setParam(name, held.values as Float32Array);
    for (const [name, lent] of end.states) {
      // an optimiser's state lives as long as the stage, an attachment's goes on
      if (host.values.lasts(name)) host.values.setState(name, { ...lent, values: await lent.read() });
    }
    await saveResult(stage, host, this.folder, (name) => host.values.either(name));
  }
}
