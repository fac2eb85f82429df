/** `shuffle_names`: in each row, people's names from a list become other names of that list, the same one by the same other throughout the row. */
import { InputError } from "../../../ir/errors.ts";
import { keyOf, threefry } from "../../../ir/random.ts";
import { type Json, readText } from "../../files.ts";
import { mapRows, type Plan } from "../source.ts";
import { given, innerSpec, type Maker, wrong } from "../spec.ts";
import { isSlot } from "../template.ts";

export const shuffleNames: Maker = {
  source(spec, kitchen) {
    const [, path] = spec.args;
    if (typeof path !== "string") throw wrong(spec, "`names`", path, "the path of a file");
    const { seed } = spec.options;
    if (given(seed) && !Number.isInteger(seed)) throw wrong(spec, "`seed`", seed, "a whole number");
    const names = [
      ...new Set(
        readText(kitchen.files, path)
          .split(/\r?\n/)
          .map((line) => line.trim())
          .filter((line) => line !== ""),
      ),
    ];
    if (names.length < 2) throw new InputError("P0703", `\`${path}\` has ${names.length} names, one a line, where two at least are wanted`);
    const source = kitchen.source(innerSpec(spec));
    if (source === undefined) return undefined;
    const pattern = anyOf(names);
    const numbers = new Map(names.map((name, i) => [name, i]));
    const key = keyOf(Number(seed ?? 0), "names");
    const changes = columnsOf(source.plan);
    return mapRows(source, (row, i) => {
      const others = new Map<string, string>();
      const taken = new Set<number>();
      const other = (name: string): string => {
        const known = others.get(name);
        if (known !== undefined) return known;
        const own = numbers.get(name)!;
        let at = (threefry(key[0], key[1], i, own)[0] >>> 0) % names.length;
        // another name, and not one that stands for somebody else already
        while ((at === own && names.length > taken.size + 1) || taken.has(at)) at = (at + 1) % names.length;
        taken.add(at);
        others.set(name, names[at]);
        return names[at];
      };
      const inside = (value: Json): Json => {
        if (typeof value === "string") return value.replace(pattern, (name) => other(name));
        if (Array.isArray(value)) return value.map(inside);
        if (value === null || typeof value !== "object") return value;
        return Object.fromEntries(
          Object.entries(value).map(([field, part]) => [field, field === "role" || field === "from" ? part : inside(part)]),
        );
      };
      return Object.fromEntries(Object.entries(row.values).map(([column, value]) => [column, changes(column) ? inside(value) : value]));
    });
  },
};

/** Any of the names as whole words, the longer first. */
function anyOf(names: readonly string[]): RegExp {
  const escaped = [...names].sort((a, b) => b.length - a.length).map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`(?<![\\p{L}\\p{N}])(?:${escaped.join("|")})(?![\\p{L}\\p{N}])`, "gu");
}

/** Columns with text that the model reads or is to write; labels and numbers stay. */
function columnsOf(plan: Plan): (column: string) => boolean {
  switch (plan.kind) {
    case "chat":
      return (column) => column === "messages" || column === "conversations";
    case "judged":
    case "pairs":
      return (column) => ["prompt", "chosen", "rejected", "messages"].includes(column);
    case "tokens":
      return () => false;
    case "text": {
      const templates = [...plan.inputs, ...(plan.target === undefined ? [] : [plan.target])];
      const read = new Set(templates.flatMap(({ pieces }) => pieces.filter(isSlot).map(({ column }) => column)));
      return (column) => read.has(column) && column !== plan.label;
    }
  }
}
