/** Means over many batches, and the metrics that follow from them. */
import type { Scalars } from "../events.ts";

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

/** Metrics that follow from the means of an evaluation. */
export const DERIVED: Readonly<Record<string, (means: Scalars) => number>> = {
  /** For a loss that is the mean over tokens. */
  perplexity: ({ loss }) => Math.exp(loss),
};
