/** `merge(m)`: a plain model of the same module whose parameters hold what the attachments of `m` do. */

import { type Affine, affine, NotAffine, ROWS, solveFor, tabulate } from "../../ir/affine.ts";
import { Builder } from "../../ir/build.ts";
import { type Dim, sameDim, symbol } from "../../ir/dim.ts";
import { type DType, type Graph, type Node, order, type Span } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { rebuild } from "../../ir/rebuild.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { Fault, fail } from "./fault.ts";
import { Frame, type Passed } from "./frame.ts";
import { forwardOf, Instance } from "./instance.ts";
import {
  type Answer,
  attachmentNotes,
  comparison,
  type Edited,
  framesBelow,
  listed,
  liveEdits,
  NO_PRODUCT,
  NOTHING,
  ofTheBatch,
  type Refuse,
  sizeOf,
} from "./merge-compare.ts";
import { recordOf } from "./records.ts";
import { isTensorType } from "./signature.ts";
import { nowhere } from "./step.ts";
import type { Storage } from "./storage.ts";
import { Thunk } from "./thunk.ts";
import { separate } from "./untie.ts";
import { describe, Fields, Tensor, Tokenizer, type Value } from "./values.ts";

/** The new model, of the same module; fields of its configuration may be given anew. It gets its values when it gets its name. */
export function mergeModel(e: Elaborator, model: Value, fields: Fields, tokenizer: Value | undefined, span: Span): Instance {
  if (!(model instanceof Instance) || model.root !== model) fail("P0206", span, `\`merge\` takes a model, this is ${describe(model)}`);
  const type = recordOf(model.module);
  const args = new Map(model.args);
  for (const [n, v] of args)
    if (v instanceof Fields && type && v.type?.decl === type.decl)
      args.set(n, e.record(type, new Fields(new Map([...v.entries, ...fields.entries])), span));
  const made = new Instance(model.module, args, new Map(), e, span);
  made.tokenizer = tokenizer instanceof Tokenizer ? tokenizer : model.tokenizer;
  e.merges.set(made, { source: model, span });
  return made;
}

/** Says for each parameter of `made` what it is in terms of the model that was merged, and tells the run to compute it at this point. */
export function fold(e: Elaborator, made: Instance, source: Instance, span: Span): void {
  const ctx = new Context("evaluate", 0, "merge", (_edit, name) => name !== "loss");
  within(ctx, () => new Folding(e, made, source, span).run());
  e.note(ctx);
}

/** What a parameter becomes, and the module that says so. */
interface Said {
  readonly node: Node;
  readonly by: Instance;
  readonly from: Storage;
}

class Folding {
  private readonly said = new Map<Storage, Said>();
  /** Modules into which what is done to their answer, in a module above, was folded. */
  private readonly below = new Map<Instance, ReadonlyMap<string, Node>>();
  private readonly checks: { readonly path: string; readonly graph: Graph }[] = [];

  constructor(
    private readonly e: Elaborator,
    private readonly made: Instance,
    private readonly source: Instance,
    private readonly span: Span,
  ) {}

  run(): void {
    const { e, made, source, span } = this;
    const twins = new Map([...made.tree()].map((i) => [i.path, i]));
    for (const i of source.tree()) {
      const edits = liveEdits(i);
      const twin = twins.get(i.path);
      if (!twin) {
        if ([...i.stored()].length > 0) fail("P0605", span, `the merged model has no \`${i.path}\`, which ${source.fullPath} has`);
        continue;
      }
      const folded = this.below.get(i) ?? (edits.length > 0 && !this.product(i, twin, edits) ? this.module(i, twin, edits) : NOTHING);
      for (const [name, slot] of i.slots) {
        if (slot.kind !== "stored") continue;
        const target = twin.slots.get(name);
        if (target?.kind !== "stored") fail("P0605", span, `the merged model has no \`${slot.storage.path}\``);
        const path = i.path === "" ? name : `${i.path}.${name}`;
        // what was untied stays so
        const untied = slot.storage.path === path && target.storage.path !== path;
        this.say(
          untied ? separate(e, twin, name) : target.storage,
          folded.get(name) ?? e.node(slot.storage, nowhere, span),
          i,
          slot.storage,
        );
      }
    }
    this.settle();
  }

