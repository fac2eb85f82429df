import { addDim, type Dim, mulDim, subDim, symbolsOf } from "../../ir/dim.ts";
import type { Node } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { Instance } from "./instance.ts";
import type { Scope } from "./scope.ts";
import { indexPlaces } from "./select.ts";
import { builderAt, building, isTensor, toDim } from "./tensors.ts";
import { Dataset, describe, Fields, Selection, Size, Tensor, type Value } from "./values.ts";

/** `x[...]`: elements of lists and records, parts of texts, places of selections, and NumPy's indexing of tensors. */
export function index(e: Elaborator, expr: ast.Index, scope: Scope): Value {
  const object = e.evaluate(expr.object, scope);
  if (
    object instanceof Selection ||
    (Array.isArray(object) && object.length > 0 && object.every((x) => x instanceof Instance) && manyPlaces(expr))
  )
    return indexPlaces(e, object, expr, scope);
  if (object instanceof Fields) {
    const item = expr.items[0];
    const key = item?.kind === "At" ? e.evaluate(item.value, scope) : null;
    if (typeof key !== "string" || expr.items.length !== 1) fail("P0205", expr.span, "a record is indexed by one string");
    const v = object.entries.get(key);
    if (v === undefined) fail("P0202", item.span, `there is no "${key}" here`, { notes: e.suggestions(key, [...object.entries.keys()]) });
    return v;
  }
  if (object instanceof Dataset) {
    const item = expr.items[0];
    const name = item?.kind === "At" ? e.evaluate(item.value, scope) : null;
    if (typeof name !== "string" || expr.items.length !== 1) fail("P0205", expr.span, "a table is indexed by the name of a column");
    return new Dataset({ kind: "dataset", make: "column", args: [object.spec, name], options: {}, part: "main", span: expr.span });
  }
  if (Array.isArray(object)) return indexList(e, object as readonly Value[], expr, scope);
  if (typeof object === "string") return [indexList(e, [...object], expr, scope)].flat().join("");
  if (typeof object === "object" && object !== null && "kind" in object && object.kind === "attachment")
    return indexList(e, object.sites, expr, scope);
  if (!isTensor(object)) fail("P0206", expr.object.span, `${describe(object)} cannot be indexed`);
  return new Tensor(building(expr.span, () => indexTensor(e, e.node(object, scope.here, expr.object.span), expr, scope)));
}

const manyPlaces = (expr: ast.Index): boolean =>
  expr.items.length > 1 || expr.items.some((i) => i.kind === "Star" || (i.kind === "At" && i.value.kind === "Range"));

function indexList(e: Elaborator, list: readonly Value[], expr: ast.Index, scope: Scope): Value {
  const [item] = expr.items;
  if (expr.items.length !== 1) fail("P0205", expr.span, "a list has one index");
  if (item.kind === "Slice") {
    const at = (x: ast.Expr | undefined, otherwise: number) => {
      if (!x) return otherwise;
      const i = whole(e.evaluate(x, scope), x);
      return i < 0 ? i + list.length : i;
    };
    return list.slice(at(item.start, 0), at(item.stop, list.length));
  }
  if (item.kind !== "At") fail("P0205", item.span, "a list is indexed by a whole number");
  if (item.value.kind === "Range") {
    const start = whole(e.evaluate(item.value.start, scope), item.value.start);
    const end = item.value.end ? whole(e.evaluate(item.value.end, scope), item.value.end) : list.length;
    return list.slice(start, end);
  }
  const i = whole(e.evaluate(item.value, scope), item.value);
  const v = list[i < 0 ? i + list.length : i];
  if (v === undefined) fail("P0205", item.span, `index ${i} of a list of ${list.length}`);
  return v;
}

const moves = (d: Dim): boolean => symbolsOf(d).includes("past");

function whole(v: Value, at: ast.Expr): number {
  if (typeof v === "number" && Number.isInteger(v)) return v;
  fail("P0403", at.span, `an index must be a whole number, this is ${describe(v)}`);
}

