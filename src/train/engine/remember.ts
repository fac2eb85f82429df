/**
 * Programs that were compiled before, found by what they were compiled from. The sources of a transfer, the seeds of an average, and a run that is started
 * again give equal graphs, often under names of other models: such a program is compiled once, and handed out under the names that are asked for.
 */
import { type Graph, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import { print } from "../../ir/print.ts";
import { allNodes } from "../../ir/rewrite.ts";
import { sha256 } from "../run/identity.ts";
import type { BuildOptions, Built, Engine, EntryPoint } from "./engine.ts";

/** Keeps what was built beyond the process. `read`: what lies there under that key, or `undefined` where nothing does, or nothing whole. */
export interface BuildStore {
  read(key: string): Built | undefined;
  write(key: string, built: Built): void;
}

/** Bytes of programs that are held: small ones, of which a file has many. What large ones take is wanted for weights. */
const HELD = 16 * 2 ** 20;

/** `salt`: what decides beside graphs and options what is built: target and version. */
export function rememberingEngine(engine: Engine, salt: string, store?: BuildStore): Engine {
  const held = new Map<string, { readonly built: Built; readonly names: readonly string[] }>();
  return {
    ...engine,
    async build(entries, options) {
      const names = ownersIn(entries);
      const stand = names.map((_, i) => `@${i}`);
      const key = await sha256([salt, renamer(names, stand).text(described(entries, options))]);
      const known = held.get(key) ?? read(key, stand);
      const built = known === undefined ? await engine.build(entries, options) : renamer(known.names, names).value(known.built);
      // one that was refused is no program, and names the smallest budget on demand
      if (built.smallest !== undefined) return built;
      held.delete(key);
      held.set(key, { built, names });
      let bytes = [...held.values()].reduce((sum, one) => sum + sizeOf(one.built), 0);
      for (const [oldest, one] of held) {
        if (bytes <= HELD) break;
        held.delete(oldest);
        bytes -= sizeOf(one.built);
      }
      // how errors grow is told by a function, which is nothing to write down
      if (known === undefined && built.rounded.length === 0) store?.write(key, renamer(names, stand).value(built));
      return built;
    },
  };

  function read(key: string, names: readonly string[]) {
    const built = store?.read(key);
    return built && { built, names };
  }
}

/** Roughly: the text of a program is the most of it. */
const sizeOf = ({ program, module, files = [] }: Built): number =>
  (program.wat?.length ?? 0) + (module?.byteLength ?? 0) + files.reduce((sum, f) => sum + f.text.length, 0) + 100 * program.tensors.length;

/** What stands before the first dot of parameters, states and paths: models, attachments, optimisers and objectives, in the order in which graphs name them. */
const KEPT = new Set<string | undefined>(["param", "state"]);
function ownersIn(entries: readonly EntryPoint[]): readonly string[] {
  const names = new Set<string>();
  const add = (path: string) => names.add(path.split(".", 1)[0]);
  for (const { graph } of entries)
    for (const node of allNodes(graph)) {
      if (KEPT.has(rowOf(node).supply)) add(String(node.attrs.name));
      if (node.origin.path !== "") add(node.origin.path);
    }
  return [...names];
}

/** All that a build is made from, as text. */
function described(entries: readonly EntryPoint[], { place, trained, stored, ...options }: BuildOptions): string {
  const parts = entries.map(({ graph, sizes, ...entry }) => [entry, [...sizes], places(graph), print(graph)]);
  return JSON.stringify([options, trained, [...(stored ?? [])], place !== undefined, parts]);
}

/** Where nodes come from in the sources: notes tell it. */
function places(graph: Graph): string {
  const out: string[] = [];
  for (const { origin } of order(graph.results.map((r) => r.node))) {
    const at = origin.span ? `${origin.span.file}:${origin.span.start}` : "";
    if (at !== out.at(-1)) out.push(at);
  }
  return out.join(" ");
}

/** What belongs to the text of kernels, which names nothing of a model but in comments. */
const PRINTED = new Set(["kernel", "kernels", "wat", "files"]);
/** Fields that hold paths, with the op behind it or without: a name may be all of one. */
const PATHS = new Set(["label", "site"]);

/**
 * Replaces names: in the text of a graph where they stand as words, in a program where they begin a path. There a model may be called as a field (`arena`) or as what
 * a field says (`frozen`).
 */
function renamer(from: readonly string[], to: readonly string[]) {
  const same = from.every((name, i) => name === to[i]);
  const meaning = new Map(from.map((name, i) => [name, to[i]]));
  // the longest first: a name may begin with another
  const any = [...from].sort((a, b) => b.length - a.length).map((name) => name.replace(/[^\w]/g, "\\$&"));
  const words = new RegExp(`(?<![\\w@])(?:${any.join("|")})(?!\\w)`, "g");
  const heads = new RegExp(`${words.source}(?=[.]|(?: \\w+)$)`, "g");
  const replaced = (s: string, pattern: RegExp): string =>
    same || from.length === 0 ? s : s.replace(pattern, (name) => meaning.get(name)!);
  const value = <T>(x: T, path = false): T => {
    if (typeof x === "string") return replaced(x, path ? words : heads) as T;
    if (typeof x !== "object" || x === null || ArrayBuffer.isView(x)) return x;
    if (Array.isArray(x)) return (typeof x[0] === "number" ? x : x.map((one) => value(one))) as T;
    return Object.fromEntries(
      Object.entries(x).map(([key, v]) => [replaced(key, heads), PRINTED.has(key) ? v : value(v, PATHS.has(key))]),
    ) as T;
  };
  return { text: (s: string): string => replaced(s, words), value: <T>(x: T): T => (same ? x : value(x)) };
}
