/** Metrics that are computed from rows: one row each. How they may be called is in `ground/metrics.ts`, but for `accuracy`, which objectives give. */
import type { MetricName } from "../../ground/metrics.ts";
import { InputError } from "../../ir/errors.ts";
import { own } from "../../ir/own.ts";
import type { RunHost } from "../host.ts";
import { accuracy } from "./accuracy.ts";
import { agreement } from "./agreement.ts";
import { cider } from "./cider.ts";
import { confusion } from "./confusion.ts";
import { pearson, spearman } from "./correlation.ts";
import { f1, macroF1, macroPrecision, macroRecall } from "./f1.ts";
import { keyphrases } from "./keyphrases.ts";
import { matthews } from "./matthews.ts";
import type { Metric, ReadTable } from "./metric.ts";
import { DERIVED } from "./scalars.ts";

export const ROW_METRICS: Readonly<Record<MetricName | "accuracy", Metric>> = {
  accuracy,
  agreement,
  cider,
  confusion,
  f1,
  keyphrase_f1: keyphrases,
  macro_f1: macroF1,
  macro_precision: macroPrecision,
  macro_recall: macroRecall,
  matthews,
  pearson,
  spearman,
};

/** P0822. `scalars`: what else there is. */
export function metricNamed(name: string, scalars: readonly string[]): Metric {
  const metric = own<Metric>(ROW_METRICS, name);
  if (metric !== undefined) return metric;
  throw new InputError("P0822", `there is no metric \`${name}\``, [
    ...(scalars.length === 0 ? [] : [`the objective names: ${scalars.join(", ")}`]),
    `always there: ${Object.keys(DERIVED).join(", ")}`,
    `of rows: ${Object.keys(ROW_METRICS).join(", ")}`,
  ]);
}

export const readTables =
  (host: Pick<RunHost, "table">): ReadTable =>
  async (spec) => {
    const table = await host.table({ spec, tokenizer: undefined, sequence: undefined });
    if (table === undefined) throw new InputError("P0731", `\`${spec.make}\` has no held-out part`, ["give it `split:`"], spec.span);
    return table;
  };
