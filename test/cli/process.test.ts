/** What only a process of its own can show: it is killed, its disk is full, its bin runs. Uses the build in `dist`, which `npm test` makes. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { type Place, place, SPEC } from "./support.ts";

const MAIN = path.resolve(import.meta.dirname, "../../dist/src/cli/main.js");
const LONG = SPEC.replace("steps     = 6", "steps     = 40\n  checkpoint = { every: 3 }");
const TRAIN = ["train", "main.peft", "--device", "wasm", "--output", "result"];

const peftc = (at: Place, ...argv: string[]) => spawnSync(process.execPath, [MAIN, ...argv], { cwd: at.folder, encoding: "utf8" });

/** Kills the process with SIGKILL when `metrics.jsonl` has so many lines. */
async function killed(at: Place, argv: readonly string[], lines: number): Promise<string | null> {
  const child = spawn(process.execPath, [MAIN, ...argv], { cwd: at.folder, stdio: "ignore" });
  const metrics = path.join(at.folder, "result/metrics.jsonl");
  const ended = new Promise<string | null>((resolve) => child.on("exit", (_, signal) => resolve(signal)));
  const watch = setInterval(() => {
    if (existsSync(metrics) && readFileSync(metrics, "utf8").split("\n").length > lines) child.kill("SIGKILL");
  }, 1);
  const signal = await ended;
  clearInterval(watch);
  return signal;
}

describe("a process", () => {
  test("is started by the package's bin", () => {
    const { bin } = JSON.parse(readFileSync(path.resolve(import.meta.dirname, "../../package.json"), "utf8")) as { bin: { peftc: string } };
    expect(path.resolve(import.meta.dirname, "../..", bin.peftc)).toBe(MAIN);
    expect(readFileSync(MAIN, "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
    expect(peftc(place(), "--version")).toMatchObject({ status: 0 });
  });

  test("killed twice and resumed gives the adapter of one that was not killed", async () => {
    const whole = place(LONG);
    expect(peftc(whole, ...TRAIN)).toMatchObject({ status: 0 });
    const at = place(LONG);
    expect(await killed(at, TRAIN, 8)).toBe("SIGKILL");
    expect(await killed(at, [...TRAIN, "--resume"], 21)).toBe("SIGKILL");
    const { status, stderr } = peftc(at, ...TRAIN, "--resume");
    expect([status, stderr]).toEqual([0, expect.stringMatching(/going on after step \d+ from result\/checkpoint-\d+/)]);
    for (const name of ["adapter_model.safetensors", "adapter_config.json"]) {
      expect(at.bytes(`result/${name}`)).toEqual(whole.bytes(`result/${name}`));
    }
    expect(at.files.list("result").filter((name) => name.includes("partial"))).toEqual([]);
  });

  test("whose files may not grow further exits with 1, nothing half-written", () => {
    const at = place(LONG);
    const command = `ulimit -f 2; exec "${process.execPath}" "${MAIN}" ${TRAIN.join(" ")}`;
    const { status, stderr } = spawnSync("bash", ["-c", command], { cwd: at.folder, encoding: "utf8" });
    expect([status, stderr]).toEqual([1, expect.stringMatching(/error P0\d+: `result\/[^`]*` cannot be written: larger than/)]);
    expect(at.has("result/adapter_model.safetensors")).toBe(false);
    const checkpoints = at.files.list("result").filter((name) => name.startsWith("checkpoint"));
    for (const name of checkpoints) expect(at.has(`result/${name}/peftc_state.json`)).toBe(true);
  });
});
