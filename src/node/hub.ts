/**
 * `hf://org/name[@revision][/path]` and `hf://datasets/org/name[@revision][/path]`: files of the Hugging Face hub, kept in its usual cache, so that other tools and this one share
 * what either has fetched. They are fetched before a program is compiled; what reads them afterwards reads files of this machine.
 */
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream } from "node:stream/web";
import { datasetInfo, downloadFile, HubApiError, type ListFileEntry, listFiles, modelInfo } from "@huggingface/hub";
import { InputError } from "../ir/errors.ts";

const SCHEME = "hf://";
export const isHub = (source: string): boolean => source.startsWith(SCHEME);

export interface HubSource {
  /** As it is written. */
  readonly source: string;
  readonly type: "model" | "dataset";
  /** `org/name`. */
  readonly name: string;
  readonly revision: string;
  /** Inside; empty: all of it. */
  readonly path: string;
}

/** P0676: it does not name a repository. */
export function parseSource(source: string): HubSource {
  const match = /^hf:\/\/(datasets\/|models\/)?([^/@\s]+\/[^/@\s]+)(?:@([^/\s]+))?(?:\/(.*))?$/.exec(source);
  if (match === null)
    throw new InputError("P0676", `\`${source}\` names nothing on the hub`, [
      "a model is `hf://org/name`, data are `hf://datasets/org/name/file.jsonl`; `@revision` may stand behind the name",
    ]);
  const [, type, name, revision = "main", inside = ""] = match;
  return {
    source,
    type: type === "datasets/" ? "dataset" : "model",
    name,
    revision: decodeURIComponent(revision),
    path: inside.replace(/\/+$/, ""),
  };
}

/** What the environment says, as for Python's `huggingface_hub`. */
export interface HubSettings {
  readonly cache: string;
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly offline: boolean;
}

export function hubSettings(env: Readonly<Record<string, string | undefined>> = process.env): HubSettings {
  const home = env.HF_HOME ?? path.join(env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "huggingface");
  const cache = env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? path.join(home, "hub");
  const offline = ["1", "true", "yes", "on"].includes((env.HF_HUB_OFFLINE ?? "").toLowerCase());
  return { cache, endpoint: (env.HF_ENDPOINT ?? "https://huggingface.co").replace(/\/+$/, ""), token: env.HF_TOKEN || undefined, offline };
}

const repoFolder = ({ type, name }: HubSource, { cache }: HubSettings): string =>
  path.join(cache, `${type}s--${name.replaceAll("/", "--")}`);
const COMMIT = /^[0-9a-f]{40}$/;

/** The commit that the cache knows a revision as. */
function cachedCommit(at: HubSource, settings: HubSettings): string | undefined {
  if (COMMIT.test(at.revision)) return at.revision;
  const ref = path.join(repoFolder(at, settings), "refs", at.revision);
  return fs.existsSync(ref) ? fs.readFileSync(ref, "utf8").trim() : undefined;
}

/** Where the cache has a source's files. P0678: it has none of the repository. */
export function cachedPath(source: string, settings = hubSettings()): string {
  const at = parseSource(source);
  const commit = cachedCommit(at, settings);
  const snapshot = commit === undefined ? undefined : path.join(repoFolder(at, settings), "snapshots", commit);
  if (snapshot === undefined || !fs.existsSync(snapshot)) {
    throw new InputError("P0678", `\`${source}\` was not fetched`, [
      settings.offline
        ? "HF_HUB_OFFLINE is set, and the cache does not have it: run once without"
        : "sources of the hub are fetched where a file writes them as one string",
    ]);
  }
  return path.join(snapshot, at.path);
}

/** What fetching tells whoever watches: a file begins, goes on, is there. */
export interface HubProgress {
  readonly source: string;
  readonly file: string;
  readonly done: number;
  readonly bytes: number;
}
export type HubListen = (progress: HubProgress) => void;

/**
 * Fetches what is missing of a source: a file; of a model's or adapter's folder its configuration, tokenizer and weights; of any other folder everything. Offline, or where the hub
 * cannot be reached and the cache has the source, nothing is asked. P0677: the hub has no such thing, or does not give it · P0678: not reachable, and not in the cache.
 */
