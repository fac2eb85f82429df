import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { boundNames, mentions } from "../names.ts";
import type { Static } from "../project.ts";
import { Block, type BlockOwner } from "./block.ts";
import { chainOf } from "./chains.ts";
import { context } from "./context.ts";
import { fail } from "./fault.ts";
import { forwardOf, type Instance, isStatement } from "./instance.ts";
import { MethodFrame, type MethodLine, methodFrame, type Subject } from "./method-frame.ts";
import { type Evaluator, fixed, type Here, Names, type Read, type Scope, Seen } from "./scope.ts";
import { parameterNames, Storage } from "./storage.ts";
import { Thunk } from "./thunk.ts";
import { type Applied, describe, type MethodDecl, type Place, type RoleDecl, type Value } from "./values.ts";
import { carriedKey, Editable, type Reader } from "./versions.ts";

/** One `attach`: a method with its options at its sites. */
export class Attachment {
  readonly kind = "attachment";
  readonly sites: Site[] = [];
  readonly shared = new Map<string, Storage | Value>();
  /** Numbers of the statements of the method, in the order of the text, nested ones too. */
  readonly lines: ReadonlyMap<ast.Statement, number>;
  /** Read from disk rather than made by this file: not `new`. */
  loaded = false;
  /** Where it was read: more than one where it is a combination. */
  folders: readonly string[] = [];
  options: Readonly<Record<string, Static>> = {};

  constructor(
    readonly name: string,
    readonly applied: Applied,
    readonly evaluator: Evaluator,
    readonly span: Span,
    readonly selector: string,
    /** The site whose line made this attachment; its stamps then lie within that line's. */
    readonly maker: Site | undefined,
    private readonly stampBase: number,
    readonly step: number,
    readonly count: number,
  ) {
    const lines = new Map<ast.Statement, number>();
    const number = (ss: readonly ast.Statement[]) => {
      for (const s of ss) {
        lines.set(s, lines.size);
        if (s.kind === "If") {
          number(s.then);
          number(s.else ?? []);
        } else if (s.kind === "For") number(s.body);
      }
    };
    number(applied.method.decl.members.filter(isStatement));
    this.lines = lines;
  }
  get method(): MethodDecl {
    return this.applied.method;
  }
  /** Before all of its lines. */
  get first(): number {
    return this.stampBase;
  }
  /** Runs by line, then by site. */
  stamp(statement: ast.Statement, site: number): number {
    return this.stampBase + this.step * ((this.lines.get(statement) ?? 0) * this.count + site + 1);
  }
  static stampsNeeded(method: MethodDecl, sites: number): number {
    let n = 0;
    const walk = (ss: readonly ast.Statement[]) => {
      for (const s of ss) {
        n++;
        if (s.kind === "If") {
          walk(s.then);
          walk(s.else ?? []);
        } else if (s.kind === "For") walk(s.body);
      }
    };
    walk(method.decl.members.filter(isStatement));
    return (n + 1) * sites + 2;
  }
}

/** One place an attachment went to. Its names can be rebound by attachments to the attachment. */
export class Site extends Editable {
  readonly kind = "site";
  detached = false;
  /** Other modules with the same weight, as a file names them. */
  also: readonly string[] = [];
  /** The method's own parameters and states, by name; `null` where one does not exist here. */
  readonly params = new Map<string, Storage | null>();
  readonly inputs = new Map<string, () => Value>();
  /** Statements of the method; lines that are the same for all calls are kept in `block`, others in each frame. */
  readonly statements: readonly ast.Statement[];
  readonly block: Block;
  /** Attachments that lines of the method made here. */
  readonly attached = new Map<ast.Statement, Attachment>();
  private readonly functions = new Map<string, Read>();
  private readonly static_: ReadonlySet<ast.Statement>;
  readonly scope: Scope;

