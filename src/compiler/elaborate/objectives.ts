import { symbol } from "../../ir/dim.ts";
import type { DType, Node, Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { unique } from "../names.ts";
import type { ColumnDecl } from "../project.ts";
import { context, maybeContext } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { Frame } from "./frame.ts";
import { forwardOf, Instance } from "./instance.ts";
import { fixed, type Scope } from "./scope.ts";
import { capitalsOf, isTensorType, showType } from "./signature.ts";
import type { Storage } from "./storage.ts";
import { builderAt, building } from "./tensors.ts";
import { Thunk } from "./thunk.ts";
import { type Loaded, Size, sizeValue, Tensor, type Value } from "./values.ts";

/** Objectives: modules whose inputs are columns of the data and whose first output is the loss. */
export class Objectives {
  private readonly calls = new WeakMap<object, Map<Instance, Frame>>();
  private readonly bases = new WeakMap<object, () => Node>();
  private readonly named: Instance[] = [];
  private readonly seen = new WeakSet<object>();
  private readonly loaded = new Map<string, { folder: string; key: string; shape: readonly number[]; span: Span }>();

  constructor(private readonly e: Elaborator) {}

  /** A name of the file for a module, or for those of a list: what an objective's own parameters are called after. The first name is kept; no other has it. */
  name(value: Value, name: string): void {
    if (Array.isArray(value)) {
      // one list may be in another many times over, and what was named keeps its name
      if (this.seen.has(value)) return;
      this.seen.add(value);
      value.forEach((v, i) => this.name(v as Value, `${name}.${i}`));
      return;
    }
    if (!(value instanceof Instance) || value.holder || value.called !== undefined) return;
    const taken = (n: string): boolean =>
      this.named.some((i) => i.called === n) || this.e.models.some((m) => m.name === n) || this.e.attachments.some((a) => a.name === n);
    [value.called] = unique(name, taken);
    this.named.push(value);
  }
  /** Parameters that objectives of the file have themselves, their models' not among them. */
  *parameters(): IterableIterator<Storage> {
    for (const i of this.named) if (!i.holder) yield* this.own(i);
  }
  /** With their values where a file has them. */
  private own(i: Instance): Storage[] {
    const params = [...i.tree()].flatMap((part) => [...part.stored()].map(([, p]) => p));
    for (const p of params) this.fill(p);
    return params;
  }

  /** An adapter's folder may hold what an objective of the same name trained beside it. */
  load({ folder, file }: Loaded, span: Span): void {
    for (const [name, key] of Object.entries(file.objectives)) this.loaded.set(name, { folder, key, shape: file.shapes[key], span });
  }
  /** Parameters in folders for which the file has no objective. */
  unclaimed(): { name: string; folder: string; span: Span }[] {
    const names = new Set([...this.parameters()].map((p) => p.name));
    return [...this.loaded].flatMap(([name, { folder, span }]) => (names.has(name) ? [] : [{ name, folder, span }]));
  }
  private fill(p: Storage): void {
    const found = this.loaded.get(p.name);
    if (found === undefined || p.source !== undefined) return;
    const { folder, key, shape, span } = found;
    if (shape.join() !== p.shape.join())
      fail("P0606", span, `\`${p.name}\` is [${shape.join(", ")}] in ${folder}, but [${p.shape.join(", ")}] in this file`);
    p.source = { kind: "file", folder, tensor: key };
  }
  /** Without a name, each stage that calls it would have another with the same parameters. P0801. */
  private requireName(i: Instance): void {
    if (i.holder || i.called !== undefined || ![...i.tree()].some((part) => !part.stored().next().done)) return;
    const { text } = i.decl.name;
    fail("P0801", i.madeAt, `\`${text}\` has parameters of its own, so it needs a name`, {
      label: "made anew by every stage that says this",
      notes: [`as in \`goal = ${text}(…)\` and \`objective = goal\`, here and wherever the same parameters are meant`],
    });
  }

  /** Says what the loss is before anyone rebinds it, in the graph being made. */
  setBase(base: () => Node): void {
    this.bases.set(context(), base);
  }
  base(): Node {
    const f = this.bases.get(context());
    if (!f) fail("P0505", undefined, "there is no loss here: `loss` belongs to a stage that trains");
    return f();
  }

  /** The one call of an objective in this graph; its inputs are columns. */
  call(instance: Instance): Frame {
    const ctx = context();
    let calls = this.calls.get(ctx);
    if (!calls) {
      calls = new Map();
      this.calls.set(ctx, calls);
    }
    let frame = calls.get(instance);
    if (!frame) {
      this.requireName(instance);
      if (!instance.holder && instance.called !== undefined) this.own(instance);
      const forward = forwardOf(instance.decl);
      if (!forward) fail("P0209", instance.madeAt, `${instance.decl.name.text} has no \`forward\`, so it is no objective`);
      const args = new Map<string, Thunk<Value>>();
      for (const p of forward.params)
        args.set(
          p.name.text,
          new Thunk(() => this.column(p.name.text, p.type, p.default, instance.scope, p.span, forward), p.name.text, p.span),
        );
      frame = new Frame(instance, undefined, args, new Map(), { training: ctx.mode === "train", iteration: undefined }, instance.madeAt);
      calls.set(instance, frame);
    }
    return frame;
  }
  frames(): Frame[] {
    return [...(this.calls.get(context())?.values() ?? [])];
  }

  /** Objectives in sums: `causal_lm(m) + 0.1 * density(…)`. `undefined` where neither side is one. */
  combine(op: ast.BinaryOp, a: Value, b: Value, span: Span): Value | undefined {
    const isObjective = (v: Value): v is Instance => v instanceof Instance && !v.holder;
    if (!isObjective(a) && !isObjective(b)) return undefined;
    if (op !== "+" && op !== "*" && op !== "-") fail("P0206", span, `objectives are added and weighted, not combined with \`${op}\``);
    const value = (v: Value): Value => (isObjective(v) ? new Tensor(this.lossOf(v)) : v);
    const here = { path: "", training: true, calls: "" };
    const p = this.e.node(value(a), here, span);
    const q = this.e.node(value(b), here, span);
    return new Tensor(building(span, () => builderAt(here, span).binary(op === "+" ? "add" : op === "-" ? "sub" : "mul", p, q)));
  }

  /** Makes the calls of an objective, where a step is being made. */
  begin(v: Value): void {
    const mode = maybeContext()?.mode;
    if (v instanceof Instance && !v.holder && (mode === "train" || mode === "evaluate")) this.lossOf(v);
  }

  lossOf(instance: Instance): Node {
    const node = this.e.node(this.call(instance).first(), { path: "", training: true, calls: "" }, instance.madeAt);
    if (node.type.shape.length > 0 || node.type.dtype !== "f32")
      fail(
        "P0801",
        instance.madeAt,
        `the first output of an objective is its loss, a scalar f32[]; that of ${instance.decl.name.text} is ${node.type.dtype}[${node.type.shape.join(", ")}]`,
      );
    return node;
  }

  /** A column of the batch, by name. Capitals of its shape are sizes that the data settles, the same for all columns of a stage. */
  column(
    name: string,
    type: ast.TypeRef | undefined,
    fallback: ast.Expr | undefined,
    scope: Scope,
    span: Span,
    forward?: ast.Forward,
    bound?: Scope,
  ): Value {
    const ctx = context();
    const known = ctx.columns.get(name);
    if (known) return new Tensor(known.node);
    if (!isTensorType(type))
      fail("P0408", span, `the input \`${name}\` of an objective is a column: write its shape`, {
        notes: type ? [`it is declared ${showType(type)}`] : [],
      });
    const capitals = capitalsOf([type]);
    const inner: Scope = {
      here: scope.here,
      find: (n) => bound?.find(n) ?? (capitals.has(n) ? fixed(sizeValue(symbol(n))) : scope.find(n)),
      names: () => scope.names(),
    };
    const shape = type.dims.map((d) => {
      if (d.kind === "Rest") fail("P0408", d.span, `the column \`${name}\` needs all its sizes`);
      const v = this.e.evaluate(d, inner);
      return typeof v === "number" ? v : v instanceof Size ? v.dim : fail("P0403", d.span, "a size must be a whole number");
    });
    const dtype = type.name.text as DType;
    let decl: ColumnDecl = { name, dtype, shape, span };
    if (fallback) {
      if (fallback.kind === "Name" && forward?.params.some((p) => p.name.text === fallback.text))
        decl = { ...decl, fallback: { kind: "column", name: fallback.text } };
      else {
        const v = this.e.evaluate(fallback, scope);
        if (typeof v === "number" || typeof v === "boolean") decl = { ...decl, fallback: { kind: "constant", value: Number(v) } };
        else fail("P0802", fallback.span, `the default of the column \`${name}\` must be a number or another column`);
      }
    }
    const node = builderAt({ path: "", training: false, calls: "" }, span).input(name, { dtype, shape });
    ctx.openSizes(shape);
    ctx.columns.set(name, { decl, node });
    return new Tensor(node);
  }
}
