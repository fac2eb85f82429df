/** Which sources of the hub a program names, fetched before it is compiled. */
import type { StringLiteral } from "../compiler/ast.ts";
import { resolveImport } from "../compiler/elaborate/files.ts";
import { limits } from "../compiler/limits.ts";
import { parse } from "../compiler/read/parse.ts";
import { InputError } from "../ir/errors.ts";
import type { Span } from "../ir/graph.ts";
import { fetchSource, type HubListen } from "./hub.ts";
import { isHub } from "./hub-names.ts";

export interface NamedSource {
  readonly source: string;
  /** Where it is written. */
  readonly span?: Span;
}

/** Strings that name files of the hub, in a file and in what it imports. Files that cannot be read or parsed are left to the compiler. */
export function hubSources(file: string, read: (path: string) => string | undefined): NamedSource[] {
  const found = new Map<string, NamedSource>();
  const seen = new Set<string>();
  const readable = (path: string): string | undefined => {
    try {
      return read(path);
    } catch (error) {
      if (error instanceof InputError) return undefined;
      throw error;
    }
  };
  const visit = (path: string): void => {
    if (seen.has(path) || path.startsWith("std/") || seen.size > limits.imports) return;
    seen.add(path);
    const text = readable(path);
    if (text === undefined || text.length > limits.source || !/hf:|import|\\u/.test(text)) return;
    const { program } = parse(text, path);
    for (const { value, span } of strings(program)) if (!found.has(value)) found.set(value, { source: value, span });
    for (const item of program.imports) visit(resolveImport(path, item.from.value));
  };
  visit(file);
  return [...found.values()];
}

function* strings(node: unknown): Generator<StringLiteral> {
  if (Array.isArray(node)) for (const item of node) yield* strings(item);
  else if (typeof node === "object" && node !== null) {
    if ("kind" in node && node.kind === "String") {
      if (isHub((node as StringLiteral).value)) yield node as StringLiteral;
    } else for (const value of Object.values(node)) yield* strings(value);
  }
}

/** Errors are those of `fetchSource`, with the place. */
export async function fetchSources(sources: readonly NamedSource[], listen?: HubListen): Promise<void> {
  for (const { source, span } of sources) {
    try {
      await fetchSource(source, listen);
    } catch (error) {
      throw error instanceof InputError ? error.at(span) : error;
    }
  }
}
