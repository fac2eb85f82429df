/**
 * What tests of the torch backend share: a Python with PyTorch, or a count of the tests that were not run for want of one. The count is written where
 * `test/support/torch-report.js` finds it, whose lines are the suite's last.
 */
import { appendFileSync } from "node:fs";
import { test } from "@jest/globals";
import { findPython } from "../../src/node/torch/python.ts";
import { NoDevice } from "../../src/runtime/errors.ts";

const found = await findPython();
export const hasTorch = !(found instanceof NoDevice);

/** `test`, where PyTorch is there; elsewhere the test is counted as not run. */
export function torchTest(name: string, run: () => Promise<void>, timeout = 240_000): void {
  if (hasTorch) test(name, run, timeout);
  else test.skip(name, run);
  record(hasTorch ? "run" : "missing");
}
function record(what: "run" | "missing"): void {
  const file = process.env.PEFTC_TORCH_COUNT;
  if (file) appendFileSync(file, `${what}\n`);
}
