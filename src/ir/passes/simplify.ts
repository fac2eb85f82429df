/** Algebra on single nodes and their operands. */
import type { Graph, Node } from "../graph.ts";
import { type OpName, rowOf } from "../ops/index.ts";
import { allNodes, type Rule, type Rules, rewrite } from "../rewrite.ts";
import { folding } from "./fold.ts";
import type { Pass } from "./pass.ts";
import { dotRules } from "./rules/dots.ts";
import { mapRules } from "./rules/maps.ts";
import { moveRules } from "./rules/moves.ts";
import { reductionRules } from "./rules/reductions.ts";

/** Barriers have done their duty when all gradients are expanded. */
const lift: Rule = (n) => (rowOf(n).role === "barrier" ? n.inputs[0] : undefined);

const hasPlaceholders = (graph: Graph): boolean => allNodes(graph).some((n: Node) => rowOf(n).role === "placeholder");

/** All rules of several lists; those of one op are tried in the order of the lists. */
function together(...lists: readonly Rules[]): Rules {
  const of: { [op in OpName]?: Rule[] } = {};
  for (const list of lists)
    for (const [op, rules] of Object.entries(list.of ?? {})) {
      const known = of[op as OpName] ?? [];
      known.push(...rules);
      of[op as OpName] = known;
    }
  return { every: lists.flatMap((l) => l.every ?? []), of };
}

/** Folding comes first: the other rules then see numbers. */
const algebra: Rules = together(folding, mapRules, moveRules, reductionRules, dotRules);

export const simplify: Pass = {
  name: "simplify",
  before: "any graph",
  after: "no rule of algebra fits any node: neutral operands, chains of movement, sums of copies and barriers are gone",
  law: "results are equal up to rounding, where they are finite",
  optional: true,
  run: (graph) => rewrite(graph, hasPlaceholders(graph) ? algebra : together({ every: [lift] }, algebra)),
};
