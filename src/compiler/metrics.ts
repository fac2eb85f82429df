/** Metrics that a run computes from rows: how they may be called, and whether one is a single number of its name, which later stages may read. */
interface MetricForm {
  readonly options: readonly string[];
  readonly number: boolean;
}
export const METRICS: Readonly<Record<string, MetricForm>> = {
  f1: { options: ["average", "positive"], number: true },
  macro_f1: { options: [], number: true },
  macro_precision: { options: [], number: true },
  macro_recall: { options: [], number: true },
  matthews: { options: [], number: true },
  pearson: { options: [], number: true },
  spearman: { options: [], number: true },
  agreement: { options: ["voters", "column"], number: true },
  confusion: { options: ["classes"], number: false },
  keyphrase_f1: { options: ["at", "stem", "phrases"], number: false },
};
