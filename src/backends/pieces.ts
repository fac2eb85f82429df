/**
 * Entries that compute once from a weight, cut so that they need a piece of it at a time. What keeps to runs of leading indices (elementwise work,
 * reductions of trailing axes, packing into words) is computed piece by piece; what needs all of the weight's scales at once (their mean) comes
 * after, from what the pieces left. Before: a graph that reads a whole weight as f32. After: the same graph over some leading indices, and a graph
 * over its small results, if anything is left.
 */

import { type Attrs, type Graph, type Node, node, order, type Result, sizes } from "../ir/graph.ts";
import { remake } from "../ir/make.ts";
import { foldedAxes, rowOf } from "../ir/ops/index.ts";
import { rebuild } from "../ir/rebuild.ts";
import { gcd } from "./kernels/index.ts";
import { elements, isReshape } from "./kernels/roots.ts";

/** Elements of a weight that are brought in at once, about. */
const PIECE = 1 << 20;

export interface Pieces {
  /** Reads `count` elements of the weight at a time; outputs only, by the names of the results they are part of, or by names of `rest`'s inputs. */
  readonly graph: Graph;
  readonly count: number;
  /** Results of the original graph that pieces make up. */
  readonly whole: readonly string[];
  /** What else must be computed, from inputs that are outputs of the pieces. */
  readonly rest: Graph | undefined;
}

type Kind = "free" | "cut" | "whole";

/** `undefined`: nothing is gained, or the graph needs all of the weight at once. `name`: the input that is the weight. */
export function inPieces(graph: Graph, name: string): Pieces | undefined {
  const all = order(graph.results.map((r) => r.node));
  const weight = all.find((n) => rowOf(n).supply === "input" && n.attrs.name === name);
  if (weight === undefined) return undefined;
  const kinds = new Map<Node, Kind>();
  for (const n of all) kinds.set(n, n === weight ? "cut" : kindOf(n, kinds));
  const cut = (n: Node) => kinds.get(n) === "cut";
  const units = all.filter(cut).reduce((x, n) => gcd(x, sizes(n)[0] ?? 1), 0);
  const total = elements(weight);
  const each = Math.max(1, Math.floor((PIECE * units) / total));
  if (each * 2 > units) return undefined;

  const handed = new Map<Node, string>();
  for (const n of all) if (kinds.get(n) === "whole") for (const x of n.inputs) if (cut(x)) handed.set(x, `piece/${handed.size}`);
  const whole = graph.results.filter((r) => cut(r.node));
  const later = graph.results.filter((r) => !cut(r.node));
  if (whole.length === 0 || [...handed.keys()].reduce((sum, n) => sum + elements(n), 0) * 4 > total) return undefined;

  const outputs = [...whole.map((r) => ({ name: r.name, node: r.node })), ...[...handed].map(([n, as]) => ({ name: as, node: n }))];
  const shorter = (n: Node): Node["type"] => {
    const [first, ...rest] = sizes(n);
    return { dtype: n.type.dtype, shape: [(first / units) * each, ...rest] };
  };
  const known = new Map<Node, Node>([
    [weight, node("input", [], { ...weight.attrs, shape: shorter(weight).shape }, shorter(weight), weight.origin)],
  ]);
  const pieces = rebuild(
    outputs.map((o) => o.node),
    known,
    (n, inputs) => {
      if (!cut(n)) return n;
      // what is the same for all leading indices is repeated fewer times
      const fitted = inputs.map((x, i) =>
        n.inputs[i] === x && uniform(x) && spreads(n, i) ? remake(x, x.inputs, short(x.attrs, each, units)) : x,
      );
      return remake(n, fitted, short(n.attrs, each, units));
    },
  );
  for (const [i, { node: n }] of outputs.entries()) if (sizes(pieces[i])[0] !== shorter(n).shape[0]) return undefined;
  return {
    graph: { results: outputs.map((o, i): Result => ({ role: "output", name: o.name, node: pieces[i] })) },
    count: (total / units) * each,
    whole: whole.map((r) => r.name),
    rest: later.length === 0 ? undefined : restOf(later, handed),
  };
}

function restOf(results: readonly Result[], handed: ReadonlyMap<Node, string>): Graph {
  const known = new Map<Node, Node>();
  for (const [n, name] of handed) known.set(n, node("input", [], { name, shape: n.type.shape, dtype: n.type.dtype }, n.type, n.origin));
  const roots = rebuild(
    results.map((r) => r.node),
    known,
  );
  return { results: results.map((r, i) => ({ ...r, node: roots[i] })) };
}

/** Whether a run of leading indices of the result needs but the same run of what is cut. */
function kindOf(n: Node, kinds: ReadonlyMap<Node, Kind>): Kind {
  const of = n.inputs.map((x) => kinds.get(x)!);
  if (of.every((k) => k === "free")) return "free";
  if (of.includes("whole") || n.type.shape.length === 0) return "whole";
  return keeps(n, of) ? "cut" : "whole";
}

function keeps(n: Node, of: readonly Kind[]): boolean {
  const row = rowOf(n);
  const [x] = n.inputs;
  const first = (m: Node) => sizes(m)[0];
  if (row.scalar !== undefined || row.role === "barrier" || row.role === "sum" || row.role === "scale")
    return n.inputs.every((i, k) => (of[k] === "cut" ? first(i) === first(n) : uniform(i) || sizes(i).length === 0));
  if (row.runs !== undefined) return n.inputs.every((_, k) => of[k] === (row.runs!.includes(k) ? "cut" : "free"));
  if (isReshape(n)) return true;
  // words of two numbers: leading indices begin with a word
  if (row.packed === true && n.inputs.length === 1) return (elements(n) / first(n)) % 2 === 0;
  if (isExpand(n)) return first(x) === first(n);
  return row.role === "reduce" && !foldedAxes(n).includes(0);
}

/** Operands that follow the leading axis of the result. */
const spreads = (n: Node, i: number): boolean => sizes(n.inputs[i]).length > 0 && rowOf(n).runs?.includes(i) !== false;

const isExpand = (n: Node): boolean => rowOf(n).role === "move" && n.inputs.length === 1 && Array.isArray(n.attrs.shape) && !isReshape(n);

/** The same for all leading indices. */
function uniform(n: Node): boolean {
  if (rowOf(n).role === "source" && Array.isArray(n.attrs.data) && n.attrs.data.length === 1) return true;
  return isExpand(n) && sizes(n.inputs[0])[0] === 1;
}

/** Attributes with a leading size cut short. */
function short(attrs: Attrs, each: number, units: number): Attrs {
  const { shape } = attrs;
  if (!Array.isArray(shape)) return attrs;
  const [first, ...rest] = shape as readonly number[];
  return { ...attrs, shape: [(first / units) * each, ...rest] };
}
