import type { Span } from "../../ir/graph.ts";
import { own } from "../../ir/own.ts";
import type * as ast from "../ast.ts";
import { Attachment, onlySubject, Site } from "./attachment.ts";
import { context, maybeContext } from "./context.ts";
import type { Elaborator } from "./elaborator.ts";
import { fail } from "./fault.ts";
import { forwardOf, Instance } from "./instance.ts";
import { methodFrame } from "./method-frame.ts";
import type { Scope } from "./scope.ts";
import { childPlaces } from "./select.ts";
import { parameterNames, Storage, stateNames } from "./storage.ts";
import { builderAt, building, isTensor } from "./tensors.ts";
import {
  CallValue,
  Dataset,
  describe,
  Evaluated,
  Fields,
  Selection,
  SiteNames,
  sizeValue,
  Tensor,
  Tokenizer,
  type Value,
} from "./values.ts";

/** `object.name`. Not found is an error that says what there is. */
export function readMember(e: Elaborator, object: Value, name: ast.Name, scope: Scope, span: Span): Value {
  const v = member(e, object, name.text, span, scope);
  if (v !== undefined) return v;
  const { what, valid } = namesOf(object);
  fail("P0202", name.span, `${what} has no \`${name.text}\``, {
    label: `no \`${name.text}\` in ${what}`,
    notes: [
      ...(valid.length > 0 ? [`${what} has: ${valid.slice(0, 12).join(", ")}${valid.length > 12 ? ", …" : ""}`] : []),
      ...e.suggestions(name.text, valid),
    ],
  });
}

/** What `object.name` is, or `undefined` where there is no such name. */
export function member(e: Elaborator, object: Value, name: string, span: Span, scope: Scope): Value | undefined {
  if (object instanceof Fields) return object.entries.get(name) ?? (object.entries.has(name) ? null : undefined);
  if (object instanceof CallValue) {
    const { frame } = object;
    const path = object.roleNames?.get(name);
    const v = path ? frame.readPath(path, { ...frame.here, reader: undefined }, span) : frame.read(name);
    if (v !== undefined) return v;
    const child = frame.instance.scope.find(name) && frame.instance.block.thunkBefore(name)?.force();
    if (child instanceof Instance) return new CallValue(frame.callOf(child, span));
    return tensorMember(e, object, name, span, scope);
  }
  if (object instanceof Storage) return storageMember(e, object, name, span, scope);
  if (object instanceof Tensor) return tensorMember(e, object, name, span, scope);
  if (object instanceof Instance) return instanceMember(e, object, name);
  if (object instanceof Evaluated) return instanceMember(e, object.instance, name);
  if (object instanceof Selection) return childPlaces(e, object, name, span);
  if (object instanceof Attachment) return attachmentMember(e, object, name, span, scope);
  if (object instanceof Site) return siteMember(object, name, scope);
  if (object instanceof SiteNames) return object.read(name);
  if (object instanceof Dataset) return name === "held" ? new Dataset({ ...object.spec, part: "held" }) : undefined;
  if (object instanceof Tokenizer) return name === "size" ? object.size : own(object.ids, name);
  if (Array.isArray(object) && object.length > 0 && object.every((x) => x instanceof Instance))
    return childPlaces(
      e,
      new Selection(
        object.map((instance) => ({ kind: "module", instance }) as const),
        "",
      ),
      name,
      span,
    );
  return undefined;
}

function instanceMember(e: Elaborator, object: Instance, name: string): Value | undefined {
  if (object.slots.has(name)) return object.parameter(name);
  const bound = object.block.thunkBefore(name);
  if (bound) return bound.force();
  if (name === "config" && object.holder?.kind === "root") {
    for (const v of object.args.values()) if (v instanceof Fields) return v;
  }
  if (name === "tokenizer" && object.holder?.kind === "root") return e.tokenizerOf(object);
  if (object.args.has(name)) return object.args.get(name);
  if (object.decl.members.some((m) => m.kind === "Function" && m.name.text === name)) return object.scope.find(name)!(object.scope.here);
  // a path of digits below a list: `mlp.0`
  if (/^\d+$/.test(name)) return undefined;
  // inside a step: a value of the one call
  return undefined;
}

