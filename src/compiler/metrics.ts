/** Metrics that a run computes from rows: how they may be called, and whether one is a single number of its name, which later stages may read. */
interface MetricForm {
  readonly options: readonly string[];
  readonly number: boolean;
  readonly doc: string;
}
export const METRICS: Readonly<Record<string, MetricForm>> = {
  f1: {
    options: ["average", "positive"],
    number: true,
    doc: 'F1: `average` is `"binary"` (of the class `positive`, 1, among two), `"macro"`, `"micro"` or `"weighted"`.',
  },
  macro_f1: { options: [], number: true, doc: "The mean F1 of the classes that occur among labels or predictions." },
  macro_precision: { options: [], number: true, doc: "The mean precision of these classes." },
  macro_recall: { options: [], number: true, doc: "The mean recall of these classes." },
  matthews: { options: [], number: true, doc: "Matthews' correlation, of any number of classes." },
  pearson: { options: [], number: true, doc: "Pearson's correlation of numbers." },
  spearman: { options: [], number: true, doc: "Spearman's correlation of ranks." },
  agreement: {
    options: ["voters", "column"],
    number: true,
    doc: "Of tables that `predict` gave: the share of pairs of voters that say the same, and `krippendorff_alpha`.",
  },
  confusion: { options: ["classes"], number: false, doc: "Counts `confusion/<label>/<prediction>`; `classes` are names, by number." },
  keyphrase_f1: { options: ["at", "stem", "phrases"], number: false, doc: "F1@k, F1@M and F1@O of phrases, present and absent ones." },
};
