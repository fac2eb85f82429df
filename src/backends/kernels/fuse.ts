/**
 * Which roots share a kernel. Starting from one kernel a root, a root joins the kernels that make what it reads, where one iteration space
 * serves both: maps join maps, reductions along rows join what feeds them and what follows from them (softmax, norms, cross-entropy and
 * their derivatives), maps join the product whose result they read, and so do products that are added to it. Kernels stay acyclic and within the device's number of operands. What the
 * backward half computes joins a kernel of the forward half only where that kernel stores no more for it: else the cut's choice of what is kept would be undone.
 * What lies behind a fence is stored: a kernel that waits does not hold up what comes before.
 */

import type { Graph, Node } from "../../ir/graph.ts";
import { foldedAxes, rowOf } from "../../ir/ops/index.ts";
import { isGet } from "../../ir/rebuild.ts";
import { buildLoop, type InMemory } from "./build.ts";
import { buildProduct } from "./build-product.ts";
import { type Cluster, Clusters, type Kind } from "./clusters.ts";
import { dotShape } from "./dots.ts";
import { chooseRoots, elements, inPieces, isFence, isLeaf, type RootLimits, under } from "./roots.ts";
import { SharedKernels } from "./shared.ts";
import { isReduction, Misfit, Signatures, spaceOf } from "./space.ts";
import { buildSpecial, isSpecial, type SpecialBuilt } from "./special.ts";
import { commonSum, type Uses, worthOne } from "./sums.ts";

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
  /** Of a product that is added to another, and could not go on with its sum: which, and why. */
  readonly apart?: { readonly beside: Node; readonly why: string };
}

/** Rows shorter than this, or at least this many rows: then a kernel may hold a row and what follows from it. */
const FEW_ROWS = 8;
const LONG_ROW = 4096;

function kindOf(n: Node): Kind {
  const role = rowOf(n).role;
  if (role === "host") return "host";
  if (isGet(n)) return "iterations";
  if (role === "product") return "product";
  return inPieces(n) || isSpecial(n) ? "special" : "loop";
}

/** Whether a reduction runs along the fastest axes of its operand, so that rows lie in one piece. */
function alongRows(n: Node): boolean {
  const shape = spaceOf(n);
  const reduced = foldedAxes(n);
  let seen = false;
  for (let i = 0; i < shape.length; i++) {
    if (shape[i] === 1) continue;
    if (reduced.includes(i)) seen = true;
    else if (seen) return false;
  }
  const rows = elements(n);
  return rows >= FEW_ROWS || elements(n.inputs[0]) / rows <= LONG_ROW;
}

