/** The kinds of failure there are, beside the problems of the language (values with a span): no fourth kind. */
import type { Code } from "../ground/codes.ts";
import type { Span } from "../ground/span.ts";

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

/** A text or bytes that are not what they should be, in words; whoever knows where they are from makes an `InputError` of it. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

/** Bad input found while reading a file: never a stack trace, exit code 1. */
export class InputError extends Error {
  override readonly name = "InputError";
  constructor(
    readonly code: Code,
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
