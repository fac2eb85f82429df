/**
 * The backward half on rebuilt streams: x of y = couple(x, f) is found again from y, from f computed again, and from what was packed of x.
 * What the backward half reads of the turns is computed again from the rebuilt streams, when the gradient has come that far; so nothing but
 * the last streams, the first ones, and the packed remainders is kept.
 */
import { Builder } from "../build.ts";
import { Bug } from "../errors.ts";
import { type Graph, type Node, node, type Origin, order, type Result } from "../graph.ts";
import { isCouple, isNeg } from "../ops/index.ts";
import { REVERSE_CHECK, REVERSE_ERROR, REVERSE_RANGE } from "./exact.ts";
import { elementsShape, packedRemainder, uncoupled } from "./streams.ts";

/** A stream that is found again. */
interface Equation {
  readonly x: Node;
  readonly y: Node;
  readonly f: Node;
  readonly negative: boolean;
  /** The stream is kept rather than found again: there errors end. */
  readonly kept: boolean;
  /** The packed remainder; absent where nothing is lost. */
  readonly words: Node | undefined;
}

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

/** Whether the stream that goes into this turn is kept: f32 ones are, every so many turns from the end. */
function isKept(y: Node): boolean {
  const { segment } = y.attrs;
  const { turn } = y.origin;
  return typeof segment === "number" && turn !== undefined && (turn.of - turn.turn) % segment === 0;
}

/** `forward`: in its place · `again`: computed again for the backward half · `backward`: of the backward half, on what is computed again. */
type Task = "forward" | "again" | "backward";

class Restorer {
  private readonly equations = new Map<Node, Equation>();
  private readonly bases = new Set<Node>();
  /** By stream, the shape of its values. */
  private readonly shapes = new Map<Node, string>();
  /** By forward node that depends on streams: the streams that it is computed from, in the order of the graph. */
  private readonly streams = new Map<Node, string>();
  private readonly level = new Map<Node, number>();
  /** Of backward nodes: how far back the streams go that it needs. */
  private readonly depth = new Map<Node, number>();
  /** By stream, what must have been computed before it is used again. */
  private readonly waits = new Map<Node, Node>();
  private readonly parts = new Map<Node, { part: string; index: number }>();
  private readonly fences = new Map<Node, Node>();
  /** First streams that turns read beside what is carried: these wait for nothing. */
  private readonly early = new Set<Node>();
  private made: Readonly<Record<Task, Map<Node, Node>>> = { forward: new Map(), again: new Map(), backward: new Map() };
  private readonly position: ReadonlyMap<Node, number>;

  constructor(
    private readonly graph: Graph,
    private readonly nodes: readonly Node[],
    private readonly most: number,
  ) {
    this.position = new Map(nodes.map((n, i) => [n, i]));
  }

  run(): Restored {
    this.findEquations();
    this.findLevels();
    this.findWaits();
    // once to see what is computed again, then with what is computed twice marked as that
    this.rebuilt();
    this.findParts([...this.made.again.keys()]);
    this.made = { forward: new Map(), again: new Map(), backward: new Map() };
    const graph = this.rebuilt();
    const used = [...this.equations.values()].filter((e) => this.made.again.has(e.x));
    const kept = used.reduce((sum, e) => sum + (e.kept ? bytes(e.x) : e.words ? bytes(e.words) : 0), 0);
    return { graph, streams: used.filter((e) => !e.kept).length, bytes: kept };
  }

  private rebuilt(): Graph {
    const roots = this.graph.results.map((r): Node => this.build(r.node, r.node.backward ? "backward" : "forward"));
    return this.guarded(this.graph.results.map((r, i): Result => ({ ...r, node: roots[i] })));
  }

  // ---- what is known of the graph

  private findEquations(): void {
    for (const y of this.nodes) {
      if (!isCouple(y) || y.backward) continue;
      const [given, f] = y.inputs;
      const negative = isNeg(given);
      const x = negative ? given.inputs[0] : given;
      this.shapes.set(x, String(elementsShape(y)));
      if (!isCouple(x)) this.bases.add(x);
      else if (!this.equations.has(x))
        this.equations.set(x, { x, y, f, negative, kept: isKept(y), words: packedRemainder(new Builder(y.origin), y) });
    }
  }

  /** Operands that a forward node is computed again from. */
  private operandsAgain(n: Node): readonly Node[] {
    const e = this.equations.get(n);
    if (e) return [e.y, e.f];
    return this.bases.has(n) || this.isLast(n) ? [] : n.inputs;
  }
  /** Streams that no turn takes in. */
  private isLast(n: Node): boolean {
    return isCouple(n) && !this.equations.has(n);
  }

