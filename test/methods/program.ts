/** Programs over the library and files in memory, with their values. */
import { readFileSync } from "node:fs";
import { compile } from "../../src/compiler/compile.ts";
import type { Mappings } from "../../src/formats/adapters/mapping.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { Sources } from "../../src/train/compiler-host.ts";
import { ValueStore } from "../../src/train/values.ts";

export function programOf(text: string, mappings: Mappings, files = new MemoryFiles()) {
  const sources = new Sources(files, { source: (path) => readFileSync(`specs/${path}`, "utf8") }, mappings, new Map([["main.peft", text]]));
  const p = compile("main.peft", sources);
  return { p, sources, values: new ValueStore(p, sources.open) };
}
