/** Words that stand for classes, whose order numbers the classes of an objective that is given their tokens. */
import type { DatasetSpec, Static } from "../../ground/table.ts";

const words = new WeakMap<object, readonly (readonly string[])[]>();

/** Remembers of which words these tokens are: for each class one or several. */
export function verbalized<T extends object>(tokens: T, of: readonly (readonly string[])[]): T {
  words.set(tokens, of);
  return tokens;
}

export const wordsOf = (tokens: object): readonly (readonly string[])[] | undefined => words.get(tokens);

/** The table with what numbers named labels by these words, where the program gives no `classes`; so too the tables that it is made of. */
export function numberedBy(spec: DatasetSpec, classes: readonly (readonly string[])[] | undefined): DatasetSpec {
  if (classes === undefined) return spec;
  const inside = (value: Static): Static =>
    Array.isArray(value) ? value.map(inside) : isSpec(value) ? (numberedBy(value, classes) as unknown as Static) : value;
  const named = (spec.options.label ?? undefined) !== undefined && (spec.options.classes ?? undefined) === undefined;
  return { ...spec, args: spec.args.map(inside), options: named ? { ...spec.options, words: classes as Static } : spec.options };
}

const isSpec = (value: unknown): value is DatasetSpec =>
  typeof value === "object" && value !== null && "make" in value && "options" in value;