  private say(target: Storage, node: Node, by: Instance, from: Storage): void {
    const { span } = this;
    const known = this.said.get(target);
    if (known && known.node !== node)
      fail("P0508", span, `${from.path} is shared by \`${known.by.path}\` and \`${by.path}\`, and one of them is changed alone`, {
        label: "one parameter cannot become two",
        notes: [
          "a model with tied weights can only be merged where what was attached acts on all uses alike, as a method on the parameter does",
        ],
      });
    const input = order([node]).find(ofTheBatch);
    if (input)
      fail("P0508", span, `what is done to \`${from.path}\` depends on the batch, so it is no parameter`, {
        notes: [`it uses \`${String(input.attrs.name).replace(/^.*\//, "")}\``, ...attachmentNotes(by)],
      });
    const { shape } = node.type;
    if (shape.length !== target.shape.length || shape.some((d, i) => d !== target.shape[i]))
      fail("P0606", span, `\`${from.path}\` is [${shape.join(", ")}] after merging, the new model wants [${target.shape.join(", ")}]`, {
        notes: ["fields of the configuration are given as in `merge(m, vocab_size: 9000)`"],
      });
    this.said.set(target, { node, by, from });
  }

  private settle(): void {
    const { e, made, source, span } = this;
    const copies: { from: string; to: string }[] = [];
    const folds: { param: string; of: string; graph: Graph }[] = [];
    for (const i of made.tree())
      for (const [, target] of i.stored()) {
        const said = this.said.get(target);
        if (!said) fail("P0605", span, `${source.fullPath} has no \`${target.path}\`, which the merged model needs`);
        const { supply } = rowOf(said.node);
        if (supply === "param") {
          const from = String(said.node.attrs.name);
          target.source = { kind: "copy", of: from };
          copies.push({ from, to: target.name });
        } else {
          const b = new Builder({ path: target.path, span });
          const graph: Graph = { results: [{ role: "output", name: "value", node: b.cast(said.node, "f32") }] };
          target.source = { kind: "start", graph };
          folds.push({ param: target.name, of: said.from.name, graph });
        }
      }
    e.actions.push({ kind: "merge", of: source.owner.name, to: made.owner.name, copies, folds, checks: this.checks, span });
  }

  /** The parameters of one module with what its attachments do worked in. */
  private module(i: Instance, twin: Instance, edits: readonly Edited[]): Map<string, Node> {
    const { e, span } = this;
    const out = new Map<string, Node>();
    const parameters = (frame: Frame) => {
      for (const [name, slot] of i.slots)
        if (slot.kind === "stored" && !out.has(name) && edits.some((x) => x.name === name))
          out.set(name, e.node(frame.read(name)!, frame.here, span));
    };
    const around = edits.filter((x) => !i.slots.has(x.name));
    if (around.length === 0) {
      parameters(
        this.call(
          i,
          this.inputs(i, () => symbol(ROWS)),
        ),
      );
      return out;
    }
    const refuse = this.refusal(i, around);
    const chain = around.find((x) => x.name.includes("#"));
    if (chain) refuse("it rewires a chain of blocks");
    const input = this.rows(i) ?? refuse(NO_PRODUCT);
    const y = this.alone(i, input.args, refuse);
    const other = this.rows(twin)!;
    const plain = this.output(this.call(twin, other.args));
    this.solve(twin, { y, x: input.x }, { y: plain, x: other.x }, out, refuse);
    parameters(
      this.call(
        i,
        this.inputs(i, () => symbol(ROWS)),
      ),
    );
    this.checks.push({ path: i.path, graph: comparison(i.path, y, input.x, plain, other.x, sizeOf(input.x, plain, other.x)) });
    return out;
  }

