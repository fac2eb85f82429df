/**
 * What each value of an update is to the rows of its batch. The batch is the symbol that the first axis of the columns has; what mentions
 * it in its shape has rows.
 */
import { type Dim, symbolsOf } from "../dim.ts";
import { Bug, InputError } from "../errors.ts";
import type { Node } from "../graph.ts";
import { iotaAxis, isDraw, isGather, rowOf } from "../ops/index.ts";
import { flowOf } from "./flow.ts";
import { linearIn } from "./linear.ts";

/**
 * fixed: the same for all micro-batches · rows: each row from its own row · additive: the sum over micro-batches of what it is for each ·
 * derived: a function of sums over all rows. `params`: a trained parameter enters, so that a gradient flows. `totals`: a sum over all rows
 * is needed to compute it. `placed`: it depends on the places of rows in their batch. A gradient by a fixed value is derived.
 */
export type Kind =
  | { readonly is: "fixed"; readonly params: boolean }
  | { readonly is: "rows"; readonly axis: number; readonly params: boolean; readonly totals: boolean; readonly placed: boolean }
  | { readonly is: "additive"; readonly params: boolean; readonly totals: boolean }
  | { readonly is: "derived"; readonly params: boolean };

/** An objective that micro-batches cannot add up to. */
export class NotAdditive extends InputError {
  constructor(why: string, n: Node) {
    const where = n.origin.path ? ` of ${n.origin.path}` : "";
    const notes = [
      "what an update adds up are sums over rows, divided by what no trained parameter enters, and terms without rows",
      "give `batch` all the rows of an update, without `accumulate`",
    ];
    super("P0811", `\`accumulate\` cannot split this update into micro-batches: \`${n.op}\`${where} ${why}`, notes, n.origin.span);
  }
}

export function kindsOf(nodes: readonly Node[], batch: string, trained: ReadonlySet<string>): Map<Node, Kind> {
  const holds = (d: Dim) => symbolsOf(d).includes(batch);
  const kinds = new Map<Node, Kind>();
  for (const n of nodes) kinds.set(n, kindOf(n));
  return kinds;

  function kindOf(n: Node): Kind {
    const { role, supply, vjp } = rowOf(n);
    const axes = n.type.shape.flatMap((d, i) => (holds(d) ? [i] : []));
    if (role === "region") throw new Bug("micro-batches are split before loops are rolled");
    if (axes.length > 1) throw new NotAdditive("pairs rows of the batch with each other", n);
    const [axis] = axes;
    if (role === "source") {
      if (axis === undefined) return { is: "fixed", params: supply === "param" && trained.has(String(n.attrs.name)) };
      if (supply !== undefined && supply !== "input") throw new NotAdditive(`is a ${supply} of the batch's size`, n);
      if (isDraw(n) && axis > 0) throw new NotAdditive("draws numbers whose rows are not on the first axis", n);
      return { is: "rows", axis, params: false, totals: false, placed: iotaAxis(n) === axis };
    }
    const of = n.inputs.map((i) => kinds.get(i)!);
    if (role === "placeholder") return derivative(n, of);
    // What no gradient passes counts as a number, whatever it is computed from.
    const params = of.some((k) => k.params) && vjp !== "zero";
    if (of.some((k) => k.is === "rows") || axis !== undefined) return ofRows(n, of, params);
    if (of.every((k) => k.is === "fixed")) return { is: "fixed", params };
    const moving = of.flatMap((k, i) => (k.is === "fixed" ? [] : [i]));
    if (moving.every((i) => of[i].is === "additive") && linearIn(n, moving))
      return { is: "additive", params, totals: of.some((k) => k.is === "additive" && k.totals) };
    return { is: "derived", params };
  }

  function ofRows(n: Node, of: readonly Kind[], params: boolean): Kind {
    let totals = false;
    let placed = false;
    for (const k of of) {
      if (k.is === "rows") {
        totals ||= k.totals;
        placed ||= k.placed;
      } else if (k.is !== "fixed") {
        if (k.params) throw new NotAdditive("gives rows a value that sums over rows and depends on what is trained", n);
        totals = true;
      }
    }
    const at = of.map((k) => (k.is === "rows" ? k.axis : -1));
    if (at.every((a) => a < 0)) return { is: "rows", axis: n.type.shape.findIndex(holds), params, totals, placed };
    const isPlaced = (i: Node): boolean => {
      const k = kinds.get(i);
      return k?.is === "rows" && k.placed;
    };
    const flow = flowOf(n, at, holds, isPlaced);
    if ("why" in flow) throw new NotAdditive(flow.why, n);
    // What reads its own row by the row's number does not depend on the number.
    const own = isGather(n) && at[0] === 0;
    if ("axis" in flow) return { is: "rows", axis: flow.axis, params, totals, placed: placed && !own };
    if (placed) throw new NotAdditive("sums values that depend on the places of rows in their batch", n);
    return { is: "additive", params, totals };
  }

  /** `grad` has the operands (e, x), `jvp` (e, x, v). */
  function derivative(n: Node, of: readonly Kind[]): Kind {
    const [e, x, v] = of;
    if (of.every((k) => k.is === "fixed")) return { is: "fixed", params: true };
    const settled = (k: Kind) => k.is === "fixed" || (k.is === "derived" && !k.params);
    if (v) {
      if (x.is === "fixed" && settled(v) && (e.is === "rows" || e.is === "additive"))
        return { ...e, params: true, totals: e.totals || v.is !== "fixed" };
      throw new NotAdditive("takes a derivative along a value that is known only when all rows are", n);
    }
    if (e.is === "fixed") return x.is === "rows" ? { ...x, params: true } : { is: "derived", params: true };
    if (x.is === "fixed") return { is: "derived", params: true };
    if (x.is === "rows") return { ...x, params: true, totals: true };
    throw new NotAdditive("takes a gradient by a value that sums over rows", n);
  }
}
