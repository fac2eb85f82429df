/** Ops whose meaning is a composition, as that composition. Iterations of static loops stay apart: nothing is shared that was not. */
import { Builder } from "../build.ts";
import type { Graph } from "../graph.ts";
import { rowOf } from "../ops/index.ts";
import { mapRegions, rebuildHalves, remadeOn } from "../rewrite.ts";
import type { Pass } from "./pass.ts";

export const expand: Pass = {
  name: "expand",
  before: "any graph",
  after: "every f32 node has a derivative of its own",
  law: "results are equal up to rounding",
  run: (graph: Graph) =>
    mapRegions(
      graph,
      (roots, known) => (loops) =>
        rebuildHalves(
          roots,
          (n, inputs) => {
            if (n.loop) return loops(n, inputs);
            const row = rowOf(n);
            const made = remadeOn(n, inputs);
            return row.vjp === "by expansion" && n.type.dtype === "f32" ? row.expansion(new Builder(n.origin), made) : made;
          },
          known,
        ),
    ),
};
