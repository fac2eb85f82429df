/** Expressions and types: from the concrete tree to the syntax tree. */

import type { CstNode, IToken } from "chevrotain";
import type * as cst from "../../../grammar/cst.ts";
import type { Code } from "../../ground/codes.ts";
import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { Problem } from "../report/problem.ts";
import { readNumber, readString } from "./literals.ts";

/** Operands in a row beyond this are refused: chains lean to the left, and whatever walks them recurses. */
const longest = 500;

/** Makes the syntax tree of one file, and collects what is wrong with what was read. */
export class ExpressionBuilder {
  readonly problems: Problem[] = [];

  constructor(readonly file: string) {}

  // ── places ─────────────────────────────────────────────────────────────────────────────────────

  protected spanOf(node: CstNode): Span {
    const at = node.location;
    // a production that read nothing has no place
    if (!at || Number.isNaN(at.startOffset) || at.endOffset === undefined) return { file: this.file, start: 0, end: 0 };
    return { file: this.file, start: at.startOffset, end: at.endOffset + 1 };
  }
  protected tokenSpan(t: IToken): Span {
    return { file: this.file, start: t.startOffset, end: t.startOffset + t.image.length };
  }
  protected join(a: Span, b: Span): Span {
    return { file: this.file, start: a.start, end: b.end };
  }
  protected error(code: Code, span: Span, message: string, label: string, notes: readonly string[] = []): void {
    this.problems.push({ code, severity: "error", message, span, label, notes });
  }

  protected name(t: IToken): ast.Name {
    return { kind: "Name", text: t.image, span: this.tokenSpan(t) };
  }

  // ── types ──────────────────────────────────────────────────────────────────────────────────────

  protected typeRef(node: cst.TypeRefCstNode): ast.TypeRef {
    const c = node.children;
    const span = this.spanOf(node);
    const optional = c.Question !== undefined;
    if (c.TypeRef) return { kind: "ListType", element: this.typeRef(c.TypeRef[0]), optional, span };
    if (c.fn) return { kind: "FnType", optional, span };
    const dims = c.LSquare ? (c.Dim ?? []).map((d) => this.dim(d)) : undefined;
    return { kind: "NamedType", name: this.name(c.Name![0]), dims, optional, span };
  }
  private dim(node: cst.DimCstNode): ast.Dim {
    const c = node.children;
    return c.Expr ? this.expr(c.Expr[0]) : { kind: "Rest", span: this.spanOf(node) };
  }

  protected params(node: cst.ParamsCstNode): ast.Param[] {
    return (node.children.Param ?? []).map((p) => this.param(p));
  }
  protected param(node: cst.ParamCstNode): ast.Param {
    const c = node.children;
    return {
      kind: "Param",
      name: this.name(c.Name[0]),
      type: c.TypeRef && this.typeRef(c.TypeRef[0]),
      default: c.Expr && this.expr(c.Expr[0]),
      span: this.spanOf(node),
    };
  }

  // ── expressions, loosest first ─────────────────────────────────────────────────────────────────

  /** Operands joined from the left. */
  private chain<N extends CstNode>(nodes: readonly N[], read: (n: N) => ast.Expr, join: (l: ast.Expr, r: ast.Expr, i: number) => ast.Expr) {
    if (nodes.length > longest)
      this.error("P0116", this.spanOf(nodes[longest]), `more than ${longest} operands in a row`, "from here on", [
        "name parts of it, or use a list: `sum([…])`",
      ]);
    let left = read(nodes[0]);
    for (let i = 1; i < Math.min(nodes.length, longest); i++) left = join(left, read(nodes[i]), i - 1);
    return left;
  }

