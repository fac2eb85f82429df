/** Results never take the place of others unasked; asked to, they do so whole, wherever the machine stops. */
import { describe, expect, test } from "@jest/globals";
import type { TrainStage } from "../../src/compiler/project.ts";
import { asideOf, holdsResult, settle, written } from "../../src/formats/aside.ts";
import { type Files, joinPath, writeFile } from "../../src/formats/files.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { chooseFolders } from "../../src/train/run/folders.ts";
import { train } from "../../src/train/stages/train.ts";
import { FaultyFiles, Killed, type Kind } from "./support/faults.ts";
import { tinyFiles, tinyHost, tinyProject } from "./support/tiny.ts";

const put = (files: Files, name: string, text: string) => writeFile(files, name, new TextEncoder().encode(text));
const text = (files: MemoryFiles, name: string) => {
  const bytes = files.content.get(name);
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
};

describe("a result in the place of another", () => {
  const old = () =>
    new MemoryFiles([
      ["out/adapter_config.json", "old"],
      ["out/adapter_model.safetensors", "old"],
      ["out/model-00001-of-00002.safetensors", "old"],
      ["out/checkpoint-4/peftc_state.json", "old"],
      ["out/finished.json", "old"],
      ["out/notes.txt", "mine"],
    ]);
  const write = (files: Files) =>
    written(files, "out", (aside) => {
      put(files, joinPath(aside, "adapter_model.safetensors"), "new");
      put(files, joinPath(aside, "adapter_config.json"), "new");
      put(files, joinPath(aside, "sub/x.json"), "new");
    });
  const names = (files: MemoryFiles) => [...files.content.keys()].sort();

  test("is all there is of both, but for what nobody's result is", () => {
    const files = old();
    write(files);
    expect(names(files)).toEqual(["out/adapter_config.json", "out/adapter_model.safetensors", "out/notes.txt", "out/sub/x.json"]);
    expect(text(files, "out/adapter_config.json")).toBe("new");
  });

  test.each<Kind>(["kill", "torn", "ENOSPC", "EIO"])("%s at every operation: the old one, or the new one after settling", (kind) => {
    const counting = new FaultyFiles(old());
    write(counting);
    for (let operation = 0; operation < counting.operations; operation++) {
      const files = old();
      try {
        write(new FaultyFiles(files, [{ operation, kind }]));
      } catch (error) {
        expect(error instanceof Killed || (error as { code?: string }).code?.startsWith("P068")).toBe(true);
      }
      settle(files, "out");
      const seen = ["adapter_config.json", "adapter_model.safetensors"].map((name) => text(files, `out/${name}`));
      expect({ operation, seen: new Set(seen).size }).toEqual({ operation, seen: 1 });
      expect(text(files, "out/notes.txt")).toBe("mine");
      if (seen[0] === "old") expect(text(files, "out/checkpoint-4/peftc_state.json")).toBe("old");
      else expect(names(files)).toEqual(["out/adapter_config.json", "out/adapter_model.safetensors", "out/notes.txt", "out/sub/x.json"]);
    }
  });

  test("names of files that are no results are none", () => {
    expect(
      holdsResult(
        new MemoryFiles([
          ["out/notes.txt", ""],
          ["out/data.jsonl", ""],
        ]),
        "out",
      ),
    ).toBe(false);
    expect(holdsResult(old(), "out")).toBe(true);
  });
});

describe("`save`", () => {
  const run = async (files: Files, options: { resume?: boolean; force?: boolean }, over: Partial<TrainStage> = {}) => {
    const project = tinyProject({ steps: 4, checkpoint: { every: 2, keep: 2 }, evaluate: undefined, save: "kept", ...over });
    const host = tinyHost(project, files);
    const error = await train((project.actions[0] as { stage: TrainStage }).stage, host, {
      folder: "runs/x",
      resume: false,
      ...options,
    }).then(
      () => undefined,
      (e: unknown) => e as { code: string },
    );
    return { error, host };
  };

  test("is refused before the run starts where a result lies; with --force it takes its place at the end", async () => {
    const files = tinyFiles();
    put(files, "kept/adapter_model.safetensors", "theirs");
    put(files, "kept/mine.txt", "mine");
    const before = [...files.content.keys()];
    expect((await run(files, {})).error).toMatchObject({ code: "P0821" });
    expect([...files.content.keys()]).toEqual(before);
    const { error, host } = await run(files, { force: true });
    expect(error).toBeUndefined();
    expect(host.events.find((e) => e.event === "saved")).toMatchObject({ folder: "kept" });
    expect(text(files, "kept/adapter_model.safetensors")).not.toBe("theirs");
    expect(text(files, "kept/mine.txt")).toBe("mine");
  });

  test("may take the place of what the same run saved: stopped in between, or longer", async () => {
    const files = tinyFiles();
    expect((await run(files, {})).error).toBeUndefined();
    files.content.delete("runs/x/finished.json");
    expect((await run(files, {})).error).toMatchObject({ code: "P0821" });
    expect((await run(files, { resume: true })).error).toBeUndefined();
    const first = text(files, "kept/adapter_model.safetensors");
    expect((await run(files, { resume: true }, { steps: 8 })).error).toBeUndefined();
    expect(text(files, "kept/adapter_model.safetensors")).not.toBe(first);
  });

  test("a run that fails leaves what was there, with --force too", async () => {
    const files = tinyFiles();
    put(files, "kept/adapter_model.safetensors", "theirs");
    const count = new FaultyFiles(tinyFiles());
    await run(count, { force: true });
    for (let operation = 0; operation < count.operations - 12; operation += 3) {
      const at = new MemoryFiles(files.content);
      await run(new FaultyFiles(at, [{ operation, kind: "kill" }]), { force: true });
      expect(text(at, "kept/adapter_model.safetensors")).toBe("theirs");
    }
  });
});

describe("`--output`", () => {
  const stages = [{ name: "train", verb: "train", folder: "x/train" }];
  const choose = (files: Files, how: { force?: boolean; resume?: boolean } = {}) =>
    chooseFolders(files, stages, { output: "out", force: false, resume: false, ...how });
  test("holds a model, an adapter, or checkpoints that nobody asked to go on with: refused; --force writes beside", () => {
    for (const name of ["adapter_config.json", "model.safetensors", "checkpoint-3/peftc_state.json", "finished.json"]) {
      const files = new MemoryFiles([[`out/${name}`, "{}"]]);
      expect(() => choose(files)).toThrow(expect.objectContaining({ code: "P0821" }));
      expect(choose(files, { force: true })).toEqual({ folders: [asideOf("out")], replaces: "out" });
    }
    // going on is for runs
    expect(() => choose(new MemoryFiles([["out/model.safetensors", ""]]), { resume: true })).toThrow(/a model or an adapter/);
    expect(
      choose(
        new MemoryFiles([
          ["out/metrics.jsonl", ""],
          ["out/notes.txt", ""],
        ]),
      ),
    ).toEqual({ folders: ["out"] });
    expect(choose(new MemoryFiles([["out/checkpoint-3/x", ""]]), { resume: true })).toEqual({ folders: ["out"] });
  });
  test("--resume goes on with what --force began", () => {
    const files = new MemoryFiles([
      ["out/finished.json", "{}"],
      [`${asideOf("out")}/checkpoint-2/x`, ""],
    ]);
    expect(choose(files, { resume: true })).toEqual({ folders: [asideOf("out")], replaces: "out" });
  });
});
