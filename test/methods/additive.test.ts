/** Additive methods: how many numbers each trains, that it starts as the model it is attached to, and that it learns beside another at the same place. */
import { describe, expect, test } from "@jest/globals";
import type { Entry, Project, TrainStage } from "../../src/compiler/project.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { evaluateScalars } from "../../src/runtime/scalars.ts";
import { ValueStore } from "../../src/train/values.ts";
import { compileText } from "../support/compile.ts";

const NAMES: Readonly<Record<string, readonly string[]>> = {
  "std/nn": [
    ..."Classifier token_loss SelfAttention Linear AttentionSublayer FeedForwardSublayer FeedForward Block TextModel WordSpace relu silu gelu tanh".split(
      " ",
    ),
  ],
  "std/models/bert": ["BertForSequenceClassification"],
  "std/models/gpt2": ["GPT2ForSequenceClassification"],
  "std/methods/bottleneck": ["Sequential", "Pfeiffer", "Parallel", "Residual", "Adapter"],
  "std/methods/compacter": ["Compacter", "CompacterPlus"],
  "std/methods/lora": ["LoRA"],
  "std/methods/library_lora": ["GatedLoRA", "FusedLoRA", "LibraryDoRA", "LibraryVeRA", "MTLLoRA", "GatedIA3", "FusedIA3"],
  "std/methods/prefix": ["Prefix", "PrefixMLP"],
  "std/methods/unipelt": ["Gate", "PrefixGate"],
  "std/methods/reft": ["ReFT"],
  "std/methods/invertible": ["Invertible", "InvertibleGlow"],
  "std/methods/fusion": ["AdapterFusion"],
  "std/methods/composition": ["Stack", "Average", "Split", "BatchSplit", "InParallel"],
  "std/methods/adapterdrop": ["AdapterDrop"],
  "std/methods/tiny_attention": ["TinyAttention"],
  "std/methods/adamix": ["AdaMix", "agreeing"],
  "std/methods/sparse_adapter": ["Sparse"],
  "std/methods/propetl": ["ProPETLAdapter", "ProPETLLoRA"],
  "std/methods/ladder": ["LST"],
  "std/methods/pasta": ["PASTA"],
  "std/methods/warp": ["Warp"],
  "std/objectives": ["classification"],
  "std/training": ["sgd"],
};
const D = 8;
const LAYERS = 2;
const MODEL =
  "BertForSequenceClassification(vocab_size: 11, hidden_size: 8, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 16, " +
  "max_position_embeddings: 24, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0)";

function project(body: string, objective = "classification(m)", model = MODEL): Project {
  const used = Object.entries(NAMES).flatMap(([file, names]) => {
    const found = names.filter((n) => new RegExp(`\\b${n}\\b`).test(`${body} ${objective} ${model} sgd`));
    return found.length > 0 ? [`import { ${found.join(", ")} } from "${file}"`] : [];
  });
  const text = `${used.join("\n")}
model m = ${model}
${body}
train t { objective = ${objective} data = text("x.txt") sequence = 5 batch = 4 steps = 4 optimizer = sgd(lr: 0.1) }`;
  const made = compileText(text);
  expect(
    made.problems.filter((p) => p.severity === "error").map((p) => [p.code, p.message, p.label, ...(p.notes ?? [])].join(" · ")),
  ).toEqual([]);
  return made;
}
const stageOf = (p: Project): TrainStage => p.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "train" ? [a.stage] : []))[0];

