import { addDim, decideEqual, divDim, least, mulDim, subDim } from "../../ir/dim.ts";
import type { Node } from "../../ir/graph.ts";
import type { BinaryName, CompareName } from "../../ir/ops/index.ts";
import type * as ast from "../ast.ts";
import { call } from "./calls.ts";
import type { Elaborator } from "./elaborator.ts";
import { Fault, fail } from "./fault.ts";
import { index } from "./indexing.ts";
import { readMember } from "./members.ts";
import { fixed, Names, type Read, type Scope } from "./scope.ts";
import { except, select } from "./select.ts";
import { builderAt, building, isTensor, toDim, toOperand } from "./tensors.ts";
import { Closure, describe, Fields, Size, sizeValue, Tensor, type Value } from "./values.ts";

/** The value of an expression. Tensors become nodes of the graph being made; the rest is computed here and now. */
export function evaluate(e: Elaborator, expr: ast.Expr, scope: Scope): Value {
  e.work.enter(expr.span);
  try {
    return compute(e, expr, scope);
  } catch (error) {
    if (error instanceof Fault) error.through.push(expr.span);
    throw error;
  } finally {
    e.work.leave();
  }
}

function compute(e: Elaborator, expr: ast.Expr, scope: Scope): Value {
  switch (expr.kind) {
    case "Number":
    case "String":
    case "Bool":
      return expr.value;
    case "None":
      return null;
    case "Name":
      return lookup(e, expr, scope);
    case "List":
      return spreadable(e, expr.items, scope);
    case "Comprehension":
      return comprehension(e, expr, scope);
    case "Record":
      return record(e, expr, scope);
    case "Unary":
      return unary(e, expr, scope);
    case "Binary":
      return binary(e, expr, scope);
    case "Compare":
      return compare(e, expr, scope);
    case "Logic":
      return logic(e, expr, scope);
    case "Default": {
      const left = evaluate(e, expr.left, scope);
      return left === null ? evaluate(e, expr.right, scope) : left;
    }
    case "Conditional":
      return evaluate(e, e.condition(expr.condition, scope) ? expr.then : expr.else, scope);
    case "Lambda":
      return new Closure("fn", expr.params, undefined, expr.body, scope, expr.span);
    case "Call":
      return call(e, expr, scope);
    case "Index":
      return index(e, expr, scope);
    case "Member":
      return readMember(e, evaluate(e, expr.object, scope), expr.name, scope, expr.span);
    case "Select":
      return select(e, expr, scope);
    case "Except":
      return except(e, evaluate(e, expr.left, scope), expr, scope);
    case "Range": {
      const start = evaluate(e, expr.start, scope);
      const end = expr.end ? evaluate(e, expr.end, scope) : null;
      if (typeof start !== "number" || typeof end !== "number" || !Number.isInteger(start) || !Number.isInteger(end))
        fail("P0403", expr.span, `a range is from one whole number to another, this is from ${describe(start)} to ${describe(end)}`);
      if (!Number.isSafeInteger(start) || !Number.isSafeInteger(end))
        fail("P0403", expr.span, `a range is from one whole number to another, these are past 2^53, where they are no longer exact`);
      e.work.items(Math.max(0, end - start), expr.span);
      return Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i);
    }
  }
}

function lookup(e: Elaborator, name: ast.Name, scope: Scope): Value {
  const read = scope.find(name.text);
  if (read) return read(scope.here);
  fail("P0201", name.span, `unknown name \`${name.text}\``, { label: "not known here", notes: e.suggestions(name.text, scope.names()) });
}

function spreadable(e: Elaborator, items: readonly (ast.Expr | ast.Spread)[], scope: Scope): Value[] {
  const out: Value[] = [];
  for (const item of items) {
    if (item.kind !== "Spread") {
      out.push(evaluate(e, item, scope));
      continue;
    }
    const more = e.elements(evaluate(e, item.value, scope), item.span);
    e.work.items(out.length + more.length, item.span);
    for (const v of more) out.push(v);
  }
  return out;
}

function comprehension(e: Elaborator, expr: ast.Comprehension, scope: Scope): Value[] {
  const out: Value[] = [];
  for (const item of e.elements(evaluate(e, expr.list, scope), expr.list.span)) {
    const inner = new Names(bindNames(e, expr.names, item, expr.list), scope);
    if (expr.condition && !e.condition(expr.condition, inner)) continue;
    const more = spreadable(e, [expr.element], inner);
    if (out.length + more.length > e.work.limits.items) e.work.items(out.length + more.length, expr.span);
    for (const v of more) out.push(v);
  }
  return out;
}

