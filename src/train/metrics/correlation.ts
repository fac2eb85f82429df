/** Correlations of numbers that were predicted with those that should have been; 0 where either side is constant. */
import { share } from "./classes.ts";
import type { Labelled, Metric } from "./metric.ts";

export const pearson: Metric = { wants: "labels", of: ({ predicted, expected }) => ({ pearson: correlation(predicted, expected) }) };
/** That of their ranks; equals share the mean of theirs. */
export const spearman: Metric = {
  wants: "labels",
  of: ({ predicted, expected }: Labelled) => ({ spearman: correlation(ranks(predicted), ranks(expected)) }),
};

function correlation(x: readonly number[], y: readonly number[]): number {
  const mean = (v: readonly number[]) =>
    share(
      v.reduce((sum, a) => sum + a, 0),
      v.length,
    );
  const [mx, my] = [mean(x), mean(y)];
  let [xy, xx, yy] = [0, 0, 0];
  x.forEach((a, i) => {
    xy += (a - mx) * (y[i] - my);
    xx += (a - mx) ** 2;
    yy += (y[i] - my) ** 2;
  });
  return share(xy, Math.sqrt(xx) * Math.sqrt(yy));
}

function ranks(values: readonly number[]): number[] {
  const order = values.map((_, i) => i).sort((a, b) => values[a] - values[b]);
  const out = new Array<number>(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && values[order[to]] === values[order[from]]) to++;
    for (let i = from; i < to; i++) out[order[i]] = (from + to + 1) / 2;
    from = to;
  }
  return out;
}
