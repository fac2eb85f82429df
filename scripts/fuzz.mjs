/**
 * Every reader of files on drawn inputs for a while: `npm run fuzz -- 3600` for an hour in all; without a number that long. PEFTC_FUZZ_SEED repeats a run. An input that is never
 * read to its end is left in the file that is named.
 */
import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";

const seconds = Number(process.argv[2] ?? 3600);
if (!(seconds > 0)) throw new Error("seconds are wanted: npm run fuzz -- 3600");
const last = path.join(mkdtempSync(path.join(tmpdir(), "peftc-fuzz-last-")), "input");
const jest = ["--experimental-vm-modules", "--no-warnings", "node_modules/jest/bin/jest.js", "test/fuzz", "-w", "1"];
const child = spawn(process.execPath, jest, {
  stdio: "inherit",
  env: { ...process.env, PEFTC_FUZZ: String(seconds), PEFTC_FUZZ_LAST: last },
});
const hanging = setTimeout(
  () => {
    console.error(`an input keeps its reader busy: ${last}`);
    child.kill("SIGKILL");
  },
  (seconds * 2 + 300) * 1000,
);
child.on("exit", (status) => {
  clearTimeout(hanging);
  process.exitCode = status ?? 1;
});
