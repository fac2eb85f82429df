/**
 * Problems for people to read: the code and what is wrong, the place, the line with carets under it, other places that matter, and behind
 * `=` what there is instead.
 */
import type { Span } from "../../ir/graph.ts";
import { printable } from "../../ir/printable.ts";
import { clipped, Lines, width } from "./place.ts";
import type { Problem } from "./problem.ts";

interface RenderOptions {
  /** Colours for terminals; off unless asked for. */
  readonly color?: boolean;
  /** Columns of the terminal: longer lines are cut around their carets. */
  readonly width?: number;
}

/** Text of a file by the name that spans carry. */
export type ReadSource = (file: string) => string | undefined;

type Paint = (text: string) => string;
const plain: Paint = (text) => text;
const ansi =
  (code: string): Paint =>
  (text) =>
    text === "" ? "" : `\u001b[${code}m${text}\u001b[0m`;

interface Colours {
  readonly error: Paint;
  readonly warning: Paint;
  readonly message: Paint;
  readonly quiet: Paint;
  readonly other: Paint;
}
const none: Colours = { error: plain, warning: plain, message: plain, quiet: plain, other: plain };
const some: Colours = { error: ansi("1;31"), warning: ansi("1;33"), message: ansi("1"), quiet: ansi("34"), other: ansi("36") };

/** Characters of a message or note that are shown. */
const LONGEST = 2000;
const shown = (text: string): string => printable(clipped(text, LONGEST));

/** A row of carets under a line. */
interface Mark {
  readonly span: Span;
  readonly label: string;
  readonly sign: "^" | "-";
}

/** One problem, of as many lines as it needs, without an end of line behind the last. */
export function renderProblem(problem: Problem, source: ReadSource, options: RenderOptions = {}): string {
  const colours = options.color ? some : none;
  const limit = Math.max(options.width ?? 120, 40);
  const texts = new Map<string, Lines | undefined>();
  const lines = (file: string): Lines | undefined => {
    if (!texts.has(file)) {
      const text = source(file);
      texts.set(file, text === undefined ? undefined : new Lines(text));
    }
    return texts.get(file);
  };

  const frames = gather(problem, lines);
  const numbers = frames.map((f) => lines(f.file)?.position(f.marks[0].span.start).line ?? 0);
  const gutter = Math.max(2, ...numbers.map((n) => `${n}`.length + 1));
  const out = [`${colours[problem.severity](`${problem.severity} ${problem.code}`)}${colours.message(`: ${shown(problem.message)}`)}`];
  for (const frame of frames) out.push(...renderFrame(frame, lines(frame.file), gutter, limit, colours, problem.severity));
  for (const note of problem.notes ?? []) {
    // a note of several lines keeps its shape
    const [first, ...rest] = clipped(note, LONGEST)
      .split("\n")
      .map((l) => printable(l));
    out.push(`${" ".repeat(gutter)} ${colours.quiet("=")} ${first}`, ...rest.map((l) => `${" ".repeat(gutter)}   ${l}`));
  }
  return out.join("\n");
}

/** All problems, an empty line between two, and a line that counts them. */
export function renderProblems(problems: readonly Problem[], source: ReadSource, options: RenderOptions = {}): string {
  return [...problems.map((p) => renderProblem(p, source, options)), summary(problems)].filter((s) => s !== "").join("\n\n");
}

/** `2 errors, 1 warning`; empty where there is nothing to count. */
export function summary(problems: readonly Problem[]): string {
  const count = (severity: Problem["severity"]): string => {
    const n = problems.filter((p) => p.severity === severity).length;
    return n === 0 ? "" : `${n} ${severity}${n === 1 ? "" : "s"}`;
  };
  return [count("error"), count("warning")].filter((s) => s !== "").join(", ");
}

interface Frame {
  readonly file: string;
  readonly marks: Mark[];
}