export function bindNames(e: Elaborator, names: readonly ast.Name[], item: Value, list: ast.Expr): Map<string, Read> {
  if (names.length === 1) return new Map([[names[0].text, fixed(item)]]);
  const parts = e.elements(item, list.span);
  if (parts.length !== names.length) fail("P0213", list.span, `each element gives ${parts.length} values for ${names.length} names`);
  return new Map(names.map((n, i) => [n.text, fixed(parts[i])]));
}

function record(e: Elaborator, expr: ast.RecordLiteral, scope: Scope): Value {
  const out = new Map<string, Value>();
  for (const entry of expr.entries) {
    if (entry.kind === "Entry") out.set(entry.key.text, evaluate(e, entry.value, scope));
    else {
      const v = evaluate(e, entry.value, scope);
      if (!(v instanceof Fields)) fail("P0206", entry.span, `only a record can be spread into a record, this is ${describe(v)}`);
      for (const [k, x] of v.entries) out.set(k, x);
    }
  }
  return new Fields(out);
}

const node = (e: Elaborator, v: Value, scope: Scope, at: ast.Expr): Node | ReturnType<typeof toOperand> =>
  toOperand(v, scope.here, at.span, e);

function unary(e: Elaborator, expr: ast.Unary, scope: Scope): Value {
  const v = evaluate(e, expr.operand, scope);
  if (expr.op === "not") {
    if (typeof v === "boolean") return !v;
    if (v === null || !isTensor(v)) fail("P0206", expr.operand.span, `\`not\` takes a bool, this is ${describe(v)}`);
    return new Tensor(building(expr.span, () => builderAt(scope.here, expr.span).unary("not", e.node(v, scope.here, expr.operand.span))));
  }
  if (typeof v === "number") return -v;
  if (v instanceof Size) return sizeValue(mulDim(v.dim, -1));
  return new Tensor(building(expr.span, () => builderAt(scope.here, expr.span).neg(e.node(v, scope.here, expr.operand.span))));
}

const arithmetic: Readonly<Record<Exclude<ast.BinaryOp, "@">, BinaryName>> = {
  "+": "add",
  "-": "sub",
  "*": "mul",
  "/": "div",
  "%": "mod",
  "**": "pow",
};

function binary(e: Elaborator, expr: ast.Binary, scope: Scope): Value {
  const a = evaluate(e, expr.left, scope);
  // what stands beside an objective may look at values of the calls that it makes
  e.objectives.begin(a);
  const b = evaluate(e, expr.right, scope);
  const { op } = expr;
  if (typeof a === "number" && typeof b === "number") return onNumbers(op, a, b, expr);
  if (op === "+" && typeof a === "string" && (typeof b === "string" || typeof b === "number")) {
    e.work.text(a.length + String(b).length, expr.span);
    return a + String(b);
  }
  if (op === "+" && Array.isArray(a) && Array.isArray(b)) {
    e.work.items(a.length + b.length, expr.span);
    return [...a, ...b];
  }
  const whole = (v: Value) => v instanceof Size || (typeof v === "number" && Number.isInteger(v));
  if (whole(a) && whole(b)) {
    const [p, q] = [toDim(a, expr.span, ""), toDim(b, expr.span, "")];
    if (op === "+") return sizeValue(addDim(p, q));
    if (op === "-") return sizeValue(subDim(p, q));
    if (op === "*") return sizeValue(mulDim(p, q));
    const exact = op === "/" ? divDim(p, q) : undefined;
    if (exact !== undefined) return sizeValue(exact);
  }
  const arithmeticOf = e.objectives.combine(op, a, b, expr.span);
  if (arithmeticOf !== undefined) return arithmeticOf;
  for (const [v, at] of [
    [a, expr.left],
    [b, expr.right],
  ] as const)
    if (!isTensor(v) && !(v instanceof Size) && typeof v !== "number" && typeof v !== "boolean" && !Array.isArray(v))
      fail("P0206", at.span, `\`${op}\` cannot take ${describe(v)}`, v === null ? { notes: ["`x ?? y` gives y where x is `none`"] } : {});
  const builder = builderAt(scope.here, expr.span);
  return new Tensor(
    building(expr.span, () =>
      op === "@"
        ? builder.matmul(e.node(a, scope.here, expr.left.span), e.node(b, scope.here, expr.right.span))
        : builder.binary(arithmetic[op], node(e, a, scope, expr.left), node(e, b, scope, expr.right)),
    ),
  );
}

