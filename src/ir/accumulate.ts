/**
 * One update in micro-batches that equal one batch: what sums over rows is added up; what depends on the sums is computed at the end.
 *
 * With the sums over rows s₁, s₂ ... that trained parameters enter, and sums c₁, c₂ ... that they do not (numbers of labels), the loss is
 * required to be Σ aᵢ(c, θ)·sᵢ + r(c, θ). Its gradient is then Σ aᵢ·∂sᵢ + (Σ ∂aᵢ·sᵢ + ∂r): the first part adds up over micro-batches once
 * the c are known, the second, without rows, is computed once from the totals.
 */
import { type Kind, kindsOf, NotAdditive } from "./accumulate/kinds.ts";
import { affineIn } from "./accumulate/linear.ts";
import { bind } from "./bind.ts";
import { Builder } from "./build.ts";
import { type Dim, divDim, mulDim, symbol } from "./dim.ts";
import { Bug } from "./errors.ts";
import { type Graph, type Node, order, type Result, type Type } from "./graph.ts";
import { isDraw, type OpName, rowOf } from "./ops/index.ts";
import type { PassRow } from "./passes/pass.ts";
import { withInputs } from "./rebuild.ts";

export { NotAdditive } from "./accumulate/kinds.ts";

/** Scalar i32 inputs of the graphs, where they matter: the rows of the whole update, and those of its micro-batches before this one. */
export const UPDATE_ROWS = "update_rows";
export const ROWS_BEFORE = "rows_before";

/** `accumulate` as the list of passes has it: it gives several graphs for one. */
export const accumulation: PassRow = {
  name: "accumulate",
  before: "an update or an evaluation whose rows come in several batches, sizes unbound",
  after: "graphs that count, that add the sums of one batch to states, and that compute the results from the sums",
  law: "the results are those of one batch of all rows, up to rounding",
};

export interface Accumulation {
  /** For each micro-batch, before any `gradients`: adds up what divides. Absent if the number of rows says all. */
  readonly count?: Graph;
  /** For each micro-batch: adds to the gradients, and to the sums that logs need. */
  readonly gradients: Graph;
  /** Once, without columns: the results of the whole graph; the sums begin again at zero. */
  readonly update: Graph;
  /** States that carry the sums, all of them zero at the start. */
  readonly states: readonly { readonly name: string; readonly type: Type }[];
}

/**
 * Splits an update with symbolic sizes, whose batch is the symbol `batch`. Throws `NotAdditive` (P0811) where micro-batches do not add up to
 * the batch.
 */
export function accumulate(graph: Graph, batch: string): Accumulation {
  const known = splits.get(graph);
  if (known?.batch === batch) return known.made;
  const made = new Splitter(graph, batch).split();
  splits.set(graph, { batch, made });
  return made;
}
/** Sizes do not matter: who looks for a plan that fits a budget asks for one graph again and again. */
const splits = new WeakMap<Graph, { readonly batch: string; readonly made: Accumulation }>();

const b = new Builder({ path: "accumulate" });
const isPlaceholder = (n: Node): boolean => rowOf(n).role === "placeholder";

/** A part of the graph made anew: sums over rows are what `total` says where something other than a sum reads them. */
interface View {
  get(n: Node): Node;
}

class Splitter {
  private readonly graph: Graph;
  private readonly nodes: readonly Node[];
  private readonly kinds: ReadonlyMap<Node, Kind>;
  private readonly before = b.input(ROWS_BEFORE, { dtype: "i32", shape: [] });
  /** Sums that something other than a sum reads, with the states that carry them. */
  private readonly leaves = new Map<Node, Node>();
  private readonly counts = new Set<Node>();
  /** Gradients by fixed values, with the states that carry their sums. */
  private readonly gradients = new Map<Node, Node>();
  private readonly affine = new Set<Node>();

  constructor(
    graph: Graph,
    private readonly batch: string,
  ) {
    // A size of the batch that is used as a value means all rows of the update.
    this.graph = bind(graph, new Map(), { values: new Map([[batch, b.input(UPDATE_ROWS, { dtype: "i32", shape: [] })]]) });
    this.nodes = order(this.graph.results.map((r) => r.node));
    const trained = new Set(graph.results.filter((r) => r.role === "param").map((r) => r.name));
    this.kinds = kindsOf(this.nodes, batch, trained);
    this.findGradients();
    this.findLeaves();
  }

