/**
 * Which base and which tokenizer an adapter was made on, as hashes that go with it, and whether those at hand are the same.
 *
 * Hashed are the parameters that a trained attachment sits on: those of the modules at its sites themselves. Where all sites are modules without parameters of their own (a
 * prompt's), it is a sample of the model: its first matrix (the embedding) and its last numbered layer. Heads that are saved along are left out.
 *
 * A hash is of the shape and the values as f32, little-endian, under the parameter's path in the model's class: what is computed with, however it is kept. So one file, shards, a
 * trunk with or without its prefix, old spellings of names, and bf16 stored as f32 all give the same; a base rounded to fewer bits gives another, and is another.
 * Values are read by positions, a piece at a time, never a whole large tensor.
 */
import type { AttachmentReport, ModelReport, ParamDecl, Project, TokenizerSource, TrainStage } from "../../compiler/project.ts";
import type { Problem } from "../../compiler/report/problem.ts";
import { type Provenance, readProvenance } from "../../formats/adapters/provenance.ts";
import { isAdapter } from "../../formats/adapters/read.ts";
import { hasWeights } from "../../formats/checkpoint.ts";
import { type Files, joinPath, pythonJson, readBytes } from "../../formats/files.ts";
import { TensorStore } from "../../formats/safetensors/read.ts";
import { TOKENIZER_FILES, tokenizerOf } from "../../formats/tokenizer/tokenizer.ts";
import type { Weights } from "../../ground/weights.ts";
import { Bug, InputError } from "../../ir/errors.ts";
import type { Span } from "../../ir/graph.ts";
import type { OpenFolder, ValueStore } from "../values.ts";
import { digestOf, sha256 } from "./identity.ts";

/** Numbers that are hashed at a time: 16 MB. The hash depends on it. */
const PIECE = 1 << 22;
/** Names that a message tells. */
const NAMED = 3;

/** What an adapter's record says that is not so here. */
export interface Comparison {
  /** Tensors that could be compared, and those of them that differ, by path. */
  readonly compared: readonly string[];
  readonly differing: readonly string[];
  /** Files of the tokenizer that differ from those of `tokenizerFolder`. */
  readonly tokenizer: readonly string[];
  readonly tokenizerFolder: string | undefined;
}

type Value = (name: string) => Float32Array;

/** An adapter's record, or a warning about it where it is not sound (P0697, P0685 to P0687): the adapter itself can be used without. Neither: it has none. */
export function soundProvenance(files: Files, folder: string, span?: Span): { record?: Provenance | undefined; problems: Problem[] } {
  try {
    return { record: readProvenance(files, folder), problems: [] };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { problems: [{ code: error.code, severity: "warning", message: error.message, span, notes: error.notes }] };
  }
}

export class Provenances {
  /** Hashes of tensors in files, and of arrays, which are never changed in place. */
  private readonly stored = new Map<string, Promise<string>>();
  private readonly held = new WeakMap<Float32Array, Promise<string>>();
  private readonly said = new Set<AttachmentReport>();
  private room: Float32Array | undefined;

  constructor(
    private readonly project: Project,
    private readonly sources: { readonly files: Files; readonly open: OpenFolder },
    private readonly values: ValueStore,
    private readonly version: string,
  ) {}

  /** For each model with attachments that the stage trains, what they sit on now. `value`: parameters that the stage trains. */
  async of(stage: TrainStage, value: Value): Promise<ReadonlyMap<string, Provenance>> {
    const trained = this.project.attachments.filter((a) => stage.attachments.includes(a.name));
    const tokenizer = await this.tokenizerIn(stage.tokenizer);
    const out = new Map<string, Provenance>();
    for (const name of new Set(trained.map((a) => a.model))) {
      const base: Record<string, string> = {};
      for (const param of touched(this.project, this.model(name), trained, stage.heads)) {
        const hash = stage.trained.includes(param.name) ? await this.hashArray(param, value(param.name)) : await this.hash(param, false);
        if (hash !== undefined) base[param.path] = hash;
      }
      out.set(name, { writtenBy: { name: "peftc", version: this.version }, base, tokenizer });
    }
    return out;
  }

