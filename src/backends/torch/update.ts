/**
 * What an update makes of gradients, states and parameters: what is said of single parameters as loops over those of which the same is said, and between
 * them what is made of all.
 */
import { type Node, node, type Result, sizes } from "../../ir/graph.ts";
import { isExpand, isReshape, rowOf, splatOf } from "../../ir/ops/index.ts";
import { rebuild } from "../../ir/rebuild.ts";
import type { Around } from "./around.ts";
import { slotOf } from "./leaves.ts";
import { liveOf } from "./live.ts";
import type { Owners } from "./owners.ts";
import type { PrintOptions } from "./program.ts";
import { Region, withDevice } from "./region.ts";
import type { Shards } from "./shards.ts";
import { identifier, quoted } from "./text.ts";
import { aliasOf, keyOf } from "./update-names.ts";

/** What is read across pieces of the text. */
interface Shared {
  readonly text: string;
  readonly number: boolean;
}

const RESERVED = ["p", "x", "s", "w", "name", "rest", "device", "params", "states", "outputs"];

export class Update {
  /** Texts of what is of all, and of what one parameter's piece gives to others. */
  private readonly known = new Map<Node, Shared>();
  private readonly names = new Set<string>();
  /** Names within pieces of single parameters, which what is of all must not have. */
  private readonly localNames = new Set<string>();
  private readonly lines: string[] = [];
  private readonly readers = new Map<Node, Set<string>>();
  private readonly inTotals = new Set<Node>();
  private readonly totalNames = new Map<Node, string>();
  private readonly kept = new Map<string, string>();

  constructor(
    private readonly results: readonly Result[],
    private readonly owners: Owners,
    private readonly shards: Shards,
    private readonly gradients: ReadonlyMap<string, string>,
    private readonly place: PrintOptions["place"],
    private readonly unique: (name: string) => string,
    private readonly some: boolean,
  ) {
    for (const { inside } of owners.totals.values()) for (const n of inside) this.inTotals.add(n);
  }

  print(): { readonly head: string[]; readonly lines: string[] } {
    const { nodes, of, phase, totals } = this.owners;
    for (const n of nodes) {
      if (this.inTotals.has(n)) continue;
      for (const i of totals.get(n)?.parts ?? n.inputs) this.read(i, totals.has(n) ? "total" : this.pieceOf(n));
    }
    for (const r of this.results) this.read(r.node, r.role === "output" ? "an output" : "result");
    for (const n of totals.keys()) this.totalNames.set(n, this.fresh("total"));
    const last = Math.max(0, ...phase.values());
    const groups = this.groups(last);
    const head = groups.flatMap(({ name, owners }) => [`${name} = [`, ...owners.map((o) => `    ${quoted(o)},`), "]", ""]);
    if (this.returned.size > 0) this.lines.push("params, states = {}, {}");
    for (const name of this.totalNames.values()) this.lines.push(`${name} = 0.0`);
    for (const name of this.kept.values()) this.lines.push(`${name} = {}`);
    for (let at = 0; at <= last; at++) {
      if (at % 2 === 0) this.ofAll(at);
      else this.ofEach(at, groups);
    }
    const own = (r: Result) => r.role !== "output" && of.has(r.node);
    const of_ = (role: string) =>
      this.results.filter((r) => r.role === role && !own(r)).map((r) => `${quoted(r.name)}: ${this.whole(r.node)}`);
    const dict = (parts: readonly string[]) => (parts.length === 0 ? "{}" : `{\n        ${parts.join(",\n        ")},\n    }`);
    const [outputs, params, states] = [of_("output"), of_("param"), of_("state")];
    this.lines.push(`outputs = ${dict(outputs)}`);
    for (const [what, parts] of [
      ["params", params],
      ["states", states],
    ] as const) {
      if (this.returned.size === 0) this.lines.push(`${what} = ${dict(parts)}`);
      else if (parts.length > 0) this.lines.push(`${what}.update(${dict(parts)})`);
    }
    this.lines.push("return outputs, params, states");
    return { head, lines: this.lines };
  }

  /** The text of a result as a tensor. */
  private whole(n: Node): string {
    const owner = this.owners.of.get(n);
    if (owner !== undefined) return `${this.store(n)}[${quoted(owner)}]`;
    return this.wholes.get(n) ?? this.known.get(n)!.text;
  }
  private readonly wholes = new Map<Node, string>();

  private readonly returned = new Set<Result>();