export async function fetchSource(source: string, listen: HubListen = () => {}, settings = hubSettings()): Promise<void> {
  const at = parseSource(source);
  if (settings.offline) {
    cachedPath(source, settings);
    return;
  }
  try {
    await new Fetch(at, settings, listen).run();
  } catch (error) {
    if (error instanceof HubApiError) throw refusal(at, settings, error);
    if (!unreachable(error)) throw error;
    const commit = cachedCommit(at, settings);
    if (commit !== undefined && fs.existsSync(path.join(repoFolder(at, settings), "snapshots", commit))) return;
    throw new InputError(
      "P0678",
      `\`${source}\` cannot be fetched: ${settings.endpoint} cannot be reached, and the cache does not have it`,
      ["check the connection, or HF_ENDPOINT; once fetched it is read from the cache"],
    );
  }
}

/** `fetch` wraps what the system says into a TypeError. */
const unreachable = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "message" in error && error.message === "fetch failed";

function refusal(at: HubSource, { endpoint, token }: HubSettings, error: HubApiError): InputError {
  const said = typeof error.data?.error === "string" ? [`the hub says: ${error.data.error}`] : [];
  const page = `${endpoint}/${at.type === "dataset" ? "datasets/" : ""}${at.name}`;
  switch (error.statusCode) {
    case 401:
      return new InputError("P0677", `\`${at.source}\` does not exist, or is not for everybody`, [
        ...said,
        token === undefined
          ? "check the name; for what is private or gated set HF_TOKEN"
          : "check the name, and that HF_TOKEN is valid and may read it",
      ]);
    case 403:
      return new InputError("P0677", `\`${at.source}\` is gated: its terms must be accepted first`, [
        ...said,
        `accept them at ${page}`,
        ...(token === undefined ? ["and set HF_TOKEN"] : []),
      ]);
    case 404:
      return new InputError("P0677", `\`${at.source}\` does not exist`, [
        ...said,
        at.type === "model" ? "for data write hf://datasets/…" : "for models leave out `datasets/`",
        ...(at.revision === "main" ? [] : [`is \`${at.revision}\` a branch, tag or commit of it?`]),
      ]);
    default:
      return new InputError("P0677", `\`${at.source}\` cannot be fetched: the hub answers ${error.statusCode}`, said);
  }
}

class Fetch {
  private readonly params;
  private readonly folder: string;

  constructor(
    private readonly at: HubSource,
    settings: HubSettings,
    private readonly listen: HubListen,
  ) {
    const { endpoint, token } = settings;
    this.params = { repo: { type: at.type, name: at.name }, hubUrl: endpoint, ...(token !== undefined && { accessToken: token }) };
    this.folder = repoFolder(at, settings);
  }

  async run(): Promise<void> {
    const { at } = this;
    const { name, revision } = at;
    const { sha } =
      at.type === "model"
        ? await modelInfo({ ...this.params, name, revision, additionalFields: ["sha"] })
        : await datasetInfo({ ...this.params, name, revision, additionalFields: ["sha"] });
    const files: ListFileEntry[] = [];
    for await (const entry of listFiles({ ...this.params, revision: sha, recursive: true })) if (entry.type === "file") files.push(entry);
    const inside = at.path === "" ? files : files.filter((f) => f.path === at.path || f.path.startsWith(`${at.path}/`));
    if (inside.length === 0) throw this.noFile(files);
    for (const file of await this.wanted(inside, sha)) await this.get(file, sha);
    // last, so that a revision the cache names has what was asked for
    if (at.revision !== sha) {
      const ref = path.join(this.folder, "refs", at.revision);
      fs.mkdirSync(path.dirname(ref), { recursive: true });
      fs.writeFileSync(ref, sha);
    }
  }

  private noFile(files: readonly ListFileEntry[]): InputError {
    const { at } = this;
    return new InputError("P0677", `\`${at.source}\` does not exist: ${at.name} has no \`${at.path}\``, [
      `it has: ${files
        .slice(0, 20)
        .map((f) => f.path)
        .join(", ")}${files.length > 20 ? ", …" : ""}`,
    ]);
  }

