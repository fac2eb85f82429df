/** Reading an adapter and writing it again: nothing may change. */
import type { Project, TrainStage } from "../../../src/compiler/project.ts";
import { asInCheckpoints } from "../../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../../src/formats/adapters/read.ts";
import { writeLibrary } from "../../../src/formats/adapters/write-library.ts";
import { type JsonRecord, readRecord } from "../../../src/formats/files.ts";
import { MemoryFiles } from "../../../src/formats/memory.ts";
import { artefactsFor, outAdapters } from "../../../src/train/run/artefacts.ts";
import type { ValueStore } from "../../../src/train/values.ts";
import type { Bench } from "./trial.ts";
import { overlaid, readVectors, same, type Vectors } from "./vectors.ts";

/**
 * What differs between the adapter in `folder` and what is written for the compiled program that loaded it. An adapter in PEFT's layout must come out in it, tensor by
 * tensor; of other layouts, the values of every method at every place must come back.
 */
export function rewriteProblems(
  { files, mappings }: Bench,
  folder: string,
  project: Project,
  train: TrainStage | undefined,
  values: ValueStore,
): string[] {
  if (train === undefined) return [];
  if (readAdapter(files, folder, mappings)!.layout === "adapters")
    return libraryProblems({ files, mappings }, folder, project, train, values);
  const memory = new MemoryFiles();
  // the memory's own root, so that nothing of the original is seen in its place
  const written = artefactsFor(project, overlaid(files, memory), mappings).adapter("/written", train, (name) => values.param(name));
  const before = readAdapter(files, folder, mappings)!;
  const problems: string[] = [];
  // trained parameters of the base alone are written as a model
  if (before.parts.length === 0) return problems;
  if (before.layout === "peft" && !written.some((place) => readAdapter(memory, place, mappings)!.layout === "peftc")) {
    if (written.length !== 1) return [`written into ${written.length} folders: ${written.join(", ")}`];
    const path = `${written[0]}/adapter_model.safetensors`;
    // names of newer versions of transformers come out as those of checkpoints, which both versions load
    const wrapper = "base_model.model.";
    const keyed = (key: string) => (key.startsWith(wrapper) ? wrapper + asInCheckpoints(mappings, key.slice(wrapper.length)) : key);
    const read = readVectors(files, `${folder}/adapter_model.safetensors`);
    const own = new Map([...read].map(([key, v]) => [keyed(key), v]));
    const again = readVectors(memory, path);
    const respelt = [...read.keys()].some((key) => keyed(key) !== key);
    const copies = new Set(Object.values(before.copies));
    for (const [key, v] of own) {
      // copies of base weights only came along
      if (copies.has(key)) continue;
      const w = again.get(key);
      if (w === undefined) problems.push(`${key} is lost in writing`);
      else if (!same(v, w)) problems.push(`${key} changes in writing`);
    }
    for (const key of again.keys()) if (!own.has(key)) problems.push(`${key} is new in writing`);
    const config = readAdapter(memory, written[0], mappings)!.config;
    const compared = respelt ? { ...config, target_modules: before.config.target_modules } : config;
    problems.push(...configProblems(before.config, compared));
    return problems;
  }
  for (const place of written) {
    const back = readAdapter(memory, place, mappings)!;
    for (const part of back.parts) {
      // what is left of a method once its training is over is another method's; its values are compared where the case has them
      const outcome = project.attachments.some(
        (a) =>
          a.outcome?.method === part.method &&
          before.parts.some((p) => p.method === a.method) &&
          !before.parts.some((p) => p.method === part.method),
      );
      if (outcome) continue;
      // a selector names places by their numbers only
      const numbered = (paths: readonly { readonly path: string }[]) => paths.every(({ path }) => path.includes("*"));
      const like = before.parts.find(
        (p) =>
          p.method === part.method &&
          p.sites.length === part.sites.length &&
          (numbered(p.sites) || part.sites.every(({ path }) => p.sites.some((s) => samePlace(s.path, path)))),
      );
      if (like === undefined) {
        problems.push(`${part.method} comes back at other places: ${part.sites.map((s) => s.path).join(", ")}`);
        continue;
      }
      part.sites.forEach((site, i) => {
        // files name places in an order of their own
        const own = numbered(like.sites) ? like.sites[i] : like.sites.find((s) => samePlace(s.path, site.path))!;
        for (const [param, key] of Object.entries(site.params)) {
          const [a, b] = [back.read(key), before.read(own.params[param])];
          if (a.length !== b.length || a.some((x, j) => x !== b[j]))
            problems.push(`${part.method} at ${site.path}: ${param} changes in writing`);
        }
      });
    }
  }
  return problems;
}