  /** Bytes, at most, of what it makes on its way: of one parameter at a time, in parts where its tensors are, and what is handed back. */
  temporary(): { readonly parted: number; readonly whole: number } {
    const { nodes, of } = this.owners;
    const bytes = (n: Node) => 4 * sizes(n).reduce((a, b) => a * b, 1);
    let whole = 0;
    let parted = 0;
    for (const n of nodes) if (!of.has(n) && !this.isLeaf(n) && !this.isPlain(n)) whole += bytes(n);
    const made = new Map<string, Node[]>();
    for (const { node } of this.results) {
      const owner = of.get(node);
      if (owner !== undefined && !this.isLeaf(node)) made.set(owner, [...(made.get(owner) ?? []), node]);
    }
    for (const [owner, results] of made) {
      // names keep what they stand for until the next parameter's values have them
      const size = liveOf(results, (n) => of.get(n) !== owner) + results.reduce((sum, n) => sum + bytes(n), 0);
      if (this.shards.names.has(`param:${owner}`)) parted = Math.max(parted, size);
      else whole += size;
    }
    for (const { role, name, node } of this.returned) if (this.shards.names.has(`${role}:${name}`)) parted += bytes(node);
    return { parted, whole };
  }

  private fresh(wanted: string): string {
    let name = identifier(wanted);
    for (let i = 2; this.names.has(name); i++) name = `${identifier(wanted)}_${i}`;
    this.names.add(name);
    return name;
  }
  private pieceOf(n: Node): string {
    return `${this.owners.phase.get(n)} ${this.owners.of.get(n) ?? ""}`;
  }
  private read(n: Node, by: string): void {
    if (by !== "result" && by !== "an output" && this.isPlain(n)) {
      if (n.inputs.length > 0) this.read(n.inputs[0], by);
      return;
    }
    this.readers.set(n, (this.readers.get(n) ?? new Set()).add(by));
  }
  /** What pieces write out for themselves: a number, one number in all places. */
  private isPlain(n: Node): boolean {
    return splatOf(n) !== undefined || (!this.owners.of.has(n) && n.type.shape.length > 0 && (isExpand(n) || isReshape(n)));
  }
  private isLeaf(n: Node): boolean {
    const { supply } = rowOf(n);
    return supply === "param" || supply === "state";
  }

  // ---- what is of all parameters

  private ofAll(at: number): void {
    const { nodes, of, phase, totals } = this.owners;
    for (const [n, { parts }] of totals) {
      if (phase.get(n) !== at) continue;
      const name = this.totalNames.get(n)!;
      for (const p of parts) if (!of.has(p)) this.lines.push(`${name} = ${name} + ${this.known.get(p)!.text}`);
      if (this.shards.totals.has(n)) this.lines.push(`${name} = ops.everywhere(${name})`);
      this.known.set(n, { text: name, number: false });
    }
    const here = nodes.filter((n) => phase.get(n) === at && !of.has(n) && !this.inTotals.has(n) && !totals.has(n));
    const mine = `${at} `;
    const roots = here.filter((n) => [...(this.readers.get(n) ?? [])].some((by) => by !== mine));
    if (roots.length === 0) return;
    const outside = (n: Node): Shared | undefined => {
      const owner = of.get(n);
      if (owner === undefined) return this.known.get(n);
      return this.isLeaf(n) ? undefined : { text: `${this.store(n)}[${quoted(owner)}]`, number: false };
    };
    const called = new Map(this.results.flatMap((r) => (r.role === "output" ? [[r.node, r.name] as const] : [])));
    const { region, rebuilt } = this.piece(roots, outside, called);
    region.run(false);
    roots.forEach((n, i) => {
      const number = region.isNumber(rebuilt[i]);
      if (number && this.readers.get(n)!.size === 1 && this.readers.get(n)!.has("result"))
        this.wholes.set(n, region.whole(rebuilt[i]).text);
      else {
        this.known.set(n, { text: region.named(rebuilt[i]), number });
        if (number) this.wholes.set(n, region.whole(rebuilt[i]).text);
      }
    });
    this.lines.push(...region.lines);
  }

  // ---- what is of each

  /** Prints the pieces of every parameter, and puts those together whose texts are equal. */
  private groups(last: number): { readonly name: string; readonly owners: string[]; readonly pieces: ReadonlyMap<number, Piece> }[] {
    const all = [...new Set(this.owners.of.values())];
    // what pieces read of all is not printed yet: it is called by numbers here
    const stand = new Map<Node, string>();
    const byText = new Map<string, { owners: string[]; pieces: Map<number, Piece> }>();
    for (const owner of all) {
      const pieces = new Map<number, Piece>();
      for (let at = 1; at <= last; at += 2) {
        const piece = this.pieceText(owner, at, stand);
        if (piece) pieces.set(at, piece);
      }
      const key = JSON.stringify([...pieces].map(([at, { text }]) => [at, text]));
      const known = byText.get(key);
      if (known) known.owners.push(owner);
      else byText.set(key, { owners: [owner], pieces });
    }
    const many = byText.size > 1;
    return [...byText.values()].map((group, i) => ({
      name: this.unique(many ? `${this.some ? "FROZEN" : "TRAINED"}_${i + 1}` : this.some ? "FROZEN" : "TRAINED"),
      ...group,
    }));
  }

