/** Methods that pick: vectors of a bank, single weights, rows, tasks, experts. How many numbers learn, that the start is the base, one update beside LoRA. */
import { describe, expect, test } from "@jest/globals";
import type { Entry, Project, TrainStage } from "../../src/compiler/project.ts";
import { differentiate } from "../../src/ir/autodiff.ts";
import { bind } from "../../src/ir/bind.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { ValueStore } from "../../src/train/values.ts";
import { compileText } from "../support/compile.ts";

interface Base {
  readonly head: string;
  readonly objective: string;
  /** A projection, size 8 to 24 (GPT-2), 8 to 8 otherwise; two of them in the model unless said. */
  readonly site: string;
}
const bases = {
  gpt2: {
    head: `import { GPT2LMHeadModel } from "std/models/gpt2"
import { causal_lm } from "std/objectives"
model m = GPT2LMHeadModel(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 2, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)`,
    objective: "causal_lm(m)",
    site: "m.transformer.h[*].attn.c_attn",
  },
  llama: {
    head: `import { LlamaForCausalLM } from "std/models/llama"
import { causal_lm } from "std/objectives"
model m = LlamaForCausalLM(vocab_size: 11, hidden_size: 8, intermediate_size: 12, num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2)`,
    objective: "causal_lm(m)",
    site: "m.model.layers[*].self_attn.{q_proj, v_proj}",
  },
  t5: {
    head: `import { T5ForConditionalGeneration } from "std/models/t5"
import { seq2seq } from "std/objectives"
model m = T5ForConditionalGeneration(vocab_size: 11, d_model: 8, d_kv: 4, d_ff: 12, num_layers: 1, num_heads: 2, dropout_rate: 0)`,
    objective: "seq2seq(m)",
    site: "m.encoder.block[*].layer[0].SelfAttention.{q, v}",
  },
} satisfies Record<string, Base>;

const COMMON = `import { Linear, Embedding, SelfAttention, TextModel } from "std/nn"
import { LoRA } from "std/methods/lora"
import { adamw, sgd } from "std/training"
`;

function project(base: Base, body: string): Project {
  const text = `${COMMON}${base.head}\n${body}\n`;
  return compileText(text);
}

const train = (base: Base, name = "run", more = "", optimizer = "adamw(lr: 1e-2)") =>
  `train ${name} { objective = ${base.objective} ${more} data = jsonl("x.jsonl") sequence = 5 batch = 2 steps = 4 optimizer = ${optimizer} }`;

