/**
 * A run that empties its feed-forward activations (DEFT's term in the loss) gets faster as it goes: the time of its steps at the beginning and at
 * the end, and what the run says of the zeros it skips. A model of GPT-2's kind with ReLU, made afresh and trained whole, so that the term can act
 * on every layer at once; published DEFT trains an adapter for epochs. With `--weight 0` it is the same run without the term.
 *
 *   node bench/deft.mjs [--steps 60] [--weight 10] [--device wasm|webgpu]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { train } from "../dist/src/index.js";

const { values: options } = parseArgs({
  options: {
    steps: { type: "string", default: "60" },
    weight: { type: "string", default: "10" },
    device: { type: "string", default: "wasm" },
  },
});
const here = dirname(fileURLToPath(import.meta.url));
const folder = mkdtempSync(`${here}/.deft-`);
const examples = relative(folder, `${here}/../specs/examples`);
const source = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { FeedForward } from "std/nn"
import { causal_lm, density, measured_density } from "std/objectives"
import { adamw } from "std/training"
model m = GPT2LMHeadModel(vocab_size: 2048, n_positions: 128, n_embd: 192, n_inner: 1536, n_layer: 3, n_head: 4, activation_function: "relu",
  resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, tokenizer: tokenizer("${examples}/models/tiny-gpt2"))
train run {
  objective = causal_lm(m) + ${options.weight} * density(m.**: FeedForward.act, eps: 1e-3)
  data      = text("${examples}/data/corpus.txt")
  sequence  = 128
  batch     = 4
  optimizer = adamw(lr: 2e-3)
  steps     = ${options.steps}
  watch     = { density: measured_density(m.**: FeedForward.act) }
  seed      = 7
}
`;
try {
  writeFileSync(`${folder}/run.peft`, source);
  const steps = [];
  let before = performance.now();
  await train("run.peft", {
    cwd: folder,
    device: options.device,
    listen: (e) => {
      if (e.event === "note") console.log(e.message);
      if (e.event !== "step") return;
      const now = performance.now();
      const watched = Object.entries(e.scalars).find(([name]) => name.endsWith("density"))?.[1] ?? Number.NaN;
      steps.push({ ms: now - before, density: watched, loss: e.loss });
      before = now;
    },
  });
  const least = (list) => Math.min(...list.map((s) => s.ms));
  const tenth = Math.max(3, Math.floor(steps.length / 6));
  const [first, last] = [steps.slice(1, 1 + tenth), steps.slice(-tenth)];
  const line = (name, part) =>
    `${name}: ${least(part).toFixed(0)} ms a step (least of ${part.length}), density ${(100 * part.at(-1).density).toFixed(1)} %, loss ${part.at(-1).loss.toFixed(3)}`;
  console.log(line("at the beginning", first));
  console.log(line("at the end      ", last));
} finally {
  rmSync(folder, { recursive: true });
}
