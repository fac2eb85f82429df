/**
 * Which roots share a kernel. Starting from one kernel a root, a root joins the kernels that make what it reads, where one iteration space
 * serves both: maps join maps, reductions along rows join what feeds them and what follows from them (softmax, norms, cross-entropy and
 * their derivatives), maps join the product whose result they read. Kernels stay acyclic and within the device's number of operands. What the
 * backward half computes joins a kernel of the forward half only where that kernel stores no more for it: else the cut's choice of what is kept would be undone.
 */
import { Bug, type Graph, type Node } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { isGet } from "../../ir/rebuild.ts";
import { type Built, buildLoop, buildProduct, dotShape, type InMemory } from "./build.ts";
import { chooseRoots, elements, inPieces, isLeaf, type RootLimits } from "./roots.ts";
import { isReduction, Misfit, reducedAxes, Signatures, spaceOf } from "./space.ts";
import { buildSpecial, isSpecial, type SpecialBuilt } from "./special.ts";

export interface FuseLimits extends RootLimits {
  /** Most operands of one kernel, read and written. */
  readonly operands: number;
  /** Most roots in one kernel. */
  readonly roots: number;
}

/** A step of the lowered graph: kernels that run one after the other, or a host op. */
export interface Step {
  readonly roots: readonly Node[];
  /** Nodes in memory that the step reads. */
  readonly reads: readonly Node[];
  readonly built: readonly SpecialBuilt[];
  /** The node that the host computes; then `built` is empty. */
  readonly host?: Node;
  /** The loop over slices that the step runs; `built` is empty, and the roots are what is read of it. */
  readonly loop?: Node;
}

type Kind = "loop" | "product" | "special" | "host" | "turns";
interface Cluster {
  readonly kind: Kind;
  readonly roots: Node[];
  /** Position of the first root in the graph's order. */
  readonly first: number;
}

/** Rows shorter than this, or at least this many rows: then a kernel may hold a row and what follows from it. */
const FEW_ROWS = 8;
const LONG_ROW = 4096;

function kindOf(n: Node): Kind {
  const role = rowOf(n).role;
  if (role === "host") return "host";
  if (isGet(n)) return "turns";
  if (role === "product") return "product";
  return inPieces(n) || (isSpecial(n) && rowOf(n).role !== "move") ? "special" : "loop";
}

/** Whether a reduction runs along the fastest axes of its operand, so that rows lie in one piece. */
function alongRows(n: Node): boolean {
  const shape = spaceOf(n);
  const reduced = reducedAxes(n);
  let seen = false;
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 1) continue;
    if (reduced.includes(i)) seen = true;
    else if (seen) return false;
  }
  const rows = elements(n);
  return rows >= FEW_ROWS || elements(n.inputs[0]) / rows <= LONG_ROW;
}

