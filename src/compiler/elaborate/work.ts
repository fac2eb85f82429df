import type { Span } from "../../ir/graph.ts";
import { type Limits, limits as standard } from "../limits.ts";
import type { Problem } from "../report/problem.ts";
import { type Fault, fail } from "./fault.ts";

/** Ends compiling at once: the work that one file may ask for is used up, or whoever asked has called it off. Nobody goes on after it. */
export class Stopped extends Error {
  override readonly name = "Stopped";
  constructor(readonly problem: Problem) {
    super(problem.message);
  }
}

/** Compiling is begun anew, with a model whose embedding tables have so many rows. As with `Stopped`, nobody goes on after it. */
export class Grow extends Error {
  override readonly name = "Grow";
  constructor(
    readonly model: string,
    readonly rows: number,
  ) {
    super(`${model} has ${rows} words`);
  }
}

const TRY = [
  "a list, a function or a file that goes on from itself may never come to an end",
  "what is this large on purpose is better made outside and read as data",
];

/** Counts what compiling one file takes. All numbers of `limits` are held here. */
export class Work {
  private steps = 0;
  private depth = 0;
  /** Where the expression stands that was begun last: the place to blame for what carries none. */
  at: Span | undefined;

  constructor(
    readonly limits: Limits = standard,
    /** Asked now and then; true ends compiling. */
    private readonly cancelled: () => boolean = () => false,
  ) {}

  /** Steps taken so far. */
  get taken(): number {
    return this.steps;
  }

  /** Counts `n` steps at `span`. */
  spend(n: number, span: Span | undefined): void {
    const before = this.steps;
    this.steps += n;
    if (this.steps > this.limits.steps) throw this.stopped(span, `compiling this takes more than ${this.limits.steps} steps`);
    if ((before ^ this.steps) >= 4096 && this.cancelled()) {
      throw new Stopped({ code: "P0003", severity: "error", message: "compiling was called off", span });
    }
  }

  /** Begins an expression; `leave` ends it. */
  enter(span: Span): void {
    this.at = span;
    if (++this.depth > this.limits.depth) {
      this.depth--;
      tooDeep(span);
    }
    this.spend(1, span);
  }
  leave(): void {
    this.depth--;
  }

  /** Asked before a list of `n` elements is made. */
  items(n: number, span: Span): void {
    if (n > this.limits.items)
      fail("P0002", span, `a list of ${n} elements is too long`, { label: `at most ${this.limits.items}`, notes: TRY });
    this.spend(n, span);
  }

  /** Asked before a text of `n` characters is put together. */
  text(n: number, span: Span): void {
    if (n > this.limits.text)
      fail("P0002", span, `a text of ${n} characters is too long`, { label: `at most ${this.limits.text}`, notes: TRY });
    this.spend(1 + Math.floor(n / 64), span);
  }

  /** Asked before a table of `n` numbers is written into a graph. */
  constants(n: number, span: Span | undefined): void {
    if (n > this.limits.constants)
      fail("P0002", span, `a table of ${n} numbers in a graph is too large`, { label: `at most ${this.limits.constants}`, notes: TRY });
    this.spend(Math.floor(n / 16), span);
  }

  private stopped(span: Span | undefined, message: string): Stopped {
    return new Stopped({ code: "P0002", severity: "error", message, span, label: "this is where they ran out", notes: TRY });
  }
}

/** P0002 for what goes on inside itself. */
function tooDeep(span: Span | undefined): never {
  fail("P0002", span, "this goes too deep", {
    label: "it is being worked out inside itself, or waits for a very long row of values",
    notes: TRY,
  });
}

/**
 * What an error that is none of the language's means for the file: the engine's own limits are the file's mistake, said as such; anything else
 * is ours, and says so.
 */
export function unexpected(error: unknown, span: Span | undefined): Problem {
  if (error instanceof RangeError && /call stack/.test(error.message)) {
    try {
      tooDeep(span);
    } catch (fault) {
      return (fault as Fault).problem;
    }
  }
  if (
    error instanceof RangeError &&
    /Invalid (array|string|typed array) length|Array buffer allocation|Map maximum size|Set maximum size/.test(error.message)
  )
    return { code: "P0002", severity: "error", message: `this makes something too large: ${error.message}`, span, notes: TRY };
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return {
    code: "P0004",
    severity: "error",
    message: "the compiler failed here",
    span,
    label: "it was working on this",
    notes: [
      "this is a mistake of peftc, not yours: please report it with the file and the command",
      text.split("\n").slice(0, 6).join("\n"),
    ],
  };
}
