/**
 * `hf://org/name[@revision][/path]` and `hf://datasets/org/name[@revision][/path]`: files of the Hugging Face hub, kept in its usual cache, so that other tools and this one share
 * what either has fetched. They are fetched before a program is compiled; what reads them afterwards reads files of this machine.
 */
import fs from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import type { HubApiError } from "@huggingface/hub";
import { fileFailure, isRecord } from "../formats/files.ts";
import { parseJson } from "../formats/json.ts";
import { InputError } from "../ir/errors.ts";
import { printable } from "../ir/printable.ts";
import { download } from "./hub-download.ts";
import { HubHttp, Unreachable } from "./hub-http.ts";
import { type HubFile, type HubSource, hubFile, isCommit, parseSource } from "./hub-names.ts";

/** What the environment says, as for Python's `huggingface_hub`. */
interface HubSettings {
  readonly cache: string;
  readonly endpoint: string;
  readonly token: string | undefined;
  readonly offline: boolean;
  /** Seconds without a byte after which a connection is given up. */
  readonly patience: number;
  /** Answers to one source before it counts as endless. */
  readonly answers?: number;
}

export function hubSettings(env: Readonly<Record<string, string | undefined>> = process.env): HubSettings {
  const home = env.HF_HOME ?? path.join(env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "huggingface");
  const cache = env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? path.join(home, "hub");
  const offline = ["1", "true", "yes", "on"].includes((env.HF_HUB_OFFLINE ?? "").toLowerCase());
  const endpoint = (env.HF_ENDPOINT ?? "https://huggingface.co").replace(/\/+$/, "");
  const seconds = Number(env.HF_HUB_DOWNLOAD_TIMEOUT);
  return { cache, endpoint, token: env.HF_TOKEN?.trim() || undefined, offline, patience: seconds > 0 && seconds < 86_400 ? seconds : 30 };
}

const repoFolder = ({ type, name }: HubSource, { cache }: HubSettings): string =>
  path.join(cache, `${type}s--${name.replaceAll("/", "--")}`);

/** The commit that the cache knows a revision as. */
function cachedCommit(at: HubSource, settings: HubSettings): string | undefined {
  if (isCommit(at.revision)) return at.revision;
  const ref = path.join(repoFolder(at, settings), "refs", at.revision);
  if (fs.statSync(ref, { throwIfNoEntry: false })?.isFile() !== true) return undefined;
  const commit = fs.readFileSync(ref, "utf8").trim();
  return isCommit(commit) ? commit : undefined;
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
interface HubProgress {
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
    if (isRefusal(error)) throw refusal(at, settings, error);
    if (isSystemError(error)) throw fileFailure(settings.cache, error.code, error.message);
    if (!(error instanceof Unreachable)) throw error;
    const commit = cachedCommit(at, settings);
    if (commit !== undefined && fs.existsSync(path.join(repoFolder(at, settings), "snapshots", commit))) return;
    throw new InputError(
      "P0678",
      `\`${source}\` cannot be fetched: ${settings.endpoint} cannot be reached, and the cache does not have it`,
      [
        printable(error.message),
        "check the connection, or HF_ENDPOINT; once fetched it is read from the cache, and what broke off is gone on with",
      ],
    );
  }
}

const isSystemError = (error: unknown): error is { code: string; message: string } =>
  typeof error === "object" && error !== null && "code" in error && "syscall" in error;

const isRefusal = (error: unknown): error is HubApiError =>
  error instanceof Error && "statusCode" in error && typeof error.statusCode === "number";