  private kind(n: Node): Kind {
    return this.kinds.get(n)!;
  }

  private findGradients(): void {
    const names = new Set<string>();
    for (const n of this.nodes) {
      if (!isPlaceholder(n) || this.kind(n).is !== "derived") continue;
      const [e, x] = n.inputs;
      this.requireAffine(e);
      const of = rowOf(x).supply === "param" ? `acc/${String(x.attrs.name)}` : `acc/${x.origin.path || "value"}`;
      let name = of;
      for (let i = 2; names.has(name); i++) name = `${of}/${i}`;
      names.add(name);
      this.gradients.set(n, b.state(name, n.type));
    }
    for (const n of this.nodes)
      if (isPlaceholder(n) && this.kind(n).is === "rows" && n.inputs.length === 2) this.requireAffine(n.inputs[0]);
  }

  private findLeaves(): void {
    const found = new Set<Node>();
    const counted = new Set<Node>();
    for (const r of this.graph.results) {
      const k = this.kind(r.node);
      if (k.is === "rows") throw new NotAdditive(`has rows, and is read as ${r.name}`, r.node);
      if (k.is === "additive") found.add(r.node);
    }
    for (const n of this.nodes) {
      const k = this.kind(n);
      for (const i of n.inputs) {
        const from = this.kind(i);
        if (from.is === "additive" && (k.is !== "additive" || isPlaceholder(n))) found.add(i);
        if (k.is === "rows" && from.is !== "rows") counted.add(i);
      }
      if (isPlaceholder(n) && k.is !== "fixed") counted.add(n.inputs[0]);
    }
    // The divisors: sums that gradients need before they can be added up.
    for (const n of this.reach([...counted])) {
      const k = this.kind(n);
      if (!found.has(n) || k.params) continue;
      if (k.is === "additive" && k.totals) throw new NotAdditive("is a divisor that itself needs a sum over all rows", n);
      this.counts.add(n);
    }
    let count = 0;
    for (const n of this.nodes) if (found.has(n)) this.leaves.set(n, b.state(`${this.counts.has(n) ? "count" : "sum"}/${count++}`, n.type));
  }

  /** Values that are not rows, below these, down to the sums. */
  private reach(roots: readonly Node[]): Set<Node> {
    const out = new Set<Node>();
    const stack = roots.filter((n) => this.kind(n).is !== "rows");
    while (stack.length) {
      const n = stack.pop()!;
      if (out.has(n)) continue;
      out.add(n);
      if (this.kind(n).is === "derived") stack.push(...n.inputs.filter((i) => this.kind(i).is !== "rows"));
    }
    return out;
  }

  /** Throws where e is not linear, up to a constant, in the sums that trained parameters enter. */
  private requireAffine(e: Node): void {
    if (this.affine.has(e)) return;
    this.affine.add(e);
    const moves = new Set<Node>();
    for (const n of order([e])) {
      const k = this.kind(n);
      if (isPlaceholder(n) && n.inputs.length === 2 && k.is !== "fixed")
        throw new NotAdditive("takes a gradient within what a gradient is taken of", n);
      if (k.is === "additive" && k.params) moves.add(n);
      if (k.is !== "derived" || !k.params) continue;
      const moving = n.inputs.flatMap((i, at) => (moves.has(i) ? [at] : []));
      if (moving.length === 0) continue;
      if (!affineIn(n, moving)) throw new NotAdditive("is not linear in a sum over rows that depends on what is trained", n);
      moves.add(n);
    }
  }

  /** A view of the graph, in which other values read `total` for sums; `instead` makes nodes that are not what they were. */
  private view(total: (sum: Node) => Node, instead: (n: Node, view: View) => Node | undefined = () => undefined): View {
    const known = new Map<Node, Node>();
    const crosses = (n: Node, i: Node) => this.kind(i).is === "additive" && this.kind(n).is !== "additive" && !isPlaceholder(n);
    const view: View = {
      get: (root) => {
        const stack = [root];
        while (stack.length) {
          const n = stack[stack.length - 1];
          if (known.has(n)) {
            stack.pop();
            continue;
          }
          const made = instead(n, view);
          if (made) {
            known.set(n, made);
            continue;
          }
          const missing = n.inputs.filter((i) => !crosses(n, i) && !known.has(i));
          if (missing.length > 0) {
            stack.push(...missing.reverse());
            continue;
          }
          const inputs = n.inputs.map((i) => (crosses(n, i) ? total(i) : known.get(i)!));
          known.set(n, this.placed(n, withInputs(n, inputs)));
        }
        return known.get(root)!;
      },
    };
    return view;
  }

