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

export * from "./attributes.ts";
export * from "./integers.ts";
export * from "./mismatch.ts";
export * from "./moves.ts";
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

/** Without a prototype, so that one look finds a row or nothing: every pass asks for the row of every node, several times. */
const table: { readonly [op: string]: Op | undefined } = Object.assign(Object.create(null), ops);

export function rowOf(node: Pick<Node, "op">): Op {
  const row = table[node.op];
  if (row === undefined) throw new Bug(`there is no op ${node.op}`);
  return row;
}