  private findLevels(): void {
    const streams = new Map<Node, ReadonlySet<Node>>();
    for (const n of this.nodes) {
      if (n.backward) continue;
      const own = isCouple(n) || this.bases.has(n);
      const below = new Set(own ? [n] : n.inputs.flatMap((x) => [...(streams.get(x) ?? [])]));
      if (below.size > 0) streams.set(n, below);
    }
    for (const [n, set] of streams) this.streams.set(n, [...set].map((s) => this.position.get(s)!).join());
    // levels follow the way back: from the last streams to the first
    let last = 0;
    const open = new Set<Node>();
    const levelOf = (root: Node): void => {
      const stack = [root];
      while (stack.length) {
        const n = stack[stack.length - 1];
        if (this.level.has(n) || !this.streams.has(n) || this.bases.has(n)) {
          stack.pop();
          continue;
        }
        for (const x of this.operandsAgain(n)) if (this.bases.has(x)) this.early.add(x);
        const waiting = this.operandsAgain(n).filter((x) => this.streams.has(x) && !this.bases.has(x) && !this.level.has(x));
        if (waiting.length > 0) {
          if (open.has(n)) throw new Bug(`streams around ${n.origin.path} need each other to be found again`);
          open.add(n);
          stack.push(...waiting);
          continue;
        }
        const known = this.operandsAgain(n).map((x) => this.level.get(x) ?? 0);
        const own = (this.equations.has(n) ? 1 : 0) + Math.max(0, ...known);
        this.level.set(n, own);
        last = Math.max(last, own);
        stack.pop();
      }
    };
    for (const x of this.equations.keys()) levelOf(x);
    for (const x of this.bases) this.level.set(x, last + 1);
    // what is computed from the first streams directly
    const all = (n: Node): number =>
      this.equations.has(n) || this.isLast(n) || this.bases.has(n)
        ? (this.level.get(n) ?? 0)
        : Math.max(0, ...n.inputs.map((x) => this.level.get(x) ?? 0));
    for (const n of this.nodes) if (this.streams.has(n)) this.level.set(n, all(n));
  }

  private findWaits(): void {
    for (const n of this.nodes)
      if (n.backward) this.depth.set(n, Math.max(0, ...n.inputs.map((x) => (x.backward ? this.depth.get(x)! : (this.level.get(x) ?? 0)))));
    const byLevel = new Map<number, Node[]>();
    for (const x of [...this.equations.keys(), ...this.bases]) {
      const level = this.level.get(x)!;
      byLevel.set(level, [...(byLevel.get(level) ?? []), x]);
    }
    for (const n of this.nodes) {
      if (!n.backward) continue;
      const deep = this.depth.get(n)!;
      for (const m of n.inputs) {
        if (!m.backward || m.type.dtype !== "f32" || this.depth.get(m)! >= deep) continue;
        for (const [level, xs] of byLevel) {
          if (level > deep || level <= this.depth.get(m)!) continue;
          for (const x of xs) {
            if (this.shapes.get(x) !== String(m.type.shape)) continue;
            const before = this.waits.get(x);
            if (!before || this.later(m, before)) this.waits.set(x, m);
          }
        }
      }
    }
  }
  private later(m: Node, than: Node): boolean {
    const [p, q] = [this.depth.get(m)!, this.depth.get(than)!];
    return p > q || (p === q && this.position.get(m)! > this.position.get(than)!);
  }

