/** The kinds of failure there are, beside the problems of the language (values with a span): no fourth kind. */
import type { Span } from "./graph.ts";

/** Our own mistake: shown with the pass and the graph, exit code 70. */
export class Bug extends Error {
  override readonly name = "Bug";
}

/** Something the language means but this version does not build yet; exit code 1. */
export class Limit extends Error {
  override readonly name = "Limit";
  constructor(
    message: string,
    readonly span?: Span,
  ) {
    super(message);
  }
}

/** Bad input found while reading a file: never a stack trace, exit code 1. */
export class InputError extends Error {
  override readonly name = "InputError";
  constructor(
    readonly code: string,
    message: string,
    readonly notes: readonly string[] = [],
    /** What in the program asked for it. */
    readonly span?: Span,
  ) {
    super(message);
  }

  /** The same, with a place if it has none. */
  at(span: Span | undefined): InputError {
    return this.span === undefined ? new InputError(this.code, this.message, this.notes, span) : this;
  }
}
