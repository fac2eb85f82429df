/** Prints one region of a graph, an entry or the body of a loop, as lines of Python. */
import { type Dim, sameShape } from "../../ir/dim.ts";
import { Bug } from "../../ir/errors.ts";
import { type Node, order } from "../../ir/graph.ts";
import { isExpand, isReshape, permuteOrder, rowOf, splatOf } from "../../ir/ops/index.ts";
import { type Around, HOST_INPUTS } from "./around.ts";
import { keysOf } from "./keys.ts";
import { type Found, findCalls } from "./patterns.ts";
import { addsLeading, asNumber, broadcast, castNumber, showType } from "./shapes.ts";
import { type ElsewhereName, numbers, type Spelling, spellings } from "./spelling.ts";
import { atom, BINDS, dim, type Expression, identifier, literal, quoted, torchType, tuple, within } from "./text.ts";

/** Longer expressions get a line of their own. */
const SHORT = 72;

interface Value {
  readonly e: Expression;
  /** Its shape, from which broadcasting makes the node's. */
  readonly held: readonly Dim[];
  readonly number: boolean;
}

const isPlaceholder = (n: Node): boolean => rowOf(n).role === "placeholder";

export class Region {
  readonly lines: string[] = [];
  private readonly values = new Map<Node, Value>();
  private readonly taken = new Set<string>();
  private readonly uses = new Map<Node, number>();
  private nodes: readonly Node[] = [];
  /** Nodes that are calls, and those that calls stand for. */
  private readonly calls = new Map<Node, Found>();
  private readonly skipped = new Set<Node>();
  /** Nodes that get a line of their own. */
  private readonly kept = new Set<Node>();
  /** Constants that are only keys of draws: tuples. */
  private keys: ReadonlySet<Node> = new Set();
  private indent = "";
  private path: string | undefined;

  /** `wanted`: nodes by which a gradient is asked for, here or outside. `known`: nodes that have a text already. */
  constructor(
    private readonly around: Around,
    private readonly roots: readonly Node[],
    private readonly wanted: ReadonlySet<Node>,
    names: readonly string[] = [],
  ) {
    for (const name of names) this.taken.add(name);
  }

  /** A name that nothing else has. */
  fresh(wanted: string): string {
    const base = identifier(wanted);
    let name = base;
    for (let i = 2; this.taken.has(name); i++) name = `${base}_${i}`;
    this.taken.add(name);
    this.onFresh?.(name);
    return name;
  }
  /** Told of names that are taken. */
  onFresh: ((name: string) => void) | undefined;

  say(line: string): void {
    this.lines.push(this.indent + line);
  }

  /** Gives a node its text. */
  set(n: Node, text: string, binds: Expression["binds"] = BINDS.atom, number = false): void {
    this.values.set(n, { e: { text, binds }, held: number ? [] : n.type.shape, number });
  }
  /** Whether a node is a Python number. */
  isNumber(n: Node): boolean {
    return this.value(n).number;
  }
  isKey(n: Node): boolean {
    return this.keys.has(n) || this.handedKeys.has(n);
  }
  private readonly handedKeys = new Set<Node>();
  /** Gives a parameter of a body that is only a key its text. */
  setKey(n: Node, text: string): void {
    this.set(n, text);
    this.handedKeys.add(n);
  }
  /** A node as a Python number or a tuple, which it is. */
  plain(n: Node): string {
    return this.value(n).e.text;
  }
  /** The text of a node that others read: a name, or what is as short. */
  named(n: Node): string {
    const { e, number } = this.value(n);
    if (/^-?[\w.]+(e-\d+)?$/.test(e.text)) return number ? e.text : this.whole(n).text;
    const name = this.fresh(this.nameFor(n));
    this.say(`${name} = ${number ? e.text : this.whole(n).text}`);
    this.set(n, name, BINDS.atom, number);
    return name;
  }
  has(n: Node): boolean {
    return this.values.has(n);
  }

