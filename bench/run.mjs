/** peftc and jax-js side by side on WebAssembly: a product and a training step. `npm run bench`. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { defaultDevice, init, jit, numpy as np, tree } from "@jax-js/jax";
import { compileProgram } from "../dist/src/backends/compile.js";
import { compile } from "../dist/src/index.js";
import { Builder } from "../dist/src/ir/build.js";
import { openEngine } from "../dist/src/node/engine.js";
import { enableRelaxed, parallelism, startThread } from "../dist/src/node/threads.js";
import { openWasm } from "../dist/src/runtime/wasm.js";
import { memoryOf, showBytes } from "../dist/src/train/budget.js";
import { ValueStore } from "../dist/src/train/values.js";
import { RATE, SHAPE, update } from "./model.mjs";

const [WARM, RUNS] = [5, 25];
const here = dirname(fileURLToPath(import.meta.url));

function median(xs) {
  const sorted = [...xs].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** Medians in ms of functions run in turn, after warming up. */
async function inTurn(runs) {
  const times = runs.map(() => []);
  for (let i = 0; i < WARM + RUNS; i++)
    for (const [k, run] of runs.entries()) {
      const start = performance.now();
      await run();
      if (i >= WARM) times[k].push(performance.now() - start);
    }
  return times.map(median);
}

/** A chain of products in one call, so that what is measured is products: reading a result back costs both the same. */
async function products() {
  const [n, chain] = [512, 8];
  const b = new Builder({ path: "products" });
  const [a, w] = [b.param("a", [n, n]), b.param("b", [n, n])];
  let node = a;
  for (let i = 0; i < chain; i++) node = b.dot(node, w, { lhsContract: [1], rhsContract: [0] });
  // the factors count as changing, so that the products are not made once at loading
  const kept = [a, w].map((p) => ({ role: "param", name: p.attrs.name, node: p }));
  const graph = { results: [{ role: "output", name: "y", node }, ...kept] };
  enableRelaxed();
  const workers = Math.min(16, parallelism());
  const { program, module } = await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "relaxed", workers });
  const session = await openWasm(program, module, { workers, startThread });
  const random = (scale) => Float32Array.from({ length: n * n }, () => (Math.random() - 0.5) * scale);
  // entries of this size keep the results' size along the chain
  const [left, right] = [random(1), random(Math.sqrt(12 / n))];
  await session.write("param", "a", left);
  await session.write("param", "b", right);
  const [l, r] = [np.array(left).reshape([n, n]), np.array(right).reshape([n, n])];
  const matmuls = jit((x, y) => {
    let out = x;
    for (let i = 0; i < chain; i++) out = np.matmul(out, i < chain - 1 ? y.ref : y);
    return out;
  });
  const ours = async () => (await session.run("main", {}, ["y"])).y;
  const theirs = () => matmuls(l.ref, r.ref).data();
  const [seen, expected] = [await ours(), await theirs()];
  const apart = seen.reduce((most, x, i) => Math.max(most, Math.abs(x - expected[i])), 0);
  if (!(apart < 1e-3)) throw new Error(`the products differ by ${apart}`);
  const times = await inTurn([ours, theirs]);
  await session.close();
  const speed = times.map((ms) => ((chain * 2 * n ** 3) / ms / 1e6).toFixed(1));
  return { name: `${chain} products ${n}³ in a chain`, times, note: `${speed[0]} and ${speed[1]} GFLOP/s` };
}

const source = (lora) => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model m = GPT2LMHeadModel(vocab_size: ${SHAPE.vocabulary}, n_positions: ${SHAPE.sequence}, n_embd: ${SHAPE.width}, n_layer: ${SHAPE.layers},
  n_head: ${SHAPE.heads}, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0, tie_word_embeddings: false)
