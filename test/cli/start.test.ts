/** What a command loads before it works: its own verb, in few files. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, statSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";

const CLI = path.resolve(import.meta.dirname, "../../dist/src/cli");

/** Modules of packages and of ours that a command loads, by their paths. */
function loaded(...argv: string[]): string[] {
  const hook = `export async function load(url, context, next) { process._rawDebug("loads " + url); return next(url, context); }`;
  const register = `import { register } from "node:module"; register("data:text/javascript,${encodeURIComponent(hook)}");`;
  const run = spawnSync(
    process.execPath,
    ["--import", `data:text/javascript,${encodeURIComponent(register)}`, path.join(CLI, "main.js"), ...argv],
    {
      encoding: "utf8",
    },
  );
  expect(run.status).toBe(0);
  return [...run.stderr.matchAll(/^loads file:\/\/(.*)$/gm)].map((m) => m[1]);
}

test("the version and a verb take a few files, and neither takes packages apart from its own", () => {
  const version = loaded("--version");
  expect(version.length).toBeLessThan(12);
  expect(version.every((file) => file.startsWith(CLI))).toBe(true);
  const files = loaded("fmt", "--help");
  expect(files.length).toBeLessThan(40);
  expect(files.filter((file) => file.includes("node_modules"))).toEqual([]);
  expect(files.some((file) => /chunk-fmt-/.test(file))).toBe(true);
  expect(files.some((file) => /chunk-(train|generate|convert)-/.test(file))).toBe(false);
});

test("checking a file loads no reader of what it does not read, and no backend", () => {
  const files = loaded("check", "specs/examples/quickstart.peft").map((file) => readFileSync(file, "utf8"));
  // where it is made: as it stands, or as the bundler puts it
  const holds = (name: string) =>
    files.some((file) => new RegExp(`(class|function) ${name}\\b|\\b${name} ?= ?(class|async|function)`).test(file));
  expect(holds("PeftParser")).toBe(true);
  for (const other of ["parquetReadObjects", "HubApiError", "openEngine"]) expect([other, holds(other)]).toEqual([other, false]);
});

test("few functions go through the optimising compiler for a command that ends at once", () => {
  const { stdout, status } = spawnSync(
    process.execPath,
    ["--trace-opt", path.join(CLI, "main.js"), "check", "specs/examples/quickstart.peft"],
    {
      encoding: "utf8",
    },
  );
  expect(status).toBe(0);
  // by the engine's own count there are a hundred
  expect(stdout.match(/completed optimizing/g)?.length ?? 0).toBeLessThan(40);
});

test("the help tells of all verbs", () => {
  const { stdout } = spawnSync(process.execPath, [path.join(CLI, "main.js"), "--help"], { encoding: "utf8" });
  const verbs = readFileSync(path.resolve(import.meta.dirname, "../../src/cli/app.ts"), "utf8").matchAll(
    /import\("\.\/verbs\/(\w+)\.ts"\)/g,
  );
  const names = [...verbs].map((m) => m[1]);
  expect(names.length).toBeGreaterThan(10);
  for (const name of names) expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"));
});

test("a program is compiled once, and found by the next process", () => {
  const cache = mkdtempSync(path.join(tmpdir(), "peftc-programs-"));
  const plan = () => {
    const { stdout, status } = spawnSync(
      process.execPath,
      [path.join(CLI, "main.js"), "plan", "specs/examples/quickstart.peft", "--device", "wasm"],
      {
        encoding: "utf8",
        env: { ...process.env, PEFTC_CACHE: cache },
      },
    );
    expect(status).toBe(0);
    return stdout;
  };
  const first = plan();
  const kept = readdirSync(cache);
  expect(kept.length).toBeGreaterThan(0);
  for (const name of kept) utimesSync(path.join(cache, name), 1, 1);
  expect(plan()).toBe(first);
  expect(readdirSync(cache)).toEqual(kept);
  for (const name of kept) expect(statSync(path.join(cache, name)).mtimeMs).toBeGreaterThan(1000);
});
