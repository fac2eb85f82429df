// The quickstart here and on PyTorch, in turn: milliseconds of a step, memory of a process, losses. Run after `npm run build`: node bench/torch.mjs
// [STEPS]. Fails where losses differ.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { median } from "./step.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const cli = path.join(root, "dist/src/cli/main.js");
const file = path.join(root, "specs/examples/quickstart.peft");
const steps = Number(process.argv[2] ?? 24);
/** Steps in which caches and allocators still grow. */
const WARM = 6;
const WAYS = {
  "wasm, here": ["--device", "wasm"],
  "torch, 1 process": ["--on", "torch"],
  "torch, 2 processes, ddp": ["--on", "torch", "--processes", "2"],
  "torch, 2 processes, fsdp": ["--on", "torch", "--processes", "2", "--shard", "fsdp"],
};
const folder = mkdtempSync(path.join(tmpdir(), "bench-torch-"));

/** Runs the command line; gives its events and when each came, in ms. */
function events(args) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [cli, ...args, "--json"], { stdio: ["ignore", "pipe", "inherit"] });
    const seen = [];
    let rest = "";
    child.stdout.on("data", (data) => {
      const lines = (rest + data).split("\n");
      rest = lines.pop();
      for (const text of lines) seen.push({ ...JSON.parse(text), at: performance.now() });
    });
    child.on("close", (status) => (status === 0 ? resolve(seen) : reject(new Error(`${args.join(" ")} ended with ${status}`))));
  });
}

const rows = [];
for (const [name, way] of Object.entries(WAYS)) {
  const seen = await events([
    "train",
    file,
    ...way,
    "--stage",
    "train",
    "--set",
    `train.steps=${steps}`,
    "--output",
    path.join(folder, name),
  ]);
  const each = seen.filter((e) => e.event === "step");
  const between = each.slice(1).map((e, i) => e.at - each[i].at);
  const planned =
    way[0] === "--on" ? (await events(["plan", file, ...way])).find((e) => e.event === "plan_across").memory.total : undefined;
  rows.push({
    name,
    device: seen.find((e) => e.event === "device").device,
    ms: median(between.slice(WARM)),
    planned: planned ?? seen.find((e) => e.event === "plan").peak_bytes,
    most: each.at(-1).peak_bytes,
    losses: each.map((e) => e.loss),
  });
}
rmSync(folder, { recursive: true });

const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
console.log(
  `Node ${process.version}; ${rows.map((r) => r.device).find((d) => d.startsWith("torch"))}; medians of ${steps - 1 - WARM} steps`,
);
console.log(`${"what".padEnd(28)}${"ms a step".padStart(10)}${"planned".padStart(10)}${"a process".padStart(12)}   last loss`);
for (const { name, ms, planned, most, losses } of rows)
  console.log(
    `${name.padEnd(28)}${ms.toFixed(0).padStart(10)}${mb(planned).padStart(10)}${mb(most).padStart(12)}   ${losses.at(-1).toFixed(5)}`,
  );
const off = Math.max(...rows.flatMap(({ losses }) => losses.map((loss, i) => Math.abs(loss / rows[0].losses[i] - 1))));
console.log(`losses differ by at most ${off.toExponential(1)}`);
if (off > 1e-4) process.exit(1);
