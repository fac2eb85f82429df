/** The comparison rules of the goldens' README. */
import type { Tolerance } from "./manifest.ts";
import type { Vector } from "./vectors.ts";

/** For keys that are in no group of their case. */
const LOOSE: Tolerance = { rel: 1e-4 };

const groups: readonly (readonly [RegExp, string])[] = [
  [/^out\.(start_|end_)?logits$/, "logits"],
  [/^out\.(loss|task_loss|loss_orth)$/, "loss"],
  [/^out\.(reconstructed|density)/, ""],
  [/^out\./, "hidden"],
  [/^grad\./, "grads"],
  [/^step\.(losses|grad_norms)$/, "step_losses"],
  [/^after(_saved)?\./, "after"],
];

/** `gap`: how far the case's own rebuilt values are from those that they rebuild. */
export function toleranceOf(key: string, tolerances: Readonly<Record<string, Tolerance>>, gap = 0): Tolerance {
  // theirs are off by so much, and so may ours be, another way
  if (key.startsWith("out.reconstructed.")) return { ...LOOSE, room: 2 * gap };
  const state = /^state\.\d+\.(\w+)/.exec(key)?.[1];
  const group = state !== undefined ? `state.${state}` : (groups.find(([pattern]) => pattern.test(key))?.[1] ?? "");
  return tolerances[group] ?? LOOSE;
}

/**
 * What is wrong; `undefined`: all is within tolerance. `counts(i)`: whether an element is compared. Elements are compared in order; of shapes only their number of elements,
 * since libraries store some tensors with axes of size 1.
 */
export function compare(
  key: string,
  seen: ArrayLike<number>,
  wanted: Vector,
  tolerance: Tolerance,
  counts: (i: number) => boolean = () => true,
): string | undefined {
  const n = wanted.data.length;
  if (seen.length !== n) return `${key}: ${seen.length} numbers where there are ${n} of shape [${wanted.shape.join(", ")}]`;
  let largest = 0;
  let worst = -1;
  let gap = 0;
  for (let i = 0; i < n; i++) {
    if (!counts(i)) continue;
    largest = Math.max(largest, Math.abs(wanted.data[i]));
    const d = Math.abs(seen[i] - wanted.data[i]);
    // a NaN is the worst there is
    if (!(worst >= 0 && d <= gap) && !Number.isNaN(gap)) {
      gap = d;
      worst = i;
    }
  }
  if (worst < 0) return undefined;
  const allowed = (tolerance.abs ?? (tolerance.rel ?? 0) * (largest + 0.01 * (tolerance.group_max ?? largest))) + (tolerance.room ?? 0);
  if (gap <= allowed) return undefined;
  return `${key}[${worst}] is ${seen[worst]} instead of ${wanted.data[worst]} (off by ${gap.toExponential(2)}, allowed are ${allowed.toExponential(2)})`;
}
