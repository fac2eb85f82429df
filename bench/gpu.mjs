/**
 * peftc on WebGPU and, where `python3` has torch, transformers and peft, PyTorch on the same card, one after the other: products, and training steps.
 * `node bench/gpu.mjs [products] [small] [gpt2]` after `npm run build`; `--software` goes on where the adapter is a software one.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { openEngine } from "../dist/src/node/engine.js";
import { memoryOf, showBytes } from "../dist/src/train/engine/budget.js";
import { median, openProducts, openStep } from "./step.mjs";

const RATE = 1e-3;
const SMALL = { layers: 2, width: 128, heads: 4, vocabulary: 256, sequence: 64, batch: 8 };
const GPT2 = { layers: 12, width: 768, heads: 12, vocabulary: 50257, sequence: 512, batch: 4 };
const software = process.argv.includes("--software");
const only = process.argv.slice(2).filter((word) => !word.startsWith("-"));
const wanted = (name) => only.length === 0 || only.includes(name);
const sizes = !wanted("products") ? [] : software ? [128] : [512, 1024, 2048, 4096];
const shapes = [...(wanted("small") ? [SMALL] : []), ...(wanted("gpt2") && !software ? [GPT2] : [])];

async function time(run, warm, runs) {
  const times = [];
  for (let i = 0; i < warm + runs; i++) {
    const start = performance.now();
    await run();
    if (i >= warm) times.push(performance.now() - start);
  }
  return median(times);
}

async function products(engine, n) {
  const chain = 8;
  const random = (scale) => Float32Array.from({ length: n * n }, () => (Math.random() - 0.5) * scale);
  const session = await openProducts(engine, n, chain, random(1), random(Math.sqrt(12 / n)));
  // a result as large as this takes longer to read than to make: runs follow each other, and only the last one's is awaited
  const ms = await time(
    async () => {
      for (let i = 0; i < 9; i++) void session.run("main", {}, []);
      await session.run("main", {}, []);
      await session.read("param", "a");
    },
    2,
    5,
  );
  const read = await time(() => session.read("param", "a"), 2, 5);
  await session.close();
  return (10 * chain * 2 * n ** 3) / (ms - read) / 1e9;
}

async function step(engine, shape, lora) {
  const { run, session, built } = await openStep(engine, shape, RATE, lora, shape === GPT2);
  const losses = [];
  for (let i = 0; i < 3; i++) losses.push(await run());
  const ms = await time(run, 5, 15);
  const { planned, platform } = session.memory;
  await session.close();
  return { ms, losses, planned: memoryOf(built.program).total, allocated: planned + platform };
}

/** What PyTorch takes for the same, or why it cannot say. */
function peer(args) {
  const script = fileURLToPath(new URL("torch_gpu.py", import.meta.url));
  const { status, stdout, stderr, error } = spawnSync("python3", [script, JSON.stringify(args)], { encoding: "utf8" });
  if (status !== 0) return { missing: (error?.message ?? stderr).trim().split("\n").at(-1) };
  return JSON.parse(stdout);
}

const engine = await openEngine("webgpu");
console.log(`${engine.device}, Node ${process.version}`);
if (/software/.test(engine.device) && !software) throw new Error("this is a software adapter: its figures say nothing of a GPU");
for (const n of sizes) {
  const ours = await products(engine, n);
  const theirs = peer({ kind: "products", n });
  console.log(
    `products ${n}³: peftc ${ours.toFixed(2)} TFLOP/s, ${theirs.missing ?? `torch ${theirs.tflops.toFixed(2)} TFLOP/s in f32, ${theirs.card}`}`,
  );
}
for (const shape of shapes)
  for (const lora of [false, true]) {
    const ours = await step(engine, shape, lora);
    const theirs = peer({ kind: "step", shape, lora, rate: RATE });
    const name = `${lora ? "LoRA" : "full"} step, ${shape.layers} layers, d = ${shape.width}, ${shape.batch}×${shape.sequence}`;
    console.log(
      `${name}: peftc ${ours.ms.toFixed(2)} ms, planned ${showBytes(ours.planned)}, allocated ${showBytes(ours.allocated)}; ` +
        (theirs.missing ?? `torch ${theirs.ms.toFixed(2)} ms, peak ${showBytes(theirs.peak)}: ratio ${(theirs.ms / ours.ms).toFixed(2)}`) +
        `; first losses ${ours.losses.map((x) => x.toFixed(3)).join(" ")}${theirs.losses ? ` and ${theirs.losses.map((x) => x.toFixed(3)).join(" ")}` : ""}`,
    );
  }
await engine.close?.();
process.exit(0);