  private pieceText(owner: string, at: number, stand: Map<Node, string>): Piece | undefined {
    const { nodes, of, phase, totals } = this.owners;
    const mine = `${at} ${owner}`;
    const given = (n: Node) => this.results.filter((r) => r.node === n && r.role !== "output");
    const here = nodes.filter((n) => of.get(n) === owner && phase.get(n) === at);
    const exported = here.filter((n) => !this.isLeaf(n) && [...(this.readers.get(n) ?? [])].some((by) => / /.test(by) && by !== mine));
    const summed = here.filter((n) => this.readers.get(n)?.has("total"));
    const resulting = here.filter((n) => given(n).length > 0);
    const shown = [...new Set([...exported, ...summed, ...resulting])];
    if (shown.length === 0) return undefined;
    const called = new Map<Node, string>();
    for (const n of shown) for (const r of given(n)) called.set(n, aliasOf(r.name, r.role === "param", this.gradients));
    const leaves: { readonly name: string; readonly text: string; readonly key: string }[] = [];
    const leafNames = new Set<string>();
    const calledOf = (n: Node): string => {
      const param = rowOf(n).supply === "param";
      let name = aliasOf(String(n.attrs.name), param, this.gradients);
      for (let i = 2; leafNames.has(name) || this.names.has(name) || (!param && RESERVED.includes(name)); i++)
        name = `${aliasOf(String(n.attrs.name), param, this.gradients)}_${i}`;
      leafNames.add(name);
      this.localNames.add(name);
      const key = slotOf(n)!;
      leaves.push({ name, text: `${param ? "p" : "s"}[${keyOf(String(n.attrs.name), owner)}]`, key });
      return name;
    };
    const outside = (n: Node): Shared | undefined => {
      if (of.get(n) === owner) {
        if (this.isLeaf(n)) return { text: calledOf(n), number: false };
        return phase.get(n) === at ? undefined : { text: `${this.store(n)}[name]`, number: false };
      }
      if (this.isPlain(n)) return undefined;
      if (of.has(n)) return { text: `${this.store(n)}[${quoted(of.get(n)!)}]`, number: false };
      if (!stand.has(n)) stand.set(n, `\u0001${stand.size}\u0002`);
      return { text: stand.get(n)!, number: this.isNumeric(n) };
    };
    const shape = nodes.find((n) => rowOf(n).supply === "param" && n.attrs.name === owner)?.type.shape ?? here[0].type.shape;
    const { region, rebuilt } = this.piece(shown, outside, called, { like: "w", shape });
    region.run(false);
    const texts = new Map(shown.map((n, i) => [n, region.whole(rebuilt[i]).text]));
    const lines = [...region.lines];
    for (const n of summed)
      for (const [t, { parts }] of totals)
        for (const p of parts) if (p === n) lines.push(`${this.totalNames.get(t)} = ${this.totalNames.get(t)} + ${texts.get(n)}`);
    for (const n of exported) lines.push(`${this.store(n)}[name] = ${texts.get(n)}`);
    const written = new Set<string>();
    // nothing reads what was there before any more, and values are not tensors that others are written into
    const last = !nodes.some((n) => phase.get(n)! > at && n.inputs.some((i) => of.get(i) === owner && this.isLeaf(i)));
    const apart = resulting.every((n) => !leafNames.has(texts.get(n)!));
    for (const n of resulting)
      for (const r of given(n)) {
        const leaf = leaves.find(({ key }) => key === `${r.role}:${r.name}`);
        const inPlace = last && apart && leaf !== undefined && !written.has(leaf.name) && this.shards.names.has(`${r.role}:${r.name}`);
        if (inPlace) {
          written.add(leaf.name);
          lines.push(`${leaf.name}.copy_(${texts.get(n)})`);
        } else {
          this.returned.add(r);
          lines.push(`${r.role === "param" ? "params" : "states"}[${keyOf(r.name, owner)}] = ${texts.get(n)}`);
        }
      }
    if (lines.some((line) => /_like\(w,|expand_as\(w\)/.test(line)) && !leafNames.has("w"))
      leaves.unshift({ name: "w", text: "p[name]", key: "" });
    const full = [...leaves.map(({ name, text }) => `${name} = ${text}`), ...lines];
    const rest = full.some((line) => line.includes("{rest}")) ? ['rest = name.partition(".")[2]'] : [];
    return { text: withDevice([...rest, ...full], "p[name].device").join("\n"), stand };
  }

  private ofEach(at: number, groups: ReturnType<Update["groups"]>): void {
    const byText = new Map<string, { names: string[]; piece: Piece }>();
    for (const { name, pieces } of groups) {
      const piece = pieces.get(at);
      if (!piece) continue;
      const known = byText.get(piece.text);
      if (known) known.names.push(name);
      else byText.set(piece.text, { names: [name], piece });
    }
    for (const { names, piece } of byText.values()) {
      const stands = new Map([...piece.stand].map(([n, text]) => [text, n]));
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they stand for names
      const text = piece.text.replace(/\u0001\d+\u0002/g, (found) => this.known.get(stands.get(found)!)!.text);
      const over = this.some ? `ops.those(${names.join(" + ")}, p)` : names.join(" + ");
      this.lines.push(`for name in ${over}:`, ...text.split("\n").map((line) => `    ${line}`));
    }
  }

  /** Whether what is of all is a Python number, which is not known before it is printed. */
  private isNumeric(n: Node): boolean {
    const { of, totals } = this.owners;
    if (this.isLeaf(n) || totals.has(n)) return false;
    const { region, rebuilt } = this.piece(
      [n],
      (m) => (this.isLeaf(m) || of.has(m) || totals.has(m) ? { text: "s", number: false } : undefined),
      new Map(),
    );
    region.run(false);
    return region.isNumber(rebuilt[0]);
  }

  /** Where what a parameter's piece gives to another piece lies. */
  private store(n: Node): string {
    const key = `${this.owners.phase.get(n)} ${this.placeOf(n)}`;
    if (!this.kept.has(key)) this.kept.set(key, this.fresh("kept"));
    return this.kept.get(key)!;
  }
  private readonly places = new Map<string, Map<Node, number>>();
  /** Which of the nodes of its parameter it is, in their order. */
  private placeOf(n: Node): number {
    const owner = this.owners.of.get(n)!;
    if (!this.places.has(owner)) this.places.set(owner, new Map());
    const known = this.places.get(owner)!;
    if (!known.has(n)) known.set(n, known.size);
    return known.get(n)!;
  }

  /** A region of some nodes; what `outside` has a text for is not part of it. */
  private piece(
    roots: readonly Node[],
    outside: (n: Node) => Shared | undefined,
    called: ReadonlyMap<Node, string>,
    local?: Around["local"],
  ): { readonly region: Region; readonly rebuilt: readonly Node[] } {
    const cut = new Map<Node, Node>();
    const texts = new Map<Node, Shared>();
    const visit = (n: Node): void => {
      if (seen.has(n)) return;
      seen.add(n);
      const shared = outside(n);
      if (shared) {
        const leaf = node("arg", [], { index: cut.size }, n.type, n.origin);
        cut.set(n, leaf);
        texts.set(leaf, shared);
      } else for (const i of n.inputs) visit(i);
    };
    const seen = new Set<Node>();
    for (const r of roots) visit(r);
    const rebuilt = rebuild(roots, cut);
    const names = new Map<Node, string>();
    roots.forEach((r, i) => {
      const name = called.get(r);
      if (name !== undefined) names.set(rebuilt[i], name);
    });
    const totals = new Set<Node>();
    for (const [from, to] of cut) if (this.shards.totals.has(from) && !texts.has(to)) totals.add(to);
    const taken = [...RESERVED, ...this.names, ...(local ? [...texts.values()].map((t) => t.text) : this.localNames)];
    const around: Around = {
      param: (name) => `p[${quoted(name)}]`,
      loop: () => {},
      outermost: true,
      apart: true,
      twice: false,
      totals,
      called: (n) => names.get(n) ?? (local ? "t" : n.origin.path.includes(".") ? "c" : undefined),
      ...(local && { local }),
      ...(this.place && { place: this.place }),
    };
    const region = new Region(around, rebuilt, new Set(), taken);
    for (const [leaf, { text, number }] of texts) region.set(leaf, text, 0, number);
    region.onFresh = (name) => (local ? this.localNames : this.names).add(name);
    return { region, rebuilt };
  }
}

interface Piece {
  readonly text: string;
  /** What stands for nodes of all. */
  readonly stand: ReadonlyMap<Node, string>;
}
