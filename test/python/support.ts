/** The Python that other libraries' readers are run with: `PEFTC_PYTHON`, else `python3`. Without them tests count as not run, in the last lines. */
import { spawnSync } from "node:child_process";
import { test } from "@jest/globals";

export const PYTHON = process.env.PEFTC_PYTHON || "python3";
export const hasLibraries = spawnSync(PYTHON, ["-c", "import torch, transformers, peft, safetensors"], { stdio: "ignore" }).status === 0;
export const pythonTest = hasLibraries ? test : test.skip;
