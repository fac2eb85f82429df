/**
 * What computing in slices is worth: the planned memory of a LoRA step of a GPT-2 (2 layers, width 256, 4 heads, batch 1) as the sequence grows, and as
 * the vocabulary grows. `node bench/slices.mjs`, behind `npm run build`.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const source = ({ vocabulary, sequence }) => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model m = GPT2LMHeadModel(vocab_size: ${vocabulary}, n_positions: ${sequence}, n_embd: 256, n_layer: 2, n_head: 4, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)
attach lora = LoRA(rank: 8, alpha: 16) to m.transformer.h[*].attn.c_attn
train {
  objective = causal_lm(m)
  data      = jsonl("rows.jsonl")
  sequence  = ${sequence}
  batch     = 1
  optimizer = adamw(lr: 1e-3)
  params    = lora
  steps     = 1
}
`;

const folder = mkdtempSync(join(tmpdir(), "slices-"));
const planned = (shape) => {
  const file = join(folder, "step.peft");
  writeFileSync(file, source(shape));
  const row = Array.from({ length: shape.sequence }, (_, i) => i % 100);
  writeFileSync(join(folder, "rows.jsonl"), `${JSON.stringify({ input_ids: row })}\n`);
  const began = performance.now();
  const out = execFileSync(process.execPath, [join(root, "dist/src/cli/main.js"), "plan", file, "--device", "wasm", "--json"], {
    encoding: "utf8",
  });
  const plan = out
    .split("\n")
    .filter(Boolean)
    .map((l) => JSON.parse(l))
    .find((e) => e.event === "plan");
  return { ...plan, seconds: (performance.now() - began) / 1000 };
};
const mb = (bytes) => (bytes / 1e6).toFixed(1).padStart(9);
const line = (what, { arenas, peak_bytes, seconds }) =>
  console.log(
    `${String(what).padStart(10)} ${mb(arenas.activations)} MB activations ${mb(peak_bytes - arenas.frozen)} MB beside weights, planned in ${seconds.toFixed(1)} s`,
  );

try {
  console.log("sequence, vocabulary 2048");
  for (const sequence of [512, 1024, 2048, 4096, 8192]) line(sequence, planned({ vocabulary: 2048, sequence }));
  console.log("vocabulary, sequence 512");
  for (const vocabulary of [8192, 16384, 32768, 65536, 131072, 262144]) line(vocabulary, planned({ vocabulary, sequence: 512 }));
} finally {
  rmSync(folder, { recursive: true });
}
