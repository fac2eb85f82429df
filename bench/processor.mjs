/**
 * Training steps on the processor, in turn: native kernels, WebAssembly, and PyTorch where `PEFTC_PYTHON` or `python3` has it with transformers and peft.
 * `node bench/processor.mjs [SHAPE...]`; medians in ms of the wall and of the processor, which a neighbour disturbs less.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openEngine } from "../dist/src/node/engine.js";
import { parallelism } from "../dist/src/node/threads.js";
import { median, openStep } from "./step.mjs";

const SHAPES = {
  small: { layers: 2, width: 128, heads: 4, vocabulary: 1024, sequence: 128, batch: 4 },
  wide: { layers: 4, width: 256, heads: 4, vocabulary: 8192, sequence: 128, batch: 4 },
  head: { layers: 4, width: 256, heads: 4, vocabulary: 50257, sequence: 128, batch: 4 },
  gpt2: { layers: 12, width: 768, heads: 12, vocabulary: 50257, sequence: 128, batch: 4 },
};
const ROUNDS = { small: 25, wide: 11, head: 7, gpt2: 5 };
const RATE = 1e-3;

/** PyTorch in a process of its own; `undefined` where it is not there. */
async function torch(shape, lora) {
  const script = fileURLToPath(new URL("torch_step.py", import.meta.url));
  const job = JSON.stringify({ shape, lora, rate: RATE, threads: parallelism() });
  const child = spawn(process.env.PEFTC_PYTHON ?? "python3", [script, job], { stdio: ["pipe", "pipe", "ignore"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    return done ? undefined : JSON.parse(value);
  };
  child.on("error", () => {});
  child.stdin.on("error", () => {});
  if ((await next()) === undefined) return undefined;
  return {
    run: async () => {
      child.stdin.write("\n");
      return next();
    },
    close: async () => {
      child.stdin.end();
      await once(child, "exit");
    },
  };
}

async function ours(device, shape, lora) {
  const { run, session } = await openStep(await openEngine(device), shape, RATE, lora, true);
  return {
    run: async () => {
      const [start, used] = [performance.now(), process.cpuUsage()];
      const loss = await run();
      const { user, system } = process.cpuUsage(used);
      return { ms: performance.now() - start, cpu: (user + system) / 1e3, loss };
    },
    close: () => session.close(),
  };
}

const asked = process.argv.slice(2);
for (const name of asked.length > 0 ? asked : Object.keys(SHAPES))
  for (const lora of [true, false]) {
    const shape = SHAPES[name];
    const made = { native: await ours("native", shape, lora), wasm: await ours("wasm", shape, lora), torch: await torch(shape, lora) };
    const runs = Object.entries(made).filter(([, m]) => m !== undefined);
    const times = new Map(runs.map(([kind]) => [kind, []]));
    for (let i = 0; i < ROUNDS[name] + 2; i++)
      for (const [kind, { run }] of runs) {
        const seen = await run();
        if (i >= 2) times.get(kind).push(seen);
      }
    for (const [, { close }] of runs) await close();
    const of = (kind, key) => median(times.get(kind).map((t) => t[key]));
    const row = runs.map(([kind]) => `${kind} ${of(kind, "ms").toFixed(1)} ms, processor ${of(kind, "cpu").toFixed(1)}`);
    const ratio = made.torch
      ? `; native / torch ${(of("native", "ms") / of("torch", "ms")).toFixed(2)}, processor ${(of("native", "cpu") / of("torch", "cpu")).toFixed(2)}`
      : "; torch: not run";
    process.stdout.write(`${name} ${lora ? "LoRA" : "full"}: ${row.join("; ")}${ratio}\n`);
  }
