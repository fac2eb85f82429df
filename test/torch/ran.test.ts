/** Tests of the torch backend that were not run are told: in the last lines where there is no PyTorch, by a failing CI where there is one. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, jest, test } from "@jest/globals";
// @ts-expect-error: Jest reads it as it is
import config from "../../jest.config.js";
// @ts-expect-error: and this one
import TorchReporter from "../support/torch-reporter.js";

const ROOT = path.resolve(import.meta.dirname, "../..");
const results = (file: string, ...statuses: string[]) => ({
  testResults: [
    {
      testFilePath: `/x/test/${file}`,
      name: `/x/test/${file}`,
      testResults: statuses.map((status) => ({ status })),
      assertionResults: statuses.map((status) => ({ status })),
    },
  ],
});

describe("tests that were not run", () => {
  test("the last line says how many; nothing is said of tests that were not asked for", () => {
    const said = (pattern: string | undefined, given: object) => {
      const spy = jest.spyOn(process.stderr, "write").mockReturnValue(true);
      new TorchReporter({ testNamePattern: pattern }).onRunComplete(undefined, given);
      const lines = spy.mock.calls.map(([text]) => text);
      spy.mockRestore();
      return lines;
    };
    expect(said(undefined, results("torch/a.test.ts", "passed", "pending", "pending"))).toEqual(["torch: not found, 2 tests not run\n"]);
    expect(said("one of them", results("torch/a.test.ts", "passed", "pending"))).toEqual([]);
    expect(said(undefined, results("cli/a.test.ts", "pending"))).toEqual([]);
    expect(config.reporters.at(-1)).toMatch(/torch-reporter\.js$/);
  });

  test("CI fails where they were skipped or are gone, and passes where they ran or were not asked for", () => {
    const folder = mkdtempSync(path.join(tmpdir(), "ran-"));
    const status = (given: object, ...filter: string[]) => {
      writeFileSync(path.join(folder, "results.json"), JSON.stringify(given));
      return spawnSync(process.execPath, [path.join(ROOT, "scripts/torch-ran.mjs"), path.join(folder, "results.json"), ...filter]).status;
    };
    expect(status(results("torch/a.test.ts", "passed", "pending"))).toBe(1);
    expect(status(results("torch/a.test.ts", "passed", "passed"))).toBe(0);
    expect(status(results("cli/a.test.ts", "passed"))).toBe(1);
    expect(status(results("cli/a.test.ts", "passed"), "cli")).toBe(0);
    expect(readFileSync(path.join(ROOT, ".ci/run"), "utf8")).toMatch(
      /if has_torch "\$\{PEFTC_PYTHON:-python3\}"; then\n {2}node scripts\/torch-ran\.mjs "\$results" "\$@" \|\| status=1\n/,
    );
  });
});
