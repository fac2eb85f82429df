import { misplaced } from "../../ground/misplaced.ts";
import type { Span } from "../../ir/graph.ts";
import { parse } from "../read/parse.ts";
import { attach, goesOn } from "./attach.ts";
import type { Attachment } from "./attachment.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { Instance } from "./instance.ts";
import { fromJson, ties } from "./models.ts";
import { kindsOf } from "./roles.ts";
import { fixed, Names } from "./scope.ts";
import { asSelection } from "./select.ts";
import { Storage } from "./storage.ts";
import { separate } from "./untie.ts";
import { Applied, type Loaded, MethodDecl, type Place, RoleDecl, Selection, type Value } from "./values.ts";
import { Grow } from "./work.ts";

/** `attach a = load("folder") to m`: each part of the adapter at the places it names, with its values; heads that came along are taken over. */
export function attachLoaded(e: Elaborator, name: string, loaded: Loaded, to: Selection, span: Span): Value {
  const roots = [...new Set(to.places.flatMap((p) => (p.kind === "module" ? [p.instance.root] : [])))];
  if (roots.length !== 1) fail("P0607", span, "an adapter is attached to one model", { label: `this names ${roots.length}` });
  const [root] = roots;
  const made: Attachment[] = [];
  for (const { part, method, found } of loaded.file.parts.flatMap((p) => byMethod(e, root, p, loaded, span))) {
    const order = new Map([...root.tree()].map((instance, i) => [instance, i]));
    const at = ({ place }: (typeof found)[number]) => (place.kind === "module" ? order.get(place.instance)! : 0);
    found.sort((a, b) => at(a) - at(b));
    const counted = Object.entries(part.numbered ?? {}).map(([param, keys]) => {
      const run = Math.max(1, Math.floor(found.length / keys.length));
      return new Map(keys.map((key, i) => [i * run, [param, key] as const]));
    });
    const options = new Map([
      ...Object.entries(part.options).map(([k, v]) => [k, optionValue(e, method, k, fromJson(v), span)] as const),
      ...loaded.given,
    ]);
    const applied = new Applied(method, [], method.scope, loaded.span, options);
    const a = attach(
      e,
      e.names.attachment(name),
      applied,
      new Selection(
        found.map((f) => f.place),
        to.text,
      ),
      span,
    );
    a.loaded = true;
    a.folders = loaded.folders;
    // a tensor that several places name is one parameter
    const first = new Map<string, Storage>();
    a.sites.forEach((site, i) => {
      const keys = { ...found[i].site.params, ...Object.fromEntries(counted.flatMap((by) => (by.has(i) ? [by.get(i)!] : []))) };
      const { path: named, also } = found[i].site;
      if (also !== undefined) site.also = [named, ...also].filter((path) => path !== site.path);
      const all = new Map(site.parameters());
      complete(inFile(all.keys(), part), keys, loaded, site.fullPath, span);
      take(all, keys, loaded, site.fullPath, span);
      const states = new Map([...site.params].flatMap(([n, s]) => (s?.role === "state" ? [[n, s] as const] : [])));
      take(states, found[i].site.states ?? {}, loaded, site.fullPath, span);
      for (const [path, key] of Object.entries(keys)) {
        const own = site.params.get(path);
        if (own && !first.has(key)) first.set(key, own);
        else if (own) site.params.set(path, first.get(key)!);
      }
    });
    const shared = new Map<string, Storage>();
    for (const [n, v] of a.shared) {
      if (v instanceof Storage) shared.set(n, v);
      else if (v instanceof Instance) for (const m of v.tree()) for (const [, s] of m.stored()) shared.set(s.path, s);
    }
    complete(inFile(shared.keys(), part), part.shared, loaded, a.name, span);
    take(shared, part.shared, loaded, a.name, span);
    made.push(a);
  }
  oneValueEach(root, made, loaded, span);
  untie(e, root, loaded, span);
  const params = new Map([...root.tree()].flatMap((i) => [...i.stored()].map(([, s]) => [s.path, s] as const)));
  const { heads } = loaded.file;
  const alike = new Map([...ties(root, new Set(params.values()))].map((tie) => [tie.path, tie.tiedTo]));
  grow(e, root, params, alike, loaded, span);
  take(params, onceEach(heads, alike, loaded, span), loaded, root.owner.name, span);
  warnElsewhere(e, root, loaded, span);
  e.objectives.load(loaded, span);
  return made.length === 1 ? made[0] : made;
}

/** Refuses values of two places for what is one parameter here (a tied output layer): each would replace the other's, where they were made they were two. */
function oneValueEach(root: Instance, made: readonly Attachment[], loaded: Loaded, span: Span): void {
  for (const instance of root.tree())
    for (const [, storage] of instance.stored()) {
      const sites = (storage.edits.get("value") ?? []).map(({ site }) => site).filter(({ attachment }) => made.includes(attachment));
      const paths = [...new Set(sites.map(({ path }) => path))];
      if (paths.length > 1)
        fail(
          "P0607",
          span,
          `${loaded.folder} has values of its own for \`${paths[0]}\` and for \`${paths[1]}\`, which share \`${storage.path}\``,
          {
            notes: ["where the adapter was made, these were two parameters"],
          },
        );
    }
}

