/**
 * Budgets from the smallest to what storing takes: `node bench/budgets.mjs [SHAPE...] [--budgets 10] [--plan-only] [--steps 3]`, behind `npm run build`. For each budget:
 * what is planned and what a run allocates, the work that the cost model adds, the time of a step beside that without a budget, and how far the adapter is
 * from the one that a run without a budget leaves. Shapes: quickstart, gpt2 (8 × 512), roberta-large (8 × 512), qwen2.5-0.5b (1 × 256), all LoRA with r = 8.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { compile, train } from "../dist/src/index.js";
import { openEngine } from "../dist/src/node/engine.js";
import { memoryOf } from "../dist/src/train/budget.js";
import { standIn } from "../dist/src/train/stand-in.js";
import { planTrain } from "../dist/src/train/train.js";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    budgets: { type: "string", default: "10" },
    steps: { type: "string", default: "3" },
    "plan-only": { type: "boolean", default: false },
  },
});
const here = dirname(fileURLToPath(import.meta.url));
const [BATCHED, CAUSAL, CLASSES] = [8, "causal_lm(m)", "classification(m)"];
const shape = (imports, model, sites, more) => ({ objective: CAUSAL, precision: "f32", ...more, imports, model, sites });
const shapes = {
  quickstart: shape(
    "std/models/gpt2",
    "GPT2LMHeadModel(vocab_size: 2048, n_positions: 128, n_embd: 128, n_layer: 4, n_head: 4, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)",
    "m.transformer.h[*].attn.c_attn",
    { batch: BATCHED, sequence: 128 },
  ),
  gpt2: shape(
    "std/models/gpt2",
    "GPT2LMHeadModel(vocab_size: 50257, n_positions: 1024, n_embd: 768, n_layer: 12, n_head: 12, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)",
    "m.transformer.h[*].attn.c_attn",
    { batch: BATCHED, sequence: 512 },
  ),
  "roberta-large": shape(
    "std/models/bert",
    "RobertaForSequenceClassification(vocab_size: 50265, hidden_size: 1024, num_hidden_layers: 24, num_attention_heads: 16, intermediate_size: 4096, max_position_embeddings: 514, type_vocab_size: 1, hidden_dropout_prob: 0, attention_probs_dropout_prob: 0)",
    "m.roberta.encoder.layer[*].attention.self.{query, value}",
    { objective: CLASSES, batch: BATCHED, sequence: 512 },
  ),
  "qwen2.5-0.5b": shape(
    "std/models/llama",
    "Qwen2ForCausalLM(vocab_size: 151936, hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24, num_attention_heads: 14, num_key_value_heads: 2, tie_word_embeddings: true, max_position_embeddings: 32768, rms_norm_eps: 1e-6)",
    "m.model.layers[*].self_attn.{q_proj, v_proj}",
    { batch: 1, sequence: 256, precision: "bf16" },
  ),
};

const programOf = ({
  imports,
  model,
  sites,
  objective,
  batch,
  sequence,
  precision,
}) => `import { ${model.slice(0, model.indexOf("("))} } from "${imports}"
import { LoRA } from "std/methods/lora"
import { ${objective.slice(0, objective.indexOf("("))} } from "std/objectives"
import { adamw } from "std/training"
model m = ${model}
attach lora = LoRA(rank: 8, alpha: 16) to ${sites}
train {
  objective = ${objective}
  data      = jsonl("rows.jsonl")
  sequence  = ${sequence}
  batch     = ${batch}
  optimizer = adamw(lr: 1e-3)
  precision = "${precision}"
  params    = lora
  steps     = ${options.steps}
  seed      = 7
}
`;

const mb = (bytes) => (bytes / 1e6).toFixed(1).padStart(8);
const percent = (share) => `${(100 * share).toFixed(1)} %`.padStart(8);

async function curve(name) {
  const wanted = shapes[name];
  if (wanted === undefined) throw new Error(`no shape ${name}: ${Object.keys(shapes).join(", ")}`);
  const folder = mkdtempSync(join(here, ".budgets-"));
  try {
    writeFileSync(join(folder, "main.peft"), programOf(wanted));
    const label = wanted.objective === CLASSES ? { label: 1 } : {};
    const row = (r) =>
      JSON.stringify({ input_ids: Array.from({ length: wanted.sequence }, (_, i) => 5 + ((7 * r + 3 * i) % 500)), ...label });
    writeFileSync(join(folder, "rows.jsonl"), Array.from({ length: wanted.batch }, (_, r) => `${row(r)}\n`).join(""));
    const engine = await openEngine("wasm");
    const project = compile("main.peft", { cwd: folder });
    const { stage } = project.actions.find((a) => a.kind === "stage");
    const host = {
      engine,
      project,
      table: async ({ spec }) => (stage.data.includes(spec) ? standIn(stage, stage.data.indexOf(spec)) : undefined),
      values: { count: () => 0, inFile: () => false },
    };
    const plan = (memory) => planTrain({ ...stage, memory }, host);
    const whole = await plan(undefined);
    const { total: most, arenas } = memoryOf(whole.built.program);
    const smallest = await (await plan(1)).built.smallest();
    console.log(
      `${name}: ${wanted.batch} × ${wanted.sequence}, ${mb(arenas.frozen)} MB frozen weights; the smallest budget ${mb(smallest)}, without one ${mb(most)} MB`,
    );
    const run = async (memory) => {
      const output = `out-${memory ?? "free"}`;
      const times = [];
      let [peak, before] = [0, performance.now()];
      await train("main.peft", {
        cwd: folder,
        output,
        device: "wasm",
        set: memory === undefined ? {} : { "train.memory": memory },
        listen: (e) => {
          if (e.event !== "step") return;
          times.push(performance.now() - before);
          before = performance.now();
          peak = e.peak_bytes;
        },
      });
      // the first one warms up
      const rest = times.slice(1).sort((p, q) => p - q);
      return { ms: rest[rest.length >> 1], peak, adapter: readFileSync(join(folder, output, "adapter_model.safetensors")) };
    };
    const free = options["plan-only"] ? undefined : await run(undefined);
    if (free) console.log(`  without a budget a step takes ${free.ms.toFixed(0)} ms, ${mb(free.peak)} MB allocated`);
    const count = Number(options.budgets);
    for (let i = 0; i < count; i++) {
      const memory = Math.ceil(smallest + ((most - smallest) * i) / Math.max(1, count - 1));
      const { built, batch } = await plan(memory);
      if (built.smallest !== undefined) throw new Error(`${memory} is refused, and ${smallest} was said to be enough`);
      const { total } = memoryOf(built.program);
      const added = Math.max(0, ...Object.values(built.recomputed));
      const line = [
        `  budget ${mb(memory)} MB: planned ${mb(total)}, ${mb(total - arenas.frozen)} beside weights, work ${percent(added)}, ${batch} rows at a time`,
      ];
      if (total > memory) throw new Error(`${total} are planned for ${memory}`);
      if (free) {
        const { ms, peak, adapter } = await run(memory);
        if (peak > memory) throw new Error(`${peak} were allocated for ${memory}`);
        line.push(`allocated ${mb(peak)}`, `time ${percent(ms / free.ms - 1)}`, apart(free.adapter, adapter));
      }
      console.log(line.join("; "));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** How far two adapters are from each other, as a share of the largest number. */
function apart(one, other) {
  if (one.equals(other)) return "equal bits";
  const numbers = (file) => {
    const start = 8 + Number(file.readBigUInt64LE(0));
    return new Float32Array(file.buffer.slice(file.byteOffset + start, file.byteOffset + file.length));
  };
  const [x, y] = [numbers(one), numbers(other)];
  const size = x.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
  return `${(x.reduce((most, v, i) => Math.max(most, Math.abs(v - y[i])), 0) / size).toExponential(1)} apart`;
}

for (const name of positionals.length > 0 ? positionals : Object.keys(shapes)) await curve(name);
