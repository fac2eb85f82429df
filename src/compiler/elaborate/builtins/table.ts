import type { Code } from "../../../ground/codes.ts";
import type { Builder } from "../../../ir/build.ts";
import { type Dim, mulDim } from "../../../ir/dim.ts";
import type { Node, Span } from "../../../ir/graph.ts";
import type * as ast from "../../ast.ts";
import { fail } from "../fault.ts";
import type { Evaluator, Here, Scope } from "../scope.ts";
import { builderAt, building, toDim, toInt, toNode, toNumber, toOperand } from "../tensors.ts";
import { Builtin, type BuiltinParam, describe, Tensor, type Value } from "../values.ts";

type Args = Readonly<Record<string, Value | undefined>>;

/** What a builtin function may use of the place it is called from. */
export class Call {
  constructor(
    readonly name: string,
    readonly scope: Scope,
    readonly span: Span,
    readonly expr: ast.Expr,
    readonly evaluator: Evaluator,
  ) {}
  get here(): Here {
    return this.scope.here;
  }
  node(v: Value): Node {
    return toNode(v, this.here, this.span, this.evaluator);
  }
  operand(v: Value): Node | Dim {
    return toOperand(v, this.here, this.span, this.evaluator);
  }
  int(v: Value, what: string): number {
    return toInt(v, this.span, `\`${what}\` of ${this.name}`);
  }
  num(v: Value, what: string): number {
    return toNumber(v, this.span, `\`${what}\` of ${this.name}`);
  }
  dim(v: Value, what: string): Dim {
    return toDim(v, this.span, `\`${what}\` of ${this.name}`);
  }
  dims(v: Value | undefined, what: string): Dim[] {
    if (!Array.isArray(v))
      this.fail("P0205", `\`${what}\` of ${this.name} must be a list of sizes, this is ${v === undefined ? "missing" : describe(v)}`);
    return (v as readonly Value[]).map((d) => this.dim(d, what));
  }
  list(v: Value | undefined, what: string): readonly Value[] {
    return this.evaluator.elements(v ?? null, this.span, what);
  }
  times(a: Dim, b: Dim): Dim {
    return mulDim(a, b);
  }
  tensor(node: Node): Tensor {
    return new Tensor(node);
  }
  build<T>(work: (b: Builder) => T): T {
    return building(this.span, () => work(builderAt(this.here, this.span)));
  }
  fail(code: Code, message: string, notes: readonly string[] = []): never {
    fail(code, this.span, message, { notes });
  }
}

export const tensorArg = (v: Value | undefined, c: Call): Node => c.node(v ?? null);

export class BuiltinTable {
  readonly rows = new Map<string, Builtin>();
  /** `title`: what the functions are about, for the generated page. */
  constructor(readonly title: string) {}

  /** `doc`: what it gives, in a sentence or two. */
  add(name: string, doc: string, params: readonly BuiltinParam[], run: (args: Args, call: Call) => Value): void {
    this.rows.set(name, new Builtin(name, doc, params, run));
  }
}
