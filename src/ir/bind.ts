/** Puts sizes in the place of symbols: in types, in attributes, and in constants whose value is a size. */

import { Builder, makeArg, makeLoop, remake } from "./build.ts";
import { type Dim, mulDim, Poly, substitute, symbol, symbolsOf } from "./dim.ts";
import { Bug } from "./errors.ts";
import type { Attr, Attrs, Body, Graph, Loop, Node } from "./graph.ts";
import { order } from "./graph.ts";
import { attrsOf, rowOf } from "./ops/index.ts";
import { withRoots } from "./rebuild.ts";

export interface BindOptions {
  /**
   * Symbols whose value is known only when the graph runs: where a size is used as a *value* and mentions one of these, it becomes
   * arithmetic on the node given (i32, scalar), while shapes and attributes take the number in `sizes`. Decoding needs it: the number of
   * past positions has an extent (the capacity) and a value.
   */
  readonly values?: ReadonlyMap<string, Node> | undefined;
}

/**
 * The graph with `sizes` for its symbols; others stay. Types are inferred anew, so that sizes that only were equal under assumptions are
 * checked (`TypeMismatch`). Nodes that mention no bound symbol, and reach none, stay the same objects.
 */
export function bind(graph: Graph, sizes: ReadonlyMap<string, number>, options: BindOptions = {}): Graph {
  const values = options.values ?? new Map<string, Node>();
  for (const [name, n] of values)
    if (n.type.dtype !== "i32" || n.type.shape.length !== 0) throw new Bug(`the value of the size ${name} must be a scalar i32`);
  const roots = bindNodes(
    graph.results.map((r) => r.node),
    new Map(),
    sizes,
    (name) => values.get(name),
  );
  return withRoots(graph, roots);
}

type Lookup = (symbol: string) => Node | undefined;

function bindNodes(roots: readonly Node[], known: Map<Node, Node>, sizes: ReadonlyMap<string, number>, lookup: Lookup): Node[] {
  for (const n of order(roots)) if (!known.has(n)) known.set(n, bindNode(n, known, sizes, lookup));
  return roots.map((r) => known.get(r)!);
}

function bindNode(n: Node, known: ReadonlyMap<Node, Node>, sizes: ReadonlyMap<string, number>, lookup: Lookup): Node {
  const size = sizeValue(n);
  if (size && symbolsOf(size).some((s) => lookup(s))) return arithmetic(size, n, sizes, lookup);
  const inputs = n.inputs.map((i) => known.get(i)!);
  if (n.loop) return bindLoop(n, n.loop, inputs, sizes, lookup);
  const attrs = bindAttrs(n.attrs, sizes);
  const same = attrs === n.attrs && inputs.every((x, i) => x === n.inputs[i]);
  if (same && !n.type.shape.some((d) => mentions(d, sizes))) return n;
  return remake(n, inputs, attrs);
}

/** The size that a constant has as its value. */
function sizeValue(n: Node): Poly | undefined {
  if (rowOf(n).role !== "source" || !Array.isArray(n.attrs.data)) return undefined;
  const [value] = attrsOf(n, "const").data;
  return value instanceof Poly ? value : undefined;
}

function arithmetic(size: Poly, at: Node, sizes: ReadonlyMap<string, number>, lookup: Lookup): Node {
  const b = new Builder(at.origin);
  let sum: Node | undefined;
  for (const [monomial, coefficient] of size.terms) {
    let known: Dim = coefficient;
    let product: Node | undefined;
    for (const s of monomial ? monomial.split("*") : []) {
      const value = lookup(s);
      if (value) product = product ? b.mul(product, value) : value;
      else known = mulDim(known, sizes.get(s) ?? symbol(s));
    }
    const factor = b.constant(known, "i32");
    const term = product ? (known === 1 ? product : b.mul(product, factor)) : factor;
    sum = sum ? b.add(sum, term) : term;
  }
  return b.cast(sum!, at.type.dtype);
}

/** Bodies get the values they need as further arguments: nothing crosses into a region otherwise. */
function bindLoop(n: Node, loop: Loop, inputs: readonly Node[], sizes: ReadonlyMap<string, number>, lookup: Lookup): Node {
  const added: Node[] = [];
  const addedArgs: number[][] = [];
  let same = inputs.every((x, i) => x === n.inputs[i]);
  const bodies = loop.bodies.map((body): Body => {
    const params = body.params.map((p, i) => {
      const shape = p.type.shape.map((d) => substitute(d, sizes));
      return p.type.shape.some((d) => mentions(d, sizes)) ? makeArg(i, { ...p.type, shape }, p.origin) : p;
    });
    const known = new Map(body.params.map((p, i) => [p, params[i]]));
    const args: number[] = [];
    const inside = new Map<string, Node>();
    const results = bindNodes(body.results, known, sizes, (name) => {
      const outer = lookup(name);
      if (!outer) return undefined;
      let arg = inside.get(name);
      if (!arg) {
        if (!added.includes(outer)) added.push(outer);
        args.push(n.inputs.length - loop.carried + added.indexOf(outer));
        arg = makeArg(params.length, outer.type, outer.origin);
        params.push(arg);
        inside.set(name, arg);
      }
      return arg;
    });
    addedArgs.push(args);
    if (params.every((p, i) => p === body.params[i]) && results.every((r, i) => r === body.results[i])) return body;
    same = false;
    return { params, results };
  });
  if (same) return n;
  const iterations = loop.iterations.map((t) => ({ body: t.body, args: [...t.args, ...addedArgs[t.body]] }));
  return makeLoop([...inputs, ...added], { carried: loop.carried, bodies, iterations }, n.origin, bindAttrs(n.attrs, sizes));
}

const mentions = (d: Dim, sizes: ReadonlyMap<string, number>): boolean => symbolsOf(d).some((s) => sizes.has(s));

function bindAttrs(attrs: Attrs, sizes: ReadonlyMap<string, number>): Attrs {
  const one = (v: unknown): unknown => (v instanceof Poly && mentions(v, sizes) ? substitute(v, sizes) : v);
  let changed = false;
  const out = Object.entries(attrs).map(([key, v]): [string, Attr] => {
    const bound = Array.isArray(v) ? (v.some((x) => one(x) !== x) ? v.map(one) : v) : one(v);
    changed ||= bound !== v;
    return [key, bound as Attr];
  });
  return changed ? Object.fromEntries(out) : attrs;
}
