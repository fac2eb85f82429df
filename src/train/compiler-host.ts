/** The files that a compiler asks for, answered from any `Files`. */
import type { Host, Program, TokenizerSource } from "../compiler/project.ts";
import { type Combination, combine, nameOfCombination } from "../formats/adapters/combine.ts";
import type { AdapterFolder } from "../formats/adapters/folder.ts";
import { type Mappings, withMappings } from "../formats/adapters/mapping.ts";
import { isAdapter, readAdapter } from "../formats/adapters/read.ts";
import { checkCopies, checkServed, grown, hasWeights, matchCheckpoint, openCheckpoint, type WantedParam } from "../formats/checkpoint.ts";
import { labelCount, readConfig } from "../formats/config.ts";
import { type Files, readText } from "../formats/files.ts";
import type { TensorStore } from "../formats/safetensors/read.ts";
import { type TextTokenizer, tokenizerOf } from "../formats/tokenizer/tokenizer.ts";
import type { OpenFolder } from "./values.ts";

/** The standard library: the text of a file by its path (`std/nn.peft`), and its tree where that was made ahead. */
interface Library {
  source(path: string): string | undefined;
  tree?(path: string, text: string): Program | undefined;
}

/** Opens folders once, for the compiler and for the run after it. */
export class Sources implements Host {
  private readonly checkpoints = new Map<string, TensorStore | undefined>();
  private readonly adapters = new Map<string, AdapterFolder | undefined>();
  private readonly tokenizers = new Map<string, TextTokenizer | undefined>();

  /**
   * `texts`: sources that stand in the place of files; `sizesOnly`: a model's folder may lack its weights.
   */
  constructor(
    readonly files: Files,
    private readonly library: Library,
    private known: Mappings,
    private readonly texts: ReadonlyMap<string, string> = new Map(),
    readonly sizesOnly = false,
    /** Adapters that were combined, by their names: what is compiled and what runs may be two of these. */
    private readonly combined = new Map<string, AdapterFolder>(),
  ) {}

  /** The library's, and those of files that lie beside sources which were read: `mine.hf.json` beside `mine.peft`. */
  get mappings(): Mappings {
    return this.known;
  }
  private readonly beside = new Set<string>();
  private readBeside(source: string): void {
    const path = source.replace(/\.peft$/, ".hf.json");
    if (path === source || this.beside.has(path) || this.files.stat(path)?.kind !== "file") return;
    this.beside.add(path);
    this.known = withMappings(this.known, this.files, [path]);
  }

  /** The same files with one source replaced. */
  with(path: string, text: string): Sources {
    return new Sources(this.files, this.library, this.known, new Map([...this.texts, [path, text]]), this.sizesOnly, this.combined);
  }

  readSource(path: string): string | undefined {
    const text = this.texts.get(path);
    if (text !== undefined) return text;
    if (path.startsWith("std/")) return this.library.source(path);
    const kind = this.files.stat(path)?.kind;
    if (kind === undefined || kind === "folder") return undefined;
    this.readBeside(path);
    return readText(this.files, path);
  }

  readTree(path: string, text: string): Program | undefined {
    return this.texts.has(path) || !path.startsWith("std/") ? undefined : this.library.tree?.(path, text);
  }

  identity(path: string): string {
    return this.files.identity?.(path) ?? path;
  }

  readConfig(folder: string): Readonly<Record<string, unknown>> | undefined {
    const config = readConfig(this.files, folder);
    return config && { ...config, num_labels: labelCount(config) };
  }

  readTensors(folder: string): TensorStore["tensors"] | undefined {
    return this.sizesOnly && !hasWeights(this.files, folder) ? undefined : this.checkpoint(folder)?.tensors;
  }

  matchTensors: Host["matchTensors"] = (params, folder) => {
    const store = this.checkpoint(folder);
    const match = matchCheckpoint(
      [...params.map((p) => standIn(p, this.mappings)), ...otherNames(params, this.mappings)],
      store?.tensors ?? new Map(),
    );
    if (store === undefined) return match;
    checkServed(store, match, folder);
    checkCopies(store, match, folder);
    const larger = grown(store, params, match);
    this.checkpoints.set(folder, larger.store);
    return larger.match;
  };

  readTokenizer(source: TokenizerSource): TextTokenizer | undefined {
    return once(this.tokenizers, JSON.stringify(source), () => tokenizerOf(this.files, source));
  }

  readAdapter(folder: string): AdapterFolder | undefined {
    return once(this.adapters, folder, () => readAdapter(this.files, folder, this.mappings));
  }

  combineAdapters: Required<Host>["combineAdapters"] = (folders, asked) => {
    const combination = asked as Combination;
    const folder = nameOfCombination(folders, combination);
    const read = () =>
      combine(
        folders.map((folder) => ({ folder, adapter: this.readAdapter(folder)! })),
        combination,
        this.mappings,
      );
    return { folder, file: once(this.combined, folder, read) };
  };

  /** Whatever a parameter's source names: an adapter's folder, a combination of some, or a model's. */
  readonly open: OpenFolder = (folder) =>
    this.combined.get(folder) ?? (isAdapter(this.files, folder) ? this.readAdapter(folder) : this.checkpoint(folder));

  private checkpoint(folder: string): TensorStore | undefined {
    return once(this.checkpoints, folder, () => openCheckpoint(this.files, folder));
  }
}

/** With the tensor that serves the parameter where a checkpoint has none of its own. */
function standIn(param: WantedParam, { otherwise }: Mappings): WantedParam {
  const rule = otherwise.find(([pattern]) => pattern.test(param.path));
  return rule === undefined ? param : { ...param, otherwise: param.path.replace(...rule) };
}

/** Names under which checkpoints hold a parameter, beside its own. */
function otherNames(params: readonly WantedParam[], { copied }: Mappings): WantedParam[] {
  const own = new Set(params.map(({ path }) => path));
  return params.flatMap(({ path, shape, tiedTo }) =>
    tiedTo !== undefined
      ? []
      : copied
          .filter(([pattern]) => pattern.test(path))
          .map(([pattern, name]) => path.replace(pattern, name))
          .filter((name) => !own.has(name))
          .map((name) => ({ path: name, shape, tiedTo: path })),
  );
}

function once<T>(known: Map<string, T>, key: string, make: () => T): T {
  if (!known.has(key)) known.set(key, make());
  return known.get(key)!;
}
