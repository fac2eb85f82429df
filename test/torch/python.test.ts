/** Which Python is taken, and what is said where it will not do. */
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { findPython } from "../../src/node/torch/python.ts";
import { NoDevice } from "../../src/runtime/errors.ts";

/** A Python that answers as it is told to. */
function python(script: string): string {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "python-")), "python3");
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
  return file;
}
const told = async (PEFTC_PYTHON: string) => {
  const found = await findPython({ PEFTC_PYTHON });
  return found instanceof NoDevice ? [found.message, ...found.notes].join("\n") : found;
};

describe("Python", () => {
  test("none, none with PyTorch, an old one: a sentence, and what installs it", async () => {
    expect(await told("/nowhere/python3")).toMatch(/there is no Python at `\/nowhere\/python3`/);
    const bare = python(`echo "ModuleNotFoundError: No module named 'torch'" >&2; exit 1`);
    expect(await told(bare)).toMatch(/has no PyTorch\n.* -m pip install "torch>=2.4" installs it/);
    expect(await told(python("echo /usr/bin/python3; echo 2.3.1"))).toMatch(/PyTorch 2.3.1 of .* is too old: 2.4 is the oldest/);
  });
  test("one that will do", async () => {
    const file = python("echo /usr/bin/python3; echo 2.10.0+cpu");
    expect(await told(file)).toEqual({ path: file, torch: "2.10.0+cpu" });
  });
});
