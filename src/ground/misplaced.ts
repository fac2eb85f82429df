/** What an adapter's configuration says of its places, beside where its tensors are. */
import type { AdapterFile } from "./adapter.ts";
import type { Span } from "./span.ts";

interface Warning {
  readonly code: "P0608";
  readonly severity: "warning";
  readonly message: string;
  readonly span: Span;
  readonly notes: readonly string[];
}

/** A module with the shape of its weight, and all that it may be called. */
export interface Weighted {
  readonly path: string;
  readonly kinds: readonly string[];
  readonly shape: readonly number[];
}

/** What `all-linear` means: every product but the one to the words. */
export const linearOf = (modules: readonly Weighted[], words: unknown): string[] =>
  modules
    .filter(({ kinds, shape }) => kinds.includes("Linear") && !(typeof words === "number" && shape.includes(words)))
    .map(({ path }) => path);

/** P0608, as warnings. `modules`: the model's, `words`: how many its vocabulary has, if it has one. */
export function misplaced(folder: string, file: AdapterFile, modules: readonly Weighted[], words: unknown, span: Span): Warning[] {
  const weighted = modules.filter(({ shape }) => shape.length > 1);
  const found = file.elsewhere?.(
    weighted.map(({ path }) => path),
    linearOf(weighted, words),
  );
  if (found === undefined) return [];
  const some = (paths: readonly string[]) => `\`${paths[0]}\`${paths.length > 1 ? ` and ${paths.length - 1} more` : ""}`;
  const { missing, extra, unsaved } = found;
  const said: readonly (readonly [readonly string[], string, string])[] = [
    [missing, `target_modules names ${some(missing)}, and the weights have nothing for it`, "nothing is adapted there, as in PEFT"],
    [extra, `the weights have tensors for ${some(extra)}, which target_modules does not name`, "they act here; PEFT passes over them"],
    [
      unsaved,
      `modules_to_save names ${some(unsaved)}, and the weights have nothing for it`,
      "the base's is taken; PEFT ends with an error at it",
    ],
  ];
  return said.flatMap(([paths, message, note]) =>
    paths.length === 0
      ? []
      : [{ code: "P0608" as const, severity: "warning" as const, message: `${folder}: ${message}`, span, notes: [note] }],
  );
}
