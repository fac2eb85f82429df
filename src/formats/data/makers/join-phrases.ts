/** `join_phrases`: a row's phrases as one text to write, those that stand in the row's text first where that is asked. */

import { porterStem } from "../porter.ts";
import { mapRows } from "../source.ts";
import { innerSpec, type Maker, stringOption, wrong } from "../spec.ts";
import { keysOf, occurrences, phrasesOf, textOfRow } from "./phrases.ts";

const COLUMN = "joined phrases";
const ORDERS = ["given", "present-absent"];

export const joinPhrases: Maker = {
  source(spec, kitchen) {
    const column = stringOption(spec, "phrases");
    if (column === undefined) throw wrong(spec, "`phrases`", column, "the name of a column");
    const order = stringOption(spec, "order") ?? "given";
    if (!ORDERS.includes(order)) throw wrong(spec, "`order`", order, `one of ${ORDERS.join(", ")}`);
    const by = stringOption(spec, "by") ?? " ; ";
    const source = kitchen.source(innerSpec(spec));
    if (source === undefined) return undefined;
    const { plan } = source;
    if (plan.kind !== "text") throw wrong(spec, "argument 1", spec.args[0], "a table of texts");
    const joined = mapRows(source, (row) => {
      let phrases = phrasesOf(row, column, source.file);
      if (order === "present-absent") {
        const words = keysOf(textOfRow(row, source, spec), porterStem);
        const present = (phrase: string) => occurrences(keysOf(phrase, porterStem), words).length > 0;
        phrases = [...phrases.filter(present), ...phrases.filter((phrase) => !present(phrase))];
      }
      return { ...row.values, [COLUMN]: phrases.join(by) };
    });
    return {
      ...joined,
      unread: (joined.unread ?? []).filter((name) => name !== column),
      plan: { ...plan, target: { source: `{${COLUMN}}`, pieces: [{ column: COLUMN, filters: [] }] } },
    };
  },
};
