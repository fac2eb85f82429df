/**
 * The backward half on rebuilt streams: x of y = couple(x, f) is found again from y, from f recomputed, and from what was packed of x.
 * What the backward half reads of the iterations is recomputed from the rebuilt streams, when the gradient has come that far; so nothing but
 * the last streams, the first ones, and the packed remainders is kept.
 */
import { Builder } from "../build.ts";
import { type Graph, type Node, node, type Origin, order, type Result } from "../graph.ts";
import { attrsOf, isCouple, isNeg, rowOf } from "../ops/index.ts";
import { choose } from "../passes/cut/choose.ts";
import { REVERSE_CHECK, REVERSE_ERROR, REVERSE_RANGE } from "./exact.ts";
import { unlessGood } from "./guard.ts";
import { type Equation, Lineage } from "./lineage.ts";
import { uncoupled } from "./streams.ts";

interface Restored {
  readonly graph: Graph;
  /** Streams found again, and bytes of what is kept for it. */
  readonly streams: number;
  readonly bytes: number;
}

const bytes = (n: Node): number => 4 * (n.type.shape as readonly number[]).reduce((p, d) => p * d, 1);

/**
 * Rewrites the backward half of a flat graph; the graph itself where nothing is coupled. `error`: by how much f32 streams may be off; where they
 * are off by more, all parameters and states stay what they were.
 */
export function restore(graph: Graph, error = 0): Restored {
  const nodes = order(graph.results.map((r) => r.node));
  if (!nodes.some((n) => isCouple(n) && !n.backward)) return { graph, streams: 0, bytes: 0 };
  return new Restorer(graph, nodes, error).run();
}

/**
 * `forward`: in its place · `found`: a stream as soon as it is found again · `recomputed`: recomputed for the backward half · `read`: what the backward half reads of that, or makes of it anew where that is
 * cheap and takes less room · `backward`: of the backward half, on what is recomputed.
 */
type Task = "forward" | "found" | "recomputed" | "read" | "backward";
const nothing = (): Readonly<Record<Task, Map<Node, Node>>> => ({
  forward: new Map(),
  found: new Map(),
  recomputed: new Map(),
  read: new Map(),
  backward: new Map(),
});

/** Elementwise work and movement, such as iterations integers into numbers, of one word or two. */
function isReading(n: Node): boolean {
  const { role } = rowOf(n);
  return role === "map" || role === "sum" || role === "scale" || role === "move" || (role === "index" && n.inputs.length === 1);
}

/** Sets that are joined pair by pair. */
class Groups<T> {
  private readonly parent = new Map<T, T>();
  of(x: T): T {
    let root = x;
    for (let up = this.parent.get(root); up !== undefined; up = this.parent.get(root)) root = up;
    for (let at = x; at !== root; ) {
      const up = this.parent.get(at)!;
      this.parent.set(at, root);
      at = up;
    }
    return root;
  }
  join(x: T, y: T): void {
    const [p, q] = [this.of(x), this.of(y)];
    if (p !== q) this.parent.set(p, q);
  }
}

class Restorer {
  private readonly parts = new Map<Node, { part: string; index: number }>();
  /** Streams as they are read: these belong to no part, and are computed in each that wants them. */
  private readonly light = new Set<Node>();
  private readonly fences = new Map<Node, Node>();
  /** Of what is recomputed, that which the backward half makes anew where it reads it. */
  private anew: ReadonlySet<Node> = new Set();
  private made = nothing();
  private readonly lineage: Lineage;

  constructor(
    private readonly graph: Graph,
    private readonly nodes: readonly Node[],
    private readonly most: number,
  ) {
    this.lineage = new Lineage(nodes);
  }

  run(): Restored {
    // once to see what is recomputed, once to see what of it need not be, then with what is computed twice marked as that
    this.rebuilt();
    this.findAnew();
    this.made = nothing();
    this.rebuilt();
    this.findParts([...this.made.recomputed.keys()]);
    this.made = nothing();
    const graph = this.rebuilt();
    const used = [...this.lineage.equations.values()].filter((e) => this.made.found.has(e.x));
    const kept = used.reduce((sum, e) => sum + (e.kept ? bytes(e.x) : e.words ? bytes(e.words) : 0), 0);
    return { graph, streams: used.filter((e) => !e.kept).length, bytes: kept };
  }

  private rebuilt(): Graph {
    const roots = this.graph.results.map((r): Node => this.build(r.node, r.node.backward ? "backward" : "forward"));
    return this.guarded(this.graph.results.map((r, i): Result => ({ ...r, node: roots[i] })));
  }

  /** What the backward half had best have of what is recomputed, such that it can make the rest by cheap work: the fewest bytes. */
  private findAnew(): void {
    const { recomputed } = this.made;
    const { equations, bases } = this.lineage;
    const there = (n: Node): boolean => this.lineage.stays(n) || equations.has(n) || bases.has(n) || this.lineage.isLast(n);
    const wanted = this.nodes.flatMap((n) => (n.backward ? n.inputs.filter((x) => !x.backward && recomputed.has(x)) : []));
    this.anew = choose(wanted, { free: there }).recomputed;
  }

