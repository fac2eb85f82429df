/** `--profile`: where the time of a run goes, as tables and as a trace. */
import { expect, test } from "@jest/globals";
import type { Io } from "../../src/cli/io.ts";
import { display } from "../../src/cli/progress.ts";
import type { Span } from "../../src/runtime/wasm/spans.ts";
import { Profile } from "../../src/train/engine/profile.ts";
import { peftc, place } from "./support.ts";

const span = (step: number, begin: number, end: number, more: Partial<Span> = {}): Span => ({
  step,
  begin,
  end,
  worker: 0,
  kernel: "k",
  label: `m.h.${step}.attn mul`,
  ...more,
});

test("the first run is a warm-up, threads at work together count once, and what lies between is named", () => {
  const profile = new Profile();
  profile.take("step", [span(0, 0, 1000)]);
  profile.take("step", [
    span(0, 2000, 2004),
    span(0, 2001, 2006, { worker: 1 }),
    // begun while the other thread was still at the one before
    span(1, 2005, 2008, { part: "backward" }),
    span(2, 2010, 2011, { part: "backward", label: "add", kernel: "add" }),
  ]);
  const [{ parts, sites, kernels, runs, milliseconds }] = profile.entries();
  expect([runs, milliseconds]).toEqual([1, 11]);
  const of = (rows: typeof parts) => rows.map(({ name, milliseconds, runs }) => [name, milliseconds, runs]);
  expect(of(parts)).toEqual([
    ["forward", 6, 1],
    ["backward", 3, 2],
    ["between kernels", 2, 0],
  ]);
  expect(of(sites)).toEqual([
    ["m.h[*].attn", 8, 2],
    ["no place in a model", 1, 1],
  ]);
  expect(of(kernels)).toEqual([
    ["k", 8, 2],
    ["add", 1, 1],
  ]);
  expect(parts.reduce((sum, row) => sum + row.share, 0)).toBeCloseTo(1, 12);
});

test("an entry that ran once is shown", () => {
  const profile = new Profile();
  profile.take("load", [span(0, 5, 8)]);
  profile.take("empty", []);
  expect(profile.entries().map((e) => [e.entry, e.runs, e.milliseconds])).toEqual([["load", 1, 3]]);
});

test("entries that take next to nothing are one line together", () => {
  const profile = new Profile();
  profile.take("step", [span(0, 0, 1000)]);
  for (let i = 0; i < 40; i++) profile.take(`load.${i}`, [span(0, 0, 1)]);
  const texts: string[] = [];
  const io = { out: (t: string) => void texts.push(t), err: (t: string) => void texts.push(t), terminal: false, color: false };
  display(io as unknown as Io, false).listen({ event: "profile", entries: profile.entries(), file: "p.json" });
  const text = texts.join("");
  expect(text).toContain("step: 1000.0 ms a run, mean of 1");
  expect(text).toContain("40 others: 40.0 ms in all");
  expect(text).not.toContain("load");
});

test("train --profile: parts of the step, the trace in a file; the adapter's bits are those of a run that nobody watches", async () => {
  const at = place(`import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { causal_lm } from "std/objectives"
import { adamw } from "std/training"
model gpt2 = GPT2LMHeadModel from "models/tiny"
attach lora = LoRA(rank: 2) to gpt2.transformer.h[*].attn.c_attn
train { objective = causal_lm(gpt2)  data = text("corpus.txt")  sequence = 16  batch = 2  steps = 3  params = lora  optimizer = adamw(lr: 1e-2) }
`);
  const run = (output: string, ...more: string[]) => peftc(at, ["train", "main.peft", "--output", output, ...more]);
  const seen = await run("watched", "--profile", "trace.json", "--json");
  expect([seen.code, seen.err]).toEqual([0, ""]);
  const { entries } = seen.events().find((e) => e.event === "profile") as unknown as { entries: ReturnType<Profile["entries"]> };
  const step = entries.find((e) => e.entry === "step")!;
  expect(step.runs).toBe(2);
  expect(step.parts.map((row) => row.name)).toEqual(expect.arrayContaining(["forward", "backward", "update", "between kernels"]));
  expect(step.sites.map((row) => row.name)).toContain("lora.transformer.h[*].attn.c_attn");
  const { traceEvents } = JSON.parse(at.get("trace.json")) as { traceEvents: { ph: string; cat?: string; ts: number; dur: number }[] };
  const spans = traceEvents.filter((e) => e.ph === "X");
  expect(spans.filter((e) => e.cat === "backward").length).toBeGreaterThan(5);
  for (const { ts, dur } of spans) expect(ts >= 0 && dur >= 0).toBe(true);
  expect((await run("alone")).code).toBe(0);
  expect(at.get("watched/adapter_model.safetensors")).toBe(at.get("alone/adapter_model.safetensors"));
  expect((await run("other", "--profile", "--device", "reference")).err).toMatch(/only kernels on WebAssembly are timed/);
  expect((await run("other", "--profile", "--on", "torch")).err).toMatch(/--profile times the kernels of this process/);
}, 120_000);
