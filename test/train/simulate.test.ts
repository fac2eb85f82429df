/**
 * Operations of a run that change the disk are made to fail, alone and in pairs, over the real file layer; and the run is stopped at every step.
 * Whatever happened, going on gives the bytes of a run that nothing happened to. `npm run simulate` takes every operation with every fault, and draws pairs for longer.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import type { TrainStage } from "../../src/compiler/project.ts";
import type { Files } from "../../src/formats/files.ts";
import { threefry } from "../../src/ir/random.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { claim } from "../../src/node/lock.ts";
import { Interrupted } from "../../src/train/events.ts";
import { train } from "../../src/train/stages/train.ts";
import { type FaultAt, FaultyFiles, Killed, type Kind } from "./support/faults.ts";
import { tinyHost, tinyProject, writeTiny } from "./support/tiny.ts";

const root = mkdtempSync(path.join(tmpdir(), "peftc-simulate-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const RUN = "runs/tiny/train";
const project = () =>
  tinyProject({
    steps: 4,
    checkpoint: { every: 2, keep: 2 },
    evaluate: { every: 2, data: undefined, metrics: [], best: "loss", stopAfter: undefined },
  });
const seconds = Number(process.env.PEFTC_SIMULATE ?? 0);

let folders = 0;
function fresh(): { at: string; files: NodeFiles } {
  const at = path.join(root, String(folders++));
  const files = new NodeFiles(at);
  writeTiny(files);
  return { at, files };
}

async function attempt(files: Files, resume: boolean, interruptAt = -1): Promise<unknown> {
  const p = project();
  let asked = 0;
  const host = tinyHost(p, files, { interrupted: () => asked++ === interruptAt });
  return train((p.actions[0] as { stage: TrainStage }).stage, host, { folder: RUN, resume }).then(
    () => undefined,
    (error: unknown) => error,
  );
}

const result = (at: string): string =>
  ["adapter_model.safetensors", "metrics.jsonl"].map((name) => readFileSync(path.join(at, RUN, name)).toString("hex")).join(" ");

let expected: Promise<{ bytes: string; operations: number }> | undefined;
const reference = () => {
  expected ??= (async () => {
    const { at, files } = fresh();
    const counting = new FaultyFiles(files);
    expect(await attempt(counting, false)).toBeUndefined();
    return { bytes: result(at), operations: counting.operations };
  })();
  return expected;
};

/** A run with these faults, then as many that go on as it takes. */
async function survives(faults: readonly FaultAt[]): Promise<void> {
  const { bytes } = await reference();
  const { at, files } = fresh();
  let error = await attempt(new FaultyFiles(files, faults), false);
  for (let tries = 0; error !== undefined && tries < 3; tries++) {
    expect(error instanceof Killed || (error as { code?: string }).code?.startsWith("P068")).toBe(true);
    error = await attempt(files, true);
  }
  expect({ faults, error, same: result(at) === bytes }).toEqual({ faults, error: undefined, same: true });
  rmSync(at, { recursive: true, force: true });
}

test.each<Kind>(["kill", "torn", "ENOSPC", "EIO"])(
  "%s at operations all over a run",
  async (kind) => {
    const { operations } = await reference();
    expect(operations).toBeGreaterThan(40);
    // in the suite a part of them, another one for each kind; for longer, all
    const [first, step] = seconds > 0 ? [0, 1] : { kill: [0, 5], torn: [1, 4], ENOSPC: [2, 9], EIO: [4, 9] }[kind];
    for (let operation = first; operation < operations; operation += step) await survives([{ operation, kind }]);
  },
  120_000,
);

test(
  "pairs of faults, drawn",
  async () => {
    const { operations } = await reference();
    const kinds: readonly Kind[] = ["kill", "torn", "ENOSPC", "EIO"];
    const until = Date.now() + seconds * 1000;
    for (let i = 0; i < 8 || Date.now() < until; i++) {
      const drawn = threefry(11, i, 0, 0);
      const more = threefry(12, i, 0, 0);
      const faults = [0, 1].map((k) => ({ operation: drawn[k] % operations, kind: kinds[more[k] % 4] }));
      await survives(faults);
    }
  },
  Math.max(60, seconds + 60) * 1000,
);

test("stopped at every step, it goes on to the same bytes", async () => {
  const { bytes } = await reference();
  for (let step = 0; step < 4; step++) {
    const { at, files } = fresh();
    expect(await attempt(files, false, step)).toBeInstanceOf(Interrupted);
    expect(await attempt(files, true)).toBeUndefined();
    expect(result(at)).toBe(bytes);
  }
});

test("a folder is one run's: another is refused, one left by a process that is gone is taken over", () => {
  const { at } = fresh();
  const release = claim(path.join(at, RUN));
  expect(() => claim(path.join(at, RUN))).toThrow(/another run's/);
  release();
  claim(path.join(at, RUN))();
});
