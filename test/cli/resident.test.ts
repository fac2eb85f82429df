/** The memory of a whole process follows its plan: nothing on the host is a copy of what the device holds for longer than it is written somewhere. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";

const cli = fileURLToPath(new URL("../../dist/src/cli/main.js", import.meta.url));
/** Says at the end how many kilobytes were resident at most. */
const PROBE = `data:text/javascript,process.on("exit",()=>process.stderr.write("resident "+process.resourceUsage().maxRSS+"\\n"))`;

/** Everything learns: with its optimizer's state the plan is three times the parameters and more. */
const spec = (width: number) => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model m = GPT2LMHeadModel(vocab_size: 512, n_positions: 16, n_embd: ${width}, n_layer: 2, n_head: 2, resid_pdrop: 0, embd_pdrop: 0, attn_pdrop: 0)
train {
  objective = causal_lm(m)
  data      = jsonl("rows.jsonl")
  sequence  = 8
  batch     = 1
  optimizer = adamw(lr: 1e-3)
  params    = m
  steps     = 2
}
`;

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), "resident-"));
  writeFileSync(path.join(folder, "rows.jsonl"), `${JSON.stringify({ input_ids: [1, 2, 3, 4, 5, 6, 7, 8] })}\n`.repeat(2));
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(width: number): { planned: number; resident: number } {
  const file = path.join(folder, `w${width}.peft`);
  writeFileSync(file, spec(width));
  const args = ["--import", PROBE, cli, "train", file, "--device", "wasm", "--json", "--output", path.join(folder, `o${width}`)];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8", timeout: 120_000 });
  expect({ status, stderr: stderr.replace(/resident \d+\n/g, "") }).toEqual({ status: 0, stderr: "" });
  const kilobytes = [...stderr.matchAll(/resident (\d+)/g)].map(([, n]) => Number(n));
  return { planned: Number(/"peak_bytes":(\d+)/.exec(stdout)![1]), resident: 1024 * Math.max(...kilobytes) };
}

test("training a whole model of 84 MB planned takes less than two and a half times that, checkpoints and all", () => {
  const [small, large] = [run(32), run(512)];
  const planned = large.planned - small.planned;
  expect(planned).toBeGreaterThan(80e6);
  // what a run takes whatever its size is in both; copies of the values to go back to made it 3.4 times
  expect(large.resident - small.resident).toBeLessThan(2.5 * planned);
});