type Change = (name: string, start: Float32Array) => ArrayLike<number>;
const ROWS = 4;
const WORDS = 5;
/** Outputs of an entry at the start, with other values of parameters where `change` gives them. */
function run(p: Project, entry: Entry, change: Change = (_n, s) => s) {
  const store = new ValueStore(p, () => undefined);
  for (const action of p.actions) if (action.kind === "copy") for (const { from, to } of action.params) store.copy(from, to);
  const sizes = new Map([
    ["B", ROWS],
    ["S", WORDS],
  ]);
  const { graph, scalars } = compileGraph(entry.graph, { sizes });
  const params = new Map(
    [...p.params.values()].map((d) => [d.name, tensor("f32", d.shape, Float64Array.from(change(d.name, store.param(d.name))))] as const),
  );
  const states = new Map(
    entry.states.map(
      (name) => [name, tensor("f32", p.states.get(name)!.shape as number[], Float64Array.from(store.state(name, sizes).values))] as const,
    ),
  );
  // what nobody gives has as many rows as the call that asks for it
  const asked = entry.columns.find(({ name }) => name === "token_type_ids")?.shape[0];
  const rows = String(asked) === "2 * B" ? 2 * ROWS : ROWS;
  const real = Array.from({ length: ROWS * WORDS }, (_, i) => Number(i % WORDS < 5 - Math.floor(i / WORDS)));
  const known = evaluateScalars(scalars, { step: 0, steps: 4 });
  const inputs = new Map([
    [
      "input_ids",
      tensor(
        "i32",
        [ROWS, WORDS],
        Array.from({ length: ROWS * WORDS }, (_, i) => 1 + ((7 * i) % 10)),
      ),
    ],
    ["attention_mask", tensor("bool", [ROWS, WORDS], real)],
    [
      "special",
      tensor(
        "bool",
        [ROWS, WORDS],
        real.map((r, i) => Number(i % WORDS === 0 || (r === 1 && real[i + 1] !== 1))),
      ),
    ],
    ["token_type_ids", tensor("i32", [rows, WORDS], new Array(rows * WORDS).fill(0))],
    ["label", tensor("i32", [ROWS], [0, 1, 1, 0])],
    ["step", tensor("i32", [], [0])],
    ["steps", tensor("i32", [], [4])],
    ...scalars.map(({ name, dtype }) => [name, tensor(dtype, [], [known[name]])] as const),
  ]);
  return interpret(graph, { params, states, inputs });
}
const lossOf = (p: Project, change?: Change): number => run(p, stageOf(p).evaluation[0], change).get("output:loss")!.data[0];
/** Numbers that are trained, heads and base aside; of one attachment where it is named. */
const trained = (p: Project, of?: string): number =>
  stageOf(p)
    .trained.map((name) => p.params.get(name)!)
    .filter(({ owner }) => owner.kind === "attachment" && (of === undefined || owner.name === of))
    .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
/** Everything moved off its start, so that no branch is silent. */
const moved: Change = (name, start) => start.map((x, i) => x + 0.2 * Math.sin(i + name.length));

interface Case {
  readonly attach: string;
  /** Numbers it trains. */
  readonly count: number;
  /** Whether the model is at first what it was. */
  readonly silent?: boolean;
}
const FFN = "m.**: FeedForwardSublayer";
const BOTH = "[m.**: AttentionSublayer, m.**: FeedForwardSublayer]";
const QV = "m.bert.encoder.layer[*].attention.self.{query, value}";
const pair = (r: number) => 2 * D * r;
const box = (k: number) => 2 * D * k + k + D;
const phm = (n: number, size: number, rank: number) => n * rank * (D / n + size / n);

