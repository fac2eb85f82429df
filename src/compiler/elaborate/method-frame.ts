import type { Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import type { Site } from "./attachment.ts";
import { Block, type BlockOwner } from "./block.ts";
import { readChain } from "./chains.ts";
import { context } from "./context.ts";
import { fail } from "./fault.ts";
import type { Frame, Passed } from "./frame.ts";
import { type Here, Names, type Read, type Scope } from "./scope.ts";
import { Thunk } from "./thunk.ts";
import type { Value } from "./values.ts";
import { type Edit, pick, type Reader } from "./versions.ts";

/** What a site is part of in one graph: a call of its module, a frame of the attachment it is attached to, or nothing (a parameter). */
export type Subject = Frame | MethodFrame | undefined;

/** One `x := e` of a method: where it stands, and which branches lead to it. */
export interface MethodLine {
  readonly statement: ast.Binding;
  readonly target: number;
  /** `if`s around it, from the outside in, with the branch it is in. */
  readonly inside: readonly { readonly statement: ast.If; readonly taken: boolean }[];
  readonly label: string;
  readonly span: Span;
}

/** The lines of a method at one site, in one call of the site's module: the part of the method that is computed there. */
export class MethodFrame {
  readonly kind = "method";
  readonly here: Here;
  readonly block: Block;
  private readonly values = new Map<MethodLine, Thunk<Value>>();

  constructor(
    readonly site: Site,
    readonly subject: Subject,
    private readonly given: Passed = new Map(),
    /** Who called the attachment as a value: names of the site are then read as that line sees them. */
    readonly caller?: Reader,
  ) {
    const base: Here | undefined = subject?.here;
    const { attachment } = site;
    this.here = {
      path: site.fullPath,
      iteration: base?.iteration,
      training: base?.training ?? context().mode === "train",
      frame: base?.frame,
      methodFrame: this,
      calls: base?.calls ?? "",
    };
    const roles: Scope = {
      here: this.here,
      find: (name) => this.roleName(name),
      names: () => [...site.roleNames.keys()],
    };
    const own = new Map<string, Read>();
    for (const [name, value] of site.attachment.shared) own.set(name, () => value);
    for (const [name, slot] of site.params) own.set(name, () => slot);
    for (const [name, value] of site.inputs) own.set(name, () => value());
    const gifts = new Map<string, Read>([...given].map(([n, t]) => [n, () => t.force()]));
    // options and sizes hide the site's names; the method's file comes last
    const outer = new Names(gifts, new Names(own, site.between(roles, this.here), this.here), this.here);
    const owner: BlockOwner = {
      evaluator: attachment.evaluator,
      hereFor: (s) => ({ ...this.here, reader: this.caller ?? site.readerFor(s) }),
      view: (name, thunk) => this.view(name, thunk),
      elsewhere: (s, target) => site.sharedThunk(s, target),
    };
    this.block = new Block(site.statements, outer, owner, this.here);
  }

  private view(name: string, thunk: Thunk<Value>): Read {
    return (reader) => {
      const gift = this.given.get(name);
      if (gift) return gift.force();
      const edits = this.site.edits.get(name);
      if (!edits || this.block.thunkBefore(name) !== thunk) return thunk.force();
      const edit = pick(edits, reader.reader, (e) => this.holds(e, name));
      return edit ? methodFrame(edit.site, this).lineValue(edit.line) : thunk.force();
    };
  }
  private holds(edit: Edit, name: string): boolean {
    return context().holds(edit, name) && methodFrame(edit.site, this).reaches(edit.line);
  }

  /** A name of the role at this site, as the reader sees it. */
  private roleName(name: string): Read | undefined {
    const path = this.site.roleNames.get(name);
    if (path) return (reader) => this.readRole(name, path, reader);
    return this.site.capital(name, this);
  }
  readRole(name: string, path: readonly string[] | null, reader: Here): Value {
    if (path === null) return null;
    const { subject, site } = this;
    if (subject instanceof MethodFrame) {
      const v = subject.read(path[0], reader);
      if (v !== undefined) return v;
    } else if (subject && site.place.kind === "chain") return readChain(site.place, subject, name, reader, site.attachment.span);
    else if (subject) return subject.readPath(path, reader, site.attachment.span);
    return site.withoutCall(name, path, reader);
  }

  /** A name of the method or of its site; `undefined` where there is none. */
  read(name: string, reader: Here = { ...this.here, reader: undefined }): Value | undefined {
    return this.block.find(name)?.(reader);
  }

  /**
   * Whether the branches around a line lead to it here. A condition that is being decided counts as one that does: what it reads are the names as they were in
   * front of its lines, whichever way it goes.
   */
  reaches(line: MethodLine): boolean {
    let block: Block = this.block;
    for (const { statement, taken } of line.inside) {
      if (block.isDeciding(statement)) return true;
      const branch: { taken: boolean; block: Block | undefined } = block.branch(statement);
      if (branch.taken !== taken || !branch.block) return false;
      block = branch.block;
    }
    return true;
  }
  private blockOf(line: MethodLine): Block | undefined {
    let block: Block | undefined = this.block;
    for (const { statement, taken } of line.inside) {
      const branch: { taken: boolean; block: Block | undefined } = block.branch(statement);
      if (branch.taken !== taken || !branch.block) return undefined;
      block = branch.block;
    }
    return block;
  }
  lineValue(line: MethodLine): Value {
    let t = this.values.get(line);
    if (!t) {
      const block = this.blockOf(line);
      if (!block) fail("P0505", line.span, `\`${line.label}\` is not reached here`);
      const { statement, target } = line;
      const at = block.before(block.statements.indexOf(statement));
      if (statement.values.length !== statement.targets.length)
        fail("P0213", statement.span, "a rebinding of several names needs one value for each");
      t = new Thunk(() => this.site.attachment.evaluator.evaluate(statement.values[target], at), line.label, line.span);
      this.values.set(line, t);
    }
    return t.force();
  }
}

/** The frame of a site for a subject, made once a graph. */
export function methodFrame(site: Site, subject: Subject): MethodFrame {
  const frames = context().methodFrames;
  let of = frames.get(site);
  if (!of) {
    of = new Map();
    frames.set(site, of);
  }
  let f = of.get(subject);
  if (!f) {
    f = new MethodFrame(site, subject);
    of.set(subject, f);
  }
  return f;
}
