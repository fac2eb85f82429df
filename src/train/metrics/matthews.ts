import { countClasses, share } from "./classes.ts";
import { type Metric, requireClasses } from "./metric.ts";

/**
 * Matthews' correlation of any number of classes (Gorodkin 2004): with n rows, c of them right, p_k predictions and t_k labels of class k,
 * (c·n − Σ p_k·t_k) / √((n² − Σ p_k²)(n² − Σ t_k²)); 0 where either side has one class only.
 */
export const matthews: Metric = {
  wants: "labels",
  of: (rows) => {
    requireClasses("matthews", rows);
    const counts = [...countClasses(rows).values()];
    const total = (of: (c: (typeof counts)[number]) => number) => counts.reduce((sum, c) => sum + of(c), 0);
    const n = rows.expected.length;
    const above = total((c) => c.both) * n - total((c) => c.predicted * c.expected);
    const below = Math.sqrt((n * n - total((c) => c.predicted ** 2)) * (n * n - total((c) => c.expected ** 2)));
    return { matthews: share(above, below) };
  },
};
