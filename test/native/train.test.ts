/** Runs of native kernels from the command line: what they learn, their checkpoints, and what another device makes of these. */
import { join } from "node:path";
import { describe, expect } from "@jest/globals";
import { type Place, peftc, place } from "../cli/support.ts";
import { nativeTest, scratch } from "./support.ts";

const cache = scratch();

async function run(at: Place, argv: readonly string[], interruptAfter?: number) {
  const before = process.env.PEFTC_CACHE;
  process.env.PEFTC_CACHE = join(cache, "peftc");
  try {
    return await peftc(at, ["train", "main.peft", "--json", ...argv], { interruptAfter });
  } finally {
    if (before === undefined) delete process.env.PEFTC_CACHE;
    else process.env.PEFTC_CACHE = before;
  }
}
type Outcome = Awaited<ReturnType<typeof run>>;
const losses = (outcome: Outcome): number[] => outcome.events().flatMap((e) => (e.event === "step" ? [Number(e.loss)] : []));

describe("training by native kernels", () => {
  nativeTest("learns what WebAssembly learns, goes on from its checkpoints with the same bits, and not from another device's", async () => {
    const [whole, other, parts] = [place(), place(), place()];
    const straight = await run(whole, ["--device", "native"]);
    expect([straight.code, straight.err]).toEqual([0, ""]);
    expect(straight.events().find((e) => e.event === "device")).toMatchObject({
      device: expect.stringMatching(/^native, \d+ threads?, \d+ lanes$/),
      reason: "asked for",
    });
    const [a, b] = [losses(straight), losses(await run(other, ["--device", "wasm"]))];
    expect(a.length).toBeGreaterThan(0);
    expect(a).toHaveLength(b.length);
    // adamw makes a step of a key's bias, whose slope is nothing but rounding
    for (const [i, loss] of a.entries()) expect(Math.abs(loss - b[i])).toBeLessThan(i === 0 ? 1e-5 : 5e-3);

    const stopped = await run(parts, ["--device", "native", "--output", "out"], 6);
    expect(stopped.code).toBe(130);
    const moved = await run(parts, ["--device", "wasm", "--output", "out", "--resume"]);
    expect([moved.code, moved.out]).toEqual([
      1,
      expect.stringMatching(/P0823.*arithmetic: was native of \d+ lanes by \w+ \S+.*, is wasm/s),
    ]);
    const resumed = await run(parts, ["--device", "native", "--output", "out", "--resume"]);
    expect(resumed.code).toBe(0);
    expect(parts.bytes("out/adapter_model.safetensors")).toEqual(whole.bytes("runs/main/train/adapter_model.safetensors"));
  });
});
