/** Values of a method's options out of a configuration, by their mapping. */

import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import { describe, isRecord, type Json, type JsonRecord } from "../files.ts";
import { Pattern } from "../pattern.ts";
import { evaluate } from "./expression.ts";
import type { OptionMapping } from "./mapping.ts";

/** Shape of a parameter of the site by its path; `undefined`: not there. */
type ShapeOf = (param: string) => readonly number[] | undefined;

/**
 * All options of one site. `path` is its place, for patterns; `what` names the file; `ranked`: the file itself says a rank, which must be that of the tensors (P0666). P0661: a field of the wrong kind or an unsound regular expression.
 */
export function readOptions(
  mappings: Readonly<Record<string, OptionMapping>>,
  config: JsonRecord,
  path: string,
  shapeOf: ShapeOf,
  what: string,
  ranked = false,
): Record<string, Json> {
  const options: Record<string, Json> = {};
  for (const [name, mapping] of Object.entries(mappings)) {
    if (ranked) requireRank(mapping, config, path, shapeOf, what);
    const value = readOption(mapping, config, path, shapeOf, what);
    if (value !== undefined) options[name] = value;
  }
  return options;
}

function readOption(mapping: OptionMapping, config: JsonRecord, path: string, shapeOf: ShapeOf, what: string): Json | undefined {
  if (mapping.given !== undefined) return mapping.given;
  if (mapping.computed !== undefined) return evaluate(mapping.computed, config, what);
  if (mapping.first !== undefined) {
    for (const one of mapping.first) {
      const value = readOption(one, config, path, shapeOf, what);
      if (value !== undefined) return value;
    }
    throw new InputError("P0664", `${what}: nothing tells the size of the adapter at \`${path}\``);
  }
  if (mapping.cases !== undefined) {
    const found = mapping.cases.find(([fields]) => Object.entries(fields).every(([field, value]) => same(config[field], value)));
    if (found === undefined) {
      const fields = [...new Set(mapping.cases.flatMap(([names]) => Object.keys(names)))];
      throw new InputError(
        "P0665",
        `${what}: ${fields.map((field) => `${field} = ${JSON.stringify(config[field] ?? null)}`).join(", ")} is not built`,
      );
    }
    return isRecord(found[1]) ? readOption(found[1], config, path, shapeOf, what) : found[1];
  }
  if (mapping.by !== undefined) return own(mapping.values ?? {}, String(config[mapping.by])) ?? mapping.otherwise;
  if (mapping.size !== undefined) {
    const [param, axis, form] = mapping.size;
    const size = shapeOf(param)?.[axis];
    if (size !== undefined) {
      if (mapping.times !== undefined) return size * Number(config[mapping.times]);
      return form === "triangle" ? fromTriangle(size, param, what) : size;
    }
    if (mapping.field === undefined) return undefined;
  }
  if (mapping.complement !== undefined) return complementOf(mapping, mapping.complement, config, path, shapeOf, what);
  const field = mapping.field!;
  let value: Json | undefined = config[field];
  if (mapping.equals !== undefined) return value === mapping.equals;
  if (mapping.matches !== undefined) return typeof value === "string" && new RegExp(mapping.matches).test(value);
  if (mapping.functions !== undefined) {
    if (value === undefined || value === mapping.start) return undefined;
    const known = typeof value === "string" ? own(mapping.functions, value) : undefined;
    if (known === undefined) {
      throw new InputError("P0665", `${what}: ${field} = ${JSON.stringify(value)} is not built`, [
        `known are ${Object.keys(mapping.functions).join(", ")}`,
      ]);
    }
    return known === mapping.start ? undefined : known;
  }
  if (mapping.pattern !== undefined) value = byPattern(config[mapping.pattern], path, `${what}: ${mapping.pattern}`) ?? value;
  if (mapping.named && isRecord(value)) value = Object.entries(value).find(([name]) => path.endsWith(name))?.[1];
  if (mapping.among !== undefined) return Array.isArray(value) ? mapping.among.filter((one) => value.includes(one)) : undefined;
  if (mapping.numeric && typeof value !== "number") return undefined;
  if (mapping.negated) {
    if (typeof value !== "boolean") throw new InputError("P0661", `${what}: ${field} is ${describe(value)} where true or false is wanted`);
    return !value;
  }
  if (value === undefined) throw new InputError("P0661", `${what} lacks ${field}`);
  return value;
}