/** Cuts a flat graph with bound sizes into steps, operands before users. */
export function fuse(graph: Graph, limits: FuseLimits): Step[] {
  const { roots, order } = chooseRoots(graph, limits);
  const results = new Set(graph.results.map((r) => r.node));
  const inMemory: InMemory = (n) => roots.has(n) || isLeaf(n);
  const signatures = new Signatures(roots);
  const position = new Map(order.map((n, i) => [n, i]));

  const reads = new Map<Node, Set<Node>>();
  const users = new Map<Node, Set<Node>>();
  const list = order.filter((n) => roots.has(n));
  for (const n of list) {
    const found = new Set<Node>();
    const stack = [...n.inputs];
    while (stack.length) {
      const x = stack.pop()!;
      if (found.has(x)) continue;
      if (inMemory(x)) found.add(x);
      else stack.push(...x.inputs);
    }
    reads.set(n, found);
    for (const x of found) {
      if (!users.has(x)) users.set(x, new Set());
      users.get(x)!.add(n);
    }
  }

  const clusterOf = new Map<Node, Cluster>();
  const clusters = new Set<Cluster>();
  const producers = (c: Cluster): Set<Cluster> => {
    const out = new Set<Cluster>();
    for (const n of c.roots)
      for (const x of reads.get(n)!) {
        const p = clusterOf.get(x);
        if (p && p !== c) out.add(p);
      }
    return out;
  };
  /** Whether `from` needs `target`, at any distance. */
  const reaches = (from: Iterable<Cluster>, target: Cluster): boolean => {
    const stack = [...from];
    const seen = new Set<Cluster>(stack);
    while (stack.length) {
      const c = stack.pop()!;
      if (c === target) return true;
      for (const p of producers(c))
        if (!seen.has(p)) {
          seen.add(p);
          stack.push(p);
        }
    }
    return false;
  };
  const storedOf = (members: readonly Node[]): Set<Node> => {
    const inside = new Set(members);
    return new Set(members.filter((n) => results.has(n) || [...(users.get(n) ?? [])].some((u) => !inside.has(u))));
  };
  const bytesStored = (members: readonly Node[]): number => [...storedOf(members)].reduce((sum, n) => sum + elements(n), 0);
  /** When a cluster runs: with the forward half, with a walk through levels that are recomputed, with the backward half. */
  const phase = (c: Cluster): number => Math.min(...c.roots.map((n) => (!n.backward ? 0 : n.origin.recomputed === "on the way" ? 1 : 2)));
  const build = (kind: Kind, members: readonly Node[]): Built => {
    const stored = storedOf(members);
    if (kind === "product") return buildProduct(members[0], members, stored, inMemory, signatures);
    return buildLoop(members, stored, inMemory, signatures);
  };
  const join = (c: Cluster, p: Cluster): Cluster | undefined => {
    if (c.roots.length + p.roots.length > limits.roots) return undefined;
    const rest = producers(c);
    rest.delete(p);
    if (reaches(rest, p)) return undefined;
    const members = [...p.roots, ...c.roots].sort((a, b) => position.get(a)! - position.get(b)!);
    if (phase(p) < phase(c) && bytesStored(members) > bytesStored(p.roots)) return undefined;
    if (p.kind === "product") members.splice(0, members.length, p.roots[0], ...members.filter((n) => n !== p.roots[0]));
    try {
      const { kernel } = build(p.kind, members);
      if (kernel.operands.length > limits.operands || kernel.values.length > 4 * limits.cost) return undefined;
    } catch (e) {
      if (e instanceof Misfit) return undefined;
      throw e;
    }
    const joined: Cluster = { kind: p.kind, roots: members, first: Math.min(p.first, c.first) };
    clusters.delete(p);
    clusters.delete(c);
    clusters.add(joined);
    for (const n of members) clusterOf.set(n, joined);
    return joined;
  };

  const turns = new Map<Node, Cluster>();
  for (const n of list) {
    const same = isGet(n) ? turns.get(n.inputs[0]) : undefined;
    if (same) {
      same.roots.push(n);
      clusterOf.set(n, same);
      continue;
    }
    let mine: Cluster = { kind: kindOf(n), roots: [n], first: position.get(n)! };
    clusters.add(mine);
    clusterOf.set(n, mine);
    if (mine.kind === "turns") turns.set(n.inputs[0], mine);
    if (mine.kind !== "loop" || (isReduction(n) && !alongRows(n))) continue;
    const candidates = [...producers(mine)].filter((p) => {
      if (p.kind === "product") return !isReduction(n);
      return p.kind === "loop" && p.roots.every((r) => !isReduction(r) || alongRows(r));
    });
    const weight = (p: Cluster) => (p.kind === "product" ? 1e12 + dotShape(p.roots[0]).axes[3] : Math.max(...p.roots.map(elements)));
    candidates.sort((a, b) => weight(b) - weight(a));
    for (const p of candidates) {
      if (p.kind === "product" && mine.kind === "product") continue;
      if (p.kind === "loop" && mine.kind === "product") continue;
      if (!clusters.has(p)) continue;
      mine = join(mine, p) ?? mine;
    }
  }

  return ordered([...clusters], producers).map((c): Step => {
    const inside = new Set(c.roots);
    const outer = new Set(c.roots.flatMap((n) => [...reads.get(n)!]).filter((x) => !inside.has(x)));
    if (c.kind === "host") return { roots: c.roots, reads: [...outer], built: [], host: c.roots[0] };
    if (c.kind === "turns") return { roots: c.roots, reads: [...outer], built: [], loop: c.roots[0].inputs[0] };
    const built = c.kind === "special" ? buildSpecial(c.roots[0], inMemory) : [build(c.kind, c.roots)];
    return { roots: c.roots, reads: [...outer], built };
  });
}

/** Operands first; among those ready, the one whose first root comes first in the graph. */
function ordered(clusters: Cluster[], producers: (c: Cluster) => Set<Cluster>): Cluster[] {
  clusters.sort((a, b) => a.first - b.first);
  const done = new Set<Cluster>();
  const open = new Set<Cluster>();
  const out: Cluster[] = [];
  const visit = (c: Cluster) => {
    if (done.has(c)) return;
    if (open.has(c)) throw new Bug(`kernels need each other around ${c.roots[0].op} in ${c.roots[0].origin.path}`);
    open.add(c);
    for (const p of [...producers(c)].sort((a, b) => a.first - b.first)) visit(p);
    open.delete(c);
    done.add(c);
    out.push(c);
  };
  for (const c of clusters) visit(c);
  return out;
}
