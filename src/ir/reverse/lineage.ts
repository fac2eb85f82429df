/**
 * What follows from what among streams: which are found again from which, how far back each lies, and what a step of the backward half must have done before
 * it goes back to one.
 */
import { Builder } from "../build.ts";
import { Bug } from "../errors.ts";
import { type Iteration, type Node, sizes } from "../graph.ts";
import { isCouple, isNeg, rowOf } from "../ops/index.ts";
import { constantNodes } from "../rebuild.ts";
import { elementsShape, packedRemainder } from "./streams.ts";

/** A stream that is found again. */
export interface Equation {
  readonly x: Node;
  readonly y: Node;
  readonly f: Node;
  readonly negative: boolean;
  /** The stream is kept rather than found again: there errors end. */
  readonly kept: boolean;
  /** The packed remainder; absent where nothing is lost. */
  readonly words: Node | undefined;
}

/** Whether the stream that goes into this iteration is kept: f32 ones are, every so many iterations from the end. */
function isKept(y: Node): boolean {
  const { segment } = y.attrs;
  const { iteration } = y.origin;
  return typeof segment === "number" && iteration !== undefined && (iteration.of - iteration.iteration) % segment === 0;
}

export class Lineage {
  readonly equations = new Map<Node, Equation>();
  readonly bases = new Set<Node>();
  /** By stream, the shape of its values. */
  private readonly ends = new Set<Node>();
  private readonly shapes = new Map<Node, string>();
  /** By forward node that depends on streams: the streams that it is computed from, in the order of the graph. */
  readonly streams = new Map<Node, string>();
  readonly level = new Map<Node, number>();
  /** Of backward nodes: how far back the streams go that it needs. */
  private readonly depth = new Map<Node, number>();
  /** By stream, what must have been computed before it is used again. */
  readonly waits = new Map<Node, Node>();
  /** First streams that iterations read beside what is carried: these wait for nothing. */
  readonly early = new Set<Node>();
  /** Of nodes that a first stream is computed from, and of itself, that stream: where it is had again rather than kept. */
  readonly cones = new Map<Node, Node>();
  readonly constants: ReadonlySet<Node>;
  private readonly position: ReadonlyMap<Node, number>;

  constructor(private readonly nodes: readonly Node[]) {
    this.position = new Map(nodes.map((n, i) => [n, i]));
    this.constants = constantNodes(nodes);
    this.findEquations();
    this.findLevels();
    this.findEnds();
    this.findCones();
    this.findWaits();
  }

  private findEquations(): void {
    for (const y of this.nodes) {
      if (!isCouple(y) || y.backward) continue;
      const [given, f] = y.inputs;
      const negative = isNeg(given);
      const x = negative ? given.inputs[0] : given;
      for (const stream of [x, y]) this.shapes.set(stream, String(elementsShape(y)));
      if (!isCouple(x)) this.bases.add(x);
      else if (!this.equations.has(x))
        this.equations.set(x, { x, y, f, negative, kept: isKept(y), words: packedRemainder(new Builder(y.origin), y) });
    }
  }

  /** Operands that a forward node is recomputed from. */
  private operandsAgain(n: Node): readonly Node[] {
    const e = this.equations.get(n);
    if (e) return [e.y, e.f];
    return this.bases.has(n) || this.isLast(n) ? [] : n.inputs;
  }
  /** Streams that no iteration takes in. */
  isLast(n: Node): boolean {
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
        if (this.level.has(n) || !this.streams.has(n) || this.bases.has(n) || this.isLast(n)) {
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
    for (const n of this.nodes) if (!n.backward && this.isLast(n)) this.level.set(n, 1);
    for (const x of this.equations.keys()) levelOf(x);
    for (const x of this.bases) this.level.set(x, last + 1);
    // what is computed from the first streams directly
    const all = (n: Node): number =>
      this.equations.has(n) || this.isLast(n) || this.bases.has(n)
        ? (this.level.get(n) ?? 0)
        : Math.max(0, ...n.inputs.map((x) => this.level.get(x) ?? 0));
    for (const n of this.nodes) if (this.streams.has(n)) this.level.set(n, all(n));
  }

  /** What iterations that run backwards compute from the last streams; what is computed from these behind the iterations is there when the backward half begins. */
  private findEnds(): void {
    const iterations = new Set(
      this.nodes.flatMap((n) => (isCouple(n) && !n.backward && n.origin.iteration ? [iterationKey(n.origin.iteration)] : [])),
    );
    const first = (n: Node): boolean => !n.backward && this.level.get(n) === 1 && !this.isLast(n);
    for (const n of [...this.nodes].reverse()) {
      const { iteration } = n.origin;
      if (!first(n) || !(this.ends.has(n) || (iteration && iterations.has(iterationKey(iteration))))) continue;
      this.ends.add(n);
      for (const x of n.inputs) if (first(x)) this.ends.add(x);
    }
  }
  /** Whether the backward half reads a forward node as it is. */
  stays(n: Node): boolean {
    if (this.cones.has(n)) return false;
    return !this.streams.has(n) || (this.level.get(n) === 1 && !this.isLast(n) && !this.ends.has(n));
  }

  private findWaits(): void {
    for (const n of this.nodes)
      if (n.backward)
        this.depth.set(n, Math.max(0, ...n.inputs.map((x) => (x.backward ? this.depth.get(x)! : this.stays(x) ? 0 : this.level.get(x)!))));
    const byLevel = new Map<number, Node[]>();
    const last = this.nodes.filter((n) => !n.backward && this.isLast(n));
    for (const x of [...last, ...this.equations.keys(), ...this.bases]) {
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

  /** What the first streams alone are computed from, by cheap work; not where a value of a stream's size is needed beside. */
  private findCones(): void {
    const users = new Map<Node, Node[]>(this.nodes.map((n) => [n, []]));
    for (const n of this.nodes) for (const x of n.inputs) users.get(x)!.push(n);
    for (const base of this.bases) {
      const cone = new Set([base]);
      const beside = new Set<Node>();
      // users come before what they use
      for (const n of this.nodes.slice(0, this.position.get(base)! + 1).reverse()) {
        const all = users.get(n)!;
        if (n !== base && !all.some((u) => cone.has(u))) continue;
        const given = rowOf(n).supply !== undefined;
        if (n === base || (!given && all.every((u) => cone.has(u)))) cone.add(n);
        else if (!given) beside.add(n);
      }
      const small = [...beside].every((n) => this.constants.has(n) || stored(n) < elements(base));
      if (small && [...cone].every(isEasy)) for (const n of cone) this.cones.set(n, base);
    }
  }
}

const elements = (n: Node): number => sizes(n).reduce((p, d) => p * d, 1);
/** Elements of what is in memory of a value: what it is moved or widened from, where that is less. */
const stored = (n: Node): number =>
  rowOf(n).role === "move" && n.inputs.length === 1 ? Math.min(elements(n), stored(n.inputs[0])) : elements(n);

const iterationKey = ({ loop, iteration }: Iteration): string => `${loop} ${iteration}`;

/** Recomputed for less than a product takes. */
function isEasy(n: Node): boolean {
  const { role } = rowOf(n);
  return role !== "product" && role !== "region" && role !== "host" && role !== "placeholder";
}