const cases: Readonly<Record<string, Case>> = {
  "sequential (Houlsby)": { attach: `Sequential(size: 2) to ${BOTH}`, count: 2 * LAYERS * box(2) },
  Pfeiffer: { attach: `Pfeiffer(size: 2) to ${FFN}`, count: LAYERS * box(2) },
  residual: { attach: `Residual(size: 2) to ${FFN}`, count: LAYERS * (box(2) + 2 * D) },
  parallel: { attach: "Parallel(size: 4) to m.**: FeedForward", count: LAYERS * box(4), silent: true },
  "parallel, learned scale": {
    attach: "Parallel(size: 4, learned: true) to m.**: FeedForward",
    count: LAYERS * (box(4) + 1),
    silent: true,
  },
  "library: beside, started at zero": {
    attach: `Adapter(size: 4, read: "input", init: "mam_adapter", scale: 4) to ${FFN}`,
    count: LAYERS * box(4),
    silent: true,
  },
  "library: norms inside, residual in the last": {
    attach: `Adapter(size: 2, norm_in: true, norm_out: true, norm_sum: true) to ${BOTH}`,
    count: 2 * LAYERS * (box(2) + 4 * D),
  },
  "library: reads the normed, carries what it reads": {
    attach: `Adapter(size: 2, read: "normed", carry: "read", scaling: "learned") to ${FFN}`,
    count: LAYERS * (box(2) + 1),
  },
  "library: carries the sum": { attach: `Adapter(size: 2, read: "normed", carry: "sum") to ${FFN}`, count: LAYERS * box(2) },
  "library: Adapter+, nothing behind": {
    attach: `Adapter(size: 2, read: "normed", carry: "read", after: false, scaling: "channel", depth: 0.1, init: "houlsby", act: gelu) to ${FFN}`,
    count: LAYERS * (box(2) + D),
  },
  "library: gated, dropped": { attach: `Adapter(size: 2, gated: true, p: 0.1) to ${FFN}`, count: LAYERS * (box(2) + D + 1) },
  "library: phm, own rules, whole maps": {
    attach: `Adapter(size: 4, phm: 2, rank: none, shared_rule: false, bias: false) to ${FFN}`,
    count: LAYERS * 2 * (8 + (D * 4) / 2),
  },
  "library: phm, factored rule, shared maps": {
    attach: `Adapter(size: 4, phm: 2, rank: 1, factored_rule: true, shared_maps: true) to ${FFN}`,
    count: 2 * 4 + 2 * phm(2, 4, 1) + LAYERS * (4 + D),
  },
  Compacter: { attach: `Compacter(reduction: 2, n: 2) to ${BOTH}`, count: 8 + 2 * LAYERS * (2 * phm(2, 4, 1) + 4 + D) },
  "Compacter, the rule fixed": {
    attach: `Compacter(reduction: 2, n: 2, learn: false) to ${BOTH}`,
    count: 2 * LAYERS * (2 * phm(2, 4, 1) + 4 + D),
  },
  "Compacter++": { attach: `CompacterPlus(reduction: 2, n: 2) to ${FFN}`, count: 8 + LAYERS * (2 * phm(2, 4, 1) + 4 + D) },
  "library LoRA, gated": { attach: `GatedLoRA(rank: 2) to ${QV}`, count: 2 * LAYERS * (pair(2) + D + 1), silent: true },
  "library (IA)³, gated": { attach: `GatedIA3() to ${QV}`, count: 2 * LAYERS * (D + D + 1) },
  "library DoRA": { attach: `LibraryDoRA(rank: 2) to ${QV}`, count: 2 * LAYERS * (pair(2) + D), silent: true },
  "library VeRA": { attach: `LibraryVeRA(rank: 2) to ${QV}`, count: 2 * LAYERS * (4 + D * D), silent: true },
  "library DVoRA": { attach: `LibraryVeRA(rank: 2, dora: true) to ${QV}`, count: 2 * LAYERS * (4 + D * D + D), silent: true },
  "MTL-LoRA": { attach: `MTLLoRA(rank: 2, ups: 3) to ${QV}`, count: 2 * LAYERS * (2 * D + 3 * 2 * D + 2 + 3), silent: true },
  "gated prefix": { attach: "Prefix(tokens: 3, gates: 2) to m.**: SelfAttention", count: LAYERS * (2 * 3 * D + 2 * D + 2) },
  "gated prefix of a network": {
    attach: "PrefixMLP(tokens: 3, hidden: 4, gates: 1, act: relu) to m.**: SelfAttention",
    count: 3 * D + D * 4 + 4 + LAYERS * (2 * (4 * D + D) + D + 1),
  },
  LoReFT: { attach: "ReFT(rank: 2, prefix: 2, suffix: 1, p: 0) to m.**: Block", count: LAYERS * 2 * (2 * D + 2 + 2 * D) },
  "NoReFT, tied": { attach: "ReFT(rank: 2, orthogonal: false, tied: true, p: 0) to m.**: Block", count: LAYERS * (2 * D + 2 + 2 * D) },
  DiReFT: {
    attach: "ReFT(rank: 2, suffix: 2, orthogonal: false, subtract: false, act: relu) to m.**: Block",
    count: LAYERS * 2 * (2 * D + 2 + 2 * D),
  },
  "invertible, additive": { attach: "Invertible() to m", count: 2 * (4 * 2 + 2 + 2 * 4 + 4) },
  "invertible, affine": { attach: "InvertibleGlow() to m", count: 2 * (4 * 2 + 2 + 2 * 8 + 8) },
  "tiny attention": { attach: "TinyAttention(narrow: 1, count: 2) to m.**: SelfAttention", count: LAYERS * 4 * D * 2, silent: true },
  AdaMix: { attach: `AdaMix(size: 2, experts: 3) to ${FFN}`, count: 3 * LAYERS * box(2) },
  "ProPETL adapter": { attach: `ProPETLAdapter(size: 2) to ${BOTH}`, count: box(2) + 2 * LAYERS * 2 * D * 2 },
  "ProPETL LoRA": { attach: `ProPETLLoRA(rank: 2, keep: 0.5) to ${QV}`, count: pair(2) + 2 * LAYERS * pair(2), silent: true },
  ladder: {
    attach: "LST(reduction: 2) to m.bert.encoder.layer",
    count: (LAYERS + 1) * (D * 4 + 4) + LAYERS * (4 * (16 + 4) + 16 + (4 * 16 + 16) + (16 * 4 + 4)) + 4 * D + D + LAYERS,
    silent: true,
  },
  PASTA: { attach: "PASTA(kinds: 2) to m.**: Block", count: LAYERS * 2 * D, silent: true },
  WARP: { attach: "Warp(front: 2, back: 1) to m.bert", count: 3 * D },
};

