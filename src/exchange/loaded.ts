/** An adapter's folder with its values, as it would be saved: whatever layout it came in. */
import type { Project } from "../compiler/project.ts";
import { isCombination } from "../formats/adapters/combine.ts";
import type { AdapterFolder } from "../formats/adapters/folder.ts";
import type { OutAdapter } from "../formats/adapters/out.ts";
import { readAdapter } from "../formats/adapters/read.ts";
import type { Workspace } from "../node/workspace.ts";
import { outAdapters } from "../train/run/artefacts.ts";
import { ValueStore } from "../train/values.ts";
import { type Base, baseOf, type OwnPrograms } from "./base.ts";

export interface LoadedAdapter {
  readonly folder: AdapterFolder;
  readonly base: Base;
  readonly project: Project;
  readonly adapter: OutAdapter;
}

/**
 * Attaches the adapter to its base. `given`: the base's folder, where it is not the one that the adapter names. `call`: what is attached in its place, made of it and others.
 */
export function loadOnBase(
  workspace: Workspace,
  programs: OwnPrograms,
  folder: string,
  given: string | undefined,
  call?: string,
): LoadedAdapter {
  const { files, sources } = workspace;
  const read = readAdapter(files, folder, sources.mappings)!;
  const base = programs.base(given ?? baseOf(files, folder, read.base), read.taskType);
  const text = `${base.imported}\n${base.made}\nattach adapter = ${call ?? `load("${programs.relative(folder)}")`} to ${base.name}\n`;
  const project = programs.sound(text);
  const values = new ValueStore(project, programs.sources(text).open);
  const heads = [...project.params.values()]
    .filter(
      (p) =>
        p.owner.kind === "model" &&
        (call === undefined ? Object.hasOwn(read.heads, p.path) : p.source.kind === "file" && isCombination(p.source.folder)),
    )
    .map((p) => p.name);
  const parts = { attachments: project.attachments.map((a) => a.name), heads };
  const [{ adapter }] = outAdapters(project, files, sources.mappings, parts, (name) => values.param(name));
  // the adapter goes on naming its base as it did
  return { folder: read, base, project, adapter: { ...adapter, base: { ...adapter.base, name: read.base ?? adapter.base.name } } };
}