  /**
   * Prints all nodes; those that no gradient is taken of come last, without recording one. `inner`: of a body, where all may be differentiated.
   * `recorded`: roots of which a gradient is taken outside.
   */
  run(inner: boolean, recorded: readonly Node[] = []): void {
    const nodes = order(this.roots);
    this.nodes = nodes;
    this.keys = keysOf(nodes, this.roots);
    for (const [n, call] of findCalls(this.roots, this.wanted, this.around.twice)) {
      this.calls.set(n, call);
      for (const m of call.inside) this.skipped.add(m);
    }
    for (const n of nodes)
      if (!this.skipped.has(n)) for (const i of this.calls.get(n)?.operands ?? n.inputs) this.uses.set(i, (this.uses.get(i) ?? 0) + 1);
    for (const r of this.roots) this.uses.set(r, (this.uses.get(r) ?? 0) + 1);
    const asked = nodes.filter(isPlaceholder);
    const forward = new Set(order([...asked.map((n) => n.inputs[0]), ...recorded]));
    this.groups(asked, forward, inner, recorded.length > 0);
    // what a gradient is taken of must be computed where gradients are recorded
    for (const n of nodes) if (!forward.has(n) || isPlaceholder(n)) for (const i of n.inputs) if (forward.has(i)) this.kept.add(i);
    for (const n of nodes) if (inner || forward.has(n)) this.node(n);
    const rest = inner ? [] : nodes.filter((n) => !forward.has(n));
    if (rest.length === 0) return;
    if (forward.size > 0) {
      this.say("with torch.no_grad():");
      this.indent += "    ";
      const before = this.lines.length;
      for (const n of rest) this.node(n);
      if (this.lines.length === before) this.lines.pop();
      return;
    }
    for (const n of rest) this.node(n);
  }

  /** Ends what `run` indented. */
  outdent(): void {
    this.indent = "";
  }

  /** What is read of a loop. */
  readsOf(loop: Node): Node[] {
    return this.nodes.filter((n) => n.inputs[0] === loop);
  }

  // ---- gradients

  private readonly groupOf = new Map<Node, { readonly all: Node[]; readonly create: boolean; readonly retain: boolean; done: boolean }>();
  private groups(asked: readonly Node[], forward: ReadonlySet<Node>, inner: boolean, recorded: boolean): void {
    const byValue = new Map<Node, Node[]>();
    for (const n of asked) if (n.inputs.length === 2) byValue.set(n.inputs[0], [...(byValue.get(n.inputs[0]) ?? []), n]);
    const groups = [...byValue.values()];
    const tangents = asked.some((n) => n.inputs.length > 2);
    groups.forEach((all, i) => {
      const create = inner || all.some((n) => forward.has(n));
      const group = { all, create, retain: tangents || recorded || i < groups.length - 1, done: false };
      for (const n of all) this.groupOf.set(n, group);
    });
  }

  private placeholder(n: Node): void {
    if (n.inputs.length > 2) {
      const [e, x, v] = n.inputs.map((_, i) => this.tensor(n, i).text);
      this.define(n, atom(`ops.along(${e}, (${x},), (${v},))`), n.type.shape);
      return;
    }
    const group = this.groupOf.get(n)!;
    if (group.done) {
      // the value does not depend on what comes after it
      this.define(n, atom(`torch.zeros(${tuple(n.type.shape)}, device=device)`), n.type.shape);
      return;
    }
    group.done = true;
    const ready = group.all.filter((g) => this.values.has(g.inputs[1]));
    const names = ready.map((g) => this.fresh(`d_${this.nameFor(g.inputs[1])}`));
    const options = [...(group.create ? ["create_graph=True"] : []), ...(group.retain && !group.create ? ["retain_graph=True"] : [])];
    const by = ready.map((g) => this.tensor(g, 1).text);
    const e = this.tensor(n, 0).text;
    if (ready.length > 0)
      this.say(
        `${names.length > 3 ? "(" : ""}${names.join(", ")}${names.length === 1 ? "," : ""}${names.length > 3 ? ")" : ""} = ops.gradients(${[e, `(${by.join(", ")},)`, ...options].join(", ")})`,
      );
    ready.forEach((g, i) => {
      this.set(g, names[i]);
    });
    if (!this.values.has(n)) this.define(n, atom(`torch.zeros(${tuple(n.type.shape)}, device=device)`), n.type.shape);
  }

  // ---- nodes

