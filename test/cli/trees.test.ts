/** The standard library's trees, which the build makes ahead for the command line. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { parse } from "../../src/compiler/read/parse.ts";
import { restoredTree, storedTree, treeFile } from "../../src/node/library-trees.ts";

const files = readdirSync("specs/std", { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".peft"))
  .map((name) => `std/${name}`);

test("what is stored of a text is its tree, and of no other text", () => {
  for (const file of files) {
    const text = readFileSync(`specs/${file}`, "utf8");
    const { program } = parse(text, file);
    const stored = storedTree(text, program);
    expect(JSON.stringify(restoredTree(stored, text, file)) === JSON.stringify(program) || file).toBe(true);
    expect(restoredTree(stored, `${text} `, file)).toBeUndefined();
  }
});

test("the build has a tree of every file, and the command line parses none of them", () => {
  expect(files.filter((file) => !existsSync(treeFile(file)))).toEqual([]);
  const folder = mkdtempSync(path.join(tmpdir(), "peftc-"));
  try {
    // what is opened while a file is checked
    const opened = path.join(folder, "opened.txt");
    const hook = path.join(folder, "hook.mjs");
    writeFileSync(
      hook,
      `import fs from "node:fs"; import { syncBuiltinESMExports } from "node:module"; const { readFileSync } = fs;
       fs.readFileSync = (file, ...rest) => { fs.appendFileSync(${JSON.stringify(opened)}, String(file) + "\\n"); return readFileSync(file, ...rest); };
       syncBuiltinESMExports();`,
    );
    execFileSync(process.execPath, ["--import", hook, "dist/src/cli/main.js", "check", "specs/examples/quickstart.peft"]);
    const names = readFileSync(opened, "utf8").split("\n");
    const texts = names.filter((name) => name.includes("/specs/std/") && name.endsWith(".peft"));
    expect(texts.length).toBeGreaterThan(3);
    for (const text of texts) expect(names).toContain(path.resolve(treeFile(text.slice(text.indexOf("std/")))));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
