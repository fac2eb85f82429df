/**
 * What became of low rank beside frozen products, read off the kernels of a plan: a thin product with a trained factor goes on with the sum of the
 * product that it is added to, or stands in a kernel of its own; or a weight is made whole of it.
 */
import { type Node, sizes } from "../ir/graph.ts";
import { rowOf } from "../ir/ops/index.ts";
import { dotShape } from "./kernels/dots.ts";
import type { Step } from "./kernels/fuse.ts";
import { elements, under } from "./kernels/roots.ts";
import type { Lowered } from "./lower.ts";

export interface Sites {
  /** Thin products that are part of another's sum. */
  readonly fused: number;
  /** Those that are not, and weights made whole: the path of the module, and why. */
  readonly apart: readonly { readonly site: string; readonly why: string }[];
}

/** Those of the forward half of an entry. `trained`: names of parameters that some entry changes. */
export function sitesOf(lowered: Pick<Lowered, "scheduled" | "bodies">, trained: ReadonlySet<string>): Sites {
  let fused = 0;
  const apart: { site: string; why: string }[] = [];
  const walk = ({ scheduled, bodies }: Pick<Lowered, "scheduled" | "bodies">, given: ReadonlyMap<Node, Node>): void => {
    const facts = new Facts(trained, given);
    for (const step of scheduled.steps) {
      if (step.loop?.loop) {
        const { loop, inputs } = step.loop;
        const runs = new Map(loop.iterations.map((iteration) => [iteration.body, iteration]));
        for (const [body, { args }] of runs) {
          const { params } = loop.bodies[body];
          const inside = new Map(
            params.slice(loop.carried).map((p, i) => [p, given.get(inputs[loop.carried + args[i]]) ?? inputs[loop.carried + args[i]]]),
          );
          walk(bodies.get(loop.bodies[body])!, inside);
        }
        continue;
      }
      const products = step.roots.filter((n) => rowOf(n).role === "product");
      const [main, ...more] = products;
      if (!main || main.backward) continue;
      fused += more.filter((n) => facts.isThin(n, main)).length;
      if (step.apart && facts.isThin(main, step.apart.beside)) apart.push({ site: main.origin.path, why: step.apart.why });
      else if (facts.madeWhole(main, step)) apart.push({ site: main.origin.path, why: "a weight is made whole" });
    }
  };
  walk(lowered, new Map());
  return { fused, apart };
}

interface Known {
  readonly trained: boolean;
  /** Elements of the largest frozen parameter. */
  readonly frozen: number;
  /** Whether it depends on what is handed in for a run. */
  readonly varies: boolean;
}

class Facts {
  private readonly known = new Map<Node, Known>();
  constructor(
    private readonly trained: ReadonlySet<string>,
    /** What the parameters of a loop's body are. */
    private readonly given: ReadonlyMap<Node, Node>,
  ) {}

  /** Operands first: graphs are deep, and calls within calls would make a stack as deep. */
  private of(root: Node): Known {
    const stack = [root];
    while (stack.length) {
      const n = stack[stack.length - 1];
      const leaf = this.given.get(n) ?? n;
      const open = this.known.has(n) ? [] : leaf.inputs.filter((x) => !this.known.has(x));
      if (open.length > 0) {
        stack.push(...open);
        continue;
      }
      stack.pop();
      if (!this.known.has(n)) this.known.set(n, this.knownOf(leaf));
    }
    return this.known.get(root)!;
  }
  private knownOf(n: Node): Known {
    const { supply } = rowOf(n);
    if (supply === "param") {
      const trained = this.trained.has(String(n.attrs.name));
      return { trained, frozen: trained ? 0 : elements(n), varies: false };
    }
    if (supply !== undefined || n.inputs.length === 0) return { trained: false, frozen: 0, varies: supply !== undefined };
    const parts = n.inputs.map((x) => this.known.get(x)!);
    return {
      trained: parts.some((p) => p.trained),
      frozen: Math.max(...parts.map((p) => p.frozen)),
      varies: parts.some((p) => p.varies),
    };
  }

  /** Whether a product has a trained matrix for a factor, and a sum that is short beside its columns; and `beside` one with a frozen factor. */
  isThin(n: Node, beside: Node): boolean {
    const [, m, columns, rank] = dotShape(n).axes;
    const factor = (x: Node) => this.of(under(x));
    const matrix = n.inputs.slice(0, 2).findIndex((x) => factor(x).trained && !through(x));
    return (
      matrix >= 0 &&
      factor(n.inputs[1 - matrix]).varies &&
      2 * rank <= [m, columns][matrix] &&
      beside.inputs.slice(0, 2).some((x) => factor(x).frozen > 0 && !through(x))
    );
  }

  /** Whether one side is a tensor that a kernel stores, made of a frozen weight of its size and of trained parameters. */
  madeWhole(dot: Node, step: Step): boolean {
    return step.reads.some((x) => {
      const { trained, frozen, varies } = this.of(x);
      const side = dot.inputs.slice(0, 2).some((s) => under(s) === x);
      return side && trained && !varies && sizes(x).length > 1 && frozen === elements(x) && rowOf(x).supply === undefined;
    });
  }
}

/** Whether a factor is made by a product, such as x·A: then it is no matrix of parameters. */
function through(x: Node): boolean {
  const n = under(x);
  if (rowOf(n).role === "product") return true;
  return rowOf(n).supply === undefined && n.inputs.some(through);
}
