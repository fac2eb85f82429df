/**
 * Stacks of BERT's kind whose loops run backwards, through peftc's own command. `npm run build` first.
 *
 *   node bench/reverse.mjs plan      planned activations at RoBERTa-large's and GPT-2-medium's shapes, 8 × 512, from config.json alone
 *   node bench/reverse.mjs train     MEFT 1 and 3 with narrow layers and random weights: stored, exact and 1e-3; last losses, and errors predicted and measured
 *
 * `--depths 6,48`: layers of `plan`; `--shapes GPT`, `--ways "exact|LoRA"`: only those that a pattern finds. `--layers 24 --steps 200`: of `train`.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compile } from "../dist/src/compiler/compile.js";
import { openEngine } from "../dist/src/node/engine.js";
import { openWorkspace } from "../dist/src/node/workspace.js";
import { standIn } from "../dist/src/train/data/stand-in.js";
import { memoryOf } from "../dist/src/train/engine/budget.js";
import { planTrain } from "../dist/src/train/stages/train.js";

const { values: given, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    depths: { type: "string", default: "24" },
    shapes: { type: "string", default: "" },
    ways: { type: "string", default: "" },
    layers: { type: "string", default: "24" },
    steps: { type: "string", default: "200" },
  },
});
const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const command = process.env.PEFTC ?? path.join(root, "dist/src/cli/main.js");
const folder = mkdtempSync(path.join(tmpdir(), "peftc-reverse-"));

/** Runs a program through a verb of peftc; gives its events. */
function peftc(verb, program, refusable = false) {
  writeFileSync(path.join(folder, "main.peft"), program);
  const argv = [
    "--max-old-space-size=8000",
    command,
    verb,
    "main.peft",
    "--device",
    "wasm",
    "--json",
    ...(verb === "train" ? ["--force"] : []),
  ];
  const { stdout, stderr } = spawnSync(process.execPath, argv, { cwd: folder, encoding: "utf8", maxBuffer: 2 ** 30 });
  const events = stdout.split("\n").flatMap((line) => (line.startsWith("{") ? [JSON.parse(line)] : []));
  const wrong = events.find((e) => e.severity === "error");
  if (events.length === 0 || (wrong && !(refusable && wrong.code === "P0901"))) throw new Error(wrong?.message ?? stderr);
  return events;
}

const imports = `import { BertForSequenceClassification, RobertaForSequenceClassification } from "std/models/bert"
import { GPT2LMHeadModel } from "std/models/gpt2"
import { AttentionSublayer, FeedForward, gelu } from "std/nn"
import { ParallelSmall, Sequential } from "std/methods/bottleneck"
import { LoRA } from "std/methods/lora"
import { MEFT1, MEFT2, MEFT3 } from "std/couplings"
import { causal_lm, classification } from "std/objectives"
import { adam } from "std/training"
`;
/** The two small adapters a layer, and the wiring. */
const wired = (way, layers) => `attach inner = ParallelSmall(size: 8, act: gelu) to m.**: FeedForward
${way === 3 ? "attach outer = Sequential(size: 8, act: gelu) to m.**: AttentionSublayer" : ""}
attach rev = MEFT${way}() to ${layers}
`;

const shapes = {
  "RoBERTa-large": {
    config: {
      model_type: "roberta",
      vocab_size: 50265,
      hidden_size: 1024,
      num_attention_heads: 16,
      intermediate_size: 4096,
      max_position_embeddings: 514,
      type_vocab_size: 1,
      num_labels: 2,
      pad_token_id: 1,
      layer_norm_eps: 1e-5,
    },
    depth: (n) => ({ num_hidden_layers: n }),
    model: 'RobertaForSequenceClassification from "base"',
    layers: "m.roberta.encoder.layer",
    sites: "m.roberta.encoder.layer[*].attention.self.{query, value}",
    objective: "classification(m)",
    data: 'jsonl("rows.jsonl", input: "{text}", label: "label")',
  },
  "GPT-2-medium": {
    config: { model_type: "gpt2", vocab_size: 50257, n_embd: 1024, n_head: 16, n_positions: 1024 },
    depth: (n) => ({ n_layer: n }),
    model: 'GPT2LMHeadModel from "base"',
    layers: "m.transformer.h",
    sites: "m.transformer.h[*].attn.c_attn",
    objective: "causal_lm(m)",
    data: 'text("corpus.txt")',
  },
};

/**
 * What is trained and how, against full fine-tuning with everything kept that costs more than 2 % of the work to have again, and against full fine-tuning with
 * everything stored: no slices, nothing recomputed.
 */
const EVERYTHING = ["chunk", "cut"];
const ways = [
  ["full fine-tuning, all stored", { stored: true }],
  ["full fine-tuning", {}],
  ["LoRA", { lora: true }],
  ...[1, 2, 3].flatMap((meft) => [
    [`MEFT ${meft}, stored`, { meft }],
    [`MEFT ${meft}, exact`, { meft, reverse: '"exact"' }],
    [`MEFT ${meft}, 1e-3`, { meft, reverse: "1e-3" }],
  ]),
  // the least that can be had, by recomputing in fine slices
  ["LoRA, smallest budget", { lora: true, least: true }],
  ["MEFT 1, smallest budget", { meft: 1, least: true }],
  ["MEFT 1, exact, smallest budget", { meft: 1, reverse: '"exact"', least: true }],
];

