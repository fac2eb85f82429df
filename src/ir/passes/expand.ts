/** Ops whose meaning is a composition, as that composition. */
import { rowOf } from "../ops/index.ts";
import { type Rule, rewrite } from "../rewrite.ts";
import type { Pass } from "./pass.ts";

const open: Rule = (n, b) => {
  const row = rowOf(n);
  if (row.vjp !== "by expansion" || n.type.dtype !== "f32") return undefined;
  return b.scope.settle(row.expansion(b, n));
};

export const expand: Pass = {
  name: "expand",
  before: "any graph",
  after: "every f32 node has a derivative of its own",
  law: "results are equal up to rounding",
  run: (graph) => rewrite(graph, { every: [open] }),
};
