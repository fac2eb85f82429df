import { share } from "./classes.ts";
import { type Metric, requireClasses } from "./metric.ts";

/** The share of rows that are right. */
export const accuracy: Metric = {
  wants: "labels",
  of: (rows) => {
    requireClasses("accuracy", rows);
    const { predicted, expected } = rows;
    return { accuracy: share(expected.filter((label, i) => label === predicted[i]).length, expected.length) };
  },
};