/** Cuts a flat graph with bound sizes into steps, operands before users. `shared` has what was built before. */
export function fuse(graph: Graph, limits: FuseLimits, shared = new SharedKernels()): Step[] {
  const { roots, order } = chooseRoots(graph, limits);
  const results = new Set(graph.results.map((r) => r.node));
  const inMemory: InMemory = (n) => roots.has(n) || isLeaf(n);
  const signatures = new Signatures(roots);
  const position = new Map(order.map((n, i) => [n, i]));

  const reads = new Map<Node, Set<Node>>();
  /** By root, those of its reads that lie behind a fence. */
  const fenced = new Map<Node, Set<Node>>();
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
      if (isFence(x)) fenced.set(n, (fenced.get(n) ?? new Set()).add(under(x)));
    }
    if (isFence(n)) fenced.set(n, new Set([under(n)]));
    reads.set(n, found);
    for (const x of found) {
      if (!users.has(x)) users.set(x, new Set());
      users.get(x)!.add(n);
    }
  }

  const direct = new Map<Node, Set<Node>>();
  for (const n of order)
    for (const x of n.inputs) {
      if (!direct.has(x)) direct.set(x, new Set());
      direct.get(x)!.add(n);
    }
  const uses: Uses = { users: (n) => [...(direct.get(n) ?? [])], isResult: (n) => results.has(n) };
  const lengthOf = (n: Node) => dotShape(n).axes[3];

  const clusters = new Clusters(reads);
  const storedOf = (members: readonly Node[]): Set<Node> => {
    const inside = new Set(members);
    const outside = (n: Node): boolean => {
      for (const u of users.get(n) ?? []) if (!inside.has(u)) return true;
      return false;
    };
    return new Set(members.filter((n) => results.has(n) || outside(n)));
  };
  const bytesStored = (members: readonly Node[]): number => [...storedOf(members)].reduce((sum, n) => sum + elements(n), 0);
  /** When a cluster runs: with the forward half, with a walk through levels that are recomputed, with the backward half. */
  const phase = (c: Cluster): number => Math.min(...c.roots.map((n) => (!n.backward ? 0 : n.origin.recomputed === "on the way" ? 1 : 2)));
  const build = (kind: Kind, members: readonly Node[]): readonly SpecialBuilt[] | string => {
    const stored = storedOf(members);
    return shared.of(
      kind,
      members,
      (n) => stored.has(n),
      inMemory,
      () => {
        if (kind === "special") return buildSpecial(members[0], inMemory);
        if (kind === "product") return [buildProduct(members[0], members, stored, inMemory, signatures)];
        return [buildLoop(members, stored, inMemory, signatures)];
      },
    );
  };
  /** The two as one, or why they cannot be. */
  const join = (c: Cluster, p: Cluster): Cluster | string => {
    if (c.roots.length + p.roots.length > limits.roots) return "one kernel would compute too many values";
    const members = [...p.roots, ...c.roots].sort((a, b) => position.get(a)! - position.get(b)!);
    if (phase(p) < phase(c) && bytesStored(members) > bytesStored(p.roots)) return "more would be kept";
    if (c.roots.some((n) => p.roots.some((r) => fenced.get(n)?.has(r)))) return "one of the two waits for something else";
    if (!clusters.joinable(c, p)) return "something between them needs one and is needed by the other";
    if (p.kind === "product") {
      const main = c.kind === "product" ? c.roots[0] : p.roots[0];
      members.splice(0, members.length, main, ...members.filter((n) => n !== main));
    }
    const built = build(p.kind, members);
    if (typeof built === "string") return built;
    const [{ kernel }] = built;
    if (kernel.operands.length > limits.operands)
      return `one kernel would touch ${kernel.operands.length} tensors, and the device binds ${limits.operands}`;
    if (kernel.values.length > 4 * limits.cost) return "one kernel would be too long";
    return clusters.join(c, p, members);
  };

  /** Why the products of the clusters are not parts of one sum of which the first one of `c` is the longest; `undefined` if they are. */
  const whyApart = (c: Cluster, p: Cluster): string | undefined => {
    const [main, ...others] = [...c.roots, ...p.roots].filter((n) => rowOf(n).role === "product");
    if (phase(c) !== phase(p)) return "they belong to different halves of the step";
    if (!others.every((n) => commonSum(main, n, uses))) {
      const shared = [main, ...others].some((n) => uses.isResult(n) || uses.users(n).length > 1);
      return shared ? "one of the two is wanted by itself" : "more than additions lie between them";
    }
    return worthOne([main, ...others].map(lengthOf)) ? undefined : "both are long";
  };
  const apart = new Map<Node, { readonly beside: Node; readonly why: string }>();

  const iterations = new Map<Node, Cluster>();
  for (const n of list) {
    const same = isGet(n) ? iterations.get(n.inputs[0]) : undefined;
    if (same) {
      clusters.extend(same, n);
      continue;
    }
    let mine = clusters.add(kindOf(n), n, position.get(n)!);
    if (mine.kind === "iterations") iterations.set(n.inputs[0], mine);
    if (mine.kind !== "loop" || (isReduction(n) && !alongRows(n))) continue;
    const candidates = [...clusters.needs(mine)].filter((p) => {
      if (p.kind === "product") return !isReduction(n);
      return p.kind === "loop" && p.roots.every((r) => !isReduction(r) || alongRows(r));
    });
    const weight = (p: Cluster) => (p.kind === "product" ? 1e12 + lengthOf(p.roots[0]) : Math.max(...p.roots.map(elements)));
    candidates.sort((a, b) => weight(b) - weight(a));
    for (const p of candidates) {
      if (p.kind === "loop" && mine.kind === "product") continue;
      if (!clusters.has(p)) continue;
      const sums = p.kind === "product" && mine.kind === "product";
      const joined = (sums ? whyApart(mine, p) : undefined) ?? join(mine, p);
      if (typeof joined !== "string") mine = joined;
      else if (sums) apart.set(p.roots[0], { beside: mine.roots[0], why: joined });
    }
  }

  return clusters.ordered().map((c): Step => {
    const inside = new Set(c.roots);
    const outer = new Set(c.roots.flatMap((n) => [...reads.get(n)!]).filter((x) => !inside.has(x)));
    if (c.kind === "host") return { roots: c.roots, reads: [...outer], built: [], host: c.roots[0] };
    if (c.kind === "iterations") return { roots: c.roots, reads: [...outer], built: [], loop: c.roots[0].inputs[0] };
    const other = apart.get(c.roots[0]);
    const built = build(c.kind, c.roots);
    if (typeof built === "string") throw new Misfit(built);
    return { roots: c.roots, reads: [...outer], built, ...(other && { apart: other }) };
  });
}
