/**
 * Roots gathered into kernels-to-be. Clusters stand in an order in which each comes behind what it needs; the order is kept up while clusters are joined
 * (D. J. Pearce, P. H. J. Kelly, "A dynamic topological sort algorithm for directed acyclic graphs", 2006), so that whether a join would close a circle is
 * looked for between the two places only.
 */
import { Bug, type Node } from "../../ir/graph.ts";

export type Kind = "loop" | "product" | "special" | "host" | "iterations";

export interface Cluster {
  readonly kind: Kind;
  readonly roots: readonly Node[];
  /** Position of the first root in the graph's order. */
  readonly first: number;
}

class Member implements Cluster {
  /** Clusters that make what this one reads, and clusters that read what it makes. */
  readonly needs = new Set<Member>();
  readonly users = new Set<Member>();
  before: Member | undefined;
  after: Member | undefined;
  constructor(
    readonly kind: Kind,
    public roots: readonly Node[],
    public first: number,
    /** Place in the order: greater than that of all it needs. */
    public at: number,
  ) {}
}

/** Closer places than this are not told apart safely. */
const LEAST_GAP = 1e-9;

export class Clusters {
  private readonly of = new Map<Node, Member>();
  private readonly all = new Set<Member>();
  private last: Member | undefined;

  constructor(private readonly reads: ReadonlyMap<Node, ReadonlySet<Node>>) {}

  /** A cluster of one root, behind all others. */
  add(kind: Kind, root: Node, first: number): Cluster {
    const made = new Member(kind, [root], first, this.last ? this.last.at + 1 : 0);
    made.before = this.last;
    if (this.last) this.last.after = made;
    this.last = made;
    this.all.add(made);
    this.put(root, made);
    return made;
  }

  /** Another root for the same cluster; what it reads is among what the cluster reads. */
  extend(cluster: Cluster, root: Node): void {
    const c = cluster as Member;
    c.roots = [...c.roots, root];
    this.put(root, c);
  }

  private put(root: Node, c: Member): void {
    this.of.set(root, c);
    for (const x of this.reads.get(root)!) {
      const p = this.of.get(x);
      if (!p || p === c) continue;
      if (p.at > c.at) throw new Bug(`${root.op} of ${root.origin.path} stands before what it reads`);
      c.needs.add(p);
      p.users.add(c);
    }
  }

  /** What makes what `cluster` reads. */
  needs(cluster: Cluster): ReadonlySet<Cluster> {
    return (cluster as Member).needs;
  }

  has(cluster: Cluster): boolean {
    return this.all.has(cluster as Member);
  }

  /** What stands between `late` and `early`, which it needs, and has to run before `late`; `undefined` if some of it needs `early`, so that they cannot be one. */
  private between(late: Member, early: Member): Member[] | undefined {
    const seen = new Set<Member>();
    const stack: Member[] = [];
    const visit = (c: Member): void => {
      if (c.at > early.at && !seen.has(c)) {
        seen.add(c);
        stack.push(c);
      }
    };
    for (const c of late.needs) if (c !== early) visit(c);
    while (stack.length) {
      const c = stack.pop()!;
      if (c.needs.has(early)) return undefined;
      for (const p of c.needs) visit(p);
    }
    return [...seen];
  }

  /** Whether the two may be one cluster; `late` reads what `early` makes. */
  joinable(late: Cluster, early: Cluster): boolean {
    return this.between(late as Member, early as Member) !== undefined;
  }

  /** Makes the two one, with these roots. Throws `Bug` where they are not joinable. */
  join(late: Cluster, early: Cluster, roots: readonly Node[]): Cluster {
    const [c, p] = [late as Member, early as Member];
    const ahead = this.between(c, p);
    if (!ahead) throw new Bug(`kernels need each other around ${c.roots[0].op} in ${c.roots[0].origin.path}`);
    this.moveBefore(
      ahead.sort((a, b) => a.at - b.at),
      p,
    );
    p.roots = roots;
    p.first = Math.min(p.first, c.first);
    for (const n of c.roots) this.of.set(n, p);
    for (const x of c.needs) {
      x.users.delete(c);
      if (x === p) continue;
      x.users.add(p);
      p.needs.add(x);
    }
    for (const u of c.users) {
      u.needs.delete(c);
      u.needs.add(p);
      p.users.add(u);
    }
    this.unlink(c);
    this.all.delete(c);
    return p;
  }

  private unlink(c: Member): void {
    if (c.before) c.before.after = c.after;
    if (c.after) c.after.before = c.before;
    else this.last = c.before;
  }

  /** Moves clusters, in their order, to just before `target`. */
  private moveBefore(list: readonly Member[], target: Member): void {
    if (list.length === 0) return;
    for (const c of list) this.unlink(c);
    let low = target.before;
    const bottom = low ? low.at : target.at - 1;
    const step = (target.at - bottom) / (list.length + 1);
    list.forEach((c, i) => {
      c.at = bottom + step * (i + 1);
      c.before = low;
      if (low) low.after = c;
      low = c;
    });
    low!.after = target;
    target.before = low;
    if (step < LEAST_GAP) this.renumber();
  }

  private renumber(): void {
    let at = this.all.size;
    for (let c = this.last; c; c = c.before) c.at = at--;
  }

  /** Operands first; among those ready, the one whose first root comes first in the graph. */
  ordered(): Cluster[] {
    const byFirst = (a: Cluster, b: Cluster): number => a.first - b.first;
    const done = new Set<Member>();
    const out: Cluster[] = [];
    for (const c of [...this.all].sort(byFirst)) {
      const stack: { readonly c: Member; readonly rest: Member[] }[] = [];
      const open = (x: Member): void => {
        done.add(x);
        stack.push({ c: x, rest: [...x.needs].sort(byFirst).reverse() });
      };
      if (!done.has(c)) open(c);
      while (stack.length) {
        const { c: x, rest } = stack[stack.length - 1];
        const next = rest.pop();
        if (next === undefined) {
          out.push(x);
          stack.pop();
        } else if (!done.has(next)) open(next);
      }
    }
    return out;
  }
}
