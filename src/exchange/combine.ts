/** Several adapters as one, as the call in a program that says so. */
import type { Combination } from "../formats/adapters/combine.ts";
import type { Files } from "../formats/files.ts";
import { InputError } from "../ir/errors.ts";
import { relativeTo } from "../node/workspace.ts";
import { holds } from "../train/run/held.ts";

/** The call, in a program that lies at `file`. P0672: a folder holds no adapter, or several. */
export function combineCall(files: Files, file: string, folders: readonly string[], { how, weights, ...more }: Combination): string {
  const loads = folders.map((folder) => {
    const held = holds(files, folder);
    if (held.kind !== "adapters" || held.folders.length !== 1)
      throw new InputError("P0672", `\`${folder}\` holds ${held.kind === "adapters" ? "several adapters" : "no adapter"}`, [
        "name the folder of one",
      ]);
    const [own] = held.folders;
    return `load(${JSON.stringify(relativeTo(file, own))})`;
  });
  const rest = Object.entries({ how, ...more }).map(([name, value]) => `, ${name}: ${JSON.stringify(value)}`);
  return `combine([${loads.join(", ")}], [${weights.join(", ")}]${rest.join("")})`;
}
