/** A program with errors was to be used. */
import type { Problem } from "./problem.ts";
import { type ReadSource, renderProblems } from "./render.ts";

/** The message is all problems as they are shown to people; `source` reads the texts that they point into. */
export class ProblemsError extends Error {
  override readonly name = "ProblemsError";
  constructor(
    readonly problems: readonly Problem[],
    readonly source: ReadSource,
  ) {
    super(renderProblems(problems, source));
  }
}
