import type { Project, Stage } from "../../compiler/project.ts";

/** The stages of a file, in its order. */
export const stagesOf = (project: Project): Stage[] => project.actions.flatMap((a) => (a.kind === "stage" ? [a.stage] : []));
