import { unroll as unrollGraph } from "../loops.ts";
import type { Pass } from "./pass.ts";

export const unroll: Pass = {
  name: "unroll",
  before: "loop nodes, read by get",
  after: "each iteration has its own nodes, with its path; only what is read exists",
  law: "every result is the same, to the bit",
  run: unrollGraph,
};
