/** Questions about nodes that need to know ops; passes ask these. */
import type { Dim } from "../dim.ts";
import type { Node } from "../graph.ts";
import { attrsOf } from "./attributes.ts";
import { functions } from "./functions.ts";
import { isPlainMove } from "./moves.ts";
import type { MapName } from "./op.ts";
import { COST, operators, type Scalar } from "./scalar.ts";

/** The value that all elements of a constant have, if it is a constant and they are equal by construction. */
export function splatOf(n: Node): number | Dim | undefined {
  if (n.op === "expand" || n.op === "reshape") return splatOf(n.inputs[0]);
  if (n.op !== "const") return undefined;
  const data = attrsOf(n, "const").data;
  return data.length === 1 ? data[0] : undefined;
}

/** A constant, or a constant moved about. */
export function isConstant(n: Node): boolean {
  return n.op === "const" || ((isPlainMove(n) || n.op === "cast") && isConstant(n.inputs[0]));
}

/** A stream that an iteration gives. */
export const isCouple = (n: Node): boolean => n.op === "couple" || isWideCouple(n);
/** One whose integers have two words. */
export const isWideCouple = (n: Node): boolean => n.op === "couple_wide";

const scalars: { readonly [name in Exclude<MapName, "cast">]: Scalar } = { ...functions, ...operators };
/** What a scalar function costs for one element, in additions. */
export const costOf = (scalar: MapName): number => (scalar === "cast" ? COST.sum : scalars[scalar].cost);
/** Whether a value of it is worth keeping rather than computing again. */
export const isDear = (scalar: MapName): boolean => costOf(scalar) >= COST.series;
