import { Bug } from "../../ir/errors.ts";
import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { ParamDecl } from "../project.ts";
import type { Site } from "./attachment.ts";
import { Block, type BlockOwner } from "./block.ts";
import { Faults, fail } from "./fault.ts";
import { type Evaluator, fixed, type Here, Names, type Read, type Scope } from "./scope.ts";
import { coerceStatic, parameterShape } from "./signature.ts";
import { Storage } from "./storage.ts";
import { describe, type ModuleDecl, Start, Tensor, type Tokenizer, type Value } from "./values.ts";
import { Editable } from "./versions.ts";

/** Who a module belongs to: the module or site it is a child of, or the model, attachment or objective it is the root of. */
type Holder =
  | { readonly kind: "instance"; readonly instance: Instance; readonly name: string }
  | { readonly kind: "site"; readonly site: Site; readonly name: string; readonly shared: boolean }
  | { readonly kind: "root"; readonly owner: ParamDecl["owner"] };

/** What a parameter's name stands for in one module: a tensor of its own or of another, something computed, or nothing. */
export type Slot =
  | { readonly kind: "stored"; readonly storage: Storage }
  | { readonly kind: "computed"; readonly value: Value }
  | { readonly kind: "absent" };

/** A module that was made: its arguments, children and parameters. Its calls are frames. */
export class Instance extends Editable {
  readonly kind = "instance";
  holder: Holder | undefined;
  readonly block: Block;
  /** Arguments, then the module's body, then its file. */
  readonly scope: Scope;
  readonly slots = new Map<string, Slot>();
  /** Given where a model without a folder is made, or in place of its folder's. */
  tokenizer: Tokenizer | undefined;
  /** The name that the file gives it, where it is no part of anything. */
  called: string | undefined;
  /** Set on a copy of a model: the instance it was copied from. */
  origin: Instance | undefined;
  /** Paths that a `forward` gave extra parameters by loading, by the model. */
  readonly decl: ast.Module & { readonly name: ast.Name };

  constructor(
    readonly module: ModuleDecl,
    readonly args: ReadonlyMap<string, Value>,
    given: ReadonlyMap<string, Value>,
    readonly evaluator: Evaluator,
    readonly madeAt: Span,
  ) {
    super();
    this.decl = module.decl;
    const here: Here = { path: "", training: false, calls: "" };
    const table = new Map<string, Read>([...args].map(([n, v]) => [n, fixed(v)]));
    const functions = new Map<string, Read>();
    const outer = new Names(table, new Names(functions, module.scope, here), here);
    const owner: BlockOwner = {
      evaluator,
      hereFor: () => ({ path: this.fullPath, training: false, calls: "" }),
      view: (_name, thunk) => () => thunk.force(),
      bound: (name, value) => this.place(name, value),
    };
    const statements = module.decl.members.filter((m): m is ast.Statement => isStatement(m));
    const params = new Map<string, Read>();
    this.block = new Block(statements, new Names(params, outer, here), owner, here);
    this.scope = this.block;
    for (const m of module.decl.members) {
      if (m.kind === "Function") functions.set(m.name.text, fixed(evaluator.closure(m, this.scope)));
      if (m.kind === "Parameter") {
        const name = m.field.name.text;
        params.set(name, () => this.parameter(name));
        this.slots.set(name, this.makeSlot(m, given));
      }
    }
    for (const name of given.keys())
      if (!this.slots.has(name)) fail("P0208", madeAt, `${this.decl.name.text} has no parameter \`${name}\``);
    this.block.check(madeAt);
  }

  /** Path below its owner, as transformers and peft write it; `""` for the owner's root. */
  get path(): string {
    const h = this.holder;
    if (!h || h.kind === "root") return "";
    const outer = h.kind === "instance" ? h.instance.path : h.shared ? "" : h.site.path;
    return outer === "" ? h.name : `${outer}.${h.name}`;
  }
  get owner(): ParamDecl["owner"] {
    const h = this.holder;
    if (!h) return { kind: "objective", name: this.called ?? this.decl.name.text };
    if (h.kind === "root") return h.owner;
    return h.kind === "instance" ? h.instance.owner : { kind: "attachment", name: h.site.attachment.name };
  }
  get fullPath(): string {
    return this.holder ? [this.owner.name, this.path].filter((p) => p !== "").join(".") : "";
  }
  /** The module at the top of the tree this one is in. */
  get root(): Instance {
    return this.holder?.kind === "instance" ? this.holder.instance.root : this;
  }

  private place(name: string, value: Value): void {
    if (value instanceof Instance) value.holder ??= { kind: "instance", instance: this, name };
    else if (Array.isArray(value)) value.forEach((v, i) => this.place(`${name}.${i}`, v as Value));
  }

  /** Children by name in the order of the text, without those that belong elsewhere. Lists give `layer.0`, `layer.1`, … */
  *children(): IterableIterator<[string, Instance]> {
    const own = function* (self: Instance, name: string, v: Value): IterableIterator<[string, Instance]> {
      if (v instanceof Instance) {
        if (v.holder?.kind === "instance" && v.holder.instance === self && v.holder.name === name) yield [name, v];
      } else if (Array.isArray(v)) for (const [i, x] of v.entries()) yield* own(self, `${name}.${i}`, x as Value);
    };
    for (const [name, value] of this.bindings()) yield* own(this, name, value);
  }

