/**
 * What objectives train of their own (a CRF's transitions): `objectives.safetensors` beside an adapter or a model, a file that no other tool looks at. Its keys are the
 * parameters' names: that of the objective in the file, a dot, the path.
 */
import { type Files, joinPath } from "../files.ts";
import { openSafetensors, type TensorStore } from "../safetensors/read.ts";
import { writeSafetensors } from "../safetensors/write.ts";
import type { OutParam } from "./out.ts";

const OBJECTIVES_FILE = "objectives.safetensors";

/** Writes them by name; without any there is no file afterwards, an older one neither. */
export function writeObjectives(files: Files, folder: string, params: Readonly<Record<string, OutParam>>): void {
  const path = joinPath(folder, OBJECTIVES_FILE);
  const out = Object.entries(params).map(([name, { shape, values, dtype = "F32" }]) => ({ name, shape, dtype, values }));
  if (out.length > 0) writeSafetensors(files, path, out);
  else files.remove(path);
}

/** `undefined`: there are none. */
export function openObjectives(files: Files, folder: string): TensorStore | undefined {
  const path = joinPath(folder, OBJECTIVES_FILE);
  return files.stat(path)?.kind === "file" ? openSafetensors(files, path) : undefined;
}
