/**
 * Training steps of one side in a process of its own, for bench/table.mjs: `node side.mjs native|wasm|jax-js JOB`. A line in, a line of JSON out; the first says what
 * it took to get there, an empty input ends it. jax-js is imported where it is installed (`npm --prefix bench ci`).
 */
import { createInterface } from "node:readline";
import { openEngine } from "../dist/src/node/engine.js";
import { openProducts, openStep, spread } from "./step.mjs";

const [side, text] = process.argv.slice(2);
const { shape, lora, rate } = JSON.parse(text);
const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function ours() {
  const { run, session, built, times } = await openStep(await openEngine(side), shape, rate, lora, true);
  const { arenas } = built.program;
  return {
    run,
    times,
    planned: arenas.reduce((sum, { pages }) => sum + pages.reduce((a, b) => a + b, 0), 0),
    close: () => session.close(),
  };
}

async function jax() {
  // the weights and the ids are those of the step here
  const { openPeer } = await import("./model.mjs");
  const started = performance.now();
  const engine = await openEngine("wasm");
  const { session, ...step } = await openStep(engine, shape, rate, lora, true);
  await session.close();
  const run = await openPeer(shape, rate, step);
  return { run, times: { compile: 0, load: performance.now() - started }, close: () => {} };
}

/** Products n³ in a chain; what is compared is the first number. */
async function products({ products: n, chain }) {
  const started = performance.now();
  // entries of this size keep the results' size along the chain
  const [left, right] = [spread([n, n]), spread([n, n]).map((x) => x * (50 / Math.sqrt(n)))];
  const times = () => ({ compile: 0, load: performance.now() - started });
  if (side === "jax-js") {
    const { openProductsPeer } = await import("./model.mjs");
    return { run: await openProductsPeer(n, chain, left, right), times: times(), close: () => {} };
  }
  const session = await openProducts(await openEngine(side), n, chain, left, right);
  return { run: async () => (await session.run("main", {}, ["y"])).y[0], times: times(), close: () => session.close() };
}

const { run, times, planned, close } = await (shape.products ? products(shape) : side === "jax-js" ? jax() : ours());
say({ ...times, planned });
for await (const _ of createInterface({ input: process.stdin })) {
  const [start, used] = [performance.now(), process.cpuUsage()];
  const loss = await run();
  const { user, system } = process.cpuUsage(used);
  say({ ms: performance.now() - start, cpu: (user + system) / 1e3, loss, peak: process.resourceUsage().maxRSS * 1024 });
}
await close();
process.exit(0);
