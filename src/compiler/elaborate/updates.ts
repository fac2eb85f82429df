/** In which stages holds what methods say of gradients, rates, next values and the loss. */

import { type Attachment, rebindings, type Site } from "./attachment.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { isStatement } from "./instance.ts";
import { siteParameters } from "./parameters.ts";
import { Storage } from "./storage.ts";

/** What is said of these holds in an update only. */
export const updateNames: ReadonlySet<string> = new Set(["loss", "grad", "lr", "next", "age", "decay"]);

/**
 * Whether what an attachment says of the update holds in a stage: it trains one of the attachment's parameters, or the parameter or one of the attachment's that it is
 * attached to. A method that has no parameters at all speaks of those of the modules it is attached to.
 */
export function touches(e: Elaborator, a: Attachment, trained: ReadonlySet<Storage>): boolean {
  for (let m: Attachment | undefined = a; m; m = m.maker?.attachment)
    for (const site of m.sites) for (const p of spokenOf(e, site)) if (trained.has(p)) return true;
  return false;
}
function* spokenOf(e: Elaborator, site: Site): IterableIterator<Storage> {
  const { place } = site;
  const own = [...siteParameters(site)];
  yield* own;
  if (place.kind === "param") yield place.storage;
  if (place.kind === "site") yield* spokenOf(e, place.site);
  if (own.length > 0 || (place.kind !== "module" && place.kind !== "chain")) return;
  for (const module of place.kind === "module" ? [place.instance] : place.blocks)
    for (const i of module.tree()) for (const n of i.slots.keys()) if (i.parameter(n) instanceof Storage) yield i.parameter(n) as Storage;
}

/** A method without parameters whose words on the update no stage of the file ever hears: none trains what it is attached to. */
export function checkUpdates(e: Elaborator): void {
  const trains = e.actions.some((a) => a.kind === "stage" && a.stage.verb === "train");
  for (const a of trains ? e.attachments : []) {
    if (
      a.maker ||
      a.loaded ||
      e.heard.has(a.method.decl) ||
      a.sites.some((s) => s.place.kind === "param" || siteParameters(s).next().value)
    )
      continue;
    const line = rebindings(a.method.decl.members.filter(isStatement)).find(({ label }) =>
      updateNames.has(label.slice(label.lastIndexOf(".") + 1)),
    );
    if (!line) continue;
    e.collect(() =>
      fail("P0506", a.span, `what \`${a.name}\` says of \`${line.label}\` holds in no stage`, {
        label: "attached here",
        related: [{ span: line.span, label: "said here" }],
        notes: [
          `${a.method.name} has no parameters of its own, so it speaks where those of its place are trained: attach it to what learns, or name that in \`params\``,
        ],
      }),
    );
  }
}
