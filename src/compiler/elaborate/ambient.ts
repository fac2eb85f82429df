import { budgets } from "./builtins/budgets.ts";
import { draws } from "./builtins/draws.ts";
import { linear } from "./builtins/linear.ts";
import { lists } from "./builtins/lists.ts";
import { maps } from "./builtins/maps.ts";
import { shapes } from "./builtins/shapes.ts";
import { steps } from "./builtins/steps.ts";
import { tables } from "./builtins/tables.ts";
import { vocabulary } from "./builtins/vocabulary.ts";
import { context, maybeContext } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { fixed, type Here, type Read, type Scope } from "./scope.ts";
import { builderAt } from "./tensors.ts";
import { SiteNames, sizeValue, Tensor, type Value } from "./values.ts";

/** Functions of the language, by what they are about. */
export const builtins = [maps, shapes, draws, linear, lists, steps, budgets, vocabulary, tables];

/** Names that nobody declares, behind all others: ops, functions of the host, and what a step knows. */
export function ambient(e: Elaborator): Scope {
  const here: Here = { path: "", training: false, calls: "" };
  const table = new Map<string, Read>();
  for (const t of builtins) for (const [n, f] of t.rows) table.set(n, fixed(f));
  const scalar =
    (name: string) =>
    (reader: Here): Value =>
      new Tensor(builderAt(reader, undefined).input(name, { dtype: "i32", shape: [] }));
  table.set("training", (reader) => reader.training);
  table.set("past", () => {
    const ctx = maybeContext();
    if (!ctx) fail("P0505", undefined, "`past` has a value inside a call only");
    return sizeValue(ctx.past);
  });
  table.set("step", scalar("step"));
  table.set("steps", scalar("steps"));
  table.set("pi", fixed(Math.PI));
  table.set("lowest", fixed(-3.4028234663852886e38));
  table.set("loss", (reader) => e.readLoss(reader));
  table.set("params", () => {
    const { trained } = context();
    if (!trained) fail("P0505", undefined, "`params` is what a stage trains: it can be asked for in an objective");
    return trained;
  });
  table.set("site", (reader) => {
    const frame = reader.methodFrame;
    if (!frame) fail("P0505", undefined, "`site` is a method's place: it has no meaning here");
    return new SiteNames((n) => {
      const path = frame.site.roleNames.get(n);
      if (path !== undefined) return frame.readRole(n, path, reader);
      // which of `sites` it is
      return n === "index" ? frame.site.index : undefined;
    });
  });
  return { here, find: (n) => table.get(n), names: () => [...table.keys()] };
}