${lora ? "attach lora = LoRA(rank: 8, alpha: 16) to m.transformer.h[*].attn.c_attn" : ""}
train {
  objective = causal_lm(m)
  data      = jsonl("rows.jsonl")
  sequence  = ${SHAPE.sequence}
  batch     = ${SHAPE.batch}
  optimizer = adamw(lr: ${RATE})
  params    = ${lora ? "lora" : "m"}
  steps     = 100
  seed      = 7
}
`;

/** The name of a parameter in model.mjs. */
function shortName(name) {
  const lora = /h\.(\d+)\.attn\.c_attn\..*?(lora_[AB])/.exec(name);
  if (lora) return `h.${lora[1]}.attn.c_attn.${lora[2]}`;
  return name
    .replace(/^m\./, "")
    .replace(/^transformer\./, "")
    .replace(/^lm_head/, "head");
}

async function step(lora) {
  const folder = mkdtempSync(`${here}/.step-`);
  let project;
  try {
    writeFileSync(`${folder}/step.peft`, source(lora));
    project = compile("step.peft", { cwd: folder });
  } finally {
    rmSync(folder, { recursive: true });
  }
  const errors = project.problems.filter((p) => p.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((p) => `${p.code} ${p.message}`).join("\n"));
  const { stage } = project.actions.find((a) => a.kind === "stage");
  // a model made afresh is trained whole unless the program says otherwise: make sure that LoRA is LoRA
  const wanted = lora ? 2 * SHAPE.layers : 12 * SHAPE.layers + 5;
  if (stage.trained.length !== wanted) throw new Error(`${stage.trained.length} tensors are trained instead of ${wanted}`);
  const [entry] = stage.step;
  const engine = await openEngine("wasm");
  const sizes = new Map([
    ["B", SHAPE.batch],
    ["S", SHAPE.sequence],
  ]);
  const built = await engine.build([{ name: "step", graph: entry.graph, sizes }], { trained: stage.trained, memory: engine.memory });
  const session = await engine.open(built);
  const values = new ValueStore(project, () => undefined);
  const [trained, frozen] = [{}, {}];
  for (const name of Object.keys(built.program.params)) {
    const value = values.param(name);
    await session.write("param", name, value);
    (stage.trained.includes(name) ? trained : frozen)[shortName(name)] = np
      .array(Float32Array.from(value))
      .reshape([...values.shape(name)]);
  }
  for (const name of Object.keys(built.program.states)) await session.write("state", name, values.state(name, sizes).values);

  const tokens = SHAPE.batch * SHAPE.sequence;
  const ids = Int32Array.from({ length: tokens }, (_, i) => (i * 7919 + ((i * i) % 101) * 31) % SHAPE.vocabulary);
  const inputs = { input_ids: ids };
  for (const { name, fallback } of entry.columns) {
    if (name === "input_ids") continue;
    inputs[name] = fallback?.kind === "constant" ? new Int32Array(tokens).fill(Number(fallback.value)) : ids;
  }
  let made = 0;
  const ours = async () => (await session.run("step", { ...inputs, step: made++, steps: 100 }, ["loss"])).loss[0];

  const hot = new Float32Array(tokens * SHAPE.vocabulary);
  ids.forEach((id, i) => {
    hot[i * SHAPE.vocabulary + id] = 1;
  });
  const oneHot = np.array(hot).reshape([tokens, SHAPE.vocabulary]);
  const zeros = () => tree.map((x) => np.zeros(x.shape), trained);
  let [params, m, v] = [trained, zeros(), zeros()];
  const jitted = jit(update);
  let t = 0;
  const theirs = async () => {
    t++;
    const correct = np.array(new Float32Array([1 - 0.9 ** t, 1 - 0.999 ** t]));
    let loss;
    [loss, params, m, v] = jitted(params, tree.ref(frozen), m, v, oneHot.ref, correct);
    return (await loss.data())[0];
  };
  for (let i = 0; i < 3; i++) {
    const [a, b] = [await ours(), await theirs()];
    if (!(Math.abs(a - b) < 1e-4)) throw new Error(`losses of step ${i + 1} differ: ${a} (peftc), ${b} (jax-js)`);
  }
  const times = await inTurn([ours, theirs]);
  const { planned, platform } = session.memory;
  await session.close();
  const note = `peftc: peak planned ${showBytes(memoryOf(built.program).total)}, allocated ${showBytes(planned + platform)}`;
  return { name: lora ? "step, LoRA r = 8 on c_attn" : "step, full fine-tuning", times, note };
}

await init("wasm");
defaultDevice("wasm");
console.log(`${cpus()[0].model}, ${parallelism()} threads, Node ${process.version}; medians of ${RUNS} runs in turn`);
console.log("what                             peftc ms  jax-js ms  ratio");
for (const measure of [products, () => step(false), () => step(true)]) {
  const { name, times, note } = await measure();
  const [ours, theirs] = times;
  console.log(
    `${name.padEnd(32)} ${ours.toFixed(2).padStart(8)} ${theirs.toFixed(2).padStart(10)} ${(theirs / ours).toFixed(2).padStart(6)}  ${note}`,
  );
}
process.exit(0);
