/** Names of classes have one numbering for all tables of a program, and it is kept with what was trained. */
import { describe, expect, test } from "@jest/globals";
import type { DatasetSpec, Entry, Project } from "../../src/compiler/project.ts";
import { readProvenance, writeProvenance } from "../../src/formats/adapters/provenance.ts";
import type { MemoryFiles } from "../../src/formats/memory.ts";
import { loadTokenizer } from "../../src/formats/tokenizer/tokenizer.ts";
import { Builder } from "../../src/ir/build.ts";
import { InputError } from "../../src/ir/errors.ts";
import type { Sources } from "../../src/train/compiler-host.ts";
import { Tables } from "../../src/train/data/data.ts";
import { letterFiles } from "../formats/letters.ts";

const rows = (...labels: string[]) => labels.map((label) => JSON.stringify({ text: "a", label })).join("\n");
const FILES = {
  train: rows("negative", "positive", "neutral"),
  eval: rows("neutral", "positive"),
  odd: rows("neutral", "mixed"),
  other: rows("yes", "no"),
  LABEL: rows("LABEL_10", "LABEL_2"),
};
const spec = (path: string, options: DatasetSpec["options"] = {}): DatasetSpec => ({
  kind: "dataset",
  make: "jsonl",
  args: [path],
  options,
  part: "main",
  span: { file: "x", start: 0, end: 0 },
});

function tables(trained: readonly DatasetSpec[], files: MemoryFiles = letterFiles(FILES), adapter?: string): Tables {
  const actions = trained.map((data) => ({ kind: "stage", stage: { verb: "train", data: [data], tokenizer: "m" } }));
  const attachments = adapter === undefined ? [] : [{ folders: [adapter] }];
  const sources = { files, readTokenizer: (folder: string) => loadTokenizer(files, folder) } as unknown as Sources;
  return new Tables(sources, undefined, { actions, attachments } as unknown as Project);
}
async function labels(from: Tables, of: DatasetSpec): Promise<number[] | string> {
  try {
    const table = await from.table({ spec: of, tokenizer: "m", sequence: undefined });
    return Array.from({ length: table!.rows }, (_, i) => Number(table!.columns.get("label")!.row(i)[0]));
  } catch (error) {
    if (error instanceof InputError) return [`${error.code} ${error.message}`, ...error.notes].join("\n");
    throw error;
  }
}

describe("what is trained on numbers the classes", () => {
  test("of every other table, whichever is read first; a name that it does not have is refused", async () => {
    const made = tables([spec("train")]);
    expect(await labels(made, spec("eval"))).toEqual([1, 2]);
    expect(await labels(made, spec("train"))).toEqual([0, 2, 1]);
    expect(await labels(made, spec("odd"))).toMatch(
      /^P0706 `odd` names the class "mixed", which `train` does not have\nthere it is negative, neutral, positive[\s\S]*classes:/,
    );
    expect(await labels(made, spec("other"))).toMatch(/^P0706 `other` names the class "yes"/);
    expect([...(made.classesOf([spec("train")]) ?? [])]).toEqual([
      ["negative", 0],
      ["neutral", 1],
      ["positive", 2],
    ]);
  });
  test("files that share names are one task, others have their own; without training each file is by itself", async () => {
    const both = tables([spec("eval"), spec("train"), spec("other")]);
    expect(await labels(both, spec("eval"))).toEqual([1, 2]);
    expect(await labels(both, spec("other"))).toEqual([1, 0]);
    expect(await labels(tables([]), spec("eval"))).toEqual([0, 1]);
  });
  test("two heads whose classes have a name in common number them apart, for what each reads; so do two adapters", async () => {
    const files = letterFiles({ ...FILES, short: rows("neutral", "agree"), one: rows("neutral") });
    const stage = (path: string, param: string) => ({
      kind: "stage",
      stage: { verb: "train", data: [spec(path)], tokenizer: "m", trained: [param] },
    });
    const sources = { files, readTokenizer: (folder: string) => loadTokenizer(files, folder) } as unknown as Sources;
    const label = [{ name: "label", dtype: "i32", shape: [4] }] as const;
    const reads = (param: string, columns: Entry["columns"]): Entry[] => [
      {
        graph: { results: [{ role: "output", name: "y", node: new Builder({ path: "" }).param(param, [1]) }] },
        columns: [...columns],
        states: [],
      },
    ];
    const numbers = async (made: Tables, path: string, param: string, columns: Entry["columns"] = label) => {
      const table = await made.table({ spec: spec(path), tokenizer: "m", sequence: undefined, entries: reads(param, columns) });
      return Array.from({ length: table!.rows }, (_, i) => Number(table!.columns.get("label")!.row(i)[0]));
    };
    const actions = [stage("train", "m.head"), stage("short", "n.head")];
    const made = new Tables(sources, undefined, { actions, attachments: [] } as unknown as Project);
    expect(await numbers(made, "train", "m.head")).toEqual([0, 2, 1]);
    expect(await numbers(made, "short", "n.head")).toEqual([1, 0]);
    expect(await numbers(made, "one", "m.head")).toEqual([1]);
    expect(await numbers(made, "one", "n.head")).toEqual([1]);
    expect(await numbers(made, "short", "n.head")).toEqual([1, 0]);
    expect([...made.classesOf([spec("short")])!.keys()]).toEqual(["agree", "neutral"]);
    await expect(numbers(made, "short", "m.head")).rejects.toThrow(/names the class "agree", which `train` does not have/);
    // whose answers are not held against the labels may read texts of another task
    expect(await numbers(made, "short", "m.head", [])).toEqual([1, 0]);

    const record = { writtenBy: { name: "peftc", version: "0" }, base: {}, tokenizer: {} };
    writeProvenance(files, "a", {
      ...record,
      classes: new Map([...["positive", "neutral", "negative"].entries()].map(([i, n]) => [n, i])),
    });
    writeProvenance(files, "b", { ...record, classes: new Map([...["neutral", "agree"].entries()].map(([i, n]) => [n, i])) });
    const from = (name: string, folder: string) => [name, { name, source: { kind: "file", folder } }] as const;
    const params = new Map([from("m.head", "a"), from("n.head", "b")]);
    const loaded = new Tables(sources, undefined, {
      actions: [],
      attachments: [{ folders: ["a"] }, { folders: ["b"] }],
      params,
    } as unknown as Project);
    expect(await numbers(loaded, "one", "m.head")).toEqual([1]);
    expect(await numbers(loaded, "one", "n.head")).toEqual([0]);
  });
  test("a file that is not there says nothing, and names that are numbered say it themselves", async () => {
    expect(await labels(tables([spec("gone")]), spec("eval"))).toEqual([0, 1]);
    expect(await labels(tables([spec("train")]), spec("LABEL"))).toEqual([10, 2]);
  });
});