describe("each trains as many numbers as its source counts, starts as it says, and learns beside another at the same place", () => {
  const plain = project("");
  const [base, far] = [lossOf(plain), lossOf(plain, moved)];
  test.each(Object.entries(cases))("%s", (_name, { attach, count, silent }) => {
    // the other starts at zero, so that the model is what the first makes of it
    const beside = attach.includes("self.{") ? `LoRA(rank: 1) to ${QV}` : `Adapter(size: 1, init: "mam_adapter") to ${FFN}`;
    const p = project(`attach a = ${attach}\nattach b = ${beside}`);
    expect(trained(p, "a")).toBe(count);
    if (silent) expect(lossOf(p)).toBeCloseTo(base, 6);
    const stage = stageOf(p);
    const out = run(p, stage.step[0], moved);
    expect(Math.abs(out.get("output:loss")!.data[0] - far)).toBeGreaterThan(1e-6);
    const store = new ValueStore(p, () => undefined);
    let changed = 0;
    for (const name of stage.trained) {
      const next = out.get(`param:${name}`)!.data;
      const before = moved(name, store.param(name));
      for (let i = 0; i < next.length; i++) {
        expect(Number.isFinite(next[i])).toBe(true);
        if (name.startsWith("a.") && Math.abs(next[i] - before[i]) > 1e-12) changed++;
      }
    }
    // of several experts only those that were drawn learn
    expect(changed).toBeGreaterThan(count / 12);
  });
});

/** The same values for attachments of one letter more or less: what follows the attachment's own name decides. */
const alike: Change = (name, start) => {
  const own = name.slice(name.indexOf(".") + 1);
  return start.map((x, i) => (name.startsWith("m.") || name.startsWith("other.") ? x : 0.3 * Math.sin(i + own.length)));
};
/** Others for `b` and `c`. */
const unlike: Change = (name, start) => {
  const by = { b: 1, c: 2 }[name[0]] ?? 0;
  return name[1] === "." && name[0] !== "m" ? start.map((_, i) => 0.3 * Math.sin(i + name.length + by)) : start;
};
const donor = (...made: string[]) =>
  ["model other = m", ...made.map((how, i) => `attach ${"bcd"[i]} = ${how.replace("m.", "other.")}`)].join("\n");
const pf = `Pfeiffer(size: 2) to ${FFN}`;
const lora = `LoRA(rank: 2) to ${QV}`;

