/** Where an adapter will load, and why not elsewhere: known before anybody tries. */
import { InputError } from "../../ir/errors.ts";
import { MemoryFiles } from "../memory.ts";
import type { AdapterFolder } from "./folder.ts";
import { encodeGguf } from "./gguf.ts";
import { lowRankOf } from "./low-rank.ts";
import type { Mappings } from "./mapping.ts";
import { encodeMlx } from "./mlx.ts";
import { type OutAdapter, Unsayable } from "./out.ts";
import { readAdapter } from "./read.ts";
import { notPeft } from "./write.ts";
import { writeLibrary } from "./write-library.ts";

export interface Verdict {
  readonly tool: string;
  readonly loads: boolean;
  /** Why not, or what to mind. */
  readonly note: string | undefined;
}

/** Ranks that vLLM takes where it is not told otherwise. */
const VLLM_RANK = 16;

export function verdicts(adapter: OutAdapter, mappings: Mappings): Verdict[] {
  const peft = notPeft(adapter, mappings);
  const low = lowRankOf(adapter, mappings);
  const sized = low instanceof Unsayable ? undefined : low.find((f) => f.magnitude !== undefined);
  const vllm =
    peft ??
    (low instanceof Unsayable
      ? low.why
      : sized === undefined
        ? undefined
        : `it has no place for the magnitudes of ${sized.mapping.method}`);
  const rank = low instanceof Unsayable ? 0 : Math.max(...low.map((f) => f.rank));
  const [gguf, mlx] = [encodeGguf(adapter, mappings), encodeMlx(adapter, mappings)];
  const why = (encoded: object) => (encoded instanceof Unsayable ? encoded.why : undefined);
  const verdict = (tool: string, no: string | undefined, mind?: string): Verdict => ({ tool, loads: no === undefined, note: no ?? mind });
  return [
    verdict("peft", peft, otherwiseCalled(adapter, mappings)),
    verdict("vLLM", vllm, rank > VLLM_RANK ? `rank ${rank}: start it with --max-lora-rank ${rank}` : undefined),
    verdict("llama.cpp", why(gguf), "after `peftc convert --to gguf`"),
    verdict("mlx-lm", why(mlx), "after `peftc convert --to mlx`"),
    verdict("adapters", notLibrary(adapter, mappings), "after `peftc convert --to adapters`"),
  ];
}

/** What to mind where newer libraries call the adapted modules otherwise than checkpoints, and the folder, do. */
function otherwiseCalled({ attachments, heads }: OutAdapter, { newer }: Mappings): string | undefined {
  const paths = [...attachments.flatMap(({ sites }) => sites.map(({ path }) => path)), ...Object.keys(heads)];
  for (const [pattern, since] of newer) {
    const path = paths.find((one) => pattern.test(one));
    if (path !== undefined) return `before ${since}: that calls \`${path}\` otherwise, and would load nothing`;
  }
  return undefined;
}

/** A line each. */
export const verdictLines = (all: readonly Verdict[]): string[] =>
  all.map(({ tool, loads, note }) => `${tool}: ${loads ? "yes" : "no"}${note === undefined ? "" : `, ${note}`}`);

/** Why the adapters library cannot hold the attachments; `undefined`: it can. */
export function notLibrary(adapter: OutAdapter, mappings: Mappings): string | undefined {
  const memory = new MemoryFiles();
  try {
    writeLibrary(memory, "written", adapter, mappings);
    return changed(adapter, readAdapter(memory, "written", mappings)!);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return [error.message, ...error.notes].join(": ");
  }
}

/** How an adapter differs that was written and read again; `undefined`: not at all. Places that are numbered only are not compared. */
function changed(adapter: OutAdapter, back: AdapterFolder): string | undefined {
  const module = (path: string) => path.replace(/\s*:.*$/, "");
  const sites = back.parts.flatMap((part) => part.sites.map((site) => ({ part, ...site }))).filter((site) => !site.path.includes("*"));
  for (const { method, sites: own } of adapter.attachments)
    for (const { path, params } of own) {
      const found = sites.filter((site) => module(site.path) === module(path) && site.part.method === method);
      const others = sites.filter((site) => module(site.path) === module(path));
      if (found.length === 0 && others.length > 0)
        return `it would be read back as ${others[0].part.method} at \`${path}\`, not as ${method}`;
      if (found.length > 1 && new Set(found.map((f) => f.path)).size < found.length) return `it would be read back twice at \`${path}\``;
      for (const [name, param] of found.length === 1 ? Object.entries(params) : []) {
        const key = found[0].params[name];
        const values = param.values();
        if (key !== undefined && back.read(key).some((v, i) => v !== values[i])) return `\`${name}\` at \`${path}\` would change`;
      }
    }
  return undefined;
}
