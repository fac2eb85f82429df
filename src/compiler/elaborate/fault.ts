import type { Code } from "../../ground/codes.ts";
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
    /** Mistakes of the same statement that were found beside it, in order. */
    readonly beside: readonly Fault[] = [],
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

interface Details {
  readonly label?: string | undefined;
  readonly notes?: readonly string[] | undefined;
  readonly related?: readonly { readonly span: Span; readonly label: string }[];
}

/** Stops the statement at hand with an error at `span`. */
export function fail(code: Code, span: Span | undefined, message: string, details: Details = {}): never {
  throw new Fault({ code, severity: "error", message, span, ...details });
}

/** What several checks of one statement find: it is stopped with all of that when they are through. */
export class Faults {
  private readonly found: Fault[] = [];

  /** Runs a check; what it gives, or `undefined` where it found something. `only`: the codes that count. */
  try<T>(check: () => T, only?: ReadonlySet<string>): T | undefined {
    try {
      return check();
    } catch (e) {
      if (!(e instanceof Fault)) throw e;
      const told = [e, ...e.beside].filter(({ problem }) => only === undefined || only.has(problem.code));
      this.found.push(
        ...told.filter(({ problem }) => !this.found.some((f) => f.problem.span === problem.span && f.message === problem.message)),
      );
      return undefined;
    }
  }
  get any(): boolean {
    return this.found.length > 0;
  }
  /** Throws what was found. */
  end(): void {
    const [first, ...rest] = this.found;
    if (first === undefined) return;
    if (rest.length === 0) throw first;
    throw new Fault(first.problem, first.follows, rest);
  }
}

/** Runs all checks of a statement, and stops it with all that they find. */
export function failTogether(checks: readonly (() => void)[]): void {
  const faults = new Faults();
  for (const check of checks) faults.try(check);
  faults.end();
}
