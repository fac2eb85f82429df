/**
 * How long `plan` takes for a stack of 12 and of 96 equal layers: LoRA on a GPT-2, MEFT 3 on a BERT (with `reverse = "exact"` and without), and LoRA under a
 * budget. Seconds are of the processor, not of the clock, so that other work on the machine changes them less.
 *
 *   npm run build && node bench/depth.mjs [SHALLOW DEEP]
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("../dist/src/cli/main.js", import.meta.url));
const [shallow = 12, deep = 96] = process.argv.slice(2).map(Number);
const root = mkdtempSync(path.join(tmpdir(), "peftc-depth-"));

const gpt2 = (layers) => ({
  model_type: "gpt2",
  n_layer: layers,
  n_embd: 128,
  n_head: 4,
  vocab_size: 2048,
  n_positions: 256,
  activation_function: "gelu_new",
});
const bert = (layers) => ({
  model_type: "bert",
  num_hidden_layers: layers,
  hidden_size: 128,
  num_attention_heads: 4,
  intermediate_size: 512,
  vocab_size: 2048,
  max_position_embeddings: 256,
  type_vocab_size: 2,
  hidden_act: "gelu",
  hidden_dropout_prob: 0.1,
  attention_probs_dropout_prob: 0.1,
  layer_norm_eps: 1e-12,
  pad_token_id: 0,
});

const lora = (more = "") => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model base = GPT2LMHeadModel from "model"
attach lora = LoRA(rank: 8, alpha: 16) to base.transformer.h[*].{attn.{c_attn, c_proj}, mlp.{c_fc, c_proj}}
train { objective = causal_lm(base)  data = text("data.txt")  sequence = 128  batch = 8  optimizer = adamw(lr: 5e-3)  steps = 10 ${more} }
`;
const meft = (more = "") => `import { BertForSequenceClassification } from "std/models/bert"
import { AttentionSublayer, FeedForward, gelu } from "std/nn"
import { ParallelSmall, Sequential } from "std/methods/bottleneck"
import { MEFT3 } from "std/couplings"
import { classification } from "std/objectives"
import { adam } from "std/training"
model base = BertForSequenceClassification from "model"
attach inner = ParallelSmall(size: 8, act: gelu, p: 0.1) to base.**: FeedForward
attach outer = Sequential(size: 8, act: gelu) to base.**: AttentionSublayer
attach rev = MEFT3(lambda: 0.1, beta: 0.1) to base.bert.encoder.layer
train {
  objective = classification(base)  params = new  data = jsonl("data.jsonl", input: "{text}", label: "label")
  sequence = 128  batch = 8  optimizer = adam(lr: 5e-3)  steps = 10 ${more}
}
`;

/** Seconds of the processor that planning takes. */
function seconds(layers, config, program) {
  const folder = path.join(root, "case");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(path.join(folder, "model"), { recursive: true });
  writeFileSync(path.join(folder, "model/config.json"), JSON.stringify(config(layers)));
  writeFileSync(path.join(folder, "run.peft"), program);
  const tell = "process.on('exit',()=>{const{user,system}=process.cpuUsage();process.stderr.write('\\nCPU '+(user+system)/1e6+'\\n')})";
  const preload = `data:text/javascript,${encodeURIComponent(tell)}`;
  const { stderr, status } = spawnSync(process.execPath, ["--import", preload, cli, "plan", "run.peft", "--device", "wasm"], {
    cwd: folder,
    encoding: "utf8",
  });
  const found = /CPU ([\d.]+)/.exec(stderr);
  // 2: it is planned, and does not fit
  if (!found || status === 1) throw new Error(stderr);
  return Number(found[1]);
}

const cases = [
  ["LoRA", gpt2, () => lora()],
  ["LoRA, budget", gpt2, (layers) => lora(`memory = "${5 * layers + 30}MB"`.replaceAll('"', ""))],
  ["MEFT 3, exact", bert, () => meft('reverse = "exact"')],
  ["MEFT 3, stored", bert, () => meft()],
];
console.log(`${"".padEnd(16)}${String(shallow).padStart(8)}${String(deep).padStart(8)}   ratio`);
try {
  for (const [name, config, program] of cases) {
    const [a, b] = [shallow, deep].map((layers) => seconds(layers, config, program(layers)));
    console.log(`${name.padEnd(16)}${a.toFixed(1).padStart(8)}${b.toFixed(1).padStart(8)}${(b / a).toFixed(2).padStart(8)}`);
  }
} finally {
  rmSync(root, { recursive: true, force: true });
}
