// Writes docs/scale.md: what `plan --on torch` says of two Llama shapes on 8 to 512 GPUs. Run after `npm run build`: node bench/scale.mjs
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { printTorch } from "../dist/src/backends/torch/program.js";
import { compile } from "../dist/src/compiler/compile.js";
import { openWorkspace } from "../dist/src/node/workspace.js";
import { standIn } from "../dist/src/train/data/stand-in.js";
import { acrossOf } from "../dist/src/train/run/across.js";
import { layTrain } from "../dist/src/train/stages/train.js";

const root = fileURLToPath(new URL("..", import.meta.url));
const shapes = {
  "8B": { hidden_size: 4096, num_hidden_layers: 32, num_attention_heads: 32, intermediate_size: 14336 },
  "70B": { hidden_size: 8192, num_hidden_layers: 80, num_attention_heads: 64, intermediate_size: 28672 },
};
const LORA = "attach lora = LoRA(rank: 16, alpha: 32) to m.model.layers[*].**: Linear";
const SEQUENCE = 2048;
/** What a GPU computes and sends in a second, for the last column: an assumption, not a measurement. */
const RATE = { flops: 400e12, bytes: 50e9 };
const GPUS = [8, 16, 32, 64, 128, 256, 512];

const folder = mkdtempSync(path.join(tmpdir(), "scale-"));
for (const [name, shape] of Object.entries(shapes)) {
  mkdirSync(path.join(folder, name));
  const config = {
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
  };
  writeFileSync(path.join(folder, name, "config.json"), JSON.stringify(config));
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
  const laid = await layTrain(stage, {
    table: async ({ spec }) => (stage.data.includes(spec) ? standIn(stage, stage.data.indexOf(spec)) : undefined),
    engine: { splits: "always" },
  });
  const points = laid.points.filter((p) => !p.name.startsWith("evaluate"));
  const program = printTorch(points);
  const numbers = [...program.params.values()].reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
  return { program, points, numbers };
}

const gb = (bytes) => {
  const value = bytes / 1e9;
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value >= 0.1 ? value.toFixed(2) : value.toPrecision(2);
};
const tables = [];
for (const name of Object.keys(shapes))
  for (const trains of ["LoRA", "all"]) {
    const { program, points, numbers } = await printed(name, trains);
    for (const shard of ["ddp", "fsdp"]) {
      const rows = GPUS.map((processes) => {
        const { memory, sent } = acrossOf(program, points, { processes, shard, parts: 1, rows: processes, recompute: true });
        // forward, forward again, and the backward half by what is carried on, and by weights where they are trained
        const flops = (trains === "LoRA" ? 6 : 8) * numbers;
        const tokens = Math.ceil((sent / RATE.bytes) * (RATE.flops / flops));
        const cells = ["parameters", "gradients", "states", "gathered", "activations", "total"].map((key) => gb(memory[key]));
        return `| ${[processes, ...cells, gb(sent), tokens].join(" | ")} |`;
      });
      const what = trains === "LoRA" ? "LoRA of rank 16 on every layer's products" : "all parameters";
      tables.push(
        `## ${name}, ${what}, \`--shard ${shard}\`

| GPUs | parameters | gradients | states | put together | activations, at most | in all, at most | sent an update | tokens a GPU |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
${rows.join("\n")}
`,
      );
    }
    console.log(`${name}, ${trains}: ${(numbers / 1e9).toFixed(2)} billion numbers`);
  }
rmSync(folder, { recursive: true });

writeFileSync(
  path.join(root, "docs/scale.md"),
  `# Past one machine, on paper

<!-- Made by bench/scale.mjs: do not edit. -->

What \`peftc plan --on torch --recompute\` says of Llama shapes with one row of ${SEQUENCE} tokens a GPU, in GB (10⁹ bytes) a GPU: AdamW, parameters and sums in f32.
Nothing here was run on a cluster: it is read off the printed program. Bytes sent are a process's own by ring collectives; a test holds what collectives are given
to what PyTorch hands them on two processes (\`test/torch/across.test.ts\`).

"Tokens a GPU" is how many an update must have for sending to take no longer than computing, if a GPU computes ${RATE.flops / 1e12} TFLOP/s and sends ${RATE.bytes / 1e9} GB/s, and nothing
of the two overlaps: an assumption for comparing rows, not a measurement. Below it more GPUs do not make an update faster.

${tables.join("\n")}
## Where it stops

- \`ddp\` keeps every parameter on every GPU, whatever their number: in f32 the 8B base alone is 32 GB, the 70B base 282 GB, which no single GPU holds.
- \`fsdp\` divides what lasts by the number of GPUs. It does not divide what is put together (two layers, and what lies outside of layers: embeddings and the
  head, in f32) nor a row's activations. That sum is the floor of "in all": from about 64 GPUs on, more of them bring rows, not room.
- What \`fsdp\` sends in an update does not fall with the number of GPUs: layers are gathered twice, forward and backward, whatever is trained. \`accumulate\` does not help,
  as each part gathers again; more rows in a part do.
- With LoRA and \`ddp\` only the adapter's gradients are sent. There the batch ends it: a GPU has at least one row, so there are as many GPUs as rows at most.
- A row is never split: sequence and tensor parallelism are not built, so the longest sequence is what one GPU's activations allow.
`,
);
