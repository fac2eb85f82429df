/** An update as a function of its own: its text, and what `program.json` says of it. */
import { type Graph, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { inputOf, slotOf } from "./leaves.ts";
import { ownersOf } from "./owners.ts";
import type { PrintOptions } from "./program.ts";
import { withDevice } from "./region.ts";
import { shardsOf } from "./shards.ts";
import { Update } from "./update.ts";

interface UpdateOptions {
  /** The parameter of each state that is its gradient. */
  readonly gradients: ReadonlyMap<string, string>;
  /** States that other entries read. */
  readonly elsewhere: ReadonlySet<string>;
  readonly place: PrintOptions["place"];
  /** A name that the file has not. */
  unique(name: string): string;
  /** Whether it may be run for some of the parameters, which alone are then there. */
  readonly some?: boolean;
}

export function printUpdate(call: string, graph: Graph, { gradients, elsewhere, place, unique, some = false }: UpdateOptions) {
  const shards = shardsOf(graph, gradients, elsewhere);
  // gradients begin anew by themselves
  const results = graph.results.filter((r) => !(r.role === "state" && gradients.has(r.name)));
  const nodes = order(results.map((r) => r.node));
  const owners = ownersOf({ results }, gradients, shards.totals);
  const update = new Update(results, owners, shards, gradients, place, unique, some);
  const { head, lines } = update.print();
  const text = [
    ...head,
    "@torch.no_grad()",
    `def ${call}(p, x, s):`,
    ...withDevice(lines, "next(iter(p.values())).device").map((line) => `    ${line}`),
    "",
  ].join("\n");
  return {
    text,
    inputs: nodes.flatMap((n) => (rowOf(n).supply === "input" ? [inputOf(n)] : [])),
    outputs: results.filter((r) => r.role === "output").map((r) => r.name),
    kind: "update" as const,
    additive: false,
    adds: [],
    parted: [...shards.names],
    totals: shards.totals.size,
    temporary: update.temporary(),
    apart: results.every((r) => owners.of.has(r.node)),
    reads: order(graph.results.map((r) => r.node)).flatMap((n) => slotOf(n) ?? []),
  };
}
