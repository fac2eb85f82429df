/**
 * Products and training steps on the processor, side by side: native kernels, WebAssembly, PyTorch with transformers and peft, jax-js. Each side is a process of its
 * own; they take turns. `npm run bench -- [SHAPE...] [--seconds N] [--json FILE] [--against FILE]`: seconds for each row. A side that is not there says so. Fails where
 * losses of the sides that have equal weights (all but PyTorch's) differ by 1e-4 in the first three steps.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { parallelism } from "../dist/src/node/threads.js";
import { median } from "./step.mjs";

const SHAPES = {
  products: { products: 512, chain: 8 },
  small: { layers: 2, width: 128, heads: 4, vocabulary: 1024, sequence: 128, batch: 4 },
  wide: { layers: 4, width: 256, heads: 4, vocabulary: 8192, sequence: 128, batch: 4 },
  head: { layers: 4, width: 256, heads: 4, vocabulary: 50257, sequence: 128, batch: 4 },
  gpt2: { layers: 12, width: 768, heads: 12, vocabulary: 50257, sequence: 128, batch: 4 },
  half: { layers: 24, width: 1024, heads: 16, vocabulary: 50257, sequence: 128, batch: 2 },
};
const SIDES = ["native", "wasm", "torch", "jax-js"];
const [RATE, WARM, CHECKED, FEWEST] = [1e-3, 3, 3, 5];
/** Milliseconds that a side has at a time: small steps are taken several at once, so that the system's clock sees them. */
const TURN = 60;
/** Of a core, what other programs may have taken for a round to count. */
const FOREIGN = 0.2;
/** Elements from which on one-hot rows, which jax-js reads tokens as, are too many. */
const HOT = 2 ** 23;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "20" },
    json: { type: "string", default: fileURLToPath(new URL(".results/last.json", import.meta.url)) },
    against: { type: "string" },
  },
});
const asked = positionals.length > 0 ? positionals : Object.keys(SHAPES);
for (const name of asked) if (!(name in SHAPES)) throw new Error(`there is no shape ${name}: there are ${Object.keys(SHAPES).join(", ")}`);
const earlier = options.against === undefined ? [] : JSON.parse(readFileSync(options.against, "utf8")).rows;