  protected expr(node: cst.ExprCstNode): ast.Expr {
    return this.chain(
      node.children.Choice,
      (n) => this.choice(n),
      (left, right) => ({ kind: "Except", left, right, span: this.join(left.span, right.span) }),
    );
  }
  private choice(node: cst.ChoiceCstNode): ast.Expr {
    const c = node.children;
    const span = this.spanOf(node);
    if (c.if) {
      const [yes, no] = c.Choice!;
      // biome-ignore lint/suspicious/noThenProperty: the word of the language; an expression is no thenable
      return { kind: "Conditional", condition: this.expr(c.Expr![0]), then: this.choice(yes), else: this.choice(no), span };
    }
    if (c.fn) return { kind: "Lambda", params: this.params(c.Params![0]), body: this.choice(c.Choice![0]), span };
    return this.default(c.Default![0]);
  }
  private default(node: cst.DefaultCstNode): ast.Expr {
    return this.chain(
      node.children.Or,
      (n) => this.or(n),
      (left, right) => ({ kind: "Default", left, right, span: this.join(left.span, right.span) }),
    );
  }
  private or(node: cst.OrCstNode): ast.Expr {
    return this.chain(
      node.children.And,
      (n) => this.and(n),
      (left, right) => ({ kind: "Logic", op: "or", left, right, span: this.join(left.span, right.span) }),
    );
  }
  private and(node: cst.AndCstNode): ast.Expr {
    return this.chain(
      node.children.Not,
      (n) => this.not(n),
      (left, right) => ({ kind: "Logic", op: "and", left, right, span: this.join(left.span, right.span) }),
    );
  }
  private not(node: cst.NotCstNode): ast.Expr {
    const c = node.children;
    if (c.Not) return { kind: "Unary", op: "not", operand: this.not(c.Not[0]), span: this.spanOf(node) };
    return this.compare(c.Compare![0]);
  }
  private compare(node: cst.CompareCstNode): ast.Expr {
    const c = node.children;
    const left = this.range(c.Range[0]);
    if (!c.CompareOp) return left;
    return { kind: "Compare", op: c.CompareOp[0].image as ast.CompareOp, left, right: this.range(c.Range[1]), span: this.spanOf(node) };
  }
  private range(node: cst.RangeCstNode): ast.Expr {
    const c = node.children;
    const start = this.sum(c.Sum[0]);
    if (!c.DotDot) return start;
    return { kind: "Range", start, end: this.sum(c.Sum[1]), span: this.spanOf(node) };
  }
  private sum(node: cst.SumCstNode): ast.Expr {
    const c = node.children;
    return this.chain(
      c.Product,
      (n) => this.product(n),
      (left, right, i) => this.binary(c.AddOp![i], left, right),
    );
  }
  private product(node: cst.ProductCstNode): ast.Expr {
    const c = node.children;
    return this.chain(
      c.Unary,
      (n) => this.unary(n),
      (left, right, i) => this.binary(c.MulOp![i], left, right),
    );
  }
  private binary(op: IToken, left: ast.Expr, right: ast.Expr): ast.Expr {
    return { kind: "Binary", op: op.image as ast.BinaryOp, left, right, span: this.join(left.span, right.span) };
  }
  private unary(node: cst.UnaryCstNode): ast.Expr {
    const c = node.children;
    if (c.Unary) return { kind: "Unary", op: "-", operand: this.unary(c.Unary[0]), span: this.spanOf(node) };
    return this.power(c.Power![0]);
  }
  private power(node: cst.PowerCstNode): ast.Expr {
    const c = node.children;
    const left = this.postfix(c.Postfix[0]);
    return c.Unary ? this.binary(c.StarStar![0], left, this.unary(c.Unary[0])) : left;
  }

  private postfix(node: cst.PostfixCstNode): ast.Expr {
    const suffixes = node.children.Suffix ?? [];
    let object = this.primary(node.children.Primary[0]);
    if (suffixes.length > longest)
      this.error("P0116", this.spanOf(suffixes[longest]), `more than ${longest} steps in a row`, "from here on", ["name parts of it"]);
    for (const suffix of suffixes.slice(0, longest)) {
      const c = suffix.children;
      const span = this.join(object.span, this.spanOf(suffix));
      if (c.Call) object = { kind: "Call", callee: object, args: (c.Call[0].children.Argument ?? []).map((a) => this.argument(a)), span };
      else if (c.Index) object = { kind: "Index", object, items: c.Index[0].children.IndexItem.map((i) => this.indexItem(i)), span };
      else {
        const step = this.step(c.Step![0]);
        object = step.kind === "Child" ? { kind: "Member", object, name: step.name, span } : { kind: "Select", object, step, span };
      }
    }
    return object;
  }

  private step(node: cst.StepCstNode): ast.Step {
    const c = node.children;
    const span = this.spanOf(node);
    if (c.Deep) return this.deep(c.Deep[0]);
    if (c.Star) return { kind: "Any", span };
    if (c.Alternative) return { kind: "Alternatives", paths: c.Alternative.map((a) => this.alternative(a)), span };
    return { kind: "Child", name: this.name(c.AnyName![0]), span };
  }
  private deep(node: cst.DeepCstNode): ast.Deep {
    const c = node.children;
    return { kind: "Deep", role: c.Name && this.name(c.Name[0]), span: this.spanOf(node) };
  }
  private alternative(node: cst.AlternativeCstNode): ast.Step[] {
    const c = node.children;
    const first: ast.Step = c.Deep
      ? this.deep(c.Deep[0])
      : c.Star
        ? { kind: "Any", span: this.tokenSpan(c.Star[0]) }
        : { kind: "Child", name: this.name(c.Name![0]), span: this.tokenSpan(c.Name![0]) };
    return [first, ...(c.Step ?? []).map((s) => this.step(s))];
  }

