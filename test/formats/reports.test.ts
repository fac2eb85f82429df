/** The page on reported faults names tests that there are. */
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";

const rows = [...readFileSync("docs/reports.md", "utf8").matchAll(/^\| .* \| .* \| `(test\/[^`]+)`: (.+) \|$/gm)].map(([, file, title]) => [
  file,
  title,
]);

test("each row has a test of that name in that file", () => {
  expect(rows.length).toBeGreaterThanOrEqual(37);
  expect(rows.filter(([file, title]) => !existsSync(file) || !readFileSync(file, "utf8").includes(`"${title}"`))).toEqual([]);
});
