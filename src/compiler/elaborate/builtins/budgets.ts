import { keyOf, threefry } from "../../../ir/random.ts";
import { parametersOf } from "../parameters.ts";
import type { Storage } from "../storage.ts";
import { Fit, type Place, Selection, type Value } from "../values.ts";
import { BuiltinTable } from "./table.ts";

export const budgets = new BuiltinTable("Choosing what learns under a budget");

// whole sites, or whole tensors of a model, in an order that the seed shuffles, each that still fits
budgets.add(
  "draw",
  "Whole sites of an attachment, or whole tensors of a model, in an order that `seed` shuffles, each that still fits into `budget` parameters. A selection.",
  [{ name: "from", selection: true }, { name: "budget" }, { name: "seed", optional: true }],
  (args, c) => {
    const budget = c.num(args.budget!, "budget");
    const seed = args.seed === undefined ? 0 : c.int(args.seed, "seed");
    const from = args.from as Selection;
    const units = from.places.flatMap((p): Place[] =>
      p.kind === "site" || p.kind === "param"
        ? [p]
        : parametersOf(new Selection([p], ""), c.span).map((storage) => ({ kind: "param", storage })),
    );
    const [k0, k1] = keyOf(seed, "draw");
    const order = units.map((p, i) => ({ p, by: threefry(k0, k1, i, 0)[0] >>> 0 })).sort((a, b) => a.by - b.by);
    let left = budget;
    const taken = new Set<Place>();
    for (const { p } of order) {
      const n = parametersOf(new Selection([p], ""), c.span).reduce((sum, s: Storage) => sum + s.shape.reduce((x, d) => x * d, 1), 0);
      if (n > left) continue;
      left -= n;
      taken.add(p);
    }
    if (taken.size === 0) return c.fail("P0312", `nothing of this selection has at most ${budget} parameters`);
    return new Selection(
      units.filter((p) => taken.has(p)),
      `draw(${from.text})`,
    );
  },
);
budgets.add(
  "fit",
  "Stands for the size (a rank, a width) with which the attachment has at most so many parameters: `rank: fit(params: 20_000)`.",
  [{ name: "params" }],
  ({ params }, c): Value => new Fit(c.num(params!, "params"), c.span),
);