/** What is written for the compiled program: configuration and tensors of the one folder. */
export function writtenAgain(
  { files, mappings }: Bench,
  project: Project,
  train: TrainStage,
  value: (name: string) => Float32Array,
): { readonly config: JsonRecord; readonly tensors: Vectors } {
  const memory = new MemoryFiles();
  const [place] = artefactsFor(project, overlaid(files, memory), mappings).adapter("/written", train, value);
  return { config: readAdapter(memory, place, mappings)!.config, tensors: readVectors(memory, `${place}/adapter_model.safetensors`) };
}

/** The same of an adapter whose tensors are made from what is trained, in f64 here and f32 there. */
export function remadeProblems(bench: Bench, folder: string, project: Project, train: TrainStage, values: ValueStore): string[] {
  const { config, tensors } = writtenAgain(bench, project, train, (name) => values.param(name));
  const problems = configProblems(readAdapter(bench.files, folder, bench.mappings)!.config, config);
  const own = readVectors(bench.files, `${folder}/adapter_model.safetensors`);
  for (const [key, v] of own) {
    const w = tensors.get(key);
    if (w === undefined || w.shape.join() !== v.shape.join()) problems.push(`${key} is lost in writing`);
    else if (Array.prototype.some.call(v.data, (x: number, i: number) => !(Math.abs(x - w.data[i]) <= 1e-5)))
      problems.push(`${key} changes in writing`);
  }
  for (const key of tensors.keys()) if (!own.has(key)) problems.push(`${key} is new in writing`);
  return problems;
}

/** Our layout says which role a module was taken in, also where there is one only. */
function samePlace(a: string, b: string): boolean {
  const [[module, role], [other, taken]] = [a.split(":"), b.split(":")];
  return module === other && (role === undefined || role === taken);
}

/** Fields of `adapter_config.json` that come out otherwise. */
function configProblems(own: JsonRecord, again: JsonRecord): string[] {
  const problems: string[] = [];
  for (const field of new Set([...Object.keys(own), ...Object.keys(again)])) {
    // lists of names are sets in PEFT, written in any order
    const spelt = (v: unknown) => (Array.isArray(v) && v.every((x) => typeof x === "string") ? [...v].sort() : v);
    const [a, b] = [own[field], again[field]].map((v) => (v === undefined ? "nothing" : JSON.stringify(spelt(v))));
    // what was not loaded names the folder as it is found from here
    const moved = field === "base_model_name_or_path" && String(again[field]).endsWith(`/${own[field]}`);
    if (a !== b && !moved) problems.push(`the field ${field} was ${a} and becomes ${b}`);
  }
  return problems;
}

/** The same for the adapters library, as the program holds the adapter: tensor by tensor, and its configuration. */
function libraryProblems(
  { files, mappings }: Pick<Bench, "files" | "mappings">,
  folder: string,
  project: Project,
  train: TrainStage,
  values: ValueStore,
): string[] {
  const before = readAdapter(files, folder, mappings)!;
  const value = (name: string) => values.param(name);
  const param = (name: string) => ({ shape: project.params.get(name)!.shape, values: () => value(name) });
  const params = (names: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(names).map(([path, name]) => [path, param(name)]));
  const [{ adapter }] = outAdapters(project, files, mappings, train, value);
  const attachments = project.attachments
    .filter(({ name }) => train.attachments.includes(name))
    .map((a) => ({
      name: a.name,
      method: a.method,
      from: a.declaredIn,
      options: a.options,
      sites: a.sites.map(({ path, role, params: own }) => ({ path, role, params: params(own) })),
      shared: params(a.shared),
    }));
  const memory = new MemoryFiles();
  writeLibrary(memory, "/written", { ...adapter, attachments, heads: {} }, mappings, { name: String(before.config.name) });
  const own = readVectors(files, `${folder}/adapter.safetensors`);
  const again = readVectors(memory, "/written/adapter.safetensors");
  return [
    ...[...own].flatMap(([key, v]) => {
      const w = again.get(key);
      return w === undefined ? [`${key} is lost in writing`] : same(v, w) ? [] : [`${key} changes in writing`];
    }),
    ...[...again.keys()].filter((key) => !own.has(key)).map((key) => `${key} is new in writing`),
    ...configProblems(before.config.config as JsonRecord, readRecord(memory, "/written/adapter_config.json").config as JsonRecord),
  ];
}
