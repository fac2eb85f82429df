// Writes docs/scale.md: what `plan --on torch` says of two Llama shapes on 8 to 512 GPUs. Run after `npm run build`: node scripts/scale.mjs
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { printTorch } from "../dist/src/backends/torch/program.js";
import { compile } from "../dist/src/compiler/compile.js";
import { openWorkspace } from "../dist/src/node/workspace.js";
import { acrossOf } from "../dist/src/train/across.js";
import { standIn } from "../dist/src/train/stand-in.js";
import { layTrain } from "../dist/src/train/train.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const shapes = {
  "8B": { hidden_size: 4096, num_hidden_layers: 32, num_attention_heads: 32, intermediate_size: 14336 },
  "70B": { hidden_size: 8192, num_hidden_layers: 80, num_attention_heads: 64, intermediate_size: 28672 },
};
const LORA = "attach lora = LoRA(rank: 16, alpha: 32) to m.model.layers[*].**: Linear";
const SEQUENCE = 2048;
/** Rows a process: one. */
const ROWS = 1;

const folder = mkdtempSync(path.join(tmpdir(), "scale-"));
for (const [name, shape] of Object.entries(shapes)) {
  mkdirSync(path.join(folder, name));
  writeFileSync(
    path.join(folder, name, "config.json"),
    JSON.stringify({
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      vocab_size: 128256,
      num_key_value_heads: 8,
      max_position_embeddings: 8192,
      rms_norm_eps: 1e-5,
      rope_theta: 500000,
      hidden_act: "silu",
      tie_word_embeddings: false,
      bos_token_id: 1,
      eos_token_id: 2,
      ...shape,
    }),
  );
}

/** A program, printed once: how many processes there are changes nothing of it. */
async function printed(name, trains) {
  writeFileSync(
    path.join(folder, "run.peft"),
    `import { LlamaForCausalLM } from "std/models/llama"
import { LoRA } from "std/methods/lora"
import { Linear } from "std/nn"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model m = LlamaForCausalLM from "${name}"
${trains === "LoRA" ? LORA : ""}
train { objective = causal_lm(m)  ${trains === "LoRA" ? "" : "params = m"}  data = text("none.txt")  sequence = ${SEQUENCE}  batch = 8  optimizer = adamw(lr: 1e-4)  steps = 1 }
`,
  );
  const project = compile("run.peft", openWorkspace(folder, true).sources, {});
  const wrong = project.problems.filter((p) => p.severity === "error");
  if (wrong.length > 0) throw new Error(wrong.map((p) => p.message).join("\n"));
  const { stage } = project.actions.find((a) => a.kind === "stage");
  const table = async ({ spec }) => (stage.data.includes(spec) ? standIn(stage, stage.data.indexOf(spec)) : undefined);
  const laid = await layTrain(stage, { table, engine: { splits: true } });
  const points = laid.points.filter((p) => !p.name.startsWith("evaluate"));
  return { program: printTorch(points), points };
}

const GB = 1e9;
const gb = (bytes) => (bytes / GB >= 100 ? (bytes / GB).toFixed(0) : (bytes / GB).toFixed(bytes / GB >= 10 ? 1 : 2));
const counts = [8, 16, 32, 64, 128, 256, 512];
const tables = [];
for (const name of Object.keys(shapes))
  for (const trains of ["LoRA", "all"]) {
    const { program, points } = await printed(name, trains);
    for (const shard of trains === "LoRA" ? ["ddp", "fsdp"] : ["fsdp"]) {
      const rows = counts.map((processes) => {
        const { memory, sent } = acrossOf(program, points, { processes, shard, parts: 1, rows: processes * ROWS, recompute: true });
        const m = (key) => gb(memory[key]);
        return `| ${processes} | ${m("parameters")} | ${m("gradients")} | ${m("states")} | ${m("gathered")} | ${m("activations")} | ${m("total")} | ${gb(sent)} |`;
      });
      const what = trains === "LoRA" ? "LoRA of rank 16 on every layer's products" : "all parameters";
      tables.push(
        `## ${name}, ${what}, \`--shard ${shard}\`\n\n| GPUs | parameters | gradients | states | put together | activations, at most | in all, at most | sent an update |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n${rows.join("\n")}\n`,
      );
    }
  }
rmSync(folder, { recursive: true });

writeFileSync(
  path.join(root, "docs/scale.md"),
  `# Past one machine, on paper

<!-- Made by scripts/scale.mjs: do not edit. -->

What \`peftc plan --on torch --recompute\` says of Llama shapes, for one row of ${SEQUENCE} tokens a process, in GB (10⁹ bytes) a process, AdamW, parameters and sums in f32. Nothing here was run on
a cluster: it is read off the printed program. Bytes sent are a process's own by ring collectives; \`test/torch\` holds what collectives are given against what PyTorch
hands them on two processes.

${tables.join("\n")}
## Where it stops

- \`ddp\` keeps the whole base on every GPU: with f32 parameters 8B does not fit 24 GB, and 70B fits no single GPU; more GPUs do not help.
- \`fsdp\` divides what lasts by the number of GPUs, but not the layer that is put together, nor what lies outside of layers (embeddings and head), nor a row's activations: that is the floor of each column above, and from
  there on more GPUs bring rows, not room.
- Bytes sent an update with \`fsdp\` do not fall with the number of GPUs: each gathers all parameters twice. A step is bound by them where sent ÷ bandwidth exceeds its arithmetic; more rows or \`accumulate\` do not change the first with \`fsdp\`,
  which gathers for each part, but more rows a process do.
- With LoRA and \`ddp\` only adapters' gradients are sent: it scales as far as the batch does.
- One row a process is the least there is: beyond as many GPUs as rows in a batch, processes have no rows. Splitting one row (sequence or tensor parallelism) is not built.
`,
);
