/**
 * The largest position that a graph looks up in a table for places of a text (`arange`, counts of a mask): they follow from the sizes alone, and kernels would move those that are
 * outside to the nearest row.
 */
import { type Dim, substitute } from "../dim.ts";
import { type Graph, type Node, order } from "../graph.ts";
import { attrsOf } from "./attributes.ts";
import { readsOf } from "./moves.ts";

/** A table that is too short. */
export interface Outside {
  /** Who looks. */
  readonly at: Node;
  /** Rows that it has, and the largest that is asked for. */
  readonly rows: number;
  readonly asked: number;
}

interface Range {
  readonly low: number;
  readonly high: number;
}
type Sizes = ReadonlyMap<string, number>;

/** The first table in which places are looked up that it does not have, with these sizes (`past`, where a text goes on, is one of them); none: they all fit. */
export function placesOutside(graph: Graph, sizes: Sizes): Outside | undefined {
  const known = new Map<Node, Range | undefined>();
  for (const n of order(graph.results.map(({ node }) => node))) {
    known.set(n, rangeOf(n, sizes, known));
    if (n.op !== "gather") continue;
    const rows = size(n.inputs[0].type.shape[0], sizes);
    const asked = known.get(n.inputs[1])?.high;
    if (rows !== undefined && asked !== undefined && asked >= rows) return { at: n, rows, asked };
  }
  return undefined;
}

function size(dim: Dim, sizes: Sizes): number | undefined {
  const value = substitute(dim, sizes);
  return typeof value === "number" ? value : undefined;
}

/** What values a node may have; `undefined`: that depends on more than sizes. */
function rangeOf(n: Node, sizes: Sizes, known: ReadonlyMap<Node, Range | undefined>): Range | undefined {
  if (n.type.dtype === "bool") return { low: 0, high: 1 };
  if (n.type.dtype !== "i32") return undefined;
  const of = (i: number) => known.get(n.inputs[i]);
  const both = (f: (a: Range, b: Range) => Range): Range | undefined => {
    const [a, b] = [of(0), of(1)];
    return a && b && f(a, b);
  };
  switch (n.op) {
    case "const": {
      const data = attrsOf(n, "const").data.map((value) => size(value, sizes));
      if (data.some((value) => value === undefined)) return undefined;
      return (data as number[]).reduce((r, v) => ({ low: Math.min(r.low, v), high: Math.max(r.high, v) }), {
        low: Infinity,
        high: -Infinity,
      });
    }
    case "input": {
      const value = n.attrs.name === "past" ? sizes.get("past") : undefined;
      return value === undefined ? undefined : { low: value, high: value };
    }
    case "iota": {
      const extent = size(n.type.shape[attrsOf(n, "iota", "cumsum").axis], sizes);
      return extent === undefined ? undefined : { low: 0, high: extent - 1 };
    }
    case "cumsum": {
      const [extent, each] = [size(n.type.shape[attrsOf(n, "iota", "cumsum").axis], sizes), of(0)];
      return extent === undefined || each === undefined
        ? undefined
        : { low: Math.min(each.low, each.low * extent), high: Math.max(each.high, each.high * extent) };
    }
    case "add":
      return both((a, b) => ({ low: a.low + b.low, high: a.high + b.high }));
    case "sub":
      return both((a, b) => ({ low: a.low - b.high, high: a.high - b.low }));
    case "mul":
      return both((a, b) => hull([a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high]));
    case "max":
      return both((a, b) => ({ low: Math.max(a.low, b.low), high: Math.max(a.high, b.high) }));
    case "min":
      return both((a, b) => ({ low: Math.min(a.low, b.low), high: Math.min(a.high, b.high) }));
    // the place of the token that goes on: one of those that were counted
    case "gather":
      return of(0);
    case "neg": {
      const a = of(0);
      return a && { low: -a.high, high: -a.low };
    }
    case "where": {
      const [a, b] = [of(1), of(2)];
      return a && b && hull([a.low, a.high, b.low, b.high]);
    }
    default:
      if (n.op === "cast" || n.op === "stop_gradient") return of(0);
      return readsOf(n) === undefined ? undefined : shown(n, known);
  }
}

/** Of what a move shows of its operands, and fills up. */
function shown(n: Node, known: ReadonlyMap<Node, Range | undefined>): Range | undefined {
  const parts = n.inputs.map((input) => known.get(input));
  const fill = n.attrs.value;
  return parts.every((part) => part !== undefined)
    ? hull([...parts.flatMap(({ low, high }) => [low, high]), ...(typeof fill === "number" ? [fill] : [])])
    : undefined;
}

const hull = (values: readonly number[]): Range => ({ low: Math.min(...values), high: Math.max(...values) });
