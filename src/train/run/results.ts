/** Numbers that stages left in a run's folder, for stages and files that come later. */
import { describe, type Files, isRecord, joinPath, readRecord } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import type { Scalars } from "../events.ts";
import { MARKER } from "./folders.ts";

/** What a finished run's mark says of it. P0831: not numbers by name. */
export function resultsIn(files: Files, folder: string): Scalars {
  const path = joinPath(folder, MARKER);
  const { results } = readRecord(files, path);
  return results === undefined ? {} : numbersOf(results, path);
}

/** What an `evaluate` or a `score` stage measured. P0831: not numbers by name. */
export const metricsIn = (files: Files, path: string): Scalars => numbersOf(readRecord(files, path), path);

function numbersOf(value: unknown, path: string): Scalars {
  if (!isRecord(value)) throw new InputError("P0831", `\`${path}\` has ${describe(value)} as its results`, REMEDY);
  const odd = Object.entries(value).find(([, number]) => typeof number !== "number");
  if (odd !== undefined) throw new InputError("P0831", `\`${path}\`: ${odd[0]} is ${describe(odd[1])} where a number is wanted`, REMEDY);
  return value as Scalars;
}
const REMEDY = ["it is not as the stage wrote it: run the file again"];
