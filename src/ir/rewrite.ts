/**
 * How passes rebuild graphs: bottom up, operands before users, each node once, loop bodies as regions of their own. A `Scope` is one
 * region being rebuilt. It makes equal nodes one (hash-consing) and applies local rules until none fits, so that a rule that builds nodes
 * through the scope gets them simplified already.
 */

import { Builder, makeLoop, remake } from "./build.ts";
import { Bug } from "./errors.ts";
import { type Attrs, type Body, type Graph, type Loop, type Node, node, type Origin, order } from "./graph.ts";
import { type Given, type OpName, rowOf, splatOf } from "./ops/index.ts";
import { withRoots } from "./rebuild.ts";

/** A better node of the same type and value, or `undefined`. It must not give back what it was given. */
export type Rule = (n: Node, b: ScopedBuilder) => Node | undefined;
/** Rules by op, and rules for all ops, which are tried first. */
export interface Rules {
  readonly every?: readonly Rule[];
  readonly of?: { readonly [op in OpName]?: readonly Rule[] };
}

/** How many rules may follow one another on one node: more is a cycle of rules. */
const FUEL = 500;

/** A builder whose nodes are settled in a scope: every node it gives is the one of its kind, and no rule fits it any more. */
export class ScopedBuilder extends Builder {
  constructor(
    readonly scope: Scope,
    origin: Origin,
  ) {
    super(origin);
  }
  override at(origin: Origin): ScopedBuilder {
    return new ScopedBuilder(this.scope, origin);
  }
  override make<K extends OpName>(op: K, inputs: readonly Node[], ...attrs: Given<K>): Node {
    return this.scope.settle(super.make(op, inputs, ...attrs));
  }
  remake(n: Node, inputs: readonly Node[], attrs: Attrs = n.attrs): Node {
    return this.scope.settle(remake(n, inputs, attrs));
  }
}

export class Scope {
  private readonly table = new Map<string, Node>();
  /** Nodes of the backward half have a table of their own: it may take what the forward half has, never the other way round. */
  private readonly backward = new Map<string, Node>();
  private readonly settled = new Map<Node, Node>();
  private depth = 0;

  constructor(readonly rules: Rules = {}) {}

  /** The node of this scope that computes the same as `n` from the same operands; `n` itself, if it is the first. */
  intern(n: Node): Node {
    if (n.loop || rowOf(n).supply === "arg") return n;
    const key = nodeKey(n);
    const known = this.table.get(key) ?? (n.backward ? this.backward.get(key) : undefined);
    if (known) return known;
    const made = constantSecond(n);
    (n.backward ? this.backward : this.table).set(key, made);
    return made;
  }

  /** `n`, whose operands are settled, after all rules. */
  settle(n: Node): Node {
    const first = this.intern(n);
    const known = this.settled.get(first);
    if (known) return known;
    if (++this.depth > FUEL) throw new Bug(`rules follow one another without end at ${n.op} of ${n.origin.path}`);
    let now = first;
    for (let steps = 0; ; steps++) {
      const next = this.apply(now);
      if (next === now) throw new Bug(`a rule for ${now.op} gave back its node`);
      if (!next) break;
      if (steps > FUEL) throw new Bug(`rules follow one another without end at ${now.op} of ${now.origin.path}`);
      now = next;
      const done = this.settled.get(now);
      if (done) {
        now = done;
        break;
      }
    }
    this.depth--;
    this.settled.set(first, now);
    this.settled.set(now, now);
    return now;
  }

  private apply(n: Node): Node | undefined {
    const own = this.rules.of?.[n.op as OpName];
    if (!own && !this.rules.every) return undefined;
    const b = new ScopedBuilder(this, n.origin);
    for (const rule of this.rules.every ?? []) {
      const better = rule(n, b);
      if (better) return better;
    }
    for (const rule of own ?? []) {
      const better = rule(n, b);
      if (better) return better;
    }
    return undefined;
  }
}

/** Where operands may change places, a constant stands second. */
function constantSecond(n: Node): Node {
  if (n.inputs.length !== 2 || !rowOf(n).algebra?.commutative) return n;
  const [x, y] = n.inputs;
  return splatOf(x) !== undefined && splatOf(y) === undefined ? node(n.op, [y, x], n.attrs, n.type, n.origin) : n;
}

