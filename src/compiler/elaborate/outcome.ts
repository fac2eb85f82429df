/** What is left of an attachment when its training is over: `method PTuning(…) as Prompt(prompt_embeddings: prompt)` says that it then is a `Prompt`. */
import type { Graph } from "../../ir/graph.ts";
import type { AttachmentReport } from "../project.ts";
import type { Attachment, Site } from "./attachment.ts";
import { Context, within } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { methodFrame } from "./method-frame.ts";
import { isSaid, namesOfRole } from "./roles.ts";
import { fixed, Names, type Read } from "./scope.ts";
import { isTensorType } from "./signature.ts";
import type { MethodDecl, Value } from "./values.ts";

type Outcome = NonNullable<AttachmentReport["outcome"]>;

/** `undefined`: it stays what it is. */
export function outcomeOf(
  e: Elaborator,
  a: Attachment,
  sites: readonly Site[],
  shared: Readonly<Record<string, string>>,
): Outcome | undefined {
  const said = isSaid(a.method);
  // what was read goes back as what it was
  if (said === undefined || a.loaded) return undefined;
  const { method, names } = said;
  const own = new Set(namesOfRole(method));
  // children and parameters of the same name go on as they are
  const kept = (path: string): boolean => own.has(path.split(".")[0]) && !names.has(path.split(".")[0]);
  const common = new Set(method.decl.members.flatMap((m) => (m.kind === "Parameter" && m.shared ? [m.field.name.text] : [])));
  const madeAt = (site: Site, wanted: (name: string) => boolean) =>
    Object.fromEntries([...names].flatMap(([name, path]) => (wanted(name) ? [[name, madeFrom(e, site, path)]] : [])));
  return {
    method: method.name,
    declaredIn: method.file,
    options: optionsOf(e, a, method),
    sites: sites.map((site) => ({
      values: madeAt(site, (name) => !common.has(name)),
      params: Object.fromEntries([...site.parameters()].flatMap(([path, s]) => (kept(path) ? [[path, s.name]] : []))),
    })),
    common: sites.length === 0 ? {} : madeAt(sites[0], (name) => common.has(name)),
    shared: Object.fromEntries(Object.entries(shared).filter(([path]) => kept(path))),
  };
}

/** A value of the method that parameters alone make. */
function madeFrom(e: Elaborator, site: Site, path: readonly string[]): Graph {
  const { span } = site.attachment.method.decl;
  return within(new Context("start", 0, `outcome of ${site.fullPath}`, () => true), () => {
    const frame = methodFrame(site, undefined);
    const [name] = path;
    const value = path.length === 1 ? frame.read(name) : undefined;
    if (value === undefined) fail("P0202", span, `${site.attachment.method.name} has no value \`${path.join(".")}\``);
    return { results: [{ role: "output", name: "value", node: e.node(value, frame.here, span) }] };
  });
}

/** Options of the other method: those of the same name, else its defaults. Starts of tensors are of no use any more. */
function optionsOf(e: Elaborator, a: Attachment, method: MethodDecl): Outcome["options"] {
  const options: Record<string, Outcome["options"][string]> = {};
  for (const p of method.decl.params) {
    const name = p.name.text;
    if (p.type !== undefined && isTensorType(p.type)) continue;
    if (Object.hasOwn(a.options, name)) options[name] = a.options[name];
    else if (p.default) {
      const given = new Map<string, Read>(Object.entries(options).map(([n, v]) => [n, fixed(v as Value)]));
      options[name] = e.staticValue(e.evaluate(p.default, new Names(given, method.scope)), p.span);
    }
  }
  return options;
}
