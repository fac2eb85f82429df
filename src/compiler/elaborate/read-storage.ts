/** What a name of a parameter, a state or the loss is for whom reads it: the last edit that the reader sees, once a graph for each version. */
import type { Span } from "../../ir/graph.ts";
import { onlySubject } from "./attachment.ts";
import { context, maybeContext } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { methodFrame } from "./method-frame.ts";
import type { Here } from "./scope.ts";
import type { Storage } from "./storage.ts";
import { builderAt } from "./tensors.ts";
import { Tensor, type Value } from "./values.ts";
import { pick } from "./versions.ts";

/** A name of a parameter or state (`value`, `grad`, `lr`, `next` …) as the reader sees it, once a graph for each version. */
export function readStorage(e: Elaborator, storage: Storage, name: string, here: Here, span: Span): Value {
  const ctx = maybeContext();
  if (ctx === undefined)
    fail("P0505", span, "this value is known only while a stage runs", {
      label: "not while the file is read",
      notes: ["it may be used in an objective or a method; no size, `if` or `for` may hang on it"],
    });
  const edit = pick(storage.edits.get(name), here.reader, (x) => {
    if (!ctx.holds(x, name)) return false;
    return methodFrame(x.site, x.site.place.kind === "param" ? undefined : onlySubject(x.site)).reaches(x.line);
  });
  let byName = ctx.reads.get(storage);
  if (!byName) {
    byName = new Map();
    ctx.reads.set(storage, byName);
  }
  let versions = byName.get(name);
  if (!versions) {
    versions = new Map();
    byName.set(name, versions);
  }
  const known = versions.get(edit);
  if (known !== undefined) return known;
  const value = edit
    ? methodFrame(edit.site, edit.site.place.kind === "param" ? undefined : onlySubject(edit.site)).lineValue(edit.line)
    : firstVersion(e, storage, name, here, span);
  versions.set(edit, value);
  return value;
}

function firstVersion(e: Elaborator, storage: Storage, name: string, here: Here, span: Span): Value {
  const ctx = context();
  // a parameter belongs to no iteration of a loop: its node is the same for all who read it
  const b = builderAt({ path: storage.name, training: here.training, calls: "" }, storage.span);
  if (name === "value") {
    ctx.params.set(storage.name, storage);
    return new Tensor(
      storage.role === "state"
        ? b.state(storage.name, { dtype: storage.dtype, shape: storage.shape })
        : b.param(storage.name, storage.shape),
    );
  }
  if (name === "next" && storage.role === "state") return readStorage(e, storage, "value", { ...here, reader: undefined }, span);
  if (name === "init") {
    e.initials.set(`${storage.name}@init`, storage);
    return new Tensor(b.param(`${storage.name}@init`, storage.shape));
  }
  const first = ctx.firstVersion?.(storage, name, span);
  if (first === undefined) fail("P0505", span, `\`.${name}\` belongs to an update: it has no value here`);
  return first;
}

export function readLoss(e: Elaborator, reader: Here): Value {
  const ctx = context();
  const edit = pick(
    e.loss.edits.get("loss"),
    reader.reader,
    (x) => ctx.holds(x, "loss") && methodFrame(x.site, onlySubject(x.site)).reaches(x.line),
  );
  if (!edit) return new Tensor(e.objectives.base());
  return methodFrame(edit.site, onlySubject(edit.site)).lineValue(edit.line);
}