  constructor(
    readonly attachment: Attachment,
    readonly index: number,
    readonly place: Place,
    readonly role: RoleDecl | undefined,
    /** Names of the role to paths in the module; `null`: an optional name that this module does not have. */
    readonly roleNames: ReadonlyMap<string, readonly string[] | null>,
    private readonly sizes: ReadonlyMap<string, () => Value>,
    private readonly options: ReadonlyMap<string, Value>,
    /** Whether another site of the attachment is in the same module: the path then names the role. */
    private readonly qualified: boolean,
    isStatic: (site: Site) => ReadonlySet<ast.Statement>,
  ) {
    super();
    const { method, evaluator } = attachment;
    this.statements = method.decl.members.filter(isStatement);
    const here: Here = { path: this.path, training: false, calls: "" };
    const own = new Map<string, Read>();
    for (const m of method.decl.members) {
      if (m.kind === "Parameter") own.set(m.field.name.text, () => this.params.get(m.field.name.text) ?? null);
      if (m.kind === "State") own.set(m.name.text, () => this.params.get(m.name.text) ?? null);
      if (m.kind === "SharedChild") own.set(m.name.text, () => attachment.shared.get(m.name.text) as Value);
    }
    const without: Scope = {
      here,
      find: (n) => (this.roleNames.has(n) ? () => this.withoutCall(n, this.roleNames.get(n)!, here) : undefined),
      names: () => [...this.roleNames.keys()],
    };
    const owner: BlockOwner = {
      evaluator,
      hereFor: (s) => ({ path: this.fullPath, training: false, calls: "", reader: this.readerFor(s) }),
      view: (_n, t) => () => t.force(),
      bound: (name, value) => this.placeChild(name, value),
      elsewhere: (s) => (this.attached.has(s) ? Thunk.of<Value>(this.attached.get(s)!) : undefined),
    };
    this.static_ = isStatic(this);
    this.block = new Block(this.statements, new Names(own, this.between(without, here), here), owner, here);
    this.scope = this.block;
    for (const m of method.decl.members)
      if (m.kind === "Function") this.functions.set(m.name.text, fixed(evaluator.closure(m, this.scope)));
  }

  /** Path in the tree that the attachment stands beside. */
  get path(): string {
    const p = this.place;
    if (p.kind === "module") return this.qualified && this.role ? `${p.instance.path}:${this.role.name}` : p.instance.path;
    if (p.kind === "param") return this.qualified ? p.storage.name : p.storage.path;
    if (p.kind === "site") return p.site.path;
    if (p.kind === "chain") return p.parent.path;
    return p.kind === "value" ? p.name : "";
  }
  /** The last name of the path: `q_proj`. */
  get moduleName(): string {
    return this.path.slice(this.path.lastIndexOf(".") + 1);
  }
  get fullPath(): string {
    return [this.attachment.name, this.path].filter((p) => p !== "").join(".");
  }

  /** Whether a name of the role, which is a parameter of the module, stands for a value made of it: GPT-2's weights, stored the other way round. */
  get turned(): boolean {
    const { place } = this;
    if (place.kind !== "module") return false;
    const { slots } = place.instance;
    return [...this.roleNames].some(([name, path]) => slots.has(name) && path?.length === 1 && !slots.has(path[0]));
  }

  /** Options, sizes and what is known of the site, in front of the site's own names. */
  between(roles: Scope, here: Here): Scope {
    const known = new Map<string, Read>();
    for (const [n, v] of this.options) known.set(n, fixed(v));
    known.set("sites", () => this.attachment.sites);
    known.set("index", fixed(this.index));
    known.set("module_name", fixed(this.moduleName));
    if (this.place.kind === "chain")
      known.set("blocks", () => chainOf(this.attachment.evaluator, this.place as Place & { kind: "chain" }, here.methodFrame?.subject));
    const sizes: Scope = {
      here,
      find: (n) => {
        const size = this.sizes.get(n);
        return size ? () => size() : (roles.find(n) ?? this.functions.get(n) ?? this.attachment.method.scope.find(n));
      },
      names: () => [...this.sizes.keys(), ...roles.names(), ...this.attachment.method.scope.names()],
    };
    return new Names(known, sizes, here);
  }

  readerFor(statement: ast.Statement): Reader {
    return { attachment: this.attachment, stamp: this.attachment.stamp(statement, this.index) };
  }

  attach(statement: ast.Attach, attachment: Attachment): void {
    this.attached.set(statement, attachment);
  }

  /** The value of a line that is the same for all calls of the site. */
  sharedThunk(statement: ast.Statement, target: number): Thunk<Value> | undefined {
    const made = this.attached.get(statement);
    if (made) return Thunk.of<Value>(made);
    return this.static_.has(statement) ? this.block.thunk(statement, this.statements.indexOf(statement), target) : undefined;
  }
  /** Makes the children and static values of one line. */
  settle(statement: ast.Statement): void {
    if (statement.kind === "Binding" && this.static_.has(statement))
      statement.targets.forEach((_, i) => this.block.thunk(statement, this.statements.indexOf(statement), i).force());
  }

  private placeChild(name: string, value: Value): void {
    if (value !== null && typeof value === "object" && "kind" in value && value.kind === "instance") {
      value.holder ??= { kind: "site", site: this, name, shared: false };
    } else if (Array.isArray(value)) value.forEach((v, i) => this.placeChild(`${name}.${i}`, v as Value));
  }

