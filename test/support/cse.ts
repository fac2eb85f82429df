/** The driver's clean-up as a pass, for tests that run lists of their own. */
import type { Pass } from "../../src/ir/passes/pass.ts";
import { unify } from "../../src/ir/unify.ts";

export const cse: Pass = {
  name: "cse",
  before: "any graph",
  after: "no two nodes of a region have the same op, operands and attributes",
  law: "results are equal",
  run: (graph) => unify(graph),
};