  /** Names bound in the body with their values. */
  *bindings(): IterableIterator<[string, Value]> {
    for (const name of this.block.own) {
      const thunk = this.block.thunkBefore(name);
      if (thunk) yield [name, thunk.force()];
    }
  }

  /** This module and all below it, in model order. */
  *tree(): IterableIterator<Instance> {
    yield this;
    for (const [, child] of this.children()) yield* child.tree();
  }

  /** Parameters stored in this module itself, by name. */
  *stored(): IterableIterator<[string, Storage]> {
    for (const [name, slot] of this.slots) if (slot.kind === "stored" && this.ownsStorage(name, slot.storage)) yield [name, slot.storage];
  }
  private ownsStorage(name: string, storage: Storage): boolean {
    return this.own.get(name) === storage;
  }
  private readonly own = new Map<string, Storage>();

  /** Gives the module a tensor of its own for a parameter that it shares with another; it has the same source of values. */
  untie(name: string): Storage {
    const slot = this.slots.get(name);
    if (slot?.kind !== "stored" || this.ownsStorage(name, slot.storage)) throw new Bug(`${this.fullPath}.${name} is tied to nothing`);
    const { storage: of } = slot;
    const place = () => ({ owner: this.owner, path: this.path === "" ? name : `${this.path}.${name}` });
    const storage = new Storage("parameter", place, of.dtype, of.shape, of.start, of.frozen, of.span);
    storage.source = of.source;
    this.own.set(name, storage);
    this.slots.set(name, { kind: "stored", storage });
    return storage;
  }

  /** What a parameter's name reads as outside any call. */
  parameter(name: string): Value {
    const slot = this.slots.get(name)!;
    return slot.kind === "stored" ? slot.storage : slot.kind === "computed" ? slot.value : null;
  }

  private makeSlot(m: ast.Parameter, given: ReadonlyMap<string, Value>): Slot {
    const name = m.field.name.text;
    let gift = given.get(name);
    if (gift === true) gift = undefined;
    if (gift === false || gift === null) return { kind: "absent" };
    if (gift instanceof Storage) return { kind: "stored", storage: gift };
    if (gift !== undefined && !(typeof gift === "number" || gift instanceof Start || Array.isArray(gift))) {
      if (gift instanceof Tensor || (typeof gift === "object" && "kind" in gift && gift.kind === "call"))
        return { kind: "computed", value: gift };
      fail("P0206", this.madeAt, `\`${name}\` of ${this.decl.name.text} is given ${describe(gift)}`, {
        notes: ["a parameter takes a tensor, a start such as `normal(0.02)` or `0`, or `false` for none"],
      });
    }
    const start = gift !== undefined ? () => gift as Value : () => (m.field.start ? this.evaluator.evaluate(m.field.start, this.scope) : 0);
    // a declared start of `none` says that there is no parameter; starts that look at weights are tensors and are left for later
    if (gift === undefined && m.field.start && this.evaluator.isStaticNone(m.field.start, this.scope)) return { kind: "absent" };
    const { dtype, shape } = parameterShape(m.field, this.scope, this.evaluator);
    const storage = new Storage(
      "parameter",
      () => ({ owner: this.owner, path: this.path === "" ? name : `${this.path}.${name}` }),
      dtype,
      shape,
      start,
      m.frozen || (gift === undefined && this.evaluator.isFixed(m.field.start, this.scope)),
      m.span,
    );
    this.own.set(name, storage);
    return { kind: "stored", storage };
  }
}

export function isStatement(m: ast.Member): m is ast.Statement {
  return (
    m.kind !== "Parameter" &&
    m.kind !== "SharedChild" &&
    m.kind !== "State" &&
    m.kind !== "Input" &&
    m.kind !== "Forward" &&
    m.kind !== "Function"
  );
}

export const forwardOf = (decl: ast.Module): ast.Forward | undefined => decl.members.find((m): m is ast.Forward => m.kind === "Forward");

/** Checks the arguments of a module against its parameters. A module of one record also takes the record's fields. */
export function bindArguments(module: ModuleDecl, args: ReadonlyMap<string, Value>, span: Span, evaluator: Evaluator): Map<string, Value> {
  const out = new Map<string, Value>();
  const faults = new Faults();
  for (const p of module.decl.params)
    faults.try(() => {
      const v = args.get(p.name.text);
      if (v !== undefined)
        out.set(p.name.text, p.type ? coerceStatic(v, p.type, module.scope, span, `\`${p.name.text}\` of ${module.name}`, evaluator) : v);
      else if (p.default) {
        const table = new Map<string, Read>([...out].map(([n, x]) => [n, fixed(x)]));
        out.set(p.name.text, evaluator.evaluate(p.default, new Names(table, module.scope)));
      } else fail("P0204", span, `${module.name} needs \`${p.name.text}\``);
    });
  faults.end();
  return out;
}

/** Names of what a module's call is given. */
export const inputsOf = (model: Instance): string[] => forwardOf(model.decl)?.params.map((p) => p.name.text) ?? [];

/** Whether a model writes a text beside the one it is given: an encoder–decoder. */
export const writesApart = (model: Instance): boolean => inputsOf(model).includes("decoder_input_ids");
