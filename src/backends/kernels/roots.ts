/**
 * Which nodes are computed once and stored (*roots*), and which are computed where they are used. Sums of products, reductions, scans and
 * scatters are always roots; elementwise work and movement is left to its consumers unless that would repeat what is dear.
 */
import { type Graph, type Node, order, sizes } from "../../ir/graph.ts";
import { bound } from "../../ir/ops/bound.ts";
import { costOf, isPlainMove, joinedAxis, readsOf, rowOf, splatOf, windowOf } from "../../ir/ops/index.ts";
import { constantAxes, isTimes } from "../../ir/passes/rules/facts.ts";
import { isGet } from "../../ir/rebuild.ts";
import { isTable, transparent } from "./emit.ts";

export interface RootLimits {
  /** Most tensors that one kernel may read. */
  readonly leaves: number;
  /** Most work that one element may stand for, in additions. */
  readonly cost: number;
}

export const elements = (n: Node): number => sizes(n).reduce((a, b) => a * b, 1);

/** In memory without a kernel: what is handed in, and tables. */
export const isLeaf = (n: Node): boolean => rowOf(n).supply !== undefined || isTable(n);

/** Movement that neither adds nor chooses elements: its uses are uses of what it moves. */
export function isView(n: Node): boolean {
  return isPlainMove(n) || rowOf(n).role === "barrier";
}

/** Movement to another shape that keeps every element and their order: `reshape`, or an `expand` that widens nothing. */
export const isReshape = (n: Node): boolean =>
  rowOf(n).role === "move" && n.attrs.shape !== undefined && elements(n) === elements(n.inputs[0]);

/** What is read only when something else has been computed. */
export const isFence = (n: Node): boolean => rowOf(n).role === "barrier" && n.inputs.length > 1;

/** Joined out of many operands: each is put in its place by a kernel of its own, rather than all being asked for every element. */
export const inPieces = (n: Node): boolean => n.inputs.length > PIECES && joinedAxis(n) !== undefined;
const PIECES = 4;

/** Whether what lies under views is computed from a packed form wherever it is read, and not kept. */
const isPacked = (n: Node): boolean => rowOf(under(n)).packed === true;

/** What lies under views. */
export function under(n: Node): Node {
  while (isView(n)) n = n.inputs[0];
  return n;
}

/**
 * The node in whose memory `n` lies as one piece, so many elements from its beginning: through reshapes, and slices of the leading axis. `n`
 * itself, where it is in memory or is no such view.
 */
export function pieceOf(n: Node, inMemory: (n: Node) => boolean): { readonly node: Node; readonly offset: number } {
  let offset = 0;
  while (!inMemory(n) && isView(n)) {
    const from = n.inputs[0];
    if (rowOf(n).role !== "barrier" && readsOf(n) !== "in order") {
      const window = windowOf(n);
      const [inner, outer] = [sizes(n), sizes(from)];
      const cut = inner.findIndex((d) => d !== 1);
      if (!window || window.step.some((s) => s !== 1) || inner.some((d, i) => i > cut && d !== outer[i])) break;
      offset += window.start.reduce<number>((at, s, i) => at * outer[i] + bound(s), 0);
    }
    n = from;
  }
  return { node: n, offset };
}

/** A side of a product is scaled where it is read if it is this long both along the sum and across. */
const WEIGHT = 64;

/**
 * Of a side of a product that is a parameter with rows or columns scaled: what it is scaled by. It is brought into the kernel's own memory anyway, and
 * scaled on the way, so that no second tensor of its size is made.
 */
function scaledWeight(dot: Node, side: number): Node[] | undefined {
  const found: Node[] = [];
  let n = under(dot.inputs[side]);
  while (isTimes(n)) {
    const i = n.inputs.findIndex((x) => constantAxes(x).size > 0 && elements(under(x)) < elements(n));
    if (i < 0) return undefined;
    found.push(n.inputs[i]);
    n = under(n.inputs[1 - i]);
  }
  const sums = elements(dot.inputs[0]) * elements(dot.inputs[1]);
  const depth = Math.sqrt(sums / elements(dot));
  const large = depth >= WEIGHT && elements(n) >= WEIGHT * depth;
  return found.length > 0 && rowOf(n).supply === "param" && elements(n) === elements(dot.inputs[side]) && large ? found : undefined;
}

/** The number of which all elements of a loop's carried value are before its first iteration, where it is one: then it is not read from memory. */
export function fillOf(n: Node): number | undefined {
  const value = splatOf(under(n));
  return typeof value === "number" ? value : undefined;
}

/** Work for one element beyond that of its operands, in additions. */
function ownCost(n: Node): number {
  const row = rowOf(n);
  if (row.scalar) return costOf(row.scalar);
  if (row.role === "source") return n.inputs.length ? 80 : 0;
  if (row.role === "index") return 3;
  return isView(n) ? 0 : 2 * n.inputs.length;
}
/** Recomputing up to this many additions in every consumer is cheaper than a pass over memory. */
const CHEAP = 4;
/** A repeated element (under `expand`) is worth storing from this cost on. */
const REPEATED = 8;

/** A number that is joined with another to a number of the same kind, and so on: the sum of all gradients' squares. */
const goesOn = (n: Node): boolean => elements(n) === 1 && n.inputs.some((x) => x.op === n.op) && rowOf(n).algebra?.commutative === true;
/** One number from before and a power of two of new ones: kernels along such a chain then have the same operands, whichever layer they begin at. */
const evenly = (leaves: number): number => 1 + 2 ** Math.floor(Math.log2(Math.max(1, leaves - 1)));

