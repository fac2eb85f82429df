/**
 * A file of the hub into the cache: piece by piece into a file beside its place, compared with what its name says of its bytes, and only then given the name.
 * What broke off is gone on with, by this run or the next one.
 */
import { createHash, type Hash } from "node:crypto";
import fs from "node:fs";
import { hostname } from "node:os";
import path from "node:path";
import { InputError } from "../ir/errors.ts";
import { type HubHttp, Unreachable } from "./hub-http.ts";
import type { HubFile } from "./hub-names.ts";
import { isAlive } from "./lock.ts";

/** Connections in a row that bring nothing before the hub counts as not reachable. */
const TRIES = 3;
/** Milliseconds after which what another machine left unfinished is nobody's. */
const OLD = 86_400_000;

export interface Wanted {
  /** As a program writes it, for messages. */
  readonly source: string;
  readonly file: HubFile;
  /** Of the hub, from `/` on. */
  readonly address: string;
  /** Where the bytes go. */
  readonly blob: string;
}

/** `tell`: bytes that are there. P0677: the hub does not give it, or gives other bytes. `Unreachable`; what came until then stays. */
export async function download(http: HubHttp, wanted: Wanted, tell: (done: number) => void): Promise<void> {
  const { blob, file, source } = wanted;
  fs.mkdirSync(path.dirname(blob), { recursive: true });
  const partial = unfinished(blob);
  for (let fruitless = 0; ; ) {
    const had = sizeOf(partial);
    try {
      await fill(http, wanted, partial, tell);
      break;
    } catch (error) {
      if (!(error instanceof Unreachable)) throw error;
      fruitless = sizeOf(partial) > had ? 0 : fruitless + 1;
      if (fruitless === TRIES) throw error;
    }
  }
  if ((await digest(partial, file)) !== (file.sha256 ?? file.blob)) {
    fs.rmSync(partial, { force: true });
    throw new InputError("P0677", `\`${source}\`: ${file.path} came with other bytes than the hub says it has`, [
      "what came was thrown away: try again; if it stays so, something between here and the hub changes files",
    ]);
  }
  fs.renameSync(partial, blob);
}

async function fill(http: HubHttp, { source, file, address }: Wanted, partial: string, tell: (done: number) => void): Promise<void> {
  let from = Math.min(sizeOf(partial), file.size);
  tell(from);
  if (from === file.size && from > 0) return;
  const answer = await http.file(address, from);
  const { status, headers } = answer.response;
  if (status !== 200 && status !== 206) {
    answer.drop();
    if (status >= 500 || status === 429) throw new Unreachable(`the hub answers ${status}`);
    if (status === 416) {
      fs.rmSync(partial, { force: true });
      throw new Unreachable("the hub has less of it than came before");
    }
    throw new InputError("P0677", `\`${source}\`: ${file.path} cannot be fetched: the hub answers ${status}`);
  }
  // from the beginning, where that is all it can give
  if (status === 200 || !headers.get("content-range")?.startsWith(`bytes ${from}-`)) {
    if (status === 206) {
      answer.drop();
      fs.rmSync(partial, { force: true });
      throw new Unreachable("the hub gives another part than was asked for");
    }
    from = 0;
  }
  const handle = fs.openSync(partial, from === 0 ? "w" : "r+");
  try {
    let done = from;
    for await (const piece of answer.pieces()) {
      if (done + piece.length > file.size) {
        answer.drop();
        fs.rmSync(partial, { force: true });
        throw new InputError("P0677", `\`${source}\`: ${file.path} goes on after its ${file.size} bytes`, ["try again"]);
      }
      for (let at = 0; at < piece.length; ) at += fs.writeSync(handle, piece, at, piece.length - at, done + at);
      done += piece.length;
      tell(done);
    }
    if (done < file.size) throw new Unreachable(`${file.path} ended after ${done} of ${file.size} bytes`);
    fs.fsyncSync(handle);
  } finally {
    answer.drop();
    fs.closeSync(handle);
  }
}

/** SHA-256, or git's name, of a file of this machine. */
async function digest(at: string, { size, sha256 }: HubFile): Promise<string> {
  const hash: Hash = createHash(sha256 === undefined ? "sha1" : "sha256");
  if (sha256 === undefined) hash.update(`blob ${size}\0`);
  for await (const piece of fs.createReadStream(at, { highWaterMark: 1 << 20 })) hash.update(piece as Uint8Array);
  return hash.digest("hex");
}

const sizeOf = (file: string): number => fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;

/**
 * Where this process puts what is not whole yet: a name of its own, so that two runs at once do not write into each other's; what a run that is gone
 * left there is taken over.
 */
function unfinished(blob: string): string {
  const own = `${blob}.${hostname()}.${process.pid}.incomplete`;
  if (fs.existsSync(own)) return own;
  const folder = path.dirname(blob);
  const begins = `${path.basename(blob)}.`;
  for (const name of fs.readdirSync(folder)) {
    if (!name.startsWith(begins) || !name.endsWith(".incomplete")) continue;
    const [, host, pid] = /^(.*)\.(\d+)\.incomplete$/.exec(name.slice(begins.length)) ?? [];
    const left = path.join(folder, name);
    const gone =
      host === hostname() ? !isAlive(Number(pid)) : Date.now() - (fs.statSync(left, { throwIfNoEntry: false })?.mtimeMs ?? 0) > OLD;
    if (!gone) continue;
    try {
      // one step: of two that take it over one gets it
      fs.renameSync(left, own);
      return own;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }
  return own;
}
