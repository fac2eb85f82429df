/**
 * Budgets from the smallest to what storing takes: `node bench/budgets.mjs [SHAPE...] [--budgets 10 | --memory BYTES,BYTES] [--plan-only] [--steps 4]`, behind
 * `npm run build`. For each budget: what is planned, what a run allocates, the work that the cost model adds, the time of a step beside that of runs without
 * a budget before and behind all others, and how far the adapter is from theirs. Shapes: quickstart, and those of `bench/random.mjs`: gpt2 and roberta-large with
 * 8 × 512 tokens, qwen2.5-0.5b with 1 × 256, all LoRA with r = 8.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { apart, at, cli, folderOf, home, mb, settings, trained } from "./child.mjs";
import { median } from "./step.mjs";

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    budgets: { type: "string", default: "10" },
    memory: { type: "string" },
    steps: { type: "string", default: "4" },
    "plan-only": { type: "boolean", default: false },
  },
});
const LARGE = { "train.batch": 8, "train.sequence": 512 };
const SHAPES = { quickstart: {}, gpt2: LARGE, "roberta-large": LARGE, "qwen2.5-0.5b": {} };

/** What `plan` says of a budget: bytes by arena, and work; or the smallest that fits. */
function planned(file, set) {
  const { stdout, stderr } = spawnSync(process.execPath, [cli, "plan", file, "--device", "wasm", "--json", ...settings(set)], {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  const smallest = /\((\d+) bytes\): the smallest budget/.exec(stdout + stderr)?.[1];
  if (smallest !== undefined) return { smallest: Number(smallest) };
  const facts = stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .find((e) => e.event === "plan");
  if (facts === undefined) throw new Error(stdout + stderr);
  return facts;
}

const percent = (share) => `${(100 * share).toFixed(1)} %`;

async function curve(name) {
  const more = SHAPES[name];
  if (more === undefined) throw new Error(`no shape ${name}: ${Object.keys(SHAPES).join(", ")}`);
  const file = name === "quickstart" ? at("../specs/examples/quickstart.peft") : join(folderOf(name), "lora.peft");
  const set = { ...more, "train.steps": options.steps };
  const whole = planned(file, set);
  const [most, weights] = [whole.peak_bytes, whole.arenas.frozen];
  const output = join(home, "budgets-out");
  const run = async (memory) => {
    const seen = await trained(file, { set: { ...set, ...(memory !== undefined && { "train.memory": memory }) }, output });
    return { ...seen, step: median(seen.ms), adapter: readFileSync(join(output, "adapter_model.safetensors")) };
  };
  const smallest = options.memory === undefined ? planned(file, { ...set, "train.memory": 1 }).smallest : undefined;
  console.log(
    `${name}: ${mb(weights, 1)} MB of frozen weights, ${mb(most, 1)} MB without a budget${smallest ? `, the smallest is ${mb(smallest, 1)}` : ""}`,
  );
  const free = options["plan-only"] ? undefined : await run();
  if (free) console.log(`  without a budget: ${free.step.toFixed(0)} ms a step, ${mb(free.allocated, 1)} MB allocated`);
  const count = Number(options.budgets);
  const spread = () => Array.from({ length: count }, (_, i) => Math.ceil(smallest + ((most - smallest) * i) / Math.max(1, count - 1)));
  for (const memory of options.memory?.split(",").map(Number) ?? spread()) {
    const { peak_bytes: total, recomputed, rows, smallest: least } = planned(file, { ...set, "train.memory": memory });
    if (least !== undefined) throw new Error(`${memory} is refused: ${least} is the smallest`);
    if (total > memory) throw new Error(`${total} are planned for ${memory}`);
    const line = [
      `  budget ${mb(memory, 1)} MB: planned ${mb(total, 1)}, ${mb(total - weights, 1)} beside weights`,
      `work ${percent(recomputed)}${rows === undefined ? "" : `, ${rows} rows at a time`}`,
    ];
    if (free) {
      const { step, allocated, adapter } = await run(memory);
      if (allocated > memory) throw new Error(`${allocated} were allocated for ${memory}`);
      line.push(
        `allocated ${mb(allocated, 1)}`,
        `${step.toFixed(0)} ms, time ${percent(step / free.step - 1)}`,
        apart(free.adapter, adapter),
      );
    }
    console.log(line.join("; "));
  }
  if (free) console.log(`  without a budget, again: ${(await run()).step.toFixed(0)} ms a step`);
}

for (const name of positionals.length > 0 ? positionals : Object.keys(SHAPES)) await curve(name);
