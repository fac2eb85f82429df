/** Numbers of parameters: of models, attachments and what a stage trains. */
import type { AttachmentReport, ModelReport, Project } from "../compiler/project.ts";
import { elements } from "../train/values.ts";

/** Elements of parameters by name. */
export const sizeOf = (project: Project, names: Iterable<string>): number =>
  [...names].reduce((sum, name) => sum + elements(project.params.get(name)?.shape ?? [0]), 0);

/** Names of an attachment's parameters, shared ones once. */
const paramsOf = (a: AttachmentReport): string[] => [
  ...new Set([...a.sites.flatMap((site) => Object.values(site.params)), ...Object.values(a.shared)]),
];

/** Numbers of parameters, and of those declared `frozen`: drawn and saved, never trained (tables, buffers). */
export interface Size {
  readonly parameters: number;
  readonly frozen: number;
}
export const modelSize = (project: Project, m: ModelReport): Size => split(project, [...new Set(m.params)]);
export const attachmentSize = (project: Project, a: AttachmentReport): Size => split(project, paramsOf(a));

function split(project: Project, names: readonly string[]): Size {
  const isFrozen = (name: string) => project.params.get(name)?.frozen === true;
  return {
    parameters: sizeOf(
      project,
      names.filter((n) => !isFrozen(n)),
    ),
    frozen: sizeOf(project, names.filter(isFrozen)),
  };
}