  /** A draw for rows begins where its micro-batch does. */
  private placed(old: Node, n: Node): Node {
    if (!isDraw(n) || this.kind(old).is !== "rows") return n;
    const size = n.type.shape.reduce(mulDim, 1 as Dim);
    const row = divDim(size, symbol(this.batch));
    if (row === undefined || n.inputs.length !== 2) throw new Bug(`a draw of ${size} numbers for ${this.batch} rows`);
    const at = b.at(n.origin);
    return at.make(n.op as OpName, [...n.inputs, at.mul(this.before, at.constant(row, "i32"))], n.attrs);
  }

  split(): Accumulation {
    const carrier = (sum: Node): Node => this.leaves.get(sum) ?? missing(sum);
    const divisor = (sum: Node): Node => (this.counts.has(sum) ? carrier(sum) : missing(sum));

    // From totals alone; gradients are what was added up, and what no row enters.
    const whole = this.view(carrier, (n, view) => {
      const sum = this.gradients.get(n);
      if (!sum) return undefined;
      const [e, x] = n.inputs;
      const [at, by] = [top(e, view), view.get(x)];
      return below(at).has(by) ? b.add(sum, b.grad(at, by)) : sum;
    });
    const reached = new Map<Node, Set<Node>>();
    const below = (n: Node): Set<Node> => {
      if (!reached.has(n)) reached.set(n, new Set(order([n])));
      return reached.get(n)!;
    };
    const top = (n: Node, view: View): Node => (this.kind(n).is === "additive" ? carrier(n) : view.get(n));

    // Of one micro-batch, given the divisors.
    const losses = new Map<Node, Node>();
    const part = this.view(divisor, (n, view) =>
      isPlaceholder(n) && n.inputs.length === 2 && this.kind(n).is === "rows"
        ? b.grad(partOf(n.inputs[0]), view.get(n.inputs[1]))
        : undefined,
    );
    const partOf = (e: Node): Node => {
      let loss = losses.get(e);
      if (!loss) {
        const at = top(e, whole);
        const sums = [...this.reach([e])].filter((n) => this.leaves.has(n) && this.kind(n).params);
        // The coefficients do not depend on the sums, so it does not matter that these are not complete yet.
        const terms = sums.map((s) => b.reduce("sum", b.mul(b.stopGradient(b.grad(at, carrier(s))), part.get(s))));
        loss = terms.reduce((x, y) => b.add(x, y), b.constant(0));
        losses.set(e, loss);
      }
      return loss;
    };

    const states = [...this.leaves.values(), ...this.gradients.values()];
    const added = (state: Node, node: Node): Result => ({ role: "state", name: String(state.attrs.name), node: b.add(state, node) });
    const sums = [...this.leaves];
    const count = sums.filter(([n]) => this.counts.has(n)).map(([n, state]) => added(state, part.get(n)));
    const gradients = [
      ...[...this.gradients].map(([n, state]) => added(state, b.grad(partOf(n.inputs[0]), part.get(n.inputs[1])))),
      ...sums.filter(([n]) => !this.counts.has(n)).map(([n, state]) => added(state, part.get(n))),
    ];
    const results = this.graph.results.map((r) => ({ ...r, node: top(r.node, whole) }));
    const cleared = states.map((s): Result => ({ role: "state", name: String(s.attrs.name), node: b.zeros(s.type) }));
    return {
      ...(count.length > 0 && { count: { results: count } }),
      gradients: { results: gradients },
      update: { results: [...results, ...cleared] },
      states: states.map((s) => ({ name: String(s.attrs.name), type: s.type })),
    };
  }
}

function missing(n: Node): never {
  throw new Bug(`the sum ${n.op} of ${n.origin.path} is read before it is known`);
}
