/** Where a text stops being JSON: engines word this differently, and some leave the place out. */

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[ !#-[\]-\u{10ffff}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/uy;
const ATOM = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null/y;

/** Nesting past which the place is not looked for. */
const DEEPEST = 1000;

interface JsonFault {
  readonly line: number;
  readonly column: number;
  /** `a value is wanted, } was seen`. */
  readonly what: string;
}

/** The first fault; `undefined` where the text is JSON after all (or nested too deep to say). */
export function jsonFault(text: string): JsonFault | undefined {
  let at = 0;
  class Stop {
    constructor(readonly wanted: string) {}
  }
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) return false;
    at += match[0].length;
    return match[0].length > 0;
  };
  const take = (char: string): boolean => {
    skip(SPACE);
    if (text[at] !== char) return false;
    at++;
    return true;
  };
  const list = (close: string, item: () => void): void => {
    if (take(close)) return;
    do item();
    while (take(","));
    if (!take(close)) throw new Stop(`, or ${close} is wanted`);
  };
  const value = (depth: number): void => {
    if (depth > DEEPEST) throw new RangeError("too deep");
    skip(SPACE);
    if (take("[")) list("]", () => value(depth + 1));
    else if (take("{"))
      list("}", () => {
        skip(SPACE);
        if (!skip(STRING)) throw new Stop(text[at] === '"' ? "the string has no sound end" : "a name in double quotes is wanted");
        if (!take(":")) throw new Stop(": is wanted");
        value(depth + 1);
      });
    else if (!skip(STRING) && !skip(ATOM)) throw new Stop(text[at] === '"' ? "the string has no sound end" : "a value is wanted");
  };
  try {
    value(0);
    skip(SPACE);
    if (at === text.length) return undefined;
    throw new Stop("the end is wanted");
  } catch (stop) {
    if (!(stop instanceof Stop)) {
      if (stop instanceof RangeError) return undefined;
      throw stop;
    }
    const before = text.slice(0, at);
    const seen = at >= text.length ? "the text ends" : `${JSON.stringify(text.slice(at, at + 1))} was seen`;
    return {
      line: before.split("\n").length,
      column: at - before.lastIndexOf("\n"),
      what: stop.wanted.startsWith("the string") ? stop.wanted : `${stop.wanted}, ${seen}`,
    };
  }
}

/** Lists and objects inside each other that a file may have: what reads them goes down as deep. */
export const DEEPEST_JSON = 400;

/** Whether a text's brackets, outside of strings, go deeper than any file that is read here may. */
export function isTooNested(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (inString) {
      if (c === 0x5c) i++;
      else if (c === 0x22) inString = false;
    } else if (c === 0x22) inString = true;
    else if (c === 0x5b || c === 0x7b) {
      if (++depth > DEEPEST_JSON) return true;
    } else if (c === 0x5d || c === 0x7d) depth--;
  }
  return false;
}

/** What `strictJson` refuses. */
export class NotStrict extends Error {
  override readonly name = "NotStrict";
}

/**
 * JSON as the readers of fixed formats take it: no name twice in an object, whole numbers without sign, point or exponent, strings that are sound
 * Unicode, little depth. `text` is JSON already. Throws `NotStrict`.
 */
export function requireStrict(text: string, deepest: number): void {
  let at = 0;
  const match = (pattern: RegExp): string => {
    pattern.lastIndex = at;
    const found = pattern.exec(text)?.[0] ?? "";
    at += found.length;
    return found;
  };
  const string = (): string => {
    const value = JSON.parse(match(STRING)) as string;
    if (/\p{Surrogate}/u.test(value)) throw new NotStrict(`the string ${JSON.stringify(value)} is no sound Unicode`);
    return value;
  };
  const value = (depth: number): void => {
    match(SPACE);
    const c = text[at];
    if ((c === "[" || c === "{") && depth >= deepest) throw new NotStrict(`it is nested deeper than ${deepest} levels`);
    if (c === "[") {
      at++;
      match(SPACE);
      if (text[at] === "]") at++;
      else
        do value(depth + 1);
        while (text[at++] === ",");
    } else if (c === "{") {
      at++;
      const names = new Set<string>();
      match(SPACE);
      if (text[at] === "}") at++;
      else
        do {
          match(SPACE);
          const name = string();
          if (names.has(name)) throw new NotStrict(`\`${name}\` is there twice in one object`);
          names.add(name);
          match(SPACE);
          at++; // the colon
          value(depth + 1);
        } while (text[at++] === ",");
    } else if (c === '"') string();
    else {
      const atom = match(ATOM);
      if (/^[-\d]/.test(atom) && (!/^-?\d+$/.test(atom) || atom === "-0"))
        throw new NotStrict(`${atom} stands where a whole number is wanted`);
    }
    match(SPACE);
  };
  value(0);
}

/** `JSON.parse`, with the place of the fault: `line 3, column 7: a value is wanted, "}" was seen`. */
export function parseJson(text: string): { readonly value: unknown } | { readonly fault: string; readonly line: number } {
  if (isTooNested(text)) return { fault: `lists or objects are nested deeper than ${DEEPEST_JSON} levels`, line: 1 };
  try {
    return { value: JSON.parse(text) };
  } catch (error) {
    const fault = jsonFault(text);
    if (fault === undefined) return { fault: error instanceof Error ? error.message : String(error), line: 1 };
    return { fault: `line ${fault.line}, column ${fault.column}: ${fault.what}`, line: fault.line };
  }
}
