/** Prefixes and prompts, which PEFT keeps as one table for the whole model. */
import { Bug, InputError } from "../../ir/errors.ts";
import type { Json } from "../files.ts";
import { encodeHeads } from "./encode-heads.ts";
import { evaluate } from "./expression.ts";
import { rolesIn } from "./folder.ts";
import type { MethodMapping, PeftMapping } from "./mapping.ts";
import { type Encoded, type OutAdapter, type OutAttachment, type OutParam, Unsayable } from "./out.ts";
import { axisNames, makeView, writeView } from "./view.ts";

export function encodeTable(
  mapping: PeftMapping,
  config: Record<string, Json>,
  adapter: OutAdapter,
  task: string | undefined,
): Encoded | Unsayable {
  const methods = mapping.methods.filter(
    (candidate) =>
      !candidate.readOnly &&
      adapter.attachments.some((attachment) => attachment.method === candidate.method && attachment.from === candidate.from),
  );
  if (methods.length === 0) return new Unsayable(`${adapter.attachments[0].method} alone is nothing that PEFT saves`);
  const method = methods.find(({ tasks }) => tasks === undefined || tasks.includes(task ?? ""));
  if (method === undefined)
    return new Unsayable(`PEFT's ${config.peft_type} acts otherwise in a model of the class ${adapter.base.module}`);
  const [attachment, ...more] = adapter.attachments.filter(({ method: name }) => name === method.method);
  if (more.length > 0) return new Unsayable(`PEFT holds one ${method.method} in a folder; here are ${more.length + 1}`);
  const odd = checkOptions(method, attachment, config, task) ?? checkPlaces(method, attachment, adapter);
  if (odd !== undefined) return odd;
  const scope = bindSizes(method, attachment);
  const alone = checkCompanions(method, scope, adapter);
  if (alone !== undefined) return alone;
  const meeting = checkParts(method, attachment, scope, config);
  if (meeting !== undefined) return meeting;
  const tensors = gather(method, attachment, scope);
  for (const [param, key] of Object.entries(method.shared ?? {})) tensors.set(key, attachment.shared[param]);
  for (const [field, value] of Object.entries(method.when ?? {})) config[field] = value;
  for (const [field, expression] of Object.entries(method.writes ?? {})) {
    try {
      config[field] = evaluate(expression, scope, attachment.name);
    } catch (error) {
      // a division with a rest
      if (error instanceof InputError) return new Unsayable(`PEFT has no such ${field}: ${error.message}`);
      throw error;
    }
  }
  for (const [name, { computed }] of Object.entries(method.options))
    if (computed !== undefined && attachment.options[name] !== evaluate(computed, config, attachment.name))
      return new Unsayable(`PEFT knows ${method.method} with ${name} = ${computed} only; here it is ${attachment.options[name]}`);
  for (const [field, expression] of Object.entries(method.fromConfig ?? {}))
    config[field] = evaluate(expression, adapter.base.config, "the base's config.json");
  const unsaid = encodeHeads(mapping, config, adapter, task, new Set(), tensors);
  return unsaid ?? { config, floats: mapping.floats, tensors };
}

function checkOptions(
  method: MethodMapping,
  attachment: OutAttachment,
  config: Record<string, Json>,
  task: string | undefined,
): Unsayable | undefined {
  for (const [name, value] of Object.entries(attachment.options)) {
    const option = method.options[name];
    if (option === undefined) {
      if (!method.silent?.includes(name)) return new Unsayable(`PEFT has no field for the option ${name} of ${method.method}`);
    } else if (option.computed !== undefined) continue;
    else if (option.field !== undefined) config[option.field] = value as Json;
    else if (!option.either?.includes(task ?? "")) {
      const wanted = option.given ?? option.values?.[task ?? ""] ?? option.otherwise;
      if (value !== wanted) return new Unsayable(`PEFT knows ${method.method} with ${name}: ${JSON.stringify(wanted)} only, for this task`);
    }
  }
  return undefined;
}

/** PEFT's tables have a part for every layer. */
function checkPlaces(method: MethodMapping, attachment: OutAttachment, adapter: OutAdapter): Unsayable | undefined {
  const wanted = method.everywhere === undefined ? undefined : evaluate(method.everywhere, adapter.base.config, "the base's config.json");
  if (wanted === undefined ? attachment.sites.length === 1 : attachment.sites.length === wanted) return undefined;
  return new Unsayable(`PEFT's table has a part for each of ${wanted ?? 1} places; ${attachment.name} is at ${attachment.sites.length}`);
}

