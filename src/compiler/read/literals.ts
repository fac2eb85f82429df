/** Values of numbers and strings as they are written. */
import { own } from "../../ir/own.ts";
import { nearest } from "../suggest.ts";

/** Factors of the units a number may carry. Bytes in powers of 10 and of 2, seconds. */
export const units: Readonly<Record<string, number>> = {
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  s: 1,
  min: 60,
  h: 3600,
};

interface NumberText {
  readonly value: number;
  readonly unit: string | undefined;
  readonly isInt: boolean;
  /** What is wrong with it, with what to try. */
  readonly problem?: { readonly message: string; readonly label: string; readonly notes: readonly string[] };
}

/** Reads `1_000`, `2e-3`, `256MB`. */
export function readNumber(text: string): NumberText {
  const [, digits, rest] = /^([0-9][0-9_]*(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)(.*)$/.exec(text)!;
  const number = Number(digits.replaceAll("_", ""));
  const factor = rest === "" ? 1 : own(units, rest);
  const value = number * (factor ?? 1);
  const isInt = /^[0-9_]+$/.test(digits) || (factor !== undefined && rest !== "" && Number.isInteger(value));
  if (factor === undefined) {
    const guess = Object.keys(units).find((u) => u.toLowerCase() === rest.toLowerCase()) ?? nearest(rest, Object.keys(units));
    const notes = ["units: KB, MB, GB (powers of 10), KiB, MiB, GiB (powers of 2), s, min, h"];
    if (guess !== undefined) notes.push(`did you mean \`${digits}${guess}\`?`);
    else notes.push("a name begins with a letter or `_`");
    return {
      value,
      unit: undefined,
      isInt,
      problem: { message: `\`${text}\` is not a number`, label: `\`${rest}\` is not a unit`, notes },
    };
  }
  if (!Number.isFinite(value))
    return {
      value: Number.MAX_VALUE,
      unit: undefined,
      isInt,
      problem: { message: `\`${text}\` is too large`, label: "beyond the largest float", notes: ["the largest is about 1.8e308"] },
    };
  return { value, unit: rest === "" ? undefined : rest, isInt };
}

const escapes: Readonly<Record<string, string>> = { n: "\n", t: "\t", '"': '"', "\\": "\\" };

interface StringText {
  readonly value: string;
  /** Offsets of escapes that mean nothing, from the start of the text, with their length. */
  readonly unknown: readonly { readonly at: number; readonly length: number }[];
}

/** Resolves escapes of a string's inside, which begins `offset` characters into the token. */
export function readString(inside: string, offset: number): StringText {
  const unknown: { at: number; length: number }[] = [];
  const value = inside.replace(/\\(u\{([0-9A-Fa-f]*)\}|.)?/g, (all, code: string | undefined, hex: string | undefined, at: number) => {
    if (hex && Number.parseInt(hex, 16) <= 0x10ffff) return String.fromCodePoint(Number.parseInt(hex, 16));
    const known = code !== undefined && hex === undefined ? own(escapes, code) : undefined;
    if (known === undefined) unknown.push({ at: at + offset, length: all.length });
    return known ?? all;
  });
  return { value, unknown };
}
