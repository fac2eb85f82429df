/** Runs one case: the program that it asks for is compiled as any other, run on a device, and compared with the case's numbers. */

import type { Project } from "../../../src/compiler/project.ts";
import { isAdapter, readAdapter } from "../../../src/formats/adapters/read.ts";
import { type ModelConfig, problemType, readConfig } from "../../../src/formats/config.ts";
import type { Values } from "../../../src/ground/program.ts";
import { InputError } from "../../../src/ir/errors.ts";
import { Limit } from "../../../src/ir/graph.ts";
import { merge } from "../../../src/train/stages/merge.ts";
import type { ValueStore } from "../../../src/train/values.ts";
import { type Adapting, adapterFolders, adapting, loaded, withoutAllocation } from "./adapting.ts";
import { outputPath } from "./architectures.ts";
import { byAdapter, byKey, byName, byParts, byPath, firstOf } from "./expected.ts";
import { Gated } from "./gates.ts";
import { baseOf, type Case, Unsupported } from "./manifest.ts";
import { asPeft } from "./modules.ts";
import { modelName, programOf, selector, taskOf, type Wanted } from "./program.ts";
import { remadeProblems, rewriteProblems, writtenAgain } from "./rewrite.ts";
import { Toy } from "./toys.ts";
import { type Bench, NOT_BUILT, type Readers, type Running, Trial } from "./trial.ts";
import { below, type Vectors } from "./vectors.ts";

/** Everything that is wrong with a case; empty: it passes. Throws `Unsupported`. */
export async function runCase(bench: Bench, test: Case): Promise<string[]> {
  try {
    return await trialOf(bench, test).all();
  } catch (error) {
    if (error instanceof Limit || (error instanceof InputError && NOT_BUILT.has(error.code))) throw new Unsupported(error.message);
    throw error;
  }
}

function trialOf(bench: Bench, test: Case): { all(): Promise<string[]> } {
  if (test.arch === "toy") return new Toy(bench, test);
  if (test.kind === "module" && test.method === "vl-pet" && test.base === undefined) return new Gated(bench, test);
  return new Run(bench, test);
}

/** A case whose model is a checkpoint. */
class Run extends Trial {
  constructor(bench: Bench, test: Case) {
    super(bench, test);
    this.bench = asPeft(withoutAllocation(bench, test, this.io), test, this.io);
  }

  async all(): Promise<string[]> {
    const { bench, test, io } = this;
    const adapts = adapting(bench, test, io);
    const wanted = this.wanted(adapts);
    const project = this.compile(programOf(wanted));
    const values = this.valuesOf(project);
    const keys: Readers[] = [
      ...this.folders().map((folder) => byAdapter(bench.files, folder, bench.mappings)),
      ...(adapts.renamed ? [byName(project, adapts.renamed)] : []),
      ...(adapts.parts ? [byParts(adapts.parts)] : []),
      ...(adapts.headKeys ? [byKey(adapts.headKeys)] : []),
    ];
    const readers: Readers = (tensors) => firstOf(...keys.map((make) => make(tensors)), byPath(tensors));
    this.start(project, values, readers, this.given());
    const use = async (running: Running) => {
      this.checkOutputs(await running.look("look"), wanted);
      for (const look of adapts.looks ?? []) {
        const outputs = await running.look(look.name);
        for (const [key, column] of Object.entries(look.outputs)) this.checkOutput(key, outputs[column]);
      }
      for (const { name } of adapts.derived ?? [])
        for (const [key, seen] of Object.entries(await running.look(name))) if (io.has(`out.${key}`)) this.checkOutput(key, seen);
      if (running.train !== undefined) await this.checkSteps(running, project, readers, values);
    };
    await this.onDevice(project, values, taskOf(wanted).labels, use, adapts.derived);
    if (adapts.renamed) await this.checkSaved(wanted);
    if (below(io, "merged.").size > 0) this.checkMerged(wanted, readers, adapts);
    if (test.kind === "peft" || test.kind === "adapters") this.problems.push(...this.rewritten(project, values, adapts));
    this.missed(/^((out|grad|after|after_saved|step|alloc)\.|alloc_)|^merged\.(?!.*\.original_module\.)/);
    return this.problems;
  }

