/** Numbers of JSON texts as they were written, where JavaScript would write them otherwise: past 2^53, `40.0`, `1e-05`. */

import type { Json } from "./files.ts";
import { DEEPEST_JSON, isTooNested } from "./json.ts";

/** A number with its spelling. It counts as its `value` where numbers are wanted. */
export class Numeral {
  constructor(readonly text: string) {}

  get value(): number {
    return Number(this.text);
  }
  /** Whether it was written without a point and an exponent. */
  get whole(): boolean {
    return !/[.eE]/.test(this.text);
  }
  toString(): string {
    return this.text;
  }
  toJSON(): number {
    return this.value;
  }
}

/** The number that a value is, if it is one. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return value instanceof Numeral ? value.value : undefined;
}

/** Texts that may hold a number of the kind: many digits, a zero behind a point, an exponent, a minus before zero. */
const SUSPECT = /\d{16}|\.\d*0(?!\d)|\d[eE]|-0/;
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** `JSON.parse`, with `Numeral` for each number whose spelling would be lost. Errors are those of `JSON.parse`. */
export function parseExact(text: string): Json {
  if (isTooNested(text)) throw new SyntaxError(`lists or objects are nested deeper than ${DEEPEST_JSON} levels`);
  const plain = JSON.parse(text) as Json;
  if (!SUSPECT.test(text)) return plain;
  // a name that no text of this one begins with
  let mark = "\uFDD2";
  while (text.includes(mark) || /\\ufdd2/i.test(text)) {
    if (/\\ufdd2/i.test(text)) return plain;
    mark += "\uFDD2";
  }
  const marked = text.replace(TOKENS, (token) => (token.startsWith('"') || String(Number(token)) === token ? token : `"${mark}${token}"`));
  return JSON.parse(marked, (_, value) =>
    typeof value === "string" && value.startsWith(mark) ? new Numeral(value.slice(mark.length)) : value,
  ) as Json;
}
