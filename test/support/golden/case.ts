/** Runs one case: the program that it asks for is compiled as any other, run on a device, and compared with the case's numbers. */

import { compile } from "../../../src/compiler/compile.ts";
import type { Entry, PredictStage, Project, Stage, TrainStage } from "../../../src/compiler/project.ts";
import type { Mappings } from "../../../src/formats/adapters/mapping.ts";
import { isAdapter, readAdapter } from "../../../src/formats/adapters/read.ts";
import { openCheckpoint } from "../../../src/formats/checkpoint.ts";
import { type ModelConfig, readConfig } from "../../../src/formats/config.ts";
import { arrayColumn, type Table } from "../../../src/formats/data/table.ts";
import { type Files, readText } from "../../../src/formats/files.ts";
import { symbolsOf } from "../../../src/ir/dim.ts";
import { InputError } from "../../../src/ir/errors.ts";
import { Limit } from "../../../src/ir/graph.ts";
import type { Session, Values } from "../../../src/runtime/program.ts";
import { fillBatch } from "../../../src/train/columns.ts";
import { Sources } from "../../../src/train/compiler-host.ts";
import type { Engine } from "../../../src/train/engine.ts";
import { ValueStore } from "../../../src/train/values.ts";
import { type Adapting, adapting, loaded, withoutAllocation } from "./adapting.ts";
import { outputPath } from "./architectures.ts";
import { compare, toleranceOf } from "./compare.ts";
import { byAdapter, byKey, byName, byPath, firstOf, type Reader } from "./expected.ts";
import { baseOf, type Case, type Goldens, sourceOf, Unsupported } from "./manifest.ts";
import { modelName, programOf, selector, taskOf, type Wanted } from "./program.ts";
import { rewriteProblems } from "./rewrite.ts";
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
const NOT_BUILT: ReadonlySet<string> = new Set(["P0001", "P0662", "P0663", "P0664", "P0665"]);

/** Everything that is wrong with a case; empty: it passes. Throws `Unsupported`. */
export async function runCase(bench: Bench, test: Case): Promise<string[]> {
  try {
    return await new Run(bench, test).run();
  } catch (error) {
    if (error instanceof Limit || (error instanceof InputError && NOT_BUILT.has(error.code))) throw new Unsupported(error.message);
    throw error;
  }
}

class Run {
  private readonly io: Vectors;
  private readonly folder: string;
  private readonly source: Case;
  private readonly problems: string[] = [];
  /** Keys of the file that something was compared with. */
  private readonly compared = new Set<string>();

  private readonly bench: Bench;

  constructor(
    bench: Bench,
    private readonly test: Case,
  ) {
    const { goldens, files } = bench;
    this.folder = `${goldens.folder}/${test.dir}`;
    this.source = sourceOf(goldens, test);
    const vectors = (file: string): Vectors => {
      const path = `${goldens.folder}/${this.source.dir}/${file}`;
      return files.stat(path) === undefined ? new Map() : readVectors(files, path);
    };
    this.io = new Map([...vectors("io.safetensors"), ...vectors("grads.safetensors")]);
    this.bench = withoutAllocation(bench, test, this.io);
  }

  async run(): Promise<string[]> {
    const { bench, test, io } = this;
    const adapts = adapting(bench, test, io);
    const wanted = this.wanted(adapts);
    const project = this.compile(programOf(wanted));
    const values = this.valuesOf(project);
    const keys = [
      ...(isAdapter(bench.files, this.folder) ? [byAdapter(bench.files, this.folder, bench.mappings)] : []),
      ...(adapts.renamed ? [byName(project, adapts.renamed)] : []),
      ...(adapts.headKeys ? [byKey(adapts.headKeys)] : []),
    ];
    const reader = (tensors: Vectors): Reader => firstOf(...keys.map((make) => make(tensors)), byPath(tensors));
    this.start(project, values, reader, adapts);
    await this.onDevice(wanted, project, values, async (look, train, step) => {
      this.checkOutputs(await look(), wanted);
      if (train !== undefined) await this.checkSteps(project, train, reader, step);
    });
    if (adapts.renamed) await this.checkSaved(wanted);
    if (test.kind === "peft" || test.kind === "adapters") this.problems.push(...this.rewritten(project, values, adapts));
    for (const key of io.keys())
      if (/^(out|grad|after|step)\./.test(key) && !this.compared.has(key)) this.problems.push(`${key} was compared with nothing`);
    return this.problems;
  }

