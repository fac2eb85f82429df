/** Rank allocation on a small net of linear layers: every number of every step of the authors' allocators. */

import type { Project } from "../../../src/compiler/project.ts";
import type { Values } from "../../../src/ground/program.ts";
import { byParts, byPath, firstOf, type Part } from "./expected.ts";
import { type Case, Unsupported } from "./manifest.ts";
import { OBSERVE, update } from "./program.ts";
import { type Readers, type Running, Trial } from "./trial.ts";
import { below, type Vector } from "./vectors.ts";

/** What the cases of a method need. Their layers are `layers.N`, the attachment is `a`. */
interface Allocator {
  readonly method: string;
  options(config: Config, test: Case): Readonly<Record<string, number | boolean>>;
  /** Values to watch at every step: number of the step aside, key of the case (below `state.S`) by expression. */
  readonly watched: Readonly<Record<string, string>>;
  /** Whether the step allocates: then there is a threshold. */
  readonly due: string;
  /** States by the key of the case. */
  states(layer: number): Readonly<Record<string, string>>;
  parts(path: string, config: Config): readonly Part[];
}
type Config = Readonly<Record<string, unknown>>;

const allocators: Readonly<Record<string, Allocator>> = {
  "adalora-original": {
    method: "AdaLoRA",
    options: (c) => ({
      ...{ rank: Number(c.r), target: Number(c.target_rank), alpha: Number(c.lora_alpha) },
      ...{ begin: Number(c.init_warmup), end: Number(c.final_warmup), every: Number(c.mask_interval) },
      ...{ beta1: Number(c.beta1), beta2: Number(c.beta2), orth: Number(c.orth_reg_weight) },
    }),
    watched: { rank: "a[0].budget", threshold: "a[0].cut" },
    due: "a[0].due",
    states: (layer) =>
      Object.fromEntries(
        ["A", "E", "B"].flatMap((x) => [
          [`exp_avg_ipt.layers.${layer}.lora_${x}`, `a.layers.${layer}.${x.toLowerCase()}.layers.${layer}.lora_${x}.average`],
          [`exp_avg_unc.layers.${layer}.lora_${x}`, `a.layers.${layer}.${x.toLowerCase()}.layers.${layer}.lora_${x}.spread`],
        ]),
      ),
    parts: (path) => [{ key: path }],
  },
  increlora: {
    method: "IncreLoRA",
    options: (c, { optimizer }) => ({
      ...{ rank: Number(c.r), target: Number(c.target_rank), alpha: Number(c.lora_alpha) },
      ...{ reserve: Number(c.incre_rank_num ?? Number(c.target_rank) / 2), top: Number(c.top_h) },
      ...{ warmup: Number(c.init_warmup), every: Number(c.incre_interval), beta1: Number(c.beta1), beta2: Number(c.beta2) },
      ...{ orth: Number(c.orth_reg_weight), advance: c.advance_learn === true, restart: false },
      // new rows are a group of the optimiser's with a decay of its own
      late_decay: optimizer?.weight_decay ? Number(c.weight_decay) / optimizer.weight_decay : 1,
    }),
    watched: { threshold: "a[0].best" },
    due: "a[0].due",
    states: (layer) => ({
      [`exp_avg_ipt.layers.${layer}`]: `a.layers.${layer}.average`,
      [`exp_avg_unc.layers.${layer}`]: `a.layers.${layer}.spread`,
      [`after.layers.${layer}.ranknum`]: `a.layers.${layer}.ranks`,
    }),
    // the first piece has all rows that there are from the start, every later one a single row
    parts: (path, { r, dims, target_rank }) => {
      const axis = path.endsWith("lora_B") ? 1 : 0;
      const most = Number(target_rank) * ((dims as number[]).length - 1) + Number(r);
      const later = Array.from({ length: most }, (_, i): Part => ({ key: `${path}.${i + 1}`, axis, from: Number(r) + i }));
      return [{ key: `${path}.0`, axis, from: 0 }, ...later];
    },
  },
};