const attrKeys = new WeakMap<Attrs, string>();
/** Attributes as text; −0 and 0 are different. */
export function attrsKey(attrs: Attrs): string {
  let key = attrKeys.get(attrs);
  if (key === undefined) {
    const value = (v: unknown): string =>
      Array.isArray(v) ? `[${v.map(value).join()}]` : Object.is(v, -0) ? "-0" : typeof v === "string" ? JSON.stringify(v) : String(v);
    key = Object.keys(attrs)
      .sort()
      .map((k) => `${k}=${value(attrs[k])}`)
      .join(";");
    attrKeys.set(attrs, key);
  }
  return key;
}

/** Equal for nodes of one op with the same operands (in any order, if they commute) and attributes. */
function nodeKey(n: Node): string {
  let ids = n.inputs.map((i) => i.id);
  if (ids.length === 2 && rowOf(n).algebra?.commutative) ids = [Math.min(ids[0], ids[1]), Math.max(ids[0], ids[1])];
  return `${n.op}(${ids.join()})${attrsKey(n.attrs)}`;
}

/**
 * Nodes that `roots` reach, operands before users, and the forward half first: what forward and backward share then carries the forward
 * node's origin, whichever result asks for it.
 */
export function halvesInOrder(roots: readonly Node[]): Node[] {
  const all = order(roots);
  return [...all.filter((n) => !n.backward), ...all.filter((n) => n.backward)];
}

/** Rebuilds a region. `visit` gets each node with its operands rebuilt and gives the node that takes its place. */
export function rebuildHalves(
  roots: readonly Node[],
  visit: (n: Node, inputs: readonly Node[]) => Node,
  known = new Map<Node, Node>(),
): Node[] {
  for (const n of halvesInOrder(roots))
    if (!known.has(n))
      known.set(
        n,
        visit(
          n,
          n.inputs.map((i) => known.get(i)!),
        ),
      );
  return roots.map((r) => known.get(r)!);
}

/** A node on new operands, made only if one differs. */
export function remadeOn(n: Node, inputs: readonly Node[]): Node {
  return inputs.every((x, i) => x === n.inputs[i]) ? n : remake(n, inputs);
}

/** A loop with other operands and bodies; the node itself if nothing differs. */
export function withBodies(n: Node, inputs: readonly Node[], bodies: readonly Body[]): Node {
  const loop = n.loop!;
  if (inputs.every((x, i) => x === n.inputs[i]) && bodies.every((b, i) => b === loop.bodies[i])) return n;
  return makeLoop(inputs, { ...loop, bodies }, n.origin, n.attrs);
}

/** The body with other results; itself if they are the same. */
export function withResults(body: Body, results: readonly Node[]): Body {
  return results.every((r, i) => r === body.results[i]) ? body : { params: body.params, results };
}

/** Applies rules everywhere, loop bodies included. Nothing is kept but what the results reach. */
export function rewrite(graph: Graph, rules: Rules): Graph {
  return mapRegions(graph, (roots, known) => {
    const scope = new Scope(rules);
    return (rewriteLoop) =>
      rebuildHalves(roots, (n, inputs) => (n.loop ? rewriteLoop(n, inputs) : scope.settle(remadeOn(n, inputs))), known);
  });
}

type Region = (roots: readonly Node[], known: Map<Node, Node>) => (loops: (n: Node, inputs: readonly Node[]) => Node) => Node[];

/**
 * Rebuilds the graph and, for each loop met, its bodies. `region` gets the roots of a region and the nodes that stand for themselves (a
 * body's parameters), and then how to rebuild a loop.
 */
export function mapRegions(graph: Graph, region: Region): Graph {
  const one = (roots: readonly Node[], known: Map<Node, Node>): Node[] =>
    region(
      roots,
      known,
    )((n, inputs) => {
      const bodies = n.loop!.bodies.map((b) => withResults(b, one(b.results, new Map(b.params.map((p) => [p, p])))));
      return withBodies(n, inputs, bodies);
    });
  return withRoots(
    graph,
    one(
      graph.results.map((r) => r.node),
      new Map(),
    ),
  );
}

/** All nodes of the graph, those in loop bodies as well, each body once. */
export function allNodes(graph: Graph): Node[] {
  const out: Node[] = [];
  const bodies = new Set<Body>();
  const visit = (roots: readonly Node[]) => {
    for (const n of order(roots)) {
      out.push(n);
      for (const body of (n.loop as Loop | undefined)?.bodies ?? [])
        if (!bodies.has(body)) {
          bodies.add(body);
          visit(body.results);
        }
    }
  };
  visit(graph.results.map((r) => r.node));
  return out;
}
