/** An adapter's folder as read: what the compiler asks for, and the values behind its keys. */
import type { AdapterFile, AdapterPart, Chosen } from "../../ground/adapter.ts";
import { InputError } from "../../ir/errors.ts";
import type { Json, JsonRecord } from "../files.ts";
import type { Values } from "../safetensors/dtype.ts";
import type { TensorStore } from "../safetensors/read.ts";
import { fillRows, readView, type Thinned, type View } from "./view.ts";

export interface AdapterContents extends Omit<AdapterFile, "shapes"> {
  readonly layout: "peft" | "adapters" | "peftc" | "mlx";
  readonly taskType: string | undefined;
  /** Untrained copies of base weights that came along, not needed: path to key. */
  readonly copies: Readonly<Record<string, string>>;
  /** The configuration file, as it is. */
  readonly config: JsonRecord;
  /** Fields of the configuration that are not known, and what a reader should be told. */
  readonly unknownFields: readonly string[];
  readonly notes: readonly string[];
}

/** What a reader found; what a layout does not know may be left out. */
type Found = Omit<AdapterContents, Rarely> & Partial<Pick<AdapterContents, Rarely>>;
type Rarely = "apart" | "heads" | "copies" | "objectives" | "unknownFields" | "notes";

/** A part of a tensor of the file, or one that lacks rows there, under a key of its own. */
export type PartOfTensor =
  | { readonly of: string; readonly view: View; readonly thinned?: undefined }
  | { readonly of: string; readonly thinned: Thinned };

/** In front of keys of the objectives' own file. */
const OBJECTIVE = "objectives: ";

export class AdapterFolder implements AdapterContents, AdapterFile {
  readonly layout;
  readonly base;
  readonly taskType;
  readonly parts;
  readonly heads: AdapterContents["heads"];
  readonly apart: AdapterContents["apart"];
  readonly elsewhere: AdapterContents["elsewhere"];
  readonly copies: AdapterContents["copies"];
  readonly objectives: AdapterContents["objectives"];
  readonly config;
  readonly unknownFields: AdapterContents["unknownFields"];
  readonly notes: AdapterContents["notes"];
  readonly shapes: Readonly<Record<string, readonly number[]>>;

  constructor(
    contents: Found,
    private readonly store: TensorStore,
    private readonly views: ReadonlyMap<string, PartOfTensor> = new Map(),
    private readonly along?: TensorStore,
  ) {
    this.layout = contents.layout;
    this.base = contents.base;
    this.taskType = contents.taskType;
    this.parts = contents.parts;
    this.heads = contents.heads ?? {};
    this.apart = contents.apart ?? [];
    this.elsewhere = contents.elsewhere;
    this.copies = contents.copies ?? {};
    this.config = contents.config;
    this.unknownFields = contents.unknownFields ?? [];
    this.notes = contents.notes ?? [];
    const shapes: Record<string, readonly number[]> = {};
    for (const { name, shape } of store.tensors.values()) shapes[name] = shape;
    for (const [key, part] of views) shapes[key] = (part.thinned ?? part.view).shape;
    const objectives: Record<string, string> = {};
    for (const { name, shape } of along?.tensors.values() ?? []) {
      objectives[name] = OBJECTIVE + name;
      shapes[OBJECTIVE + name] = shape;
    }
    this.objectives = objectives;
    this.shapes = shapes;
  }

  /** The same with what objectives trained, by the names of their parameters. */
  withObjectives(along: TensorStore): AdapterFolder {
    return new AdapterFolder(this, this.store, this.views, along);
  }

  /** Values of a key that a part, `heads`, `copies` or `objectives` names. P0623: no such key. */
  read(key: string): Values {
    if (this.along !== undefined && key.startsWith(OBJECTIVE)) return this.along.read(key.slice(OBJECTIVE.length));
    const part = this.views.get(key);
    if (part === undefined) return this.store.read(key);
    return part.thinned === undefined ? readView(part.view, this.store.read(part.of)) : fillRows(part.thinned, this.store.read(part.of));
  }
}

/** Names of roles and modules in a selector. */
export const rolesIn = (selector: string): string[] => [...selector.matchAll(/:\s*(\w+)/g)].map(([, role]) => role);

/** Refuses a tensor that has not as many elements as the configuration says (P0666). */
export function checkTable(store: TensorStore, key: string, view: View, file: string): void {
  const { shape } = store.info(key);
  const count = shape.reduce((a, b) => a * b, 1);
  if (count !== view.whole) {
    throw new InputError(
      "P0666",
      `\`${file}\`: tensor \`${key}\` has shape [${shape.join(", ")}], ${count} numbers, but by adapter_config.json it should have ${view.whole}`,
    );
  }
}

/** Sites in order, gathered into parts of equal method, options and shared tensors. */
export class PartBuilder {
  private readonly parts = new Map<
    string,
    {
      method: string;
      from: string;
      options: Readonly<Record<string, Json>>;
      or?: readonly Chosen[];
      sites: AdapterPart["sites"][number][];
      shared: Readonly<Record<string, string>>;
      numbered: Readonly<Record<string, readonly string[]>>;
      drawn?: AdapterPart["drawn"];
    }
  >();

  add(
    mapping: { readonly method: string; readonly from: string },
    options: Readonly<Record<string, Json>>,
    site: AdapterPart["sites"][number] | undefined,
    shared: Readonly<Record<string, string>> = {},
    numbered: Readonly<Record<string, readonly string[]>> = {},
    or: readonly Chosen[] = [],
    drawn?: AdapterPart["drawn"],
  ): void {
    const id = JSON.stringify([mapping.method, mapping.from, options, shared, or]);
    let part = this.parts.get(id);
    if (part === undefined) {
      part = {
        method: mapping.method,
        from: mapping.from,
        options,
        ...(or.length > 0 ? { or } : {}),
        sites: [],
        shared,
        numbered,
        ...(drawn && { drawn }),
      };
      this.parts.set(id, part);
    }
    if (site !== undefined) part.sites.push(site);
  }

  done(): AdapterPart[] {
    return [...this.parts.values()];
  }
}

/** Paths as people count: `layer.2` before `layer.10`. */
export function comparePaths(a: string, b: string): number {
  const left = a.split(".");
  const right = b.split(".");
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    if (left[i] === right[i]) continue;
    const numbers = /^\d+$/.test(left[i]) && /^\d+$/.test(right[i]);
    return numbers ? Number(left[i]) - Number(right[i]) : left[i] < right[i] ? -1 : 1;
  }
  return left.length - right.length;
}
