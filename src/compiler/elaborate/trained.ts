import { type Node, order } from "../../ir/graph.ts";
import { rowOf } from "../../ir/ops/index.ts";
import type { Attachment, Site } from "./attachment.ts";
import type { Elaborator } from "./elaborator.ts";
import { Fault, fail } from "./fault.ts";
import { parametersOf, siteParameters } from "./parameters.ts";
import { Names } from "./scope.ts";
import { asSelection, placePath, selectionOf, unite } from "./select.ts";
import type { Settings } from "./settings.ts";
import type { Storage } from "./storage.ts";
import { Selection, type Value } from "./values.ts";

/** What the stage may train, before it is known what the loss reaches: an objective may ask for `params` while it is made. */
export function candidates(e: Elaborator, s: Settings<"train">): readonly Storage[] {
  const given = s.exprs.get("params");
  const scope = new Names(
    new Map([
      [
        "new",
        () =>
          new Selection(
            made(e).map((storage) => ({ kind: "param", storage }) as const),
            "new",
          ),
      ],
    ]),
    s.scope,
  );
  if (!given) return made(e);
  const places = given.expr ? selectionOf(e, given.expr, scope) : asSelection(given.value(), given.span);
  return parametersOf(places, given.span);
}

/** `params`, by default `new`: what this file made rather than loaded, where the loss reaches it. */
export function trainedBy(e: Elaborator, s: Settings<"train">, loss: Node): Storage[] {
  const reached = new Set<string>();
  for (const n of order([loss])) if (rowOf(n).supply === "param") reached.add(String(n.attrs.name));
  const learns = learning(e, loss);
  const fresh = (): Storage[] => made(e).filter((p) => reached.has(p.name) && learns(p));
  const scope = new Names(
    new Map([
      [
        "new",
        () =>
          new Selection(
            fresh().map((storage) => ({ kind: "param", storage }) as const),
            "new",
          ),
      ],
    ]),
    s.scope,
  );
  refuseCutOff(e, reached);
  const given = s.exprs.get("params");
  if (!given) {
    const out = fresh();
    // what an attachment with a mistake would have brought is missing: that is one mistake, not two
    if (out.length === 0 && e.problems.some((p) => p.severity === "error"))
      throw new Fault({ code: "P0807", severity: "error", message: "there is nothing to train", span: s.statement.verb.span }, true);
    if (out.length === 0)
      fail("P0807", s.statement.verb.span, "there is nothing to train", {
        notes: ["nothing in this file is new: attach a method, or say what learns, as in `params = m`"],
      });
    return out;
  }
  const places = given.expr ? selectionOf(e, given.expr, scope) : asSelection(given.value(), given.span);
  // frozen ones are drawn and saved with the rest, but learn only where they are named themselves
  const itself = (p: Storage) => places.places.some((x) => x.kind === "param" && x.storage === p);
  const out = parametersOf(unite([places], "params"), given.span).filter((p) => !p.frozen || itself(p));
  if (out.length === 0)
    fail("P0312", given.span, "`params` selects no parameters", {
      notes: places.places.slice(0, 3).map((p) => `it names ${placePath(p)}`),
    });
  const taught = (p: Storage) => reached.has(p.name) && learns(p);
  const named = out.filter((p) => !taught(p) && p.role === "parameter" && itself(p));
  if (named.length > 0)
    fail("P0808", given.span, `the loss does not reach ${named.length === 1 ? named[0].name : `${named.length} of these parameters`}`, {
      notes: [
        ...named.slice(0, 5).map((p) => p.name),
        ...(named.some((p) => reached.has(p.name)) ? ["their values do, but no gradient comes back (`stop_gradient`, a comparison)"] : []),
      ],
    });
  return out.filter((p) => taught(p) && p.role === "parameter");
}

/** Whether a parameter gets a gradient of the loss, or one that a method makes for it. */
function learning(e: Elaborator, loss: Node): (p: Storage) => boolean {
  const reached = new Set<string>();
  const seen = new Set<Node>([loss]);
  for (const n of seen) {
    const row = rowOf(n);
    if (row.supply === "param") reached.add(String(n.attrs.name));
    else if (row.vjp !== "zero" && n.type.dtype === "f32") for (const i of n.inputs) seen.add(i);
  }
  // a term that a method adds to the loss may teach what the objective itself does not
  const adding = new Set((e.loss.edits.get("loss") ?? []).map(({ site }) => site.attachment));
  const told = new Set([...adding].flatMap((a) => a.sites.flatMap((site) => [...siteParameters(site)])));
  return (p) => reached.has(p.name) || told.has(p) || p.edits.has("grad") || p.edits.has("next");
}

/** An attachment to a model that the loss uses, none of whose parameters the loss reaches: somebody cut it off. */
function refuseCutOff(e: Elaborator, reached: ReadonlySet<string>): void {
  const models = new Set(
    e.models.filter((m) => [...m.instance.tree()].some((i) => [...i.stored()].some(([, p]) => reached.has(p.name)))).map((m) => m.name),
  );
  const modelOf = (site: Site): string | undefined => (site.place.kind === "module" ? site.place.instance.owner.name : undefined);
  for (const [at, a] of e.attachments.entries()) {
    const sites = a.sites.filter((x) => !x.detached && models.has(modelOf(x) ?? ""));
    const own = sites.flatMap((x) => [...siteParameters(x)]);
    if (a.maker || own.length === 0 || own.some((p) => reached.has(p.name))) continue;
    const later = e.attachments.slice(at + 1).find((b) => b.sites.some((x) => !x.detached && sites.some((y) => sameModule(x, y))));
    fail("P0504", a.span, `\`${a.name}\` does nothing: its work no longer reaches the loss`, {
      label: "attached here",
      related: later ? [{ span: later.span, label: `\`${later.name}\` cuts it off` }] : [],
      notes: ["a rebinding that does not use the name's old value takes away what earlier attachments made of it"],
    });
  }
}

const sameModule = (x: Site, y: Site): boolean =>
  x.place.kind === "module" && y.place.kind === "module" && x.place.instance === y.place.instance;

/** What this file made rather than loaded: attachments, fresh heads, models without a folder, what objectives have themselves. */
function made(e: Elaborator): Storage[] {
  const out: Storage[] = [];
  const handed = new Set(e.attachments.flatMap((a) => [...e.optionsGiven(a.applied).values()].flatMap(({ value }) => handedOver(value))));
  for (const a of e.attachments)
    if (!a.loaded && !handed.has(a) && !a.name.startsWith("("))
      for (const site of a.sites) if (!site.detached) for (const p of siteParameters(site)) if (!p.frozen) out.push(p);
  for (const m of e.models) for (const i of m.instance.tree()) for (const [, p] of i.stored()) if (p.isNew && !p.frozen) out.push(p);
  for (const p of e.objectives.parameters()) if (!p.source && !p.frozen) out.push(p);
  return [...new Set(out)];
}

function handedOver(v: Value): Attachment[] {
  if (Array.isArray(v)) return v.flatMap((x) => handedOver(x as Value));
  return v !== null && typeof v === "object" && "kind" in v && v.kind === "attachment" ? [v] : [];
}