  /** Folders of the case that hold adapters: its own, or those below it. */
  private folders(): string[] {
    const { bench, test, folder } = this;
    if (isAdapter(bench.files, folder)) return [folder];
    if (test.kind !== "adapters") return [];
    const { adapters, fusions } = adapterFolders(bench, test);
    return [...adapters, ...fusions].map((dir) => `${bench.goldens.folder}/${dir}`);
  }

  private wanted(adapts: Adapting): Wanted {
    const { bench, test, io } = this;
    const base = test.base ?? test.dir;
    const config = readConfig(bench.files, `${bench.goldens.folder}/${base}`);
    if (config === undefined) throw new Error(`no model in ${base}`);
    const model = baseOf(bench.goldens, test)?.model_class ?? (config.architectures as string[])[0];
    const problem = problemOf(config, io);
    const outputs = [...below(io, "out.").keys()];
    const task = taskOf({ test, problem });
    const columns = outputs.flatMap((key) => outputPath(test, key, modelName(task), outputs) ?? []);
    const head = (path: string) => `m.${selector(path)}`;
    const trained =
      test.kind === "base" || test.trained === "all"
        ? ["m"]
        : test.kind === "train"
          ? (test.trained ?? []).map(head)
          : [...adapts.trained, ...adapts.heads.map(head)];
    const { statements, imports, declared, objective, looks } = adapts;
    return {
      ...{ test, model, base, problem, adapting: statements, imports, trained, columns: [...new Set(["loss", ...columns])] },
      ...{ declared, objective, looks },
    };
  }

  /** Starting values that the adapter's file lacks. */
  private given(): Vectors {
    const { files, mappings } = this.bench;
    const given = below(this.io, "param.");
    if (given.size === 0 || !isAdapter(files, this.folder)) return given;
    const own = readAdapter(files, this.folder, mappings)!;
    // what the file holds as it is trained: heads, tensors that are not made from others
    for (const [key, shape] of Object.entries(own.shapes)) if (!given.has(key)) given.set(key, { shape, data: own.read(key) });
    return given;
  }

  private checkOutputs(outputs: Readonly<Record<string, Values>>, wanted: Wanted): void {
    const keys = [...below(this.io, "out.").keys()];
    for (const key of keys) {
      if (key === "loss" && this.penalised) continue;
      const path = key === "task_loss" ? "loss" : outputPath(this.test, key, modelName(taskOf(wanted)), keys);
      if (path !== undefined) this.checkOutput(key, outputs[path]);
    }
  }

  /** An output, where its positions are real. */
  private checkOutput(key: string, seen: Values): void {
    const { io, test } = this;
    const mask = io.get("in.attention_mask");
    const { shape } = io.get(`out.${key}`)!;
    const decoded = key.startsWith("decoder_") || (test.task === "seq2seq" && key === "logits");
    if (mask === undefined || decoded || !(shape.length > 2 || /^(start|end)_/.test(key))) return this.check(`out.${key}`, seen);
    const [rows, length] = mask.shape;
    const width = shape.slice(2).reduce((a, b) => a * b, 1);
    // virtual tokens, which a prompt puts in front, are those that ours cuts off
    const front = shape[1] - length;
    this.check(`out.${key}`, front > 0 ? inFront(seen, rows, length * width, front * width) : seen, undefined, (i) => {
      const [row, position] = [Math.floor(i / (shape[1] * width)), (Math.floor(i / width) % shape[1]) - front];
      return position >= 0 && mask.data[row * length + position] !== 0;
    });
  }

  private async checkSteps(running: Running, project: Project, readers: Readers, values: ValueStore): Promise<void> {
    const { test, io } = this;
    const outputs = await this.run(running, project, readers, () => this.checkFinished(running, project, values));
    const losses = outputs.map((out) => out.loss[0]);
    if (this.penalised) this.check("out.loss", losses.slice(0, 1));
    if (test.optimizer == null) return;
    for (const [key, seen] of [
      ["step.losses", losses],
      ["step.grad_norms", outputs.slice(0, -1).map((out) => out.grad_norm[0])],
      ["step.lrs", outputs.slice(0, -1).map((out) => out["watch/lr"]?.[0] ?? test.optimizer!.lr)],
      ["alloc_budget", outputs.slice(0, -1).flatMap((out) => out["watch/budget"]?.[0] ?? [])],
    ] as const)
      if (io.has(key)) this.check(key, seen);
  }

