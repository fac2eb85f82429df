// Which test files start first. Jest orders them by how long they took before; on a new machine it knows nothing of that and takes the longest texts first, so that
// short files with long tests are left for the end, where one of its two processes waits for the other.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import TestSequencer from "@jest/test-sequencer";

/** Files that take longest, in their order. */
const LONG = [
  "golden/golden",
  "language/specs",
  "cli/docs",
  "language/adapter-per-row",
  "cli/ends",
  "native/train",
  "device/reverse",
  "methods/additive",
  "cli/backwards",
  "cli/process",
  "cli/budgets",
  "train/states",
  "web/program",
  "cli/exchange/provenance",
  "cli/offload",
];

// the package is CommonJS
const Sequencer = TestSequencer.default ?? TestSequencer;

export default class LongestFirst extends Sequencer {
  sort(tests) {
    const files = LONG.map((name) => fileURLToPath(new URL(`../${name}.test.ts`, import.meta.url)));
    for (const file of files) if (!existsSync(file)) throw new Error(`${file} is named by test/support/sequencer.js, and is not there`);
    const rank = ({ path }) => (files.includes(path) ? files.indexOf(path) : files.length);
    return [...super.sort(tests)].sort((a, b) => rank(a) - rank(b));
  }
}
