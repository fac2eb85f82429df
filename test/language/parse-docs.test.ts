/** Every program in the documentation reads without a word, and is laid out as `fmt` would. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { format } from "../../src/compiler/format.ts";

const root = new URL("../../", import.meta.url);
const files = ["README.md", ...(readdirSync(new URL("docs/", root), { recursive: true }) as string[]).map((f) => `docs/${f}`)].filter(
  (f) => f.endsWith(".md") && existsSync(new URL(f, root)),
);
const programs = files.flatMap((file) => {
  const text = readFileSync(new URL(file, root), "utf8");
  return [...text.matchAll(/^```peft\n([\s\S]*?)^```/gm)].map(
    (m) => [`${file}:${text.slice(0, m.index).split("\n").length + 1}`, m[1]] as const,
  );
});

test.each(programs)("%s", (place, text) => {
  expect(format(text, place).problems).toEqual([]);
  expect(format(text, place).text).toBe(text);
});
