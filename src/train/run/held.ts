/** What a folder that is named to take values from has in it. */
import type { Project } from "../../compiler/project.ts";
import { openObjectives } from "../../formats/adapters/objectives.ts";
import { isAdapter } from "../../formats/adapters/read.ts";
import { hasWeights } from "../../formats/checkpoint.ts";
import { type Files, joinPath } from "../../formats/files.ts";
import { listCheckpoints } from "./checkpoint.ts";

type Holding =
  | { readonly kind: "adapters"; readonly folders: readonly string[] }
  | { readonly kind: "checkpoint"; readonly folder: string }
  /** A whole model; what objectives trained and nothing else. */
  | { readonly kind: "model" | "objectives" | "nothing" };

export function holds(files: Files, folder: string): Holding {
  if (files.stat(folder)?.kind !== "folder") return { kind: "nothing" };
  if (isAdapter(files, folder)) return { kind: "adapters", folders: [folder] };
  if (files.stat(joinPath(folder, "parameters.safetensors")) !== undefined) return { kind: "checkpoint", folder };
  const parts = files
    .list(folder)
    .map((name) => joinPath(folder, name))
    .filter((path) => isAdapter(files, path) && !/(^|\/)checkpoint-\d+$/.test(path));
  if (parts.length > 0) return { kind: "adapters", folders: parts };
  const [newest] = listCheckpoints(files, folder);
  if (newest !== undefined) return { kind: "checkpoint", folder: joinPath(folder, `checkpoint-${newest}`) };
  if (hasWeights(files, folder)) return { kind: "model" };
  return { kind: openObjectives(files, folder) === undefined ? "nothing" : "objectives" };
}

export const attachedTo = (project: Project, model: string): string[] =>
  project.attachments.filter((a) => a.model === model).map((a) => `\`${a.name}\``);

/**
 * The model of a file that a folder holds whole, where the file attaches something to it: it is compiled anew as `unattached`, since what was merged would act twice.
 * `undefined`: nothing of the kind.
 */
export function wholeModelOf(project: Project, files: Files, folder: string | undefined): string | undefined {
  const model = project.models.at(-1)?.name;
  if (folder === undefined || model === undefined || holds(files, folder).kind !== "model") return undefined;
  return attachedTo(project, model).length > 0 ? model : undefined;
}