const SIZES = new Map([
  ["B", 2],
  ["S", 5],
  ["T", 5],
]);
const ids = tensor("i32", [2, 5], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
const INPUTS: readonly (readonly [string, Tensor])[] = [
  ["input_ids", ids],
  ["decoder_input_ids", ids],
  ["labels", ids],
  ["attention_mask", tensor("bool", [2, 5], new Array(10).fill(1))],
  ["task_ids", tensor("i32", [2], [1, 0])],
];

/** A program's values, moved on by running its stages' steps. */
class Run {
  readonly store: ValueStore;
  constructor(readonly p: Project) {
    expect(p.problems.map(({ code, message }) => `${code} ${message}`)).toEqual([]);
    this.store = new ValueStore(p, () => undefined);
    for (const action of p.actions) if (action.kind === "copy") for (const { from, to } of action.params) this.store.copy(from, to);
  }
  stage(name = "run"): TrainStage {
    return this.p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" && a.stage.name === name ? [a.stage] : []))[0];
  }
  private results(entry: Entry, step: number): Map<string, Tensor> {
    const graph = differentiate(bind(entry.graph, SIZES));
    // asked for one by one: a start may look at what an earlier stage left
    const params = { get: (name: string) => tensor("f32", this.store.shape(name), Float64Array.from(this.store.param(name))) };
    const states = new Map(
      entry.states.map((name) => [name, ((s) => tensor(s.dtype, s.shape, Float64Array.from(s.values)))(this.store.state(name, SIZES))]),
    );
    const inputs = new Map([...INPUTS, ["step", tensor("i32", [], [step])], ["steps", tensor("i32", [], [4])]] as const);
    return interpret(graph, { params, states, inputs });
  }
  loss(name?: string): number {
    return this.results(this.stage(name).evaluation[0], 0).get("output:loss")!.data[0];
  }
  /** One update; gives the loss before it. */
  update(name?: string, step = 0): number {
    const out = this.results(this.stage(name).step[0], step);
    for (const [key, { dtype, shape, data }] of out) {
      const [role, of] = [key.slice(0, key.indexOf(":")), key.slice(key.indexOf(":") + 1)];
      if (role === "param") this.store.setParam(of, Float32Array.from(data));
      if (role === "state") this.store.setState(of, { dtype, shape, values: Float32Array.from(data) });
    }
    return out.get("output:loss")!.data[0];
  }
  get count(): number {
    return this.stage().trained.reduce((n, name) => n + this.p.params.get(name)!.shape.reduce((a, b) => a * b, 1), 0);
  }
}

interface Method {
  readonly name: string;
  readonly from: string;
  readonly base: keyof typeof bases;
  readonly call: string;
  /** Where, if not at the base's projections. */
  readonly to?: string;
  readonly count: number;
  /** Whether the start computes what the base does. */
  readonly atBase: boolean;
}

const methods: readonly Method[] = [
  // bank 6 · 4; logits of A 2 · (8 / 4) · 6, of B (24 / 4) · 2 · 6, at two sites
  {
    name: "VBLoRA",
    from: "vblora",
    base: "gpt2",
    call: "VBLoRA(rank: 2, vectors: 6, length: 4)",
    count: 24 + 2 * (24 + 72),
    atBase: false,
  },
  // λ 3 · 3 and γ 3 · 8 (q, 8 to 8), 3 · 2 and 2 · 4 (v, 8 to 4), in two layers
  { name: "RandLoRA", from: "randlora", base: "llama", call: "RandLoRA(rank: 3, alpha: 6)", count: 2 * (9 + 24 + 6 + 8), atBase: true },
  { name: "RandLoRA, sparse", from: "randlora", base: "gpt2", call: "RandLoRA(rank: 4, sparse: true)", count: 2 * (8 + 16), atBase: true },
  { name: "TinyLoRA", from: "tinylora", base: "llama", call: "TinyLoRA(entries: 5)", count: 4 * 5, atBase: true },
  { name: "TinyLoRA, one v for all", from: "tinylora", base: "gpt2", call: "TinyLoRA(entries: 5, tying: 1)", count: 5, atBase: true },
  // round(4 · 0.5) = 2 runs of two sites
  {
    name: "TinyLoRA, half tied",
    from: "tinylora",
    base: "llama",
    call: "TinyLoRA(entries: 5, tying: 0.5, dropout: 0.1)",
    count: 10,
    atBase: true,
  },
  {
    name: "TinyLoRA on an embedding",
    from: "tinylora",
    base: "llama",
    call: "TinyLoRA(entries: 5)",
    to: "m.model.embed_tokens",
    count: 5,
    atBase: true,
  },
  { name: "SHiRA", from: "shira", base: "gpt2", call: "SHiRA(rank: 2)", count: 2 * 2 * (8 + 24), atBase: true },
  {
    name: "TrainableTokens",
    from: "trainable_tokens",
    base: "llama",
    call: "TrainableTokens(tokens: [3, 7])",
    to: "m.model.embed_tokens",
    count: 16,
    atBase: true,
  },
  // tied: the output layer reads the new rows too
  {
    name: "TrainableTokens",
    from: "trainable_tokens",
    base: "gpt2",
    call: "TrainableTokens(tokens: [3, 7])",
    to: "m.transformer.wte",
    count: 16,
    atBase: true,
  },
  {
    name: "AdaptionPrompt",
    from: "adaption_prompt",
    base: "llama",
    call: "AdaptionPrompt(tokens: 3)",
    // a module that is selected by a role it fills
    to: "m.model.layers[1..].**: SelfAttention",
    count: 3 * 8 + 1,
    atBase: true,
  },
  {
    name: "AdaptionPromptGPT2",
    from: "adaption_prompt",
    base: "gpt2",
    call: "AdaptionPromptGPT2(tokens: 3)",
    to: "m.transformer.h[*].attn",
    count: 2 * 25,
    atBase: true,
  },
  // A 2 · 3 · 4 · 2, B 2 · 3 · 2 · 4, router 2 · 6; at q and v
  {
    name: "Poly",
    from: "poly",
    base: "t5",
    call: "Poly(rank: 2, tasks: 2, skills: 3, splits: 2)",
    count: 2 * (48 + 48 + 12),
    atBase: true,
  },
  {
    name: "MultitaskPrompt",
    from: "multitask_prompt",
    base: "t5",
    call: "MultitaskPrompt(tokens: 3, tasks: 2, ranks: 2, cut: false)",
    to: "m.**: TextModel",
    count: 3 * 8 + 2 * 3 * 2 + 2 * 2 * 8,
    atBase: false,
  },
  // embeddings 3 · 8; four directions of 16 · (in + 4 + 2), in 8 below and 8 above; layers 8 to 8, 8 to 8
  {
    name: "PTuning",
    from: "prompt",
    base: "gpt2",
    call: 'PTuning(tokens: 3, hidden: 4, encoder: "LSTM")',
    to: "m.**: TextModel",
    count: 24 + 4 * 16 * 14 + 2 * 72,
    atBase: false,
  },
  {
    name: "Cartridge",
    from: "cartridge",
    base: "gpt2",
    call: "Cartridge(tokens: 3)",
    to: "m.**: SelfAttention",
    count: 2 * 2 * 3 * 8,
    atBase: false,
  },
  { name: "ThresholdMask", from: "threshold_mask", base: "gpt2", call: "ThresholdMask()", count: 2 * 192, atBase: true },
  { name: "DiffPruning", from: "diff_pruning", base: "gpt2", call: "DiffPruning(penalty: 0)", count: 2 * (2 * 192 + 1), atBase: true },
  { name: "SAID", from: "said", base: "gpt2", call: "SAID(dim: 5)", count: 5 + 2, atBase: true },
  {
    name: "MOELoRA",
    from: "moe_lora",
    base: "gpt2",
    call: "MOELoRA(experts: 2, rank: 4, tasks: 2, task_dim: 3)",
    count: 2 * 4 * (8 + 24) + 2 * 3 + 2 * 3,
    atBase: true,
  },
  { name: "MoLoRA", from: "moe_lora", base: "gpt2", call: "MoLoRA(experts: 2, rank: 2)", count: 2 * (4 * (8 + 24) + 2 * 9), atBase: true },
];

describe("methods that pick", () => {
  const plain = new Map<string, number>();
  const lossOfBase = (name: keyof typeof bases): number => {
    const base = bases[name];
    if (!plain.has(name)) plain.set(name, new Run(project(base, train(base, "run", "params = m"))).loss());
    return plain.get(name)!;
  };

  test.each(methods.map((m) => [`${m.name} in ${m.base}: ${m.call}`, m] as const))(
    "%s",
    (_title, { from, base: name, call, to, count, atBase }) => {
      const base = bases[name];
      const imported = `import { ${call.slice(0, call.indexOf("("))} } from "std/methods/${from}"`;
      const attached = `${imported}\nattach a = ${call} to ${to ?? base.site}`;
      const run = new Run(project(base, `${attached}\n${train(base, "run", "params = a")}`));
      expect(run.count).toBe(count);
      if (atBase) expect(run.loss()).toBeCloseTo(lossOfBase(name), 6);
      else expect(Math.abs(run.loss() - lossOfBase(name))).toBeGreaterThan(1e-7);
      // beside LoRA at the same place, or in the same model
      const both = new Run(
        project(base, `${attached}\nattach l = LoRA(rank: 2) to ${base.site}\n${train(base, "run", "params = [a, l]")}`),
      );
      const before = both.update();
      expect(Number.isFinite(before)).toBe(true);
      const after = both.update("run", 1);
      expect(Number.isFinite(after)).toBe(true);
      expect(after).not.toBe(before);
    },
  );
});

test("the first tokens of a cartridge stay, the others learn", () => {
  const base = bases.gpt2;
  const attached = `import { Cartridge } from "std/methods/cartridge"\nattach a = Cartridge(tokens: 3) to m.**: SelfAttention`;
  const run = new Run(project(base, `${attached}\n${train(base, "run", "params = a")}`));
  const names = run.stage().trained;
  const before = names.map((name) => [...run.store.param(name)]);
  run.update();
  names.forEach((name, i) => {
    const after = run.store.param(name);
    const [, tokens, width] = run.store.shape(name);
    const moved = before[i].map((v, k) => [Math.floor(k / width) % tokens, v !== after[k]] as const);
    expect(moved.every(([token, is]) => is === token > 0)).toBe(true);
  });
});

describe("parts of the model's own weights", () => {
  const base = bases.gpt2;
  const weights = "m.transformer.h[*].attn.c_attn.weight";
  const masks = 'import { Fisher, Masked, Moved, Steepness } from "std/methods/masks"\n';
  const values = (run: Run) => run.stage().trained.map((name) => run.store.param(name));
  /** How many entries differ. */
  const changed = (a: readonly Float32Array[], b: readonly Float32Array[]) =>
    a.reduce((n, x, i) => n + x.reduce((k, v, j) => k + Number(v !== b[i][j]), 0), 0);

  test.each(["Fisher", "Steepness"])("%s, then training of the entries that matter most", (score) => {
    const run = new Run(
      project(
        base,
        `${masks}attach found = ${score}() to ${weights}
${train(base, "probe", `params = ${weights}`, "sgd(lr: 0)")}
attach kept = Masked(by: found, keep: 0.05) to ${weights}
${train(base, "run", `params = ${weights}`)}`,
      ),
    );
    const start = values(run);
    run.update("probe");
    expect(changed(start, values(run))).toBe(0);
    const scores = run
      .stage()
      .trained.flatMap((name) => [...run.store.state(`found.${name.slice(2)}.total`, SIZES).values].map((v) => v * v));
    run.update();
    run.update("run", 1);
    const moved = run.stage().trained.flatMap((name, i) => [...run.store.param(name)].map((v, j) => v !== start[i][j]));
    expect(moved.filter((m) => m).length).toBe(Math.round(0.05 * 384));
    const least = Math.min(...scores.filter((_s, i) => moved[i]));
    expect(scores.every((s, i) => moved[i] || s < least)).toBe(true);
  });

  test("LT-SFT: what moved most in a copy learns in the model", () => {
    const run = new Run(
      project(
        base,
        `${masks}model all = m
train first { objective = causal_lm(all) params = all.transformer.h[*].attn.c_attn.weight data = jsonl("x.jsonl") sequence = 5 batch = 2 steps = 4 optimizer = sgd(lr: 1) }
attach went = Moved() to all.transformer.h[*].attn.c_attn.weight
attach kept = Masked(by: went, keep: 0.1) to ${weights}
${train(base, "run", `params = ${weights}`)}`,
      ),
    );
    const start = values(run);
    run.update("first");
    const apart = run
      .stage()
      .trained.flatMap((name, i) => [...run.store.param(`all.${name.slice(2)}`)].map((v, j) => Math.abs(v - start[i][j])));
    expect(changed(start, values(run))).toBe(0);
    run.update();
    const moved = run.stage().trained.flatMap((name, i) => [...run.store.param(name)].map((v, j) => v !== start[i][j]));
    expect(moved.filter((m) => m).length).toBe(Math.round(0.1 * 384));
    const least = Math.min(...apart.filter((_s, i) => moved[i]));
    expect(apart.every((s, i) => moved[i] || s <= least)).toBe(true);
  });

  test("Child-Tuning", () => {
    const children = 'import { ChildTuningF, ChildTuningD } from "std/methods/child_tuning"\n';
    const chance = new Run(
      project(
        base,
        `${children}attach c = ChildTuningF(keep: 0.3) to ${weights}\n${train(base, "run", `params = ${weights}`, "sgd(lr: 0.1)")}`,
      ),
    );
    const start = values(chance);
    chance.update();
    const share = changed(start, values(chance)) / 384;
    expect(share).toBeGreaterThan(0.2);
    expect(share).toBeLessThan(0.4);
    const chosen = new Run(
      project(
        base,
        `${masks}${children}attach found = Fisher() to ${weights}
${train(base, "probe", `params = ${weights}`, "sgd(lr: 0)")}
attach c = ChildTuningD(by: found, keep: 0.25) to ${weights}
${train(base, "run", `params = ${weights}`, "sgd(lr: 0.1)")}`,
      ),
    );
    chosen.update("probe");
    const before = values(chosen);
    chosen.update();
    expect(changed(before, values(chosen))).toBe(96);
  });

  test("SAM: the gradient of the worst point nearby", () => {
    const sam = 'import { SAM } from "std/methods/sam"\n';
    const body = (attached: string, lr: number) => `${sam}${attached}\n${train(base, "run", `params = ${weights}`, `sgd(lr: ${lr})`)}`;
    const rho = 0.3;
    const run = new Run(project(base, body(`attach s = SAM(rho: ${rho}) to ${weights}`, 1)));
    const plain = new Run(project(base, body("", 1)));
    const start = values(plain);
    plain.update();
    const gradient = values(plain).map((v, i) => v.map((x, j) => start[i][j] - x));
    const size = Math.sqrt(gradient.reduce((n, g) => n + g.reduce((k, x) => k + x * x, 0), 0));
    // a second run from the point uphill takes the step that SAM takes from the start
    const uphill = new Run(project(base, body("", 1)));
    const at = start.map((v, i) => v.map((x, j) => x + (rho * gradient[i][j]) / size));
    uphill.stage().trained.forEach((name, i) => {
      uphill.store.setParam(name, at[i]);
    });
    uphill.update();
    run.update();
    const seen = values(run).flatMap((v, i) => [...v].map((x, j) => start[i][j] - x));
    const wanted = values(uphill).flatMap((v, i) => [...v].map((x, j) => at[i][j] - x));
    expect(Math.max(...wanted.map(Math.abs))).toBeGreaterThan(1e-3);
    seen.forEach((x, i) => {
      expect(Math.abs(x - wanted[i])).toBeLessThan(1e-5);
    });
    expect(Math.max(...seen.map((x, i) => Math.abs(x - gradient.flatMap((g) => [...g])[i])))).toBeGreaterThan(1e-4);
  });
});

test("P-tuning is saved as the prompt that its network makes", () => {
  const base = bases.gpt2;
  const body = (attached: string) =>
    `import { PTuning, Prompt } from "std/methods/prompt"\nattach a = ${attached} to m.**: TextModel\n${train(base, "run", "params = a")}`;
  const made = new Run(project(base, body("PTuning(tokens: 3, hidden: 4, cut: false)")));
  const [{ outcome }] = made.p.attachments;
  expect(outcome).toMatchObject({
    method: "Prompt",
    declaredIn: "std/methods/prompt",
    options: { tokens: 3, cut: false, late: false },
  });
  const plain = new Run(project(base, body("Prompt(tokens: 3, cut: false)")));
  const prompt = made.store.outputs(outcome!.sites[0].values.prompt_embeddings).get("value")!;
  expect(prompt.shape).toEqual([3, 8]);
  plain.store.setParam(plain.stage().trained[0], Float32Array.from(prompt.data));
  expect(plain.loss()).toBeCloseTo(made.loss(), 5);
});

describe("what is drawn", () => {
  test("SHiRA's places are those of PyTorch's generator", () => {
    const run = new Run(
      project(
        bases.gpt2,
        `import { SHiRA } from "std/methods/shira"\nattach a = SHiRA(rank: 2, seed: 3) to m.lm_head\n${train(bases.gpt2)}`,
      ),
    );
    const at = [...run.store.param("a.lm_head.shira_indices")];
    const places = at.slice(0, 38).map((row, i) => row * 8 + at[38 + i]);
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(new Set(places).size).toBe(38);
  });
});