function indexTensor(e: Elaborator, x: Node, expr: ast.Index, scope: Scope): Node {
  const b = builderAt(scope.here, expr.span);
  const value = (a: ast.Expr) => e.evaluate(a, scope);
  const consuming = expr.items.filter((i) => i.kind !== "Rest" && !(i.kind === "At" && i.value.kind === "None")).length;
  const rank = x.type.shape.length;
  if (consuming > rank) fail("P0407", expr.span, `${consuming} indices for a tensor of ${rank} axes: [${x.type.shape.join(", ")}]`);

  // slices, picks and new axes from the front; index tensors are kept for the end
  let out = x;
  let axis = 0;
  const tensors: { axis: number; node: Node }[] = [];
  for (const item of expr.items) {
    if (item.kind === "Rest") {
      const rest = expr.items.slice(expr.items.indexOf(item) + 1).filter((i) => !(i.kind === "At" && i.value.kind === "None")).length;
      axis = out.type.shape.length - rest;
      continue;
    }
    if (item.kind === "Star") fail("P0205", item.span, "`*` picks places of a model; of a tensor write `:`");
    if (item.kind === "Slice") {
      const size = out.type.shape[axis];
      const at = (s: ast.Expr | undefined, otherwise: Dim): Dim => {
        if (!s) return otherwise;
        const d = toDim(value(s), s.span, "a bound of a slice");
        return typeof d === "number" && d < 0 ? addDim(size, d) : typeof d === "number" && typeof size === "number" ? Math.min(d, size) : d;
      };
      const step = item.step ? whole(value(item.step), item.step) : 1;
      if (step < 1) fail("P0403", item.span, `the step of a slice must be 1 or more, this is ${step}`);
      const [start, stop] = [at(item.start, 0), at(item.stop, size)];
      // where decoding stands is known when it gets there: a shape has room for all positions, a place is one of them
      if (moves(start)) {
        if (step > 1 || moves(subDim(stop, start)))
          fail("P0403", item.span, "a slice from `past` on has a length that is known, and the step 1");
        out = b.take(out, b.add(b.iota([subDim(stop, start)], 0), start), axis);
      } else out = b.sliceAxis(out, axis, start, stop, step);
      axis++;
      continue;
    }
    if (item.value.kind === "None") {
      out = b.reshape(out, [...out.type.shape.slice(0, axis), 1, ...out.type.shape.slice(axis)]);
      axis++;
      continue;
    }
    const v = value(item.value);
    if (v === null) {
      out = b.reshape(out, [...out.type.shape.slice(0, axis), 1, ...out.type.shape.slice(axis)]);
      axis++;
    } else if (typeof v === "number" || v instanceof Size) {
      const d = toDim(v, item.span, "an index");
      const size = out.type.shape[axis];
      if (typeof d === "number" && typeof size === "number" && (d >= size || d < -size))
        fail("P0403", item.span, `index ${d} of an axis of ${size}`);
      out = moves(d) ? b.take(out, b.constant(d, "i32"), axis) : b.pick(out, axis, d);
    } else {
      tensors.push({ axis, node: e.node(v, scope.here, item.span) });
      axis++;
    }
  }
  if (tensors.length === 0) return out;
  if (tensors.length === 1) return b.take(out, tensors[0].node, tensors[0].axis);

  // several index tensors, side by side: one index into their axes taken together
  const first = tensors[0].axis;
  if (tensors.some((t, i) => t.axis !== first + i)) fail("P0205", expr.span, "index tensors must stand side by side");
  let flat: Node | undefined;
  for (const t of tensors) {
    const size = out.type.shape[t.axis];
    flat = flat ? b.add(b.mul(flat, size), t.node) : t.node;
  }
  const { shape } = out.type;
  const n = tensors.length;
  const together = b.reshape(out, [
    ...shape.slice(0, first),
    shape.slice(first, first + n).reduce(mulDim, 1 as Dim),
    ...shape.slice(first + n),
  ]);
  return b.take(together, flat!, first);
}
