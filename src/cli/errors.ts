/** What went wrong, for people and for programs, and the exit code that says which kind it was. */

import { problemJson } from "../compiler/report/json.ts";
import type { Problem } from "../compiler/report/problem.ts";
import { type ReadSource, renderProblem } from "../compiler/report/render.ts";
import { ProblemsError } from "../compiler/report/unsound.ts";
import { InputError, Limit } from "../ir/errors.ts";
import { TypeMismatch } from "../ir/ops/index.ts";
import { printable } from "../ir/printable.ts";
import { DeviceError } from "../runtime/errors.ts";
import { Interrupted } from "../train/events.ts";
import { RunProblem } from "../train/stages/nonfinite.ts";
import { EXIT } from "./exit.ts";
import type { Io } from "./io.ts";

/** The file has errors; they were reported when this is thrown. */
export class Rejected extends Error {
  override readonly name = "Rejected";
  constructor(
    message: string,
    readonly exit: number = EXIT.mistake,
  ) {
    super(message);
  }
}

/** A mistake in how the command was called: exit code 2. */
export class Usage extends Error {
  override readonly name = "Usage";
  constructor(
    message: string,
    readonly notes: readonly string[] = [],
  ) {
    super(message);
  }
}

/** Reports an error and gives the exit code. */
export function report(error: unknown, io: Io, json: boolean, source: ReadSource): number {
  if (error instanceof Rejected) return error.exit;
  if (error instanceof ProblemsError) {
    reportProblems(error.problems, io, json, error.source);
    return EXIT.mistake;
  }
  if (error instanceof Interrupted) {
    if (json) io.out(line({ event: "interrupted", step: error.step, checkpoint: error.checkpoint ?? null }));
    else io.err(`${error.message}\n${error.checkpoint === undefined ? "" : "go on with --resume\n"}`);
    return EXIT.interrupted;
  }
  if (error instanceof RunProblem) {
    reportProblems([error.problem], io, json, source);
    return EXIT.mistake;
  }
  if (error instanceof InputError) {
    const { code, message, span, notes } = error;
    reportProblems([{ code, severity: "error", message, span, notes }], io, json, source);
    return EXIT.mistake;
  }
  if (error instanceof Limit) {
    const problem: Problem = { code: "P0999", severity: "error", message: `not built yet: ${error.message}`, span: error.span };
    reportProblems([problem], io, json, source);
    return EXIT.mistake;
  }
  if (error instanceof TypeMismatch) {
    reportProblems([{ code: "P0499", severity: "error", message: error.message, span: undefined }], io, json, source);
    return EXIT.mistake;
  }
  if (error instanceof DeviceError) {
    plain("device", error.message, error.notes, io, json);
    return EXIT.device;
  }
  if (error instanceof Usage) {
    plain("usage", error.message, error.notes, io, json);
    return EXIT.usage;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  plain("bug", text, ["this is a mistake of peftc, not yours: please report it with the file and the command"], io, json);
  return EXIT.bug;
}

function plain(kind: string, message: string, notes: readonly string[], io: Io, json: boolean): void {
  if (json) io.out(line({ event: "error", kind, message, notes }));
  else io.err(printable(`${kind === "usage" ? "" : `${kind}: `}${message}\n${notes.map((note) => `   = ${note}\n`).join("")}`, "\n\t"));
}

/** Problems as frames with carets, or an object a line. */
export function reportProblems(problems: readonly Problem[], io: Io, json: boolean, source: ReadSource): void {
  for (const problem of problems) {
    if (json) io.out(line({ event: "problem", ...problemJson(problem, source) }));
    else io.err(`${renderProblem(problem, source, { color: io.color, width: io.columns })}\n`);
  }
}

/** One object as one line of JSON; numbers that JSON has no way to write become null, and what would steer a terminal is written as an escape. */
export const line = (value: unknown): string =>
  `${JSON.stringify(value).replace(/[\u007f-\u009f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)}\n`;
