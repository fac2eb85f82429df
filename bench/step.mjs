/** What the benchmarks run of peftc: chains of products, and a training step of a GPT-2 with an untied head, on one engine. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { compile } from "../dist/src/index.js";
import { Builder } from "../dist/src/ir/build.js";
import { ValueStore } from "../dist/src/train/values.js";

const here = dirname(fileURLToPath(import.meta.url));

export function median(xs) {
  const sorted = [...xs].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** `chain` products n³ in one call, so that what is measured is products: reading a result back costs every stack the same. */
export async function openProducts(engine, n, chain, left, right) {
  const b = new Builder({ path: "products" });
  const [a, w] = [b.param("a", [n, n]), b.param("b", [n, n])];
  let node = a;
  for (let i = 0; i < chain; i++) node = b.dot(node, w, { lhsContract: [1], rhsContract: [0] });
  // the factors count as changing, so that the products are not made once at loading
  const kept = [a, w].map((p) => ({ role: "param", name: p.attrs.name, node: p }));
  const graph = { results: [{ role: "output", name: "y", node }, ...kept] };
  const built = await engine.build([{ name: "main", graph, sizes: new Map() }], { trained: ["a", "b"], memory: engine.memory });
  const session = await engine.open(built);
  await session.write("param", "a", left);
  await session.write("param", "b", right);
  return session;
}

const source = (shape, rate, lora) => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model m = GPT2LMHeadModel(vocab_size: ${shape.vocabulary}, n_positions: ${shape.sequence}, n_embd: ${shape.width}, n_layer: ${shape.layers},
  n_head: ${shape.heads}, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, tie_word_embeddings: false)
${lora ? "attach lora = LoRA(rank: 8, alpha: 16) to m.transformer.h[*].attn.c_attn" : ""}
train {
  objective = causal_lm(m)
  data      = jsonl("rows.jsonl")
  sequence  = ${shape.sequence}
  batch     = ${shape.batch}
  optimizer = adamw(lr: ${rate})
  params    = ${lora ? "lora" : "m"}
  steps     = 100
  seed      = 7
}
`;

/** Numbers of deviation 0.02, made faster than the program's own starting values. */
export function spread(shape) {
  const out = new Float32Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0, x = 1; i < out.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    out[i] = (x / 2 ** 31) * 0.0346;
  }
  return out;
}

/**
 * A compiled training step of `shape` (layers, width, heads, vocabulary, sequence, batch) with its weights written, and the inputs of one batch.
 * `quick`: matrices start from other numbers than the program says, for models so large that drawing those takes longest.
 */
export async function openStep(engine, shape, rate, lora, quick = false) {
  const folder = mkdtempSync(`${here}/.step-`);
  let project;
  try {
    writeFileSync(`${folder}/step.peft`, source(shape, rate, lora));
    project = compile("step.peft", { cwd: folder });
  } finally {
    rmSync(folder, { recursive: true });
  }
  const errors = project.problems.filter((p) => p.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((p) => `${p.code} ${p.message}`).join("\n"));
  const { stage } = project.actions.find((a) => a.kind === "stage");
  // a model made afresh is trained whole unless the program says otherwise: make sure that LoRA is LoRA
  const wanted = lora ? 2 * shape.layers : 12 * shape.layers + 5;
  if (stage.trained.length !== wanted) throw new Error(`${stage.trained.length} tensors are trained instead of ${wanted}`);
  const [entry] = stage.step;
  const sizes = new Map([
    ["B", shape.batch],
    ["S", shape.sequence],
  ]);
  const started = performance.now();
  const built = await engine.build([{ name: "step", graph: entry.graph, sizes }], { trained: stage.trained, memory: engine.memory });
  const compiled = performance.now();
  const session = await engine.open(built);
  const values = new ValueStore(project, () => undefined);
  const startOf = (name) => (quick && values.shape(name).length > 1 ? spread(values.shape(name)) : values.param(name));
  for (const name of Object.keys(built.program.params)) await session.write("param", name, startOf(name));
  for (const name of Object.keys(built.program.states)) await session.write("state", name, values.state(name, sizes).values);
  const times = { compile: compiled - started, load: performance.now() - compiled };

  const tokens = shape.batch * shape.sequence;
  const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919 + ((i * i) % 101) * 31) % shape.vocabulary);
  const inputs = { input_ids: ids };
  for (const { name, fallback } of entry.columns) {
    if (name === "input_ids") continue;
    inputs[name] = fallback?.kind === "constant" ? new Int32Array(tokens).fill(Number(fallback.value)) : ids;
  }
  let made = 0;
  const run = async () => (await session.run("step", { ...inputs, step: made++, steps: 100 }, ["loss"])).loss[0];
  return { run, session, built, stage, values, startOf, ids, times };
}
