/** Problems for programs to read: editors, CI, whatever calls `--json`. The shape is a promise; fields may be added. */

import { family } from "../../ground/codes.ts";
import type { Span } from "../../ir/graph.ts";
import { Lines } from "./place.ts";
import type { Problem } from "./problem.ts";
import type { ReadSource } from "./render.ts";

/** A stretch of a file. Offsets and columns count UTF-16 units; lines and columns begin at 1 and are `null` where the file cannot be read. */
interface PlaceJson {
  readonly file: string;
  readonly start: number;
  readonly end: number;
  readonly line: number | null;
  readonly column: number | null;
  readonly endLine: number | null;
  readonly endColumn: number | null;
}

interface ProblemJson {
  /** Stable: `P0312`. */
  readonly code: string;
  /** What the code's family is about: `selectors and roles`. */
  readonly family: string;
  readonly severity: "error" | "warning";
  readonly message: string;
  readonly place: PlaceJson | null;
  readonly label: string | null;
  readonly related: readonly { readonly place: PlaceJson; readonly label: string }[];
  readonly notes: readonly string[];
}

export function problemJson(problem: Problem, source: ReadSource): ProblemJson {
  const { code, severity, message, span, label, related, notes } = problem;
  return {
    code,
    family: family(code),
    severity,
    message,
    place: span === undefined ? null : placeJson(span, source),
    label: label ?? null,
    related: (related ?? []).map((r) => ({ place: placeJson(r.span, source), label: r.label })),
    notes: notes ?? [],
  };
}

function placeJson(span: Span, source: ReadSource): PlaceJson {
  const { file, start, end } = span;
  const text = source(file);
  if (text === undefined) return { file, start, end, line: null, column: null, endLine: null, endColumn: null };
  const lines = new Lines(text);
  const first = lines.position(start);
  const last = lines.position(end);
  return { file, start, end, line: first.line, column: first.column, endLine: last.line, endColumn: last.column };
}
