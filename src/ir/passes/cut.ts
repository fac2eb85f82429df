import { cutFlat } from "./cut/flat.ts";
import { keptBytes } from "./cut/halves.ts";
import { cutLoops } from "./cut/loops.ts";
import type { Pass } from "./pass.ts";

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 2 : 0)} MiB`;

/**
 * Nothing that makes equal nodes one may run behind this pass without heeding `origin.half`: it would undo the cut.
 */
export const cut: Pass = {
  name: "cut",
  before: "the backward half reads whatever of the forward half it needs",
  after: "it reads the cheapest set of values from which it can compute the rest again; the copies are of the backward half",
  law: "every result is the same, to the bit; the bytes kept between the halves never grow",
  run(graph, context) {
    const before = keptBytes(graph);
    const done = cutFlat(cutLoops(graph));
    if (before > 0) context.note(`kept for the backward half: ${mib(keptBytes(done))}, of ${mib(before)} that it reads`);
    return done;
  },
};
