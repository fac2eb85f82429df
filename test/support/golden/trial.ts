/** One case on its way: its numbers, the program made for it on a device, and what is wrong with what came out. */

import { compile } from "../../../src/compiler/compile.ts";
import type { Entry, Project, Stage, TrainStage } from "../../../src/compiler/project.ts";
import type { Mappings } from "../../../src/formats/adapters/mapping.ts";
import { isAdapter, readAdapter } from "../../../src/formats/adapters/read.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { arrayColumn, type Table } from "../../../src/formats/data/table.ts";
import { type Files, readText } from "../../../src/formats/files.ts";
import type { Session, Values } from "../../../src/ground/program.ts";
import { symbolsOf } from "../../../src/ir/dim.ts";
import { Sources } from "../../../src/train/compiler-host.ts";
import { fillBatch } from "../../../src/train/data/columns.ts";
import type { Engine } from "../../../src/train/engine/engine.ts";
import { ValueStore } from "../../../src/train/values.ts";
import { compare, toleranceOf } from "./compare.ts";
import type { Reader } from "./expected.ts";
import { type Case, type Goldens, sourceOf, Unsupported } from "./manifest.ts";
import { below, readVectors, type Vector, type Vectors } from "./vectors.ts";

export interface Bench {
  readonly goldens: Goldens;
  readonly files: Files;
  readonly engine: Engine;
  /** Folder of the standard library. */
  readonly library: string;
  readonly mappings: Mappings;
}

/** Codes for what is known and not built. */
export const NOT_BUILT: ReadonlySet<string> = new Set(["P0001", "P0662", "P0663", "P0664", "P0665"]);

/** A compiled program on a device, filled. */
export interface Running {
  readonly session: Session;
  /** The stage that trains, if there is one, and one update of it on the case's batch. */
  readonly train: TrainStage | undefined;
  step(step: number, steps: number): Promise<Record<string, Values>>;
  /** Outputs of a stage that predicts, by its name. */
  look(stage: string): Promise<Record<string, Values>>;
}

/** A look made of another stage's graph. */
export interface Derived {
  readonly name: string;
  readonly of: string;
  make(entry: Entry, sizes: ReadonlyMap<string, number>): Entry;
}

/** What the tensors of a case's file hold for parameters. */
export type Readers = (tensors: Vectors) => Reader;

export class Trial {
  readonly io: Vectors;
  readonly folder: string;
  readonly problems: string[] = [];
  private readonly source: Case;
  /** Keys of the file that something was compared with. */
  private readonly compared = new Set<string>();

  constructor(
    protected bench: Bench,
    readonly test: Case,
  ) {
    const { goldens, files } = bench;
    this.folder = `${goldens.folder}/${test.dir}`;
    this.source = sourceOf(goldens, test);
    const vectors = (file: string): Vectors => {
      const path = `${goldens.folder}/${this.source.dir}/${file}`;
      return files.stat(path) === undefined ? new Map() : readVectors(files, path);
    };
    this.io = new Map([...vectors("io.safetensors"), ...vectors("grads.safetensors")]);
  }

  compile(text: string): Project {
    const { bench, test } = this;
    const path = `${bench.goldens.folder}/case.peft`;
    const library = {
      source: (file: string) =>
        bench.files.stat(`${bench.library}/${file}`) ? readText(bench.files, `${bench.library}/${file}`) : undefined,
    };
    const project = compile(path, new Sources(bench.files, library, bench.mappings).with(path, text));
    const errors = project.problems.filter((p) => p.severity === "error");
    if (errors.length === 0) return project;
    const shown = errors
      .map(({ code, message, span, label, notes }) => {
        const at =
          span === undefined ? "" : ` at \`${span.file === path ? text.slice(span.start, span.end) : `${span.file}:${span.start}`}\``;
        return [`${code} ${message}${at}`, ...(label ? [label] : []), ...(notes ?? [])].join("; ");
      })
      .join("\n");
    // a model, method or objective that the library lacks is no fault of the case's
    const lacking = errors.some((p) => NOT_BUILT.has(p.code) || p.code === "P0215" || (p.code === "P0216" && p.span?.file === path));
    if (lacking) throw new Unsupported(shown);
    throw new Error(`${test.kind} of ${test.arch} does not compile\n${shown}\n--- program\n${text}`);
  }

