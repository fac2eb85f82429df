/** What depends on frozen values alone is computed once, after loading: it is not in the kernels of a step. And what is packed then, stays packed. */
import { describe, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import type { Project, TrainStage } from "../../src/compiler/project.ts";
import type { Program } from "../../src/ground/program.ts";
import { type Graph, order } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { startThread } from "../../src/node/threads.ts";
import { openWasm } from "../../src/runtime/wasm.ts";
import { tensorOf, ValueStore } from "../../src/train/values.ts";
import { compileText } from "../support/compile.ts";

const HEAD = `
import { Linear } from "std/nn"
import { LoRA, NF4, LoftQ } from "std/methods/lora"
import { PiSSA } from "std/methods/pissa"
import { nf4, Half, Int8 } from "std/methods/quantise"
import { OFT } from "std/methods/oft"
import { sgd } from "std/training"
module Net() {
  first  = Linear(16, 24)
  second = Linear(24, 8)
  forward(x: f32[B, 16]) -> y: f32[B, 8] { y = second(tanh(first(x))) }
}
module squares(net: Net) {
  forward(x: f32[B, 16], label: f32[B, 8]) -> loss: f32[] { loss = mean((net(x) - label) ** 2) }
}
model net = Net()
`;
const RUN = `train { objective = squares(net)  params = a  data = text("x")  steps = 4  batch = 5  optimizer = sgd(lr: 0.5) }`;

function compiled(body: string): Project {
  return compileText(HEAD + body);
}
function project(body: string): { p: Project; stage: TrainStage } {
  const p = compiled(body);
  expect(p.problems.map((x) => `${x.code} ${x.message}`)).toEqual([]);
  const [stage] = p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []));
  return { p, stage };
}

const wave = (n: number, seed: number): Float32Array => Float32Array.from({ length: n }, (_, i) => Math.sin(1.7 * i + seed));
/** Starts, with adapters that do something. */
const valuesFor = (p: Project, overrides: ReadonlyMap<string, Float32Array> = new Map()) => {
  const store = new ValueStore(p, () => undefined);
  for (const [name, v] of overrides) store.setParam(name, v);
  return (name: string): Float32Array =>
    /lora_B|oft_R/.test(name) ? store.param(name).map((v, i) => v + 0.05 * Math.sin(3 * i + 1)) : store.param(name);
};
const INPUTS = { x: wave(5 * 16, 2), label: wave(5 * 8, 3) };

function stepOf(stage: TrainStage): { graph: Graph; scalars: ReturnType<typeof compileGraph>["scalars"] } {
  return compileGraph(stage.step[0].graph, { sizes: new Map([["B", 5]]) });
}
/** Results of one step in f64. */
function meaning(body: string, overrides?: ReadonlyMap<string, Float32Array>, run = RUN): Map<string, number[]> {
  const { p, stage } = project(`${body} ${run}`);
  const { graph, scalars } = stepOf(stage);
  expect(scalars).toEqual([]);
  const value = valuesFor(p, overrides);
  const params = new Map([...p.params.values()].map((d) => [d.name, tensorOf("f32", d.shape, value(d.name))]));
  const inputs = new Map([
    ["x", tensorOf("f32", [5, 16], INPUTS.x)],
    ["label", tensorOf("f32", [5, 8], INPUTS.label)],
    ["step", tensor("i32", [], [0])],
    ["steps", tensor("i32", [], [4])],
  ]);
  return new Map([...interpret(graph, { params, states: new Map(), inputs })].map(([k, t]) => [k, Array.from(t.data)]));
}
/** The same on WebAssembly, with the program. */
async function onWasm(body: string, run = RUN): Promise<{ program: Program; results: Map<string, number[]> }> {
  const { p, stage } = project(`${body} ${run}`);
  const { graph, scalars } = stepOf(stage);
  const { program, module } = await compileProgram([{ name: "step", graph, scalars }], { target: "wasm", arithmetic: "plain", workers: 1 });
  const session = await openWasm(program, module!, { workers: 1, startThread });
  const value = valuesFor(p);
  for (const name of Object.keys(program.params)) await session.write("param", name, value(name));
  const inputs = Object.fromEntries(Object.entries({ ...INPUTS, step: 0, steps: 4 }).filter(([name]) => `step/${name}` in program.inputs));
  const out = await session.run("step", inputs);
  const results = new Map(Object.entries(out).map(([k, v]) => [`output:${k}`, Array.from(v)]));
  for (const name of stage.trained) results.set(`param:${name}`, Array.from(await session.read("param", name)));
  await session.close();
  return { program, results };
}
const far = (a: readonly number[], b: readonly number[]): number => Math.max(...a.map((x, i) => Math.abs(x - b[i])));

const CASES: readonly [string, string][] = [
  ["LoRA on NF4", "attach q = NF4(block: 16) to net.**: Linear attach a = LoRA(rank: 2) to net.**: Linear"],
  [
    "LoRA on NF4 with scales in 8 bits",
    "attach q = NF4(block: 8, double: true) to net.**: Linear attach a = LoRA(rank: 2) to net.**: Linear",
  ],
  ["LoRA on int8", "attach q = Int8() to net.**: Linear attach a = LoRA(rank: 2) to net.**: Linear"],
  ["LoRA on bfloat16", 'attach q = Half("bf16") to net.**: Linear attach a = LoRA(rank: 2) to net.**: Linear'],
  ["LoRA on halves", 'attach q = Half("f16") to net.**: Linear attach a = LoRA(rank: 2) to net.**: Linear'],
  ["LoftQ", "attach a = LoftQ(rank: 2, rounds: 2, block: 16) to net.**: Linear"],
  ["PiSSA", "attach a = PiSSA(rank: 2) to net.**: Linear"],
  [
    "LoRA on rotated weights",
    "method Turned() on Linear { u, s, v = svd(weight) weight := u * s @ v } attach q = Turned() to net.**: Linear attach a = LoRA(rank: 2) to net.**: Linear",
  ],
];

