/** What programs mean: laws of rebinding, selecting, copying and training, in numbers of the interpreter. */
import { describe, expect, test } from "@jest/globals";
import type { Entry, Project, TrainStage } from "../../src/compiler/project.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { ValueStore } from "../../src/train/values.ts";
import { compileText } from "../support/compile.ts";

const HEAD = `
import { GPT2LMHeadModel } from "std/models/gpt2"
import { SelfAttention, Linear, Conv1D, AttentionSublayer, FeedForwardSublayer, Positions } from "std/nn"
import { LoRA } from "std/methods/lora"
import { Prefix } from "std/methods/prefix"
import { Pfeiffer } from "std/methods/bottleneck"
import { causal_lm } from "std/objectives"
import { adamw, sgd, constant } from "std/training"
method Scale(by: float = 2) on Linear { x := x * by }
method Add(what: float = 1) on Linear { y := y + what }
method Loop() on Linear { x := x + y }
model m = GPT2LMHeadModel(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 3, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)
`;
const RUN = (model = "m", params = "") =>
  `train t { objective = causal_lm(${model}) ${params} data = text("x.txt") sequence = 5 batch = 2 steps = 4 optimizer = sgd(lr: 0.1) }`;

function project(body: string): Project {
  return compileText(HEAD + body);
}
const problems = (body: string) => project(body).problems.map((p) => `${p.code} ${p.message}`);
const stages = (p: Project) => p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []));