/** A side at work; `missing`: why it is not there. */
async function open(side, shape, lora) {
  if (side === "jax-js" && shape.vocabulary * shape.batch * shape.sequence > HOT) return { missing: "its one-hot rows would be too large" };
  const job = JSON.stringify({ shape, lora, rate: RATE, threads: parallelism() });
  const script = (name) => fileURLToPath(new URL(name, import.meta.url));
  const [command, args] =
    side === "torch"
      ? [process.env.PEFTC_PYTHON || "python3", [script("torch_step.py"), job]]
      : [process.execPath, [script("side.mjs"), side, job]];
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"] });
  let said = "";
  child.stderr.on("data", (data) => {
    said = (said + data).slice(-4000);
  });
  child.stdin.on("error", () => {});
  const ended = new Promise((resolve) => {
    child.on("error", (error) => resolve(error.message));
    child.on("close", () =>
      resolve(
        said
          .trim()
          .split("\n")
          .findLast((text) => /Error|error|No /.test(text)) ?? said.trim().split("\n").at(-1),
      ),
    );
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await lines.next();
    return done ? undefined : JSON.parse(value);
  };
  const began = performance.now();
  const start = await next();
  if (start === undefined) return { missing: await ended };
  const step = async () => {
    child.stdin.write("\n");
    const seen = await next();
    if (seen === undefined) throw new Error(`${side} ended: ${await ended}`);
    return seen;
  };
  const first = await step();
  return {
    start: { ...start, whole: performance.now() - began, first: first.ms },
    losses: [first.loss],
    step,
    close: async () => {
      child.stdin.end();
      await Promise.race([once(child, "exit"), new Promise((resolve) => setTimeout(resolve, 2000))]);
      child.kill();
    },
  };
}

/** Milliseconds that all cores have worked. */
const busy = () => cpus().reduce((sum, { times: { idle: _, ...times } }) => sum + Object.values(times).reduce((a, b) => a + b, 0), 0);
const quantile = (sorted, q) => sorted[Math.round(q * (sorted.length - 1))];

async function measure(name, lora) {
  const sides = new Map();
  for (const side of SIDES) sides.set(side, await open(side, SHAPES[name], lora));
  const there = [...sides].filter(([, { missing }]) => missing === undefined);
  for (const [, one] of there) for (let i = 1; i < WARM; i++) one.losses.push((await one.step()).loss);
  const same = there.filter(([side]) => side !== "torch" || SHAPES[name].products);
  for (const [side, { losses }] of same)
    for (let i = 0; i < CHECKED; i++)
      if (!(Math.abs(losses[i] - same[0][1].losses[i]) < 1e-4))
        throw new Error(`${name}: loss ${i + 1} of ${side} is ${losses[i]}, of ${same[0][0]} ${same[0][1].losses[i]}`);
  const rounds = [];
  const until = performance.now() + Number(options.seconds) * 1e3;
  while (rounds.length < FEWEST || performance.now() < until) {
    const [before, began] = [busy(), performance.now()];
    const round = { ms: {}, peak: {} };
    let own = process.cpuUsage();
    let used = 0;
    for (const [side, { step }] of there) {
      const times = [];
      for (const from = performance.now(); times.length === 0 || performance.now() - from < TURN; ) {
        const seen = await step();
        times.push(seen.ms);
        used += seen.cpu;
        round.peak[side] = seen.peak;
      }
      round.ms[side] = median(times);
    }
    own = process.cpuUsage(own);
    round.foreign = (busy() - before - used - (own.user + own.system) / 1e3) / (performance.now() - began);
    rounds.push(round);
  }
  for (const [, { close }] of there) await close();
  const calm = rounds.filter(({ foreign }) => foreign < FOREIGN);
  // where a machine is never left alone those count that were left alone most
  const counted =
    calm.length >= FEWEST ? calm : rounds.sort((a, b) => a.foreign - b.foreign).slice(0, Math.max(FEWEST, rounds.length >> 1));
  const against = sides.get("torch").missing === undefined ? "torch" : "wasm";
  return [...sides].map(([side, { missing, start }]) => {
    const row = { shape: name, what: SHAPES[name].products ? "products" : lora ? "LoRA" : "full", side };
    if (missing !== undefined) return { ...row, missing };
    const ratios = counted.map(({ ms }) => ms[side] / ms[against]).sort((a, b) => a - b);
    return {
      ...row,
      ms: median(counted.map(({ ms }) => ms[side])),
      against,
      ratio: median(ratios),
      spread: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
      rounds: counted.length,
      disturbed: rounds.length - calm.length,
      peak: Math.max(...counted.map(({ peak }) => peak[side])),
      ...start,
    };
  });
}

const head = ["shape", "what", "side", "ms", "ratio (quartiles)", "rounds", "peak MB", "compile ms", "load ms", "first ms"];
const widths = [9, 9, 7, 9, 24, 12, 8, 11, 8, 9];
const print = (cells) =>
  console.log(
    cells
      .map((cell, i) => String(cell).padEnd(widths[i]))
      .join(" ")
      .trimEnd(),
  );
console.log(
  `${cpus()[0].model}, ${parallelism()} threads, Node ${process.version}; ratios of a round's times to torch's (wasm's without it)`,
);
print([...head, ...(options.against === undefined ? [] : ["before"])]);
const rows = [];
for (const name of asked)
  for (const lora of SHAPES[name].products ? [false] : [true, false]) {
    for (const row of await measure(name, lora)) {
      rows.push(row);
      const { shape, what, side } = row;
      if (row.missing !== undefined) {
        print([shape, what, side, `not run: ${row.missing}`]);
        continue;
      }
      const old = earlier.find((r) => r.shape === shape && r.what === what && r.side === side && r.ms !== undefined);
      // a ratio to another side says nothing of this one
      const before =
        old?.against === row.against ? `${(row.ratio / old.ratio).toFixed(2)} of its ratio` : `${old ? `to ${old.against}` : "none"}`;
      const note = options.against === undefined ? [] : [before];
      print([
        ...[shape, what, side, row.ms.toFixed(2), `${row.ratio.toFixed(2)} (${row.spread.map((x) => x.toFixed(2)).join("–")})`],
        ...[
          `${row.rounds}, ${row.disturbed} off`,
          (row.peak / 1e6).toFixed(0),
          ...["compile", "load", "first"].map((key) => row[key].toFixed(0)),
          ...note,
        ],
      ]);
    }
    mkdirSync(dirname(options.json), { recursive: true });
    writeFileSync(
      options.json,
      `${JSON.stringify({ node: process.version, cpu: cpus()[0].model, threads: parallelism(), rows }, null, 1)}\n`,
    );
  }
