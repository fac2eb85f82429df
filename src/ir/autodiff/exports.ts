/**
 * Values that differentiation needs out of loops. Nodes are immutable, so a loop that must export more is only noted here; reads of such
 * exports exist at once, and `apply` puts in the loops that have them. New exports are appended, so old reads keep their meaning.
 */
import { type Body, type Node, node } from "../graph.ts";
import { attrsOf, rowOf } from "../ops/index.ts";
import { exportRead, isGet, readOf, rebuild, withInputs } from "../rebuild.ts";

export class LoopExports {
  private readonly added = new Map<Body, Node[]>();
  private readonly reads = new Map<Node, Map<string, Node>>();

  /** The body's results, with those that were asked for since. */
  results(body: Body): readonly Node[] {
    const more = this.added.get(body);
    return more ? [...body.results, ...more] : body.results;
  }

  /**
   * The value that a node of an iteration's body has in that iteration, as a node outside the loop: an operand of the loop where it only passes
   * through, otherwise a read of an export, one node for each value.
   */
  valueAt(loop: Node, iteration: number, inside: Node): Node {
    const { carried, bodies, iterations } = loop.loop!;
    const at = this.settle(inside);
    const { supply } = rowOf(at);
    const index = supply === "arg" ? attrsOf(at, "arg").index : -1;
    if (supply === "arg" && index >= carried) return this.settle(loop.inputs[carried + iterations[iteration].args[index - carried]]);
    if (supply === "arg" && iteration === 0) return this.settle(loop.inputs[index]);
    if (supply === "arg") return this.valueAt(loop, iteration - 1, bodies[iterations[iteration - 1].body].results[index]);
    const body = bodies[iterations[iteration].body];
    let place = this.results(body).indexOf(at, carried);
    if (place < 0) {
      place = this.results(body).length;
      if (!this.added.has(body)) this.added.set(body, []);
      this.added.get(body)!.push(at);
    }
    if (!this.reads.has(loop)) this.reads.set(loop, new Map());
    const known = this.reads.get(loop)!;
    const key = `${iteration}.${place}`;
    if (!known.has(key)) known.set(key, exportRead(loop, iteration, place - carried, at));
    return known.get(key)!;
  }

  /** One node for each value: a `get` as `valueAt` gives it, any other node itself. */
  settle(n: Node): Node {
    return isGet(n) ? this.valueAt(readOf(n).loop, readOf(n).iteration, this.inside(n)) : n;
  }

  /** The node of the body that a `get` reads. */
  inside(get: Node): Node {
    const { loop, iteration, result } = readOf(get);
    const { bodies, iterations } = loop.loop!;
    return this.results(bodies[iterations[iteration].body])[result];
  }

  /** `roots` over loops that have all exports asked for. */
  apply(roots: readonly Node[]): Node[] {
    const known = new Map<Node, Node>();
    const change = (n: Node, inputs: readonly Node[]): Node => {
      if (!n.loop) return withInputs(n, inputs);
      let same = true;
      const bodies = n.loop.bodies.map((body): Body => {
        const old = this.results(body);
        const results = rebuild(old, known, change);
        if (old === body.results && results.every((r, i) => r === old[i])) return body;
        same = false;
        return { params: body.params, results };
      });
      return same ? withInputs(n, inputs) : node(n.op, inputs, n.attrs, n.type, n.origin, { ...n.loop, bodies });
    };
    return rebuild(roots, known, change);
  }
}
