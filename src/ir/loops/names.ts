/**
 * How a loop remembers what its iterations were called. A body is written once, with the paths of the first iteration that runs it; these attributes
 * of the loop node give the others' names back when it is unrolled:
 * `id`, `of`: the static loop and how many iterations it had · `iterations`: for each iteration its number · `paths`: for each iteration the same number of
 * prefixes; a path in a body that begins with any iteration's prefix of a column begins, in turn t, with t's. Empty: none.
 */

import type { Attrs, Iteration, Node, Origin } from "../graph.ts";
import { attrsOf } from "../ops/index.ts";

/** More columns than this are not kept: they only make names. */
const MOST_COLUMNS = 8;

/** A tag without its `levels` outermost loops. */
export function withoutOuter(iteration: Iteration, levels: number): Iteration | undefined {
  const chain: Iteration[] = [];
  for (let t: Iteration | undefined = iteration; t; t = t.outer) chain.push(t);
  return chain
    .slice(0, Math.max(0, chain.length - levels))
    .reduceRight<Iteration | undefined>((outer, { loop, iteration, of }) => ({ loop, iteration, of, ...(outer && { outer }) }), undefined);
}
const within = (iteration: Iteration | undefined, outer: Iteration): Iteration =>
  iteration ? { ...iteration, outer: iteration.outer ? within(iteration.outer, outer) : outer } : outer;

/** The tags of a node, the outermost loop first. */
export function tagsOf(n: Node): Iteration[] {
  const out: Iteration[] = [];
  for (let t = n.origin.iteration; t; t = t.outer) out.push(t);
  return out.reverse();
}

/** Collects the prefixes from nodes that correspond in two iterations. */
export class IterationPaths {
  private readonly columns = new Map<string, string[]>();
  private readonly seen = new Set<string>();
  constructor(private readonly iterations: number) {}

  compare(t: number, path: string, u: number, other: string): void {
    if (path === other || this.seen.has(`${t} ${path} ${u} ${other}`)) return;
    this.seen.add(`${t} ${path} ${u} ${other}`);
    const p = path.split(".");
    const q = other.split(".");
    const at = p.findIndex((segment, i) => segment !== q[i]);
    if (at < 0 || at >= q.length) return;
    const parent = p.slice(0, at).join(".");
    let column = this.columns.get(parent);
    if (!column) {
      if (this.columns.size === MOST_COLUMNS) return;
      column = new Array<string>(this.iterations).fill("");
      this.columns.set(parent, column);
    }
    column[t] ||= p.slice(0, at + 1).join(".");
    column[u] ||= q.slice(0, at + 1).join(".");
  }

  attrs(id: string, of: number, iterations: readonly number[]): Attrs {
    const columns = [...this.columns.values()];
    return { id, of, iterations, paths: iterations.flatMap((_, t) => columns.map((c) => c[t])) };
  }
}

/**
 * The attributes for a loop that follows `loop`, running its iterations `picked` in that order; `follows` says which iteration of the other loop each
 * of its iterations goes with.
 */
export function followNames(loop: Node, picked: readonly number[]): Attrs {
  const { id, of } = attrsOf(loop, "loop");
  const numbers = attrsOf(loop, "loop").iterations;
  const paths = attrsOf(loop, "loop").paths;
  if (!numbers || !paths) return { follows: picked };
  const width = paths.length / numbers.length;
  return {
    id: `${String(id)}'`,
    of,
    iterations: picked.map((t) => numbers[t]),
    paths: picked.flatMap((t) => paths.slice(t * width, (t + 1) * width)),
    follows: picked,
  };
}

/** The attributes for a loop that is the iterations `from`..`to`-1 of another. */
export function namesOf(loop: Node, from: number, to: number): Attrs {
  const numbers = attrsOf(loop, "loop").iterations;
  const paths = attrsOf(loop, "loop").paths;
  if (!numbers || !paths) return loop.attrs;
  const width = paths.length / numbers.length;
  return { ...loop.attrs, iterations: numbers.slice(from, to), paths: paths.slice(from * width, to * width) };
}

/** For a loop node: where a node of its body comes from, in an iteration. */
export function originsIn(loop: Node): (t: number, origin: Origin) => Origin {
  const { id, of } = attrsOf(loop, "loop");
  const numbers = attrsOf(loop, "loop").iterations;
  const paths = attrsOf(loop, "loop").paths;
  if (!numbers || !paths) return (_, origin) => origin;
  const width = paths.length / numbers.length;
  const columnOf = new Map<string, number>();
  paths.forEach((path, i) => {
    if (path) columnOf.set(path, i % width);
  });
  const known = new Map<string, string>();
  const rename = (t: number, path: string): string => {
    const key = `${t} ${path}`;
    let out = known.get(key);
    if (out === undefined) {
      out = path;
      for (let end = path.length; end > 0; end = path.lastIndexOf(".", end - 1)) {
        const column = columnOf.get(path.slice(0, end));
        if (column === undefined) continue;
        const mine = paths[t * width + column];
        if (mine) out = mine + path.slice(end);
        break;
      }
      known.set(key, out);
    }
    return out;
  };
  return (t, origin) => ({
    ...origin,
    path: rename(t, origin.path),
    iteration: within(origin.iteration, { loop: String(id), iteration: numbers[t], of: of! }),
  });
}
