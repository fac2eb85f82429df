/** Templates over the columns of a row: `"{premise} ? {mask} , {hypothesis|lower_first}"`. `{{` and `}}` stand for braces. */
import { InputError } from "../../ir/errors.ts";

export interface Slot {
  readonly column: string;
  readonly filters: readonly string[];
  /** A column that may be missing or empty, and what follows it where it is not. */
  readonly behind?: string;
}
/** Text, a column's value, or the place of the mask. */
export type Piece = string | Slot | typeof MASK;
const MASK = Symbol("mask");

export interface Template {
  readonly source: string;
  readonly pieces: readonly Piece[];
}

/** What may stand behind `|`: one row a filter. */
const FILTERS: Readonly<Record<string, (text: string) => string>> = {
  /** Without the punctuation at the end. */
  chop: (text) => text.trimEnd().replace(/[.,;:!?…。！？]+$/u, ""),
  lower_first: (text) => changeFirst(text, (first) => first.toLowerCase()),
  upper_first: (text) => changeFirst(text, (first) => first.toUpperCase()),
  lower: (text) => text.toLowerCase(),
  strip: (text) => text.trim(),
};

function changeFirst(text: string, change: (first: string) => string): string {
  const first = text.codePointAt(0);
  if (first === undefined) return text;
  const character = String.fromCodePoint(first);
  return change(character) + text.slice(character.length);
}

/** P0704: a brace without its other, an empty name, an unknown filter, more than one mask. */
export function parseTemplate(source: string): Template {
  const bad = (what: string, ...notes: string[]) => new InputError("P0704", `the template ${JSON.stringify(source)}: ${what}`, notes);
  const pieces: Piece[] = [];
  let text = "";
  const flush = () => {
    if (text !== "") pieces.push(text);
    text = "";
  };
  for (let at = 0; at < source.length; ) {
    const char = source[at];
    if ((char === "{" || char === "}") && source[at + 1] === char) {
      text += char;
      at += 2;
    } else if (char === "}") throw bad(`the } at ${at + 1} closes nothing`, "write }} for a brace");
    else if (char === "{") {
      const end = source.indexOf("}", at);
      if (end < 0) throw bad(`the { at ${at + 1} is not closed`, "write {{ for a brace");
      flush();
      pieces.push(slot(source.slice(at + 1, end), bad));
      at = end + 1;
    } else {
      text += char;
      at++;
    }
  }
  flush();
  return { source, pieces };
}

function slot(inside: string, bad: (what: string, ...notes: string[]) => InputError): Piece {
  const [column, ...filters] = inside.split("|").map((part) => part.trim());
  if (column === "") throw bad("{} names no column");
  if (column === "mask" && filters.length === 0) return MASK;
  const unknown = filters.find((filter) => FILTERS[filter] === undefined);
  if (unknown !== undefined) throw bad(`there is no filter ${JSON.stringify(unknown)}`, `there are ${Object.keys(FILTERS).join(", ")}`);
  return { column, filters };
}

export function isSlot(piece: Piece): piece is Slot {
  return typeof piece === "object";
}

/** How many masks a template has. */
export const masksOf = (template: Template): number => template.pieces.filter((piece) => piece === MASK).length;

export function hasMask(template: Template): boolean {
  return template.pieces.includes(MASK);
}

/** The text for a row; `value` gives a column's, already filtered; `mask` is the mask token's text. */
export function render(template: Template, value: (slot: Slot) => string, mask: string): string {
  return template.pieces.map((piece) => (typeof piece === "string" ? piece : isSlot(piece) ? value(piece) : mask)).join("");
}

export function applyFilters(text: string, filters: readonly string[]): string {
  return filters.reduce((value, filter) => FILTERS[filter](value), text);
}
