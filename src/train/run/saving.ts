/** A stage's result where it is to be: in the run's folder, or where `save` points, there whole and never over a result that is not this run's own. */
import type { TrainStage } from "../../compiler/project.ts";
import { asideOf, holdsResult, settle, written } from "../../formats/aside.ts";
import { type Files, joinPath, readRecord, writeJson } from "../../formats/files.ts";
import { InputError } from "../../ir/errors.ts";
import type { RunHost } from "../host.ts";
import { SAVED } from "./folders.ts";

export interface SaveOptions {
  readonly resume: boolean;
  /** Results may take the place of others. */
  readonly force?: boolean;
  /** Where earlier stages of this run saved. */
  readonly mine?: ReadonlySet<string>;
}

/**
 * P0821: where a stage's `save` points lies a result that is not this run's own. `mine`: where earlier stages of this run saved.
 */
export function requireFree(
  files: Files,
  { save, attachments, models }: Pick<TrainStage, "save" | "attachments" | "models">,
  folder: string,
  { force, resume, mine }: SaveOptions,
): void {
  if (save === undefined || isSamePlace(save, folder)) return;
  settle(files, save);
  if (force || mine?.has(save)) return;
  if (!holdsResult(files, save, [...attachments, ...models])) return;
  if (resume && savedIn(files, folder) === save) return;
  throw new InputError("P0821", `\`${save}\`, where \`save\` points, holds a result already`, [
    "--force puts the new one in its place when it is there",
    "or name another folder",
  ]);
}

const isSamePlace = (a: string, b: string): boolean => plainPath(a) === plainPath(b);
const plainPath = (path: string): string =>
  path
    .replace(/\/+/g, "/")
    .replace(/(?:^|\/)\.(?=\/|$)/g, "")
    .replace(/(?<=.)\/$/, "");

/** Where a run's result was saved beside its own folder: it may take the place of what it saved itself. */
const noteSaved = (files: Files, folder: string, save: string): void => writeJson(files, joinPath(folder, SAVED), { folder: save });
function savedIn(files: Files, folder: string): string | undefined {
  if (files.stat(joinPath(folder, SAVED)) === undefined) return undefined;
  const { folder: save } = readRecord(files, joinPath(folder, SAVED));
  return typeof save === "string" ? save : undefined;
}

/** Writes what the stage made, and says where it is and where it loads. `value`: parameters as they are now. */
export async function saveResult(stage: TrainStage, host: RunHost, folder: string, value: (name: string) => Float32Array): Promise<void> {
  const { files, artefacts, listen } = host;
  const made = await host.provenances.of(stage, value);
  const write = (target: string) => ({
    adapter: artefacts.adapter(target, stage, value, made),
    model: artefacts.models(target, stage, value),
  });
  const { save } = stage;
  const beside = save === undefined || isSamePlace(save, folder) ? undefined : save;
  if (beside !== undefined) noteSaved(files, folder, beside);
  const release = beside === undefined ? undefined : host.claim?.(beside);
  try {
    const { adapter, model } = beside === undefined ? write(folder) : written(files, beside, write);
    const final = (at: string) =>
      beside === undefined ? at : at === asideOf(beside) ? beside : joinPath(beside, at.slice(asideOf(beside).length + 1));
    for (const at of adapter) listen({ event: "saved", stage: stage.name, kind: "adapter", folder: final(at) });
    for (const message of artefacts.verdicts(stage, value)) listen({ event: "loads", stage: stage.name, message });
    for (const at of model) listen({ event: "saved", stage: stage.name, kind: "model", folder: final(at) });
  } finally {
    release?.();
  }
}
