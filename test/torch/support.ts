/**
 * What tests of the torch backend share: they run where there is a Python with PyTorch, and are skipped elsewhere. The suite's last line says how many were
 * (`test/support/torch-reporter.js`), and `.ci/run` fails where PyTorch is there and they were.
 */
import { test } from "@jest/globals";
import { findPython } from "../../src/node/torch/python.ts";
import { NoDevice } from "../../src/runtime/errors.ts";

const found = await findPython();
/** A PyTorch that starts several processes and cuts parameters in parts, as many of these tests do. */
export const hasTorch = !(found instanceof NoDevice) && found.alone === undefined && found.shards;

/** `test`, where PyTorch is there. */
export function torchTest(name: string, run: () => Promise<void>, timeout = 300_000): void {
  if (hasTorch) test(name, run, timeout);
  else test.skip(name, run);
}