  valuesOf(project: Project): ValueStore {
    const { files, mappings } = this.bench;
    return new ValueStore(project, (folder) =>
      isAdapter(files, folder) ? readAdapter(files, folder, mappings) : openCheckpoint(files, folder),
    );
  }

  /** Starting values that are in the case's file: `param.*`, and what else is `given`. */
  start(project: Project, values: ValueStore, readers: Readers, given: Vectors = below(this.io, "param.")): void {
    const read = readers(given);
    for (const param of project.params.values()) {
      const found = read(param);
      if (found.length === 0) continue;
      const start = Float32Array.from(values.param(param.name));
      for (const { data, place } of found) for (let i = 0; i < data.length; i++) start[place ? place(i) : i] = data[i];
      values.setParam(param.name, start);
    }
  }

  /** Builds the program for the device, fills it and lets `use` run it. `labels`: what the program calls the case's labels. */
  async onDevice(
    project: Project,
    values: ValueStore,
    labels: string,
    use: (running: Running) => Promise<void>,
    derived: readonly Derived[] = [],
  ): Promise<void> {
    const { engine } = this.bench;
    const stages = project.actions.flatMap((a): Stage[] => (a.kind === "stage" ? [a.stage] : []));
    const train = stages.find((s): s is TrainStage => s.verb === "train");
    const table = this.table(labels);
    const rows = Array.from({ length: table.rows }, (_, i) => i);
    const entries = new Map<string, Entry>();
    for (const s of stages) if (s.verb === "predict") entries.set(`look ${s.name}`, s.entry);
    if (train) entries.set("step", train.step[0]);
    for (const { name, of, make } of derived) {
      const from = entries.get(`look ${of}`)!;
      entries.set(`look ${name}`, make(from, sizesOf(from, table)));
    }
    const sizes = new Map([...entries].map(([name, entry]) => [name, sizesOf(entry, table)]));
    const built = await engine.build(
      [...entries].map(([name, { graph }]) => ({ name, graph, sizes: sizes.get(name)! })),
      { trained: train?.trained ?? [] },
    );
    const inputs = (name: string) => fillBatch(entries.get(name)!.columns, table, rows, sizes.get(name)!);
    const session = await engine.open(built);
    try {
      for (const name of Object.keys(built.program.params)) await session.write("param", name, values.param(name));
      for (const name of Object.keys(built.program.states))
        await session.write("state", name, values.state(name, sizes.get("step")!).values);
      await use({
        session,
        train,
        step: (step, steps) => session.run("step", { ...inputs("step"), step, steps }),
        look: (stage) => session.run(`look ${stage}`, { ...inputs(`look ${stage}`), step: 0, steps: 1 }),
      });
    } finally {
      await session.close();
    }
  }

  /** The batch: micro-batches one after another. */
  private table(labels: string): Table {
    const columns = new Map<string, Vector[]>();
    for (const key of [...this.io.keys()].filter((k) => /^in\d*\./.test(k)).sort()) {
      const name = key.slice(key.indexOf(".") + 1);
      const column = name === "labels" ? labels : name;
      columns.set(column, [...(columns.get(column) ?? []), this.io.get(key)!]);
    }
    const [first] = columns.values();
    return {
      name: "the case",
      rows: first.reduce((n, v) => n + v.shape[0], 0),
      columns: new Map([...columns].map(([name, parts]) => [name, arrayColumn(parts.flatMap(rowsOf), parts[0].shape.length - 1, 0)])),
    };
  }

  check(key: string, seen: ArrayLike<number>, data: ArrayLike<number> = this.io.get(key)!.data, counts?: (i: number) => boolean): void {
    this.compared.add(key);
    const own = this.test.tolerances;
    const tolerances = Object.keys(own).length > 0 ? own : this.source.tolerances;
    const problem = compare(
      key,
      seen,
      { shape: this.io.get(key)!.shape, data },
      toleranceOf(key, tolerances, this.test.reconstruct_gap),
      counts,
    );
    if (problem !== undefined) this.problems.push(problem);
  }