  /** Children made by the method here, by name. */
  *children(): IterableIterator<[string, Instance]> {
    const own = function* (self: Site, name: string, v: Value): IterableIterator<[string, Instance]> {
      if (v !== null && typeof v === "object" && "kind" in v && v.kind === "instance") {
        if (v.holder?.kind === "site" && v.holder.site === self) yield [name, v];
      } else if (Array.isArray(v)) for (const [i, x] of v.entries()) yield* own(self, `${name}.${i}`, x as Value);
    };
    for (const s of this.statements)
      if (s.kind === "Binding" && this.static_.has(s))
        for (const [i, t] of s.targets.entries())
          yield* own(this, t.names[0].text, this.block.thunk(s, this.statements.indexOf(s), i).force());
  }

  /** All parameters of the site by their path below it (`lora_A.weight`), shared ones left out. */
  *parameters(): IterableIterator<[string, Storage]> {
    for (const [name, s] of this.params) if (s?.role === "parameter" && this.attachment.shared.get(name) !== s) yield [name, s];
    for (const [, child] of this.children())
      for (const m of child.tree())
        for (const [n, s] of m.stored()) yield [s.path.slice(this.path === "" ? 0 : this.path.length + 1) || n, s];
  }

  /** A capital of the role's shapes, as it is where it is read. */
  capital(name: string, frame: MethodFrame): Read | undefined {
    return this.attachment.evaluator.roleCapital(this, name, frame);
  }

  /** What a role's name is outside any call: a parameter, a child, an argument, a name of a parameter; else the one call there is. */
  withoutCall(name: string, path: readonly string[] | null, reader: Here): Value {
    if (path === null) return null;
    const { place } = this;
    if (place.kind === "param") return this.attachment.evaluator.readStorage(place.storage, path[0], reader, this.attachment.span);
    if (place.kind === "site") {
      const s = place.site.params.get(path[0]);
      if (s) return s;
      // a child is the same in all calls
      for (const [child, instance] of place.site.children()) if (child === path[0]) return instance;
      const subject = onlySubject(place.site);
      const v = methodFrame(place.site, subject).read(path[0], reader);
      if (v !== undefined) return v;
    }
    if (place.kind === "module") {
      if (path.length === 1) {
        if (place.instance.slots.has(path[0])) return place.instance.parameter(path[0]);
        const read = place.instance.scope.find(path[0]);
        if (read && isOwn(place.instance, path[0])) return read(reader);
        const same = sameInAllCalls(place.instance, path[0], reader, this.attachment.evaluator);
        if (same) return same(reader);
      }
      const subject = onlySubject(this);
      if (subject && !(subject instanceof MethodFrame)) return subject.readPath(path, reader, this.attachment.span);
    }
    fail("P0505", this.attachment.span, `\`${name}\` has no value outside a call of ${this.path || "the model"}`, {
      notes: [
        "what is computed once, or once an update, can use parameters, sizes and options; values of a call only where the step makes exactly one",
      ],
    });
  }
}

const isOwn = (instance: Instance, name: string): boolean => instance.args.has(name) || instance.block.thunkBefore(name) !== undefined;

/** A value of `forward` that parameters alone make (a weight turned round), also by way of other such values: it needs no call. */
function sameInAllCalls(instance: Instance, name: string, reader: Here, evaluator: Evaluator): Read | undefined {
  const forward = forwardOf(instance.decl);
  if (!forward) return undefined;
  const live = new Set(["training", "past", "step", "steps", ...forward.params.map((p) => p.name.text)]);
  const bound = new Set(forward.body.flatMap(boundNames));
  const made = (wanted: string, open: ReadonlySet<string>): Read | undefined => {
    const lines = forward.body.filter((s) => boundNames(s).includes(wanted));
    const [line] = lines;
    // one plain line: what branches or loops make hangs on more
    if (lines.length !== 1 || line.kind !== "Binding" || line.targets.length !== 1 || line.values.length !== 1) return undefined;
    const [value] = line.values;
    if (open.has(wanted) || mentions(value, live)) return undefined;
    const inner = new Map<string, Read>();
    for (const other of bound) {
      if (!mentions(value, new Set([other]))) continue;
      const read = made(other, new Set([...open, wanted]));
      if (!read) return undefined;
      inner.set(other, read);
    }
    return () => evaluator.evaluate(value, new Seen(new Names(inner, instance.scope), reader));
  };
  return made(name, new Set());
}

