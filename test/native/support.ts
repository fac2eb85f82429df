/**
 * What tests of native kernels share: they run where there is a C compiler and `koffi`, and are skipped elsewhere. The suite's last lines say how many were
 * (`test/support/torch-reporter.js`).
 */
import fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, test } from "@jest/globals";
import { compileProgram, type EntrySource } from "../../src/backends/compile.ts";
import type { Session } from "../../src/ground/program.ts";
import { Cache } from "../../src/node/native/cache.ts";
import { compileFiles, findNative, type Native } from "../../src/node/native/driver.ts";
import { startThread } from "../../src/node/threads.ts";
import { NoDevice } from "../../src/runtime/errors.ts";
import { openWasm } from "../../src/runtime/wasm.ts";

const found = await findNative();
const hasNative = !(found instanceof NoDevice);

/** `test`, where there is what native kernels need. */
export function nativeTest(name: string, run: () => Promise<void>, timeout = 300_000): void {
  if (hasNative) test(name, run, timeout);
  else test.skip(name, run);
}

/** A folder that goes when the file's tests are done. */
export function scratch(): string {
  const folder = fs.mkdtempSync(join(tmpdir(), "peftc-test-native-"));
  afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** What native kernels need, in a cache of this process; compiled without what takes a compiler long. */
export const quick = (folder: string): Native => {
  const native = found as Native;
  const flags = native.compiler.flags.map((flag) => (flag === "-O2" ? "-O1" : flag));
  return { ...native, compiler: { ...native.compiler, flags, identity: `${native.compiler.identity} -O1` }, cache: Cache.open(folder) };
};

/** Graphs as a session of native kernels. */
export async function openNative(
  native: Native,
  entries: readonly EntrySource[],
  { workers = 1, lanes = native.compiler.machine.lanes }: { readonly workers?: number; readonly lanes?: number } = {},
): Promise<Session> {
  const { program, files } = await compileProgram(entries, { target: "native", machine: { ...native.compiler.machine, lanes }, workers });
  return openWasm(program, undefined, { workers, startThread, native: compileFiles(native, files!) });
}
