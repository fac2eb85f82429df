/**
 * What a case's file says of each of our parameters. Its keys are those of the checkpoint or of the adapter's file, and every parameter of ours names the
 * tensor that it came from (or the part of one): so other tensors under the same keys are read as if they were the file's.
 */
import type { ParamDecl, Project } from "../../../src/compiler/project.ts";
import type { Mappings } from "../../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../../src/formats/adapters/read.ts";
import { makeView, readView } from "../../../src/formats/adapters/view.ts";
import type { Files } from "../../../src/formats/files.ts";
import { MemoryFiles } from "../../../src/formats/memory.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import type { Adapting } from "./adapting.ts";
import { overlaid, readVectors, same, type Vectors } from "./vectors.ts";

interface Found {
  /** Key of the case's file. */
  readonly key: string;
  readonly data: ArrayLike<number>;
  /** Where an element of the tensor lies in the parameter; left out: in the same order. */
  readonly place?: (i: number) => number;
}
/** What some tensors by key hold for a parameter: one for all of it, or several for its parts. */
export type Reader = (param: ParamDecl) => readonly Found[];

/** Where the tensors of an adapter's folder are. */
const weightsOf = (files: Files, folder: string): string =>
  ["adapter_model.safetensors", "adapter.safetensors", "model_adapter_fusion.safetensors"]
    .map((name) => `${folder}/${name}`)
    .find((path) => files.stat(path) !== undefined)!;

/** Models: the key is the path. */
export const byPath =
  (tensors: Vectors): Reader =>
  ({ path }) => {
    const v = tensors.get(path);
    return v === undefined ? [] : [{ key: path, data: v.data }];
  };

/** Adapters in `folder`: the key is that of the adapter's tensor. Libraries repeat shared tensors under several keys, of which the case has one. */
export function byAdapter(files: Files, folder: string, mappings: Mappings): (tensors: Vectors) => Reader {
  const path = weightsOf(files, folder);
  const own = readVectors(files, path);
  const twins = new Map<string, string[]>();
  for (const [key, v] of own) twins.set(key, [key, ...[...own.keys()].filter((other) => other !== key && same(v, own.get(other)!))]);
  return (tensors) => {
    const keys = new Map([...own.keys()].map((key) => [key, twins.get(key)!.find((twin) => tensors.has(twin))]));
    const memory = new MemoryFiles();
    writeSafetensors(
      memory,
      path,
      [...own].map(([key, v]) => {
        const from = keys.get(key);
        return { name: key, shape: v.shape, dtype: "F32" as const, values: () => (from === undefined ? v : tensors.get(from)!).data };
      }),
    );
    const adapter = readAdapter(overlaid(files, memory), folder, mappings)!;
    return ({ source }) => {
      if (source.kind !== "file") return [];
      const { tensor } = source;
      const whole = keys.has(tensor) ? tensor : [...keys.keys()].find((key) => tensor.startsWith(`${key}[`));
      const key = whole === undefined ? undefined : keys.get(whole);
      return key === undefined ? [] : [{ key, data: adapter.read(tensor) }];
    };
  };
}

/** Parameters of the attachment `a` that the case's file calls otherwise. */
export function byName(project: Project, renamed: NonNullable<Adapting["renamed"]>): (tensors: Vectors) => Reader {
  const report = project.attachments.find((a) => a.name === "a")!;
  const places = new Map<string, { path: string; site: number; at: string }>();
  report.sites.forEach(({ path: at, params }, site) => {
    for (const [path, name] of Object.entries(params)) places.set(name, { path, site, at });
  });
  for (const [path, name] of Object.entries(report.shared)) places.set(name, { path, site: 0, at: report.sites[0].path });
  return (tensors) =>
    ({ name }) => {
      const place = places.get(name);
      const found = place && renamed(place.path, place.site, place.at);
      const whole = found && tensors.get(found.key);
      if (!whole) return [];
      const { key, view } = found;
      if (view === undefined) return [{ key, data: whole.data }];
      const slots = 2 * report.sites.length;
      const scope = { slots, index: place.site, dim: whole.shape[0] / slots, hidden: whole.shape[1] ?? 1 };
      return [{ key, data: readView(makeView(view, scope, key), whole.data) }];
    };
}

/** Parameters of the model by path that an adapter's file holds under some key. */
export const byKey =
  (keys: Readonly<Record<string, string>>) =>
  (tensors: Vectors): Reader =>
  ({ owner, path }) => {
    const key = owner.kind === "model" ? keys[path] : undefined;
    const v = key === undefined ? undefined : tensors.get(key);
    return key === undefined || v === undefined ? [] : [{ key, data: v.data }];
  };

/** A tensor of the case's file that is a parameter, or the part of one that begins at `from` along `axis`. */
export interface Part {
  readonly key: string;
  readonly axis?: number;
  readonly from?: number;
}
/** Parameters by the names that a case gives them; keys that the tensors do not have are parts that are not there. */
export const byParts =
  (partsOf: (param: ParamDecl) => readonly Part[]) =>
  (tensors: Vectors): Reader =>
  (param) =>
    partsOf(param).flatMap(({ key, axis, from }) => {
      const v = tensors.get(key);
      if (v === undefined) return [];
      if (axis === undefined) return [{ key, data: v.data }];
      const [size, whole] = [v.shape[axis], param.shape[axis]];
      const inner = v.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
      const place = (i: number) => Math.floor(i / (size * inner)) * whole * inner + (i % (size * inner)) + (from ?? 0) * inner;
      return [{ key, data: v.data, place }];
    });

/** The first that knows the parameter. */
export const firstOf =
  (...readers: readonly Reader[]): Reader =>
  (param) => {
    for (const read of readers) {
      const found = read(param);
      if (found.length > 0) return found;
    }
    return [];
  };
