/** Programs that read nothing but the library. */
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import { compile } from "../../src/compiler/compile.ts";
import type { Host, Project } from "../../src/compiler/project.ts";

export const SPECS = path.resolve(import.meta.dirname, "../../specs");

/** Compiles a text that imports from `std/`; there are no models, tokenizers and adapters on disk. */
export function compileText(text: string): Project {
  const host: Host = {
    readSource: (file) => {
      if (file === "main.peft") return text;
      const at = path.join(SPECS, file);
      return file.startsWith("std/") && statSync(at, { throwIfNoEntry: false }) ? readFileSync(at, "utf8") : undefined;
    },
    readConfig: () => undefined,
    readTensors: () => undefined,
    matchTensors: () => ({ found: new Map(), missing: [], wrongShape: [], leftOver: [] }),
    readTokenizer: () => undefined,
    readAdapter: () => undefined,
  };
  return compile("main.peft", host);
}