/** Throws `Grow` where the adapter was trained with words that were added, and says so once the model has them; its folder's tokenizer, where there is one, knows them. */
function grow(
  e: Elaborator,
  root: Instance,
  params: ReadonlyMap<string, Storage>,
  alike: ReadonlyMap<string, string>,
  loaded: Loaded,
  span: Span,
): void {
  const entry = e.models.find((m) => m.instance === root);
  const { heads, shapes } = loaded.file;
  const tables = Object.entries(heads).flatMap(([path, key]) => {
    const storage = params.get(path) ?? params.get(alike.get(path) ?? "");
    return storage !== undefined && storage.shape[0] === entry?.report.config.vocab_size ? [{ storage, shape: shapes[key] ?? [] }] : [];
  });
  const name = root.owner.name;
  const larger = tables.find(
    ({ storage, shape }) => shape[0] > storage.shape[0] && shape.slice(1).join() === storage.shape.slice(1).join(),
  );
  const asked = e.overrides.vocabulary?.[name];
  if (larger !== undefined && asked === undefined && entry?.report.folder !== undefined) throw new Grow(name, larger.shape[0]);
  if (asked === undefined || entry?.report.folder === undefined || !tables.some(({ shape }) => shape[0] === asked)) return;
  const own = e.host.readTokenizer(loaded.folder);
  if (own !== undefined) root.tokenizer ??= e.tokenizerIn(loaded.folder, span);
  e.problems.push({
    code: "P0609",
    severity: "warning",
    message: `${loaded.folder} was trained with words that were added: the tables of \`${name}\` have ${asked} rows now`,
    span,
    notes: [
      own === undefined ? "it brings no tokenizer, so that no text has the new words" : "its tokenizer is the model's now",
      `\`${root.decl.name.text}(vocab_size: ${asked})\` says the same where the model is made`,
    ],
  });
}

/** What is tied in the model and a tensor of its own in the adapter's file becomes one here. P0607: it has no values to begin with. */
function untie(e: Elaborator, root: Instance, loaded: Loaded, span: Span): void {
  const own = new Set([...root.tree()].flatMap((i) => [...i.stored()].map(([, s]) => s)));
  const { apart } = loaded.file;
  for (const instance of root.tree())
    for (const [name, slot] of [...instance.slots]) {
      if (slot.kind !== "stored" || !own.has(slot.storage)) continue;
      const path = instance.path === "" ? name : `${instance.path}.${name}`;
      if (path === slot.storage.path || !(apart.includes(path) || apart.includes(slot.storage.path))) continue;
      if (slot.storage.source === undefined)
        fail(
          "P0607",
          span,
          `${loaded.folder} has \`${path}\` and \`${slot.storage.path}\` as two tensors, which are one in a model that starts afresh`,
          {
            notes: ["load the model from a folder, or train the adapter with `ensure_weight_tying`"],
          },
        );
      separate(e, instance, name);
    }
}

/** Heads by the parameters' own paths. P0607: a tied parameter's two copies differ in shape. */
function onceEach(heads: Loaded["file"]["heads"], alike: ReadonlyMap<string, string>, loaded: Loaded, span: Span): Record<string, string> {
  const out: Record<string, string> = {};
  for (const [path, key] of Object.entries(heads)) {
    const own = alike.get(path);
    if (own === undefined) out[path] = key;
    else if (heads[own] === undefined) out[own] = key;
    else if (loaded.file.shapes[heads[own]]?.join() !== loaded.file.shapes[key]?.join())
      fail("P0607", span, `${loaded.folder} ties \`${path}\` to \`${own}\`, and has them in two shapes`);
  }
  return out;
}

/** P0608: the tensors are not at the places that the adapter's configuration names. */
function warnElsewhere(e: Elaborator, root: Instance, loaded: Loaded, span: Span): void {
  const modules = [...root.tree()].map((i) => {
    const weight = i.slots.get("weight");
    return { path: i.path, kinds: kindsOf(i), shape: weight?.kind === "stored" ? weight.storage.shape : [] };
  });
  const words = e.models.find((m) => m.instance === root)?.report.config.vocab_size;
  e.problems.push(...misplaced(loaded.folder, loaded.file, modules, words, span));
}

type Part = Loaded["file"]["parts"][number];

/** The places of a part that the model has, by the method that each takes. */
function byMethod(
  e: Elaborator,
  root: Instance,
  part: Part,
  loaded: Loaded,
  span: Span,
): { part: Part; method: MethodDecl; found: { site: Part["sites"][number]; place: Place }[] }[] {
  const choices = [part, ...(part.or ?? [])].map((chosen) => {
    const method = e.library(chosen.from, chosen.method, span);
    if (!(method instanceof MethodDecl)) fail("P0607", span, `${chosen.from} has no method ${chosen.method}`);
    return { part: { ...part, ...chosen }, method, found: [] as { site: Part["sites"][number]; place: Place }[] };
  });
  for (const site of part.sites) {
    const paths = site.also === undefined ? [] : [site.path, ...site.also].map((path) => `${path}?`);
    const [place = placeOf(e, root, site.path, loaded, span)] = paths.flatMap((path) => placeOf(e, root, path, loaded, span) ?? []);
    // where none goes on the module, the first says what it wants
    if (place !== undefined) (choices.find((c) => goesOn(c.method, place)) ?? choices[0]).found.push({ site, place });
  }
  return choices.filter((c) => c.found.length > 0);
}

