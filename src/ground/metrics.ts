/** Metrics that a run computes from rows: how they may be called, and the numbers that one call gives, which later stages may read by these names. */
import type { Static } from "./table.ts";

export interface MetricForm {
  readonly options: readonly string[];
  readonly doc: string;
  /** Left out: one, of the metric's name. */
  readonly numbers?: (options: Readonly<Record<string, Static>>) => readonly string[];
}
export const METRICS = {
  f1: {
    options: ["average", "positive"],
    doc: 'F1: `average` is `"binary"` (of the class `positive`, 1, among two), `"macro"`, `"micro"` or `"weighted"`.',
  },
  macro_f1: { options: [], doc: "The mean F1 of the classes that occur among labels or predictions." },
  macro_precision: { options: [], doc: "The mean precision of these classes." },
  macro_recall: { options: [], doc: "The mean recall of these classes." },
  matthews: { options: [], doc: "Matthews' correlation, of any number of classes." },
  pearson: { options: [], doc: "Pearson's correlation of numbers." },
  spearman: { options: [], doc: "Spearman's correlation of ranks." },
  agreement: {
    options: ["voters", "column"],
    numbers: () => ["agreement", "krippendorff_alpha"],
    doc: "Of tables that `predict` gave: the share of pairs of voters that say the same, and `krippendorff_alpha`.",
  },
  confusion: { options: ["classes"], numbers: () => [], doc: "Counts `confusion/<label>/<prediction>`; `classes` are names, by number." },
  keyphrase_f1: {
    options: ["at", "stem", "phrases", "by"],
    numbers: ({ at }) => ["present", "absent"].flatMap((kind) => cutsOf(at).map((k) => `${kind}_f1@${k}`)),
    doc: 'F1 of phrases, present and absent ones: at k, of all (`none`: `M`), at as many as there are to find (`"O"`); `by` (";") stands between those that are written.',
  },
  cider: { options: ["references"], doc: "CIDEr-D of texts that `generate` wrote, against the column with one reference or several." },
} satisfies Readonly<Record<string, MetricForm>>;
export type MetricName = keyof typeof METRICS;

/** Behind how many phrases each F1 looks, as its name says it: a number, `M` for all (`none`), `O` for as many as there are to find. */
const cutsOf = (at: Static | undefined): string[] => (Array.isArray(at) ? at : [at ?? null]).map((k) => (k === null ? "M" : String(k)));