describe("queries, keys and values in one matrix", () => {
  const gpt2 =
    "GPT2ForSequenceClassification(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 2, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)";
  const made = (how: string) => project(`attach a = ${how} to m.transformer.h[*].attn.c_attn`, "classification(m)", gpt2);
  const plain = project("", "classification(m)", gpt2);
  test.each([
    ["LoRA of two parts", "FusedLoRA(rank: 2)", 2 * (2 * 2 * D + 2 * D * 2)],
    ["LoRA of one part, gated", 'FusedLoRA(rank: 2, parts: ["k"], gated: true)', 2 * (pair(2) + D + 1)],
    ["(IA)³ of two parts", "FusedIA3()", 2 * 2 * D],
  ])("%s", (_name, how, count) => {
    const p = made(how);
    expect(trained(p)).toBe(count);
    expect(lossOf(p)).toBeCloseTo(lossOf(plain), 8);
    expect(Math.abs(lossOf(p, moved) - lossOf(plain, moved))).toBeGreaterThan(1e-6);
  });
  test("of all three parts it is one LoRA a part: a part left out is another's", () => {
    const only: Change = (name, s) => (name.startsWith("a.") ? s.map((_, i) => 0.3 * Math.sin(i)) : s);
    const losses = ['["q"]', '["k"]', '["v"]', '["q", "k", "v"]'].map((parts) => lossOf(made(`FusedLoRA(rank: 2, parts: ${parts})`), only));
    expect(new Set(losses.map((x) => x.toFixed(9))).size).toBe(4);
  });
});

