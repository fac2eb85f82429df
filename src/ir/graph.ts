/**
 * The typed tensor graph. Nodes are immutable values; a graph is its results, and what they reach. Operands of maps have equal shapes:
 * broadcasting is spelled out with `expand`, so that every row of the op table stays simple. Sizes may be symbolic until a stage binds
 * them (`bind`); everything from there on sees numbers.
 */
import type { Span } from "../ground/span.ts";
import type { Dim } from "./dim.ts";
import { Bug } from "./errors.ts";

export type { Span } from "../ground/span.ts";
export { Bug, InputError, Limit } from "./errors.ts";

export type DType = "f32" | "i32" | "bool";
export interface Type {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
}

/** One iteration of one static loop; nodes of one iteration carry the same tag until `roll` gathers them into a `loop` node. */
export interface Iteration {
  readonly loop: string;
  readonly iteration: number;
  readonly of: number;
  readonly outer?: Iteration | undefined;
}

/** Where a node comes from: for messages, names of kernels, and rolling loops. */
export interface Origin {
  readonly span?: Span | undefined;
  /** Path of the module or attachment site it came from, e.g. `transformer.h.3.attn`. */
  readonly path: string;
  readonly iteration?: Iteration | undefined;
  /** Set by reverse mode, and on what is recomputed for it: made for the backward half. See `Node.backward`. */
  readonly half?: "backward" | undefined;
  /** Of what is computed twice, forward and again for the backward half: nodes of one part are in both the same, and get the same kernels. */
  readonly recompute?: { readonly part: string; readonly index: number; readonly copy: boolean };
  /** Set on what the backward half recomputes: where it is read, or on the way there, which it does not outlive. */
  readonly recomputed?: "here" | "on the way" | undefined;
}

export type Attr = number | string | boolean | Dim | readonly Dim[] | readonly number[] | readonly string[] | undefined;
export type Attrs = Readonly<Record<string, Attr>>;

export interface Node {
  readonly id: number;
  /** The walk that met it last; of `order` alone. What is noted in a node goes with it: a weak table of all nodes would stay as large as it ever was. */
  met: number;
  /** This very node, once `verify` found it right: a copy with other fields is not it. */
  sound: Node | undefined;
  /** How long it takes, once that was asked for; of `cut` alone. */
  seconds: number | undefined;
  readonly op: string;
  readonly inputs: readonly Node[];
  readonly attrs: Attrs;
  readonly type: Type;
  readonly origin: Origin;
  /** Of the backward half: made by a backward sweep, or depending on what is. All else is the forward half, which never reads this one. */
  readonly backward: boolean;
  /** Of `loop` only: the different bodies, and for each iteration which body it runs with which arguments. */
  readonly loop?: Loop;
}

/**
 * A region with parameters (`arg` nodes, attrs `{ index }`): nothing else crosses its border. `results` are the carried-out values, in the
 * order of the carried parameters, then the exports.
 */
export interface Body {
  readonly params: readonly Node[];
  readonly results: readonly Node[];
}

/**
 * `inputs` of a loop node are: the carried values going in (`carried` of them), then all other values that iterations use, each once.
 * An iteration's body gets the carried values, then `inputs[carried + k]` for k in its `args`. A value that is an argument of every iteration is
 * *captured*; the others are *rows*. Results are read with `get` nodes: `{ output: "carried", index }` is a carried-out value,
 * `{ output: "export", iteration, index }` the index-th export of that iteration's body, `{ output: "joined", index }` the index-th exports of all
 * iterations, one behind the other along the leading axis. Iterations run 0..n-1.
 */
export interface Loop {
  readonly carried: number;
  readonly bodies: readonly Body[];
  readonly iterations: readonly { readonly body: number; readonly args: readonly number[] }[];
  /**
   * Places k among the values behind the carried ones that are cut along their leading axis: an iteration gets the next part, as long as its
   * parameter's leading axis. Every iteration has them, and the parts of all iterations are the whole.
   */
  readonly sliced?: readonly number[];
}

/** What a graph gives back. `role` says what it is for; `name` is unique within the role. */
export interface Result {
  /** output: read by the caller · param: next value of a parameter · state: next value of a state */
  readonly role: "output" | "param" | "state";
  readonly name: string;
  readonly node: Node;
  /** Set once gradients are there: known without the backward half, which `verify` holds from then on. */
  readonly forward?: true;
}
export interface Graph {
  readonly results: readonly Result[];
}

let counter = 0;
/** Makes a node without checking it; `build.ts` infers and checks types, this is for passes that know them. */
export function node(op: string, inputs: readonly Node[], attrs: Attrs, type: Type, origin: Origin, loop?: Loop): Node {
  const backward = origin.half === "backward" || inputs.some((x) => x.backward);
  return loop
    ? { id: ++counter, met: 0, sound: undefined, seconds: undefined, op, inputs, attrs, type, origin, backward, loop }
    : { id: ++counter, met: 0, sound: undefined, seconds: undefined, op, inputs, attrs, type, origin, backward };
}

/** The shape of a node whose sizes are bound. Throws `Bug` on a symbol: it would be our mistake to ask too early. */
export function sizes(n: Node): readonly number[] {
  for (const d of n.type.shape) if (typeof d !== "number") throw new Bug(`the size ${d} of ${n.op} in ${n.origin.path} is not bound yet`);
  return n.type.shape as readonly number[];
}

let walks = 0;
/** Nodes reachable from `roots`, operands before users, in an order that depends on the graph alone. Does not enter loop bodies. */
export function order(roots: readonly Node[]): Node[] {
  // nothing else walks meanwhile: a number in the node does for a set
  const walk = ++walks;
  const out: Node[] = [];
  /** The nodes being visited, and which operand of each is next. Every pass walks so, several times: no pair is made for a node. */
  const path: Node[] = [];
  const next: number[] = [];
  for (const root of roots) {
    if (root.met === walk) continue;
    root.met = walk;
    path.push(root);
    next.push(0);
    while (path.length) {
      const top = path.length - 1;
      const { inputs } = path[top];
      let i = next[top];
      while (i < inputs.length && inputs[i].met === walk) i++;
      if (i === inputs.length) {
        out.push(path[top]);
        path.pop();
        next.pop();
        continue;
      }
      next[top] = i + 1;
      inputs[i].met = walk;
      path.push(inputs[i]);
      next.push(0);
    }
  }
  return out;
}
