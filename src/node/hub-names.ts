/**
 * Names that come from outside: what a program writes and what a server answers. Each is checked here before it becomes a part of a path, so that whatever
 * is fetched lies in the cache, in the folder of its own repository.
 */

import { InputError } from "../ir/errors.ts";
import { printable } from "../ir/printable.ts";

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

/** P0676: it does not name a repository, or a revision or file that one can have. */
export function parseSource(source: string): HubSource {
  const match = /^hf:\/\/(datasets\/|models\/)?([^/@\s]+\/[^/@\s]+)(?:@([^/\s]+))?(?:\/(.*))?$/s.exec(source);
  const refused = (what: string) =>
    new InputError("P0676", `\`${printable(source)}\` names nothing on the hub${what}`, [
      "a model is `hf://org/name`, data are `hf://datasets/org/name/file.jsonl`; `@revision` may stand behind the name",
    ]);
  if (match === null) throw refused("");
  const [, type, name, written = "main", inside = ""] = match;
  if (!name.split("/").every(isRepoPart)) throw refused(`: ${JSON.stringify(name)} is no name of a repository`);
  const revision = decoded(written);
  if (revision === undefined || !isInside(revision)) throw refused(`: ${JSON.stringify(written)} is no branch, tag or commit`);
  const path = inside.replace(/\/+$/, "");
  if (path !== "" && !isInside(path)) throw refused(`: ${JSON.stringify(path)} is no file of a repository`);
  return { source, type: type === "datasets/" ? "dataset" : "model", name, revision, path };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

/** An organisation's or a repository's name as the hub allows them: `--` stands between the two in the cache. */
const isRepoPart = (part: string): boolean => /^\w(?:[\w.-]{0,94}\w)?$/.test(part) && !/--|\.\./.test(part);

/** Whether a path with `/` stays below where it starts, on every system, and is spelt in one way only. */
export const isInside = (path: string): boolean =>
  path.length <= 1024 &&
  !/[\p{Cc}\\]/u.test(path) &&
  !/^[A-Za-z]:/.test(path) &&
  path.split("/").every((part) => part !== "" && part !== "." && part !== "..");

/** The full name of a commit. */
export const isCommit = (text: unknown): text is string => typeof text === "string" && /^[0-9a-f]{40}$/.test(text);

/** A file that a listing names. */
export interface HubFile {
  readonly path: string;
  readonly size: number;
  /** Git's name of the content: the SHA-1 of a header and the bytes. */
  readonly blob: string;
  /** SHA-256 of the bytes, for those that git does not hold itself. */
  readonly sha256: string | undefined;
}

/** P0677: an entry of a listing that is no file of a repository. */
export function hubFile(
  source: string,
  entry: { path: unknown; size: unknown; oid?: unknown; lfs?: { oid?: unknown; size?: unknown } },
): HubFile {
  const { path, size, oid, lfs } = entry;
  const sound =
    typeof path === "string" &&
    isInside(path) &&
    Number.isSafeInteger(size) &&
    (size as number) >= 0 &&
    isCommit(oid) &&
    (lfs === undefined || lfs === null || (typeof lfs.oid === "string" && /^[0-9a-f]{64}$/.test(lfs.oid)));
  if (!sound) throw new InputError("P0677", `the hub names a file of \`${source}\` that cannot be: ${JSON.stringify(path)?.slice(0, 200)}`);
  return { path, size: size as number, blob: oid, sha256: (lfs as { oid: string } | undefined)?.oid };
}