  /** Tensors of the file that is written after the run, where they are made from what is trained. */
  private async checkFinished({ session, train }: Running, project: Project, values: ValueStore): Promise<void> {
    const expected = below(this.io, "after_saved.");
    if (expected.size === 0) return;
    const trained = new Map<string, Float32Array>();
    for (const name of train!.trained) trained.set(name, Float32Array.from(await session.read("param", name)));
    const { tensors } = writtenAgain(this.bench, project, train!, (name) => trained.get(name) ?? values.param(name));
    for (const [key, { data }] of expected) {
      const seen = tensors.get(key);
      if (seen === undefined) this.problems.push(`${key} is not written`);
      else this.check(`after_saved.${key}`, seen.data, data);
    }
  }

  /** Whether something is added to the task's loss: only steps have the sum. */
  private get penalised(): boolean {
    return this.test.method === "adalora" || this.io.has("out.task_loss");
  }

  /** The file of an adapter whose parameters it does not hold: what it computes. */
  private async checkSaved(wanted: Wanted): Promise<void> {
    const { statements, imports } = loaded(this.bench, this.test);
    const saved: Wanted = { ...wanted, adapting: statements, imports, trained: [] };
    const project = this.compile(programOf(saved));
    await this.onDevice(project, this.valuesOf(project), taskOf(saved).labels, async (running) =>
      this.checkOutputs(await running.look("look"), saved),
    );
  }

  /** The model with the adapter folded in: the weights that change, and no others. */
  private checkMerged(wanted: Wanted, readers: Readers, adapts: Adapting): void {
    const project = this.compile(`${programOf({ ...wanted, trained: [] })}model plain = merge(m)\n`);
    const values = this.valuesOf(project);
    this.start(project, values, readers, this.given());
    // where the library's merging leaves a trained head in its wrapper, the wrapper names both weights; the trained one counts
    const expected = new Map<string, { key: string; data: ArrayLike<number> }>();
    for (const [name, { data }] of below(this.io, "merged.")) {
      const key = `merged.${name}`;
      if (!name.includes(".original_module.")) expected.set(name.replace(/\.modules_to_save\.\w+\./, "."), { key, data });
    }
    for (const action of project.actions) {
      if (action.kind !== "merge") continue;
      const { difference, at } = merge(action, values);
      if (!(difference < 1e-4)) this.problems.push(`merging changes what ${at} computes by ${difference}`);
      for (const { param } of action.folds)
        if (!expected.has(project.params.get(param)!.path)) this.problems.push(`merging changes ${param}, which the case does not`);
    }
    for (const [path, { key, data }] of expected) {
      const param = [...project.params.values()].find((p) => p.owner.name === "plain" && p.path === path);
      if (param === undefined) this.problems.push(`the merged model has no ${path}`);
      else this.check(key, values.param(param.name), data);
    }
  }

  private rewritten(project: Project, values: ValueStore, adapts: Adapting): string[] {
    if (!isAdapter(this.bench.files, this.folder)) return [];
    const train = project.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []))[0];
    // what the file holds is made from what is trained
    if (adapts.renamed) return remadeProblems(this.bench, this.folder, project, train, values);
    return rewriteProblems(this.bench, this.folder, project, train, values);
  }
}

/** As transformers decides where a configuration says nothing: one number is no class, several that are not whole are classes of which each may be true. */
function problemOf(config: ModelConfig, io: Vectors): string | undefined {
  const rows = io.get("in.labels")?.data instanceof Float32Array && io.get("in.labels")!.shape.length === 2;
  return problemType(config) ?? (rows ? "multi_label_classification" : undefined);
}

/** Rows of `length` numbers as rows with `front` more in front of them. */
function inFront(seen: ArrayLike<number>, rows: number, length: number, front: number): ArrayLike<number> {
  if (seen.length === rows * (front + length)) return seen;
  const out = new Float32Array(rows * (front + length));
  for (let row = 0; row < rows; row++) for (let i = 0; i < length; i++) out[row * (front + length) + front + i] = seen[row * length + i];
  return out;
}
