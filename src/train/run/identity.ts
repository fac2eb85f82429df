/**
 * What a run is, so that going on with it can be refused when it would be another one: hashes of what it computes, of its data, of the weights it
 * starts from, and the arithmetic that its numbers depend on. Settings are kept in the clear, so that a message can name them.
 */
import { InputError } from "../../ir/errors.ts";
import { type Graph, type Node, order } from "../../ir/graph.ts";

export interface Identity {
  /** Settings of the stage: `batch`, `steps`, `seed` ... as text. */
  readonly settings: Readonly<Record<string, string>>;
  /** Of the step's graphs, before anything is rewritten. */
  readonly graph: string;
  /** By dataset: hash of the rows. */
  readonly data: Readonly<Record<string, string>>;
  /** By folder or parameter: hash of the values a run starts from; of what tells large files apart (`STAMPED`), not of what is in them. */
  readonly weights: Readonly<Record<string, string>>;
  /** Target, rounding mode and version: `wasm relaxed 0.1.0`. */
  readonly arithmetic: string;
}

/** Begins hashes of files that were not read. */
export const STAMPED = "files:";

/** What differs, in the reader's terms; empty where nothing does. */
export function differences(then: Identity, now: Identity): string[] {
  const out: string[] = [];
  for (const name of union(then.settings, now.settings)) {
    const [a, b] = [then.settings[name] ?? "nothing", now.settings[name] ?? "nothing"];
    if (a !== b) out.push(`spec: ${name} was ${a}, is ${b}`);
  }
  if (then.graph !== now.graph) out.push("spec: the step computes something else (model, attachments, objective, optimizer or schedule)");
  for (const name of union(then.data, now.data)) if (then.data[name] !== now.data[name]) out.push(`data: the rows of ${name} changed`);
  for (const name of union(then.weights, now.weights)) {
    if (then.weights[name] === now.weights[name]) continue;
    const unread = [then, now].some((identity) => identity.weights[name]?.startsWith(STAMPED));
    out.push(`weights: ${name} changed${unread ? ", going by the size, time and header of its files, which were not read" : ""}`);
  }
  if (then.arithmetic !== now.arithmetic) out.push(`arithmetic: was ${then.arithmetic}, is ${now.arithmetic}`);
  return out;
}

const PRINTED = "torch ";
const versionIn = (arithmetic: string): string => arithmetic.slice(arithmetic.lastIndexOf(", ") + 2);

/**
 * Whether a checkpoint and a run differ in what computes them, one of the two being PyTorch: its sums are rounded as its libraries, its device and the
 * number of its processes have it, so that no run there is another's to the bit anyway. Versions of peftc must be equal all the same.
 */
export const changesHands = (then: Identity, now: Identity): boolean =>
  then.arithmetic !== now.arithmetic &&
  [then, now].some((i) => i.arithmetic.startsWith(PRINTED)) &&
  versionIn(then.arithmetic) === versionIn(now.arithmetic);

/** P0823 where a checkpoint belongs to another run. */
export function requireSame(checkpoint: string, then: Identity, now: Identity): void {
  const changed = differences(then, now);
  if (changed.length === 0) return;
  throw new InputError("P0823", `\`${checkpoint}\` cannot be resumed: it belongs to another run`, [
    ...changed,
    "put back what changed, or start afresh without --resume",
  ]);
}

/** Whether two runs are the same in all that they are made of. */
export const isSame = (then: Identity, now: Identity): boolean => differences(then, now).length === 0;

function union(a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>): string[] {
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
}

/** Hexadecimal SHA-256 of pieces, in order. */
export async function sha256(pieces: Iterable<string | ArrayBufferView> | AsyncIterable<string | ArrayBufferView>): Promise<string> {
  const encoder = new TextEncoder();
  // pieces are hashed one by one and their digests together: the whole need not be in memory at once
  const digests: Uint8Array[] = [];
  for await (const piece of pieces) {
    const bytes = typeof piece === "string" ? encoder.encode(piece) : new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength);
    digests.push(await digest(bytes));
  }
  const all = new Uint8Array(digests.length * 32);
  for (const [i, digest] of digests.entries()) all.set(digest, i * 32);
  return digestOf(all);
}

const digest = async (bytes: Uint8Array): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>));

/** Hexadecimal SHA-256 of bytes in one piece. */
export async function digestOf(bytes: Uint8Array): Promise<string> {
  return [...(await digest(bytes))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A text that is equal for graphs that compute the same in the same way: ops, attributes, types, results; no places, no node numbers. */
export function describeGraph(graph: Graph): string {
  const lines: string[] = [];
  const roots = graph.results.map((r) => r.node);
  const numbers = new Map<Node, number>();
  const write = (nodes: readonly Node[]) => {
    for (const node of nodes) {
      if (numbers.has(node)) continue;
      for (const body of node.loop?.bodies ?? []) write(order(body.results));
      numbers.set(node, numbers.size);
      const attrs = Object.keys(node.attrs)
        .sort()
        .map((key) => `${key}=${show(node.attrs[key])}`);
      const loop = node.loop === undefined ? "" : ` turns ${JSON.stringify(node.loop.iterations)}`;
      lines.push(
        `${node.op}(${node.inputs.map((i) => numbers.get(i)).join(",")}) ${attrs.join(";")} ${node.type.dtype}[${node.type.shape.join(",")}]${loop}`,
      );
    }
  };
  write(order(roots));
  for (const { role, name, node } of graph.results) lines.push(`${role} ${name} = ${numbers.get(node)}`);
  return lines.join("\n");
}

function show(value: unknown): string {
  return Array.isArray(value) ? `[${value.map(String).join(",")}]` : String(value);
}
