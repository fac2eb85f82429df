/** A program as a library in C: kernels, a header, first values, and the shared library that the compiler at hand makes of them. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Files, joinPath, writeFile } from "../../formats/files.ts";
import { SLACK } from "../../ground/memory.ts";
import type { Values } from "../../ground/program.ts";
import { NoDevice } from "../../runtime/errors.ts";
import { backendEngine } from "../../train/engine/backend.ts";
import { requireBudget } from "../../train/engine/budget.ts";
import type { BuildOptions, EntryPoint } from "../../train/engine/engine.ts";
import { type Compiler, findCompiler } from "./compiler.ts";
import { printLibrary, storedOf } from "./library.ts";

/** Threads that a library has scratch for. */
const WORKERS = 8;

interface NativeSources {
  readonly points: readonly EntryPoint[];
  readonly how: BuildOptions;
  readonly title: string;
  param(name: string): Values;
  /** First numbers of a state; `undefined`: nothing. */
  state(name: string): Values | undefined;
}

/** Gives the names of the files written. Throws `NoDevice` where there is no compiler, or it fails. */
export async function writeNativePackage(
  files: Files,
  folder: string,
  { points, how, title, ...values }: NativeSources,
): Promise<string[]> {
  const compiler = await findCompiler();
  if (compiler instanceof NoDevice) throw compiler;
  const target = { target: "native", machine: compiler.machine, workers: WORKERS, readable: true } as const;
  const engine = backendEngine({ target, device: "a library", reason: "", memory: Number.POSITIVE_INFINITY, depth: 1, open: never });
  const built = await engine.build(points, how);
  if (how.memory !== undefined) await requireBudget(built, { bytes: how.memory, source: "`memory`" });
  const { program } = built;
  const library = printLibrary(program, built.files!, WORKERS, SLACK, title);
  const texts: [string, string][] = [
    ["peftc.h", library.header],
    ["peftc.c", library.source],
    ...library.kernels.map((text, i): [string, string] => [`kernels-${i}.c`, text]),
  ];
  const written: string[] = [];
  const put = (name: string, bytes: Uint8Array) => {
    writeFile(files, joinPath(folder, name), bytes);
    written.push(name);
  };
  for (const [name, text] of texts) put(name, new TextEncoder().encode(text));
  const stored = storedOf(program);
  const all = new Uint8Array(stored.reduce((sum, { placed }) => sum + placed.bytes, 0));
  let at = 0;
  for (const { kind, name, placed } of stored) {
    const numbers = kind === "param" ? values.param(name) : values.state(name);
    if (numbers !== undefined) {
      const typed = placed.dtype === "f32" ? Float32Array.from(numbers) : Int32Array.from(numbers);
      all.set(new Uint8Array(typed.buffer), at);
    }
    at += placed.bytes;
  }
  put("values.bin", all);
  put("libpeftc.so", await compileLibrary(compiler, texts));
  return written;
}

/** Files to a library, with threads where the compiler has OpenMP. */
async function compileLibrary({ command, flags }: Compiler, texts: readonly (readonly [string, string])[]): Promise<Uint8Array> {
  const work = mkdtempSync(join(tmpdir(), "peftc-library-"));
  try {
    for (const [name, text] of texts) writeFileSync(join(work, name), text);
    const names = texts.map(([name]) => name).filter((name) => name.endsWith(".c"));
    const made = (more: readonly string[]) =>
      promisify(execFile)(command, [...flags, ...more, "-o", "libpeftc.so", ...names, "-lm"], { cwd: work });
    try {
      await made(["-fopenmp"]).catch(() => made([]));
    } catch (error) {
      const said = String((error as { stderr?: unknown }).stderr ?? error);
      const why = said.split("\n").find((line) => /error/i.test(line)) ?? said.split("\n")[0];
      throw new NoDevice(`the C compiler \`${command}\` failed: ${why}`, ["PEFTC_CC names another one"]);
    }
    return readFileSync(join(work, "libpeftc.so"));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

const never = (): never => {
  throw new NoDevice("a library is not opened here");
};
