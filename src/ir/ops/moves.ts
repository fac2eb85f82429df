/** Questions about nodes that move elements, answered from what their rows read: what passes ask instead of the name of a move. */
import type { Dim } from "../dim.ts";
import { sameDim } from "../dim.ts";
import type { Attrs, Node } from "../graph.ts";
import { movement } from "./movement.ts";
import type { MovementName, Op } from "./op.ts";
import type { Part, Reads } from "./reads.ts";

const rowOf = (n: Node): Op | undefined => (Object.hasOwn(movement, n.op) ? movement[n.op as MovementName] : undefined);
const known = new WeakMap<Node, Reads>();

/** What a move shows of its operands; `undefined` for other nodes. */
export function readsOf(n: Node): Reads | undefined {
  const row = rowOf(n);
  if (!row) return undefined;
  let reads = known.get(n);
  if (!reads) {
    reads = row.reads!(
      n.inputs.map((x) => x.type.shape),
      n.attrs,
      n.type.shape,
    );
    known.set(n, reads);
  }
  return reads;
}

/** A move of one operand that fills nothing up: its elements are the operand's. */
export const isPlainMove = (n: Node): boolean => rowOf(n) !== undefined && n.inputs.length === 1 && n.attrs.value === undefined;

/** The axis of the operand that has the places of an axis of the result, as they are; `undefined`: the operand has none. */
function sameAxis(part: Part, axis: number, from: readonly Dim[], to: readonly Dim[]): number | undefined | "changed" {
  const own = part.axes.findIndex((read) => read !== "only" && read.axis === axis);
  if (own < 0) return undefined;
  const read = part.axes[own];
  const same = read !== "only" && !part.bounded.includes(own) && sameDim(read.offset, 0) && sameDim(from[own], to[axis]);
  return same && read.step > 0 ? own : "changed";
}

/**
 * Of each axis of a move's result: which axis of each operand it is, `undefined` where it is the same all along; or `"changed"`, where the move does
 * more to it than pass it on.
 */
export function passedAxes(n: Node): readonly (readonly (number | undefined)[] | "changed")[] {
  const reads = readsOf(n);
  const to = n.type.shape;
  if (!reads || reads === "in order") return to.map(() => "changed");
  return to.map((_, axis) => {
    const own = reads.parts.map((part) => sameAxis(part, axis, n.inputs[part.operand].type.shape, to));
    return own.includes("changed") ? "changed" : (own as readonly (number | undefined)[]);
  });
}

/** The axis on which a move puts its operands one behind the other. */
export function joinedAxis(n: Node): number | undefined {
  const reads = readsOf(n);
  if (!reads || reads === "in order" || reads.fill !== undefined || n.inputs.length < 2) return undefined;
  const changed = passedAxes(n).flatMap((p, axis) => (p === "changed" ? [axis] : []));
  const behind = reads.parts.every(({ axes }) => axes.every((read) => read !== "only" && read.step === 1));
  return changed.length === 1 && behind ? changed[0] : undefined;
}

/** A move that shows a window of its operand: on each axis places `start`, `start + step`, ... of it. */
export function windowOf(n: Node): { readonly start: readonly Dim[]; readonly step: readonly number[] } | undefined {
  const reads = readsOf(n);
  if (!reads || reads === "in order" || reads.parts.length !== 1 || reads.fill !== undefined || reads.parts[0].bounded.length > 0)
    return undefined;
  const [{ axes }] = reads.parts;
  if (axes.length !== n.type.shape.length) return undefined;
  const own = axes.flatMap((read, axis) => (read !== "only" && read.axis === axis && read.step > 0 ? [read] : []));
  return own.length === axes.length ? { start: own.map((r) => r.offset), step: own.map((r) => r.step) } : undefined;
}

/** The attributes of a move whose result has another shape, where it passes on the axes that differ. */
export const resized = (n: Node, shape: readonly number[], attrs: Attrs = n.attrs): Attrs => rowOf(n)?.resized?.(attrs, shape) ?? attrs;

/** The attributes of a move, resized, whose first `lead` axes have become `axes`; `undefined` where its row does not say. */
export function led(n: Node, lead: number, axes: number, shape: readonly number[]): Attrs | undefined {
  const attrs = rowOf(n)?.leading?.(n.attrs, lead, axes);
  return attrs && resized(n, shape, attrs);
}
