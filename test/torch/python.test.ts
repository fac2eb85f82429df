/** Which Python is taken, and what is said where it will not do. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { findPython, type Python, requirePython, requireSeveral, requireShards } from "../../src/node/torch/python.ts";
import { PYTHON_FOLDER } from "../../src/node/torch/worker.ts";
import { NoDevice } from "../../src/runtime/errors.ts";
import { torchTest } from "./support.ts";

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

/** PyTorch as it was before 2.6: streams of processors that record nothing, and `fully_shard` at another place. */
const PLACES = `
import sys, types
import torch
import torch.distributed.fsdp as fsdp
import peftc_runtime
fsdp.fully_shard = "new"
print(peftc_runtime.sharding("cpu"))
torch.cpu.Stream = object
del fsdp.fully_shard
sys.modules["torch.distributed._composable.fsdp"] = types.SimpleNamespace(fully_shard="old")
print(peftc_runtime.sharding("cuda"))
try:
    peftc_runtime.sharding("cpu")
except RuntimeError as error:
    print(error)
`;

describe("Python", () => {
  test("none, none with PyTorch, an old one: a sentence, and what installs it", async () => {
    expect(await told("/nowhere/python3")).toMatch(/there is no Python at `\/nowhere\/python3`/);
    const bare = python(`echo "ModuleNotFoundError: No module named 'torch'" >&2; exit 1`);
    expect(await told(bare)).toMatch(/has no PyTorch\n.* -m pip install "torch>=2.4" installs it/);
    expect(await told(python("echo /usr/bin/python3; echo 2.3.1"))).toMatch(/PyTorch 2.3.1 of .* is too old: 2.4 is the oldest/);
  });
  test("one that will do", async () => {
    const file = python("echo /usr/bin/python3; echo 2.10.0+cpu");
    expect(await told(file)).toEqual({ path: file, torch: "2.10.0+cpu", shards: false });
  });
  test("one that was built without what `torchrun` needs: one process works, several are refused", async () => {
    const file = python('echo /usr/bin/python3; echo 2.6.0; echo False; echo "RuntimeError: built without libuv"');
    const found = (await findPython({ PEFTC_PYTHON: file })) as Python;
    expect(found.alone).toBe("RuntimeError: built without libuv");
    expect(() => requireSeveral(found)).toThrow(/PyTorch 2\.6\.0 of .* cannot start several processes: RuntimeError: built without libuv/);
    requireSeveral((await findPython({ PEFTC_PYTHON: python("echo /usr/bin/python3; echo 2.6.0; echo False; echo torchrun") })) as Python);
  });
  test("parameters are cut in parts where there is a GPU, or streams of processors record events", async () => {
    const old = (await findPython({ PEFTC_PYTHON: python("echo /usr/bin/python3; echo 2.6.0; echo False") })) as Python;
    expect(() => requireShards(old)).toThrow(
      /`--shard fsdp` needs a newer PyTorch where there are no GPUs: processors of 2\.6\.0 record no events/,
    );
    requireShards((await findPython({ PEFTC_PYTHON: python("echo /usr/bin/python3; echo 2.4.1; echo True") })) as Python);
  });
  torchTest("`fully_shard` is found where it was before 2.6 and where it is since; processors of then have none", async () => {
    const { path: command } = await requirePython();
    const { stdout, stderr } = spawnSync(command, ["-c", PLACES], { encoding: "utf8", env: { ...process.env, PYTHONPATH: PYTHON_FOLDER } });
    expect([stderr.replace(/.*Warning.*\n.*\n/g, ""), stdout.trim().split("\n")]).toEqual([
      "",
      ["new", "old", expect.stringMatching(/--shard fsdp needs a newer PyTorch where there are no GPUs/)],
    ]);
  });
});
