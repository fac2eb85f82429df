/** Programs in the documentation are programs: what is whole checks, and the method of one's own trains. */
import { mkdtempSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { openWorkspace } from "../../src/node/workspace.ts";
import { type Place, peftc } from "./support.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const EXAMPLES = path.join(ROOT, "specs/examples");

const files = [
  "README.md",
  ...readdirSync(path.join(ROOT, "docs"))
    .filter((f) => f.endsWith(".md"))
    .map((f) => `docs/${f}`),
];
const blocks = files.flatMap((file) => {
  const text = readFileSync(path.join(ROOT, file), "utf8");
  return [...text.matchAll(/^```peft\n([\s\S]*?)^```/gm)].map((m) => ({
    place: `${file}:${text.slice(0, m.index).split("\n").length + 1}`,
    text: m[1],
  }));
});
/** A block that says where its names come from is a program, or a part of a library; others are excerpts. */
const whole = blocks.filter(({ text }) => /^import /m.test(text));

test("there are programs in the documentation", () => {
  expect(whole.length).toBeGreaterThan(4);
});

test.each(whole.map(({ place, text }) => [place, text] as const))("%s checks beside the examples' models and data", (_place, text) => {
  const sources = openWorkspace(EXAMPLES).sources.with("shown.peft", text);
  expect(compile("shown.peft", sources).problems.map((p) => `${p.code} ${p.message}`)).toEqual([]);
});

test("the method of one's own trains as it stands, and its adapter is read back", async () => {
  const { text } = whole.find(({ place, text }) => place.startsWith("docs/own-method.md") && /^train /m.test(text))!;
  const folder = mkdtempSync(path.join(tmpdir(), "peftc-"));
  for (const part of ["models", "data"]) symlinkSync(path.join(EXAMPLES, part), path.join(folder, part));
  writeFileSync(path.join(folder, "mine.peft"), `${text}\ngenerate { model = gpt2  prompts = ["The "]  max_tokens = 2 }\n`);
  const at = { folder } as Place;
  const trained = await peftc(at, ["train", "mine.peft", "--output", "out", "--device", "wasm", "--json", "--set", "train.steps=25"]);
  expect(trained.err).toBe("");
  expect(trained.code).toBe(0);
  const losses = trained.events().flatMap((e) => (e.event === "evaluation" ? [e.loss as number] : []));
  expect(losses).toHaveLength(2);
  expect(losses[1]).toBeLessThan(losses[0] - 0.01);
  const config = JSON.parse(readFileSync(path.join(folder, "out/adapter_config.json"), "utf8")) as { parts: { method: string }[] };
  expect(config.parts.map((p) => p.method)).toEqual(["Tied"]);
  expect((await peftc(at, ["generate", "mine.peft", "--adapter", "out", "--device", "wasm"])).code).toBe(0);
});
