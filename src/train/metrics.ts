/** Means over many batches, and the metrics that follow from them. */
import { InputError } from "../ir/errors.ts";
import type { Scalars } from "./events.ts";

/** Sums weighted values. */
export class Means {
  private readonly sums = new Map<string, { sum: number; weight: number }>();

  add(scalars: Scalars, weight: number): void {
    for (const [name, value] of Object.entries(scalars)) {
      const so_far = this.sums.get(name) ?? { sum: 0, weight: 0 };
      so_far.sum += value * weight;
      so_far.weight += weight;
      this.sums.set(name, so_far);
    }
  }

  result(): Record<string, number> {
    return Object.fromEntries([...this.sums].map(([name, { sum, weight }]) => [name, sum / weight]));
  }
}

/** Metrics that follow from the means of an evaluation. A host function that needs every row is not one of them. */
const DERIVED: Readonly<Record<string, (means: Scalars) => number>> = {
  /** For a loss that is the mean over tokens. */
  perplexity: ({ loss }) => Math.exp(loss),
};

/** The metrics asked for, `loss` always among them. P0822: neither a metric nor a scalar that the objective names. */
export function metricsOf(means: Scalars, wanted: readonly string[]): Record<string, number> {
  const out: Record<string, number> = { loss: means.loss };
  for (const name of wanted) {
    const value = means[name] ?? DERIVED[name]?.(means);
    if (value === undefined) throw unknownMetric(name, Object.keys(means));
    out[name] = value;
  }
  for (const [name, value] of Object.entries(means)) out[name] ??= value;
  return out;
}

/** P0822, before anything runs. `scalars`: what the objective names. */
export function checkMetrics(wanted: readonly string[], scalars: readonly string[]): void {
  for (const name of wanted) if (!scalars.includes(name) && DERIVED[name] === undefined) throw unknownMetric(name, scalars);
}

function unknownMetric(name: string, scalars: readonly string[]): InputError {
  return new InputError("P0822", `there is no metric \`${name}\``, [
    `the objective names: ${scalars.join(", ")}`,
    `always there: ${Object.keys(DERIVED).join(", ")}`,
  ]);
}
