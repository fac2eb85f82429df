/** What a run says of weights that it brings in, and of weights that it did not read. */
import { expect, test } from "@jest/globals";
import type { Program, Session } from "../../src/ground/program.ts";
import type { Weights } from "../../src/ground/weights.ts";
import { loadParams } from "../../src/train/engine/loading.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { differences, type Identity, STAMPED } from "../../src/train/run/identity.ts";
import type { ValueStore } from "../../src/train/values.ts";

async function told(count: number): Promise<RunEvent[]> {
  const events: RunEvent[] = [];
  const weights: Weights = { length: count, fill: () => {}, fillWords: () => {} };
  const values = { count: () => count, weights: () => weights } as unknown as ValueStore;
  const write = async (_kind: string, _name: string, data: Weights) => {
    for (let at = 0; at < count; at += count / 64) await data.fill({ length: count / 64 } as Float32Array, at);
    // pieces that begin before the end of the one before
    for (let i = 0; i < 8; i++) await data.fill({ length: count / 64 } as Float32Array, count - count / 64 - i);
  };
  const program = { params: { a: 0, b: 1, c: 2 }, tensors: [0, 1, 2].map(() => ({ arena: "frozen" })) } as unknown as Program;
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
  expect((events.at(-1) as { parameters?: number }).parameters).toBeLessThanOrEqual(1 << 26);
  expect(events[0]).toEqual({ event: "loading", stage: "train", parameters: expect.any(Number), of: 1 << 26 });
});

test("weights that stay in a file are not told about, and are refused once it is another one", async () => {
  let [stamp, read] = ["one", 0];
  const weights: Weights = { length: 8, fill: () => void read++, fillWords: () => void read++ };
  const values = { count: () => 8, weights: () => weights, stamp: () => stamp } as unknown as ValueStore;
  const given: Weights[] = [];
  const session = { write: async (_kind: string, _name: string, data: Weights) => void given.push(data) } as unknown as Session;
  const program = { params: { a: 0 }, tensors: [{ arena: "file" }] } as unknown as Program;
  await loadParams(session, program, { values, stage: "train", listen: () => expect(true).toBe(false) });
  await given[0].fill(new Float32Array(8), 0);
  await given[0].fillWords(new Uint16Array(8), 0, "bf16");
  stamp = "another";
  await expect(given[0].fill(new Float32Array(8), 0)).rejects.toThrow("`a` was changed while a run reads from it");
  await expect(given[0].fillWords(new Uint16Array(8), 0, "bf16")).rejects.toThrow("was changed");
  expect(read).toBe(2);
});

test("a run whose weights were not read is told apart by their files, and says so", () => {
  const of = (weights: string): Identity => ({ settings: {}, graph: "", data: {}, weights: { m: weights }, arithmetic: "" });
  expect(differences(of("a"), of("a"))).toEqual([]);
  expect(differences(of("a"), of("b"))).toEqual(["weights: m changed"]);
  expect(differences(of(`${STAMPED}a`), of(`${STAMPED}b`))).toEqual([
    "weights: m changed, going by the size, time and header of its files, which were not read",
  ]);
});
