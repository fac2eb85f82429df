import { describe, expect, test } from "@jest/globals";
import type { Device } from "../../src/node/device.ts";
import { DEVICES } from "../../src/node/engine.ts";
import { peftc, place, SPEC } from "./support.ts";

const VERBS = [
  "check",
  "data",
  "plan",
  "build",
  "train",
  "eval",
  "generate",
  "init",
  "import",
  "inspect",
  "convert",
  "merge",
  "explain",
  "fmt",
];
const ADAPTER = "runs/main/train/adapter_model.safetensors";

describe("the command line", () => {
  test("has a version, and help with an example for every verb", async () => {
    const at = place();
    expect((await peftc(at, ["--version"])).out).toMatch(/^\d+\.\d+\.\d+\n$/);
    for (const verb of VERBS) {
      const { code, out } = await peftc(at, [verb, "--help"]);
      expect(code).toBe(0);
      expect(out).toMatch(new RegExp(`Example:\\n  peftc ${verb}`));
    }
  });

  test("the help of `--device` names every device, and no other", async () => {
    const here = Object.entries<Device>(DEVICES).flatMap(([name, { elsewhere }]) => (elsewhere ? [] : [name]));
    const { out } = await peftc(place(), ["train", "--help"]);
    const [, listed] = /--device <name>\s+(auto, [\w, ]+ or \w+)/.exec(out)!;
    expect(listed.split(/, | or /).sort()).toEqual(["auto", ...here].sort());
  });

  test("exits with 2 for what is no way to call it", async () => {
    const at = place();
    const wrong = [
      ["trian", "main.peft"],
      ["train"],
      ["train", "main.peft", "--colour"],
      ["train", "main.peft", "--set", "steps"],
      ["train", "main.peft", "--set", "tune.steps=3"],
      ["train", "main.peft", "--seed", "x"],
      ["train", "main.peft", "--device", "abacus"],
      ["train", "main.peft", "--force", "--resume"],
      ["build", "main.peft", "--print", "nothing"],
    ];
    for (const argv of wrong) {
      const { code, err } = await peftc(at, argv);
      expect([argv.join(" "), code]).toEqual([argv.join(" "), 2]);
      expect(err).not.toBe("");
    }
    expect(at.has("runs")).toBe(false);
  });

  test("checks: what selectors hit, shapes, counts, fields and tensors that nothing takes", async () => {
    const at = place();
    const { code, out } = await peftc(at, ["check", "main.peft"]);
    expect(code).toBe(0);
    expect(out).toMatch(/transformer\.h\.0\.attn\.c_attn\s+lora_A\.weight \[4, 16\], lora_B\.weight \[48, 4\]/);
    expect(out).toMatch(/1 site, 256 parameters/);
    const [facts] = (await peftc(at, ["check", "main.peft", "--json"])).events();
    expect(facts).toMatchObject({
      event: "check",
      models: [{ name: "gpt2", left_over: [], unknown_fields: ["architectures", "model_type", "bos_token_id", "eos_token_id"] }],
      attachments: [{ name: "lora", parameters: 256 }],
    });
  });

  test("explains codes, stages, fields and functions", async () => {
    const at = place();
    expect((await peftc(at, ["explain", "p0312"])).out).toMatch(/^P0312 \(selectors and roles\)\n {2}\w.*\.\n$/);
    expect((await peftc(at, ["explain", "train.evaluate"])).out).toMatch(/train\.evaluate\.stop_after: a whole number of at least 1\n/);
    expect((await peftc(at, ["explain", "generate.top_p"])).out).toMatch(/^generate\.top_p: .*, 1 when left out\n/);
    expect((await peftc(at, ["explain", "topk"])).out).toMatch(/^topk\(x, k\)\n {2}\[values, places\]/);
    const { code, err } = await peftc(at, ["explain", "trian"]);
    expect(code).toBe(1);
    expect(err).toContain("is it train?");
    expect((await peftc(at, ["explain", "train.batch_size"])).err).toContain("it has: objective");
  });

  test("formats, and says what it would change", async () => {
    const at = place(SPEC.replace("lora = LoRA", "lora=LoRA"));
    expect((await peftc(at, ["fmt", "main.peft", "--check"])).code).toBe(1);
    expect((await peftc(at, ["fmt", "main.peft"])).code).toBe(0);
    expect((await peftc(at, ["fmt", "main.peft", "--check"])).code).toBe(0);
    expect(at.get("main.peft")).toContain("lora = LoRA");
  });

  test("init writes a spec that checks and trains", async () => {
    const at = place();
    expect((await peftc(at, ["init", "first", "--model", "../models/tiny"])).code).toBe(0);
    expect((await peftc(at, ["init", "first"])).code).toBe(1);
    expect((await peftc(at, ["check", "first/main.peft"])).code).toBe(0);
    const { code, err } = await peftc(at, ["train", "first/main.peft", "--device", "wasm", "--set", "train.steps=1"]);
    expect([code, err]).toEqual([0, expect.stringContaining("saved the adapter in runs/first/main/train")]);
  });
});