  /**
   * Groups of nodes that are computed twice, from the same streams each: both are to be computed by the same kernels. What hangs together is a group;
   * what streams are read as is computed wherever it is wanted.
   */
  private findParts(recomputed: readonly Node[]): void {
    const { streams, bases, cones, equations } = this.lineage;
    const copied = new Set(recomputed);
    const summands = new Set([...equations.values()].map((e) => e.f));
    const { light } = this;
    const keys = new Map<Node, string>();
    for (const n of this.nodes) {
      const base = cones.get(n);
      const key = base ? `from ${this.nodes.indexOf(base)}` : streams.get(n);
      if (key === undefined || !copied.has(n) || (!base && (isCouple(n) || bases.has(n) || this.lineage.stays(n)))) continue;
      const near = (x: Node): boolean => isCouple(x) || bases.has(x) || this.lineage.stays(x) || light.has(x);
      if (!base && !summands.has(n) && isReading(n) && n.inputs.every(near)) light.add(n);
      else keys.set(n, key);
    }
    const groups = new Groups<Node>();
    for (const [n, key] of keys) for (const x of n.inputs) if (keys.get(x) === key) groups.join(n, x);
    const counts = new Map<Node, { readonly part: string; next: number }>();
    for (const [n, key] of keys) {
      const root = groups.of(n);
      const group = counts.get(root) ?? { part: `${key} ${counts.size}`, next: 0 };
      counts.set(root, group);
      this.parts.set(n, { part: group.part, index: group.next++ });
    }
  }

  // ---- the graph anew

  private build(root: Node, task: Task): Node {
    const stack: [Node, Task][] = [[root, task]];
    while (stack.length) {
      const [n, what] = stack[stack.length - 1];
      if (this.made[what].has(n)) {
        stack.pop();
        continue;
      }
      const open = this.needs(n, what).filter(([x, t]) => !this.made[t].has(x));
      if (open.length > 0) stack.push(...open.reverse());
      else {
        this.made[what].set(n, this.make(n, what));
        stack.pop();
      }
    }
    return this.made[task].get(root)!;
  }

  private isStream(n: Node): boolean {
    return isCouple(n) || this.lineage.bases.has(n);
  }

  private waitOf(n: Node): Node | undefined {
    return this.lineage.early.has(n) ? undefined : this.lineage.waits.get(n);
  }

  private needs(n: Node, task: Task): [Node, Task][] {
    const all = (t: Task): [Node, Task][] => n.inputs.map((x) => [x, t]);
    const e = this.lineage.equations.get(n);
    const base = this.lineage.cones.get(n);
    switch (task) {
      case "forward":
        return all("forward");
      case "backward":
        return n.inputs.map((x) => [x, x.backward ? "backward" : "read"]);
      case "found":
        if (!e || e.kept) return base ? this.fromLeaves(n, base) : [[n, "forward"]];
        return [[e.y, "found"], [e.f, "recomputed"], ...(e.words ? [[e.words, "forward"] as [Node, Task]] : [])];
      case "read":
        return this.anew.has(n) ? all("read") : [[n, "recomputed"]];
      case "recomputed": {
        if (this.lineage.stays(n)) return [[n, "forward"]];
        const wait = this.waitOf(n);
        if (this.isStream(n)) return [...(wait ? [[wait, "backward"] as [Node, Task]] : []), [n, "found"]];
        return base ? this.fromLeaves(n, base) : all("recomputed");
      }
    }
  }
  /** What a node of a first stream's cone is recomputed from, no earlier than the backward half gets there. */
  private fromLeaves(n: Node, base: Node): [Node, Task][] {
    const wait = this.waitOf(base);
    return [...(wait ? [[wait, "backward"] as [Node, Task]] : []), ...n.inputs.map((x): [Node, Task] => [x, "recomputed"])];
  }

  private make(n: Node, task: Task): Node {
    const part = this.parts.get(n);
    const marked = (copy: boolean): Origin => (part ? { ...n.origin, recompute: { ...part, copy } } : n.origin);
    const of = (t: Task) => (x: Node) => this.made[t].get(x)!;
    const like = (inputs: readonly Node[], origin: Origin): Node => node(n.op, inputs, n.attrs, n.type, origin, n.loop);
    const e = this.lineage.equations.get(n);
    const base = this.lineage.cones.get(n);
    const computed = (): Node =>
      like(
        n.inputs.map((x) =>
          base && this.lineage.stays(x) && !this.lineage.constants.has(x) ? this.waiting(base, of("forward")(x)) : of("recomputed")(x),
        ),
        { ...marked(true), half: "backward" },
      );
    switch (task) {
      case "forward":
        return like(
          n.inputs.map((x) => this.read(x, part !== undefined || this.light.has(n))),
          marked(false),
        );
      case "backward":
        return like(
          n.inputs.map((x) => of(x.backward ? "backward" : "read")(x)),
          n.origin,
        );
      case "found":
        if (e && !e.kept) return this.found(e);
        return base ? computed() : of("forward")(n);
      case "read":
        return this.anew.has(n)
          ? like(n.inputs.map(of("read")), { ...n.origin, half: "backward", recomputed: "here" })
          : of("recomputed")(n);
      case "recomputed":
        if (this.lineage.stays(n)) return of("forward")(n);
        if (this.isStream(n)) return this.waiting(n, of("found")(n));
        return computed();
    }
  }