  private node(n: Node): void {
    if (this.values.has(n) || this.skipped.has(n)) return;
    const call = this.calls.get(n);
    if (call) {
      const plain = (i: Node) => splatOf(i) !== undefined || (call.numbers && this.value(i).number);
      this.define(n, call.spell(call.operands.map((i) => (plain(i) ? this.value(i).e : this.whole(i)))), n.type.shape);
      return;
    }
    const { role, scalar, supply } = rowOf(n);
    if (n.loop) {
      this.around.loop(n, this, this.around);
      return;
    }
    if (role === "region") throw new Bug(`the loop of ${n.origin.path} did not name its result`);
    if (role === "placeholder") {
      this.placeholder(n);
      return;
    }
    if (supply !== undefined) {
      this.source(n, supply);
      return;
    }
    if (this.keys.has(n)) {
      this.set(n, `(${(n.attrs.data as readonly number[]).join(", ")})`);
      return;
    }
    if (this.numeric(n)) return;
    if (isExpand(n) && !this.wanted.has(n)) {
      this.values.set(n, { ...this.value(n.inputs[0]), number: false });
      return;
    }
    if (isReshape(n) && !this.wanted.has(n) && addsLeading(n)) {
      const below = this.value(n.inputs[0]);
      if (sameShape(below.held, n.inputs[0].type.shape)) {
        this.values.set(n, below);
        return;
      }
    }
    const plain = this.wanted.has(n) ? undefined : this.unchanged(n);
    if (plain) {
      this.values.set(n, plain);
      return;
    }
    const spelling = this.spellingOf(n);
    const spelt = spellings[n.op as Exclude<keyof typeof spellings, ElsewhereName>](spelling);
    const e = this.around.totals?.has(n) ? atom(`ops.everywhere(${spelt.text})`) : spelt;
    const held = scalar === undefined ? n.type.shape : broadcast(n.inputs.map((i) => this.value(i).held));
    this.define(n, e, held);
  }

  /** The value of a node that only adds 0, multiplies by 1, or turns back what was turned. */
  private unchanged(n: Node): Value | undefined {
    const order = permuteOrder(n);
    if (order) {
      const [below] = n.inputs;
      const inner = permuteOrder(below);
      if (inner && !this.wanted.has(below) && order.every((a, i) => inner[a] === i) && this.values.has(below.inputs[0]))
        return { e: this.whole(below.inputs[0]), held: n.type.shape, number: false };
      return undefined;
    }
    const neutral = this.neutralOf(n);
    return neutral === undefined ? undefined : this.value(n.inputs[1 - neutral]);
  }

  /** Of a sum, a product and their like: which operand changes nothing, as an added 0. */
  private neutralOf(n: Node): 0 | 1 | undefined {
    const { scalar, algebra } = rowOf(n);
    if (scalar === undefined || algebra?.identity === undefined || n.inputs.length !== 2) return undefined;
    const neutral = (i: number) => {
      const v = this.value(n.inputs[i]);
      return v.number && v.e.text !== "" && Number(v.e.text) === algebra.identity;
    };
    if (neutral(1)) return 1;
    return algebra.commutative && neutral(0) ? 0 : undefined;
  }

  private source(n: Node, supply: "input" | "param" | "state" | "arg"): void {
    const name = String(n.attrs.name);
    if (supply === "arg") throw new Bug(`a parameter of a loop's body has no text in ${n.origin.path}`);
    if (supply === "param") this.set(n, this.around.param(name));
    else if (supply === "state") this.set(n, `s[${quoted(name)}]`);
    else if (HOST_INPUTS.has(name) && n.type.shape.length === 0) {
      const text = `x[${quoted(name)}]`;
      this.values.set(n, { e: atom(text), held: [], number: true });
      return;
    } else {
      const called = this.fresh(name);
      this.say(`${called} = x[${quoted(name)}]  # ${showType(n.type)}`);
      this.set(n, called);
    }
    if (this.wanted.has(n) && (supply !== "param" || this.around.apart)) this.define(n, this.values.get(n)!.e, n.type.shape);
  }

  /** Numbers of the step and what depends on nothing else stay Python numbers. */
  private numeric(n: Node): boolean {
    if (this.wanted.has(n)) return false;
    const { role, scalar } = rowOf(n);
    const number = (e: Expression): true => {
      this.values.set(n, { e, held: [], number: true });
      return true;
    };
    const splat = splatOf(n);
    if (splat !== undefined) return number(typeof splat === "number" ? literal(splat, n.type.dtype) : asNumber(dim(splat), n.type));
    if (n.inputs.length === 0 || !n.inputs.every((i) => this.values.get(i)?.number)) return false;
    if (isExpand(n) || isReshape(n) || role === "barrier") return number(this.values.get(n.inputs[0])!.e);
    if (scalar === undefined) return false;
    const neutral = this.neutralOf(n);
    if (neutral !== undefined) return number(this.values.get(n.inputs[1 - neutral])!.e);
    const args = n.inputs.map((i) => this.values.get(i)!.e);
    const made = scalar === "cast" ? castNumber(n, args[0]) : numbers[scalar](...args);
    if ((this.uses.get(n) ?? 0) < 2 || made.text.length < 12) return number(made);
    const name = this.fresh(this.nameFor(n));
    this.say(`${name} = ${made.text}`);
    return number(atom(name));
  }

