import { InputError, type Span } from "../../ir/graph.ts";
import type { Problem } from "../report/problem.ts";

/** Carries a user's mistake from where it is found to the statement that collects it. Never leaves the compiler. */
export class Fault extends Error {
  override readonly name = "Fault";
  /** Expressions that were being evaluated, the innermost first. */
  readonly through: Span[] = [];
  constructor(
    readonly problem: Problem,
    /** Whether it only follows from a mistake that was reported already. */
    readonly follows = false,
  ) {
    super(problem.message);
  }
}

/** Runs what reads a file; what is wrong with the file becomes an error at the place that names it. */
export function reading<T>(span: Span | undefined, work: () => T): T {
  try {
    return work();
  } catch (e) {
    if (!(e instanceof InputError)) throw e;
    fail(e.code, span, e.message, { notes: e.notes });
  }
}

export interface Details {
  readonly label?: string;
  readonly notes?: readonly string[];
  readonly related?: readonly { readonly span: Span; readonly label: string }[];
}

/** Stops the statement at hand with an error at `span`. */
export function fail(code: string, span: Span | undefined, message: string, details: Details = {}): never {
  throw new Fault({ code, severity: "error", message, span, ...details });
}
