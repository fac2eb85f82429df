/**
 * What depends on frozen parameters and constants alone and is dear to compute (products, reductions, decompositions, transcendental functions)
 * is computed once after the weights are written, by entries of their own, and kept beside them. Before: entries that compute it in every run.
 * After: entries whose results the others read like parameters. Equal values of different entries are computed and kept once. Weights that nothing
 * else reads are not kept: they are inputs of the entry that computes from them, and each set of them has an entry, so that one can go when the
 * next comes. What is nothing but such a weight in 16 bits needs no entry: the weight is written in them. Of others a piece at a time is brought
 * in, where that is enough.
 */

import type { Load } from "../ground/program.ts";
import type { HalfFormat } from "../ground/weights.ts";
import { type Graph, type Node, node, order, type Result } from "../ir/graph.ts";
import { isHalfFormat } from "../ir/ops/halves.ts";
import { isDear, rowOf } from "../ir/ops/index.ts";
import type { PassRow } from "../ir/passes/pass.ts";
import { rebuild, withInputs, withRoots } from "../ir/rebuild.ts";
import { attrsKey } from "../ir/rewrite.ts";
import { elements, isLeaf, isReshape, isView, under } from "./kernels/roots.ts";
import { singleLeaves } from "./leaves.ts";
import { inPieces } from "./pieces.ts";
import { storageKey } from "./schedule.ts";

/** Names of what is computed once begin so; no parameter's path does. */
const PREFIX = "load/";
export const isDerived = (name: string): boolean => name.startsWith(PREFIX);

export interface Loaded {
  /** The graphs, in their order, reading what `load` makes. */
  readonly graphs: readonly Graph[];
  readonly loads: readonly LoadGraph[];
  /** Parameters that are kept as words of 16 bits, under another name. */
  readonly halves: readonly Half[];
}
interface Half {
  readonly param: string;
  readonly as: string;
  readonly format: HalfFormat;
}
export interface LoadGraph extends Omit<Load, "pieces"> {
  readonly graph: Graph;
  /** As in `Load`, with results by name. */
  readonly pieces?: { readonly count: number; readonly whole: readonly string[]; readonly rest?: string };
}

/** The graphs reading what is computed once like parameters, and what that is. */
export interface Once {
  readonly graphs: readonly Graph[];
  readonly results: readonly Result[];
}

/** `hoist` as the list of passes has it: it takes all graphs of a program, and gives those that run at loading beside them. */
export const hoisting: PassRow = {
  name: "hoist",
  before: "the flat graphs of a program",
  after:
    "what depends on frozen parameters and constants alone, and is dear, is read as a parameter, which an entry of its own computes at loading",
  law: "every result is the same, to the bit",
};

export function hoist(graphs: readonly Graph[]): Loaded {
  const { graphs: rewritten, results } = onceOf(graphs);
  if (results.length === 0) return { graphs, loads: [], halves: [] };
  const kept = parametersOf(rewritten.flatMap((g) => g.results.map((r) => r.node)));
  const halves = halvesOf(results, kept);
  const others = results.filter(({ name }) => !halves.some((h) => h.as === name));
  return { graphs: rewritten, loads: loadGraphs(others, kept), halves };
}

/**
 * `moving`: what must stay in the graphs, such as that by which a gradient is still to be taken. `nameOf`: what the next one is called.
 */
export function onceOf(
  graphs: readonly Graph[],
  moving: (n: Node) => boolean = () => false,
  nameOf: (n: Node, index: number) => string = (_, index) => `${PREFIX}${index}`,
): Once {
  const updated = new Set(graphs.flatMap((g) => g.results.filter((r) => r.role !== "output").map((r) => storageKey(r.role, r.name))));
  const keys = new Map<Node, string>();
  const numbered = new Map<string, number>();
  /** Equal for equal computations on equal operands. */
  const keyOf = (n: Node): string => {
    let key = keys.get(n);
    if (key === undefined) {
      const text = `${n.op} ${attrsKey(n.attrs)} ${n.type.dtype} ${n.type.shape} ${n.inputs.map(keyOf)}`;
      let id = numbered.get(text);
      if (id === undefined) {
        id = numbered.size;
        numbered.set(text, id);
      }
      key = `#${id}`;
      keys.set(n, key);
    }
    return key;
  };

  const made = new Map<string, { name: string; node: Node }>();
  const rewritten = graphs.map((graph): Graph => {
    const roots = graph.results.map((r) => r.node);
    const all = order(roots);
    const fixed = new Set<Node>();
    /** Of a fixed node: whether something dear is below it or it is dear itself, and the largest value below. */
    const dear = new Map<Node, boolean>();
    const largest = new Map<Node, number>();
    for (const n of all) {
      const row = rowOf(n);
      const frozenLeaf = row.supply === "param" && !updated.has(storageKey("param", n.attrs.name));
      if (moving(n) || !isBound(n) || row.role === "region" || (row.supply ? !frozenLeaf : !n.inputs.every((x) => fixed.has(x)))) continue;
      fixed.add(n);
      dear.set(n, isWorthATable(n) || n.inputs.some((x) => dear.get(x)));
      largest.set(n, Math.max(isLeaf(n) || isWorthATable(n) ? elements(n) : 0, ...n.inputs.map((x) => largest.get(x)!)));
    }
    const wanted = new Set<Node>();
    /** Elementwise work and movement on something packed: kept, it would be larger than the packed form. */
    const unpacking = new Map<Node, boolean>();
    const unpacks = (n: Node): boolean => {
      const x = under(n);
      const seen = unpacking.get(x) ?? (rowOf(x).packed === true || (!isLeaf(x) && !isWorthATable(x) && x.inputs.some(unpacks)));
      unpacking.set(x, seen);
      return seen;
    };
    const want = (n: Node) => {
      const x = under(n);
      if (isLeaf(x) || !dear.get(x) || wanted.has(x)) return;
      if (unpacks(x)) {
        for (const i of x.inputs) want(i);
        return;
      }
      // Not worth keeping as a whole where it is larger than anything it is made of.
      if (isWorthATable(x) || elements(x) <= largest.get(x)!) wanted.add(x);
      else for (const i of x.inputs) want(i);
    };
    for (const n of all) if (!fixed.has(n)) for (const x of n.inputs) if (fixed.has(x)) want(x);
    for (const n of roots) if (fixed.has(n)) want(n);
    if (wanted.size === 0) return graph;
    const known = new Map<Node, Node>();
    for (const n of wanted) {
      const key = keyOf(n);
      let entry = made.get(key);
      if (!entry) {
        entry = { name: nameOf(n, made.size), node: n };
        made.set(key, entry);
      }
      known.set(n, node("param", [], { name: entry.name, ...n.type }, n.type, n.origin));
    }
    const out = rebuild(roots, known);
    return withRoots(graph, out);
  });
  return { graphs: rewritten, results: [...made.values()].map(({ name, node }): Result => ({ role: "param", name, node })) };
}

