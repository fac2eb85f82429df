import { joinPath } from "../../formats/files.ts";
import type { Session, Values } from "../../ground/program.ts";
import { Bug, InputError } from "../../ir/errors.ts";
import { countTokens, fillBatch } from "../data/columns.ts";
import { requireBudget, sourceOf } from "../engine/budget.ts";
import { entryName } from "../engine/entries.ts";
import { loadParams } from "../engine/loading.ts";
import { FRACTION, Streams } from "../engine/streams.ts";
import type { Scalars } from "../events.ts";
import type { RunHost } from "../host.ts";
import {
  type Checkpoint,
  type Held,
  type Lent,
  readAll,
  readCheckpoint,
  type Snapshot,
  type Source,
  writeCheckpoint,
} from "../run/checkpoint.ts";
import type { Identity } from "../run/identity.ts";
import { Journal } from "../run/journal.ts";
import { saveResult } from "../run/saving.ts";
import { narrow, zeros } from "../values.ts";
import { sayingDensities } from "./densities.ts";
import { scalarsOf } from "./evaluate.ts";
import { type LoopPlan, type Progress, runLoop } from "./loop.ts";
import { stoppable } from "./stopping.ts";
import type { PreparedTrain } from "./train.ts";

/** P0901. */
export async function requireFit({ stage, built, budget, advice }: PreparedTrain): Promise<void> {
  await requireBudget(built, { bytes: budget, source: sourceOf(stage.memory, budget) }, advice);
}

/** One run of a prepared stage on an open session. */
export class TrainRun {
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

  /** Steps that may be under way at once. Streams may ask for a step a second time. */
  private get depth(): number {
    return this.streams.any ? 1 : this.host.engine.depth;
  }
  /** Ends when everything of the steps so far has been asked for. */
  private asked: Promise<void> = Promise.resolve();

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

  /** Goes on, from the values as they are, with a program that keeps streams at least every so many iterations. P0901 where that one does not fit. */
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
    const { stage, order, total, evaluation } = this.ready;
    const plan: LoopPlan = {
      stage: stage.name,
      total,
      stepsPerEpoch: order.stepsPerEpoch,
      checkpointEvery: this.checkpointEvery,
      evaluate:
        evaluation === undefined
          ? undefined
          : { every: stage.evaluate?.every, best: stage.evaluate?.best, stopAfter: stage.evaluate?.stopAfter },
      depth: this.depth,
    };
    return runLoop(plan, from, {
      start: (step) => this.start(step),
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

  private async start(step: number): Promise<Scalars> {
    const { order, stage, tables, sizes, total, full, summing } = this.ready;
    const { table, batches } = order.step(step);
    const { streams } = this;
    if (summing !== undefined) {
      // the sums of one step are to be finished before the next one adds to them: all of it is asked for first
      const before = this.asked;
      let ahead = () => {};
      this.asked = new Promise((resolve) => {
        ahead = resolve;
      });
      try {
        await before;
        const how = { streams, ...(this.depth > 1 && { ahead }) };
        return scalarsOf(await summing[table].run(this.running, batches, { step, steps: total }, how));
      } finally {
        ahead();
      }
    }
    const [rows] = batches;
    const inputs = fillBatch(stage.step[table].columns, tables[table], rows, sizes[table]);
    const name = entryName("step", table, rows.length, full[table]);
    return scalarsOf(await streams.run(name, (more) => this.session.run(name, { ...inputs, ...more, step, steps: total })));
  }

  private tokens(step: number): number {
    const { order, stage, tables, sizes } = this.ready;
    const { table, batches } = order.step(step);
    return countTokens(stage.step[table].columns, tables[table], batches.flat(), sizes[table]);
  }

  /** Runs the steps from the last known good values up to `to`, calling `visit` before each and after the last. */
  async replay(to: number, visit: (step: number, snapshot: Snapshot) => Promise<boolean>): Promise<void> {
    const from = await this.rewind();
    for (let step = from; step <= to; step++) {
      if (await visit(step, await this.snapshot())) return;
      await this.start(step);
    }
    await visit(to + 1, await this.snapshot());
  }

  /** Writes the last good values to the device; gives the steps that they have had. */
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
    const { stage, order, total } = this.ready;
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
        epochs: Math.ceil(total / order.stepsPerEpoch),
        stepsPerEpoch: order.stepsPerEpoch,
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