/** What a site is part of where the step calls its module exactly once in training (an evaluation: exactly once); otherwise nothing. */
export function onlySubject(site: Site): Subject {
  const { place } = site;
  if (place.kind === "site") {
    const outer = onlySubject(place.site);
    return methodFrame(place.site, outer);
  }
  if (place.kind !== "module" && place.kind !== "chain") return undefined;
  const { frames, mode } = context();
  const calls = (frames.get(place.kind === "chain" ? place.parent : place.instance) ?? []).filter(
    (f) => mode !== "train" || f.here.training,
  );
  return calls.length === 1 ? calls[0] : undefined;
}

/** Where the target of `x := e` lives: what has the name, and the name there. */
export function rebindTarget(site: Site, target: ast.Path, loss: Editable): { holder: Editable; name: string } {
  const names = target.names.map((n) => n.text);
  const last = names[names.length - 1];
  const { evaluator } = site.attachment;
  if (names.length === 1) {
    if (
      site.params.has(last) ||
      site.statements.some(
        (s) => s.kind === "Binding" && s.op === "=" && s.targets.some((t) => t.names.length === 1 && t.names[0].text === last),
      )
    )
      return { holder: site, name: last };
    const path = site.roleNames.get(last);
    if (path === null)
      fail("P0503", target.span, `\`${last}\` does not exist here`, {
        notes: [`${site.path} fills the role without it; test it with \`if ${last} != none\``],
      });
    if (path) return roleTarget(site, path, target.span);
    if (last === "loss") return { holder: loss, name: "loss" };
    fail("P0502", target.span, `there is no \`${last}\` to rebind here`, {
      notes: evaluator.suggestions(last, [...site.roleNames.keys(), "loss"]),
    });
  }
  if (!(parameterNames as readonly string[]).includes(last))
    fail("P0502", target.span, `\`${last}\` cannot be rebound`, {
      notes: [
        `of a parameter these can: ${parameterNames.join(", ")}`,
        "an input, value or parameter of the site is rebound by its name alone",
      ],
    });
  let value = names[0] === "site" ? undefined : site.scope.find(names[0])?.(site.scope.here);
  for (const n of names.slice(1, -1)) value = value === undefined ? undefined : evaluator.member(value, n, target.span, site.scope);
  if (value instanceof Storage) return { holder: value, name: last };
  fail(
    "P0502",
    target.span,
    `\`${names.slice(0, -1).join(".")}\` is ${value === undefined ? "not known here" : describe(value)}, not a parameter or state`,
  );
}

function roleTarget(site: Site, path: readonly string[], span: Span): { holder: Editable; name: string } {
  const { place } = site;
  if (place.kind === "param") return { holder: place.storage, name: path[0] };
  if (place.kind === "site") return { holder: place.site, name: path[0] };
  if (place.kind === "chain") return { holder: place.parent, name: chainKey(place, path[0], span) };
  if (place.kind !== "module") fail("P0502", span, "this place cannot be rebound");
  let at: Instance = place.instance;
  for (const n of path.slice(0, -1)) {
    const child = at.scope.find(n)?.(at.scope.here);
    if (!child || typeof child !== "object" || !("kind" in child) || child.kind !== "instance")
      fail("P0305", span, `${at.decl.name.text} has no child \`${n}\``);
    at = child;
  }
  const name = path[path.length - 1];
  if (at.block.thunkBefore(name) !== undefined)
    fail("P0502", span, `\`${name}\` is a child or constant of ${at.decl.name.text}, not a value that can be rebound`);
  return { holder: at, name };
}

/** The name under which a chain's value before or after it is rebound in its parent. */
function chainKey(place: Place & { kind: "chain" }, name: string, span: Span): string {
  if (name === "y") return carriedKey(place.loop, place.first + place.blocks.length - 1, place.carried);
  fail("P0502", span, `of a chain \`y\` can be rebound, not \`${name}\``);
}

/** All rebindings in a method, with the branches around them. */
export function rebindings(statements: readonly ast.Statement[], inside: MethodLine["inside"] = []): MethodLine[] {
  return statements.flatMap((s): MethodLine[] => {
    if (s.kind === "Binding" && s.op === ":=")
      return s.targets.map((t, i) => ({ statement: s, target: i, inside, label: t.names.map((n) => n.text).join("."), span: t.span }));
    if (s.kind === "If")
      return [
        ...rebindings(s.then, [...inside, { statement: s, taken: true }]),
        ...rebindings(s.else ?? [], [...inside, { statement: s, taken: false }]),
      ];
    if (s.kind === "For" && rebindings(s.body).length > 0)
      fail("P0502", s.span, "a rebinding inside a `for` is not possible", {
        notes: ["compute the value in the loop and rebind once behind it"],
      });
    return [];
  });
}
