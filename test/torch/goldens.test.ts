/** A handful of the goldens through PyTorch; `PEFTC_DEVICE=torch npm test -- golden` runs them all. */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect } from "@jest/globals";
import { torchRewrites } from "../../src/backends/torch/rewrites.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { torchEngine } from "../../src/node/torch/engine.ts";
import type { Engine } from "../../src/train/engine/engine.ts";
import { runCase } from "../support/golden/case.ts";
import { readManifest } from "../support/golden/manifest.ts";
import { hasTorch, torchTest } from "./support.ts";

const here = dirname(fileURLToPath(import.meta.url));
const goldens = readManifest(join(here, "../golden"));
const library = resolve(here, "../../specs");
/** Losses and gradients, a schedule with clipping, an adapter of several families, gradients by an input. */
const NAMES = ["bert-cls", "gpt2-clip-schedule", "lora-llama-qv", "prefix-gpt2", "modules-vlpet-encoder-small"];

describe("goldens in PyTorch", () => {
  let engine: Engine;
  const files = new NodeFiles("/");
  const mappings = readMappings(files, join(library, "std/methods"), join(library, "std/models"));
  beforeAll(async () => {
    if (hasTorch) engine = await torchEngine({ threads: 1 });
  });
  afterAll(() => engine?.close?.());

  for (const name of NAMES)
    torchTest(name, async () => {
      const test = goldens.cases.find((c) => c.name === name)!;
      expect(await runCase({ goldens, files, engine, library, mappings }, test)).toEqual([]);
    });

  for (const { name, optional } of torchRewrites)
    if (optional)
      torchTest(`without the rewrite ${name}`, async () => {
        const test = goldens.cases.find((c) => c.name === "lora-llama-qv")!;
        const without = await torchEngine({ threads: 1, hooks: { without: [name] } });
        try {
          expect(await runCase({ goldens, files, engine: without, library, mappings }, test)).toEqual([]);
        } finally {
          await without.close?.();
        }
      });
});
