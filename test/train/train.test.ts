import { describe, expect, test } from "@jest/globals";
import type { Project, TrainStage } from "../../src/compiler/project.ts";
import { type Files, fileFailure } from "../../src/formats/files.ts";
import type { MemoryFiles } from "../../src/formats/memory.ts";
import { referenceEngine } from "../../src/train/engine/reference.ts";
import { Interrupted } from "../../src/train/events.ts";
import type { RunHost } from "../../src/train/host.ts";
import { RunProblem } from "../../src/train/stages/nonfinite.ts";
import { train } from "../../src/train/stages/train.ts";
import { tinyFiles, tinyHost, tinyProject, tinyTable } from "./support/tiny.ts";

const stageOf = (project: Project) => (project.actions[0] as { stage: TrainStage }).stage;
const FOLDER = "runs/tiny/train";
const ADAPTER = `${FOLDER}/adapter_model.safetensors`;

async function run(project: Project, files: Files, options: { resume?: boolean } = {}, over: Partial<RunHost> = {}) {
  const host = tinyHost(project, files, over);
  const outcome = await train(stageOf(project), host, { folder: FOLDER, resume: options.resume ?? false }).then(
    (result) => ({ result, error: undefined }),
    (error: unknown) => ({ result: undefined, error }),
  );
  return { host, ...outcome };
}

const lines = (files: MemoryFiles) =>
  new TextDecoder()
    .decode(files.content.get(`${FOLDER}/metrics.jsonl`))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, number>);

