/** Every program of the repository checks: the library's files by themselves, the papers' against the models beside them. */
import { readdirSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { openWorkspace } from "../../src/node/workspace.ts";

const ROOT = path.resolve(import.meta.dirname, "../../specs");
const programs = (folder: string): string[] =>
  readdirSync(folder).flatMap((name) => {
    const file = path.join(folder, name);
    return statSync(file).isDirectory() ? programs(file) : name.endsWith(".peft") ? [file] : [];
  });

const { sources } = openWorkspace(path.dirname(ROOT));

const seen = (file: string) =>
  compile(file, sources).problems.map(
    (p) => `${p.code} ${p.message}${p.span ? ` at ${path.basename(path.dirname(p.span.file))}:${p.span.start}` : ""}`,
  );

describe("the library", () => {
  test.each(programs(path.join(ROOT, "std")).map((file) => [path.relative(ROOT, file), file]))("%s", (_name, file) => {
    expect(seen(file)).toEqual([]);
  });
});

describe("the papers", () => {
  test.each(programs(path.join(ROOT, "papers")).map((file) => [path.relative(ROOT, file), file]))("%s", (_name, file) => {
    expect(seen(file)).toEqual([]);
  });
});
