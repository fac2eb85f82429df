/** A server that answers like the Hugging Face hub, as far as fetching asks: commits, trees, files. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface HubRepo {
  /** Path to content. */
  readonly files: Readonly<Record<string, Uint8Array | string>>;
  readonly revisions?: readonly string[];
  /** Who asks for it must have this token. */
  readonly token?: string;
  readonly gated?: boolean;
}

export interface FakeHub {
  readonly url: string;
  /** Paths that were asked for. */
  readonly asked: string[];
  close(): Promise<void>;
}

const bytesOf = (content: Uint8Array | string): Uint8Array => (typeof content === "string" ? new TextEncoder().encode(content) : content);
/** As git names a content. */
export const gitName = (content: Uint8Array | string) =>
  createHash("sha1")
    .update(`blob ${bytesOf(content).length}\0`)
    .update(content)
    .digest("hex");
const hash = (kind: string, content: Uint8Array | string) => createHash(kind).update(content).digest("hex");

/** Answers in the hub's place, and says whether it did. */
export type Twist = (url: URL, request: IncomingMessage, response: ServerResponse) => boolean;

/** `repos`: by `models/org/name` or `datasets/org/name`. */
export async function fakeHub(repos: Readonly<Record<string, HubRepo>>, twist: Twist = () => false): Promise<FakeHub> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const url = new URL(request.url!, "http://localhost");
    asked.push(url.pathname);
    if (twist(url, request, response)) return;
    const json = (status: number, value: object, headers: Record<string, string> = {}) => {
      response.writeHead(status, { "Content-Type": "application/json", ...headers });
      response.end(JSON.stringify(value));
    };
    const api = /^\/api\/((?:models|datasets)\/[^/]+\/[^/]+)\/(revision|tree)\/([^/]+)(?:\/(.*))?$/.exec(url.pathname);
    const file = /^\/(datasets\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    const name = api?.[1] ?? (file === null ? "" : `${file[1] ?? "models/"}${file[2]}`);
    const repo = repos[name];
    if (repo === undefined) return json(404, { error: "Repository not found" }, { "X-Error-Code": "RepoNotFound" });
    if (repo.token !== undefined && request.headers.authorization !== `Bearer ${repo.token}`)
      return json(401, { error: "Invalid username or password." });
    if (repo.gated) return json(403, { error: `Access to model ${name} is restricted` }, { "X-Error-Code": "GatedRepo" });
    const sha = hash("sha1", name + JSON.stringify(Object.keys(repo.files)));
    const revision = decodeURIComponent(api?.[3] ?? file![3]);
    if (![sha, "main", ...(repo.revisions ?? [])].includes(revision))
      return json(404, { error: `Invalid rev id: ${revision}` }, { "X-Error-Code": "RevisionNotFound" });
    if (api?.[2] === "revision")
      return json(200, { _id: "1", id: name.replace(/^[^/]+\//, ""), sha, lastModified: "2026-01-01T00:00:00Z" });
    if (api?.[2] === "tree") {
      const entries = Object.entries(repo.files).map(([path, content]) => {
        const size = bytesOf(content).length;
        const lfs = path.endsWith(".safetensors") ? { lfs: { oid: hash("sha256", content), size, pointerSize: 130 } } : {};
        return { type: "file", path, size, oid: gitName(content), ...lfs };
      });
      return json(200, entries);
    }
    const content = repo.files[decodeURIComponent(file![4])];
    if (content === undefined) return json(404, { error: "Entry not found" }, { "X-Error-Code": "EntryNotFound" });
    const bytes = bytesOf(content);
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const start = range === null ? 0 : Number(range[1]);
    const end = range === null || range[2] === "" ? bytes.length - 1 : Math.min(Number(range[2]), bytes.length - 1);
    response.writeHead(range === null ? 200 : 206, {
      ETag: `"${hash("sha1", content)}"`,
      "X-Linked-Etag": `"${hash("sha256", content)}"`,
      "X-Repo-Commit": sha,
      "Content-Length": String(Math.max(0, end - start + 1)),
      ...(range !== null && { "Content-Range": `bytes ${start}-${end}/${bytes.length}` }),
    });
    response.end(bytes.slice(start, end + 1));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () =>
      new Promise((done) => {
        server.close(() => done());
        server.closeAllConnections();
      }),
  };
}
