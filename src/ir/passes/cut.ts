import type { Graph, Node } from "../graph.ts";
import { sizes } from "../graph.ts";
import { axesOfDot } from "../ops/index.ts";
import { type CutRules, cheap } from "./cut/choose.ts";
import { cutFlat } from "./cut/flat.ts";
import { keptBytes } from "./cut/halves.ts";
import { cutLoops } from "./cut/loops.ts";
import type { Pass } from "./pass.ts";

const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 10 * 2 ** 20 ? 2 : 0)} MiB`;

/** Lengths of the sums in products that may be repeated, tried in turn: what a byte saved costs grows with them. */
const LENGTHS = [32, 64, 128, 256, 1024, Number.POSITIVE_INFINITY];

/** A product whose elements are short sums, such as attention's scores. */
function shortProduct(n: Node, longest: number): boolean {
  const axes = axesOfDot(n);
  if (!axes) return false;
  const lhs = sizes(n.inputs[0]);
  return axes.lhsContract.reduce((p, a) => p * lhs[a], 1) <= longest;
}

const cutBy = (graph: Graph, rules: CutRules): Graph => cutFlat(cutLoops(graph, rules), rules);

/**
 * Nothing that makes equal nodes one may run behind this pass without heeding `origin.half`: it would undo the cut. Where what is kept
 * exceeds the budget (`options.memory`), products are repeated as well, those first that cost least for each byte saved.
 */
export const cut: Pass = {
  name: "cut",
  before: "the backward half reads whatever of the forward half it needs",
  after: "it reads the cheapest set of values from which it can compute the rest again; the copies are of the backward half",
  law: "every result is the same, to the bit; the bytes kept between the halves never grow",
  run(graph, context) {
    const { memory, trained: changed } = context.options;
    const before = keptBytes(graph, changed);
    let done = cutBy(graph, { changed });
    let kept = keptBytes(done, changed);
    let repeated = "";
    for (const longest of LENGTHS) {
      if (memory === undefined || kept <= memory) break;
      const more = cutBy(graph, { changed, mayRepeat: (n) => cheap(n) || shortProduct(n, longest) });
      const bytes = keptBytes(more, changed);
      if (bytes >= kept) continue;
      done = more;
      kept = bytes;
      repeated = `; to fit ${mib(memory)}, products ${Number.isFinite(longest) ? `over up to ${longest} elements ` : ""}are computed again`;
    }
    if (before > 0) context.note(`kept for the backward half: ${mib(kept)}, of ${mib(before)} that it reads${repeated}`);
    return done;
  },
};