  /** Groups of nodes that are computed twice, from the same streams each: both are to be computed by the same kernels. */
  private findParts(again: readonly Node[]): void {
    const counts = new Map<string, number>();
    const copied = new Set(again);
    for (const n of this.nodes) {
      const key = this.streams.get(n);
      if (key === undefined || !copied.has(n) || isCouple(n) || this.bases.has(n) || this.stays(n)) continue;
      const index = counts.get(key) ?? 0;
      counts.set(key, index + 1);
      this.parts.set(n, { part: key, index });
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

  /** Whether the backward half reads a forward node as it is. */
  private stays(n: Node): boolean {
    return !this.streams.has(n) || !this.level.get(n);
  }

  private needs(n: Node, task: Task): [Node, Task][] {
    if (task === "forward") return n.inputs.map((x) => [x, "forward"]);
    if (task === "backward") return n.inputs.map((x) => [x, x.backward ? "backward" : "again"]);
    if (this.stays(n)) return [[n, "forward"]];
    const wait = this.early.has(n) ? undefined : this.waits.get(n);
    const waits: [Node, Task][] = wait ? [[wait, "backward"]] : [];
    const e = this.equations.get(n);
    if (e?.kept) return [...waits, [n, "forward"]];
    if (!e) return this.bases.has(n) ? [...waits, [n, "forward"]] : n.inputs.map((x) => [x, "again"]);
    return [...waits, [e.y, "again"], [e.f, "again"], ...(e.words ? [[e.words, "forward"] as [Node, Task]] : [])];
  }

  private make(n: Node, task: Task): Node {
    const part = this.parts.get(n);
    const marked = (copy: boolean): Origin => (part ? { ...n.origin, again: { ...part, copy } } : n.origin);
    const of = (t: Task) => (x: Node) => this.made[t].get(x)!;
    if (task === "forward")
      return node(
        n.op,
        n.inputs.map((x) => this.read(x, part !== undefined)),
        n.attrs,
        n.type,
        marked(false),
        n.loop,
      );
    if (task === "backward")
      return node(
        n.op,
        n.inputs.map((x) => of(x.backward ? "backward" : "again")(x)),
        n.attrs,
        n.type,
        n.origin,
        n.loop,
      );
    if (this.stays(n)) return of("forward")(n);
    const e = this.equations.get(n);
    if (e && !e.kept) return this.waiting(n, this.found(e));
    if (e || this.bases.has(n)) return this.waiting(n, of("forward")(n));
    return node(n.op, n.inputs.map(of("again")), n.attrs, n.type, { ...marked(true), half: "backward" }, n.loop);
  }

  /** An operand in the forward half. A part reads streams behind fences, there as in the backward half. */
  private read(x: Node, byPart: boolean): Node {
    const made = this.made.forward.get(x)!;
    if (!byPart || !(isCouple(x) || this.bases.has(x))) return made;
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
    return uncoupled(b, y, this.made.again.get(y)!, this.made.again.get(f)!, kept, negative);
  }

  private waiting(x: Node, value: Node): Node {
    const wait = this.early.has(x) ? undefined : this.waits.get(x);
    const b = new Builder({ ...x.origin, half: "backward" });
    return b.make("fence", [value, wait ? this.made.backward.get(wait)! : b.constant(0)]);
  }

  // ---- checks

  /** By how much what is rebuilt is off where it can be compared, in the Euclidean norm: at kept streams, and at what the first turn gives. */
  private error(b: Builder): Node {
    const off: Node[] = [];
    const compare = (rebuilt: Node, wanted: Node): void => {
      const norm = (v: Node) => b.reduce("sum", b.reduce("sum", b.mul(v, v), [-1]));
      off.push(b.div(norm(b.sub(rebuilt, wanted)), b.max(norm(wanted), 1e-30)));
    };
    for (const e of [...this.equations.values()]) {
      if (!this.made.again.has(e.x)) continue;
      // a stream that is kept as well, or was the last, was not rebuilt
      const rebuilt = this.equations.get(e.y)?.kept === false;
      if (e.kept && rebuilt && this.made.again.has(e.y)) {
        this.build(e.f, "again");
        compare(this.found(e), this.build(e.x, "again"));
      } else if (!e.kept && this.bases.has(isNeg(e.x.inputs[0]) ? e.x.inputs[0].inputs[0] : e.x.inputs[0]))
        compare(this.made.again.get(e.x)!, this.build(e.x, "forward"));
    }
    return off.length > 0
      ? b.unary(
          "sqrt",
          off.reduce((p, q) => b.max(p, q)),
        )
      : b.constant(0);
  }

  /**
   * What the first turns give, computed again from what went into the loop, is what was rebuilt from its end; where not, or where a stream left
   * its range, all parameters and states stay what they were.
   */
  private guarded(results: Result[]): Graph {
    const range = results.find((r) => r.name === REVERSE_RANGE)?.node;
    const b = new Builder({ path: "reverse", half: "backward" });
    if (!range) {
      if ([...this.equations.values()].every((e) => e.kept)) return { results };
      const error = this.error(b);
      const kept = this.unlessGood(results, b.compare("le", error, this.most));
      return { results: [...kept, { role: "output", name: REVERSE_ERROR, node: error }] };
    }
    const wrong: Node[] = [];
    for (const [x, { kept }] of this.equations) {
      if (kept) continue;
      const [given, f] = x.inputs;
      const from = isNeg(given) ? given.inputs[0] : given;
      if (!this.bases.has(from) || !this.made.again.has(x)) continue;
      const start = this.build(from, "again");
      const first = b.make(x.op as "couple", [given === from ? start : b.neg(start), this.build(f, "again")], x.attrs);
      const differs = b.cast(b.compare("ne", first, this.made.again.get(x)!), "f32");
      wrong.push(b.reduce("max", b.reduce("max", differs, [-1])));
    }
    const check = wrong.length > 0 ? wrong.reduce((p, q) => b.max(p, q)) : b.constant(0);
    const kept = this.unlessGood(results, b.eq(b.max(range, check), 0));
    return { results: [...kept, { role: "output", name: REVERSE_CHECK, node: check }] };
  }

  /** Parameters and states with their next values only where `good` holds. */
  private unlessGood(results: readonly Result[], good: Node): Result[] {
    const b = new Builder(good.origin);
    return results.map((r): Result => {
      if (r.role === "output") return r;
      const { dtype, shape } = r.node.type;
      const old = r.role === "param" ? b.param(r.name, shape) : b.state(r.name, { dtype, shape });
      return { ...r, node: b.where(good, r.node, old) };
    });
  }
}
