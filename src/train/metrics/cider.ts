import { wordsOf } from "../../formats/data/encode.ts";
import { rowsOf, type Source } from "../../formats/data/source.ts";
import type { Scalars } from "../events.ts";
import { type Metric, type Options, unfit } from "./metric.ts";

export const cider: Metric = { wants: "texts", of: ciderOf };

/** Longest runs of words; width of the penalty for another length; what a perfect text comes to. */
const [LONGEST, SIGMA, SCALE] = [4, 6, 10];

/**
 * CIDEr-D of texts that `generate` wrote (Vedantam, Zitnick and Parikh 2015, arXiv 1411.5726): the cosine of runs of one to four words, weighed by how few of all rows' references
 * have them, clipped to the reference's counts and lowered where lengths differ; the mean over references and rows, times 10. `references`: the column with one text or several.
 */
function ciderOf(source: Source, { references }: Options): Scalars {
  if (references === "answer")
    throw unfit("`answer` is what was written: a table whose references are called so wants another name for them");
  if (typeof references !== "string")
    throw unfit("`cider` is told of the column with the references", ['such as `cider(references: "text")`']);
  const rows = rowsOf(source).map((row) => {
    const { answer, [references]: wanted } = row.values;
    const texts = typeof wanted === "string" ? [wanted] : wanted;
    if (typeof answer !== "string")
      throw unfit(`\`${source.file}\`, line ${row.line} has no text that was written`, ["`cider` takes what `generate` gives"]);
    if (!Array.isArray(texts) || texts.length === 0 || !texts.every((text) => typeof text === "string"))
      throw unfit(`\`${source.file}\`, line ${row.line}: \`${references}\` is no text, nor a list of texts`);
    return { said: countsOf(answer), wanted: texts.map(countsOf) };
  });
  const among = new Map<string, number>();
  for (const { wanted } of rows)
    for (const run of new Set(wanted.flatMap(({ runs }) => runs.flatMap((counts) => [...counts.keys()]))))
      among.set(run, (among.get(run) ?? 0) + 1);
  const weigh = (counts: ReadonlyMap<string, number>) =>
    new Map([...counts].map(([run, n]) => [run, n * (Math.log(rows.length) - Math.log(Math.max(1, among.get(run) ?? 0)))]));
  let total = 0;
  for (const { said, wanted } of rows) {
    const own = said.runs.map(weigh);
    for (const reference of wanted) {
      const penalty = Math.exp(-((said.length - reference.length) ** 2) / (2 * SIGMA ** 2));
      for (const [n, counts] of reference.runs.entries())
        total += (penalty * alike(own[n], weigh(counts))) / (LONGEST * wanted.length * rows.length);
    }
  }
  return { cider: SCALE * total };
}

interface Counted {
  readonly length: number;
  /** Counts of runs of one word, of two, … */
  readonly runs: readonly ReadonlyMap<string, number>[];
}

function countsOf(text: string): Counted {
  const words = wordsOf(text.toLowerCase()).filter((word) => /[\p{L}\p{N}]/u.test(word));
  const runs = Array.from({ length: LONGEST }, (_, n) => {
    const counts = new Map<string, number>();
    for (let i = 0; i + n < words.length; i++) {
      const run = words.slice(i, i + n + 1).join(" ");
      counts.set(run, (counts.get(run) ?? 0) + 1);
    }
    return counts;
  });
  return { length: words.length, runs };
}

/** The cosine; what is said more often than in the reference counts no more than there. */
function alike(said: ReadonlyMap<string, number>, reference: ReadonlyMap<string, number>): number {
  const norm = (weights: ReadonlyMap<string, number>) => Math.sqrt([...weights.values()].reduce((sum, w) => sum + w * w, 0));
  const size = norm(said) * norm(reference);
  if (size === 0) return 0;
  return [...said].reduce((sum, [run, w]) => sum + Math.min(w, reference.get(run) ?? 0) * (reference.get(run) ?? 0), 0) / size;
}
