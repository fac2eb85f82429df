import type { Iteration, Span } from "../../ir/graph.ts";
import type * as ast from "../ast.ts";
import { fail } from "./fault.ts";
import { type Evaluator, fixed, type Here, Names, type Read, type Scope } from "./scope.ts";
import { Thunk } from "./thunk.ts";
import { CallValue, type Value } from "./values.ts";

/** What surrounds a block: how its statements are located, and how a name of it is read (edits, given values). */
export interface BlockOwner {
  readonly evaluator: Evaluator;
  /** Where a statement of the block runs. */
  hereFor(statement: ast.Statement): Here;
  /** How the value of a name is read: through the owner's versions of it. */
  view(name: string, thunk: Thunk<Value>): Read;
  /** A thunk that somebody else keeps for this statement: a line that is the same for all calls. */
  elsewhere?(statement: ast.Statement, target: number): Thunk<Value> | undefined;
  /** The value that a loop carries out of an iteration, where somebody rebinds it there; `undefined`: as computed. */
  carriedOut?(loop: ast.For, iteration: number, name: string, thunk: Thunk<Value>): Thunk<Value> | undefined;
  /** Whether a method takes a loop's place: then nothing of it is computed before it is asked for. */
  rewired?(loop: ast.For): boolean;
  /** Told of each value a binding gave, with its name: children get their place. */
  bound?(name: string, value: Value): void;
}

/** The first segment of a target that binds a name of this block (`=` with a plain name). */
const plain = (s: ast.Statement): readonly string[] =>
  s.kind === "Binding" && s.op === "=" ? s.targets.map((t) => (t.names.length === 1 ? t.names[0].text : "")) : [];

/** Names that a statement may bind. */
function binds(s: ast.Statement): Set<string> {
  if (s.kind === "Binding") return new Set(plain(s));
  if (s.kind === "Attach" || s.kind === "Model") return new Set([s.name.text]);
  if (s.kind === "For") return new Set(s.body.flatMap((x) => [...binds(x)]));
  if (s.kind === "If") return new Set([...s.then, ...(s.else ?? [])].flatMap((x) => [...binds(x)]));
  return new Set();
}

/** Whether a statement requires something, in branches and loops too. */
function requires(s: ast.Statement): boolean {
  if (s.kind === "If") return [...s.then, ...(s.else ?? [])].some(requires);
  return s.kind === "Require" || (s.kind === "For" && s.body.some(requires));
}

/** How many of some rising numbers are below a bound. */
function countBelow(rising: readonly number[], bound: number): number {
  let low = 0;
  let high = rising.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rising[middle] < bound) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A decided `if`, with the block of the branch taken, if there is one. */
interface Branch {
  readonly taken: boolean;
  readonly block: Block | undefined;
}

export class Block implements Scope {
  /** By name the statements that may bind it, in order. */
  private readonly binders = new Map<string, number[]>();
  /** Names that statements of this block bind, in the order of the text; an `if` may leave some of them unbound. */
  readonly own: ReadonlySet<string>;
  private readonly thunks = new Map<ast.Statement, Thunk<Value>[]>();
  private readonly branches = new Map<ast.Statement, Thunk<Branch>>();
  private readonly loops = new Map<ast.Statement, Block[]>();
  /** Of each iteration, the carried values as they leave it. */
  private readonly ends = new Map<ast.Statement, Map<string, Thunk<Value>>[]>();

  constructor(
    readonly statements: readonly ast.Statement[],
    private readonly outer: Scope,
    private readonly owner: BlockOwner,
    readonly here: Here = outer.here,
    private readonly iteration?: Iteration,
  ) {
    statements.forEach((s, i) => {
      for (const name of binds(s)) {
        const at = this.binders.get(name);
        if (at) at.push(i);
        else this.binders.set(name, [i]);
      }
    });
    this.own = new Set(this.binders.keys());
  }

