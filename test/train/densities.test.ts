/** What a run says of zeros that are skipped. */
import { expect, test } from "@jest/globals";
import type { Density } from "../../src/ground/program.ts";
import type { RunEvent } from "../../src/train/events.ts";
import { sayingDensities } from "../../src/train/stages/densities.ts";

test("a run says when products begin to skip zeros, when others do, and when none does", () => {
  let now: Density[] = [];
  const said: string[] = [];
  const listen = sayingDensities({ densities: () => now }, (e) => {
    if (e.event === "note") said.push(e.message);
  });
  const state = (...list: [number, boolean][]) => list.map(([density, skipping]) => ({ entry: "step", label: "mlp", density, skipping }));
  const step = (n: number, densities: Density[]) => {
    now = densities;
    listen({ event: "step", step: n } as RunEvent);
  };
  step(1, state([0.9, false], [0.5, false]));
  step(2, state([0.9, false], [0.042, true]));
  step(3, state([0.9, false], [0.04, true]));
  step(4, state([0.2, true], [0.04, true]));
  step(5, state([0.6, false], [0.6, false]));
  expect(said).toEqual([
    "step 2: zeros of 1 of 2 tensors are skipped: 4.2 % of their numbers are not zero",
    "step 4: zeros of 2 of 2 tensors are skipped: 4.0 % to 20 % of their numbers are not zero",
    "step 5: zeros are no longer skipped: too many numbers are not zero",
  ]);
});
