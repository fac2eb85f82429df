import type { Dim } from "../../ir/dim.ts";
import type { Iteration, Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { Site } from "./attachment.ts";
import { Block, type BlockOwner } from "./block.ts";
import { context } from "./context.ts";
import { fail } from "./fault.ts";
import { forwardOf, type Instance } from "./instance.ts";
import { methodFrame, type Subject } from "./method-frame.ts";
import { type Here, Names, type Read, type Scope } from "./scope.ts";
import { capitalsOf, isTensorType, Signature } from "./signature.ts";
import { Thunk } from "./thunk.ts";
import { CallValue, sizeValue, type Value } from "./values.ts";
import { carriedKey, type Edit, pick } from "./versions.ts";

/** Values given or passed to a call, computed when asked for. */
export type Passed = ReadonlyMap<string, Thunk<Value>>;

/** One call of a module. Its names are thunks; what is given stands for the value as finally bound. */
export class Frame {
  readonly kind = "call";
  readonly calls = new Map<Instance, Frame[]>();
  readonly here: Here;
  readonly forward: ast.Forward;
  readonly block: Block;
  readonly signature: Signature;
  private readonly inputs = new Map<string, Thunk<Value>>();
  private readonly outputs = new Map<string, Thunk<Value>>();
  /** Whether what the `forward` requires was looked at. */
  private checked = false;
  private readonly edited = new Map<Edit, Thunk<Value>>();
  /** The call whose first output a loop carried into this one. */
  private before: Frame | undefined;
  /** Which call of the module this is, in the order of the text. */
  readonly ordinal: number;

  constructor(
    readonly instance: Instance,
    readonly caller: Frame | undefined,
    args: Passed,
    private readonly given: Passed,
    modes: { training: boolean; iteration: Iteration | undefined },
    readonly span: Span,
  ) {
    const decl = instance.decl;
    const forward = forwardOf(decl);
    if (!forward) fail("P0209", span, `${decl.name.text} has no \`forward\`, so it cannot be called`);
    this.forward = forward;
    const ctx = context();
    const earlier = ctx.frames.get(instance);
    if (earlier) earlier.push(this);
    else ctx.frames.set(instance, [this]);
    this.ordinal = earlier ? earlier.length - 1 : 0;
    if (caller) {
      const list = caller.calls.get(instance);
      if (list) list.push(this);
      else caller.calls.set(instance, [this]);
    }
    this.here = {
      path: instance.holder ? instance.fullPath : instance.owner.name,
      iteration: modes.iteration,
      training: modes.training,
      frame: this,
      calls: `${this.ordinal}`,
    };
    const { evaluator } = instance;

    const params = new Map<string, Read>();
    for (const name of instance.slots.keys()) params.set(name, (reader) => this.readParameter(name, reader));
    const moduleScope = new Names(params, instance.scope, this.here);
    this.signature = new Signature(
      [...forward.params, ...forward.results].map((p) => p.type),
      moduleScope,
      evaluator,
      (symbol) => this.settle(symbol),
    );
    const sizes: Scope = {
      here: this.here,
      find: (n) => this.signature.find(n) ?? moduleScope.find(n),
      names: () => moduleScope.names(),
    };
    const inputs = new Map<string, Read>();
    for (const p of forward.params) {
      const name = p.name.text;
      const passed = args.get(name);
      const thunk = new Thunk<Value>(
        () => {
          if (passed) return this.signature.check(p.type, passed.force(), this.span, `input \`${name}\` of ${decl.name.text}`, this.here);
          if (this.asksData() && isTensorType(p.type) && !p.type.optional) return evaluator.askData(p, forward, sizes);
          if (p.default)
            return this.signature.check(
              p.type,
              evaluator.evaluate(p.default, new Names(inputs, sizes, this.here)),
              p.span,
              `input \`${name}\``,
              this.here,
            );
          fail("P0204", this.span, `${decl.name.text} needs \`${name}\``, { label: "not given in this call" });
        },
        name,
        p.span,
      );
      this.inputs.set(name, thunk);
      inputs.set(name, this.view(name, thunk));
    }
    for (const name of args.keys())
      if (!this.inputs.has(name))
        fail("P0203", span, `${decl.name.text} has no input \`${name}\``, { notes: [`its inputs: ${[...this.inputs.keys()].join(", ")}`] });
    const owner: BlockOwner = {
      evaluator,
      hereFor: () => this.here,
      view: (name, thunk) => this.view(name, thunk),
      carriedOut: (loop, iteration, name, thunk) => this.carriedOut(carriedKey(loop, iteration, name), name, thunk),
      rewired: (loop) => [...instance.edits.keys()].some((k) => k.startsWith(`${loop.span.start}#`)) && ctx.mode !== "bare",
    };
    this.block = new Block(forward.body, new Names(inputs, sizes, this.here), owner, this.here);
    for (const name of given.keys())
      if (!this.inputs.has(name) && !this.block.names().includes(name))
        fail("P0203", span, `${decl.name.text} has no value \`${name}\` to give`);
  }

  /** Inputs of a model that its objective does not give are asked of the data by name. */
  private asksData(): boolean {
    const { mode } = context();
    return (
      (mode === "train" || mode === "evaluate") &&
      this.caller?.instance.owner.kind === "objective" &&
      this.instance.holder?.kind === "root" &&
      this.instance.owner.kind === "model"
    );
  }

  /** Forces inputs, then outputs, until the symbol of the signature is bound. */
  private settle(symbol: string): void {
    for (const [name, thunk] of this.inputs) {
      if (this.signature.bound(symbol)) return;
      if (!this.mentions(this.forward.params.find((p) => p.name.text === name)!, symbol)) continue;
      if (this.given.has(name)) continue;
      thunk.force();
    }
    for (const p of this.forward.results) {
      if (this.signature.bound(symbol)) return;
      if (this.mentions(p, symbol)) this.output(p);
    }
  }
  private mentions(p: ast.Param, symbol: string): boolean {
    return capitalsOf([p.type]).has(symbol);
  }

  /** How a name of this call is read: what was given, else the version for the reader. */
  private view(name: string, thunk: Thunk<Value>): Read {
    return (reader) => {
      if (!this.isFinal(name, thunk)) return thunk.force();
      const gift = this.given.get(name);
      if (gift) return gift.force();
      const edit = pick(this.instance.edits.get(name), reader.reader, (e) => this.holds(e, name));
      return edit ? this.editValue(edit) : thunk.force();
    };
  }
  private isFinal(name: string, thunk: Thunk<Value>): boolean {
    return (this.block.thunkBefore(name) ?? this.inputs.get(name)) === thunk;
  }

  /** What a chain's method makes of a carried value where it leaves an iteration. */
  private carriedOut(key: string, name: string, thunk: Thunk<Value>): Thunk<Value> | undefined {
    const edits = this.instance.edits.get(key);
    if (!edits) return undefined;
    return new Thunk(
      () => {
        const edit = pick(edits, undefined, (e) => this.holds(e, name));
        return edit ? this.editValue(edit) : thunk.force();
      },
      name,
      this.span,
    );
  }

  private readParameter(name: string, reader: Here): Value {
    const gift = this.given.get(name);
    if (gift) return gift.force();
    const edit = pick(this.instance.edits.get(name), reader.reader, (e) => this.holds(e, name));
    return edit ? this.editValue(edit) : this.instance.parameter(name);
  }

  private holds(edit: Edit, name: string): boolean {
    if (!context().holds(edit, name)) return false;
    const subject = this.subjectOf(edit.site);
    return subject !== undefined && methodFrame(edit.site, subject).reaches(edit.line);
  }
  private editValue(edit: Edit): Value {
    let t = this.edited.get(edit);
    if (!t) {
      t = new Thunk(
        () => methodFrame(edit.site, this.subjectOf(edit.site)!).lineValue(edit.line),
        `${edit.site.attachment.name}: ${edit.line.label}`,
        edit.line.span,
      );
      this.edited.set(edit, t);
    }
    return t.force();
  }
  /** The call of the site's module that this call is part of. */
  private subjectOf(site: Site): Subject | undefined {
    const module = site.place.kind === "module" ? site.place.instance : site.place.kind === "chain" ? site.place.parent : undefined;
    for (let f: Frame | undefined = this; f && module; f = f.caller) if (f.instance === module) return f;
    return undefined;
  }

  private output(p: ast.Param): Value {
    this.workUp();
    return this.outputOf(p).force();
  }
  private outputOf(p: ast.Param): Thunk<Value> {
    const name = p.name.text;
    let t = this.outputs.get(name);
    if (!t) {
      t = new Thunk<Value>(
        () => {
          if (!this.checked) {
            this.checked = true;
            this.block.check(this.span);
          }
          const read = this.readNamed(name, this.here);
          if (read === undefined)
            fail("P0211", p.span, `\`${name}\` is an output of ${this.instance.decl.name.text} that its forward never sets`);
          const value = read(this.here);
          return value === null && p.type?.optional
            ? value
            : this.signature.check(p.type, value, p.span, `output \`${name}\` of ${this.instance.decl.name.text}`, this.here);
        },
        name,
        p.span,
      );
      this.outputs.set(name, t);
    }
    return t;
  }

  /** Says which call of a loop came before this one. */
  follows(other: Frame): void {
    this.before = other;
  }
  /** The calls that a loop made before this one, the first of them first: each would ask the one before it, and depth would cost stack. */
  private workUp(): void {
    const earlier: Thunk<Value>[] = [];
    for (let f = this.before; f !== undefined; f = f.before) {
      const thunk = f.outputOf(f.forward.results[0]);
      if (!thunk.isNew) break;
      earlier.push(thunk);
    }
    this.before = undefined;
    while (earlier.length > 0) earlier.pop()!.force();
  }

  private readNamed(name: string, _reader: Here): Read | undefined {
    const thunk = this.block.thunkBefore(name) ?? this.inputs.get(name);
    return thunk ? this.view(name, thunk) : undefined;
  }

  /** Whether this call was made by another, or by one that it made; a call is below itself. */
  isBelow(other: Frame): boolean {
    for (let f: Frame | undefined = this; f; f = f.caller) if (f === other) return true;
    return false;
  }

  /** The value the call stands for. */
  first(): Value {
    return this.output(this.forward.results[0]);
  }

  /** A named value of this call, as `reader` sees it; `undefined` where there is no such name. */
  read(name: string, reader: Here = { ...this.here, reader: undefined }): Value | undefined {
    const out = this.forward.results.find((p) => p.name.text === name);
    if (out && !reader.reader) return this.output(out);
    const named = this.readNamed(name, reader);
    if (named) return named(reader);
    if (this.instance.slots.has(name)) return this.readParameter(name, reader);
    return undefined;
  }

  /** A path of names from this call: values, then calls of children (`output.h`). */
  readPath(names: readonly string[], reader: Here, span: Span): Value {
    const [name, ...rest] = names;
    const value = this.read(name, reader);
    if (rest.length === 0) {
      if (value !== undefined) return value;
      const read = this.instance.scope.find(name);
      if (read) return read(this.here);
    } else {
      let child = this.instance.scope.find(name)?.(this.here);
      let below = rest;
      // `h.0.mid`: a call of one of a list of children
      while (Array.isArray(child) && /^\d+$/.test(below[0] ?? "")) {
        child = (child as readonly Value[])[Number(below[0])];
        below = below.slice(1);
      }
      if (child && typeof child === "object" && "kind" in child && child.kind === "evaluated") child = child.instance;
      if (child && typeof child === "object" && "kind" in child && child.kind === "instance" && below.length > 0)
        return this.callOf(child, span).readPath(below, reader, span);
      if (value instanceof CallValue) return value.frame.readPath(rest, reader, span);
    }
    fail("P0207", span, `${this.instance.decl.name.text} has no value \`${names.join(".")}\``);
  }

  /** The one call of a child that this call makes. */
  callOf(child: Instance, span: Span): Frame {
    if (!this.calls.has(child)) for (const p of this.forward.results) this.output(p);
    const list = this.calls.get(child);
    if (!list || list.length === 0) fail("P0505", span, `${this.instance.fullPath} does not call ${child.fullPath} here`);
    if (list.length > 1)
      fail("P0505", span, `${this.instance.fullPath} calls ${child.fullPath} ${list.length} times: which one is meant is not clear`);
    return list[0];
  }

  /** A size of the signature as a value, for those who ask by name. */
  size(symbol: string): Value | undefined {
    const d: Dim | undefined = this.signature.sizes.get(symbol);
    return d === undefined ? undefined : sizeValue(d);
  }
}
