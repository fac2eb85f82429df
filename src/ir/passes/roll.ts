import { roll as rollGraph } from "../loops.ts";
import type { Pass } from "./pass.ts";

export const roll: Pass = {
  name: "roll",
  before: "the iterations of static loops one behind the other, with tags",
  after: "one loop node for each static loop, one body for iterations of equal structure",
  law: "every result is the same, to the bit",
  optional: true,
  run: rollGraph,
};