  /** What the file says of trained parameters under `prefix`. `mask`: elements where `unstable.*` is 1 are left out. */
  async checkParams(
    prefix: string,
    project: Project,
    trained: readonly string[],
    readers: Readers,
    read: (path: string, name: string) => Promise<Values>,
    mask = false,
  ): Promise<void> {
    const expected = below(this.io, prefix);
    if (expected.size === 0) return;
    const stable = ({ shape, data }: Vector): Vector => ({ shape, data: new Float32Array(data.length) });
    const unstable = readers(new Map([...expected].map(([key, v]) => [key, this.io.get(`unstable.${key}`) ?? stable(v)])));
    const find = readers(expected);
    for (const name of trained) {
      const param = project.params.get(name)!;
      const found = find(param);
      if (found.length === 0) continue;
      const seen = await read(param.path, name);
      for (const [k, { key, data, place }] of found.entries()) {
        const skip = unstable(param)[k].data;
        const own = place ? Array.from(data, (_, i) => seen[place(i)]) : seen;
        this.check(prefix + key, own, data, mask ? (i) => skip[i] === 0 : undefined);
      }
    }
  }

  /** Gradients that the attachment `gradient` of the program kept in the last step. */
  async checkGradients({ session, train }: Running, project: Project, readers: Readers): Promise<void> {
    await this.checkParams("grad.", project, train!.trained, readers, (path, name) =>
      // under its own name where several attachments have a parameter of this path
      session.read("state", project.states.has(`gradient.${path}.seen`) ? `gradient.${path}.seen` : `gradient.${name}.seen`),
    );
  }

  /** As many updates as the case has, all on its batch; gives what each put out, and what one more would. `finished` is called between. */
  async run(running: Running, project: Project, readers: Readers, finished = async () => {}): Promise<Record<string, Values>[]> {
    const steps = running.train!.steps!;
    const outputs: Record<string, Values>[] = [];
    for (let i = 0; i < steps; i++) {
      outputs.push(await running.step(i, steps));
      await this.checkParams(`alloc.${i}.`, project, running.train!.trained, readers, (_, name) => running.session.read("param", name));
      if (i === 0) await this.checkGradients(running, project, readers);
    }
    if (this.test.optimizer == null) return outputs;
    await this.checkParams("after.", project, running.train!.trained, readers, (_, name) => running.session.read("param", name), true);
    await finished();
    // the loss after the last update is that of one more, which nobody looks at
    return [...outputs, await running.step(steps, steps)];
  }

  /** Keys that match and that nothing was compared with. What nothing reads has no gradient here, and one of zeros there. */
  missed(keys: RegExp): void {
    for (const [key, { data }] of this.io) {
      const unread = key.startsWith("grad.") && Array.prototype.every.call(data, (x) => x === 0);
      if (keys.test(key) && !this.compared.has(key) && !unread) this.problems.push(`${key} was compared with nothing`);
    }
  }
}

/** The rows of a column. */
function rowsOf({ shape, data }: Vector): { values: ArrayLike<number>; shape: readonly number[] }[] {
  const inner = shape.slice(1);
  const width = inner.reduce((n, d) => n * d, 1);
  return Array.from({ length: shape[0] }, (_, i) => ({
    shape: inner,
    values: Array.prototype.slice.call(data, i * width, (i + 1) * width) as number[],
  }));
}

/** The exact size of each symbol; nothing is rounded up, so that shapes are the case's. */
function sizesOf(entry: Entry, table: Table): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const { name, shape } of entry.columns) {
    const column = table.columns.get(name);
    if (column === undefined) continue;
    const seen = [table.rows, ...column.shape(0)];
    shape.forEach((dim, axis) => {
      for (const symbol of symbolsOf(dim)) if (String(dim) === symbol) sizes.set(symbol, seen[axis]);
    });
  }
  return sizes;
}
