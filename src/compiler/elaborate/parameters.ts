/** The parameters that a selection, a module or an attachment's site has. */
import type { Span } from "../../ir/graph.ts";
import type { Site } from "./attachment.ts";
import { Instance } from "./instance.ts";
import { asSelection } from "./select.ts";
import { Storage } from "./storage.ts";
import type { Value } from "./values.ts";

export function parametersOf(value: Value, span: Span): readonly Storage[] {
  const out = new Set<Storage>();
  for (const p of asSelection(value, span).places) {
    if (p.kind === "param") out.add(p.storage);
    else if (p.kind === "module") for (const i of p.instance.tree()) for (const [, s] of i.stored()) out.add(s);
    else if (p.kind === "site") for (const s of siteParameters(p.site)) out.add(s);
    else if (p.kind === "list") for (const i of p.items) for (const m of i.tree()) for (const [, s] of m.stored()) out.add(s);
  }
  return [...out];
}

export function* siteParameters(site: Site): IterableIterator<Storage> {
  for (const [, s] of site.parameters()) yield s;
  for (const v of site.attachment.shared.values()) {
    if (v instanceof Storage) yield v;
    else if (v instanceof Instance) for (const m of v.tree()) for (const [, s] of m.stored()) yield s;
  }
  for (const inner of site.attached.values()) for (const s of inner.sites) yield* siteParameters(s);
}
