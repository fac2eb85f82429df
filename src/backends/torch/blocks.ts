/**
 * Loops as modules: the iterations of a loop are modules that hold the parameters which no other iteration reads, so that `fully_shard` can wrap them. A body is a
 * method of their class.
 */
import { symbolsOf } from "../../ir/dim.ts";
import { Bug } from "../../ir/errors.ts";
import { type Body, type DType, type Graph, type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import type { Around } from "./around.ts";
import { isKeyIn } from "./keys.ts";
import { Region, withDevice } from "./region.ts";
import { BINDS, identifier, quoted } from "./text.ts";
import { assignments, construct, type Module, type Tree } from "./tree.ts";

/** What a module holds is f32 to PyTorch, so that it is cut and handed on as all else; words are its bits. */
export const asHeld = (text: string, dtype: DType): string => (dtype === "f32" ? text : `${text}.view(torch.int32)`);

/** An iteration that has a module of its own. */
interface Home {
  /** The path of the module, and of other paths that stand for it (an attachment's, for the same iteration). */
  readonly path: string;
  readonly also: readonly string[];
}

interface Class {
  readonly name: string;
  readonly module: Module;
  /** Bodies by their text. */
  readonly methods: Map<string, string>;
}

export class Blocks {
  /** The home of each parameter that only one iteration reads. */
  private readonly homes = new Map<string, Home | undefined>();
  private readonly paths = new Set<string>();
  private readonly classesByText = new Map<string, Class>();
  private readonly classOf = new Map<string, Class>();
  private readonly names = new Set<string>(["Group", "Model"]);

  constructor(private readonly tree: Tree) {}

  /** Looks at the loops of a graph: which parameters belong to which iteration. */
  survey(graph: Graph): void {
    const inLoops = new Map<Node, number>();
    const nodes = order(graph.results.map((r) => r.node));
    for (const loop of nodes) {
      if (!loop.loop) continue;
      homesOf(loop)?.forEach((home, t) => {
        const { carried, iterations } = loop.loop!;
        for (const k of iterations[t].args) {
          const param = loop.inputs[carried + k];
          if (rowOf(param).supply !== "param") continue;
          inLoops.set(param, (inLoops.get(param) ?? 0) + 1);
          const name = String(param.attrs.name);
          if (!this.homes.has(name)) this.homes.set(name, home);
          else if (this.homes.get(name)?.path !== home.path) this.homes.set(name, undefined);
        }
      });
    }
  }

  /** The path at which a parameter is put: within its iteration's module, if it has one. */
  placeOf(name: string): readonly string[] {
    const home = this.homes.get(name);
    if (home === undefined) return name.split(".");
    this.paths.add(home.path);
    if (name.startsWith(`${home.path}.`)) return name.split(".");
    const other = home.also.find((p) => name.startsWith(`${p}.`));
    const rest = other === undefined ? name.split(".").slice(1) : name.slice(other.length + 1).split(".");
    return [...home.path.split("."), name.split(".")[0], ...rest];
  }

  /** Paths of iterations whose parameters a graph reads outside of them, as one whose loop could not be formed does. */
  openedBy(graph: Graph): Set<string> {
    const out = new Set<string>();
    for (const n of order(graph.results.map((r) => r.node))) {
      // a gradient only names a parameter
      if (rowOf(n).role === "placeholder") continue;
      const homes = n.loop && homesOf(n);
      n.inputs.forEach((param, i) => {
        if (rowOf(param).supply !== "param") return;
        const at = this.tree.pathOf(String(param.attrs.name)).join(".");
        const path = [...this.classOf.keys()].find((p) => at.startsWith(`${p}.`));
        if (path === undefined) return;
        const { carried, iterations } = n.loop ?? { carried: 0, iterations: [] };
        const readers = iterations.flatMap((t, k) => (t.args.includes(i - carried) ? [homes?.[k].path] : []));
        const own = n.loop !== undefined && i >= carried && readers.every((r) => r === path);
        if (!own) out.add(path);
      });
    }
    return out;
  }

  /** Gives iterations of one structure one class. Called when all parameters are placed. */
  settle(): void {
    for (const path of this.paths) {
      const module = this.tree.find(path.split("."));
      if (module === undefined) continue;
      const text = construct(module, "");
      const segments = path.split(".").filter((s) => !/^\d+$/.test(s));
      const key = `${segments.join(".")} ${text}`;
      let known = this.classesByText.get(key);
      if (known === undefined) {
        known = { name: this.className(segments), module, methods: new Map() };
        this.classesByText.set(key, known);
      }
      this.classOf.set(path, known);
    }
    for (const [path, known] of this.classOf) this.tree.find(path.split("."))!.block = known.name;
  }

  private className(segments: readonly string[]): string {
    const base = identifier(
      segments
        .slice(-2)
        .map((s) => s.replace(/(^|_)(\w)/g, (_, __, c: string) => c.toUpperCase()))
        .join(""),
    );
    let name = base;
    for (let i = 2; this.names.has(name); i++) name = `${base}${i}`;
    this.names.add(name);
    return name;
  }

  /** Names of the modules that are iterations, but for those at some paths. */
  lists(without: ReadonlySet<string>): string[] {
    const paths = [...this.classOf.keys()].filter((path) => !without.has(path));
    return paths.map((path) =>
      this.tree
        .text(path.split("."), "")
        .replace(/\[(\d+)\]/g, ".$1")
        .slice(1),
    );
  }

  classes(): string[] {
    return [...this.classesByText.values()].map(({ name, module, methods }) =>
      [
        `class ${name}(Group):`,
        "    def __init__(self):",
        "        super().__init__(",
        ...assignments(module, "            ").map((p) => `            ${p},`),
        "        )",
        "",
        "    def forward(self, body, *given):",
        '        """Runs one of the bodies below."""',
        "        return getattr(self, body)(*given)",
        ...[...methods].flatMap(([text, method]) => [
          "",
          ...text
            .replace("METHOD", method)
            .split("\n")
            .map((l) => (l ? `    ${l}` : l)),
        ]),
      ].join("\n"),
    );
  }

  // ---- running

  /** Prints the calls of a loop's iterations, and gives what is read of it its text. */
  run(loop: Node, region: Region, around: Around, wanted: ReadonlySet<Node>): void {
    const { carried, bodies, iterations, sliced } = loop.loop!;
    if (sliced) throw new Bug(`the loop of ${loop.origin.path} is cut in slices before it is printed`);
    const homes = around.outermost ? homesOf(loop) : undefined;
    const printed = new Map<string, Called>();
    const calls = iterations.map(
      (iteration, t): { readonly called: Called; readonly target: string; readonly given: readonly string[] } => {
        const path = homes?.[t].path;
        const home = path === undefined ? undefined : this.classOf.get(path);
        const places = iteration.args.map((k) => (home ? this.ownPlace(loop.inputs[carried + k], path!) : undefined));
        const key = `${iteration.body} ${home?.name} ${places}`;
        let called = printed.get(key);
        if (!called) {
          called = this.print(loop, bodies[iteration.body], iteration.args, places, home, region, around, wanted);
          printed.set(key, called);
        }
        const given = iteration.args.flatMap((k, i) => {
          if (places[i] !== undefined || called.plain[i] === "twin") return [];
          const x = loop.inputs[carried + k];
          if (called.plain[i] !== undefined) return [region.plain(x)];
          // what several iterations are given is computed once
          return [iterations.filter((other) => other.args.includes(k)).length > 1 ? region.named(x) : region.whole(x).text];
        });
        return { called, target: home ? this.tree.text(path!.split("."), "self") : "", given: [...given, ...called.more] };
      },
    );
    const names = Array.from({ length: carried }, (_, i) => {
      const name = region.fresh(region.nameFor(loop.inputs[i]));
      region.say(`${name} = ${region.whole(loop.inputs[i]).text}`);
      return name;
    });
    const reads = region.readsOf(loop);
    const exported = new Map<string, string>();
    const uniform = calls.every((c) => c.called === calls[0].called && c.called.exports === 0) && calls.length > 1;
    if (uniform) this.loopOver(calls, names, region);
    else
      calls.forEach(({ called, target, given }, t) => {
        const outs = [...names];
        for (let i = 0; i < called.exports; i++) {
          const name = region.fresh(`${region.nameFor(loop)}_${t}`);
          exported.set(`${t}.${i}`, name);
          outs.push(name);
        }
        region.say(`${targets(outs)}${invoke(called, target, [...names, ...given])}`);
      });
    for (const n of reads) {
      const { output, iteration, index } = n.attrs;
      if (output === "joined") {
        const parts = iterations.map((_, t) => exported.get(`${t}.${String(index)}`)!);
        region.set(n, `torch.cat((${parts.join(", ")},))`);
      } else region.set(n, output === "carried" ? names[index as number] : exported.get(`${String(iteration)}.${String(index)}`)!);
    }
  }

  /** The iterations as a Python loop. */
  private loopOver(
    calls: readonly { called: Called; target: string; given: readonly string[] }[],
    names: readonly string[],
    region: Region,
  ): void {
    const [{ called, given }] = calls;
    const varies = given.map((_, i) => calls.some((c) => c.given[i] !== given[i]));
    const rows = calls.map((c) => c.given.filter((_, i) => varies[i]));
    const named = rows[0].map((_, i) => region.fresh(`row_${i + 1}`));
    let next = 0;
    const passed = given.map((text, i) => (varies[i] ? named[next++] : text));
    const one = named.length === 1;
    const list = listed(
      rows.map((r) => (one ? r[0] : `(${r.join(", ")})`)),
      region,
    );
    const over = called.method ? this.together(calls.map((c) => c.target)) : undefined;
    const iteration = called.method ? region.fresh("block") : "";
    const row = one ? named[0] : `(${named.join(", ")})`;
    if (over !== undefined)
      region.say(named.length === 0 ? `for ${iteration} in ${over}:` : `for ${iteration}, ${row} in zip(${over}, ${list}):`);
    else region.say(named.length === 0 ? `for _ in range(${calls.length}):` : `for ${one ? named[0] : named.join(", ")} in ${list}:`);
    region.say(`    ${targets(names)}${invoke(called, iteration, [...names, ...passed])}`);
  }

  /** Modules one behind the other: the list that consists of them, or each. */
  private together(modules: readonly string[]): string {
    const list = modules[0].replace(/\[0\]$/, "");
    const whole = list !== modules[0] && modules.every((m, i) => m === `${list}[${i}]`);
    const at = this.tree.find(list.split(/[.[\]]+/).slice(1));
    return whole && at?.children.size === modules.length ? list : `[${modules.join(", ")}]`;
  }

  /** Where an iteration's module has an argument of its own. */
  private ownPlace(arg: Node, path: string): string | undefined {
    if (rowOf(arg).supply !== "param") return undefined;
    const name = String(arg.attrs.name);
    if (this.homes.get(name)?.path !== path) return undefined;
    return asHeld(this.tree.text(this.tree.pathOf(name), "self", path.split(".")), arg.type.dtype);
  }

  private print(
    loop: Node,
    body: Body,
    args: readonly number[],
    places: readonly (string | undefined)[],
    home: Class | undefined,
    outer: Region,
    around: Around,
    wanted: ReadonlySet<Node>,
  ): Called {
    const { carried } = loop.loop!;
    const nodes = everything(body.results);
    const symbols = new Set(nodes.flatMap((n) => n.type.shape.flatMap(symbolsOf)));
    const inside: Around = { ...around, outermost: false, param: (name) => refuseParam(name) };
    const region = new Region(inside, body.results, wanted, [...symbols]);
    const params: string[] = [];
    const start: string[] = [];
    const { iterations } = loop.loop!;
    /** Of what is handed in besides what is carried: Python numbers, and keys of draws, in every iteration. */
    const numbers = new Map<string, number>();
    /** The first place at which the same numbers are handed in. */
    const twins: number[] = [];
    const called: string[] = [];
    const plain = args.map((_, i): Plain => {
      const given = iterations.filter((t) => bodiesOf(loop, t.body) === body).map((t) => loop.inputs[carried + t.args[i]]);
      if (places[i] !== undefined || wanted.has(body.params[carried + i])) return undefined;
      if (given.every((x) => outer.isNumber(x))) {
        const key = given.map((x) => outer.plain(x)).join();
        twins[i] = numbers.get(key) ?? i;
        numbers.set(key, twins[i]);
        return twins[i] === i ? "number" : "twin";
      }
      return given.every((x) => outer.isKey(x)) && isKeyIn(body, carried + i) ? "key" : undefined;
    });
    body.params.forEach((p, i) => {
      if (plain[i - carried] === "twin") {
        region.set(p, called[twins[i - carried]], BINDS.atom, true);
        return;
      }
      const place = i < carried ? undefined : places[i - carried];
      const name = place ?? region.fresh(outer.nameFor(loop.inputs[i < carried ? i : carried + args[i - carried]]));
      if (place === undefined) params.push(name);
      if (wanted.has(p) && place === undefined) start.push(`${name} = ops.wanted(${name})`);
      const how = i < carried ? undefined : plain[i - carried];
      if (i >= carried) called[i - carried] = name;
      if (how === "key") region.setKey(p, name);
      else region.set(p, name, BINDS.atom, how === "number");
    });
    const more: string[] = [];
    for (const symbol of symbols) {
      const from = body.params.find(
        (p, i) => (i < carried || places[i - carried] === undefined) && p.type.shape.some((d) => String(d) === symbol),
      );
      if (from) start.unshift(`${symbol} = ${region.whole(from).text}.shape[${from.type.shape.findIndex((d) => String(d) === symbol)}]`);
      else if (home) more.push(symbol);
    }
    region.run(true);
    const results = body.results.map((r) => region.whole(r).text);
    const inner = [...start, ...region.lines];
    const lines = [
      ...(home ? withDevice(inner, "self.device") : inner),
      `return ${results.length === 1 ? results[0] : results.join(", ")}`,
    ];
    const exports = body.results.length - carried;
    const head = (name: string, own: boolean) => `def ${name}(${[...(own ? ["self"] : []), ...params, ...more].join(", ")}):`;
    if (!home) {
      const name = outer.fresh(`${outer.nameFor(loop)}_turn`);
      outer.say(head(name, false));
      for (const line of lines) outer.say(`    ${line}`);
      return { name, method: false, exports, more, plain };
    }
    const text = [head("METHOD", true), ...lines.map((l) => `    ${l}`)].join("\n");
    let method = home.methods.get(text);
    if (method === undefined) {
      method = home.methods.size === 0 ? "body" : `inner${home.methods.size + 1}`;
      home.methods.set(text, method);
    }
    return { name: method, method: true, exports, more, plain };
  }
}

/** A body that has been printed: a method of the iterations' class, or a function of the region. */
interface Called {
  readonly name: string;
  readonly method: boolean;
  readonly exports: number;
  /** Sizes that no argument tells. */
  readonly more: readonly string[];
  readonly plain: readonly Plain[];
}
/** How what stays the same through an iteration is handed in: a Python number, one that another place has as well, the key of a draw, or a tensor. */
type Plain = "number" | "twin" | "key" | undefined;
const bodiesOf = (loop: Node, index: number): Body => loop.loop!.bodies[index];
const invoke = (called: Called, target: string, given: readonly string[]): string =>
  called.method ? `${target}(${[quoted(called.name), ...given].join(", ")})` : `${called.name}(${given.join(", ")})`;
const targets = (names: readonly string[]): string => (names.length === 0 ? "" : `${names.join(", ")} = `);

/** A list on one line, or with a name and a line an element. */
function listed(parts: readonly string[], region: Region): string {
  const line = `[${parts.join(", ")}]`;
  if (line.length <= 100) return line;
  const name = region.fresh("rows");
  region.say(`${name} = [`);
  for (const part of parts) region.say(`    ${part},`);
  region.say("]");
  return name;
}

function refuseParam(name: string): never {
  throw new Bug(`the parameter ${name} crosses into a loop's body`);
}
/** All nodes of a region, those of the bodies in it included. */
function everything(roots: readonly Node[]): Node[] {
  return order(roots).flatMap((n) => [n, ...(n.loop?.bodies ?? []).flatMap((b) => [...b.params, ...everything(b.results)])]);
}

function homesOf(loop: Node): Home[] | undefined {
  const paths = loop.attrs.paths as readonly string[] | undefined;
  const { iterations } = loop.loop!;
  if (!paths || paths.length === 0) return undefined;
  const width = paths.length / iterations.length;
  const homes = iterations.map((_, t) => {
    const [path, ...also] = paths.slice(t * width, (t + 1) * width);
    return { path, also };
  });
  const all = new Set(homes.map((h) => h.path));
  return all.size === iterations.length && !all.has("") ? homes : undefined;
}
