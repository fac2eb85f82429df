/** A stage's result in the layouts of other tools: adapters as PEFT keeps them, whole models as transformers does. */
import type { AttachmentReport, ModelReport, Project } from "../../compiler/project.ts";
import { copiedIn, type Mappings, modelTypeOf } from "../../formats/adapters/mapping.ts";
import { writeObjectives } from "../../formats/adapters/objectives.ts";
import type { Origin, OutAdapter, OutAttachment, OutParam } from "../../formats/adapters/out.ts";
import { writeProvenance } from "../../formats/adapters/provenance.ts";
import { readAdapter } from "../../formats/adapters/read.ts";
import { verdictLines, verdicts } from "../../formats/adapters/verdicts.ts";
import { writeAdapter } from "../../formats/adapters/write.ts";
import { readConfig } from "../../formats/config.ts";
import { type Files, type JsonRecord, joinPath } from "../../formats/files.ts";
import { type ModelFolder, writeModel } from "../../formats/model.ts";
import { tokenizerOf } from "../../formats/tokenizer/tokenizer.ts";
import { Bug } from "../../ir/errors.ts";
import type { Graph } from "../../ir/graph.ts";
import { interpret } from "../../ir/interpret.ts";
import type { Artefacts, Parts } from "../host.ts";
import { tensorOf } from "../values.ts";

/** Values of a parameter or a state. */
type Value = (name: string) => Float32Array;

/** What a model's attachments come to, with values: one adapter for each model. Attachments without parameters that act on others come along. */
export function outAdapters(
  project: Project,
  files: Files,
  mappings: Mappings,
  { attachments, heads }: Pick<Parts, "attachments" | "heads">,
  value: Value,
): { readonly model: string; readonly adapter: OutAdapter }[] {
  const param = paramOf(project);
  const state = (name: string): OutParam => ({
    shape: project.states.get(name)!.shape.map(Number),
    values: () => Float32Array.from(value(name)),
  });
  const pathOf = (name: string) => project.params.get(name)!.path;
  const params = (names: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(names).map(([path, name]) => [path, param(name, value)]));
  const computed = (graph: Graph): OutParam => {
    const { shape } = graph.results[0].node.type;
    const params = { get: (name: string) => tensorOf("f32", project.params.get(name)!.shape, value(name)) };
    return { shape: shape.map(Number), values: () => Float32Array.from([...interpret(graph, { params }).values()][0].data) };
  };
  const attachment = (report: AttachmentReport): OutAttachment => ({
    name: report.name,
    method: report.method,
    from: report.declaredIn,
    options: report.options,
    sites: report.sites.map((site) => ({
      path: site.path,
      also: site.also,
      role: site.role,
      turned: site.turned,
      params: params(site.params),
      states: Object.fromEntries(Object.entries(site.states).map(([name, full]) => [name, state(full)])),
    })),
    shared: params(report.shared),
  });
  const made = (graphs: Readonly<Record<string, Graph>>) =>
    Object.fromEntries(Object.entries(graphs).map(([name, graph]) => [name, computed(graph)]));
  /** As it is when its training is over. */
  const finished = (report: AttachmentReport): OutAttachment => {
    const { outcome } = report;
    const own = attachment(report);
    if (outcome === undefined) return own;
    return {
      ...own,
      sites: own.sites.map((site, i) => {
        const { values, params: kept } = outcome.sites[i];
        return { ...site, params: { ...made(values), ...params(kept) } };
      }),
      shared: { ...made(outcome.common), ...params(outcome.shared) },
      outcome: { method: outcome.method, from: outcome.declaredIn, options: outcome.options },
    };
  };
  const trained = project.attachments.filter((a) => attachments.includes(a.name));
  const reports = project.attachments.filter(
    (a) => trained.includes(a) || (hasNothing(a) && trained.some((b) => isCompanion(a, b, mappings))),
  );
  return [...new Set(reports.map((a) => a.model))].map((name) => {
    const model = project.models.find((m) => m.name === name);
    if (model === undefined) throw new Bug(`attachments of ${name}, which is no model`);
    const own = reports.filter((a) => a.model === name);
    const names = new Map(model.params.map((param) => [pathOf(param), param]));
    return {
      model: name,
      adapter: {
        attachments: own.map(finished),
        origin: originOf(own, files, mappings),
        heads: Object.fromEntries(headsOf(model, heads).map((head) => [pathOf(head), param(head, value)])),
        base: {
          name: model.folder,
          module: model.module,
          config: configOf(model, files, mappings),
          shapes: new Map(Object.entries(model.shapes)),
          ties: model.ties,
          copied: copiedIn(Object.keys(model.shapes), mappings),
          param: (path) => param(names.get(path)!, value),
          kinds: new Set(Object.values(model.modules).flat()),
        },
      },
    };
  });
}

const paramOf =
  (project: Project) =>
  (name: string, value: Value): OutParam => {
    const declared = project.params.get(name);
    if (declared === undefined) throw new Bug(`no parameter is called ${name}`);
    return { shape: declared.shape, values: () => value(name) };
  };

