/**
 * What a run holds in memory beside what was planned: `node bench/resident.mjs [NAME…]`, behind `npm run build`. For each case it makes a folder of random
 * weights (`bench/random.mjs`) below `PEFTC_BENCH`, trains three updates (`PEFTC_STEPS`), and prints the bytes planned, the bytes that the session allocated, the peak of the whole process
 * (VmHWM), that above an empty Node, and above both. Linux only.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { at, folderOf, home, mb, trained } from "./child.mjs";

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
  "qwen2.5-0.5b-4bit": { shape: "qwen2.5-0.5b", edit: inFour, set: { "train.memory": 300000000 } },
  "llama-3.2-1b-4bit": { shape: "llama-3.2-1b", edit: inFour, set: { "train.memory": 780000000 } },
};

function fileOf(name, { file, shape, edit }) {
  if (file !== undefined) return file;
  const folder = folderOf(shape);
  if (edit === undefined) return join(folder, "lora.peft");
  const path = join(folder, `${name}.peft`);
  writeFileSync(path, edit(readFileSync(join(folder, "lora.peft"), "utf8")));
  return path;
}

const empty = Number(execFileSync(process.execPath, ["-e", "console.log(process.resourceUsage().maxRSS)"]).toString()) * 1024;

const steps = process.env.PEFTC_STEPS ?? "3";
const names = process.argv.slice(2);
for (const name of names) if (CASES[name] === undefined) throw new Error(`no case ${name}: there are ${Object.keys(CASES).join(", ")}`);
mkdirSync(home, { recursive: true });
console.log(`an empty Node takes ${mb(empty)} MB; below, MB`);
console.log(`${"".padEnd(20)}${["planned", "allocated", "process", "above Node", "above both"].map((s) => s.padStart(11)).join("")}`);
for (const name of names.length > 0 ? names : Object.keys(CASES)) {
  const { set } = CASES[name];
  const { planned, allocated, most } = await trained(fileOf(name, CASES[name]), { set: { "train.steps": steps, ...set } });
  console.log(
    `${name.padEnd(20)}${[planned, allocated, most, most - empty, most - empty - planned].map((b) => mb(b).padStart(11)).join("")}`,
  );
}
