/** The op table: one row an op. */
import { Bug } from "../errors.ts";
import type { Node } from "../graph.ts";
import { contraction } from "./contraction.ts";
import { couplings } from "./couplings.ts";
import { hosts } from "./host.ts";
import { indexing } from "./indexing.ts";
import { maps } from "./maps.ts";
import { movement } from "./movement.ts";
import type { Op, OpName } from "./op.ts";
import { orders } from "./order.ts";
import { reductions } from "./reductions.ts";
import { sources } from "./sources.ts";
import { special } from "./special.ts";
import { wides } from "./wide.ts";

export * from "./integers.ts";
export * from "./mismatch.ts";
export type * from "./op.ts";
export * from "./promote.ts";
export * from "./query.ts";
export * from "./tensor.ts";
export * from "./views.ts";

export const ops: Readonly<Record<OpName, Op>> = {
  ...sources,
  ...maps,
  ...reductions,
  ...contraction,
  ...movement,
  ...indexing,
  ...orders,
  ...hosts,
  ...couplings,
  ...wides,
  ...special,
};

export const isOpName = (name: string): name is OpName => Object.hasOwn(ops, name);

export function rowOf(node: Pick<Node, "op">): Op {
  if (!isOpName(node.op)) throw new Bug(`there is no op ${node.op}`);
  return ops[node.op];
}