  /** Gives the node a line, or its expression to the one that reads it. */
  private define(n: Node, e: Expression, held: readonly Dim[]): void {
    const wanted = this.wanted.has(n);
    const once = this.uses.get(n) === 1 && !wanted && !this.kept.has(n) && !this.roots.includes(n);
    if (once && e.text.length <= SHORT && !(n.loop || isPlaceholder(n))) {
      this.values.set(n, { e, held, number: false });
      return;
    }
    this.section(n);
    const full = wanted && !sameShape(held, n.type.shape);
    const whole = full ? `${within(e, BINDS.atom)}.expand(${tuple(n.type.shape)})` : e.text;
    const name = this.fresh(this.nameFor(n));
    const shape = full || wanted ? n.type.shape : held;
    const { local } = this.around;
    const comment = local && n.type.dtype === "f32" && sameShape(local.shape, shape) ? "" : `  # ${showType({ ...n.type, shape })}`;
    this.say(`${name} = ${wanted ? `ops.wanted(${whole})` : whole}${comment}`);
    this.values.set(n, { e: atom(name), held: shape, number: false });
  }

  /** A comment where another module begins. */
  private section(n: Node): void {
    const { path } = n.origin;
    const place = this.around.place?.(n);
    if (this.around.local) {
      if (place !== undefined && place !== this.path) this.say(`# ${place}`);
      this.path = place ?? this.path;
      return;
    }
    if (path === this.path || path === "") return;
    this.path = path;
    this.say(`# ${path}${place === undefined ? "" : `  (${place})`}`);
  }

  /** What a node is called, as far as its path tells. */
  nameFor(n: Node): string {
    const called = this.around.called?.(n);
    if (called !== undefined) return called;
    const named = rowOf(n).supply !== undefined && n.attrs.name !== undefined ? String(n.attrs.name) : n.origin.path;
    const parts = named.split(".").filter((p) => /^[A-Za-z_]\w*$/.test(p));
    const last = parts.at(-1) ?? "v";
    return last === "weight" || last === "bias" ? parts.slice(-2).join("_") : last;
  }

  // ---- operands

  private value(n: Node): Value {
    const known = this.values.get(n);
    if (known === undefined) throw new Bug(`${n.op} of ${n.origin.path} is read before it is printed`);
    return known;
  }

  private spellingOf(node: Node): Spelling {
    return {
      node,
      tensor: (i) => this.tensor(node, i),
      operand: (i) => this.operand(node, i),
      isNumber: (i) => this.value(node.inputs[i]).number,
    };
  }

  private tensor(n: Node, i: number): Expression {
    return this.whole(n.inputs[i]);
  }

  /** A node as a tensor of its own shape. */
  whole(n: Node): Expression {
    const { e, held, number } = this.value(n);
    const { dtype, shape } = n.type;
    const { local } = this.around;
    const like = local && shape.length > 0 && sameShape(shape, local.shape) ? local.like : undefined;
    if (number && like !== undefined && dtype === "f32") return atom(`torch.full_like(${like}, ${e.text})`);
    if (like !== undefined && !number && !sameShape(held, shape)) return atom(`${within(e, BINDS.atom)}.expand_as(${like})`);
    if (number) return atom(`torch.full(${tuple(shape)}, ${e.text}, dtype=${torchType[dtype]}, device=device)`);
    if (sameShape(held, shape)) return e;
    return atom(`${within(e, BINDS.atom)}.expand(${tuple(shape)})`);
  }

  private operand(n: Node, i: number): Expression {
    const { scalar } = rowOf(n);
    const mine = this.value(n.inputs[i]);
    // a choice between whole numbers or truths: PyTorch would take Python's for another dtype
    const choice = scalar === "where" && i > 0 && mine.number;
    if (choice && (n.type.dtype === "bool" || n.inputs.slice(1).every((x) => this.value(x).number)))
      return atom(`torch.tensor(${mine.e.text}, dtype=${torchType[n.type.dtype]}, device=device)`);
    if (mine.number && scalar === "where" && i === 0) return this.whole(n.inputs[0]);
    if (mine.number && rowOf(n).scalar !== undefined && n.inputs.length === 1) return this.whole(n.inputs[0]);
    return mine.e;
  }
}

/** Lines with the device named in front, where one of them asks for it. */
export const withDevice = (lines: readonly string[], from: string): readonly string[] =>
  lines.some((line) => line.includes("device=device")) ? [`device = ${from}`, ...lines] : lines;
