/** What a run says of weights that it brings in, and of weights that it did not read. */
import { expect, test } from "@jest/globals";
import type { Weights } from "../../src/ir/weights.ts";
import type { Program, Session } from "../../src/runtime/program.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { differences, type Identity, STAMPED } from "../../src/train/identity.ts";
import { loadParams } from "../../src/train/loading.ts";
import type { ValueStore } from "../../src/train/values.ts";

async function told(count: number): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  const weights: Weights = { length: count, fill: () => {}, fillWords: () => {} };
  const values = { count: () => count, weights: () => weights } as unknown as ValueStore;
  const write = async (_kind: string, _name: string, data: Weights) => {
    for (let at = 0; at < count; at += count / 64) await data.fill({ length: count / 64 } as Float32Array, at);
  };
  const program = { params: { a: 0, b: 1, c: 2 } } as unknown as Program;
  await loadParams({ write } as unknown as Session, program, {
    values,
    stage: "train",
    listen: (event) => void events.push(event),
    without: (name) => name === "b",
  });
  return events;
}

test("a large model's loading is told about twenty times, a small one's not at all", async () => {
  expect(await told(1 << 16)).toEqual([]);
  const events = await told(1 << 25);
  expect(events.length).toBeGreaterThan(15);
  expect(events.length).toBeLessThanOrEqual(20);
  expect(events[0]).toEqual({ event: "loading", stage: "train", parameters: expect.any(Number), of: 1 << 26 });
});

test("a run whose weights were not read is told apart by their files, and says so", () => {
  const of = (weights: string): Identity => ({ settings: {}, graph: "", data: {}, weights: { m: weights }, arithmetic: "" });
  expect(differences(of("a"), of("a"))).toEqual([]);
  expect(differences(of("a"), of("b"))).toEqual(["weights: m changed"]);
  expect(differences(of(`${STAMPED}a`), of(`${STAMPED}b`))).toEqual([
    "weights: m changed, going by the size, time and header of its files, which were not read",
  ]);
});