  /** Of a model's or an adapter's folder what is read of it, safetensors before torch's files; anything else whole. */
  private async wanted(files: readonly ListFileEntry[], sha: string): Promise<readonly ListFileEntry[]> {
    const { at } = this;
    const base = at.path === "" ? "" : `${at.path}/`;
    const own = files.filter((f) => !f.path.slice(base.length).includes("/"));
    const named = (name: string) => own.find((f) => f.path === base + name);
    if (!MARKS.some((name) => named(name) !== undefined)) return files;
    const small = files.filter((f) => SMALL.test(f.path.slice(base.length)));
    for (const name of ["model.safetensors", "pytorch_model.bin"]) {
      const whole = named(name);
      if (whole !== undefined) return [...small, whole];
      const index = named(`${name}.index.json`);
      if (index === undefined) continue;
      const { weight_map } = JSON.parse(fs.readFileSync(await this.get(index, sha), "utf8")) as { weight_map?: Record<string, string> };
      const shards = new Set(Object.values(weight_map ?? {}));
      return [...small, ...own.filter((f) => shards.has(f.path.slice(base.length)))];
    }
    const safe = own.filter((f) => f.path.endsWith(".safetensors"));
    return [...small, ...(safe.length > 0 ? safe : own.filter((f) => ADAPTERS.test(f.path.slice(base.length))))];
  }

  /** The file in the snapshot, fetched if the cache lacks its bytes. */
  private async get({ path: name, oid, lfs, size }: ListFileEntry, sha: string): Promise<string> {
    const { source } = this.at;
    const place = path.join(this.folder, "snapshots", sha, name);
    const blob = path.join(this.folder, "blobs", lfs?.oid ?? oid ?? "");
    if (!path.resolve(place).startsWith(path.resolve(this.folder)) || !/^[0-9a-f]+$/.test(path.basename(blob)))
      throw new InputError("P0677", `the hub names a file of \`${source}\` that cannot be: ${JSON.stringify(name)}`);
    if (fs.existsSync(place)) return place;
    if (!fs.existsSync(blob)) await this.download(name, sha, size, blob);
    fs.mkdirSync(path.dirname(place), { recursive: true });
    fs.rmSync(place, { force: true });
    try {
      fs.symlinkSync(path.relative(path.dirname(place), blob), place);
    } catch {
      // a system without links has the file twice
      fs.copyFileSync(blob, place);
    }
    return place;
  }

  private async download(name: string, sha: string, bytes: number, blob: string): Promise<void> {
    const { source } = this.at;
    const tell = (done: number) => this.listen({ source, file: name, done, bytes });
    tell(0);
    const content = await downloadFile({ ...this.params, path: name, revision: sha });
    if (content === null) throw new InputError("P0677", `\`${source}\` has no file \`${name}\``);
    fs.mkdirSync(path.dirname(blob), { recursive: true });
    // a name of its own, so that two runs at once do not write into each other's
    const partial = `${blob}.${randomUUID()}.incomplete`;
    let done = 0;
    const counted = async function* (stream: AsyncIterable<Uint8Array>) {
      for await (const piece of stream) {
        done += piece.length;
        tell(Math.min(done, bytes));
        yield piece;
      }
    };
    try {
      await pipeline(Readable.fromWeb(content.stream() as ReadableStream), counted, fs.createWriteStream(partial));
      if (done !== bytes) throw new InputError("P0677", `\`${source}\`: ${name} ended after ${done} of ${bytes} bytes`, ["try again"]);
      fs.renameSync(partial, blob);
    } finally {
      fs.rmSync(partial, { force: true });
    }
    if (bytes === 0) tell(0);
  }
}

/** What makes a folder a model's, an adapter's or a tokenizer's. */
const MARKS = ["config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"];
/** Torch's files of adapters. */
const ADAPTERS = /^(pytorch_)?(adapter_model|adapter|model_adapter_fusion)\.bin$/;
/** Configurations, templates and vocabularies beside the weights. */
const SMALL = /^(?:[^/]+\.(?:json|jinja)|vocab\.txt|merges\.txt|additional_chat_templates\/[^/]+\.jinja)$/;