function storageMember(e: Elaborator, object: Storage, name: string, span: Span, scope: Scope): Value | undefined {
  const names: readonly string[] = object.role === "state" ? stateNames : parameterNames;
  if (names.includes(name)) return e.readStorage(object, name, scope.here, span);
  return tensorMember(e, object, name, span, scope);
}

function tensorMember(e: Elaborator, object: Value, name: string, span: Span, scope: Scope): Value | undefined {
  if (name !== "T" && name !== "shape" && name !== "grad") return undefined;
  if (!isTensor(object)) return undefined;
  const node = e.node(object, scope.here, span);
  if (name === "shape") return node.type.shape.map(sizeValue);
  const b = builderAt(scope.here, span);
  if (name === "T") return new Tensor(building(span, () => b.swapLast(node)));
  const loss = context().finishedLoss;
  if (!loss)
    fail("P0507", span, "`.grad` is the gradient of the finished loss: it can be read in an update only", {
      notes: ["use `grad(e, x)` for a gradient inside a loss"],
    });
  return new Tensor(building(span, () => b.grad(loss(), node)));
}

function attachmentMember(_e: Elaborator, object: Attachment, name: string, span: Span, scope: Scope): Value | undefined {
  const user = scope.here.methodFrame?.site;
  const site = object.sites.length === 1 ? object.sites[0] : user ? object.sites.find((s) => s.path === user.path) : undefined;
  if (site) return siteMember(site, name, scope);
  if (object.shared.has(name)) return object.shared.get(name) as Value;
  if (object.sites.length !== 1)
    fail("P0305", span, `\`${object.name}\` has ${object.sites.length} sites: say which one's \`${name}\` is meant`, {
      notes: [`${object.name}[0].${name}`],
    });
  return undefined;
}

/** A name of a site: what it made, else what its method says in the one call there is. */
function siteMember(site: Site, name: string, scope: Scope): Value | undefined {
  if (site.params.has(name)) return site.params.get(name) ?? null;
  const s = site.statements.find(
    (x) => x.kind === "Binding" && x.op === "=" && x.targets.some((t) => t.names.length === 1 && t.names[0].text === name),
  );
  if (s?.kind === "Binding") {
    const kept = site.sharedThunk(
      s,
      s.targets.findIndex((t) => t.names[0].text === name),
    );
    if (kept) return kept.force();
  }
  // while attachments are being made there is no call: sizes and options have values all the same
  if (!maybeContext()) return site.scope.find(name)?.(site.scope.here);
  const frame = methodFrame(site, onlySubject(site));
  return frame.read(name, { ...frame.here, reader: scope.here.reader });
}

function namesOf(object: Value): { what: string; valid: string[] } {
  if (object instanceof Fields) return { what: object.type?.name ?? "the record", valid: [...object.entries.keys()] };
  if (object instanceof Instance)
    return {
      what: object.decl.name.text,
      valid: [...new Set([...[...object.bindings()].map(([n]) => n), ...object.slots.keys(), ...object.args.keys()])],
    };
  if (object instanceof CallValue) {
    const { frame } = object;
    const forward = forwardOf(frame.instance.decl)!;
    return {
      what: `a call of ${frame.instance.decl.name.text}`,
      valid: [...forward.results.map((p) => p.name.text), ...forward.params.map((p) => p.name.text)],
    };
  }
  if (object instanceof Storage)
    return { what: `the ${object.role} ${object.name}`, valid: [...(object.role === "state" ? stateNames : parameterNames), "T", "shape"] };
  if (object instanceof Tokenizer) return { what: "the tokenizer", valid: ["size", ...Object.keys(object.ids)] };
  if (isTensor(object)) return { what: "a tensor", valid: ["T", "shape", "grad"] };
  return { what: describe(object), valid: [] };
}