/** `classesOf`: names of the classes in what a stage was trained on (none given: in everything), to their numbers. */
export function artefactsFor(
  project: Project,
  files: Files,
  mappings: Mappings,
  classesOf: (data: Parts["data"]) => ReadonlyMap<string, number> | undefined = () => undefined,
): Artefacts {
  const pathOf = (name: string) => project.params.get(name)!.path;
  const param = paramOf(project);
  const along = (folder: string, { objectives }: Parts, value: Value): void =>
    writeObjectives(files, folder, Object.fromEntries(objectives.map((name) => [name, param(name, value)])));

  return {
    adapter(folder, parts, value, made) {
      const adapters = outAdapters(project, files, mappings, parts, value);
      if (adapters.length === 0 && parts.models.length === 0) along(folder, parts, value);
      return adapters.flatMap(({ model, adapter }) => {
        const written = writeAdapter(files, adapters.length === 1 ? folder : joinPath(folder, model), adapter, mappings);
        const record = made?.get(model);
        if (record !== undefined) for (const w of written) writeProvenance(files, w.folder, { ...record, classes: classesOf(parts.data) });
        for (const w of written) along(w.folder, parts, value);
        return written.map((w) => w.folder);
      });
    },

    verdicts(parts, value) {
      const adapters = outAdapters(project, files, mappings, parts, value);
      return adapters.flatMap(({ model, adapter }) =>
        verdictLines(verdicts(adapter, mappings)).map((line) => (adapters.length === 1 ? line : `${model}: ${line}`)),
      );
    },

    models(folder, parts, value, dtype = "F32") {
      const { models, attachments } = parts;
      return models.map((name) => {
        const model = project.models.find((m) => m.name === name);
        if (model === undefined) throw new Bug(`${name} is no model`);
        const target = models.length === 1 && attachments.length === 0 ? folder : joinPath(folder, name);
        writeModel(files, target, {
          config: model.folder === undefined ? configOf(model, files, mappings) : { folder: model.folder },
          changes: {
            fields: { ...changedIn(model), ...namesFor(model, classesOf(parts.data)) },
            floats: model.floats,
            module: model.module,
            dtype,
          },
          tensors: [...new Set(model.params)].map((p) => ({
            name: pathOf(p),
            shape: project.params.get(p)!.shape,
            dtype,
            values: () => value(p),
          })),
          companions: model.folder,
          tokenizer: wordsOf(model, files),
        });
        along(target, parts, value);
        return target;
      });
    },
  };
}

/** Names of classes as `config.json` has them, for a model with as many; one that has names keeps them. */
function namesFor({ config }: ModelReport, classes: ReadonlyMap<string, number> | undefined): JsonRecord {
  if (classes === undefined || config.num_labels !== classes.size || Math.max(...classes.values()) !== classes.size - 1) return {};
  const names = [...classes].sort(([, a], [, b]) => a - b);
  return {
    num_labels: classes.size,
    id2label: Object.fromEntries(names.map(([name, id]) => [String(id), name])),
    label2id: Object.fromEntries(names),
  };
}

/** The tokenizer that goes with a model: a folder's, or, where only some of its tokens are kept, one in files of its own. */
function wordsOf({ tokenizer }: ModelReport, files: Files): ModelFolder["tokenizer"] {
  if (typeof tokenizer !== "object") return tokenizer;
  return tokenizerOf(files, tokenizer)?.description;
}

/** The one folder that they were all loaded from, as it was. */
function originOf(reports: readonly AttachmentReport[], files: Files, mappings: Mappings): Origin | undefined {
  const [folder, ...more] = new Set(reports.flatMap((a) => a.folders));
  const all = reports.every((a) => a.folders.length === 1);
  return folder === undefined || more.length > 0 || !all ? undefined : readAdapter(files, folder, mappings);
}

/** Whether an attachment has no parameters: it changes how others act. */
function hasNothing(a: AttachmentReport): boolean {
  return Object.keys(a.shared).length === 0 && a.sites.every((site) => Object.keys(site.params).length === 0);
}

/** Whether some layout can hold `b` only together with `a`. */
function isCompanion(a: AttachmentReport, b: AttachmentReport, mappings: Mappings): boolean {
  if (a.model !== b.model) return false;
  const is = (said: { readonly method: string; readonly from: string }, { method, declaredIn }: AttachmentReport) =>
    said.method === method && said.from === declaredIn.replace(/\.peft$/, "");
  if ([...mappings.tasks.values()].some((c) => is(c, a))) return true;
  return [...mappings.peft.values()].some(({ methods }) => methods.some((m) => is(m, b) && m.companions?.some((c) => is(c, a))));
}

/** What the file says, with what the program made of it; for a model without a file its class says the type. */
function configOf(model: ModelReport, files: Files, mappings: Mappings): JsonRecord {
  const read = model.folder === undefined ? undefined : readConfig(files, model.folder);
  const type = modelTypeOf(mappings, model.module);
  const config: JsonRecord = { ...(type !== undefined && { model_type: type }), ...read, ...(model.config as JsonRecord) };
  // where a configuration is silent, transformers takes the numbers of the architecture's first tokenizer, which may lie outside of this vocabulary
  const silent = ["bos", "eos"].filter((role) => config[`${role}_token_id`] === undefined);
  const tokenizer = model.tokenizer === undefined || silent.length === 0 ? undefined : tokenizerOf(files, model.tokenizer);
  const found = silent.flatMap((role) => (tokenizer?.ids[role] === undefined ? [] : [[`${role}_token_id`, tokenizer.ids[role]] as const]));
  // versions of transformers that write only what differs from a class's defaults leave this out; readers ask the file
  const separate = model.inputs.includes("decoder_input_ids") && { is_encoder_decoder: true };
  return { ...config, ...(separate || {}), ...Object.fromEntries(found) };
}

/** What the program made of the folder's configuration; for a model without a folder nothing, since all is new. */
function changedIn({ folder, config, changed }: ModelReport): JsonRecord {
  return folder === undefined ? {} : Object.fromEntries(changed.map((name) => [name, (config as JsonRecord)[name]]));
}

function headsOf(model: ModelReport, heads: Parts["heads"]): string[] {
  return heads.filter((head) => model.params.includes(head));
}