  find(name: string): Read | undefined {
    return this.findBefore(name, this.statements.length);
  }
  names(): string[] {
    return [...this.own, ...this.outer.names()];
  }
  /** The carried value as it leaves an iteration of a loop of this block; before the first iteration where `iteration` is −1. */
  carriedAfter(s: ast.For, iteration: number, name: string): Read | undefined {
    const index = this.statements.indexOf(s);
    if (iteration < 0) return this.findBefore(name, index);
    this.run(s, index);
    const thunk = this.ends.get(s)?.[iteration]?.get(name);
    return thunk && this.owner.view(name, thunk);
  }
  /** The names as they are in front of a statement. */
  before(index: number): Scope {
    const here = this.withIteration(this.owner.hereFor(this.statements[index]));
    return { here, find: (n) => this.findBefore(n, index), names: () => this.names() };
  }
  private withIteration(here: Here): Here {
    return this.iteration ? { ...here, iteration: this.iteration } : here;
  }

  private findBefore(name: string, index: number): Read | undefined {
    const thunk = this.thunkBefore(name, index);
    return thunk ? this.owner.view(name, thunk) : this.outer.find(name);
  }

  /** The thunk a name of this block is bound to in front of statement `index`, without looking further out. */
  thunkBefore(name: string, index = this.statements.length): Thunk<Value> | undefined {
    const at = this.binders.get(name);
    if (!at) return undefined;
    for (let k = countBelow(at, index) - 1; k >= 0; k--) {
      const i = at[k];
      const s = this.statements[i];
      if (s.kind === "If") {
        const found = this.branch(s, i).block?.thunkBefore(name);
        if (found) return found;
      } else if (s.kind === "For") {
        const iterations = this.run(s, i);
        const found = this.ends.get(s)?.[iterations.length - 1]?.get(name) ?? iterations[iterations.length - 1]?.thunkBefore(name);
        if (found) return found;
      } else {
        const target = s.kind === "Binding" ? s.targets.findIndex((t) => t.names.length === 1 && t.names[0].text === name) : 0;
        return this.thunk(s, i, target);
      }
    }
    return undefined;
  }

  /** Decides an `if` of this block. */
  branch(s: ast.If, index = this.statements.indexOf(s)): Branch {
    let b = this.branches.get(s);
    if (!b) {
      const scope = this.before(index);
      const decide = (): Branch => {
        const taken = this.owner.evaluator.condition(s.condition, scope);
        const body = taken ? s.then : s.else;
        return { taken, block: body ? new Block(body, scope, this.owner, this.here, this.iteration) : undefined };
      };
      b = new Thunk(decide, "if", s.condition.span);
      this.branches.set(s, b);
    }
    return b.force();
  }
  /** Whether the condition of an `if` is being evaluated. */
  isDeciding(s: ast.If): boolean {
    return this.branches.get(s)?.isRunning ?? false;
  }

  /** Checks what the block requires, in branches that are taken and in all iterations of loops too. `user`: the place to blame. */
  check(user: Span, statements: readonly ast.Statement[] = this.statements): void {
    for (const s of statements) {
      if (!requires(s)) continue;
      const index = this.statements.indexOf(s);
      if (s.kind === "Require") this.owner.evaluator.require(s, this.before(index), user);
      else if (s.kind === "If") this.branch(s, index).block?.check(user);
      else if (s.kind === "For") for (const iteration of this.run(s, index)) iteration.check(user);
    }
  }

