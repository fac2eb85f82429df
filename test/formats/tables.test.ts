/** Tables that are made of tables, and rows of Parquet files. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { makeSource } from "../../src/formats/data/make.ts";
import { loadRows, readParquet } from "../../src/formats/data/parquet.ts";
import { porterStem } from "../../src/formats/data/porter.ts";
import type { Row } from "../../src/formats/data/records.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import type { TableSpec } from "../../src/ground/table.ts";
import { InputError } from "../../src/ir/errors.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { refusal } from "../support/refusal.ts";
import { ids, lines, made, rows, spec, WORDS, wordFiles } from "./words.ts";

describe("Parquet", () => {
  const folder = path.join(import.meta.dirname, "parquet");
  test.each(["none", "snappy", "gzip", "zstd", "lz4", "brotli"])("%s", async (codec) => {
    const loaded = new Map<string, readonly Row[]>();
    const what = spec("parquet", [`${codec}.parquet`], { columns: ["grid", "n"] });
    await loadRows(spec("mix", [[what]]), new NodeFiles(folder), loaded);
    const table = made(wordFiles(), { ...what, options: { ...what.options, input: "{text}", label: "label" } }, { loaded });
    expect(rows(table, "input_ids")).toEqual([ids("the cat"), ids("a dog"), ids("it was great"), ids("no")]);
    expect(rows(table, "label")).toEqual([[1], [0], [1], [0]]);
    expect(rows(table, "grid")).toEqual([
      [1, 2],
      [3, 4],
      [5, 6],
      [7, 8],
    ]); // prettier-ignore
    expect(rows(table, "n")).toEqual([[0.5], [1.5], [2.5], [-1]]);
    const talk = made(wordFiles({}, "{% for m in messages %}{{ m.content }} [EOS] {% endfor %}"), spec("chat", [`${codec}.parquet`]), {
      loaded,
    });
    expect(rows(talk, "labels")[3]).toEqual([-100, -100, -100, ...ids("sat [EOS]")]);
  });
  test("columns inside columns: lists of records, records of lists, maps, with nothing at every level", async () => {
    const at = new NodeFiles(folder);
    const rows = (await readParquet(at, "nested.parquet")).map(({ values }) => values);
    expect(rows.map(({ messages }) => messages)).toEqual([
      [
        { role: "user", content: "a" },
        { role: "assistant", content: "b" },
      ],
      [],
      null,
      [null, { role: "user", content: null }],
    ]);
    expect(rows.map(({ deep }) => deep)).toEqual([[[[1, 2], []], null], null, [], [[[3]]]]);
    expect(rows.slice(0, 3).map(({ map }) => map)).toEqual([{ a: 1, b: null }, {}, null]);
    expect(rows[3].map).toMatchObject({ c: { text: "9007199254740993" } });
    expect(rows.map(({ s }) => (s as { x?: { z?: unknown } } | null)?.x?.z)).toEqual([null, undefined, undefined, "q"]);
    const old = (await readParquet(at, "nested-old.parquet")).map(({ values }) => values.parts);
    expect(old).toEqual([[{ role: "user", content: [{ type: "text", text: "hi" }] }], null, [], [{ role: "a", content: [] }]]);
  });
  test("bytes that nobody calls text are text where they are UTF-8, and numbers where not", async () => {
    const rows = await readParquet(new NodeFiles(folder), "bytes.parquet");
    expect(rows.map(({ values }) => values.b)).toEqual(["é", [255, 0], null, ""]);
  });
  test("pages whose sizes or numbers of values do not agree are refused, and never read for ever", async () => {
    const broken = readFileSync(path.join(import.meta.dirname, "../corpus/fuzz/parquet/page-without-size.parquet"));
    const read = readParquet(new MemoryFiles([["x.parquet", new Uint8Array(broken)]]), "x.parquet");
    await expect(read).rejects.toMatchObject({
      code: "P0717",
      message: expect.stringMatching(/page of the column .* has undefined bytes/),
    });
  });
  test("numbers are spelt as Python spells those of their columns", async () => {
    const bytes = readFileSync(path.join(folder, "none.parquet"));
    // the column of 64 bits holds 1 and 0: the 1 becomes a number that no double is
    const at = bytes.indexOf(Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    bytes.writeBigInt64LE(9007199254740993n, at);
    const [first, , , last] = await readParquet(new MemoryFiles([["x.parquet", new Uint8Array(bytes)]]), "x.parquet");
    expect(String(first.values.label)).toBe("9007199254740993");
    expect([first.values.n, String(last.values.n)]).toEqual([0.5, "-1.0"]);
    expect(first.values.grid).toEqual([1, 2]);
  });
  test("what is no Parquet file is refused", async () => {
    const files = wordFiles({ "x.parquet": "PAR1 nothing" });
    await expect(loadRows(spec("parquet", ["x.parquet"]), files, new Map())).rejects.toMatchObject({ code: "P0717" });
    await expect(loadRows(spec("parquet", ["y.parquet"]), files, new Map())).rejects.toThrow(InputError);
  });
});

describe("shuffle_names", () => {
  const rowsOf = (text: string, seed = 1, names = "Ada\nBob\nCleo") => {
    const files = wordFiles({
      d: lines([
        { text, label: 0 },
        { text, label: 1 },
      ]),
      names,
    });
    return rows(made(files, spec("shuffle_names", [spec("jsonl", ["d"]), "names"], { seed })), "input_ids").map((row) =>
      row.map((i) => WORDS[i]).join(" "),
    );
  };
  test("a name becomes another one, the same throughout a row; other words stay", () => {
    const [first] = rowsOf("Ada and Bob of Ada");
    expect(first).toMatch(/^(Bob and (Ada|Cleo) of Bob|Cleo and Ada of Cleo)$/);
    expect(rowsOf("Ada and Bob of Ada")).toEqual(rowsOf("Ada and Bob of Ada"));
    const seen = new Set(Array.from({ length: 20 }, (_, seed) => rowsOf("Ada and Bob", seed)[0]));
    expect([...seen].sort()).toEqual(["Bob and Ada", "Bob and Cleo", "Cleo and Ada"]);
    expect(rowsOf("the cat sat")).toEqual(["the cat sat", "the cat sat"]);
  });
  test("needs two names", () => {
    expect(refusal(() => rowsOf("Ada", 1, "Ada\n"))).toMatch(/^P0703 `names` has 1 names/);
  });
});

describe("take", () => {
  const files = wordFiles({ d: lines(["the", "cat", "sat", "a"].map((text) => ({ text }))) });
  const taken = (n: unknown, part = "main") => {
    const table = made(files, { ...spec("take", [spec("jsonl", ["d"], { split: 0.75 }), n]), part } as TableSpec);
    return rows(table, "input_ids").map((row) => row.map((i) => WORDS[i]).join(" "));
  };
  test("the rows that a table begins with; what is held back stays", () => {
    expect(taken(2)).toEqual(taken(3).slice(0, 2));
    expect(taken(2)).toHaveLength(2);
    expect(taken(2, "held")).toHaveLength(1);
  });
  test("not more than there are, and not none", () => {
    expect(refusal(() => taken(4))).toMatch(/^P0703 the first 4 rows of `d` are wanted, and there are 3/);
    expect(refusal(() => taken(0))).toMatch(/^P0703 .*a whole number above 0/);
  });
});

describe("tables side by side", () => {
  const files = wordFiles({
    d: lines([{ text: "the cat" }, { text: "a dog" }]),
    "a/predictions.jsonl": lines([
      { row: 0, scores: [0, 2] },
      { row: 1, scores: [1, 1] },
    ]),
    "b/predictions.jsonl": lines([
      { row: 0, scores: [4, 0] },
      { row: 1, scores: [0, 1] },
    ]),
    "c/predictions.jsonl": lines([
      { row: 0, scores: [4, 0, 1] },
      { row: 1, scores: [0, 1, 1] },
    ]),
  });
  const base = spec("jsonl", ["d"]);
  const of = (folder: string) => spec("predicted", [folder, base]);
  test("average beside rows of another table; not of more rows or fewer", () => {
    const other = { ...base, options: { input: "a {text}" } };
    const table = made(files, spec("average", [[of("a"), of("b")], "scores", other]));
    expect(rows(table, "scores")).toHaveLength(2);
    expect(rows(table, "input_ids").map((row) => row.map((i) => WORDS[i]).join(" "))).toEqual(["a the cat", "a a dog"]);
    expect(refusal(() => made(files, spec("average", [[of("a")], "scores", spec("take", [base, 1])])))).toMatch(/^P0703 `rows` has 1 rows/);
  });
  test("average is the mean of one column, beside the first table's others", () => {
    const table = made(files, spec("average", [[of("a"), of("b")], "scores"]));
    expect(rows(table, "scores")).toEqual([
      [2, 1],
      [0.5, 1],
    ]); // prettier-ignore
    expect(rows(table, "input_ids")).toEqual([ids("the cat"), ids("a dog")]);
    expect(refusal(() => made(files, spec("average", [[of("a"), of("c")], "scores"])))).toMatch(/^P0703 row 1 of `scores` is \[2\].*\[3\]/);
    expect(refusal(() => made(files, spec("average", [[of("a")], "score"])))).toMatch(/^P0703.*no column `score` to average\nit has/);
  });
  test("as rows of text they are those they were made of, with the numbers beside: answers are paired by them", () => {
    const talk = wordFiles({
      d: lines([
        { prompt: "the cat", answer: "sat" },
        { prompt: "a dog", answer: "ran" },
      ]),
      e: lines([
        { prompt: "the cat", answer: "ran" },
        { prompt: "a dog", answer: "sat" },
      ]),
      "p/predictions.jsonl": lines([
        { row: 0, reward: 0.5 },
        { row: 1, reward: 2 },
      ]),
      "q/predictions.jsonl": lines([
        { row: 0, reward: 1 },
        { row: 1, reward: 1 },
      ]),
    });
    const context = { files: talk, tokenizer: "framed", sequence: undefined };
    const [p, q] = [spec("predicted", ["p", spec("jsonl", ["d"])]), spec("predicted", ["q", spec("jsonl", ["e"])])];
    const both = makeSource(spec("pairs", [p, q], { by: "reward" }), context)!;
    expect(both.rows.map(({ values }) => [values.prompt, values.chosen, values.rejected])).toEqual([
      ["the cat", "ran", "sat"],
      ["a dog", "ran", "sat"],
    ]);
    const short = spec("predicted", ["p", spec("jsonl", ["d"], { split: 0.5 })]);
    expect(refusal(() => makeSource(short, context))).toMatch(/^P0703.*has 2 rows, but `d`.*has 1/);
  });
  test("beside brings rows of another table along", () => {
    const table = made(files, spec("beside", [base, base], { batch: 1 }));
    expect(table.beside).toMatchObject({ prefix: "held_", batch: 1, table: { rows: 2 } });
    expect(refusal(() => made(files, spec("beside", [base, base], { batch: 0 })))).toMatch(/^P0703 `batch`/);
    expect(refusal(() => made(files, spec("beside", [base, { ...base, part: "held" }], { batch: 1 })))).toMatch(/^P0731/);
  });
  test("a column by itself", () => {
    expect([...made(files, spec("column", [of("a"), "scores"])).columns.keys()]).toEqual(["scores"]);
    expect(refusal(() => made(files, spec("column", [of("a"), "score"])))).toMatch(/^P0703.*no column `score`/);
  });
});

describe("keyphrases", () => {
  const row = {
    title: "Deep learning",
    abstract: "the models learn . deep models",
    keyphrases: ["model learning", "graph nets", "deep learn", "models"],
  };
  const files = wordFiles({ d: lines([row]), p: JSON.stringify({ row: 0, logits: [] }) });
  const documents = spec("jsonl", ["d"], { input: "{title} [sep] {abstract}", lower: true });
  test("Porter's stems", () => {
    const pairs =
      "caresses caress ponies poni cats cat agreed agre plastered plaster motoring motor sing sing conflated conflat hopping hop hoping hope falling fall filing file happy happi sky sky relational relat conditional condit digitizer digit operator oper sensibiliti sensibl triplicate triplic electrical electr revival reviv adoption adopt probate probat rate rate controll control networks network generalizations gener oscillators oscil";
    const words = pairs.split(" ");
    for (let i = 0; i < words.length; i += 2) expect([words[i], porterStem(words[i])]).toEqual([words[i], words[i + 1]]);
  });
  test("bio marks every occurrence of a phrase, later phrases over earlier ones, on the first token of a word", () => {
    const table = made(files, spec("bio", [documents], { phrases: "keyphrases", stem: "porter" }), { tokenizer: "framed" });
    // [BOS] deep learning [sep] the models learn . deep models [EOS]
    expect(rows(table, "input_ids")).toEqual([ids("[BOS] deep learning [sep] the models learn . deep models [EOS]")]);
    expect(rows(table, "tags")).toEqual([[-100, 0, 1, 2, 2, 0, 1, 2, 2, 0, -100]]);
    const exact = made(files, spec("bio", [documents], { phrases: "keyphrases" }));
    expect(rows(exact, "tags")).toEqual([[2, 2, 2, 2, 0, 2, 2, 2, 0]]);
    expect(rows(made(files, spec("bio", [documents], { phrases: "keyphrases" }), { tokenizer: "framed", sequence: 5 }), "tags")).toEqual([
      [-100, 2, 2, 2, -100],
    ]);
    expect(refusal(() => made(files, spec("bio", [documents], { phrases: "keys" })))).toMatch(/^P0705.*column `keys` is missing/);
    expect(refusal(() => made(files, spec("bio", [documents], { phrases: "keyphrases", stem: "x" })))).toMatch(/^P0703 `stem`/);
  });
  test("join_phrases writes them out, those of the text first if asked", () => {
    const target = (options: object) =>
      rows(made(files, spec("join_phrases", [documents], { phrases: "keyphrases", ...options })), "labels")[0].filter(
        (label) => label !== -100,
      );
    expect(target({ order: "present-absent" })).toEqual(ids("model learning ; deep learn ; models ; graph nets [EOS]"));
    expect(target({ by: " , " })).toEqual(ids("model learning , graph nets , deep learn , models [EOS]"));
    expect(refusal(() => target({ order: "any" }))).toMatch(/^P0703 `order`/);
  });
  test("spans reads a tagger's classes back as phrases", () => {
    const classes = [2, 0, 1, 2, 1, 1, 2, 2, 0, 0, 2];
    const logits = classes.map((c) => [0, 1, 2].map((i) => Number(i === c)));
    const found = wordFiles({ d: lines([row]), "t/predictions.jsonl": lines([{ row: 0, logits }]) });
    const source = makeSource(spec("spans", [spec("predicted", ["t", documents]), documents]), {
      files: found,
      tokenizer: "framed",
      sequence: undefined,
    });
    expect(source!.rows[0].values).toMatchObject({
      phrases: ["deep learning", "the models", "deep", "models"],
      answer: "deep learning ; the models ; deep ; models",
    });
    expect(refusal(() => made(found, spec("spans", [documents, documents])))).toMatch(/^P0703 `spans` takes predictions/);
  });
});

describe("rows without options", () => {
  const first = (values: object) => made(wordFiles({ d: lines([values]) }), spec("jsonl", ["d"]));
  test("instructions, pairs of sentences, tokens", () => {
    expect(rows(first({ instruction: "the", input: "cat", output: "sat" }), "labels")).toEqual([[-100, -100, ...ids("sat [EOS]")]]);
    expect(rows(first({ premise: "the", hypothesis: "cat", label: 1 }), "label")).toEqual([[1]]);
    const tokens = first({ input_ids: [5, 6, 7], labels: [-100, 6, 7], label: 2 });
    expect([rows(tokens, "input_ids"), rows(tokens, "labels"), rows(tokens, "label")]).toEqual([[[5, 6, 7]], [[-100, 6, 7]], [[2]]]);
    expect(tokens.facts).toEqual([{ line: 1, tokens: 3, labelled: 2 }]);
  });
});

describe("packing", () => {
  const files = wordFiles({
    d: lines(["the cat sat", "a dog", "it was great .", "no", "yes"].map((text) => ({ text }))),
    t: "the cat\n\na dog sat on the mat\n\n\n\nno",
  });
  test("whole documents, the first row with room takes each; a number for each, and no label on its first token", () => {
    const table = made(files, spec("jsonl", ["d"], { packed: "documents" }), { sequence: 5 });
    expect(rows(table, "input_ids")).toEqual([ids("the cat sat a dog"), ids("it was great . no"), ids("yes")]);
    expect(rows(table, "segment")).toEqual([[1, 1, 1, 2, 2], [1, 1, 1, 1, 2], [1]]); // prettier-ignore
    expect(rows(table, "labels")).toEqual([[-100, ...ids("cat sat"), -100, ...ids("dog")], [-100, ...ids("was great ."), -100], [-100]]); // prettier-ignore
    const stream = made(files, spec("jsonl", ["d"], { packed: "stream" }), { sequence: 5 });
    expect([stream.columns.has("segment"), rows(stream, "labels")[0]]).toEqual([false, ids("the cat sat a dog")]);
    expect(refusal(() => made(files, spec("jsonl", ["d"], { packed: "documents" })))).toMatch(/^P0703.*needs `sequence`/);
    expect(refusal(() => made(files, spec("jsonl", ["d"], { packed: "yes" }), { sequence: 5 }))).toMatch(/^P0703 `packed`/);
  });
  test("documents of a text end with the token for it; one that is too long is cut into pieces", () => {
    const apart = made(files, spec("text", ["t"], { separator: "\n\n", packed: "documents" }), { sequence: 4 });
    expect(rows(apart, "input_ids")).toEqual([ids("the cat [EOS]"), ids("a dog sat on"), ids("the mat [EOS]"), ids("no [EOS]")]);
    const stream = made(files, spec("text", ["t"], { separator: "\n\n" }), { sequence: 4 });
    expect(rows(stream, "input_ids")).toEqual([ids("the cat [EOS] a"), ids("dog sat on the"), ids("mat [EOS] no [EOS]")]);
    expect(refusal(() => made(files, spec("text", ["t"], { packed: "documents" }), { sequence: 4 }))).toMatch(/^P0703.*needs `separator`/);
  });
});
