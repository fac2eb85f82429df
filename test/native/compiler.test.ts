/** What compiling needs and what becomes of it: no compiler, one that fails, a cache that cannot be written, one that is full. */
import fs from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import { Cache } from "../../src/node/native/cache.ts";
import { type Compiler, findCompiler } from "../../src/node/native/compiler.ts";
import { compileFiles, findKoffi, findNative } from "../../src/node/native/driver.ts";
import { NoDevice } from "../../src/runtime/errors.ts";
import { nativeTest, quick, scratch } from "./support.ts";

const folder = scratch();

/** A command that answers as these lines of a shell do. */
function command(name: string, lines: string): string {
  const place = join(folder, name);
  fs.writeFileSync(place, `#!/bin/sh\n${lines}\n`, { mode: 0o755 });
  return place;
}
const MACROS = 'echo "#define __VERSION__ \\"9.9\\""; echo "#define __AVX__ 1"; echo "#define __x86_64__ 1"';

describe("a compiler", () => {
  test("that is not there is said by name", async () => {
    const found = await findCompiler({ PEFTC_CC: join(folder, "none") });
    expect(found).toBeInstanceOf(NoDevice);
    expect(found).toMatchObject({
      message: expect.stringMatching(/no C compiler at `.*none`/),
      notes: ["PEFTC_CC names it", "`--device wasm` needs no compiler"],
    });
  });
  test("that does not work is said with its first words", async () => {
    const found = await findCompiler({ PEFTC_CC: command("broken", 'echo "error: no licence" >&2; exit 2') });
    expect(found).toMatchObject({ message: expect.stringContaining("does not work: error: no licence") });
  });
  test("is described by what it defines; one that does not know -march is asked again", async () => {
    const picky = command("picky", `case "$*" in *-march*) echo "error: unknown -march" >&2; exit 1;; esac; ${MACROS}`);
    const found = (await findCompiler({ PEFTC_CC: picky })) as Compiler;
    expect(found).toMatchObject({ version: "gcc 9.9", machine: { lanes: 8, registers: 16 } });
    expect(found.flags).toContain("-mcpu=native");
    expect(found.identity).toContain("__AVX__");
  });
  test("that fails on a file is said with the file's first error, and leaves nothing behind", async () => {
    const compiler = (await findCompiler({
      PEFTC_CC: command("half", `case "$*" in *-dM*) ${MACROS};; *) echo "x.c:1: error: out of disk" >&2; exit 1;; esac`),
    })) as Compiler;
    const cache = Cache.open(join(folder, "cache-a"));
    await expect(cache.library(compiler, "int x;")).rejects.toMatchObject({
      name: "NoDevice",
      message: expect.stringContaining("failed: x.c:1: error: out of disk"),
    });
    expect(fs.readdirSync(cache.folder)).toEqual([]);
  });
  test("that cannot make a library is found out before a program is compiled", async () => {
    const before = process.env.PEFTC_CC;
    process.env.PEFTC_CC = command("never", `case "$*" in *-dM*) ${MACROS};; *) echo "error: no linker" >&2; exit 1;; esac`);
    try {
      const found = await findNative();
      if (findKoffi() instanceof NoDevice) return;
      expect(found).toMatchObject({ name: "NoDevice", message: expect.stringContaining("error: no linker") });
    } finally {
      if (before === undefined) delete process.env.PEFTC_CC;
      else process.env.PEFTC_CC = before;
    }
  });
});

test("koffi that cannot be loaded is said, with how to have it", () => {
  const found = findKoffi(() => {
    throw new Error("Cannot find module 'koffi'\nRequire stack:");
  });
  expect(found).toMatchObject({
    message: expect.stringContaining("the optional package `koffi`"),
    notes: ["the loader says: Cannot find module 'koffi'", expect.stringContaining("npm install koffi")],
  });
});

describe("the cache", () => {
  /** Copies what it is given: `-o TO FROM` are its last arguments. */
  const copies = (): Compiler => ({
    command: command("copies", 'echo . >> "$0.count"; shift $(($# - 2)); cp "$2" "$1"'),
    flags: [],
    version: "copies 1",
    machine: { lanes: 4, registers: 16 },
    identity: "copies 1",
  });
  const count = ({ command }: Compiler) => fs.readFileSync(`${command}.count`, "utf8").length / 2;

  test("that is switched off is a folder of this process, and said", () => {
    const before = process.env.PEFTC_CACHE;
    process.env.PEFTC_CACHE = "off";
    try {
      expect(Cache.open().instead).toBe("`PEFTC_CACHE` is off: kernels are compiled for this run alone");
    } finally {
      if (before === undefined) delete process.env.PEFTC_CACHE;
      else process.env.PEFTC_CACHE = before;
    }
  });
  test("compiles a text once, another compiler's again, and what was deleted", async () => {
    const compiler = copies();
    const cache = Cache.open(join(folder, "cache-b"));
    const place = await cache.library(compiler, "one");
    expect(fs.readFileSync(place, "utf8")).toBe("one");
    expect(await cache.library(compiler, "one")).toBe(place);
    expect(count(compiler)).toBe(1);
    expect(await cache.library({ ...compiler, identity: "copies 2" }, "one")).not.toBe(place);
    fs.rmSync(cache.folder, { recursive: true });
    fs.mkdirSync(cache.folder, { recursive: true });
    expect(await cache.library(compiler, "one")).toBe(place);
    expect(count(compiler)).toBe(3);
    // nothing but whole files
    expect(fs.readdirSync(cache.folder)).toEqual([place.slice(cache.folder.length + 1)]);
  });
  test("that cannot be written is a folder of this process, and said", async () => {
    const file = join(folder, "a-file");
    fs.writeFileSync(file, "");
    const cache = Cache.open(file);
    expect(cache.instead).toMatch(/`.*a-file.*` cannot be written \(ENOTDIR\): kernels are compiled for this run alone/);
    expect(fs.existsSync(await cache.library(copies(), "two"))).toBe(true);
  });
  test("loses what was used longest ago beyond its size, and keeps what was used just now", () => {
    const cache = Cache.open(join(folder, "cache-c"));
    for (const [name, minutes] of [
      ["old", 300],
      ["older", 600],
      ["new", 20],
      ["now", 0],
    ] as const) {
      const place = join(cache.folder, `${name}.so`);
      fs.writeFileSync(place, "x".repeat(100));
      const used = new Date(Date.now() - minutes * 60_000);
      fs.utimesSync(place, used, used);
    }
    cache.trim(250);
    expect(fs.readdirSync(cache.folder).sort()).toEqual(["new.so", "now.so"]);
    cache.trim(0);
    expect(fs.readdirSync(cache.folder)).toEqual(["now.so"]);
  });
});

nativeTest("a file whose text is wrong is the compiler's to say", async () => {
  await expect(compileFiles(quick(folder), [{ text: "int f( {", kernels: ["f"] }])).rejects.toMatchObject({
    name: "NoDevice",
    message: expect.stringMatching(/failed: .*error/),
  });
});
