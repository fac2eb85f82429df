/**
 * Where the time and the memory of the start of a run go: `node bench/loading.mjs FILE.peft`. Runs `peftc train` on WebAssembly for three updates and prints, for
 * each event, seconds since the start and megabytes resident, beside what the machine itself takes to read the model's file into fresh memory.
 */
import { execFileSync, spawn } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [spec] = process.argv.slice(2);
if (spec === undefined) {
  console.log("node bench/loading.mjs FILE.peft, of a folder made by bench/random.mjs");
  process.exit(2);
}
const cli = fileURLToPath(new URL("../dist/src/cli/main.js", import.meta.url));
const weights = join(dirname(spec), "model.safetensors");
const { size } = statSync(weights);

const timed = (command, args) => {
  const from = performance.now();
  execFileSync(command, args, { stdio: ["ignore", "ignore", "ignore"] });
  return (performance.now() - from) / 1000;
};
/** Peak of an empty Node, in MB. */
const empty = Number(execFileSync(process.execPath, ["-e", "console.log(process.resourceUsage().maxRSS)"]).toString()) / 1000;

const cat = () => timed("sh", ["-c", `cat '${weights}' > /dev/null`]);
const fresh = () => timed("dd", [`if=${weights}`, "of=/dev/null", `bs=${size}`, "count=1"]);
cat();
const controls = { cat: cat(), fresh: fresh() };
console.log(
  `${(size / 1e6).toFixed(0)} MB: cat ${controls.cat.toFixed(2)} s, into fresh memory (dd, one block) ${controls.fresh.toFixed(2)} s`,
);

const resident = (pid) => {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name) => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1] ?? 0) / 1000;
  return { now: of("VmRSS"), most: of("VmHWM") };
};

const started = performance.now();
const child = spawn(process.execPath, [cli, "train", spec, "--device", "wasm", "--set", "train.steps=3", "--json"], {
  stdio: ["ignore", "pipe", "inherit"],
});
let planned = 0;
let most = 0;
let loading;
const steps = [];
createInterface({ input: child.stdout }).on("line", (text) => {
  const event = JSON.parse(text);
  const at = (performance.now() - started) / 1000;
  const memory = resident(child.pid);
  most = Math.max(most, memory.most);
  if (event.event === "plan") planned = event.peak_bytes / 1e6;
  if (event.event === "step") steps.push(at);
  if (event.event === "loading") {
    loading ??= { from: at, first: event.parameters };
    loading = { ...loading, to: at, last: event.parameters, of: event.of };
    return;
  }
  if (!["stage", "plan", "step", "done"].includes(event.event)) return;
  console.log(
    `${at.toFixed(2).padStart(7)} s  ${memory.now.toFixed(0).padStart(5)} MB  ${event.event} ${event.step ?? ""} ${event.loss ?? ""}`,
  );
});
child.on("exit", () => {
  if (loading !== undefined) {
    const seconds = ((loading.to - loading.from) * loading.of) / (loading.last - loading.first);
    const ratio = (against) => (seconds / against).toFixed(1);
    console.log(`loading ${seconds.toFixed(2)} s: ${ratio(controls.fresh)} times fresh memory, ${ratio(controls.cat)} times cat`);
  }
  const [first, second] = [steps[0], steps[2] - steps[1]];
  console.log(`steady step ${second?.toFixed(2)} s; first step ended ${first?.toFixed(2)} s after the start`);
  console.log(
    `most resident ${most.toFixed(0)} MB; planned ${planned.toFixed(0)}, an empty Node ${empty.toFixed(0)}: ${(most - planned - empty).toFixed(0)} MB more than both`,
  );
});
