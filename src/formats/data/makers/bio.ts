/** `bio`: a class for each word of a text: B where a phrase begins, I inside one, O elsewhere. Every occurrence counts; later phrases win where two overlap. */
import { mapRows } from "../source.ts";
import { innerSpec, type Maker, stringOption, wrong } from "../spec.ts";
import { keysOf, occurrences, phrasesOf, stemOption, textOfRow } from "./phrases.ts";

/** Numbers of the classes. */
export const BIO = { B: 0, I: 1, O: 2 } as const;
const COLUMN = "word classes";

export const bio: Maker = {
  source(spec, kitchen) {
    const column = stringOption(spec, "phrases");
    if (column === undefined) throw wrong(spec, "`phrases`", column, "the name of a column");
    const stem = stemOption(spec, "none");
    const source = kitchen.source(innerSpec(spec));
    if (source === undefined) return undefined;
    const marked = mapRows(source, (row) => {
      const words = keysOf(textOfRow(row, source, spec), stem);
      const classes: number[] = words.map(() => BIO.O);
      for (const phrase of phrasesOf(row, column, source.file)) {
        const keys = keysOf(phrase, stem);
        for (const at of occurrences(keys, words)) for (let i = 0; i < keys.length; i++) classes[at + i] = i === 0 ? BIO.B : BIO.I;
      }
      return { ...row.values, [COLUMN]: classes };
    });
    if (marked.plan.kind !== "text") throw wrong(spec, "argument 1", spec.args[0], "a table of texts");
    const unread = (marked.unread ?? []).filter((name) => name !== column);
    return { ...marked, unread, plan: { ...marked.plan, target: undefined, wordTags: COLUMN } };
  },
};
