/**
 * Which value a name has for whom. Attachments edit nothing in place: `x := e` adds an edit to what has the name (a module, a site, a
 * parameter, a state, the loss), and a reader picks one of the versions.
 */
import type * as ast from "../ast.ts";
import type { Attachment, Site } from "./attachment.ts";
import type { MethodLine } from "./method-frame.ts";

export interface Edit {
  readonly site: Site;
  readonly line: MethodLine;
  /** Runs by line, then by site, across the whole file. */
  readonly stamp: number;
}

/** Who reads: a line of an attachment at one of its sites, or the model (`undefined`), which sees the last version. */
export interface Reader {
  readonly attachment: Attachment;
  readonly stamp: number;
}

/** Anything whose names can be rebound. */
export class Editable {
  readonly edits = new Map<string, Edit[]>();

  rebind(name: string, edit: Edit): void {
    const list = this.edits.get(name);
    if (list) list.push(edit);
    else this.edits.set(name, [edit]);
  }
}

/** Whether `other` is the attachment itself or one that made it. */
function madeBy(attachment: Attachment, other: Attachment): boolean {
  for (let a: Attachment | undefined = attachment; a; a = a.maker?.attachment) if (a === other) return true;
  return false;
}

/**
 * The edit whose value the reader gets, or `undefined` for the first version. A line takes the newest version before its stamp, then steps
 * over later ones up to the next that its own attachment, or one that made it, wrote. `holds` says whether an edit applies here at all
 * (its `if` may go the other way, its attachment may be outside the stage).
 */
export function pick(edits: readonly Edit[] | undefined, reader: Reader | undefined, holds: (edit: Edit) => boolean): Edit | undefined {
  if (!edits) return undefined;
  const live = edits.filter((e) => !e.site.detached);
  // `holds` may decide conditions that read names themselves: it is asked only where the answer matters
  if (!reader) return live.findLast(holds);
  const later = live.findIndex((e) => e.stamp >= reader.stamp);
  const start = later < 0 ? live.length : later;
  let found = live.slice(0, start).findLast(holds);
  let own: Edit[] = [];
  for (const e of live.slice(start)) {
    if (madeBy(reader.attachment, e.site.attachment)) own.push(e);
    else {
      if (own.some(holds)) break;
      own = [];
      if (holds(e)) found = e;
    }
  }
  return found;
}

/** The name under which what an iteration of a loop carries out is rebound. */
export const carriedKey = (loop: ast.For, iteration: number, name: string): string => `${loop.span.start}#${iteration}.${name}`;
