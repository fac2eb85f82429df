/** Parameters that are parts of a larger tensor: an offset and strides, to read out of it and to write into it. */
import { Bug } from "../../ir/errors.ts";
import { evaluate, type Scope } from "./expression.ts";
import type { ViewMapping } from "./mapping.ts";

export interface View {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
  /** Elements of the whole tensor. */
  readonly whole: number;
}

export function makeView(mapping: ViewMapping, scope: Scope, what: string): View {
  const sizes = mapping.reshape.map((size) => evaluate(size, scope, what));
  const strides = sizes.map((_, i) => sizes.slice(i + 1).reduce((a, b) => a * b, 1));
  const whole = sizes.reduce((a, b) => a * b, 1);
  let offset = 0;
  if (mapping.axis !== undefined) {
    const index = evaluate(mapping.index ?? "index", scope, what);
    if (index >= sizes[mapping.axis]) throw new Bug(`entry ${index} of an axis of ${sizes[mapping.axis]} in ${what}`);
    offset = index * strides[mapping.axis];
    sizes.splice(mapping.axis, 1);
    strides.splice(mapping.axis, 1);
  }
  const order = mapping.permute ?? sizes.map((_, i) => i);
  return { shape: order.map((i) => sizes[i]), strides: order.map((i) => strides[i]), offset, whole };
}

/** Names of a view's axes, in its own order: what a parameter's shape binds. */
export function axisNames(mapping: ViewMapping): string[] {
  const names = [...mapping.reshape];
  if (mapping.axis !== undefined) names.splice(mapping.axis, 1);
  return (mapping.permute ?? names.map((_, i) => i)).map((i) => names[i]);
}

/** Calls `visit(place in the view, place in the whole)` for each element, row-major in the view. */
function walk(view: View, visit: (inView: number, inWhole: number) => void): void {
  const count = view.shape.reduce((a, b) => a * b, 1);
  const index = view.shape.map(() => 0);
  let at = view.offset;
  for (let i = 0; i < count; i++) {
    visit(i, at);
    for (let axis = index.length - 1; axis >= 0; axis--) {
      at += view.strides[axis];
      if (++index[axis] < view.shape[axis]) break;
      at -= view.strides[axis] * view.shape[axis];
      index[axis] = 0;
    }
  }
}

export function readView(view: View, whole: ArrayLike<number>): Float32Array {
  const out = new Float32Array(view.shape.reduce((a, b) => a * b, 1));
  walk(view, (inView, inWhole) => {
    out[inView] = whole[inWhole];
  });
  return out;
}

export function writeView(view: View, values: ArrayLike<number>, whole: Float32Array): void {
  walk(view, (inView, inWhole) => {
    whole[inWhole] = values[inView];
  });
}

/** A parameter of which a file leaves out rows: `rows` are the places along an axis of those that are there. */
export interface Thinned {
  readonly shape: readonly number[];
  readonly axis: number;
  readonly rows: readonly number[];
}

/** Calls `visit(place in the parameter, place in the file)` for each run of elements that is in both, and gives the run's length. */
function eachRow({ shape, axis, rows }: Thinned, visit: (full: number, kept: number, length: number) => void): void {
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  const length = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  for (let o = 0; o < outer; o++)
    for (const [i, row] of rows.entries()) visit((o * shape[axis] + row) * length, (o * rows.length + i) * length, length);
}

/** The whole parameter; what the file leaves out is 0. */
export function fillRows(thinned: Thinned, kept: ArrayLike<number>): Float32Array {
  const out = new Float32Array(thinned.shape.reduce((a, b) => a * b, 1));
  eachRow(thinned, (to, from, length) => {
    for (let i = 0; i < length; i++) out[to + i] = kept[from + i];
  });
  return out;
}

export function keepRows(thinned: Thinned, full: ArrayLike<number>): Float32Array {
  const out = new Float32Array(thinned.shape.reduce((a, b, axis) => a * (axis === thinned.axis ? thinned.rows.length : b), 1));
  eachRow(thinned, (from, to, length) => {
    for (let i = 0; i < length; i++) out[to + i] = full[from + i];
  });
  return out;
}
