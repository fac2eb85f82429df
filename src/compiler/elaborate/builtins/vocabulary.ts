import type { DatasetSpec } from "../../project.ts";
import { Dataset, describe, Fields, Tokenizer, type Value } from "../values.ts";
import { BuiltinTable, type Call } from "./table.ts";

export const vocabulary = new BuiltinTable("Vocabularies cut to what texts use");

/** Texts of a table, or of a mix of them. */
function texts(spec: DatasetSpec, c: Call): string[] {
  if (spec.make === "mix") return (spec.args[0] as readonly DatasetSpec[]).flatMap((s) => texts(s, c));
  const [path] = spec.args;
  if (spec.make !== "text" || typeof path !== "string")
    return c.fail("P0205", `\`${c.name}\` counts the tokens of texts, this table is made by \`${spec.make}\``);
  const text = c.evaluator.readText(path);
  if (text === undefined) return c.fail("P0701", `there is no file ${path}`);
  return [text];
}

// the tokens that occur most in each table, the first of the vocabulary, and the special ones; in the order of their numbers
vocabulary.add(
  "frequent",
  "Numbers of the tokens that occur most in each table, the first `first` of the vocabulary and the special ones, in order.",
  [{ name: "tokenizer" }, { name: "tables" }, { name: "first", optional: true }, { name: "special", optional: true }],
  (args, c) => {
    const { tokenizer } = args;
    if (!(tokenizer instanceof Tokenizer)) return c.fail("P0205", `\`frequent\` takes a tokenizer, this is ${describe(tokenizer!)}`);
    const kept = new Set<number>(Array.from({ length: args.first === undefined ? 0 : c.int(args.first, "first") }, (_, i) => i));
    if (args.special === true) for (const id of Object.values(tokenizer.ids)) kept.add(id);
    for (const entry of c.list(args.tables, "tables")) {
      const data = entry instanceof Fields ? entry.entries.get("data") : undefined;
      const most = entry instanceof Fields ? entry.entries.get("most") : undefined;
      if (!(data instanceof Dataset) || typeof most !== "number")
        return c.fail("P0205", "each entry is `{ data: a table, most: how many }`");
      const counts = new Map<number, number>();
      for (const text of texts(data.spec, c))
        for (const line of text.split("\n")) for (const id of tokenizer.facts.encode(line)) counts.set(id, (counts.get(id) ?? 0) + 1);
      for (const [id] of [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]).slice(0, most)) kept.add(id);
    }
    return [...kept].sort((a, b) => a - b);
  },
);
// the same tokenizer with these tokens alone, numbered in their order
vocabulary.add(
  "reduced",
  "The same tokenizer with these tokens alone, numbered in their order.",
  [{ name: "tokenizer" }, { name: "kept" }],
  ({ tokenizer, kept }, c): Value => {
    if (!(tokenizer instanceof Tokenizer)) return c.fail("P0205", `\`reduced\` takes a tokenizer, this is ${describe(tokenizer!)}`);
    const numbers = c.list(kept, "kept").map((id) => c.int(id, "kept"));
    const gone = numbers.find((id) => id < 0 || id >= tokenizer.size);
    if (gone !== undefined) return c.fail("P0205", `the tokenizer has ${tokenizer.size} tokens, none is ${gone}`);
    const { kept: own } = tokenizer;
    return new Tokenizer(tokenizer.folder, tokenizer.facts.reduced(numbers), own === undefined ? numbers : numbers.map((id) => own[id]));
  },
);
