import { type Dim, sameDim, showShape, solve, symbol, symbolsOf } from "../../ir/dim.ts";
import type { DType, Node, Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { maybeContext } from "./context.ts";
import { fail } from "./fault.ts";
import type { Evaluator, Here, Read, Scope } from "./scope.ts";
import { builderAt, isTensor, toDim, toNode } from "./tensors.ts";
import {
  Applied,
  Builtin,
  Closure,
  Dataset,
  describe,
  Fields,
  MethodDecl,
  ModuleDecl,
  RoleDecl,
  Selection,
  Size,
  sizeValue,
  Tensor,
  Tokenizer,
  TypeDecl,
  type Value,
} from "./values.ts";

export const isTensorType = (t: ast.TypeRef | undefined): t is ast.NamedType & { dims: readonly ast.Dim[] } =>
  t !== undefined && t.kind === "NamedType" && t.dims !== undefined && ["f32", "i32", "bool"].includes(t.name.text);
const isCapital = (name: string): boolean => /^[A-Z]/.test(name);

/** Equal sizes, also where a column of the data can be made to fit. */
const same = (a: Dim, b: Dim): boolean => sameDim(a, b) || (maybeContext()?.equal(a, b) ?? false);

/** Capitals that the shapes of these types mention. */
export function capitalsOf(types: readonly (ast.TypeRef | undefined)[]): Set<string> {
  const out = new Set<string>();
  const walk = (x: unknown): void => {
    if (Array.isArray(x)) for (const y of x) walk(y);
    else if (x && typeof x === "object") {
      const e = x as { kind?: string; text?: string };
      if (e.kind === "Name" && e.text && isCapital(e.text)) out.add(e.text);
      for (const [k, v] of Object.entries(x)) if (k !== "span") walk(v);
    }
  };
  for (const t of types) if (isTensorType(t)) walk(t.dims);
  return out;
}

/**
 * The shapes of one call: symbols are bound by the first value that has them and hold within the call. Sizes are polynomials, solved for a
 * symbol where they are linear in it.
 */
export class Signature {
  readonly sizes = new Map<string, Dim>();
  private lead: readonly Dim[] | undefined;
  private readonly from = new Map<string, { span: Span; what: string }>();
  private readonly capitals: Set<string>;

  constructor(
    types: readonly (ast.TypeRef | undefined)[],
    private readonly scope: Scope,
    private readonly evaluator: Evaluator,
    private readonly settle: (symbol: string) => void = () => {},
  ) {
    this.capitals = capitalsOf(types);
  }

  bound(name: string): boolean {
    return this.sizes.has(name);
  }
  /** A symbol as a value. */
  find(name: string): Read | undefined {
    if (!this.capitals.has(name)) return undefined;
    return (reader) => {
      if (!this.sizes.has(name)) this.settle(name);
      const d = this.sizes.get(name);
      if (d === undefined) fail("P0405", undefined, `the size ${name} is not bound by anything given in ${reader.path || "this call"}`);
      return sizeValue(d);
    };
  }

  /** A value for something declared with a type: checks it, binds symbols, expands numbers given for shaped inputs. */
  check(type: ast.TypeRef | undefined, value: Value, span: Span, what: string, here: Here): Value {
    if (!type) return value;
    if (!isTensorType(type)) return coerceStatic(value, type, this.scope, span, what, this.evaluator);
    if (value === null) {
      if (type.optional) return null;
      fail("P0402", span, `${what} is \`none\`, but must be ${showType(type)}`);
    }
    let node = toNode(value, here, span, this.evaluator);
    const dtype = type.name.text as DType;
    if (node.type.dtype !== dtype) {
      const widens = (node.type.dtype === "bool" && dtype !== "bool") || (node.type.dtype === "i32" && dtype === "f32");
      const fixedNumber = typeof value === "number" || typeof value === "boolean";
      if (!widens && !fixedNumber) fail("P0406", span, `${what} must be ${dtype}, this is ${node.type.dtype}${showShape(node.type.shape)}`);
      node = builderAt(here, span).cast(node, dtype);
    }
    const dims = type.dims;
    if (dims.length === 1 && dims[0].kind === "Rest") return new Tensor(node);
    if (node.type.shape.length === 0 && dims.length > 0 && !dims.some((d) => d.kind === "Rest") && !isTensor(value)) {
      // a number given for a shaped input is expanded to that shape
      const shape = dims.map((d) => this.dimValue(d as ast.Expr, span));
      return new Tensor(builderAt(here, span).broadcastTo(node, shape));
    }
    this.unify(dims, node, span, what, type);
    return new Tensor(node);
  }

  private dimValue(d: ast.Expr, span: Span): Dim {
    return toDim(
      this.evaluator.evaluate(d, {
        ...this.scope,
        here: this.scope.here,
        find: (n) => this.find(n) ?? this.scope.find(n),
        names: () => this.scope.names(),
      }),
      span,
      "a size",
    );
  }

  /** Makes the declared sizes and those of a tensor one, or says which two do not fit and where each came from. */
  unify(dims: readonly ast.Dim[], node: Node, span: Span, what: string, type?: ast.TypeRef): void {
    const { shape } = node.type;
    const at = dims.findIndex((d) => d.kind === "Rest");
    const wrongRank = () =>
      fail(
        "P0407",
        span,
        `${what} must be ${type ? showType(type) : showDims(dims)}, this has ${shape.length} axes: ${node.type.dtype}${showShape(shape)}`,
        {
          related: node.origin.span && node.origin.span !== span ? [{ span: node.origin.span, label: "made here" }] : [],
        },
      );
    if (at < 0 ? shape.length !== dims.length : shape.length < dims.length - 1) wrongRank();
    const front = at < 0 ? dims : dims.slice(0, at);
    const back = at < 0 ? [] : dims.slice(at + 1);
    front.forEach((d, i) => this.one(d as ast.Expr, shape[i], i, node, span, what, type));
    back.forEach((d, i) =>
      this.one(d as ast.Expr, shape[shape.length - back.length + i], shape.length - back.length + i, node, span, what, type),
    );
    if (at >= 0 && front.length === 0) {
      const lead = shape.slice(0, shape.length - back.length);
      if (!this.lead) this.lead = lead;
      else if (this.lead.length === lead.length && lead.every((d, i) => sameDim(d, this.lead![i]))) return;
      else if (lead.length > 0 && this.lead.length > 0 && lead.length === this.lead.length)
        fail(
          "P0401",
          span,
          `the leading sizes of ${what} are ${showShape(lead)}, elsewhere in the signature they are ${showShape(this.lead)}`,
        );
    }
  }

  private one(expr: ast.Expr, actual: Dim, axis: number, node: Node, span: Span, what: string, type?: ast.TypeRef): void {
    if (expr.kind === "Name" && this.capitals.has(expr.text)) {
      const known = this.sizes.get(expr.text);
      if (known === undefined) {
        this.sizes.set(expr.text, actual);
        this.from.set(expr.text, { span, what });
        return;
      }
      if (!same(known, actual)) this.clash(expr.text, known, actual, axis, node, span, what, type);
      return;
    }
    // a polynomial in symbols that are not bound yet is solved for one of them
    const open = new Set<string>();
    const scope: Scope = {
      here: this.scope.here,
      find: (n) => {
        if (!this.capitals.has(n)) return this.scope.find(n);
        const known = this.sizes.get(n);
        if (known === undefined) open.add(n);
        return () => (known === undefined ? new Size(symbol(`?${n}`) as never) : sizeValue(known));
      },
      names: () => this.scope.names(),
    };
    const value = this.evaluator.evaluate(expr, scope);
    const wanted = value === null ? fail("P0403", span, `a size of ${what} is \`none\``) : toDim(value, expr.span, `a size of ${what}`);
    if (same(wanted, actual)) return;
    if (open.size > 0) {
      const found = solve(wanted, actual, (s) => s.startsWith("?") && open.has(s.slice(1)));
      if (found && !symbolsOf(found.value).some((s) => s.startsWith("?"))) {
        const name = found.symbol.slice(1);
        this.sizes.set(name, found.value);
        this.from.set(name, { span, what });
        return;
      }
    }
    this.clash(showExpr(expr), wanted, actual, axis, node, span, what, type);
  }

  private clash(name: string, known: Dim, actual: Dim, axis: number, node: Node, span: Span, what: string, type?: ast.TypeRef): never {
    const came = this.from.get(name);
    fail("P0401", span, `${what} has ${actual} on axis ${axis}, where ${name === String(known) ? "" : `${name} = `}${known} is wanted`, {
      label: `this is ${node.type.dtype}${showShape(node.type.shape)}${type ? `, wanted ${showType(type)}` : ""}`,
      related: [
        ...(came && came.span !== span ? [{ span: came.span, label: `${name} = ${known} comes from ${came.what}` }] : []),
        ...(node.origin.span && node.origin.span !== span ? [{ span: node.origin.span, label: "the tensor is made here" }] : []),
      ],
    });
  }

  /** The shape that a type stands for once its symbols are bound. */
  shapeOf(dims: readonly ast.Dim[], span: Span): Dim[] {
    return dims.map((d) => this.dimValue(d as ast.Expr, span));
  }
}

/** The dtype and static shape of a parameter. */
export function parameterShape(field: ast.Field, scope: Scope, evaluator: Evaluator): { dtype: DType; shape: number[] } {
  if (!isTensorType(field.type))
    fail("P0408", field.span, `a parameter is a tensor: write its shape, as in \`${field.name.text}: f32[dim]\``);
  const shape = field.type.dims.map((d) => {
    if (d.kind === "Rest") fail("P0408", d.span, "the shape of a parameter is static: `...` cannot stand here");
    const v = evaluator.evaluate(d, scope);
    if (typeof v !== "number" || !Number.isInteger(v) || v < 0)
      fail("P0408", d.span, `a size of the parameter \`${field.name.text}\` is ${describe(v)}`, {
        notes: ["sizes of parameters are whole numbers known when compiling"],
      });
    return v;
  });
  return { dtype: field.type.name.text as DType, shape };
}

/** What was probably meant by a value of another kind. */
function instead(v: Value, type: ast.TypeRef): string[] | undefined {
  const number = type.kind === "NamedType" && !type.dims && (type.name.text === "float" || type.name.text === "int");
  if (number && (v instanceof Closure || v instanceof Builtin))
    return [
      "what changes from step to step is a field of the stage: `schedule = …` takes such a function, and multiplies the rate by what it gives",
    ];
  if (typeof v !== "string") return undefined;
  if (number && v.trim() !== "" && !Number.isNaN(Number(v))) return [`without quotes it is a number: ${v.trim()}`];
  if (type.kind === "FnType" && /^[A-Za-z_]\w*$/.test(v))
    return [`without quotes it is what is called so: \`${v}\`, defined or imported in this file`];
  return undefined;
}

/** Checks a static argument against its declared type. */
export function coerceStatic(v: Value, type: ast.TypeRef, scope: Scope, span: Span, what: string, evaluator: Evaluator): Value {
  const wrong = (): never => {
    const notes = instead(v, type);
    return fail("P0206", span, `${what} must be ${showType(type)}, this is ${describe(v)}`, notes && { notes });
  };
  if (v === null) return type.optional ? null : wrong();
  if (type.kind === "ListType") {
    if (v instanceof Selection) return v;
    if (!Array.isArray(v)) {
      // one stands for a list of one
      if (type.element.kind === "NamedType" && type.element.name.text === "attachment" && isKind(v, "attachment")) return [v];
      if (typeof v !== "number" && typeof v !== "string") return wrong();
      return [coerceStatic(v, type.element, scope, span, what, evaluator)];
    }
    return v.map((x, i) => coerceStatic(x as Value, type.element, scope, span, `${what}[${i}]`, evaluator));
  }
  if (type.kind === "FnType")
    return v instanceof Closure || v instanceof Builtin || v instanceof ModuleDecl || isKind(v, "instance") ? v : wrong();
  if (isTensorType(type))
    return isTensor(v) || typeof v === "number" || typeof v === "boolean" || v instanceof Size || Array.isArray(v) || isKind(v, "start")
      ? v
      : wrong();
  const name = type.name.text;
  switch (name) {
    case "int":
      // a number of the step (how many there are, which this is) is an int that only a run settles
      return (typeof v === "number" && Number.isInteger(v)) || v instanceof Size || isScalar(v, "i32") || isKind(v, "fit") ? v : wrong();
    case "float":
      return typeof v === "number" || isScalar(v, "f32") || isScalar(v, "i32") ? v : wrong();
    case "bool":
      return typeof v === "boolean" ? v : wrong();
    case "string":
      return typeof v === "string" ? v : wrong();
    case "record":
      return v instanceof Fields ? v : wrong();
    case "tokenizer":
      return v instanceof Tokenizer ? v : wrong();
    case "attachment":
      return isKind(v, "attachment") ? v : wrong();
    case "Parameter":
      return isKind(v, "storage") ? v : wrong();
    case "method":
      return v instanceof Applied || v instanceof MethodDecl ? v : wrong();
    case "dataset":
      return v instanceof Dataset ? v : wrong();
  }
  const decl = scope.find(name)?.(scope.here);
  if (decl instanceof TypeDecl) return v instanceof Fields ? evaluator.record(decl, v, span) : wrong();
  if (decl instanceof RoleDecl || decl instanceof ModuleDecl) {
    if (!isKind(v, "instance") && !isKind(v, "evaluated")) return wrong();
    const instance = isKind(v, "evaluated") ? (v as { instance: Value }).instance : v;
    if (!evaluator.fills(instance, decl))
      fail("P0306", span, `${what} must be a ${name}, ${describe(instance)} is not`, { notes: evaluator.rolesOf(instance) });
    return v;
  }
  fail("P0201", type.span, `unknown type \`${name}\``, {
    notes: evaluator.suggestions(name, ["int", "float", "bool", "string", "record", "f32", "i32", ...scope.names()]),
  });
}
const isScalar = (v: Value, dtype: DType): boolean => v instanceof Tensor && v.node.type.shape.length === 0 && v.node.type.dtype === dtype;
const isKind = (v: Value, kind: string): boolean =>
  v !== null && typeof v === "object" && "kind" in v && (v as { kind: string }).kind === kind;

export function showType(t: ast.TypeRef): string {
  const base =
    t.kind === "ListType"
      ? `[${showType(t.element)}]`
      : t.kind === "FnType"
        ? "fn"
        : t.dims
          ? `${t.name.text}${showDims(t.dims)}`
          : t.name.text;
  return t.optional ? `${base}?` : base;
}
const showDims = (dims: readonly ast.Dim[]): string => `[${dims.map((d) => (d.kind === "Rest" ? "..." : showExpr(d))).join(", ")}]`;
/** The sizes that shapes hold, as written. */
function showExpr(e: ast.Expr): string {
  if (e.kind === "Name") return e.text;
  if (e.kind === "Number") return String(e.value);
  if (e.kind === "Binary") return `${showExpr(e.left)} ${e.op} ${showExpr(e.right)}`;
  if (e.kind === "Member") return `${showExpr(e.object)}.${e.name.text}`;
  return "…";
}