interface Inlined {
  cost: number;
  leaves: Set<Node>;
}

export interface Roots {
  readonly roots: ReadonlySet<Node>;
  /** All nodes, operands first. */
  readonly order: readonly Node[];
}

export function chooseRoots(graph: Graph, limits: RootLimits): Roots {
  const results = new Set(graph.results.map((r) => r.node));
  const all = order([...results]);
  const consumers = new Map<Node, Node[]>(all.map((n) => [n, []]));
  for (const n of all) n.inputs.forEach((x, i) => n.inputs.indexOf(x) === i && consumers.get(x)!.push(n));
  const uses = new Map<Node, number>();
  for (let i = all.length - 1; i >= 0; i--) {
    const n = all[i];
    let count = results.has(n) ? 1 : 0;
    for (const c of consumers.get(n)!) count += isView(c) && !results.has(c) ? uses.get(c)! : 1;
    uses.set(n, count);
  }

  const roots = new Set<Node>();
  const inlined = new Map<Node, Inlined>();
  const inMemory = (n: Node) => roots.has(n) || isLeaf(n);
  const measure = (n: Node): Inlined => {
    let cost = ownCost(n);
    const only = n.inputs.length === 1 && !inMemory(n.inputs[0]) ? inlined.get(n.inputs[0])! : undefined;
    if (only) {
      const out = { cost: cost + only.cost, leaves: only.leaves };
      inlined.set(n, out);
      return out;
    }
    const leaves = new Set<Node>();
    for (const x of n.inputs) {
      if (inMemory(x)) leaves.add(x);
      else {
        const inner = inlined.get(x)!;
        cost += inner.cost;
        for (const leaf of inner.leaves) leaves.add(leaf);
      }
    }
    const out = { cost, leaves };
    inlined.set(n, out);
    return out;
  };
  /** Sees to it that what lies under a view is in memory. */
  const store = (n: Node) => {
    const x = under(n);
    if (!inMemory(x)) roots.add(x);
  };
  /** Stores operands, the dearest first, until `n` reads few enough tensors. */
  const fit = (n: Node) => {
    const most = goesOn(n) ? evenly(limits.leaves) : limits.leaves;
    for (;;) {
      const { cost, leaves } = measure(n);
      if (leaves.size <= most && cost <= limits.cost) return;
      const dearest = n.inputs
        .filter((x) => !inMemory(under(x)) && inlined.get(x)!.cost > 0)
        .sort((a, b) => inlined.get(b)!.leaves.size - inlined.get(a)!.leaves.size || inlined.get(b)!.cost - inlined.get(a)!.cost)[0];
      if (!dearest) return;
      store(dearest);
      for (let v = dearest; isView(v); v = v.inputs[0]) inlined.set(v, { cost: 0, leaves: new Set([under(v)]) });
    }
  };

  for (const n of all) {
    if (isLeaf(n)) continue;
    const row = rowOf(n);
    if (n.loop) {
      n.inputs.forEach((x, i) => {
        if (i < n.loop!.carried && fillOf(x) !== undefined) return;
        const piece = pieceOf(x, inMemory).node;
        if (!inMemory(piece)) roots.add(piece);
      });
      continue;
    }
    if (isGet(n)) {
      roots.add(n);
      continue;
    }
    if (row.role === "host") {
      for (const x of n.inputs) store(x);
      for (const x of n.inputs) if (!inMemory(x)) roots.add(x);
      roots.add(n);
      continue;
    }
    if (row.role === "product") {
      n.inputs.forEach((x, side) => {
        const scaled = side < 2 ? scaledWeight(n, side) : undefined;
        if (scaled) for (const s of scaled) store(s);
        else if (!isPacked(x)) store(x);
      });
      roots.add(n);
      continue;
    }
    if (!transparent(n)) {
      // Reductions, scans, scatters, writes: their operands are computed inside, once an element.
      if (row.role === "scan" && n.inputs.length > 1) for (const x of n.inputs) store(x);
      // what is written over must lie somewhere
      if (row.over !== undefined && !inMemory(n.inputs[row.over])) roots.add(n.inputs[row.over]);
      fit(n);
      roots.add(n);
      continue;
    }
    if (
      row.role === "index" &&
      !inMemory(under(n.inputs[0])) &&
      !isPacked(n.inputs[0]) &&
      (uses.get(n.inputs[0])! > 1 || elements(n) > elements(n.inputs[0]))
    )
      store(n.inputs[0]);
    if (isFence(n)) store(n);
    if (inPieces(n)) {
      roots.add(n);
      measure(n);
      continue;
    }
    fit(n);
    if (isView(n)) {
      const x = under(n);
      const repeated = elements(n) > elements(n.inputs[0]);
      if (repeated && !inMemory(x) && !isPacked(x) && inlined.get(n)!.cost >= REPEATED) {
        roots.add(x);
        fit(n);
      }
    }
    if (results.has(n)) roots.add(n);
    else if (!isView(n) && !row.packed && uses.get(n)! > 1) {
      const { cost, leaves } = inlined.get(n)!;
      const size = elements(n);
      const full = [...leaves].filter((leaf) => 4 * elements(leaf) >= size && elements(leaf) > 64).length;
      if (cost > CHEAP || full > 1) roots.add(n);
    }
  }
  return { roots, order: all };
}