describe("a train stage", () => {
  test("learns, evaluates before and after, and writes what it should", async () => {
    const files = tinyFiles();
    const { host, error } = await run(tinyProject(), files);
    expect(error).toBeUndefined();
    const evaluations = host.events.filter((e) => e.event === "evaluation");
    expect(evaluations.map((e) => e.step)).toEqual([0, 10, 20, 30, 40]);
    expect(evaluations.at(-1)!.metrics.loss).toBeLessThan(evaluations[0].metrics.loss / 3);
    expect([...files.content.keys()].filter((name) => name.startsWith(FOLDER)).sort()).toEqual([
      `${FOLDER}/adapter_model.safetensors`,
      ...["adapter_model.safetensors", "optimizer.safetensors", "parameters.safetensors", "peftc_state.json", "trainer_state.json"].map(
        (name) => `${FOLDER}/checkpoint-40/${name}`,
      ),
      `${FOLDER}/finished.json`,
      `${FOLDER}/metrics.jsonl`,
    ]);
    expect(lines(files)).toHaveLength(45);
    expect(host.values.isHeld("lora.a")).toBe(true);
  });

  test("two runs give equal bytes; another seed does not", async () => {
    const [a, b, c] = [tinyFiles(), tinyFiles(), tinyFiles()];
    await run(tinyProject(), a);
    await run(tinyProject(), b);
    await run(tinyProject({ seed: 4 }), c);
    expect(a.content.get(ADAPTER)).toEqual(b.content.get(ADAPTER));
    expect(a.content.get(ADAPTER)).not.toEqual(c.content.get(ADAPTER));
  });

  test("killed at any write and resumed, it ends as one that was not", async () => {
    const whole = tinyFiles();
    await run(tinyProject(), whole);
    let writes = 0;
    await run(
      tinyProject(),
      counting(tinyFiles(), () => void writes++),
    );
    expect(writes).toBeGreaterThan(80);
    for (let dies = 0; dies < writes; dies += 7) {
      const files = tinyFiles();
      let done = 0;
      let dead = false;
      const killed = await run(
        tinyProject(),
        counting(files, () => {
          // a killed process writes nothing more, not even to tidy up
          if (dead || done++ === dies) {
            dead = true;
            throw new Killed();
          }
        }),
      );
      expect(killed.error).toBeInstanceOf(Killed);
      const { error } = await run(tinyProject(), files, { resume: true });
      expect(error).toBeUndefined();
      expect(files.content.get(ADAPTER)).toEqual(whole.content.get(ADAPTER));
      expect(lines(files).map(({ step, loss }) => [step, loss])).toEqual(lines(whole).map(({ step, loss }) => [step, loss]));
    }
  });

  test("an interrupt saves a checkpoint, and resuming goes on from it", async () => {
    const whole = tinyFiles();
    await run(tinyProject(), whole);
    const files = tinyFiles();
    let asked = 0;
    const { error } = await run(tinyProject(), files, {}, { interrupted: () => ++asked > 13 });
    expect(error).toBeInstanceOf(Interrupted);
    // how often a run asks between two updates is its own affair
    const step = Number(new RegExp(`^${FOLDER}/checkpoint-(\\d+)$`).exec((error as Interrupted).checkpoint!)![1]);
    expect(step).toBeGreaterThan(0);
    const { host } = await run(tinyProject(), files, { resume: true });
    expect(host.events.find((e) => e.event === "resume")).toMatchObject({ step });
    expect(files.content.get(ADAPTER)).toEqual(whole.content.get(ADAPTER));
  });

  test("resuming without a checkpoint starts afresh and says so", async () => {
    const { host, error } = await run(tinyProject(), tinyFiles(), { resume: true });
    expect(error).toBeUndefined();
    expect(host.events.find((e) => e.event === "resume")).toMatchObject({ step: 0, from: null });
  });

  test("resuming another run is refused, naming what changed", async () => {
    const files = tinyFiles();
    let asked = 0;
    await run(tinyProject(), files, {}, { interrupted: () => ++asked > 13 });
    const notes = async (project: Project, over: Partial<RunHost> = {}) =>
      (await run(project, files, { resume: true }, over)).error as { code: string; notes: string[] };
    expect(await notes(tinyProject({ batch: 3 }))).toMatchObject({ code: "P0823" });
    expect((await notes(tinyProject({ batch: 3 }))).notes[0]).toBe("spec: batch was 4, is 3");
    expect((await notes(tinyProject({}, { rate: 0.06 }))).notes[0]).toMatch(/^spec: the step computes something else/);
    expect((await notes(tinyProject(), { table: async () => tinyTable(18, 9) })).notes[0]).toBe("data: the rows of random changed");
    expect((await notes(tinyProject(), { version: "1" })).notes[0]).toMatch(/^arithmetic: was reference f64, peftc 0/);
    // and nothing was lost by asking
    expect((await run(tinyProject(), files, { resume: true })).error).toBeUndefined();
  });

  test("a loss that is no number names the operation, its layer and its place", async () => {
    const files = tinyFiles();
    const { error } = await run(tinyProject({}, { blow: true, rate: 3 }), files);
    expect(error).toBeInstanceOf(RunProblem);
    const { problem } = error as RunProblem;
    expect(problem.code).toBe("P0910");
    expect(problem.message).toMatch(/the loss is NaN in step \d+ of stage `train`: .*`log` of m\.layer\.1 gave NaN/);
    expect(problem.span).toEqual({ file: "tiny.peft", start: 10, end: 20 });
    expect(files.content.has(ADAPTER)).toBe(false);
  });

  test("a weight that is no number is named", async () => {
    const project = tinyProject();
    const host = tinyHost(project, tinyFiles());
    host.values.setParam("m.w", Float32Array.of(1, Number.NaN, 0, 0));
    const error = await train(stageOf(project), host, { folder: FOLDER, resume: false }).catch((e: unknown) => e);
    expect((error as RunProblem).problem.message).toMatch(/`m\.w` holds NaN/);
  });

  test("an update in several batches is the update on all their rows", async () => {
    const losses = async (stage: Partial<TrainStage>) => {
      const { host, error } = await run(tinyProject({ steps: 12, evaluate: undefined, ...stage }, { plain: true }), tinyFiles());
      expect(error).toBeUndefined();
      return host.events.flatMap((e) => (e.event === "step" ? [e.loss, e.scalars.grad_norm] : []));
    };
    const whole = await losses({ batch: 6 });
    // 18 rows: updates of 6 rows as 4 + 2, which is also what a short last batch looks like
    for (const stage of [
      { batch: 3, accumulate: 2 },
      { batch: 2, accumulate: 3 },
      { batch: 1, accumulate: 6 },
    ]) {
      const parts = await losses(stage);
      for (const [i, value] of parts.entries()) expect(Math.abs(value - whole[i])).toBeLessThan(1e-6 * Math.max(1e-3, Math.abs(whole[i])));
    }
  });

  test("an update is asked for before the last one's results are there, and after all of that one was asked for", async () => {
    const ways: string[][] = [];
    for (const depth of [1, 2]) {
      const trace: string[] = [];
      const engine = referenceEngine({ depth });
      const open: typeof engine.open = async (built) => {
        const session = await engine.open(built);
        const ask = session.run.bind(session);
        session.run = async (name, inputs, outputs) => {
          trace.push(name);
          const found = await ask(name, inputs, outputs);
          // results take their time
          await new Promise((resolve) => setTimeout(resolve, 2));
          trace.push(`${name} made`);
          return found;
        };
        return session;
      };
      const project = tinyProject({ steps: 3, evaluate: undefined, batch: 3, accumulate: 2 }, { plain: true });
      const { error } = await run(project, tinyFiles(), {}, { engine: { ...engine, open } });
      expect(error).toBeUndefined();
      ways.push(trace);
    }
    const asked = ways.map((trace) => trace.filter((name) => !name.endsWith("made")));
    expect(asked[1]).toEqual(asked[0]);
    const [one, two] = ways.map((trace) => trace.indexOf("update made") - trace.indexOf("update"));
    expect(one).toBe(1);
    // the next update's parts
    expect(two).toBeGreaterThan(2);
  });

  test("the best evaluation's parameters are the result", async () => {
    const files = tinyFiles();
    // the held-out part asks for the opposite, so the first evaluation is the best one
    const held = tinyTable(6, 6, [-0.5, 0.3, -0.2, -0.1]);
    const table: RunHost["table"] = async ({ spec }) => (spec.part === "held" ? held : tinyTable(18, 5));
    const evaluate = { every: 10, data: undefined, metrics: [], best: "loss", stopAfter: 2 };
    const { result, host } = await run(tinyProject({ evaluate }), files, {}, { table });
    expect(result).toMatchObject({ stoppedEarly: true, progress: { step: 20, best: { step: 0 } } });
    expect([...host.values.param("lora.a")]).toEqual([0, 0, 0, 0]);
  });

  test("a full disk leaves nothing half-written", async () => {
    const whole = tinyFiles();
    await run(tinyProject(), whole);
    for (let room = 0; room < 30; room += 3) {
      const files = tinyFiles();
      let left = room;
      const { error } = await run(
        tinyProject(),
        counting(files, (what) => {
          if (what === "write" && left-- <= 0) throw fileFailure("x", "ENOSPC", "");
        }),
      );
      expect(error).toMatchObject({ code: "P0682" });
      for (const name of files.content.keys()) expect(name).not.toMatch(/partial|part$/);
      expect(files.content.has(`${FOLDER}/finished.json`)).toBe(false);
      expect((await run(tinyProject(), files, { resume: true })).error).toBeUndefined();
      expect(files.content.get(ADAPTER)).toEqual(whole.content.get(ADAPTER));
    }
  });

  test("data that cannot serve is refused before anything is written", async () => {
    const files = tinyFiles();
    const before = files.content.size;
    const without = { ...tinyTable(18, 5), columns: new Map([...tinyTable(18, 5).columns].slice(0, 1)) };
    const cases: [Partial<RunHost>, Partial<TrainStage>, string][] = [
      [{ table: async () => tinyTable(0, 1) }, {}, "P0730"],
      [{ table: async ({ spec }) => (spec.part === "held" ? undefined : tinyTable(9, 1)) }, {}, "P0731"],
      [{ table: async () => without }, {}, "P0732"],
      [
        {},
        {
          evaluate: { every: undefined, data: undefined, metrics: [{ name: "bleu", options: {} }], best: undefined, stopAfter: undefined },
        },
        "P0822",
      ],
      [{}, { memory: 10 }, "P0901"],
    ];
    for (const [over, stage, code] of cases) {
      const { error } = await run(tinyProject(stage), files, {}, over);
      expect(error).toMatchObject({ code });
    }
    expect(files.content.size).toBe(before);
  });
});

class Killed extends Error {}

/** Calls `before` ahead of every change to the files. */
function counting(files: MemoryFiles, before: (what: "write" | "other") => void): Files {
  return {
    stat: (path) => files.stat(path),
    list: (folder) => files.list(folder),
    read: (path, offset, length) => files.read(path, offset, length),
    readInto: (path, offset, into) => files.readInto(path, offset, into),
    draft: (path) => {
      const draft = files.draft(path);
      return {
        write: (bytes) => {
          before("write");
          draft.write(bytes);
        },
        commit: () => {
          before("other");
          draft.commit();
        },
        abandon: () => draft.abandon(),
      };
    },
    append: (path, bytes) => {
      before("write");
      files.append(path, bytes);
    },
    remove: (path) => {
      before("other");
      files.remove(path);
    },
    rename: (from, to) => {
      before("other");
      files.rename(from, to);
    },
  };
}
