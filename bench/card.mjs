/**
 * Training on one card (or processor) by `--on torch`, beside hand-written `transformers` + `peft`: GPT-2 small and a Llama of 1B, LoRA and all parameters, in f32 and in
 * bf16, `torch.compile` off and on; milliseconds of a step and the most memory of the device. Run after `npm run build`:
 * `node bench/card.mjs [--device cuda|cpu] [SHAPE...] [--steps N] [--json FILE]`. Needs PyTorch, transformers and peft (`PEFTC_PYTHON`, else `python3`).
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compile } from "../dist/src/compiler/compile.js";
import { torchEngine } from "../dist/src/node/torch/engine.js";
import { openWorkspace } from "../dist/src/node/workspace.js";
import { runFile } from "../dist/src/train/run/run.js";
import { median } from "./step.mjs";

const SHAPES = {
  tiny: { arch: "gpt2", width: 64, layers: 2, heads: 4, vocabulary: 512, sequence: 32, batch: 2 },
  "tiny-llama": { arch: "llama", width: 64, layers: 2, heads: 4, keys: 2, inner: 128, vocabulary: 512, sequence: 32, batch: 2 },
  gpt2: { arch: "gpt2", width: 768, layers: 12, heads: 12, vocabulary: 50257, sequence: 512, batch: 4 },
  "llama-1b": { arch: "llama", width: 2048, layers: 16, heads: 32, keys: 8, inner: 8192, vocabulary: 128256, sequence: 1024, batch: 2 },
};
/** What is trained: of the large one all parameters and their states do not fit beside f32 products on most cards. */
const TRAINED = { tiny: ["LoRA", "all"], "tiny-llama": ["LoRA"], gpt2: ["LoRA", "all"], "llama-1b": ["LoRA"] };
const WARM = 5;

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { device: { type: "string", default: "cuda" }, steps: { type: "string", default: "20" }, json: { type: "string" } },
});
const { device } = values;
if (device !== "cuda" && device !== "cpu") throw new Error(`--device ${device}: there are cuda and cpu`);
// both sides see the same devices
if (device === "cpu") process.env.CUDA_VISIBLE_DEVICES = "";
const python = process.env.PEFTC_PYTHON || "python3";
const asked = positionals.length > 0 ? positionals : ["gpt2", "llama-1b"];
for (const name of asked) if (!(name in SHAPES)) throw new Error(`there is no shape ${name}: there are ${Object.keys(SHAPES).join(", ")}`);
const steps = Number(values.steps) + WARM;

const MODELS = {
  gpt2: (s) => ({
    model: `GPT2LMHeadModel(vocab_size: ${s.vocabulary}, n_positions: ${s.sequence}, n_embd: ${s.width}, n_layer: ${s.layers}, n_head: ${s.heads}, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)`,
    from: "std/models/gpt2",
    to: "m.transformer.h[*].attn.c_attn",
  }),
  llama: (s) => ({
    model: `LlamaForCausalLM(vocab_size: ${s.vocabulary}, hidden_size: ${s.width}, intermediate_size: ${s.inner}, num_hidden_layers: ${s.layers}, num_attention_heads: ${s.heads}, num_key_value_heads: ${s.keys}, max_position_embeddings: ${s.sequence}, rms_norm_eps: 1e-5, rope_theta: 500000, tie_word_embeddings: true)`,
    from: "std/models/llama",
    to: "m.model.layers[*].self_attn.{q_proj, v_proj}",
  }),
};
function sourceOf(shape, lora) {
  const { model, from, to } = MODELS[shape.arch](shape);
  return `import { ${model.slice(0, model.indexOf("("))} } from "${from}"
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model m = ${model}
${lora ? `attach lora = LoRA(rank: 8, alpha: 16) to ${to}` : ""}
train {
  objective = causal_lm(m)
  data = jsonl("rows.jsonl")
  sequence = ${shape.sequence}
  batch = ${shape.batch}
  optimizer = adamw(lr: 1e-4)
  params = ${lora ? "lora" : "m"}
  steps = ${steps}
}
`;
}

