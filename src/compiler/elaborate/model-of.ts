import type { Site } from "./attachment.ts";
import type { Elaborator } from "./elaborator.ts";

/** The model that a place is in, or that what it is in is attached to. */
export function modelOf(e: Pick<Elaborator, "attachments">, { place }: Site): string | undefined {
  if (place.kind === "site") return modelOf(e, place.site);
  const at =
    place.kind === "module"
      ? place.instance.owner
      : place.kind === "chain"
        ? place.parent.owner
        : place.kind === "param"
          ? place.storage.owner
          : undefined;
  if (at?.kind !== "attachment") return at?.name;
  const [first] = e.attachments.find((a) => a.name === at.name)?.sites ?? [];
  return first && modelOf(e, first);
}