  /** The record against a model as it is now. Parameters that only one of them has are not compared. */
  async compare(record: Provenance, model: string): Promise<Comparison> {
    const compared: string[] = [];
    const differing: string[] = [];
    const params = new Map([...new Set(this.model(model).params)].map((name) => this.param(name)).map((p) => [p.path, p] as const));
    for (const [path, then] of Object.entries(record.base)) {
      const param = params.get(path);
      const now = param && (await this.hash(param, true));
      if (now === undefined) continue;
      compared.push(path);
      if (now !== then) differing.push(path);
    }
    return { compared, differing, ...(await this.compareTokenizer(record, model)) };
  }

  /** Warnings about an adapter's folder on a model: P0695 another base · P0696 another tokenizer · P0697 and others where its record is not sound. None without a record. */
  async problems(folder: string, model: string, span?: Span): Promise<Problem[]> {
    const { record, problems } = soundProvenance(this.sources.files, folder, span);
    if (record === undefined) return problems;
    const { compared, differing, tokenizer, tokenizerFolder } = await this.compare(record, model);
    const out: Problem[] = [];
    if (differing.length > 0) {
      const base = this.model(model).folder;
      const some = differing.slice(0, NAMED).map((path) => `\`${path}\``);
      const more = differing.length - some.length;
      out.push({
        code: "P0695",
        severity: "warning",
        message: `\`${folder}\` was trained on another base than \`${model}\`${base === undefined ? "" : ` from \`${base}\``}`,
        span,
        notes: [
          `${differing.length} of ${compared.length} tensors of the base differ: ${some.join(", ")}${more > 0 ? ` and ${more} more` : ""}`,
          "give the model the weights that the adapter was trained on, or train it again on these",
        ],
      });
    }
    if (tokenizer.length > 0) {
      out.push({
        code: "P0696",
        severity: "warning",
        message: `\`${folder}\` was trained with another tokenizer than that of \`${tokenizerFolder}\``,
        span,
        notes: [`what differs: ${tokenizer.map((name) => `\`${name}\``).join(", ")}`, "the same text may be other tokens now"],
      });
    }
    return out;
  }

  /** The same for what the file itself loads and attaches in front of `before`, once each; all of it without. */
  async loaded(before?: Span): Promise<Problem[]> {
    const out: Problem[] = [];
    for (const a of this.project.attachments) {
      const later = before !== undefined && a.span.file === before.file && a.span.start > before.start;
      // what was detached everywhere is on no model
      if (a.folders.length === 0 || a.sites.length === 0 || later || this.said.has(a)) continue;
      const { folders, model } = a;
      // an adapter of several methods is several attachments
      for (const b of this.project.attachments) if (b.folders.join("\n") === folders.join("\n") && b.model === model) this.said.add(b);
      for (const folder of folders) out.push(...(await this.problems(folder, model, a.span)));
    }
    return out;
  }

  private async compareTokenizer(record: Provenance, model: string): Promise<Pick<Comparison, "tokenizer" | "tokenizerFolder">> {
    const used = this.project.actions.flatMap((a) => (a.kind === "stage" && a.stage.tokenizer !== undefined ? [a.stage.tokenizer] : []));
    const own = this.model(model).folder;
    const sources = used.length > 0 ? [...new Set(used)] : own === undefined ? [] : [own];
    let first: Pick<Comparison, "tokenizer" | "tokenizerFolder"> | undefined;
    for (const source of sources) {
      const now = await this.tokenizerIn(source);
      const folder = typeof source === "string" ? source : source.folder;
      const both = Object.keys(record.tokenizer).filter((name) => now[name] !== undefined);
      if (both.length === 0) continue;
      const tokenizer = both.filter((name) => now[name] !== record.tokenizer[name]);
      // a file may have models with several tokenizers: one of them will do
      if (tokenizer.length === 0) return { tokenizer, tokenizerFolder: folder };
      first ??= { tokenizer, tokenizerFolder: folder };
    }
    return first ?? { tokenizer: [], tokenizerFolder: undefined };
  }

  private async tokenizerIn(source: TokenizerSource | undefined): Promise<Readonly<Record<string, string>>> {
    const out: Record<string, string> = {};
    if (source === undefined) return out;
    const { files } = this.sources;
    if (typeof source === "object") {
      // as its model is saved
      const description = tokenizerOf(files, source)?.description ?? {};
      for (const [name, json] of Object.entries(description)) out[name] = await digestOf(new TextEncoder().encode(pythonJson(json)));
      return out;
    }
    const folder = source;
    for (const name of TOKENIZER_FILES) {
      const path = joinPath(folder, name);
      if (files.stat(path)?.kind === "file") out[name] = await once(this.stored, path, () => digestOf(readBytes(files, path)));
    }
    return out;
  }

  /** `undefined`: it has no values yet (`draw`: such are drawn), or its folder has no weights. */
  private hash(param: ParamDecl, draw: boolean): Promise<string> | undefined {
    const { source } = param;
    if (this.values.isHeld(param.name) || (source.kind === "start" && draw)) return this.hashArray(param, this.values.param(param.name));
    // a number is made by the run
    if (source.kind === "start" || source.kind === "number") return undefined;
    if (source.kind === "copy") return this.hash(this.param(source.of), draw);
    const { folder, tensor } = source;
    const { files, open } = this.sources;
    if (!isAdapter(files, folder) && !hasWeights(files, folder)) return undefined;
    return once(this.stored, JSON.stringify([folder, tensor]), () => {
      const store = open(folder);
      if (store === undefined) throw new Bug(`${folder} had weights and has none`);
      if (!(store instanceof TensorStore)) return hashOf(param.shape, pieces(Float32Array.from(store.read(tensor))));
      return this.hashWeights(param.shape, store.weights(tensor));
    });
  }

  /** Reads into one room, again and again: a room a piece would stand in memory until somebody collects it. */
  private async hashWeights(shape: readonly number[], weights: Weights): Promise<string> {
    const size = Math.min(PIECE, weights.length);
    const room = this.room !== undefined && this.room.length >= size ? this.room : new Float32Array(size);
    this.room = undefined;
    const hash = await hashOf(
      shape,
      (async function* () {
        for (let at = 0; at < weights.length || at === 0; at += PIECE) {
          const piece = room.subarray(0, Math.min(PIECE, weights.length - at));
          await weights.fill(piece, at);
          yield piece;
        }
      })(),
    );
    this.room = room;
    return hash;
  }

  private hashArray({ shape }: ParamDecl, values: Float32Array): Promise<string> {
    const known = this.held.get(values);
    if (known !== undefined) return known;
    const made = hashOf(shape, pieces(values));
    this.held.set(values, made);
    return made;
  }

  private param(name: string): ParamDecl {
    const found = this.project.params.get(name);
    if (found === undefined) throw new Bug(`no parameter is called ${name}`);
    return found;
  }

  private model(name: string): ModelReport {
    const found = this.project.models.find((m) => m.name === name);
    if (found === undefined) throw new Bug(`no model is called ${name}`);
    return found;
  }
}

/** Parameters of a model that attachments sit on, in model order, without `heads`; the sample where there are none. */
function touched(project: Project, model: ModelReport, attachments: readonly AttachmentReport[], heads: readonly string[]): ParamDecl[] {
  const params = [...new Set(model.params)].filter((name) => !heads.includes(name)).map((name) => project.params.get(name)!);
  const sites = new Set(attachments.filter((a) => a.model === model.name).flatMap((a) => a.sites.map((site) => site.path)));
  const own = params.filter(({ path }) => sites.has(path) || sites.has(path.slice(0, Math.max(0, path.lastIndexOf(".")))));
  if (own.length > 0) return own;
  const numbered = params.map(({ path }) => /^.*?\.\d+\./.exec(path)?.[0]).filter((layer) => layer !== undefined);
  const last = numbered.at(-1);
  const matrix = params.find(({ shape }) => shape.length > 1);
  return params.filter((param) => param === matrix || (last !== undefined && param.path.startsWith(last)));
}

function* pieces(values: Float32Array): Generator<Float32Array> {
  for (let at = 0; at < values.length || at === 0; at += PIECE) yield values.subarray(at, at + PIECE);
}

function hashOf(shape: readonly number[], values: Iterable<Float32Array> | AsyncIterable<Float32Array>): Promise<string> {
  return sha256(
    (async function* () {
      yield `f32[${shape.join(",")}]`;
      yield* values;
    })(),
  );
}

function once(known: Map<string, Promise<string>>, key: string, make: () => Promise<string>): Promise<string> {
  const found = known.get(key) ?? make();
  known.set(key, found);
  return found;
}
