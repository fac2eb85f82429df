/** Checkpoints that a disk, a copy or a person changed: named, and the newest whole one is used; a finished run that is to be longer goes on. */
import { describe, expect, test } from "@jest/globals";
import type { TrainStage } from "../../src/compiler/project.ts";
import type { MemoryFiles } from "../../src/formats/memory.ts";
import { chooseFolders, isFinished } from "../../src/train/run/folders.ts";
import { train } from "../../src/train/stages/train.ts";
import { tinyFiles, tinyHost, tinyProject } from "./support/tiny.ts";

const RUN = "runs/tiny/train";
const settings = { steps: 8, checkpoint: { every: 2, keep: 3 }, evaluate: undefined } as const;

async function run(files: MemoryFiles, resume: boolean, over: Partial<TrainStage> = {}, engine = {}) {
  const project = tinyProject({ ...settings, ...over });
  const host = tinyHost(project, files, engine);
  const error = await train((project.actions[0] as { stage: TrainStage }).stage, host, { folder: RUN, resume }).then(
    () => undefined,
    (e: unknown) => e as { code: string; message: string },
  );
  return { error, host };
}
const bytes = (files: MemoryFiles) => files.content.get(`${RUN}/adapter_model.safetensors`);
const replaced = (files: MemoryFiles, name: string, from: RegExp, to: string) => {
  const text = new TextDecoder().decode(files.content.get(name));
  expect(text).toMatch(from);
  files.content.set(name, new TextEncoder().encode(text.replace(from, to)));
};

/** Turns a bit of the last number of a file. */
function flip(files: MemoryFiles, name: string): void {
  const held = files.content.get(name)!;
  held[held.length - 2] ^= 1;
}

describe("a damaged checkpoint", () => {
  const kinds: readonly (readonly [string, (files: MemoryFiles, at: string) => void])[] = [
    ["a bit of a parameter", (f, at) => flip(f, `${at}/parameters.safetensors`)],
    ["a bit of the optimiser's state", (f, at) => flip(f, `${at}/optimizer.safetensors`)],
    [
      "a file is cut",
      (f, at) => void f.content.set(`${at}/parameters.safetensors`, f.content.get(`${at}/parameters.safetensors`)!.slice(0, 60)),
    ],
    ["a file is missing", (f, at) => void f.content.delete(`${at}/optimizer.safetensors`)],
    ["another step is claimed", (f, at) => replaced(f, `${at}/peftc_state.json`, /"step": 8/g, '"step": 1000000000')],
    ["the record is no JSON", (f, at) => replaced(f, `${at}/peftc_state.json`, /\{/, "[")],
    ["the record is missing", (f, at) => void f.content.delete(`${at}/peftc_state.json`)],
    [
      "parameters of another step",
      (f, at) => void f.content.set(`${at}/parameters.safetensors`, f.content.get(`${RUN}/checkpoint-4/parameters.safetensors`)!),
    ],
  ];
  test.each(kinds)("%s", async (_, damage) => {
    const [whole, files] = [tinyFiles(), tinyFiles()];
    await run(whole, false);
    await run(files, false);
    files.content.delete(`${RUN}/finished.json`);
    damage(files, `${RUN}/checkpoint-8`);
    const { error, host } = await run(files, true);
    expect(error).toBeUndefined();
    expect(host.events.find((e) => e.event === "resume")).toMatchObject({ step: 6 });
    expect(host.events.find((e) => e.event === "problem")).toMatchObject({ problem: { code: "P0824", severity: "warning" } });
    expect(bytes(files)).toEqual(bytes(whole));
  });
  test("all of them: it is refused, not begun afresh", async () => {
    const files = tinyFiles();
    await run(files, false);
    for (const step of [4, 6, 8]) files.content.delete(`${RUN}/checkpoint-${step}/peftc_state.json`);
    expect((await run(files, true)).error).toMatchObject({ code: "P0824" });
  });
});

test("a finished run that is to be longer goes on, and says so", async () => {
  const files = tinyFiles();
  await run(files, false);
  const { error, host } = await run(files, true, { steps: 12 });
  expect(error).toBeUndefined();
  expect(host.events.find((e) => e.event === "resume")).toMatchObject({ step: 8 });
  expect(host.events.find((e) => e.event === "note")).toMatchObject({ message: expect.stringContaining("goes on to 12") });
  expect(host.events.filter((e) => e.event === "step").map((e) => e.step)).toEqual([9, 10, 11, 12]);
  expect(isFinished(files, RUN)).toBe(true);
  // with anything else changed it is another run
  expect((await run(files, true, { steps: 16, batch: 3 })).error).toMatchObject({ code: "P0823" });
});

test("a processor that rounds otherwise is another arithmetic, and is named", async () => {
  const files = tinyFiles();
  const engine = (rounding: string) => ({ engine: { ...tinyHost(tinyProject(), files).engine, rounding } });
  await run(files, false, {}, engine("fused"));
  files.content.delete(`${RUN}/finished.json`);
  const { error } = await run(files, true, {}, engine("apart"));
  expect(error).toMatchObject({
    code: "P0823",
    notes: expect.arrayContaining([expect.stringMatching(/arithmetic: was .* fused, .* is .* apart,/)]),
  });
});

test("--force takes nothing away before the new run is known to start", async () => {
  const files = tinyFiles();
  await run(files, false);
  const before = [...files.content.keys()].sort();
  chooseFolders(files, [{ name: "train", verb: "train", folder: "x/train" }], { output: RUN, force: true, resume: false });
  const engine = { ...tinyHost(tinyProject(), files).engine, open: () => Promise.reject(new Error("no device")) };
  expect((await run(files, false, {}, { engine })).error).toMatchObject({ message: "no device" });
  expect([...files.content.keys()].sort()).toEqual(before);
});