/** P0666: the configuration says another rank than the tensors have: the scale is made of it, and which was meant cannot be known. */
function requireRank(
  { field, pattern, size, times }: OptionMapping,
  config: JsonRecord,
  path: string,
  shapeOf: ShapeOf,
  what: string,
): void {
  if (field !== "r" || size === undefined || size[2] !== undefined || times !== undefined) return;
  const there = shapeOf(size[0])?.[size[1]];
  const said = (pattern === undefined ? undefined : byPattern(config[pattern], path, `${what}: ${pattern}`)) ?? config.r;
  if (there === undefined || typeof said !== "number" || said === there) return;
  throw new InputError("P0666", `${what} says r = ${said}, and \`${size[0]}\` at \`${path}\` has rank ${there}`, [
    "the scale is alpha over the rank, so it cannot be known which was meant: set r (or rank_pattern) to what it was trained with",
  ]);
}

/** How many directions two parameters leave out. P0666: the configuration says another number, of them or as a share. */
function complementOf(
  { field, pattern, searched }: OptionMapping,
  [left, right]: readonly [string, string],
  config: JsonRecord,
  path: string,
  shapeOf: ShapeOf,
  what: string,
): Json {
  const [rows, rank] = shapeOf(left) ?? [];
  const columns = shapeOf(right)?.[1];
  const all = Math.min(rows, columns ?? rows);
  const said =
    (pattern === undefined ? undefined : byPattern(config[pattern], path, `${what}: ${pattern}`, searched)) ?? config[field!] ?? null;
  // Python tells 1 from 1.0, here either may be meant
  const meant =
    said === null
      ? [Math.floor(all / 2)]
      : [Math.min(all, Math.trunc(Number(said))), ...(Number(said) <= 1 ? [Math.floor(all * Number(said))] : [])];
  if (!meant.includes(all - rank))
    throw new InputError(
      "P0666",
      `${what} says ${field} = ${JSON.stringify(said)}, and \`${left}\` at \`${path}\` leaves ${all - rank} of ${all}`,
    );
  return all - rank;
}

const same = (a: Json | undefined, b: Json | undefined): boolean => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);

function fromTriangle(entries: number, param: string, what: string): number {
  const size = (1 + Math.sqrt(1 + 8 * entries)) / 2;
  if (!Number.isInteger(size))
    throw new InputError("P0666", `${what}: \`${param}\` has rows of ${entries} entries, which no triangle of a square has`);
  return size;
}

/** peft's rule: the first key that, as a regular expression, fits the end of the path from a dot on; `searched`: any part of it. */
function byPattern(patterns: Json | undefined, path: string, what: string, searched = false): Json | undefined {
  if (patterns === undefined || patterns === null) return undefined;
  if (!isRecord(patterns)) throw new InputError("P0661", `${what} is ${describe(patterns)} where an object is wanted`);
  for (const [key, value] of Object.entries(patterns))
    if (regex(searched ? `^.*(?:${key})` : `^(?:.*\\.)?(?:${key})$`, what).test(path)) return value;
  return undefined;
}

/** Patterns that were read: one is asked for many paths. */
const patterns = new Map<string, Pattern>();

/** A regular expression of Python's, where it means the same here, matched in bounded time. P0661: one that cannot be read. */
export function regex(text: string, what: string): Pattern {
  const known = patterns.get(text);
  if (known) return known;
  try {
    const made = new Pattern(text);
    if (patterns.size > 1000) patterns.clear();
    patterns.set(text, made);
    return made;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InputError("P0661", `${what}: the regular expression ${JSON.stringify(text)} cannot be read: ${error.message}`);
  }
}