  /** The iterations of a `for`, in order. Values that go from iteration to iteration are computed in order too, so that depth costs no stack. */
  run(s: ast.For, index = this.statements.indexOf(s)): Block[] {
    const known = this.loops.get(s);
    if (known) return known;
    const scope = this.before(index);
    const list = this.owner.evaluator.elements(this.owner.evaluator.evaluate(s.list, scope), s.list.span);
    const assigned = new Set(s.body.flatMap((x) => [...binds(x)]));
    const carried = [...assigned].filter((n) => scope.find(n) !== undefined);
    const isLoop = carried.length > 0 && list.length > 1;
    const iterations: Block[] = [];
    this.loops.set(s, iterations);
    const ends: Map<string, Thunk<Value>>[] = [];
    this.ends.set(s, ends);
    let rebound = false;
    list.forEach((item, t) => {
      const values = s.names.length === 1 ? [item] : this.owner.evaluator.elements(item, s.list.span);
      if (values.length !== s.names.length)
        fail("P0213", s.list.span, `each iteration gives ${values.length} values, but the loop names ${s.names.length}`);
      const vars = new Map<string, Read>(s.names.map((n, k) => [n.text, fixed(values[k])]));
      const last = iterations[t - 1];
      const before = ends[t - 1];
      const outer: Scope = last
        ? {
            here: scope.here,
            find: (n) => (before.has(n) ? this.owner.view(n, before.get(n)!) : scope.find(n)),
            names: () => scope.names(),
          }
        : scope;
      const id = `${scope.here.path}/${scope.here.calls}/${s.span.start}`;
      const iteration: Iteration | undefined = isLoop
        ? { loop: id, iteration: t, of: list.length, outer: this.iteration ?? scope.here.iteration }
        : this.iteration;
      const inner: Here = iteration ? { ...scope.here, iteration } : scope.here;
      const block = new Block(s.body, new Names(vars, outer, inner), this.owner, inner, iteration);
      iterations.push(block);
      const out = new Map<string, Thunk<Value>>();
      ends.push(out);
      for (const n of carried) {
        const thunk = block.thunkBefore(n) ?? before?.get(n);
        if (!thunk) continue;
        const other = this.owner.carriedOut?.(s, t, n, thunk);
        rebound ||= other !== undefined;
        out.set(n, other ?? thunk);
      }
      // where a method takes the loop's place its own values may never be wanted
      if (!isLoop || rebound || this.owner.rewired?.(s)) return;
      for (const [n, thunk] of out) {
        const value = thunk.force();
        const last = before?.get(n)?.force();
        if (value instanceof CallValue && last instanceof CallValue) value.frame.follows(last.frame);
      }
    });
    return iterations;
  }

  /** The thunk of one target of a binding (or of an attach or model statement) of this block. */
  thunk(s: ast.Statement, index: number, target: number): Thunk<Value> {
    const kept = this.owner.elsewhere?.(s, target);
    if (kept) return kept;
    let list = this.thunks.get(s);
    if (!list) {
      list = this.makeThunks(s, index);
      this.thunks.set(s, list);
    }
    return list[target];
  }

  private makeThunks(s: ast.Statement, index: number): Thunk<Value>[] {
    if (s.kind !== "Binding") fail("P0210", s.span, "this statement has no value here");
    const { evaluator } = this.owner;
    const label = (i: number) => s.targets[i].names.map((n) => n.text).join(".");
    const finish = (i: number, v: Value) => {
      if (s.targets[i].names.length === 1) this.owner.bound?.(label(i), v);
      return v;
    };
    if (s.values.length === s.targets.length)
      return s.values.map(
        (e, i) => new Thunk(() => finish(i, evaluator.evaluate(e, this.before(index))), label(i), s.targets[i].span as Span),
      );
    const all = new Thunk(
      () => {
        const parts = evaluator.elements(evaluator.evaluate(s.values[0], this.before(index)), s.values[0].span);
        if (parts.length !== s.targets.length)
          fail("P0213", s.values[0].span, `this gives ${parts.length} values for ${s.targets.length} names`);
        return parts;
      },
      s.targets.map((_, i) => label(i)).join(", "),
      s.span,
    );
    return s.targets.map((t, i) => new Thunk(() => finish(i, all.force()[i]), label(i), t.span as Span));
  }
}