/** Numbers of deviation 0.02: drawing what the program says takes minutes for a billion. */
function spread(count) {
  const out = new Float32Array(count);
  for (let i = 0, x = 1; i < count; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    out[i] = (x / 2 ** 31) * 0.0346;
  }
  return out;
}

/** The train stage as it runs, its events timed. */
async function ours(shape, lora, way) {
  const folder = mkdtempSync(path.join(tmpdir(), "bench-card-"));
  // so many that there is one epoch: at its end a checkpoint is written
  const row = (r) => Array.from({ length: shape.sequence }, (_, i) => ((i + r) * 7919 + ((i * i) % 101) * 31) % shape.vocabulary);
  writeFileSync(
    path.join(folder, "rows.jsonl"),
    Array.from({ length: shape.batch * steps }, (_, r) => JSON.stringify({ input_ids: row(r) })).join("\n"),
  );
  writeFileSync(path.join(folder, "run.peft"), sourceOf(shape, lora));
  const workspace = openWorkspace(folder);
  const project = compile("run.peft", workspace.sources, {});
  const wrong = project.problems.filter((p) => p.severity === "error");
  if (wrong.length > 0) throw new Error(wrong.map((p) => `${p.code} ${p.message}`).join("\n"));
  const engine = await torchEngine(way);
  const seen = [];
  const listen = (event) => {
    if (event.event === "step") seen.push({ at: performance.now(), loss: event.loss, peak: event.peak_bytes });
  };
  const host = workspace.host(project, engine, { listen, interrupted: () => false, now: () => performance.now() / 1000 });
  const param = host.values.param.bind(host.values);
  host.values.param = (name) => (host.values.count(name) > 2 ** 16 ? spread(host.values.count(name)) : param(name));
  const started = performance.now();
  try {
    await runFile(host, { output: "out", force: false, resume: false });
  } finally {
    await engine.close();
    rmSync(folder, { recursive: true });
  }
  const between = seen.slice(1).map((e, i) => e.at - seen[i].at);
  const finite = seen.every((e) => Number.isFinite(e.loss));
  return { ms: median(between.slice(WARM - 1)), first: seen[0].at - started, peak: seen.at(-1).peak, finite };
}

/** The same by hand; a sentence where it cannot be run. */
function theirs(shape, lora, { dtype, compile: compiled }) {
  const script = fileURLToPath(new URL("card.py", import.meta.url));
  const job = JSON.stringify({ shape, lora, dtype, compile: compiled, device, steps, warm: WARM });
  const { status, stdout, stderr, error } = spawnSync(python, [script, job], { encoding: "utf8" });
  if (status !== 0) return { missing: (error?.message ?? stderr).trim().split("\n").at(-1) };
  return JSON.parse(stdout.trim().split("\n").at(-1));
}

const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
const rows = [];
for (const name of asked)
  for (const what of TRAINED[name])
    for (const dtype of ["f32", "bf16"])
      for (const compiled of [false, true]) {
        const way = { dtype, compile: compiled };
        const [mine, other] = [await ours(SHAPES[name], what === "LoRA", way), theirs(SHAPES[name], what === "LoRA", way)];
        rows.push({ shape: name, what, ...way, device, peftc: mine, peer: other });
        const peer =
          other.missing === undefined
            ? `torch ${other.ms.toFixed(1)} ms, ${mb(other.peak)}; ratio ${(mine.ms / other.ms).toFixed(2)}, memory ${(mine.peak / other.peak).toFixed(2)}; ${other.where}`
            : `torch: not run (${other.missing})`;
        console.log(
          `${name} ${what} ${dtype}${compiled ? " compiled" : ""}: peftc ${mine.ms.toFixed(1)} ms, ${mb(mine.peak)}${mine.finite ? "" : ", loss not finite"}; ${peer}`,
        );
      }
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ node: process.version, rows }, null, 1)}\n`);
