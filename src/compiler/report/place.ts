/** From offsets to lines and columns, and how wide text is on a terminal. */
import type { Span } from "../../ir/graph.ts";

/** A line and column, both from 1. Columns count UTF-16 units, as editors do. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A text that knows where its lines begin. */
export class Lines {
  private readonly starts: number[] = [0];

  constructor(readonly text: string) {
    for (const m of text.matchAll(/\r\n?|\n/g)) this.starts.push(m.index + m[0].length);
  }
  get count(): number {
    return this.starts.length;
  }
  position(offset: number): Position {
    const at = Math.min(Math.max(offset, 0), this.text.length);
    let low = 0;
    let high = this.starts.length - 1;
    while (low < high) {
      const mid = (low + high + 1) >> 1;
      if (this.starts[mid] <= at) low = mid;
      else high = mid - 1;
    }
    return { line: low + 1, column: at - this.starts[low] + 1 };
  }
  /** Text of a line, from 1, without its end. */
  line(n: number): string {
    return this.text.slice(this.starts[n - 1], this.starts[n] ?? this.text.length).replace(/[\r\n]+$/, "");
  }
}

/** The file and line where a span begins, by the text of its file; the file alone where that is not there. */
export function placeOf({ file, start }: Span, source: (file: string) => string | undefined): string {
  const text = source(file);
  return text === undefined ? file : `${file}:${new Lines(text).position(start).line}`;
}

/** A text of some length at most, its middle left out where it is longer. */
export function clipped(text: string, most: number): string {
  if (text.length <= most) return text;
  const half = Math.floor((most - 1) / 2);
  return `${text.slice(0, half)}…${text.slice(text.length - half)}`;
}

/** Columns that a text takes on a terminal: marks that combine take none, East Asian wide forms and pictures two. */
export function width(text: string): number {
  let n = 0;
  for (const c of text) n += /\p{Mn}|\p{Me}|\p{Cf}/u.test(c) ? 0 : wide.test(c) ? 2 : 1;
  return n;
}
const wide =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\u33FF\u3400-\u4DBF\u4E00-\u9FFF\uA000-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]|\p{Emoji_Presentation}|[\u{20000}-\u{3FFFD}]/u;