/** The problem's place and the related ones; those on one line share its frame. */
function gather(problem: Problem, lines: (file: string) => Lines | undefined): Frame[] {
  const frames: (Frame & { line: number })[] = [];
  const add = (span: Span, label: string, sign: "^" | "-") => {
    const line = lines(span.file)?.position(span.start).line ?? 0;
    const same = frames.find((f) => f.file === span.file && f.line === line && line > 0);
    if (same) same.marks.push({ span, label, sign });
    else frames.push({ file: span.file, line, marks: [{ span, label, sign }] });
  };
  if (problem.span) add(problem.span, shown(problem.label ?? ""), "^");
  for (const r of problem.related ?? []) add(r.span, shown(r.label), problem.span ? "-" : "^");
  return frames;
}

function renderFrame(
  frame: Frame,
  lines: Lines | undefined,
  gutter: number,
  limit: number,
  colours: Colours,
  severity: Problem["severity"],
): string[] {
  const { file, marks } = frame;
  const first = marks[0];
  if (!lines) return [`  ${shown(file)}`, ...(first.label === "" ? [] : [`${" ".repeat(gutter)} ${colours.quiet("|")} ${first.label}`])];
  const { line, column } = lines.position(first.span.start);
  const text = lines.line(line);
  const bar = colours.quiet("|");
  const edge = `${" ".repeat(gutter)} ${bar}`;

  const cut = window(
    text,
    marks.map((m) => extent(m.span, lines, line, text)),
    limit - gutter - 3,
  );
  const out = [
    `  ${colours.quiet(`${shown(file)}:${line}:${column}`)}`,
    `${colours.quiet(`${line}`.padStart(gutter))} ${bar} ${cut.shown}`,
  ];
  for (const mark of marks) {
    const { from, to } = extent(mark.span, lines, line, text);
    const last = lines.position(Math.max(mark.span.end - 1, mark.span.start)).line;
    const label = last > line ? `${mark.label}${mark.label === "" ? "" : " "}(to line ${last})` : mark.label;
    const paint = mark.sign === "^" ? colours[severity] : colours.other;
    const carets = mark.sign.repeat(Math.max(1, cut.column(to) - cut.column(from)));
    out.push(`${edge} ${" ".repeat(cut.column(from))}${paint(`${carets}${label === "" ? "" : ` ${label}`}`)}`);
  }
  return out;
}

/** The part of a span that lies on its first line, as indices into the line. */
function extent(span: Span, lines: Lines, line: number, text: string): { from: number; to: number } {
  const from = lines.position(span.start).column - 1;
  const end = lines.position(span.end);
  return { from, to: end.line > line ? Math.max(text.length, from + 1) : Math.max(end.column - 1, from) };
}

/** A line as it is shown: tabs as two spaces, cut to `room` columns around what is marked. `column` finds an index of the line in it. */
function window(
  text: string,
  marks: readonly { from: number; to: number }[],
  room: number,
): { shown: string; column: (index: number) => number } {
  const clean = (s: string) => s.replaceAll("\t", "  ").replace(/\p{Cc}/gu, "�");
  const whole = clean(text);
  const at = (index: number) => width(clean(text.slice(0, index)));
  if (width(whole) <= room) return { shown: whole, column: at };
  const from = Math.min(...marks.map((m) => m.from));
  const to = Math.max(...marks.map((m) => m.to));
  // as much of what stands before as fits beside the marks
  let start = Math.max(0, from - Math.max(8, Math.floor((room - (to - from)) / 2)));
  if (text.length - start < room) start = Math.max(0, text.length - room + 2);
  const stop = Math.min(text.length, start + room - 2);
  const head = start > 0 ? "…" : "";
  const shown = `${head}${clean(text.slice(start, stop))}${stop < text.length ? "…" : ""}`;
  const edge = width(shown);
  return { shown, column: (index) => Math.min(edge, Math.max(0, width(clean(text.slice(start, Math.max(start, index)))) + head.length)) };
}