/** Sizes by name, from the shapes of the first site's parameters and of those that are shared, and from options. All sites must agree. */
function bindSizes(method: MethodMapping, attachment: OutAttachment): Record<string, number> {
  const scope: Record<string, number> = { sites: attachment.sites.length };
  for (const [name, { field }] of Object.entries(method.options))
    if (field !== undefined && typeof attachment.options[name] === "number") scope[name] = attachment.options[name];
  for (const [param, names] of Object.entries(method.axes ?? {}))
    names.forEach((name, axis) => {
      scope[name] = attachment.shared[param].shape[axis];
    });
  for (const { path, params } of attachment.sites) {
    for (const [param, view] of Object.entries(method.views ?? {})) {
      axisNames(view).forEach((name, axis) => {
        const size = params[param]?.shape[axis];
        if (size === undefined || (scope[name] ?? size) !== size)
          throw new Bug(`parameter ${param} at ${path} has another shape than it should`);
        scope[name] = size;
      });
    }
  }
  for (const [name, expression] of Object.entries(method.bind ?? {})) scope[name] = evaluate(expression, scope, attachment.name);
  return scope;
}

function checkCompanions(method: MethodMapping, scope: Readonly<Record<string, number>>, adapter: OutAdapter): Unsayable | undefined {
  for (const companion of method.companions ?? []) {
    const present = adapter.attachments.some(
      (attachment) =>
        attachment.method === companion.method &&
        attachment.from === companion.from &&
        Object.entries(companion.options).every(
          ([name, expression]) => attachment.options[name] === evaluate(expression, scope, attachment.name),
        ),
    );
    // a model without such a place needs none
    const { kinds } = adapter.base;
    const nowhere = companion.optional && kinds !== undefined && rolesIn(companion.at).some((role) => !kinds.has(role));
    if (!present && !nowhere) return new Unsayable(`${companion.why}: that is ${method.method} together with ${companion.method}`);
  }
  return undefined;
}

/** Places that share a part of PEFT's table must have the same values. */
function checkParts(
  method: MethodMapping,
  { sites, name }: OutAttachment,
  scope: Readonly<Record<string, number>>,
  { peft_type }: Readonly<Record<string, Json>>,
): Unsayable | undefined {
  const seen = new Map<string, { readonly path: string; readonly values: ArrayLike<number> }>();
  for (const [index, { path, params }] of sites.entries())
    for (const [param, view] of Object.entries(method.views ?? {})) {
      const part = JSON.stringify([view.of, makeView(view, { ...scope, index }, name)]);
      const other = seen.get(part);
      if (other === undefined) seen.set(part, { path, values: params[param].values() });
      else if (Array.prototype.some.call(params[param].values(), (v: number, i: number) => v !== other.values[i]))
        return new Unsayable(`PEFT's ${peft_type} has one part for \`${other.path}\` and \`${path}\` together, which here differ`);
    }
  return undefined;
}

function gather(method: MethodMapping, attachment: OutAttachment, scope: Readonly<Record<string, number>>): Map<string, OutParam> {
  const tensors = new Map<string, OutParam>();
  for (const tensor of new Set(Object.values(method.views ?? {}).map((view) => view.of))) {
    const parts = Object.entries(method.views ?? {}).filter(([, view]) => view.of === tensor);
    const first = parts[0][1];
    const sizes = (of: readonly string[]) => of.map((size) => evaluate(size, scope, attachment.name));
    const full = sizes(first.reshape);
    const count = full.reduce((a, b) => a * b, 1);
    // PEFT's tables have a row for each token
    const shape = first.as === undefined ? [full[0], count / full[0]] : sizes(first.as);
    tensors.set(tensor, {
      shape,
      values: () => {
        const whole = new Float32Array(count);
        for (const [index, { params }] of attachment.sites.entries()) {
          for (const [param, view] of parts) writeView(makeView(view, { ...scope, index }, attachment.name), params[param].values(), whole);
        }
        return whole;
      },
    });
  }
  return tensors;
}
