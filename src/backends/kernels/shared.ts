/**
 * Kernels of equal structure, built once. What is built of some roots depends on ops, attributes, types and on which operand is which, not on the nodes
 * themselves: iterations of a loop of layers, updates of parameters of one shape, and plans of one graph under different budgets come to the same kernels.
 */
import type { Node } from "../../ir/graph.ts";
import type { DriverHooks } from "../../ir/passes/pass.ts";
import { attrsKey } from "../../ir/rewrite.ts";
import type { InMemory } from "./build.ts";
import type { LoopLanguage } from "./kernel.ts";
import { Misfit } from "./space.ts";
import type { SpecialBuilt } from "./special.ts";

/** A kernel with places in the list of nodes for its tensors. */
interface Template {
  readonly kernel: LoopLanguage;
  readonly tensors: readonly number[];
  readonly preserves?: number;
}

export class SharedKernels {
  /** By structure; a text says why nothing can be built. */
  private readonly known = new Map<string, readonly Template[] | string>();
  /** How often kernels were built, rather than found. */
  built = 0;
  /** `hooks`: of who looks at how graphs are lowered, or leaves a pass out: kernels of such are shared with no others. */
  constructor(readonly hooks: DriverHooks = {}) {}

  /**
   * What `make` builds of `roots`, or built of others of the same structure. `stored`: those whose values are needed outside.
   * A text says why `make` threw `Misfit`.
   */
  of(
    kind: string,
    roots: readonly Node[],
    stored: (n: Node) => boolean,
    inMemory: InMemory,
    make: () => readonly SpecialBuilt[],
  ): readonly SpecialBuilt[] | string {
    const { text, nodes } = structure(roots, stored, inMemory);
    const key = `${kind}\n${text}`;
    const seen = this.known.get(key);
    if (typeof seen === "string") return seen;
    if (seen)
      return seen.map(({ kernel, tensors, preserves }) => ({
        kernel,
        tensors: tensors.map((i) => nodes[i]),
        ...(preserves === undefined ? {} : { preserves: nodes[preserves] }),
      }));
    this.built++;
    try {
      const made = make();
      const number = new Map(nodes.map((n, i) => [n, i]));
      this.known.set(
        key,
        made.map(({ kernel, tensors, preserves }) => ({
          kernel,
          tensors: tensors.map((n) => number.get(n)!),
          ...(preserves === undefined ? {} : { preserves: number.get(preserves)! }),
        })),
      );
      return made;
    } catch (error) {
      if (!(error instanceof Misfit)) throw error;
      this.known.set(key, error.message);
      return error.message;
    }
  }
}

/** Roots and what they are computed from, down to what lies in memory: a text that is equal for equal structures, and the nodes in the order it names them. */
function structure(roots: readonly Node[], stored: (n: Node) => boolean, inMemory: InMemory): { text: string; nodes: Node[] } {
  const number = new Map<Node, number>();
  const nodes: Node[] = [];
  const members = new Set(roots);
  let text = "";
  const visit = (n: Node): void => {
    number.set(n, nodes.length);
    nodes.push(n);
    const { dtype, shape } = n.type;
    if (!members.has(n) && inMemory(n)) {
      text += `${dtype}${shape.join()}\n`;
      return;
    }
    for (const x of n.inputs) if (!number.has(x)) visit(x);
    text += `${n.op} ${attrsKey(n.attrs)} ${dtype}${shape.join()}`;
    for (const x of n.inputs) text += ` ${number.get(x)}`;
    text += members.has(n) ? (stored(n) ? " out\n" : " in\n") : "\n";
  };
  for (const n of roots) if (!number.has(n)) visit(n);
  for (const n of roots) text += ` ${number.get(n)}`;
  return { text, nodes };
}