  private argument(node: cst.ArgumentCstNode): ast.Argument {
    const c = node.children;
    const span = this.spanOf(node);
    const value = this.expr(c.Expr![0]);
    if (c.Ellipsis) return { kind: "Spread", value, span };
    return c.Name ? { kind: "Named", name: this.name(c.Name[0]), value, span } : { kind: "Positional", value, span };
  }

  private indexItem(node: cst.IndexItemCstNode): ast.IndexItem {
    const c = node.children;
    const span = this.spanOf(node);
    if (c.Ellipsis) return { kind: "Rest", span };
    if (c.Star) return { kind: "Star", span };
    const value = c.Expr && this.expr(c.Expr[0]);
    if (!c.Slice) {
      return { kind: "At", value: c.DotDot ? { kind: "Range", start: value!, end: undefined, span } : value!, span };
    }
    const slice = c.Slice[0].children;
    return {
      kind: "Slice",
      start: value,
      stop: slice.Stop && this.expr(slice.Stop[0].children.Expr[0]),
      step: slice.Expr && this.expr(slice.Expr[0]),
      span,
    };
  }

  private primary(node: cst.PrimaryCstNode): ast.Expr {
    const c = node.children;
    const span = this.spanOf(node);
    if (c.Number) return this.number(c.Number[0]);
    if (c.Text) return this.string(c.Text[0]);
    if (c.true) return { kind: "Bool", value: true, span };
    if (c.false) return { kind: "Bool", value: false, span };
    if (c.none) return { kind: "None", span };
    if (c.Name) return this.name(c.Name[0]);
    if (c.Deep) return { kind: "Select", object: undefined, step: this.deep(c.Deep[0]), span };
    if (c.List) return this.list(c.List[0]);
    if (c.Record) return this.record(c.Record[0]);
    return this.expr(c.Expr![0]);
  }
  private number(t: IToken): ast.NumberLiteral {
    const { value, unit, isInt, problem } = readNumber(t.image);
    if (problem) this.error("P0104", this.tokenSpan(t), problem.message, problem.label, problem.notes);
    return { kind: "Number", value, unit, isInt, span: this.tokenSpan(t) };
  }
  protected string(t: IToken): ast.StringLiteral {
    const span = this.tokenSpan(t);
    const open = t.tokenType.name === "OpenString";
    if (open)
      this.error("P0102", span, "this string is not closed", 'no `"` before the end of the line', [
        "a string stands on one line; `\\n` breaks it",
      ]);
    if (t.tokenType.name === "SingleQuoted") {
      const inside = t.image.replace(/^'|'$/g, "");
      this.error("P0111", span, "strings stand in double quotes", "single quotes here", [`write ${JSON.stringify(inside)}`]);
      return { kind: "String", value: inside, span };
    }
    const { value, unknown } = readString(t.image.slice(1, open ? undefined : -1), 1);
    for (const { at, length } of unknown)
      this.error(
        "P0103",
        { file: this.file, start: span.start + at, end: span.start + at + length },
        `\`${t.image.slice(at, at + length)}\` means nothing in a string`,
        "not an escape",
        ['escapes: \\n \\t \\" \\\\ \\u{hex}', "a backslash itself is written `\\\\`"],
      );
    return { kind: "String", value, span };
  }
  private list(node: cst.ListCstNode): ast.Expr {
    const c = node.children;
    const span = this.spanOf(node);
    const items = (c.Element ?? []).map((e): ast.Expr | ast.Spread => {
      const value = this.expr(e.children.Expr[0]);
      return e.children.Ellipsis ? { kind: "Spread", value, span: this.spanOf(e) } : value;
    });
    if (!c.for) return { kind: "List", items, span };
    return {
      kind: "Comprehension",
      element: items[0],
      names: this.names(c.Names![0]),
      list: this.expr(c.Expr![0]),
      condition: c.Expr![1] && this.expr(c.Expr![1]),
      span,
    };
  }
  protected names(node: cst.NamesCstNode): ast.Name[] {
    return node.children.Name.map((n) => this.name(n));
  }
  private record(node: cst.RecordCstNode): ast.Expr {
    const entries = (node.children.Entry ?? []).map((e): ast.Entry | ast.Spread => {
      const c = e.children;
      const span = this.spanOf(e);
      const value = this.expr(c.Expr![0]);
      if (c.Ellipsis) return { kind: "Spread", value, span };
      if (c.Name) return { kind: "Entry", key: this.name(c.Name[0]), value, span };
      const key = this.string(c.Text![0]);
      return { kind: "Entry", key: { kind: "Name", text: key.value, span: key.span }, value, span };
    });
    return { kind: "Record", entries, span: this.spanOf(node) };
  }
}
