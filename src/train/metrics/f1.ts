/** Precision, recall and F1 = 2·both / (predicted + expected), of one class or averaged; a class that nobody predicts and that is nowhere has 0. */
import { type ClassCounts, countClasses, share } from "./classes.ts";
import { type Labelled, type Metric, type Options, requireClasses, unfit } from "./metric.ts";

const f1Of = (c: ClassCounts): number => share(2 * c.both, c.predicted + c.expected);
const precisionOf = (c: ClassCounts): number => share(c.both, c.predicted);
const recallOf = (c: ClassCounts): number => share(c.both, c.expected);

/** The plain mean over the classes among labels or predictions. */
function macro(name: string, of: (c: ClassCounts) => number): Metric {
  return {
    wants: "labels",
    of: (rows) => {
      requireClasses(name, rows);
      const counts = [...countClasses(rows).values()];
      return {
        [name]: share(
          counts.reduce((sum, c) => sum + of(c), 0),
          counts.length,
        ),
      };
    },
  };
}
export const macroF1 = macro("macro_f1", f1Of);
export const macroPrecision = macro("macro_precision", precisionOf);
export const macroRecall = macro("macro_recall", recallOf);

/** `average`: "binary" (of the class `positive`, 1, where there are two), "macro", "micro", or "weighted" by how often each class is the one. */
export const f1: Metric = { wants: "labels", of: (rows, options) => ({ f1: averaged(rows, options) }) };

function averaged(rows: Labelled, options: Options): number {
  requireClasses("f1", rows);
  const average = options.average ?? "binary";
  const positive = options.positive ?? 1;
  const counts = countClasses(rows);
  const all = [...counts.values()];
  const total = (of: (c: ClassCounts) => number) => all.reduce((sum, c) => sum + of(c), 0);
  switch (average) {
    case "binary": {
      if (counts.size > 2 || (counts.size === 2 && !counts.has(Number(positive))))
        throw unfit(`\`f1\` is of the class ${String(positive)} among two, and the rows have ${[...counts.keys()].join(", ")}`, [
          "`macro_f1()` is the mean over the classes",
          '`f1(average: "micro")` and `f1(average: "weighted")` count rows',
        ]);
      const own = counts.get(Number(positive));
      return own === undefined ? 0 : f1Of(own);
    }
    case "macro":
      return share(total(f1Of), all.length);
    case "micro":
      return share(
        total((c) => 2 * c.both),
        total((c) => c.predicted + c.expected),
      );
    case "weighted":
      return share(
        total((c) => f1Of(c) * c.expected),
        total((c) => c.expected),
      );
    default:
      throw unfit(`\`average\` of \`f1\` is "binary", "macro", "micro" or "weighted", this is ${JSON.stringify(average)}`);
  }
}
