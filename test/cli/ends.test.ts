/** Runs that end before their time: asked to, killed, or with nobody left to read what they say. Uses the build in `dist`, which `npm test` makes. */
import { spawn, spawnSync } from "node:child_process";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { peftc, place, SPEC } from "./support.ts";

const MAIN = path.resolve(import.meta.dirname, "../../dist/src/cli/main.js");
const GENERATES = SPEC.replace("train {", 'generate first { model = gpt2  prompts = ["the ", "a "]  max_tokens = 6 }\n\ntrain {');

describe("asked to stop", () => {
  test("generating and evaluating end between two calls, with 130 and nothing written", async () => {
    for (const [argv, after] of [
      [["train", "main.peft", "--device", "wasm", "--json", "--output", "out"], 2],
      [["eval", "main.peft", "--device", "wasm", "--json"], 2],
      [["generate", "main.peft", "--device", "wasm", "--json"], 2],
    ] as const) {
      const at = place(GENERATES);
      const { code, events } = await peftc(at, argv, { interruptAfter: after });
      expect([argv[0], code, events().at(-1)]).toEqual([argv[0], 130, { event: "interrupted", step: 0, checkpoint: null }]);
      expect(at.has("out") ? at.files.list("out") : []).toEqual([]);
    }
  });

  test("in the middle of an evaluation, the run goes on with that evaluation, to the same end", async () => {
    const spec = SPEC.replace('evaluate  = { metrics: ["perplexity"] }', 'evaluate  = { every: 2, metrics: ["perplexity"], best: "loss" }');
    const argv = ["train", "main.peft", "--device", "wasm", "--json", "--output", "out"];
    const whole = place(spec);
    const { events } = await peftc(whole, argv);
    // asked when the second update is told, which is before its evaluation
    const second = events().findIndex((e) => e.event === "step" && e.step === 2) + 1;
    const at = place(spec);
    const stopped = await peftc(at, argv, { interruptAfter: second });
    expect(stopped.events().at(-1)).toMatchObject({ event: "interrupted", step: 2, checkpoint: "out/checkpoint-2" });
    expect(stopped.events().some((e) => e.event === "evaluation" && e.step === 2)).toBe(false);
    const resumed = await peftc(at, [...argv, "--resume"]);
    expect(resumed.events().find((e) => e.event === "evaluation")).toMatchObject({ step: 2 });
    for (const name of ["adapter_model.safetensors", "metrics.jsonl"]) expect(at.get(`out/${name}`)).toBe(whole.get(`out/${name}`));
  });
});

describe("a process", () => {
  const LONG = SPEC.replace("steps     = 6", "steps     = 100000");
  test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("%s saves a checkpoint and ends with 130, the lock gone", async (signal) => {
    if (process.platform === "win32") return;
    const at = place(LONG);
    const child = spawn(process.execPath, [MAIN, "train", "main.peft", "--device", "wasm", "--output", "out", "--json"], {
      cwd: at.folder,
      stdio: ["ignore", "pipe", "ignore"],
    });
    let out = "";
    let asked = false;
    child.stdout.on("data", (piece: Buffer) => {
      out += piece.toString();
      // once: a second one would end it at once
      if (!asked && out.includes('"event":"step"')) asked = child.kill(signal);
    });
    expect(await new Promise((resolve) => child.on("exit", (code) => resolve(code)))).toBe(130);
    expect(JSON.parse(out.trim().split("\n").at(-1)!)).toMatchObject({
      event: "interrupted",
      checkpoint: expect.stringMatching(/^out\/checkpoint-/),
    });
    expect(at.files.list("out").filter((name) => !/^(checkpoint-\d+|metrics\.jsonl)$/.test(name))).toEqual([]);
    const lines = at.get("out/metrics.jsonl");
    expect(lines.endsWith("\n")).toBe(true);
    for (const line of lines.trim().split("\n")) JSON.parse(line);
  });

  test("whose output nobody reads, or has no room for, finishes its run", () => {
    const at = place();
    const run = (to: string, output: string) =>
      spawnSync(
        "bash",
        ["-c", `"${process.execPath}" "${MAIN}" train main.peft --device wasm --json --output ${output} ${to}; echo "code $?" >&2`],
        {
          cwd: at.folder,
          encoding: "utf8",
        },
      );
    if (process.platform === "win32") return;
    run("| head -c 20 > /dev/null", "piped");
    expect(at.has("piped/finished.json")).toBe(true);
    if (process.platform !== "linux") return;
    const full = run("> /dev/full", "full");
    expect(at.has("full/finished.json")).toBe(true);
    expect(full.stderr).toMatch(/standard output could not be written[\s\S]*code 1/);
    expect(at.bytes("full/adapter_model.safetensors")).toEqual(at.bytes("piped/adapter_model.safetensors"));
  });
});

test("nothing of a file steers a terminal or becomes code", async () => {
  const at = place();
  const name = "x\u001b[2J\n} alert(1) \u2028y\u202e.peft";
  at.put(name, SPEC.replace('["the "]', '["the \\u{1b}]0;x\\u{7}"]'));
  for (const argv of [
    ["check", name],
    ["plan", name],
    ["train", name, "--output", "out", "--device", "wasm"],
    ["generate", name],
    ["check", `${name}x`],
  ]) {
    const { out, err } = await peftc(at, argv);
    // what a model wrote is given as it is to whoever asked for it
    const seen = argv[0] === "generate" ? err : out + err;
    expect([argv[0], /[\p{Cc}\u2028\u2029\u202a-\u202e]/u.exec(seen.replaceAll("\n", ""))]).toEqual([argv[0], null]);
  }
  const json = await peftc(at, ["check", `${name}\u009b`, "--json"]);
  expect(/[\u0080-\u009f\u2028\u202e]/.test(json.out)).toBe(false);
  expect(() => json.events()).not.toThrow();
  const built = await peftc(at, ["build", name, "-o", "built"]);
  expect(built.err).toBe("");
  for (const file of ["index.mjs", "index.d.ts"]) expect(at.get(`built/${file}`).split(/[\n\r\u2028\u2029]/)[1]).toMatch(/^import /);
});
