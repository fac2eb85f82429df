/** Carries out `merge`: the values of the merged model's parameters, and how far folded modules are from those with attachments. */
import type { Action } from "../../compiler/project.ts";
import type { ValueStore } from "../values.ts";

export type Merge = Action & { readonly kind: "merge" };

export interface Merged {
  readonly of: string;
  readonly to: string;
  /** Parameters that were computed anew; the others are copies. */
  readonly folded: number;
  /** The largest difference of a module's output before and after, relative to its largest value, and that module's path. */
  readonly difference: number;
  readonly at: string | null;
}

/** Gives the merged model its values, from those that parameters have now. */
export function merge(action: Merge, values: ValueStore): Merged {
  for (const { from, to } of action.copies) values.copy(from, to);
  for (const { param, graph } of action.folds) values.compute(param, graph);
  let difference = 0;
  let at: string | null = null;
  for (const { path, graph } of action.checks) {
    const found = values.outputs(graph);
    const [far, size] = [found.get("difference")!.data[0], found.get("size")!.data[0]];
    const relative = far === 0 ? 0 : far / size;
    if (relative >= difference || at === null) [difference, at] = [relative, path];
  }
  return { of: action.of, to: action.to, folded: action.folds.length, difference, at };
}
