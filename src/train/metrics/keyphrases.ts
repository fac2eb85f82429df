import { keysOf, occurrences, phrasesOf, STEMS } from "../../formats/data/makers/phrases.ts";
import { rowsOf, type Source } from "../../formats/data/source.ts";
import { InputError } from "../../ir/errors.ts";
import type { Scalars } from "../events.ts";
import type { Metric, Options } from "./metric.ts";

export const keyphrases: Metric = { wants: "texts", of: keyphraseF1 };

/** Predictions behind so many count for nothing. */
const MOST = 200;

/** Phrases that say nothing: the authors' filter. */
const isPhrase = (keys: readonly string[]): boolean => keys.length > 0 && !keys.includes("unk");

/**
 * F1 of keyphrases, those that stand in the text and those that do not apart, after stemming and with digits alike: precision among the first k (of k, even where there are fewer; `none`: among
 * all; "O": among as many as there are to find) and recall, each averaged over all documents, then their harmonic mean. Meng et al. 2017, "Deep keyphrase generation"; as counted by Wu
 * et al. 2022 (arXiv 2212.10233). `by` stands between phrases that are written. What is written counts once, empty phrases and those with an unknown word not at all.
 */
function keyphraseF1(source: Source, options: Options): Scalars {
  const at = Array.isArray(options.at) ? options.at : [options.at ?? null];
  const column = typeof options.phrases === "string" ? options.phrases : "keyphrases";
  const stem = STEMS[typeof options.stem === "string" ? options.stem : "porter"];
  if (stem === undefined || !at.every((k) => k === null || k === "O" || (typeof k === "number" && k > 0)))
    throw new InputError("P0703", '`keyphrase_f1` takes `at`, numbers from 1 on, none or "O", and `stem`, "porter" or "none"');
  const by = typeof options.by === "string" ? options.by.trim() : ";";
  if (by === "") throw new InputError("P0703", "`by` of `keyphrase_f1` is what stands between phrases, not a space");
  const digits = (word: string) => stem(word.replace(/^\p{N}+$/u, "digit"));
  const documents = rowsOf(source).map((row) => {
    const { answer, source: text } = row.values;
    if (typeof answer !== "string" || typeof text !== "string")
      throw new InputError("P0703", `\`${source.file}\`, line ${row.line} has no phrases that were written for a text`, [
        "`keyphrase_f1` takes what `generate` or `spans` gives",
      ]);
    const words = keysOf(text, digits);
    const distinct = (phrases: readonly string[]) => {
      const keys = phrases.map((phrase) => keysOf(phrase, digits).filter((key) => key !== ""));
      return [...new Map(keys.filter(isPhrase).map((key) => [key.join(" "), key])).values()];
    };
    const wanted = distinct(phrasesOf(row, column, source.file));
    const found = distinct(answer.split(by).slice(0, MOST));
    const part = (phrases: readonly string[][], present: boolean) =>
      phrases.filter((phrase) => occurrences(phrase, words).length > 0 === present).map((phrase) => phrase.join(" "));
    return { present: [part(found, true), part(wanted, true)], absent: [part(found, false), part(wanted, false)] };
  });
  const out: Record<string, number> = {};
  for (const kind of ["present", "absent"] as const) {
    for (const k of at) {
      let precision = 0;
      let recall = 0;
      for (const document of documents) {
        const [found, wanted] = document[kind];
        const most = k === null ? found.length : k === "O" ? wanted.length : Number(k);
        const hits = found.slice(0, most).filter((phrase) => wanted.includes(phrase)).length;
        precision += hits / Math.max(1, most) / documents.length;
        recall += hits / Math.max(1, wanted.length) / documents.length;
      }
      out[`${kind}_f1@${k ?? "M"}`] = precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall);
    }
  }
  return out;
}