function onNumbers(op: ast.BinaryOp, a: number, b: number, expr: ast.Binary): number {
  switch (op) {
    case "+":
      return a + b;
    case "-":
      return a - b;
    case "*":
      return a * b;
    case "/":
      if (b === 0) fail("P0212", expr.span, `${a} / 0`, { label: "a division by zero" });
      return a / b;
    case "%":
      if (b === 0) fail("P0212", expr.span, `${a} % 0`, { label: "a division by zero" });
      return a - b * Math.floor(a / b);
    case "**":
      return a ** b;
    case "@":
      fail("P0206", expr.span, "`@` multiplies matrices; these are numbers: write `*`");
  }
}

const comparisons: Readonly<Record<ast.CompareOp, CompareName>> = { "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge" };

function compare(e: Elaborator, expr: ast.Compare, scope: Scope): Value {
  const { op } = expr;
  const a = evaluate(e, expr.left, scope);
  const b = evaluate(e, expr.right, scope);
  const equality = op === "==" || op === "!=";
  if (a === null || b === null) {
    if (!equality) fail("P0206", expr.span, `\`none\` cannot be compared with \`${op}\``);
    return (a === b) === (op === "==");
  }
  if (typeof a === "number" && typeof b === "number")
    return { "==": a === b, "!=": a !== b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b }[op];
  const whole = (v: Value) => v instanceof Size || typeof v === "number";
  if (whole(a) && whole(b)) {
    const [p, q] = [toDim(a, expr.left.span, "a size"), toDim(b, expr.right.span, "a size")];
    if (equality) {
      const same = decideEqual(p, q);
      if (same === undefined)
        fail("P0409", expr.span, `whether ${p} is ${q} depends on the batch`, {
          notes: ["a condition on sizes must hold for all batches or for none"],
        });
      return same === (op === "==");
    }
    const diff = op === "<" || op === "<=" ? subDim(q, p) : subDim(p, q);
    const strictly = op === "<" || op === ">" ? 1 : 0;
    const low = least(diff);
    const high = least(mulDim(diff, -1));
    if (low !== undefined && low >= strictly) return true;
    if (high !== undefined && high > -strictly) return false;
    fail("P0409", expr.span, `whether ${p} ${op} ${q} depends on the batch`);
  }
  if (isTensor(a) || isTensor(b))
    return new Tensor(
      building(expr.span, () =>
        builderAt(scope.here, expr.span).compare(comparisons[op], node(e, a, scope, expr.left), node(e, b, scope, expr.right)),
      ),
    );
  if (!equality) {
    if (typeof a === "string" && typeof b === "string") return { "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b }[op as "<"];
    fail("P0206", expr.span, `\`${op}\` cannot compare ${describe(a)} with ${describe(b)}`);
  }
  return same(e, a, b, expr) === (op === "==");
}

function same(e: Elaborator, a: Value, b: Value, expr: ast.Expr): boolean {
  e.work.spend(1, expr.span);
  if (a === b) return true;
  return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((x, i) => same(e, x as Value, b[i] as Value, expr));
}

function logic(e: Elaborator, expr: ast.Logic, scope: Scope): Value {
  const a = evaluate(e, expr.left, scope);
  if (typeof a === "boolean") {
    // the static side decides where it can; otherwise what counts is the other
    if (a === (expr.op === "or")) return a;
    const b = evaluate(e, expr.right, scope);
    if (typeof b === "boolean" || isTensor(b)) return b;
    fail("P0206", expr.right.span, `\`${expr.op}\` takes bools, this is ${describe(b)}`);
  }
  const b = evaluate(e, expr.right, scope);
  if (typeof b === "boolean") return b === (expr.op === "or") ? b : a;
  return new Tensor(
    building(expr.span, () =>
      builderAt(scope.here, expr.span).logic(expr.op, e.node(a, scope.here, expr.left.span), e.node(b, scope.here, expr.right.span)),
    ),
  );
}