  private refusal(i: Instance, edits: readonly Edited[]): Refuse {
    return (why, node) => {
      const names = listed(edits.map((x) => x.edit.site.attachment.name));
      const rebound = listed(edits.map((x) => x.name.replace(/^\d+#\d+\./, "")));
      return fail(
        "P0508",
        this.span,
        `${names} cannot be folded into parameters: of ${i.fullPath} (${i.decl.name.text}) it rebinds ${rebound}`,
        {
          label: why,
          related: node?.origin.span ? [{ span: node.origin.span, label: "here" }] : [],
        },
      );
    };
  }

  /** What the parameters of `twin` must be for its answers to be those of `edited`. */
  private solve(twin: Instance, edited: Answer, plain: Answer, out: Map<string, Node>, refuse: Refuse): void {
    const wanted = this.apart(edited, plain, refuse);
    const own = this.apart(plain, plain, () => refuse(NO_PRODUCT));
    for (const part of ["linear", "constant"] as const) {
      const [seen, sought] = [own[part], wanted[part]];
      if (!seen && sought)
        refuse(part === "constant" ? "it adds a constant, and there is no bias to take it" : "there is no product to take it");
      if (!seen) continue;
      const b = new Builder(seen.origin);
      const solved = solveFor(seen, sought ?? b.zeros(seen.type)) ?? refuse(NO_PRODUCT);
      for (const [name, slot] of twin.slots) if (slot.kind === "stored" && slot.storage.name === solved.param) out.set(name, solved.value);
    }
  }

  /**
   * Where what is rebound is the answer of one module further down, as a sublayer's is its last projection's: folds it into that module. Says whether it was so.
   */
  private product(i: Instance, twin: Instance, edits: readonly Edited[]): boolean {
    const { e, span } = this;
    const [name, ...others] = new Set(edits.map((x) => x.name));
    if (others.length > 0 || i.slots.has(name) || name.includes("#")) return false;
    const oneRow = (m: Instance) => this.oneRow(m);
    const plainCall = this.call(twin, oneRow(twin), oneRow);
    const value = e.node(plainCall.read(name)!, plainCall.here, span);
    const leaf = this.answering(plainCall, value);
    if (leaf === undefined) return false;
    const editedCall = this.call(i, oneRow(i), oneRow);
    const edited = e.node(editedCall.read(name)!, editedCall.here, span);
    const source = [...i.tree()].find((c) => c.path === leaf.instance.path)!;
    const call = framesBelow(editedCall).find((f) => f.instance === source);
    if (call === undefined) return false;
    const answers = [
      [edited, call],
      [value, leaf],
    ].map(([y, f]) => this.asRows(y as Node, f as Frame));
    if (answers.some((a) => a === undefined)) return false;
    const [seen, own] = answers as Answer[];
    const out = new Map<string, Node>();
    this.solve(leaf.instance, seen, own, out, this.refusal(i, edits));
    this.below.set(source, out);
    this.checks.push({ path: source.path, graph: comparison(source.path, seen.y, seen.x, own.y, own.x, sizeOf(seen.x, own.y, own.x)) });
    return true;
  }

  /** The call of a module with parameters, below `frame`, whose answer `node` is. */
  private answering(frame: Frame, node: Node): Frame | undefined {
    return framesBelow(frame).find((f) => [...f.instance.stored()].length > 0 && this.output(f) === node);
  }

  /** A call's first input, and a value that depends on it, as rows: f32 [rows, n]. */
  private asRows(y: Node, call: Frame): Answer | undefined {
    const [first] = forwardOf(call.instance.decl)?.params ?? [];
    if (!first) return undefined;
    const node = this.e.node(call.read(first.name.text)!, call.here, this.span);
    const [width, out] = [node, y].map((n) => n.type.shape.at(-1));
    if (node.type.dtype !== "f32" || typeof width !== "number" || typeof out !== "number") return undefined;
    if ([node, y].some((n) => n.type.shape.slice(0, -1).some((d) => d !== 1 && !sameDim(d, symbol(ROWS))))) return undefined;
    const b = new Builder({ path: call.instance.path });
    const x = b.input(`${call.instance.path}/rows`, { dtype: "f32", shape: [symbol(ROWS), width] });
    const [moved] = rebuild([y], new Map([[node, b.reshape(x, node.type.shape)]]));
    return { x, y: b.reshape(moved, [symbol(ROWS), out]) };
  }

  private oneRow(i: Instance): Map<string, Thunk<Value>> {
    const sizes = (forwardOf(i.decl)?.params ?? []).flatMap(({ type }) =>
      isTensorType(type) ? type.dims.flatMap((d) => (d.kind === "Name" && /^[A-Z]/.test(d.text) ? [d.text] : [])) : [],
    );
    // of [B, S, n] there is one row of text, whose words are the rows
    const [, second] = [...new Set(sizes)];
    return this.inputs(
      i,
      () => symbol(ROWS),
      (size) => (size === second ? symbol(ROWS) : 1),
    );
  }

  /** Linear and constant part; what depends on more than the input is refused. */
  private apart({ y, x }: Answer, plain: Answer, refuse: Refuse): Affine {
    const foreign = order([y]).find((n) => n !== x && ofTheBatch(n));
    if (foreign) refuse("what it does depends on more of the batch than the module's input");
    try {
      return x.type.dtype === "f32" ? affine(y, x) : tabulate(y, x, sizeOf(x, plain.y, plain.x));
    } catch (error) {
      if (!(error instanceof NotAffine)) throw error;
      return refuse(
        {
          "not linear": `it is not linear in the input (\`${error.node.op}\`)`,
          "mixes rows": "it brings positions together",
          "by position": "it differs from position to position",
        }[error.why],
        error.node,
      );
    }
  }

  /** The answer to rows that belong to no batch. Methods may count on one: on its rows, or on a column beside it. */
  private alone(i: Instance, args: Passed, refuse: Refuse): Node {
    try {
      return this.output(this.call(i, args));
    } catch (error) {
      if (error instanceof Fault && error.problem.code.startsWith("P04"))
        refuse("what it does depends on more of the batch than the module's input");
      throw error;
    }
  }

  private output(frame: Frame): Node {
    return this.e.node(frame.first(), frame.here, this.span);
  }

  /** A module's first input as rows of its own, where it is that: f32 [rows, n], or whole numbers [rows]. */
  private rows(i: Instance): { readonly x: Node; readonly args: Map<string, Thunk<Value>> } | undefined {
    const [first] = forwardOf(i.decl)?.params ?? [];
    if (!first || !isTensorType(first.type)) return undefined;
    const args = this.inputs(i, () => symbol(ROWS));
    const value = args.get(first.name.text)?.force();
    if (!(value instanceof Tensor)) return undefined;
    const { dtype, shape } = value.node.type;
    const fits = dtype === "f32" ? shape.length === 2 && typeof shape[1] === "number" : dtype === "i32" && shape.length === 1;
    return fits ? { x: value.node, args } : undefined;
  }

  /** A call of the module by itself, within calls of what it is part of, whose names attachments there may use. */
  private call(i: Instance, args: Passed, around: (holder: Instance) => Passed = (holder) => this.inputs(holder)): Frame {
    const outer =
      i.holder?.kind === "instance" && forwardOf(i.holder.instance.decl)
        ? this.call(i.holder.instance, around(i.holder.instance), around)
        : undefined;
    return new Frame(i, outer, args, new Map(), { training: false, iteration: undefined }, this.span);
  }

  /** Symbolic inputs; `...` stands for `rest`, a size's name for `named`. */
  private inputs(i: Instance, rest: () => Dim = () => 1, named: (size: string) => Dim = symbol): Map<string, Thunk<Value>> {
    const { e } = this;
    const out = new Map<string, Thunk<Value>>();
    for (const p of forwardOf(i.decl)?.params ?? []) {
      const { type } = p;
      if (p.default || !isTensorType(type)) continue;
      const thunk = new Thunk<Value>(
        () => {
          const shape = type.dims.map(
            (d): Dim =>
              d.kind === "Rest" ? rest() : d.kind === "Name" && /^[A-Z]/.test(d.text) ? named(d.text) : (e.evaluate(d, i.scope) as number),
          );
          const b = new Builder({ path: i.fullPath, span: p.span });
          return new Tensor(b.input(`${i.path}/${p.name.text}`, { dtype: type.name.text as DType, shape }));
        },
        p.name.text,
        p.span,
      );
      out.set(p.name.text, thunk);
    }
    return out;
  }
}