function programOf(test: Case, { method, options, watched, due }: Allocator): string {
  const config = test.config!;
  const dims = config.dims as number[];
  const { imports, optimizer } = update(test.optimizer);
  const given = Object.entries(options(config, test)).map(([name, value]) => `${name}: ${value}`);
  const watch = [
    ...Object.entries({ ...watched, due }),
    ...dims.slice(1).map((_, i) => [`now_${i}`, method === "IncreLoRA" ? `a[${i}].now` : "0"]),
  ];
  return `
import { Linear, gelu } from "std/nn"
import { ${method} } from "std/methods/adalora"
import { ${imports.join(", ")} } from "std/training"
${OBSERVE}
module Layers(dims: [int]) {
  layers = [Linear(dims[i], dims[i + 1]) for i in 0..length(dims) - 1]
  forward(x: f32[B, dims[0]]) -> out: f32[B, D] {
    out = layers[0](x)
    for layer in layers[1..] { out = layer(gelu(out)) }
  }
}
module squares(net: Layers) {
  forward(x: f32[B, ${dims[0]}], y: f32[B, ${dims[dims.length - 1]}]) -> loss: f32[] {
    loss = mean((net(x) - y) ** 2)
  }
}
model m = Layers(dims: [${dims.join(", ")}])
attach a = ${method}(${given.join(", ")}) to m.layers[*]
attach gradient = Gradient() to a
train run {
  objective = squares(m)
  data = jsonl("rows.jsonl")
  params = a
  optimizer = ${optimizer}
  steps = ${test.optimizer!.steps}
  watch = { orth: sum([s.penalty for s in a]), ${watch.map(([name, value]) => `${name}: ${value}`).join(", ")} }
}
predict look {
  objective = squares(m)
  data = jsonl("rows.jsonl")
  columns = ["loss", "net.out"]
}
`;
}

export class Toy extends Trial {
  async all(): Promise<string[]> {
    const { test, io } = this;
    const allocator = allocators[test.method];
    if (allocator === undefined) throw new Unsupported(`${test.method} on a net of linear layers`);
    const project = this.compile(programOf(test, allocator));
    const values = this.valuesOf(project);
    const parts = byParts(({ path, owner }) => (owner.kind === "attachment" ? allocator.parts(path, test.config!) : []));
    const readers: Readers = (tensors) => firstOf(parts(tensors), byPath(tensors));
    // rows that are drawn on the way are asleep until then: they may have their values from the start
    const drawn = [...io].flatMap(([key, v]): [string, Vector][] => {
      const name = /^state\.\d+\.new\.(.*)$/.exec(key)?.[1];
      // what the last growth puts aside is written as 0 then
      return name === undefined || name.includes("lora_E") ? [] : [[name, v]];
    });
    this.start(project, values, readers, new Map([...below(io, "param."), ...drawn]));
    await this.onDevice(project, values, "label", async (running) => {
      const { loss, "net.out": out } = await running.look("look");
      this.check("out.loss", loss);
      this.check("out.y", out);
      await this.steps(running, project, readers, allocator);
      if (io.has("out.final")) this.check("out.final", (await running.look("look"))["net.out"]);
    });
    this.missed(/^(out|grad|after|step|state)\./);
    return this.problems;
  }

  private async steps(running: Running, project: Project, readers: Readers, allocator: Allocator): Promise<void> {
    const { io, test } = this;
    const { session } = running;
    const total = test.optimizer!.steps;
    const layers = (test.config!.dims as number[]).length - 1;
    const trained = running.train!.trained;
    let scores: Values[] = [];
    for (let step = 0; step < total; step++) {
      const key = (name: string) => `state.${step}.${name}`;
      const ranks = await this.ranks(running, layers, project);
      const out = await running.step(step, total);
      if (step === 0) {
        this.check("out.loss_orth", out["watch/orth"]);
        await this.checkGradients(running, project, readers);
      }
      this.check(key("loss"), out.loss);
      for (const name of Object.keys(allocator.watched)) if (io.has(key(name))) this.check(key(name), out[`watch/${name}`]);
      if ((out["watch/due"][0] !== 0) !== io.has(key("threshold")))
        this.problems.push(`step ${step} ${out["watch/due"][0] !== 0 ? "allocates" : "does not allocate"}, unlike the case`);
      await this.checkParams(`${key("after")}.`, project, trained, readers, (_, name) => session.read("param", name));
      // rows that are new now: they must have slept
      await this.checkParams(`${key("new")}.`, project, trained, readers, (_, name) => session.read("param", name));
      for (let layer = 0; layer < layers; layer++)
        for (const [name, state] of Object.entries(allocator.states(layer)))
          if (io.has(key(name))) this.check(key(name), await session.read("state", state));
      // the authors' hooks, which score, are gone once the goal is reached
      if (ranks === undefined || scores.length === 0 || ranks !== Number(test.config!.target_rank) * layers)
        scores = Array.from({ length: layers }, (_, i) => out[`watch/now_${i}`]);
      for (let layer = 0; layer < layers; layer++)
        if (io.has(key(`score.layers.${layer}`))) this.check(key(`score.layers.${layer}`), scores[layer]);
      if (io.has(key("total_rank"))) this.check(key("total_rank"), [(await this.ranks(running, layers, project))!]);
    }
  }

  /** The ranks in use of all layers, where the method counts them. */
  private async ranks({ session }: Running, layers: number, project: Project): Promise<number | undefined> {
    if (!project.states.has("a.layers.0.ranks")) return undefined;
    let sum = 0;
    for (let i = 0; i < layers; i++) sum += (await session.read("state", `a.layers.${i}.ranks`))[0];
    return sum;
  }
}