describe("once after loading", () => {
  test.each(CASES)("%s: decompositions and codes are not in the step; the numbers are those of the interpreter", async (_name, body) => {
    const { program, results } = await onWasm(body);
    const loads = new Set((program.loads ?? []).map((l) => l.entry));
    const step = program.entries.find((e) => e.name === "step")!;
    expect(step.steps.filter((s) => "host" in s)).toEqual([]);
    const hosted = program.entries.filter((e) => e.steps.some((s) => "host" in s));
    // numbers of 16 bits are written as such
    expect(hosted.length + Object.keys(program.halves ?? {}).length).toBeGreaterThan(0);
    for (const e of hosted) expect(loads.has(e.name)).toBe(true);
    for (const [key, wanted] of meaning(body)) if (!key.startsWith("state:")) expect(far(results.get(key)!, wanted)).toBeLessThan(2e-5);
  });
});

describe("precision", () => {
  const lora = "attach a = LoRA(rank: 2) to net.**: Linear";
  const run = (precision: string) => RUN.replace("steps = 4", `steps = 4 precision = "${precision}"`);
  test.each(["f16", "bf16"])("%s keeps frozen matrices in half the bytes; what learns and the sums stay f32", async (precision) => {
    const { program, results } = await onWasm(lora, run(precision));
    const bytes = (p: Program) =>
      p.arenas.filter((a) => a.name === "frozen").reduce((sum, a) => sum + a.pages.reduce((x, y) => x + y, 0), 0);
    const { program: plain, results: whole } = await onWasm(lora);
    // two matrices of 16 · 24 and 24 · 8 numbers, at two bytes less each
    expect(bytes(plain) - bytes(program)).toBe(2 * (16 * 24 + 24 * 8));
    for (const [key, wanted] of meaning(lora, new Map(), run(precision)))
      if (!key.startsWith("state:")) expect(far(results.get(key)!, wanted)).toBeLessThan(2e-5);
    const gap = Math.abs(results.get("output:loss")![0] - whole.get("output:loss")![0]);
    expect(gap).toBeGreaterThan(0);
    expect(gap).toBeLessThan(1e-2);
  });
  test("another one is refused", () => {
    expect(compiled(`${lora} ${run("fp8")}`).problems.map((x) => x.code)).toEqual(["P0206"]);
  });
});

describe("quantised bases", () => {
  const lora = "attach a = LoRA(rank: 2) to net.**: Linear";
  test("a step of QLoRA is the step of LoRA on the weights that the codes stand for", () => {
    const quantised = meaning(`attach q = NF4(block: 16) to net.**: Linear ${lora}`);
    const { p } = project(
      `method Copy() on Linear { param held: f32[out_features, in_features] = nf4(weight, block: 16) } attach c = Copy() to net.**: Linear`,
    );
    const store = new ValueStore(p, () => undefined);
    const weights = new Map(["first", "second"].map((layer) => [`net.${layer}.weight`, store.param(`c.${layer}.held`)]));
    const plain = meaning(lora, weights);
    for (const [key, wanted] of plain) expect(far(quantised.get(key)!, wanted)).toBeLessThan(1e-7);
    expect(Math.abs(meaning(lora).get("output:loss")![0] - plain.get("output:loss")![0])).toBeGreaterThan(1e-6);
  });

  test("LoftQ starts nearer to the weights than codes alone, and nearer with each round", () => {
    const errors = ["nf4(weight, block: 16)", ...[1, 2, 5].map((n) => `Q${n}`)].map((what) => {
      const rounds = /^Q(\d)/.exec(what)?.[1];
      const attach =
        rounds === undefined
          ? `method Held() on Linear { param held: f32[out_features, in_features] = weight - ${what} } attach a = Held() to net.first`
          : `attach a = LoftQ(rank: 4, alpha: 4, rounds: ${rounds}, block: 16) to net.first`;
      const { p } = project(attach);
      const store = new ValueStore(p, () => undefined);
      if (rounds === undefined) return Math.sqrt(store.param("a.first.held").reduce((s, v) => s + v * v, 0));
      // W − (Q + BA), with Q = nf4 of W less the correction of the round before
      const [A, B, W] = ["a.first.lora_A", "a.first.lora_B", "net.first.weight"].map((name) => store.param(name));
      const { stage, p: q } = project(
        `${attach} attach k = Out() to net.first ${RUN}`.replace(
          attach,
          `method Out() on Linear { param w: f32[] = 1 y := y * w } ${attach}`,
        ),
      );
      const quantisedWeight = order(stage.step[0].graph.results.map((r) => r.node)).findLast((n) => n.op === "dequantise")!;
      const params = { get: (name: string) => tensorOf("f32", q.params.get(name)!.shape, store.param(name)) };
      const Q = interpret({ results: [{ role: "output", name: "q", node: quantisedWeight }] }, { params }).get("output:q")!.data;
      let sum = 0;
      for (let i = 0; i < 24; i++)
        for (let j = 0; j < 16; j++) {
          let d = W[16 * i + j] - Q[16 * i + j];
          for (let r = 0; r < 4; r++) d -= B[4 * i + r] * A[16 * r + j];
          sum += d * d;
        }
      return Math.sqrt(sum);
    });
    expect(errors[1]).toBeLessThan(errors[0]);
    expect(errors[2]).toBeLessThan(errors[1]);
    expect(errors[3]).toBeLessThan(errors[2]);
  });
});