describe("who else numbers them", () => {
  const CLASSES = { classes: ["positive", "neutral", "negative"] };
  test("the program", async () => {
    const made = tables([spec("train", CLASSES)]);
    expect(await labels(made, spec("train", CLASSES))).toEqual([2, 0, 1]);
    expect(await labels(made, spec("odd", CLASSES))).toMatch(/^P0706.*line 2: label is "mixed", which `classes` does not name/);
    expect(await labels(made, spec("eval", { classes: ["a", "a"] }))).toMatch(/^P0703.*each once/);
  });
  test("words that an objective is given, in their order; several may stand for a class, and what none of them stands for is refused", async () => {
    const words = { words: [["positive", "great"], ["neutral"], ["negative"]] };
    const made = tables([spec("train", words)]);
    expect(await labels(made, spec("train", words))).toEqual([2, 0, 1]);
    expect(await labels(made, spec("other", words))).toMatch(
      /^P0706 `other` names the class "yes", and which of the objective's words stands for it[\s\S]*classes:/,
    );
    expect(await labels(made, spec("other", { ...words, classes: ["no", "yes"] }))).toEqual([1, 0]);
  });
  test("the model's configuration, which the program may not contradict", async () => {
    const files = letterFiles({ ...FILES, "m/config.json": JSON.stringify({ id2label: { 0: "positive", 1: "neutral", 2: "negative" } }) });
    const made = tables([spec("train")], files);
    expect(await labels(made, spec("eval"))).toEqual([1, 0]);
    expect(await labels(made, spec("eval", { classes: ["neutral", "positive", "negative"] }))).toMatch(
      /^P0706 `classes` has "neutral" as 0, but the model's configuration as 1/,
    );
  });
  test("a result, before what is trained on now", async () => {
    const files = letterFiles(FILES);
    const record = { writtenBy: { name: "peftc", version: "0" }, base: {}, tokenizer: {} };
    writeProvenance(files, "adapter", {
      ...record,
      classes: new Map([
        ["positive", 0],
        ["negative", 1],
        ["neutral", 2],
      ]),
    });
    expect(readProvenance(files, "adapter")!.classes!.get("neutral")).toBe(2);
    const made = tables([spec("train")], files, "adapter");
    expect(await labels(made, spec("eval"))).toEqual([2, 0]);
    expect(await labels(made, spec("odd"))).toMatch(/^P0706.*`adapter` does not have/);
    const late = tables([], files);
    late.book.adopt("adapter");
    expect(await labels(late, spec("eval"))).toEqual([2, 0]);
  });
});