/** Results that are nothing but 16 bits of a parameter that nothing else reads. */
function halvesOf(results: readonly Result[], kept: ReadonlySet<string>): Half[] {
  const readers = new Map<string, number>();
  for (const { node } of results) for (const name of parametersOf([node])) readers.set(name, (readers.get(name) ?? 0) + 1);
  return results.flatMap(({ name, node }) => {
    const { format } = node.attrs;
    if (rowOf(node).role !== "host" || !isHalfFormat(format)) return [];
    let [x] = node.inputs;
    while (isReshape(x)) [x] = x.inputs;
    const param = String(x.attrs.name);
    return rowOf(x).supply === "param" && !kept.has(param) && readers.get(param) === 1 ? [{ param, as: name, format }] : [];
  });
}

export function parametersOf(roots: readonly Node[]): Set<string> {
  return new Set(order(roots).flatMap((n) => (rowOf(n).supply === "param" ? [String(n.attrs.name)] : [])));
}

/** An entry for results that share weights nobody else reads (`kept` are read elsewhere); one for those that read kept weights only. */
function loadGraphs(results: readonly Result[], kept: ReadonlySet<string>): LoadGraph[] {
  const groups: { results: Result[]; handed: Set<string>; reads: boolean }[] = [];
  for (const result of results) {
    const read = parametersOf([result.node]);
    const handed = new Set([...read].filter((name) => !kept.has(name)));
    const group = { results: [result], handed, reads: handed.size < read.size };
    const same = (g: (typeof groups)[number]) => (handed.size === 0 ? g.handed.size === 0 : [...handed].some((name) => g.handed.has(name)));
    for (const other of groups.filter(same)) {
      groups.splice(groups.indexOf(other), 1);
      group.results.unshift(...other.results);
      for (const name of other.handed) group.handed.add(name);
      group.reads ||= other.reads;
    }
    groups.push(group);
  }
  let number = 0;
  const nameOf = () => (++number === 1 ? "load" : `load.${number}`);
  return groups.flatMap(({ results, handed, reads }): LoadGraph[] => {
    const roots = rebuild(
      results.map((r) => r.node),
      new Map(),
      (n, inputs) => {
        if (rowOf(n).supply !== "param" || !handed.has(String(n.attrs.name))) return withInputs(n, inputs);
        return node("input", [], { ...n.attrs, dtype: n.type.dtype }, n.type, n.origin);
      },
    );
    const graph = singleLeaves({ results: results.map((r, k) => ({ ...r, node: roots[k] })) });
    const entry = nameOf();
    const [only] = handed;
    const pieces = handed.size === 1 && !reads ? inPieces(graph, only) : undefined;
    if (pieces === undefined) return [{ entry, handed: [...handed].sort(), reads, graph }];
    const { count, whole } = pieces;
    const rest = pieces.rest && { entry: nameOf(), graph: pieces.rest };
    return [
      { entry, handed: [only], reads, graph: pieces.graph, pieces: { count, whole, ...(rest && { rest: rest.entry }) } },
      ...(rest ? [{ entry: rest.entry, handed: [], reads: false, graph: rest.graph }] : []),
    ];
  });
}

/** Whether its size is known: it may be that of a batch, where a backend leaves that open. */
const isBound = (n: Node): boolean => n.type.shape.every((d) => typeof d === "number");

/** Whether it is dear to compute anew: products, reductions, decompositions, transcendental functions. */
export function isWorthATable(n: Node): boolean {
  const row = rowOf(n);
  if (row.role === "product" || row.role === "reduce" || row.role === "scan" || row.role === "host") return true;
  return !isView(n) && row.scalar !== undefined && isDear(row.scalar);
}