async function plan() {
  mkdirSync(path.join(folder, "base"));
  for (const [name, shape] of Object.entries(shapes)) {
    if (!name.includes(given.shapes)) continue;
    process.stdout.write(
      `${name}, 8 × 512: activations in MB, share of full fine-tuning's with everything stored, and as it is planned, seconds of planning\n`,
    );
    for (const n of given.depths.split(",").map(Number)) {
      writeFileSync(path.join(folder, "base/config.json"), JSON.stringify({ ...shape.config, ...shape.depth(n) }));
      const full = [];
      for (const [way, { meft, lora, reverse = "0", least, stored }] of ways) {
        if (!new RegExp(given.ways).test(way) && !way.startsWith("full fine-tuning")) continue;
        const wiring = meft ? wired(meft, shape.layers) : lora ? `attach lora = LoRA(rank: 8) to ${shape.sites}\n` : "";
        const program = `${imports}model m = ${shape.model}
${wiring}train {
  objective = ${shape.objective}  data = ${shape.data}  params = ${meft || lora ? "new" : "m"}
  sequence = 512  batch = 8  steps = 1  memory = ${least ? "1MB  offload = false" : "10000GB"}  optimizer = adam(lr: 1e-3)  reverse = ${reverse}
}
`;
        const began = Date.now();
        const bytes = stored ? await withoutSaving(program) : activations(program, least);
        if (full.length < 2) full.push(bytes);
        const shares = full.map((all) => `${((100 * bytes) / all).toFixed(1).padStart(6)} %`).join("");
        const seconds = ((Date.now() - began) / 1000).toFixed(0);
        process.stdout.write(
          `${String(n).padStart(4)} layers  ${way.padEnd(31)} ${(bytes / 1e6).toFixed(0).padStart(6)} ${shares.padEnd(18)}${seconds.padStart(4)} s\n`,
        );
      }
    }
  }
}

/** Bytes of activations without any pass that saves some. */
async function withoutSaving(program) {
  writeFileSync(path.join(folder, "main.peft"), program);
  const project = compile("main.peft", openWorkspace(folder, true).sources, {});
  const { stage } = project.actions.find((a) => a.kind === "stage");
  const host = {
    engine: await openEngine("wasm", { without: EVERYTHING }),
    project,
    table: async ({ spec }) => (stage.data.includes(spec) ? standIn(stage, stage.data.indexOf(spec)) : undefined),
    values: { count: () => 0, inFile: () => false },
  };
  const { built } = await planTrain(stage, host);
  return memoryOf(built.program).arenas.activations;
}

/** Bytes of activations as `plan` says; `least`: with the smallest budget. */
function activations(program, least) {
  const { event, smallest } = planned(program);
  // what is not activations is there whatever the budget
  return least ? smallest - (event.peak_bytes - event.activation_bytes) : event.activation_bytes;
}

/** A plan, and the smallest budget that a refusal names. */
function planned(program) {
  const events = peftc("plan", program, true);
  const refused = events.find((e) => e.code === "P0901");
  const said = refused && /([\d ]+) bytes/.exec([refused.message, ...(refused.notes ?? [])].join("\n"));
  return { event: events.find((e) => e.event === "plan"), smallest: said ? Number(said[1].replaceAll(" ", "")) : undefined };
}

function train() {
  const words = ["sea", "king", "old", "way", "law", "house", "hand", "day"];
  const rows = Array.from({ length: 64 }, (_, i) => ({ text: [i, i * 3 + 1, i * 5 + 2].map((k) => words[k % 8]).join(" "), label: i % 2 }));
  writeFileSync(path.join(folder, "rows.jsonl"), rows.map((r) => JSON.stringify(r)).join("\n"));
  for (const way of [1, 3])
    for (const reverse of ["0", '"exact"', "1e-3"]) {
      const events = peftc(
        "train",
        `${imports}model m = BertForSequenceClassification(vocab_size: 256, hidden_size: 16, num_hidden_layers: ${given.layers}, num_attention_heads: 2,
  intermediate_size: 32, max_position_embeddings: 32, num_labels: 2, tokenizer: tokenizer(${JSON.stringify(path.join(root, "specs/papers/models/bert"))}))
${wired(way, "m.bert.encoder.layer")}train {
  objective = classification(m)  data = jsonl("rows.jsonl", input: "{text}", label: "label")  params = new
  sequence = 16  batch = 8  steps = ${given.steps}  optimizer = adam(lr: 1e-3)  clip = 1  seed = 3  reverse = ${reverse}  checkpoint = { every: ${given.steps} }
}
`,
      );
      const losses = events.filter((e) => e.event === "step").map((e) => e.loss);
      const last = losses.slice(-20);
      const mean = last.reduce((p, q) => p + q, 0) / last.length;
      process.stdout.write(`MEFT ${way}, reverse = ${reverse}: mean of the last ${last.length} losses ${mean.toFixed(6)}\n`);
      for (const e of events) if (e.event === "note") process.stdout.write(`  ${e.message}\n`);
    }
}

try {
  if (positionals[0] === "plan") await plan();
  else if (positionals[0] === "train") train();
  else throw new Error("node bench/reverse.mjs plan|train");
} finally {
  rmSync(folder, { recursive: true });
}