function refusal(at: HubSource, { endpoint, token }: HubSettings, error: HubApiError): InputError {
  const said = typeof error.data?.error === "string" ? [`the hub says: ${printable(error.data.error).slice(0, 500)}`] : [];
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
  private readonly http: HubHttp;

  constructor(
    private readonly at: HubSource,
    settings: HubSettings,
    private readonly listen: HubListen,
  ) {
    this.http = new HubHttp(settings);
    // without the token: `http` sends it to whom it is for
    this.params = { repo: { type: at.type, name: at.name }, hubUrl: settings.endpoint, fetch: this.http.whole };
    this.folder = repoFolder(at, settings);
  }

  async run(): Promise<void> {
    const { at } = this;
    const { files, sha } = await this.listing();
    const inside = at.path === "" ? files : files.filter((f) => f.path === at.path || f.path.startsWith(`${at.path}/`));
    if (inside.length === 0) throw this.noFile(files);
    for (const file of await this.wanted(inside, sha)) await this.get(file, sha);
    // last, so that a revision the cache names has what was asked for
    if (at.revision !== sha) {
      const ref = path.join(this.folder, "refs", at.revision);
      fs.mkdirSync(path.dirname(ref), { recursive: true });
      fs.writeFileSync(`${ref}.${process.pid}.part`, sha);
      fs.renameSync(`${ref}.${process.pid}.part`, ref);
    }
  }

  private async listing(): Promise<{ readonly files: readonly HubFile[]; readonly sha: string }> {
    const { at } = this;
    const { name, revision, source } = at;
    const unsound = (what: string) =>
      new InputError("P0677", `the hub answers about \`${source}\` with ${what}`, ["try again; is HF_ENDPOINT a hub?"]);
    const { datasetInfo, listFiles, modelInfo } = await import("@huggingface/hub");
    const answered = async <T>(work: Promise<T>): Promise<T> => {
      try {
        return await work;
      } catch (error) {
        if (["SyntaxError", "TypeError"].includes((error as { name?: string } | null)?.name ?? ""))
          throw unsound("something that is not its JSON");
        throw error;
      }
    };
    const of = { ...this.params, name, revision, additionalFields: ["sha"] as "sha"[] };
    const { sha } = await answered(at.type === "model" ? modelInfo(of) : datasetInfo(of));
    if (!isCommit(sha)) throw unsound("no commit");
    const files: HubFile[] = [];
    await answered(
      (async () => {
        for await (const entry of listFiles({ ...this.params, revision: sha, recursive: true }))
          if (entry.type === "file") files.push(hubFile(source, entry));
      })(),
    );
    return { files, sha };
  }

  private noFile(files: readonly HubFile[]): InputError {
    const { at } = this;
    return new InputError("P0677", `\`${at.source}\` does not exist: ${at.name} has no \`${at.path}\``, [
      `it has: ${files
        .slice(0, 20)
        .map((f) => printable(f.path))
        .join(", ")}${files.length > 20 ? ", …" : ""}`,
    ]);
  }

  /** Of a model's or an adapter's folder what is read of it, safetensors before torch's files; anything else whole. */
  private async wanted(files: readonly HubFile[], sha: string): Promise<readonly HubFile[]> {
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
      const read = parseJson(fs.readFileSync(await this.get(index, sha), "utf8"));
      const map = "value" in read && isRecord(read.value) && isRecord(read.value.weight_map) ? read.value.weight_map : {};
      const shards = new Set<unknown>(Object.values(map));
      return [...small, ...own.filter((f) => shards.has(f.path.slice(base.length)))];
    }
    const safe = own.filter((f) => f.path.endsWith(".safetensors"));
    return [...small, ...(safe.length > 0 ? safe : own.filter((f) => ADAPTERS.test(f.path.slice(base.length))))];
  }

  /** The file in the snapshot, fetched if the cache lacks its bytes. Names were checked when they came. */
  private async get(file: HubFile, sha: string): Promise<string> {
    const { at } = this;
    const { source } = at;
    const place = path.join(this.folder, "snapshots", sha, file.path);
    const blob = path.join(this.folder, "blobs", file.sha256 ?? file.blob);
    if (fs.existsSync(place)) return place;
    if (!fs.existsSync(blob)) {
      const escaped = file.path.split("/").map(encodeURIComponent).join("/");
      const address = `/${at.type === "dataset" ? "datasets/" : ""}${at.name}/resolve/${sha}/${escaped}`;
      await download(this.http, { source, file, address, blob }, (done) =>
        this.listen({ source, file: file.path, done, bytes: file.size }),
      );
    }
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
}

/** What makes a folder a model's, an adapter's or a tokenizer's. */
const MARKS = ["config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json"];
/** Torch's files of adapters. */
const ADAPTERS = /^(pytorch_)?(adapter_model|adapter|model_adapter_fusion)\.bin$/;
/** Configurations, templates and vocabularies beside the weights. */
const SMALL = /^(?:[^/]+\.(?:json|jinja)|vocab\.txt|merges\.txt|additional_chat_templates\/[^/]+\.jinja)$/;