/** Options that name a function of the library (`act: "relu"`) become that function. */
function optionValue(e: Elaborator, method: MethodDecl, name: string, value: Value, span: Span): Value {
  const type = method.decl.params.find((p) => p.name.text === name)?.type;
  if (type?.kind !== "FnType" || typeof value !== "string") return value;
  const known = method.scope.find(value) ?? e.libraryUnit("std/nn", span).scope.find(value);
  if (known) return known(method.scope.here);
  const activations = e.libraryUnit("std/nn", span).scope.find("activations")?.(method.scope.here);
  if (activations !== null && typeof activations === "object" && "kind" in activations && activations.kind === "record") {
    const f = activations.entries.get(value);
    if (f !== undefined) return f;
  }
  fail("P0607", span, `the adapter's option \`${name}\` is "${value}", which is no function of the library`);
}

/** Without what the method draws again. */
const inFile = (paths: Iterable<string>, { drawn }: Part): string[] => [...paths].filter((path) => !drawn?.params.includes(path));

/** Refuses a file that lacks some parameters: they would start anew, and the adapter would not be the one that was saved. */
function complete(paths: readonly string[], keys: Readonly<Record<string, string>>, loaded: Loaded, where: string, span: Span): void {
  const lacking = paths.filter((path) => keys[path] === undefined);
  if (lacking.length > 0)
    fail(
      "P0607",
      span,
      `${loaded.folder} lacks \`${lacking[0]}\` of ${where}${lacking.length > 1 ? ` and ${lacking.length - 1} more` : ""}`,
      {
        notes: ["with these options the method has parameters that the weights do not hold"],
      },
    );
}

function take(
  params: ReadonlyMap<string, Storage>,
  keys: Readonly<Record<string, string>>,
  loaded: Loaded,
  where: string,
  span: Span,
): void {
  for (const [path, key] of Object.entries(keys)) {
    const storage = params.get(path);
    if (!storage)
      fail("P0607", span, `${loaded.folder} has \`${path}\` for ${where}, which has no such parameter`, {
        notes: [`it has: ${[...params.keys()].slice(0, 6).join(", ")}`],
      });
    const shape = loaded.file.shapes[key];
    if (shape && shape.join() !== storage.shape.join())
      fail("P0606", span, `\`${key}\` is [${shape.join(", ")}] in ${loaded.folder}, but ${storage.name} is [${storage.shape.join(", ")}]`, {
        label: "made for another model, or with other options",
      });
    storage.source = { kind: "file", folder: loaded.folder, tensor: key };
  }
}

/** A path of a module, with `:Role` where it fills several; or a selector with the place among its matches: `**: Attention #3`. */
function placeOf(e: Elaborator, root: Instance, text: string, loaded: Loaded, span: Span): Place | undefined {
  const optional = text.endsWith("?");
  const path = optional ? text.slice(0, -1).trim() : text;
  const roles = e.libraryUnit("std/nn", span).scope;
  if (!path.includes("*")) {
    const [module, role] = path.split(":").map((x) => x.trim());
    const instance = [...root.tree()].find((i) => i.path === module);
    if (!instance) {
      if (optional) return undefined;
      fail("P0607", span, `${loaded.folder} has a part for \`${module}\`, which ${root.decl.name.text} does not have`);
    }
    const decl = role === undefined ? undefined : (root.module.scope.find(role) ?? roles.find(role))?.(roles.here);
    return { kind: "module", instance, role: decl instanceof RoleDecl ? decl : undefined };
  }
  const [selector, number] = path.split("#").map((x) => x.trim());
  const { program } = parse(`_ = ${selector}`, loaded.folder);
  const [item] = program.items;
  if (item?.kind !== "Binding") fail("P0607", span, `\`${path}\` is no selector`);
  const scope = new Names(new Map([["(root)", fixed([root])]]), {
    here: roles.here,
    find: (n) => root.module.scope.find(n) ?? roles.find(n),
    names: () => roles.names(),
  });
  const index = number === undefined ? 0 : Number(number);
  if (optional) {
    let place: Place | undefined;
    e.attempt(() => {
      place = asSelection(e.evaluate(item.values[0], scope), span).places[index];
    });
    return place;
  }
  const { places } = asSelection(e.evaluate(item.values[0], scope), span);
  return (
    places[index] ??
    fail(
      "P0607",
      span,
      `${loaded.folder} has a part for the place ${index} of \`${selector}\`, but ${root.decl.name.text} has ${places.length}`,
    )
  );
}
