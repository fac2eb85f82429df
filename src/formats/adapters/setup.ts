/** How several adapters act together in the adapters library: `adapter_setup.json` above a folder for each. */
import { InputError } from "../../ir/errors.ts";
import { describe, type Files, isRecord, type Json, joinPath, readRecord, writeJson } from "../files.ts";
import type { Mappings } from "./mapping.ts";
import type { OutAdapter } from "./out.ts";
import { LIBRARY_VERSION, writeLibrary } from "./write-library.ts";

export const SETUP_FILE = "adapter_setup.json";

/** An adapter by its name, or some of them together. */
export type Block =
  | string
  | { readonly type: string; readonly children: readonly Block[]; readonly kwargs: Readonly<Record<string, Json>> };

/** P0661: malformed. */
export function readSetup(files: Files, folder: string): Block {
  const path = joinPath(folder, SETUP_FILE);
  const bad = (value: Json | undefined, wanted: string) =>
    new InputError("P0661", `\`${path}\`: adapter_setup holds ${describe(value)} where ${wanted} is wanted`);
  const block = (value: Json | undefined): Block => {
    if (!isRecord(value) || typeof value.type !== "string" || !Array.isArray(value.children)) throw bad(value, "{ type, children }");
    const { type, children, kwargs } = value;
    if (type !== "single") return { type, children: children.map(block), kwargs: isRecord(kwargs) ? kwargs : {} };
    if (typeof children[0] !== "string") throw bad(children[0], "an adapter's name");
    return children[0];
  };
  return block(readRecord(files, path).adapter_setup);
}

/** Names of the adapters, each once. */
export const adaptersOf = (block: Block): string[] =>
  typeof block === "string" ? [block] : [...new Set(block.children.flatMap(adaptersOf))];

/** Writes several, each into a folder of its name, with the setup that puts each on top of those before it. P0670 as in `writeLibrary`. */
export function writeStack(
  files: Files,
  folder: string,
  adapters: readonly (readonly [name: string, OutAdapter])[],
  mappings: Mappings,
): void {
  for (const [name, adapter] of adapters) writeLibrary(files, joinPath(folder, name), adapter, mappings, { name });
  const children = adapters.map(([name]) => ({ type: "single", children: [name] }));
  writeJson(files, joinPath(folder, SETUP_FILE), {
    adapter_setup: { type: "Stack", children },
    head_setup: null,
    version: LIBRARY_VERSION,
  });
}