describe("compositions", () => {
  test("a stack is one adapter attached after the other", () => {
    const after = lossOf(project(`attach a = ${pf}\nattach b = ${pf}`), unlike);
    expect(lossOf(project(`${donor(pf)}\nattach a = ${pf}\nattach s = Stack([b]) to a`), unlike)).toBeCloseTo(after, 10);
  });
  test.each([
    ["average", "Average([b])"],
    ["average of three to one", "Average([b], [3, 1])"],
    ["split of the tokens", "Split([b], [2])"],
    ["split of the rows", "BatchSplit([b], [1])"],
  ])("%s: of two that are equal it is either; of others it is neither", (_name, how) => {
    for (const kind of [pf, lora]) {
      const [one, both] = [project(`attach a = ${kind}`), project(`${donor(kind)}\nattach a = ${kind}\nattach s = ${how} to a`)];
      expect(lossOf(both, alike)).toBeCloseTo(lossOf(one, alike), 10);
      expect(Math.abs(lossOf(both, unlike) - lossOf(one, unlike))).toBeGreaterThan(1e-7);
    }
  });
  test("any nesting: an average of one and a stack of two", () => {
    const text = `${donor(pf, pf)}\nattach t = Stack([c]) to b\nattach a = ${pf}\nattach s = Average([b]) to a`;
    const p = project(text);
    expect(stageOf(p).trained.some((name) => name.startsWith("a."))).toBe(true);
    const values = [lossOf(p, unlike), lossOf(project(`${donor(pf)}\nattach a = ${pf}\nattach s = Average([b]) to a`), unlike)];
    expect(Math.abs(values[0] - values[1])).toBeGreaterThan(1e-7);
  });
  test("in parallel, each copy of the batch has its own: the mean loss is that of both", () => {
    const twice = `
module twice(model: Classifier) {
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true, label: i32[B]) -> loss: f32[] {
    logits = model(concat([input_ids, input_ids]), concat([attention_mask, attention_mask])).logits
    loss   = token_loss(logits, concat([label, label]))
  }
}`;
    const text = `${donor(pf)}\nattach a = ${pf}\nattach s = InParallel([b]) to a`;
    const p = project(`${twice}\n${text}`, "twice(m)");
    const one = (letter: string) => lossOf(project(`attach ${letter} = ${pf}`), unlike);
    expect(lossOf(p, unlike)).toBeCloseTo((one("a") + one("b")) / 2, 8);
  });
  test("a fusion of copies of one adapter is that adapter (its value map starts as the identity, but for 1e-6)", () => {
    const one = project(`attach a = ${pf}`);
    const start: Change = (name, s) => (name.startsWith("f.") ? s : alike(name, s));
    const fused = project(`${donor(pf, pf)}\nattach f = AdapterFusion([b, c], pull: 0) to ${FFN}`);
    expect(lossOf(fused, start)).toBeCloseTo(lossOf(one, alike), 5);
    expect(trained(fused)).toBe(LAYERS * (3 * D * D + 2 * D));
  });
  test("a fusion with a temperature begins even, as if the query were a fiftieth, and cools by 0.05 an update", () => {
    const fused = (more: string) => project(`${donor(pf, pf)}\nattach f = AdapterFusion([b, c], pull: 0${more}) to ${FFN}`);
    const cooler: Change = (name, s) => (/^f\..*to_query/.test(name) ? Array.from(unlike(name, s), (x) => x / 50) : unlike(name, s));
    const warm = fused(", temperature: true");
    expect(lossOf(warm, unlike)).toBeCloseTo(lossOf(fused(""), cooler), 8);
    expect(Math.abs(lossOf(warm, unlike) - lossOf(fused(""), unlike))).toBeGreaterThan(1e-7);
    const next = [...run(warm, stageOf(warm).step[0], unlike)].filter(([key]) => /^state:f\..*heat$/.test(key));
    expect(next.map(([, t]) => t.data[0])).toEqual(new Array(LAYERS).fill(49.95));
  });
  test("gates of UniPELT go on LoRA, adapter and prefix at once; MAM is a prefix and a parallel adapter", () => {
    const parts = `attach l = ${lora}\nattach x = ${pf}\nattach p = Prefix(tokens: 3) to m.**: SelfAttention`;
    const p = project(`${parts}\nattach g = Gate() to [l, x]\nattach h = PrefixGate() to p`);
    expect(trained(p)).toBe(2 * LAYERS * pair(2) + LAYERS * box(2) + LAYERS * 2 * 3 * D + (2 * LAYERS + LAYERS + LAYERS) * (D + 1));
    expect(Number.isFinite(lossOf(p, moved))).toBe(true);
    const mam = project("attach p = Prefix(tokens: 3) to m.**: SelfAttention\nattach q = Parallel(size: 4) to m.**: FeedForward");
    expect(trained(mam)).toBe(LAYERS * (2 * 3 * D + box(4)));
  });
  test("AdapterDrop: the first `off` act as if they were not there; while training a draw says how many", () => {
    const dropped = project(`attach a = ${pf}\nattach d = AdapterDrop(most: 1, off: 1) to a`);
    const upper = project("attach a = Pfeiffer(size: 2) to m.bert.encoder.layer[1].output");
    expect(lossOf(dropped, unlike)).toBeCloseTo(lossOf(upper, unlike), 10);
    expect(Number.isFinite(run(dropped, stageOf(dropped).step[0], unlike).get("output:loss")!.data[0])).toBe(true);
  });
  test.each(["random", "magnitude", "snip"])("SparseAdapter keeps a share of the weights (%s)", (by) => {
    const p = project(`attach a = ${pf}\nattach s = Sparse(keep: 0.25, by: "${by}") to [a.**.weight]`);
    const out = run(p, stageOf(p).step[0], unlike);
    const alive = [...out].filter(([key]) => key.startsWith("state:") && key.endsWith(".alive")).map(([, t]) => [...t.data]);
    const masks =
      by === "snip"
        ? alive
        : stageOf(p)
            .step[0].states.filter((n) => n.endsWith(".alive"))
            .map((n) => [...new ValueStore(p, () => undefined).state(n, new Map()).values]);
    expect(masks.length).toBe(2 * LAYERS);
    if (by !== "random") for (const mask of masks) expect(mask.filter((x) => x !== 0).length).toBe(4);
    expect(Number.isFinite(out.get("output:loss")!.data[0])).toBe(true);
  });
  test("AdaMix: two passes draw apart and are made to agree", () => {
    const p = project(`attach a = AdaMix(size: 2, experts: 3) to ${FFN}`, "agreeing(m)");
    const out = run(p, stageOf(p).step[0], moved);
    const loss = out.get("output:loss")!.data[0];
    expect(Number.isFinite(loss)).toBe(true);
    // without training the mean acts, twice the same: nothing is apart
    const calm = run(p, stageOf(p).evaluation[0], moved);
    expect(calm.get("output:loss")!.data[0]).toBeCloseTo(calm.get("output:task")?.data[0] ?? Number.NaN, 8);
  });
});
