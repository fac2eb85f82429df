/** How often each class was predicted, was right, and was the one. */
import type { Labelled } from "./metric.ts";

export interface ClassCounts {
  readonly predicted: number;
  readonly expected: number;
  readonly both: number;
}

/** Of each class that is among the labels or the predictions, in order. */
export function countClasses({ predicted, expected }: Labelled): Map<number, ClassCounts> {
  const classes = [...new Set([...expected, ...predicted])].sort((a, b) => a - b);
  const counts = new Map(classes.map((c) => [c, { predicted: 0, expected: 0, both: 0 }]));
  expected.forEach((label, i) => {
    counts.get(label)!.expected++;
    counts.get(predicted[i])!.predicted++;
    if (label === predicted[i]) counts.get(label)!.both++;
  });
  return counts;
}

/** 0 where there is nothing to divide by. */
export const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);