  private wanted(adapts: Adapting): Wanted {
    const { bench, test, io } = this;
    const base = test.base ?? test.dir;
    const config = readConfig(bench.files, `${bench.goldens.folder}/${base}`);
    if (config === undefined) throw new Error(`no model in ${base}`);
    const model = baseOf(bench.goldens, test)?.model_class ?? (config.architectures as string[])[0];
    const regression = isRegression(config, io);
    const outputs = [...below(io, "out.").keys()];
    const task = taskOf({ test, regression });
    const columns = outputs.flatMap((key) => outputPath(test, key, modelName(task), outputs) ?? []);
    const head = (path: string) => `m.${selector(path)}`;
    const trained =
      test.kind === "base" || test.trained === "all"
        ? ["m"]
        : test.kind === "train"
          ? (test.trained ?? []).map(head)
          : [...adapts.trained, ...adapts.heads.map(head)];
    const { statements, imports } = adapts;
    return { test, model, base, regression, adapting: statements, imports, trained, columns: [...new Set(["loss", ...columns])] };
  }

  private compile(text: string): Project {
    const { bench, test } = this;
    const path = `${bench.goldens.folder}/case.peft`;
    const library = (file: string) =>
      bench.files.stat(`${bench.library}/${file}`) ? readText(bench.files, `${bench.library}/${file}`) : undefined;
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

  private valuesOf(project: Project): ValueStore {
    const { files, mappings } = this.bench;
    return new ValueStore(project, (folder) =>
      isAdapter(files, folder) ? readAdapter(files, folder, mappings) : openCheckpoint(files, folder),
    );
  }

  /** Starting values that the adapter's file lacks. */
  private start(project: Project, values: ValueStore, reader: (tensors: Vectors) => Reader, adapts: Adapting): void {
    const given = below(this.io, "param.");
    if (given.size === 0) return;
    const { files, mappings } = this.bench;
    for (const key of Object.values(adapts.headKeys ?? {}))
      given.set(key, { shape: [], data: readAdapter(files, this.folder, mappings)!.read(key) });
    const read = reader(given);
    for (const param of project.params.values()) {
      const found = read(param);
      if (found !== undefined) values.setParam(param.name, Float32Array.from(found.data));
    }
  }

  /** Builds the program for the device, fills it and lets `use` run it. */
  private async onDevice(
    wanted: Wanted,
    project: Project,
    values: ValueStore,
    use: (look: (only?: string[]) => Promise<Record<string, Values>>, train: TrainStage | undefined, step: Step) => Promise<void>,
  ): Promise<void> {
    const { engine } = this.bench;
    const stages = project.actions.flatMap((a): Stage[] => (a.kind === "stage" ? [a.stage] : []));
    const train = stages.find((s): s is TrainStage => s.verb === "train");
    const look = stages.find((s): s is PredictStage => s.verb === "predict")!;
    const table = this.table(taskOf(wanted).labels);
    const rows = Array.from({ length: table.rows }, (_, i) => i);
    const inputs = (entry: Entry) => fillBatch(entry.columns, table, rows, sizesOf(entry, table));
    const entries = [{ name: "look", entry: look.entry }, ...(train ? [{ name: "step", entry: train.step[0] }] : [])];
    const built = await engine.build(
      entries.map(({ name, entry }) => ({ name, graph: entry.graph, sizes: sizesOf(entry, table) })),
      { trained: train?.trained ?? [] },
    );
    const session = await engine.open(built);
    try {
      for (const name of Object.keys(built.program.params)) await session.write("param", name, values.param(name));
      for (const name of Object.keys(built.program.states))
        await session.write("state", name, values.state(name, sizesOf(train!.step[0], table)).values);
      await use((only) => session.run("look", { ...inputs(look.entry), step: 0, steps: 1 }, only), train, {
        session,
        run: (step, steps) => session.run("step", { ...inputs(train!.step[0]), step, steps }),
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

  private check(
    key: string,
    seen: ArrayLike<number>,
    data: ArrayLike<number> = this.io.get(key)!.data,
    counts?: (i: number) => boolean,
  ): void {
    this.compared.add(key);
    const own = this.test.tolerances;
    const tolerances = Object.keys(own).length > 0 ? own : this.source.tolerances;
    const problem = compare(key, seen, { shape: this.io.get(key)!.shape, data }, toleranceOf(key, tolerances), counts);
    if (problem !== undefined) this.problems.push(problem);
  }

  private checkOutputs(outputs: Readonly<Record<string, Values>>, wanted: Wanted): void {
    const { io, test } = this;
    const keys = [...below(io, "out.").keys()];
    const mask = io.get("in.attention_mask");
    for (const key of keys) {
      if (key === "loss" && penalised(test)) continue;
      const path = outputPath(test, key, modelName(taskOf(wanted)), keys);
      if (path === undefined) continue;
      const { shape } = io.get(`out.${key}`)!;
      const decoded = key.startsWith("decoder_") || (test.task === "seq2seq" && key === "logits");
      const masked = mask !== undefined && !decoded && (shape.length > 2 || /^(start|end)_/.test(key));
      if (!masked) {
        this.check(`out.${key}`, outputs[path]);
        continue;
      }
      const [rows, length] = mask.shape;
      const width = shape.slice(2).reduce((a, b) => a * b, 1);
      // virtual tokens, which a prompt puts in front, are those that ours cuts off
      const front = shape[1] - length;
      const seen = front > 0 ? inFront(outputs[path], rows, length * width, front * width) : outputs[path];
      this.check(`out.${key}`, seen, undefined, (i) => {
        const [row, position] = [Math.floor(i / (shape[1] * width)), (Math.floor(i / width) % shape[1]) - front];
        return position >= 0 && mask.data[row * length + position] !== 0;
      });
    }
  }

  /** As many updates as the case has, all on its batch. */
  private async checkSteps(project: Project, train: TrainStage, reader: (tensors: Vectors) => Reader, step: Step): Promise<void> {
    const { test, io } = this;
    const steps = train.steps!;
    const [losses, norms, rates]: number[][] = [[], [], []];
    for (let i = 0; i < steps; i++) {
      const out = await step.run(i, steps);
      losses.push(out.loss[0]);
      norms.push(out.grad_norm[0]);
      rates.push(out["watch/lr"]?.[0] ?? test.optimizer?.lr ?? 0);
      if (i === 0)
        await this.checkParams("grad.", project, train, reader, (path, name) =>
          // under its own name where several attachments have a parameter of this path
          step.session.read("state", project.states.has(`gradient.${path}.seen`) ? `gradient.${path}.seen` : `gradient.${name}.seen`),
        );
    }
    if (test.optimizer === undefined) return;
    await this.checkParams("after.", project, train, reader, (_, name) => step.session.read("param", name));
    // the loss after the last update is that of one more, which nobody looks at
    losses.push((await step.run(steps, steps)).loss[0]);
    if (penalised(test)) this.check("out.loss", losses.slice(0, 1));
    for (const [key, seen] of [
      ["step.losses", losses],
      ["step.grad_norms", norms],
      ["step.lrs", rates],
    ] as const)
      if (io.has(key)) this.check(key, seen);
  }

  private async checkParams(
    prefix: string,
    project: Project,
    train: TrainStage,
    reader: (tensors: Vectors) => Reader,
    read: (path: string, name: string) => Promise<Values>,
  ): Promise<void> {
    const expected = below(this.io, prefix);
    if (expected.size === 0) return;
    const stable = ({ shape, data }: Vector): Vector => ({ shape, data: new Float32Array(data.length) });
    const unstable = reader(new Map([...expected].map(([key, v]) => [key, this.io.get(`unstable.${key}`) ?? stable(v)])));
    const find = reader(expected);
    for (const name of train.trained) {
      const param = project.params.get(name)!;
      const wanted = find(param);
      if (wanted === undefined) continue;
      const skip = unstable(param)!.data;
      this.check(prefix + wanted.key, await read(param.path, name), wanted.data, prefix === "after." ? (i) => skip[i] === 0 : undefined);
    }
  }

  /** The file of an adapter whose parameters it does not hold: what it computes. */
  private async checkSaved(wanted: Wanted): Promise<void> {
    const { statements, imports } = loaded(this.bench, this.test);
    const saved: Wanted = { ...wanted, adapting: statements, imports, trained: [] };
    const project = this.compile(programOf(saved));
    await this.onDevice(saved, project, this.valuesOf(project), async (look) => this.checkOutputs(await look(), saved));
  }

  private rewritten(project: Project, values: ValueStore, adapts: Adapting): string[] {
    // what the file holds is not what is trained: nothing is written that should be like it
    if (adapts.renamed) return [];
    const train = project.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []))[0];
    return rewriteProblems(this.bench, this.folder, project, train, values);
  }
}

/** Whether the method adds to the loss: only steps have it then. */
const penalised = ({ method }: Case): boolean => method === "adalora";

interface Step {
  readonly session: Session;
  run(step: number, steps: number): Promise<Record<string, Values>>;
}

/** As transformers decides where a configuration says nothing: one label and no class. */
const isRegression = (config: ModelConfig, io: Vectors): boolean =>
  config.problem_type === "regression" ||
  (config.problem_type == null && io.get("out.logits")?.shape.length === 2 && io.get("out.logits")!.shape[1] === 1);

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

/** Rows of `length` numbers as rows with `front` more in front of them. */
function inFront(seen: ArrayLike<number>, rows: number, length: number, front: number): ArrayLike<number> {
  if (seen.length === rows * (front + length)) return seen;
  const out = new Float32Array(rows * (front + length));
  for (let row = 0; row < rows; row++) for (let i = 0; i < length; i++) out[row * (front + length) + front + i] = seen[row * length + i];
  return out;
}
