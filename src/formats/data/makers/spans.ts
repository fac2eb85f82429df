/** `spans`: phrases that a tagger found, as texts: the words from a B through the I's behind it. The inverse of `bio`. */
import { InputError } from "../../../ir/errors.ts";
import { frontOf, wordsOf, wordTokens } from "../encode.ts";
import { mapRows, rowsOf } from "../source.ts";
import { innerSpec, isSpec, type Maker, wrong } from "../spec.ts";
import { BIO } from "./bio.ts";
import { textOfRow } from "./phrases.ts";

/** Rows of the table with `phrases`, a list, `answer`, the same joined by ` ; `, and `source`, the text. */
export const spans: Maker = {
  source(spec, kitchen) {
    const tags = spec.args[0];
    if (!isSpec(tags)) throw wrong(spec, "`tags`", tags, "a table of predictions");
    const source = kitchen.source(innerSpec(spec, 1));
    if (source === undefined) return undefined;
    const table = kitchen.table(tags);
    const scores = table?.columns.get("logits");
    const decoded = table?.columns.get("decoded");
    if (table === undefined || (scores?.rank !== 2 && decoded?.rank !== 1))
      throw new InputError(
        "P0703",
        "`spans` takes predictions with a column `logits`, a row of scores for each token, or `decoded`, a class for each",
        ['such as `predict tags { …  columns = ["logits"] }`'],
      );
    /** The class of a token; 2 behind the end. A row of tags that was decoded as a whole goes before scores. */
    const classAt = (row: number, place: number): number => {
      if (decoded?.rank === 1) return decoded.row(row)[place] ?? BIO.O;
      const [tokens, width] = scores!.shape(row);
      return place < tokens ? best(scores!.row(row), place, width) : BIO.O;
    };
    const rows = rowsOf(source);
    if (table.rows !== rows.length)
      throw new InputError("P0703", `${table.name} has ${table.rows} rows, but the texts that \`spans\` reads are ${rows.length}`);
    const words = kitchen.words("`spans`");
    const front = frontOf(words);
    const found = rows.map((row, i) => {
      const text = textOfRow(row, source, spec);
      const tokens = wordTokens(wordsOf(text), words);
      const ids = table.columns.get("input_ids")?.row(i);
      let at = front;
      const classes = tokens.map((pieces) => {
        const place = at;
        at += pieces.length;
        if (ids !== undefined && place < ids.length - 1 && ids[place] !== pieces[0])
          throw new InputError(
            "P0703",
            `\`${source.file}\`, line ${row.line}: its tokens do not fall into its words, so no word's class can be told`,
          );
        return classAt(i, place);
      });
      return phrasesIn(wordsOf(text), classes);
    });
    const part = { ...source, rows, part: [0, rows.length] as const };
    return mapRows(part, (row, i) => ({
      ...row.values,
      phrases: found[i],
      answer: found[i].join(" ; "),
      source: textOfRow(row, source, spec),
    }));
  },
};

function best(scores: ArrayLike<number>, row: number, width: number): number {
  let at = 0;
  for (let i = 1; i < width; i++) if (scores[row * width + i] > scores[row * width + at]) at = i;
  return at;
}

/** An I that follows no phrase begins one. */
function phrasesIn(words: readonly string[], classes: readonly number[]): string[] {
  const found: string[][] = [];
  words.forEach((word, i) => {
    if (classes[i] === BIO.O) return;
    if (classes[i] === BIO.B || i === 0 || classes[i - 1] === BIO.O) found.push([]);
    found.at(-1)!.push(word.replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, ""));
  });
  return [...new Set(found.map((phrase) => phrase.join(" ").trim()))].filter((phrase) => phrase !== "");
}
