/** Four papers in one file, `specs/examples/four_at_once.peft`: each leaves its mark on the one step. */
import { expect, test } from "@jest/globals";
import { run } from "./support.ts";

test("a 4-bit base, growing ranks, a reversible stack and a density loss", async () => {
  const ran = await run("../examples/four_at_once", 13, [
    ["sequence  = 128", "sequence  = 32"],
    ["warmup: 8, every: 4", "warmup: 1, every: 1"],
  ]);
  const [plain, reversible, all] = ran.rows("table") as readonly Readonly<Record<string, number>>[];
  // sixteen matrices: from two ranks each to four, four modules at a time
  for (const row of [plain, reversible, all]) expect(row.ranks).toBe(64);
  // two adapters a layer more
  expect(reversible.trained).toBeGreaterThan(plain.trained);
  expect(all.trained).toBe(reversible.trained);
  // the term changes what is learnt; so few updates say no more of it
  expect(all.dense).not.toBe(reversible.dense);
}, 600_000);
