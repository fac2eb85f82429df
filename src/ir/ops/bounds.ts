/**
 * Which values the graph can look up: an index that selects rows of a table, or is compared with the positions of an axis, must be a position there.
 * Kernels move an index that is outside to the nearest row, so data is checked before anything runs.
 */
import { type Graph, type Node, order } from "../graph.ts";
import { attrsOf } from "./attributes.ts";
import { isPlainMove, windowOf } from "./moves.ts";
import { splatOf } from "./query.ts";

export interface Bound {
  /** Values are `0 .. below - 1`. */
  readonly below: number;
  /** Values that the graph sets aside before it looks (`where(labels != -100, labels, 0)`). */
  readonly except: readonly number[];
  /** Who looks. */
  readonly at: Node;
}

/** The tightest bound of each input by name; inputs that select nothing, or along a symbolic axis only, are absent. */
export function indexBounds(graph: Graph): Map<string, Bound> {
  const bounds = new Map<string, Bound>();
  const visit = (n: Node, below: number, except: readonly number[], at: Node): void => {
    if (n.op === "input") {
      const name = String(n.attrs.name);
      const known = bounds.get(name);
      if (known === undefined || below < known.below) bounds.set(name, { below, except, at });
    } else if (n.op === "where") {
      const aside = setAside(n.inputs[0]);
      visit(n.inputs[1], below, [...except, ...aside], at);
      visit(n.inputs[2], below, [...except, ...aside], at);
    } else if (keepsValues(n)) {
      for (const from of n.inputs) visit(from, below, except, at);
    }
  };
  const walk = (roots: readonly Node[]): void => {
    for (const n of order(roots)) {
      for (const body of n.loop?.bodies ?? []) walk(body.results);
      if (n.op === "gather") {
        const rows = n.inputs[0].type.shape[0];
        if (typeof rows === "number") visit(n.inputs[1], rows, [], n);
      } else if (n.op === "eq") {
        const [a, b] = n.inputs;
        for (const [positions, index] of [
          [a, b],
          [b, a],
        ]) {
          const extent = positionsOf(positions);
          if (extent !== undefined && positionsOf(index) === undefined) visit(index, extent, [], n);
        }
      }
    }
  };
  walk(graph.results.map((r) => r.node));
  return bounds;
}

/** What has its operand's values. */
const keepsValues = (n: Node): boolean => isPlainMove(n) || n.op === "cast" || n.op === "stop_gradient";

/** The extent of the axis whose positions a node holds, if that is all it holds. */
function positionsOf(n: Node): number | undefined {
  if (n.op === "iota") {
    const extent = n.type.shape[attrsOf(n, "iota").axis];
    return typeof extent === "number" && extent > 1 ? extent : undefined;
  }
  // of a part of them that is not the first, places and positions differ
  const all = n.op === "cast" || (isPlainMove(n) && !windowOf(n));
  return all ? positionsOf(n.inputs[0]) : undefined;
}

/** Constants that a condition tells apart, among others perhaps (`real and tags != -100`). */
function setAside(condition: Node): number[] {
  if (condition.op === "and" || keepsValues(condition)) return condition.inputs.flatMap(setAside);
  if (condition.op !== "ne" && condition.op !== "eq") return [];
  return condition.inputs.flatMap((side) => {
    const value = splatOf(side);
    return typeof value === "number" ? [value] : [];
  });
}
