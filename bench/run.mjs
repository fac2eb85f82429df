/** peftc and jax-js side by side on WebAssembly: a product and a training step. `npm run bench`. */
import { cpus } from "node:os";
import { defaultDevice, init, jit, numpy as np, tree } from "@jax-js/jax";
import { openEngine } from "../dist/src/node/engine.js";
import { parallelism } from "../dist/src/node/threads.js";
import { memoryOf, showBytes } from "../dist/src/train/engine/budget.js";
import { RATE, SHAPE, update } from "./model.mjs";
import { median, openProducts, openStep } from "./step.mjs";

const [WARM, RUNS] = [5, 25];
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

async function products() {
  const [n, chain] = [512, 8];
  const random = (scale) => Float32Array.from({ length: n * n }, () => (Math.random() - 0.5) * scale);
  // entries of this size keep the results' size along the chain
  const [left, right] = [random(1), random(Math.sqrt(12 / n))];
  const session = await openProducts(await openEngine("wasm"), n, chain, left, right);
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
  const { run: ours, session, built, stage, values, ids } = await openStep(await openEngine("wasm"), SHAPE, RATE, lora);
  const [trained, frozen] = [{}, {}];
  for (const name of Object.keys(built.program.params)) {
    (stage.trained.includes(name) ? trained : frozen)[shortName(name)] = np
      .array(Float32Array.from(values.param(name)))
      .reshape([...values.shape(name)]);
  }
  const tokens = SHAPE.batch * SHAPE.sequence;
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