  /** An operand in the forward half. A part, and what is computed in it, reads streams behind fences, there as in the backward half. */
  private read(x: Node, byPart: boolean): Node {
    const made = this.made.forward.get(x)!;
    if (!byPart || !(isCouple(x) || this.lineage.bases.has(x))) return made;
    let fence = this.fences.get(made);
    if (!fence) {
      const b = new Builder(x.origin);
      fence = b.make("fence", [made, b.constant(0)]);
      this.fences.set(made, fence);
    }
    return fence;
  }

  /** A stream from the one after it. */
  private found({ y, f, negative, words }: Equation): Node {
    const b = new Builder({ ...y.origin, half: "backward" });
    const kept = words && this.made.forward.get(words)!;
    // stored, so that what it was found from is gone before the one before it is found
    const after = b.make("fence", [this.made.found.get(y)!, b.constant(0)]);
    return uncoupled(b, y, after, this.made.recomputed.get(f)!, kept, negative);
  }

  private waiting(x: Node, value: Node): Node {
    const wait = this.waitOf(x);
    const b = new Builder({ ...x.origin, half: "backward" });
    return b.make("fence", [value, wait ? this.made.backward.get(wait)! : b.constant(0)]);
  }

  // ---- checks

  /** By how much what is rebuilt is off where it can be compared, in the Euclidean norm: at kept streams, and at what the first iteration gives. */
  private error(b: Builder): Node {
    const off: Node[] = [];
    const compare = (rebuilt: Node, wanted: Node): void => {
      const norm = (v: Node) => b.reduce("sum", b.reduce("sum", b.mul(v, v), [-1]));
      off.push(b.div(norm(b.sub(rebuilt, wanted)), b.max(norm(wanted), 1e-30)));
    };
    for (const e of [...this.lineage.equations.values()]) {
      if (!this.made.recomputed.has(e.x)) continue;
      // a stream that is kept as well, or was the last, was not rebuilt
      const rebuilt = this.lineage.equations.get(e.y)?.kept === false;
      if (e.kept && rebuilt && this.made.recomputed.has(e.y)) {
        this.build(e.f, "recomputed");
        compare(this.found(e), this.build(e.x, "recomputed"));
      } else if (!e.kept && this.lineage.bases.has(isNeg(e.x.inputs[0]) ? e.x.inputs[0].inputs[0] : e.x.inputs[0]))
        compare(this.made.recomputed.get(e.x)!, this.build(e.x, "forward"));
    }
    return off.length > 0
      ? b.unary(
          "sqrt",
          off.reduce((p, q) => b.max(p, q)),
        )
      : b.constant(0);
  }

  /**
   * What the first iterations give, recomputed from what went into the loop, is what was rebuilt from its end; where not, or where a stream left
   * its range, all parameters and states stay what they were.
   */
  private guarded(results: Result[]): Graph {
    const range = results.find((r) => r.name === REVERSE_RANGE)?.node;
    const b = new Builder({ path: "reverse", half: "backward" });
    if (!range) {
      if ([...this.lineage.equations.values()].every((e) => e.kept)) return { results };
      const error = this.error(b);
      const kept = unlessGood(results, b.compare("le", error, this.most));
      return { results: [...kept, { role: "output", name: REVERSE_ERROR, node: error }] };
    }
    const wrong: Node[] = [];
    for (const [x, { kept }] of this.lineage.equations) {
      if (kept) continue;
      const [given, f] = x.inputs;
      const from = isNeg(given) ? given.inputs[0] : given;
      if (!this.lineage.bases.has(from) || !this.made.recomputed.has(x)) continue;
      const start = this.build(from, "recomputed");
      const first = b.make(
        x.op as "couple",
        [given === from ? start : b.neg(start), this.build(f, "recomputed")],
        attrsOf(x, "couple", "couple_wide"),
      );
      const differs = b.cast(b.compare("ne", first, this.made.recomputed.get(x)!), "f32");
      wrong.push(b.reduce("max", b.reduce("max", differs, [-1])));
    }
    const check = wrong.length > 0 ? wrong.reduce((p, q) => b.max(p, q)) : b.constant(0);
    const kept = unlessGood(results, b.eq(b.max(range, check), 0));
    return { results: [...kept, { role: "output", name: REVERSE_CHECK, node: check }] };
  }
}
