/** Sizes that a role names. */

import type { Site } from "./attachment.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { Frame } from "./frame.ts";
import type { MethodFrame } from "./method-frame.ts";
import { roleFields } from "./roles.ts";
import type { Read } from "./scope.ts";
import { capitalsOf, isTensorType } from "./signature.ts";
import { sizeValue } from "./values.ts";

/** A capital of a role's shapes (`B`, `T`), read off the values that have it, as they are for the reader. */
export function roleCapital(e: Elaborator, site: Site, name: string, frame: MethodFrame): Read | undefined {
  const inputs = site.attachment.method.decl.members.flatMap((m) => (m.kind === "Input" ? [m.field] : []));
  const fields = [...(site.role ? roleFields(site.role).map((f) => f.field) : []), ...inputs].filter((f) => capitalsOf([f.type]).has(name));
  const { subject } = frame;
  if (fields.length === 0) return subject instanceof Frame ? subject.signature.find(name) : undefined;
  return (reader) => {
    for (const f of fields) {
      const isInput = inputs.includes(f);
      const path = site.roleNames.get(f.name.text);
      if ((!isInput && !path) || !isTensorType(f.type)) continue;
      const value = isInput ? site.inputs.get(f.name.text)!() : frame.readRole(f.name.text, path!, reader);
      if (value === null) continue;
      const node = e.node(value, reader, site.attachment.span);
      const { dims } = f.type;
      const at = dims.findIndex((d) => d.kind === "Name" && d.text === name);
      if (at < 0) continue;
      const fromEnd = dims.length - at;
      const d = node.type.shape[node.type.shape.length - fromEnd];
      if (d !== undefined) return sizeValue(d);
    }
    fail("P0405", site.attachment.span, `the size ${name} of ${site.role?.name ?? "the site"} is not known at ${site.path}`);
  };
}
