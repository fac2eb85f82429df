/**
 * What a run holds in memory beside what was planned: `node bench/resident.mjs [NAME…]`, behind `npm run build`. For each case it makes a folder of random
 * weights (`bench/random.mjs`) below `PEFTC_BENCH`, trains three updates (`PEFTC_STEPS`), and prints the bytes planned, the bytes that the session allocated, the peak of the whole process
 * (VmHWM), that above an empty Node, and above both. Linux only.
 */
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
const cli = at("../dist/src/cli/main.js");
const home = process.env.PEFTC_BENCH ?? join(tmpdir(), "peftc-bench");

/** The folder's own program on a base in 4 bits, the table of words as well. */
const inFour = (spec) =>
  spec.replace("{ LoRA }", "{ LoRA, NF4, NF4Embedding }").replace(
    "attach lora",
    `attach four = NF4(double: true) to m.model.layers[*].{self_attn.{q_proj, k_proj, v_proj, o_proj}, mlp.{gate_proj, up_proj, down_proj}}
attach words = NF4Embedding(double: true) to m.model.embed_tokens
attach lora`,
  );

const CASES = {
  quickstart: { file: at("../specs/examples/quickstart.peft") },
  gpt2: { shape: "gpt2" },
  "qwen2.5-0.5b": { shape: "qwen2.5-0.5b" },
  "qwen2.5-0.5b-4bit": { shape: "qwen2.5-0.5b", edit: inFour, set: ["train.memory=330000000"] },
  "llama-3.2-1b-4bit": { shape: "llama-3.2-1b", edit: inFour, set: ["train.memory=780000000"] },
};

function fileOf(name, { file, shape, edit }) {
  if (file !== undefined) return file;
  const folder = join(home, shape);
  if (!existsSync(join(folder, "model.safetensors"))) {
    mkdirSync(folder, { recursive: true });
    execFileSync(process.execPath, [at("random.mjs"), shape, folder], { stdio: "inherit" });
  }
  if (edit === undefined) return join(folder, "lora.peft");
  const path = join(folder, `${name}.peft`);
  writeFileSync(path, edit(readFileSync(join(folder, "lora.peft"), "utf8")));
  return path;
}

/** The most bytes that were resident. */
const resident = (pid) => {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
};
const empty = Number(execFileSync(process.execPath, ["-e", "console.log(process.resourceUsage().maxRSS)"]).toString()) * 1024;

function run(file, set) {
  return new Promise((resolve, reject) => {
    const more = [`train.steps=${steps}`, ...set].flatMap((s) => ["--set", s]);
    const child = spawn(process.execPath, [cli, "train", file, "--device", "wasm", "--json", ...more], {
      cwd: home,
      stdio: ["ignore", "pipe", "inherit"],
    });
    const seen = { planned: 0, allocated: 0, most: 0, loss: [] };
    const look = () => {
      try {
        seen.most = Math.max(seen.most, resident(child.pid));
      } catch {
        // it has ended
      }
    };
    const timer = setInterval(look, 50);
    createInterface({ input: child.stdout }).on("line", (text) => {
      const event = JSON.parse(text);
      look();
      if (event.event === "plan") Object.assign(seen, { planned: Math.max(seen.planned, event.peak_bytes) });
      if (event.event === "step") {
        seen.allocated = event.peak_bytes;
        seen.loss.push(event.loss);
      }
    });
    child.on("exit", (code) => {
      clearInterval(timer);
      if (code === 0) resolve(seen);
      else reject(new Error(`${file} ended with ${code}`));
    });
  });
}

const steps = process.env.PEFTC_STEPS ?? "3";
const names = process.argv.slice(2);
for (const name of names) if (CASES[name] === undefined) throw new Error(`no case ${name}: there are ${Object.keys(CASES).join(", ")}`);
mkdirSync(home, { recursive: true });
const mb = (bytes) => (bytes / 1e6).toFixed(0).padStart(10);
console.log(`an empty Node takes ${mb(empty).trim()} MB; below, MB`);
console.log(`${"".padEnd(20)}${["planned", "allocated", "process", "above Node", "above both"].map((s) => s.padStart(11)).join("")}`);
for (const name of names.length > 0 ? names : Object.keys(CASES)) {
  const { planned, allocated, most } = await run(fileOf(name, CASES[name]), CASES[name].set ?? []);
  console.log(`${name.padEnd(20)}${[planned, allocated, most, most - empty, most - empty - planned].map((b) => ` ${mb(b)}`).join("")}`);
}