const SIZES = new Map([
  ["B", 2],
  ["S", 5],
]);
/** Outputs of an entry, with values by `values` where they are not the starts. */
function run(p: Project, entry: Entry, values: (name: string, start: Float32Array) => ArrayLike<number> = (_n, s) => s) {
  const store = new ValueStore(p, () => undefined);
  for (const action of p.actions) if (action.kind === "copy") for (const { from, to } of action.params) store.copy(from, to);
  const { graph, scalars } = compileGraph(entry.graph, { sizes: SIZES });
  expect(scalars).toBeDefined();
  const params = new Map(
    [...p.params.values()].map((d) => [d.name, tensor("f32", d.shape, Float64Array.from(values(d.name, store.param(d.name))))]),
  );
  const ids = tensor("i32", [2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  const inputs = new Map([
    ["input_ids", ids],
    ["labels", ids],
    ["attention_mask", tensor("bool", [2, 5], new Array(10).fill(1))],
    ["step", tensor("i32", [], [0])],
    ["steps", tensor("i32", [], [4])],
  ]);
  return interpret(graph, { params, states: new Map(), inputs });
}
const stage = (body: string): { p: Project; s: TrainStage } => {
  const p = project(body);
  expect(p.problems).toEqual([]);
  const all = stages(p);
  return { p, s: all[all.length - 1] };
};
const loss = (body: string, values?: Parameters<typeof run>[2]) => {
  const { p, s } = stage(body);
  return run(p, s.evaluation[0], values).get("output:loss")!.data[0];
};
/** Adapters that do something: B is zero at the start. */
const moved = (name: string, start: Float32Array) =>
  /lora_B|prefix|adapter/.test(name) ? start.map((v, i) => v + 0.3 * Math.sin(i + 1)) : start;

const plain = `${RUN("m", "params = m")}`;
const site = "m.transformer.h[*].attn.c_attn";

describe("rebinding", () => {
  test("an adapter at its start is the base", () => {
    expect(loss(`attach a = LoRA(rank: 2) to ${site} ${RUN()}`)).toBeCloseTo(loss(plain), 12);
  });
  test("`y :=` twice adds both", () => {
    const twice = loss(`attach a = Add(what: 1) to ${site} attach b = Add(what: 2) to ${site} ${RUN("m", "params = m")}`);
    expect(twice).toBeCloseTo(loss(`attach a = Add(what: 3) to ${site} ${RUN("m", "params = m")}`), 12);
    expect(Math.abs(twice - loss(plain))).toBeGreaterThan(1e-6);
  });
  test("LoRA, then `x := x * s`, is the other order: the later one reaches into the earlier", () => {
    const lora = `attach a = LoRA(rank: 2) to ${site}`;
    const scale = `attach s = Scale(by: 1.5) to ${site}`;
    expect(loss(`${lora} ${scale} ${RUN()}`, moved)).toBeCloseTo(loss(`${scale} ${lora} ${RUN()}`, moved), 10);
  });
  test("prefixes stack: keys grow by both", () => {
    const two = loss(
      `attach a = Prefix(tokens: 4) to m.**: SelfAttention attach b = Prefix(tokens: 2) to m.**: SelfAttention ${RUN()}`,
      moved,
    );
    expect(Number.isFinite(two)).toBe(true);
    expect(Math.abs(two - loss(plain))).toBeGreaterThan(1e-6);
  });
  test("detached is as if it had never been", () => {
    expect(loss(`attach a = Add(what: 1) to ${site} detach a ${RUN("m", "params = m")}`)).toBeCloseTo(loss(plain), 12);
  });
  test("what depends on itself is a cycle, with its path", () => {
    expect(problems(`attach a = Loop() to ${site} ${RUN("m", "params = m")}`)[0]).toMatch(/^P0501 .*depends on itself/);
  });
});

describe("values of calls", () => {
  const module = (name: string, first: string) => `
import { FeedForward, LanguageModel } from "std/nn"
module ${name}(lm: LanguageModel) {
  forward(input_ids: i32[B, S], labels: i32[B, S] = input_ids) -> loss: f32[] {
    one  = lm(input_ids)
    two  = lm(where(input_ids > 5, 0, input_ids))
    loss = ${first} + sum([mean(a ** 2) for a in two.**: FeedForward.act])
  }
}
train t { objective = ${name}(m) params = m data = text("x.txt") sequence = 5 batch = 2 steps = 4 optimizer = sgd(lr: 0.1) }`;
  test("a selection that starts at a call is of that call", () => {
    expect(loss(module("both", "0 * sum(one.logits)"))).toBeCloseTo(loss(module("alone", "0")), 12);
    expect(Math.abs(loss(module("both", "0 * sum(one.logits)").replace("two.**", "one.**")) - loss(module("alone", "0")))).toBeGreaterThan(
      1e-9,
    );
  });
  test("one that starts at the model has to be of one call", () => {
    expect(problems(module("both", "0 * sum(one.logits) + 0 * sum(two.logits)").replace("two.**", "lm.**"))[0]).toMatch(
      /^P0505 the step calls m.* 2 times/,
    );
  });
});

describe("what learns", () => {
  test("`new` is the attachment where the model is not; a model without a folder is new", () => {
    const { s } = stage(`attach a = LoRA(rank: 2) to m.transformer.h[1..].attn.c_attn ${RUN("m", "params = a")}`);
    expect([...s.trained].sort()).toEqual(
      [1, 2].flatMap((i) => [`a.transformer.h.${i}.attn.c_attn.lora_A.weight`, `a.transformer.h.${i}.attn.c_attn.lora_B.weight`]),
    );
  });
  test("a gradient step is the optimiser's: next = value − lr · grad", () => {
    const { p, s } = stage(`attach a = LoRA(rank: 2) to ${site} ${RUN("m", "params = a")}`);
    const out = run(p, s.step[0], moved);
    const name = "a.transformer.h.0.attn.c_attn.lora_B.weight";
    const h = 1e-5;
    const at = (d: number) =>
      run(p, s.evaluation[0], (n, v) => (n === name ? Array.from(moved(n, v), (x, i) => x + (i === 3 ? d : 0)) : moved(n, v))).get(
        "output:loss",
      )!.data[0];
    const slope = (at(h) - at(-h)) / (2 * h);
    const start = new ValueStore(p, () => undefined).param(name);
    expect(out.get(`param:${name}`)!.data[3]).toBeCloseTo(moved(name, start)[3] - 0.1 * slope, 6);
  });
  test("rates and gradients can be rebound from a method", () => {
    const still = `method Still() on Linear { lora = Linear(in_features, 2, bias: false) up = Linear(2, out_features, weight: 0, bias: false)
      y := y + up(lora(x)) lora.weight.lr := 0 * lora.weight.lr up.weight.grad := 2 * up.weight.grad }`;
    const { p, s } = stage(`${still} attach a = Still() to ${site} ${RUN("m", "params = a")}`);
    const out = run(p, s.step[0]);
    const name = "a.transformer.h.0.attn.c_attn.lora.weight";
    expect([...out.get(`param:${name}`)!.data]).toEqual([...new ValueStore(p, () => undefined).param(name)]);
  });
  test("a method without parameters speaks of those of what it is attached to, or of nothing, which is an error", () => {
    const onLoRA = "method Faster() on LoRA { lora_B.weight.lr := 16 * lora_B.weight.lr }";
    const onLinear = "method Halved() on Linear { weight.grad := 0.5 * weight.grad }";
    const lora = `attach a = LoRA(rank: 2) to ${site}`;
    const step = (body: string, name: string) => {
      const { p, s } = stage(body);
      const start = new ValueStore(p, () => undefined).param(name);
      return [...run(p, s.step[0]).get(`param:${name}`)!.data].map((x, i) => x - start[i]);
    };
    const close = (a: number[], b: number[]) => a.forEach((x, i) => void expect(x).toBeCloseTo(b[i], 9));
    const up = "a.transformer.h.0.attn.c_attn.lora_B.weight";
    const plainly = step(`${lora} ${RUN()}`, up);
    expect(Math.max(...plainly.map(Math.abs))).toBeGreaterThan(1e-5);
    close(
      step(`${onLoRA} ${lora} attach f = Faster() to a ${RUN()}`, up),
      plainly.map((x) => 16 * x),
    );
    const w = "m.transformer.h.0.attn.c_attn.weight";
    close(
      step(`method Halved() on Conv1D { weight.grad := 0.5 * weight.grad } attach f = Halved() to ${site} ${RUN("m", "params = m")}`, w),
      step(RUN("m", "params = m"), w).map((x) => x / 2),
    );
    expect(problems(`${onLinear} ${lora} attach f = Halved() to m.lm_head ${RUN("m", "params = a")}`)).toEqual([
      "P0506 what `f` says of `weight.grad` holds in no stage",
    ]);
  });
  test("a copy has values of its own and attachments at the same places", () => {
    const { p, s } = stage(`attach a = LoRA(rank: 2) to ${site} ${RUN("m", "params = a")} model k = m ${RUN("k", "params = k")}`);
    expect(p.attachments).toHaveLength(2);
    expect(s.trained.every((n) => n.startsWith("k."))).toBe(true);
    expect(run(p, s.evaluation[0]).get("output:loss")!.data[0]).toBeCloseTo(loss(plain), 12);
  });
  test("a start reads what parameters alone make in `forward`, by way of other such values too", () => {
    const Odd = `module Odd(n: int) as Linear(weight: twice, in_features: n, out_features: n) {
      param weight: f32[n, n] = 3  param bias: f32[n] = 0
      forward(x: f32[..., n]) -> y: f32[..., n] { turned = weight.T  twice = 2 * turned  y = x @ twice.T + bias } }
    module Net() { odd = Odd(4)  forward(label: f32[B]) -> y: f32[B, 4] { y = odd(expand(label[:, none], [B, 4])) } }
    module even(n: Net) { forward(label: f32[B]) -> loss: f32[] { loss = mean(n(label) ** 2) } }
    method Seen() on Linear { param size: f32[out_features] = sum(weight, axis: 1)  y := y * size }
    model net = Net()  attach a = Seen() to net.odd
    train t { objective = even(net) params = a data = jsonl("x.jsonl") batch = 2 steps = 1 }`;
    const { p } = stage(Odd);
    expect([...new ValueStore(p, () => undefined).param("a.odd.size")]).toEqual([24, 24, 24, 24]);
  });
  test("an attachment that a later one cuts off is an error that names both", () => {
    const cut = "method Cut() on Linear { y := x @ weight.T }";
    expect(problems(`${cut} attach a = LoRA(rank: 2) to ${site} attach z = Cut() to ${site} ${RUN("m", "params = m")}`)).toEqual([
      "P0504 `a` does nothing: its work no longer reaches the loss",
    ]);
  });
  test("a named parameter that the loss does not reach is an error", () => {
    const spare = "model other = GPT2LMHeadModel(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 1, n_head: 2)";
    expect(problems(`${spare} ${RUN("m", "params = [m, other.transformer.wte.weight]")}`)[0]).toMatch(
      /^P0808 the loss does not reach other\.transformer\.wte\.weight/,
    );
  });
});

describe("what is required", () => {
  const half = 'fn half(n: int) -> h { require n % 2 == 0, "it takes an even number"  h = n / 2 }';
  test.each([
    ["by a function, where it is called", `${half} k = half(4) j = half(3) ${plain}`],
    [
      "by a function, of each iteration of a loop",
      `fn all(ns: [int]) -> h { h = 0 for n in ns { require n % 2 == 0, "it takes an even number" h = h + n } } j = all([2, 3]) ${plain}`,
    ],
    [
      "by a function that a method calls",
      `${half} method Split() on Linear { y := y * half(nf) } attach s = Split() to ${site} ${plain}`.replace(
        "half(nf)",
        "half(out_features + 1)",
      ),
    ],
    [
      "in a branch of a method",
      `method Even(n: int = 3) on Linear { if n > 2 { require n % 2 == 0, "it takes an even number" } y := y * n } attach s = Even() to ${site} ${plain}`,
    ],
    [
      "in a branch of a module",
      'module Even(n: int) { if n > 2 { require n % 2 == 0, "it takes an even number" } forward(x: f32[B]) -> y: f32[B] { y = x } } a = Even(4) b = Even(3)',
    ],
    [
      "in a `forward`",
      `module Obj(n: int) { forward(label: f32[B]) -> loss: f32[] { require n % 2 == 0, "it takes an even number" loss = mean(label) + sum(w) } param w: f32[2] = 1 }
      goal = Obj(3) train t { objective = goal params = m data = jsonl("x.jsonl") steps = 1 }`,
    ],
  ])("%s", (_name, body) => {
    expect(problems(body)).toContain("P0217 it takes an even number");
  });
  test("of a tensor is an error", () => {
    expect(
      problems(`fn f(x) -> y { require x > 0, "positive" y = x } method F() on Linear { y := f(y) } attach a = F() to ${site} ${plain}`)[0],
    ).toMatch(/^P0410/);
  });
});

describe("selectors", () => {
  test.each([
    ["m.**: Linear", 13],
    ["m.**: SelfAttention", 3],
    ["[m.**: AttentionSublayer, m.**: FeedForwardSublayer]", 6],
    ["m.transformer.h[0, 2].mlp.{c_fc, c_proj}", 4],
    ["m.**: Linear except **.lm_head", 12],
    ["m.transformer.h[1..].attn.*", 4],
  ])("%s", (selector, n) => {
    const wrong = problems(
      `attach a = ${/Sublayer|SelfAtt/.test(selector) ? (/Sublayer/.test(selector) ? "Pfeiffer()" : "Prefix(tokens: 1)") : "Add()"} to ${selector} expect ${n + 1} ${plain}`,
    );
    expect(wrong[0]).toBe(`P0313 this selector matches ${n}, not ${n + 1}`);
  });
});