describe("a run", () => {
  const at = place();
  test("trains, evaluates before and after, samples, saves", async () => {
    const { code, err } = await peftc(at, ["train", "main.peft", "--device", "wasm"]);
    expect([code, err]).toEqual([0, expect.stringContaining("done in")]);
    expect(err).toMatch(/step 6\/6 {2}loss \d\.\d{4} {2}[\d ]+ tokens\/s {2}ETA 0 s {2}[\d.]+ [KM]B/);
    const perplexities = [...err.matchAll(/perplexity ([\d.]+)/g)].map((m) => Number(m[1]));
    expect(perplexities).toHaveLength(2);
    expect(perplexities[1]).toBeLessThan(perplexities[0]);
    for (const name of [
      "adapter_config.json",
      "adapter_model.safetensors",
      "metrics.jsonl",
      "finished.json",
      "checkpoint-6/trainer_state.json",
    ]) {
      expect(at.has(`runs/main/train/${name}`)).toBe(true);
    }
    expect(JSON.parse(at.get("runs/main/train/adapter_config.json"))).toMatchObject({ peft_type: "LORA", r: 4, lora_alpha: 8 });
    expect(JSON.parse(at.get("runs/main/train/checkpoint-6/trainer_state.json"))).toMatchObject({ global_step: 6, max_steps: 6 });
  });

  test("a second one is numbered, and equal byte for byte", async () => {
    const { code, events } = await peftc(at, ["train", "main.peft", "--device", "wasm", "--json"]);
    expect(code).toBe(0);
    expect(events().filter((e) => e.event === "step")).toHaveLength(6);
    expect(at.bytes("runs/main/train-2/adapter_model.safetensors")).toEqual(at.bytes(ADAPTER));
    const other = await peftc(at, ["train", "main.peft", "--device", "wasm", "--seed", "8", "--output", "other"]);
    expect(other.code).toBe(0);
    expect(at.bytes("other/adapter_model.safetensors")).not.toEqual(at.bytes(ADAPTER));
  });

  test("a finished one in a named folder is not written over without --force", async () => {
    const before = at.bytes("other/adapter_model.safetensors");
    const { code, err } = await peftc(at, ["train", "main.peft", "--output", "other", "--device", "wasm"]);
    expect([code, err]).toEqual([1, expect.stringContaining("P0821")]);
    expect(at.bytes("other/adapter_model.safetensors")).toEqual(before);
    const force = ["train", "main.peft", "--output", "other", "--device", "wasm"];
    // stopped in the middle, what was there stands
    const stopped = await peftc(at, [...force, "--force", "--json"], { interruptAfter: 6 });
    expect([stopped.code, stopped.events().at(-1)]).toEqual([130, expect.objectContaining({ event: "interrupted" })]);
    expect([at.bytes("other/adapter_model.safetensors"), at.has("other/finished.json")]).toEqual([before, true]);
    const resumed = await peftc(at, [...force, "--resume"]);
    expect([resumed.code, resumed.err]).toEqual([0, expect.stringContaining("in `other` now, in the place of what was there")]);
    expect(at.files.list("other").filter((name) => name.startsWith("."))).toEqual([]);
    expect(at.has("other/generate/samples.jsonl")).toBe(true);
    expect((await peftc(at, [...force, "--force"])).code).toBe(0);
    expect(at.bytes("other/adapter_model.safetensors")).toEqual(at.bytes(ADAPTER));
  });

  test("interrupted, it saves and exits with 130; resumed, it ends as one that was not", async () => {
    const stopped = await peftc(at, ["train", "main.peft", "--output", "stopped", "--device", "wasm", "--json"], { interruptAfter: 6 });
    expect(stopped.code).toBe(130);
    const [last] = stopped.events().slice(-1);
    expect(last).toMatchObject({ event: "interrupted", checkpoint: expect.stringMatching(/^stopped\/checkpoint-\d$/) });
    const changed = await peftc(at, [
      "train",
      "main.peft",
      "--output",
      "stopped",
      "--device",
      "wasm",
      "--resume",
      "--set",
      "train.batch=2",
    ]);
    expect([changed.code, changed.err]).toEqual([1, expect.stringContaining("spec: batch was 4, is 2")]);
    const resumed = await peftc(at, ["train", "main.peft", "--output", "stopped", "--device", "wasm", "--resume"]);
    expect([resumed.code, resumed.err]).toEqual([0, expect.stringContaining("going on after step")]);
    expect(at.bytes("stopped/adapter_model.safetensors")).toEqual(at.bytes(ADAPTER));
  });

  test("eval and generate use an adapter, else the newest result, else the base, and say which", async () => {
    const value = (err: string) => Number(/perplexity ([\d.]+)/.exec(err)![1]);
    const newest = await peftc(at, ["eval", "main.peft", "--device", "wasm"]);
    expect([newest.code, newest.err]).toEqual([0, expect.stringContaining("using the newest result: runs/main/train-2")]);
    const named = await peftc(at, ["eval", "main.peft", "--device", "wasm", "--adapter", "runs/main/train"]);
    expect(named.err).toContain("using runs/main/train");
    expect(value(named.err)).toBe(value(newest.err));
    const base = place();
    const fresh = await peftc(base, ["eval", "main.peft", "--device", "wasm"]);
    expect(fresh.err).toContain("using the base");
    expect(value(fresh.err)).toBeGreaterThan(value(newest.err));
    const text = (argv: string[]) => peftc(at, ["generate", "main.peft", "--device", "wasm", ...argv]);
    const one = await text(["--prompt", "a hill ", "--temperature", "0.9", "--seed", "3"]);
    expect([one.code, one.out]).toEqual([0, expect.stringMatching(/^a hill ./)]);
    expect((await text(["--prompt", "a hill ", "--temperature", "0.9", "--seed", "3"])).out).toBe(one.out);
    expect((await text(["--prompt", "a hill ", "--temperature", "0.9", "--seed", "4"])).out).not.toBe(one.out);
  });

  test("plans what it allocates", async () => {
    const plan = (await peftc(at, ["plan", "main.peft", "--device", "wasm", "--json"])).events().find((e) => e.event === "plan")!;
    expect(plan.parameters).toMatchObject({ trained: 256 });
    // adamw keeps two numbers a parameter
    expect(plan.optimizer_state_bytes).toBe(2 * 256 * 4);
    const arenas = Object.values(plan.arenas as Record<string, number>);
    expect(arenas.reduce((a, b) => a + b, 0)).toBe(plan.peak_bytes);
    const { out } = await peftc(at, ["plan", "main.peft", "--device", "wasm"]);
    expect(out).toMatch(/frozen weights/);
  });
});
