import { describe, expect, test } from "@jest/globals";
import { makeTable } from "../../src/formats/data/make.ts";
import type { Table } from "../../src/formats/data/table.ts";
import { parseTemplate } from "../../src/formats/data/template.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import type { TableSpec } from "../../src/ground/table.ts";
import { Limit } from "../../src/ir/errors.ts";
import { refusal } from "../support/refusal.ts";
import { rows } from "./words.ts";

const WORDS = [
  "[PAD]",
  "[UNK]",
  "[CLS]",
  "[SEP]",
  "[MASK]",
  "the",
  "cat",
  "sat",
  "on",
  "mat",
  "a",
  "dog",
  ".",
  ",",
  "?",
  "yes",
  "no",
  "it",
  "was",
  "great",
];
const id = (word: string) => WORDS.indexOf(word);
const ids = (text: string) => text.split(" ").map(id);

/** A masked model's folder, one with `</s>` behind every text that has an encoder and a decoder, and a language model whose texts have nothing around them. */
const MODELS: Record<string, object | string> = {
  "bert/vocab.txt": WORDS.join("\n"),
  "bert/config.json": { id2label: { 0: "no", 1: "yes" } },
  "t5/config.json": {},
  "t5/tokenizer.json": words({ single: [{ Sequence: { id: "A", type_id: 0 } }, { SpecialToken: { id: "[SEP]", type_id: 0 } }] }),
  "t5/tokenizer_config.json": { eos_token: "[SEP]", pad_token: "[PAD]" },
  "gpt/config.json": {},
  "gpt/tokenizer.json": words(undefined),
  "gpt/tokenizer_config.json": { eos_token: "[SEP]" },
};
function words(template: object | undefined): object {
  return {
    added_tokens: ["[PAD]", "[SEP]"].map((content) => ({ id: id(content), content, special: true, normalized: false })),
    normalizer: null,
    pre_tokenizer: { type: "WhitespaceSplit" },
    post_processor: template === undefined ? null : { type: "TemplateProcessing", pair: [], special_tokens: {}, ...template },
    decoder: null,
    model: {
      type: "WordPiece",
      vocab: Object.fromEntries(WORDS.map((word, i) => [word, i])),
      unk_token: "[UNK]",
      continuing_subword_prefix: "##",
    },
  };
}

function table(
  content: string | object[],
  options: Record<string, unknown> = {},
  more: { make?: string; model?: string; sequence?: number | undefined; part?: "main" | "held" } = {},
): Table | undefined {
  const { make = "jsonl", model = "bert", sequence, part = "main" } = more;
  const text = typeof content === "string" ? content : content.map((row) => JSON.stringify(row)).join("\n");
  const files = new MemoryFiles([
    ...Object.entries(MODELS).map(([path, data]) => [path, typeof data === "string" ? data : JSON.stringify(data)] as const),
    ["d", text],
  ]);
  return makeTable({ make, args: ["d"], options, part }, { files, tokenizer: model, separate: model === "t5", sequence });
}
const PAIR = { input: ["{premise}", "{hypothesis}"], label: "label" };
const NLI = [
  { premise: "the cat sat .", hypothesis: "a dog", label: 1 },
  { premise: "the dog", hypothesis: "it was a cat", label: 0 },
];

describe("templates", () => {
  test("text, columns, filters, the mask, braces", () => {
    const made = table([{ a: "The cat.", b: "A dog" }], { input: "{a|chop} ? {mask} , {b | lower_first} {{x}}" });
    expect(rows(made, "input_ids")).toEqual([[2, ...ids("the cat ? [MASK] , a dog"), 1, 1, 1, 3]]);
    expect(rows(made, "mask_at")).toEqual([[4]]);
    // of several masks the place of each
    const two = table([{ a: "the cat" }, { a: "a dog sat" }], { input: "{mask} {a} {mask}" });
    expect(rows(two, "mask_at").map((at) => at.map((i) => i - at[0]))).toEqual([
      [0, 3],
      [0, 4],
    ]);
    expect(
      rows(made, "special")[0]
        .map((s, i) => (s ? i : -1))
        .filter((i) => i >= 0),
    ).toEqual([0, 4, 8, 9, 10, 11]);
  });
  test.each([
    ["{a", /\{ at 1 is not closed/],
    ["a}", /\} at 2 closes nothing/],
    ["{}", /names no column/],
    ["{a|shout}", /no filter "shout"/],
  ])("%s is refused", (source, says) => {
    expect(refusal(() => parseTemplate(source))).toMatch(new RegExp(`^P0704.*${says.source}`));
  });
  test("a long row loses words of its longest column, never of the template", () => {
    const made = table([{ a: "the cat sat on the mat the cat sat", b: "a dog" }], { input: "{a} it was {mask} . {b}" }, { sequence: 11 });
    expect(rows(made, "input_ids")).toEqual([[2, ...ids("the cat sat it was [MASK] . a dog"), 3]]);
    expect(rows(made, "mask_at")).toEqual([[6]]);
    expect(refusal(() => table([{ a: "a" }], { input: "{a} it was {mask} ." }, { sequence: 5 }))).toMatch(
      /^P0712.*alone takes 6 tokens.*sequence = 5/,
    );
    expect(refusal(() => table([{ a: "[MASK]" }], { input: "{a} {mask}" }))).toMatch(/^P0712.*2 mask tokens/);
    expect(refusal(() => table([{ a: "a" }], { input: "{a} {mask}" }, { model: "gpt" }))).toMatch(/^P0710.*no mask token/);
  });
});

describe("rows of JSON", () => {
  test("a pair with a label: two texts, their types, lengths of their own", () => {
    const made = table(NLI, PAIR);
    expect(rows(made, "input_ids")).toEqual([
      [2, ...ids("the cat sat ."), 3, ...ids("a dog"), 3],
      [2, ...ids("the dog"), 3, ...ids("it was a cat"), 3],
    ]);
    expect(rows(made, "token_type_ids")[0]).toEqual([0, 0, 0, 0, 0, 0, 1, 1, 1]);
    expect(rows(made, "attention_mask")[1]).toEqual(Array(9).fill(1));
    expect(rows(made, "label")).toEqual([[1], [0]]);
    expect([...made!.columns.keys()]).toEqual(["input_ids", "attention_mask", "special", "token_type_ids", "label"]);
    const pads = ["input_ids", "attention_mask", "special"].map((name) => made!.columns.get(name)!.pad);
    expect(pads).toEqual([0, 0, 1]);
  });
  test("sequence cuts the longer text and keeps what stands around", () => {
    expect(rows(table(NLI, PAIR, { sequence: 7 }), "input_ids")).toEqual([
      [2, ...ids("the cat"), 3, ...ids("a dog"), 3],
      [2, ...ids("the dog"), 3, ...ids("it was"), 3],
    ]);
    expect(refusal(() => table(NLI, PAIR, { sequence: 3 }))).toMatch(/^P0713.*sequence = 3.*takes 3/);
  });
  test("usual names of columns need no options", () => {
    const made = table([{ text: "the cat", label: "yes", other: 3 }]);
    expect(rows(made, "input_ids")).toEqual([[2, 5, 6, 3]]);
    expect(rows(made, "label")).toEqual([[1]]);
    expect(table([{ text: "the cat" }])!.columns.has("labels")).toBe(false);
  });
  test("a prompt and its completion in one row: labels on the completion, then the end", () => {
    const made = table([{ prompt: "the cat", completion: "sat on" }], {}, { model: "gpt" });
    expect(rows(made, "input_ids")).toEqual([[...ids("the cat sat on"), 3]]);
    expect(rows(made, "labels")).toEqual([[-100, -100, ...ids("sat on"), 3]]);
    expect(made!.columns.get("labels")!.pad).toBe(-100);
    const cut = table([{ prompt: "the cat", completion: "sat on" }], {}, { model: "gpt", sequence: 3 });
    expect(rows(cut, "labels")).toEqual([[-100, -100, id("sat")]]);
    expect(refusal(() => table([{ prompt: "the cat", completion: "sat" }], {}, { model: "gpt", sequence: 2 }))).toMatch(
      /^P0711.*line 1: the answer starts behind 2 tokens/,
    );
    const framed = table([{ q: "the cat", a: "sat" }], { input: "{q}", target: "{a}" }, { model: "bert" });
    expect(rows(framed, "input_ids")).toEqual([[2, ...ids("the cat sat"), 3]]);
    expect(rows(framed, "labels")).toEqual([[-100, -100, -100, id("sat"), 3]]);
  });
  test("for an encoder–decoder the target has a row of its own", () => {
    const made = table([{ q: "the cat", a: "sat on a mat" }], { input: "{q} ?", target: "{a}" }, { model: "t5" });
    expect(rows(made, "input_ids")).toEqual([[...ids("the cat ?"), 3]]);
    expect(rows(made, "labels")).toEqual([[...ids("sat on a mat"), 3]]);
  });
  test("columns of numbers go through as they are", () => {
    const made = table(
      [
        {
          text: "a",
          grid: [
            [1, 2],
            [3, 4],
            [5, 6],
          ],
          score: 0.5,
          tags: [1, 2],
        },
        { text: "a", grid: [[7, 8]], score: true, tags: [0] },
      ],
      { columns: ["grid", "score", "tags"] },
    );
    const grid = made!.columns.get("grid")!;
    expect([grid.rank, grid.shape(0), grid.shape(1), [...Array.from(grid.row(0))]]).toEqual([2, [3, 2], [1, 2], [1, 2, 3, 4, 5, 6]]);
    expect(rows(made, "score")).toEqual([[0.5], [1]]);
    expect(made!.columns.get("tags")!.pad).toBe(-100);
    const odd = (value: unknown) =>
      refusal(() =>
        table(
          [
            { text: "a", grid: [1] },
            { text: "a", grid: value },
          ],
          { columns: ["grid"] },
        ),
      );
    expect(odd([[1], [2, 3]])).toMatch(/^P0709.*line 2.*lists of 1 and of 2/);
    expect(odd([1, [2]])).toMatch(/^P0709.*numbers and lists/);
    expect(odd("x")).toMatch(/^P0709.*the string "x"/);
    expect(odd([1, "5"])).toMatch(/^P0709.*the string "5"/);
    expect(odd([[1]])).toMatch(/^P0709.*2 axes, other rows have 1/);
    expect(odd(null)).toMatch(/^P0705.*line 2: column `grid` is null/);
  });
  test("bad lines name themselves", () => {
    expect(refusal(() => table('{"text": "a"}\n\n{"text": }'))).toMatch(/^P0701 `d`, line 3 is not JSON: column 10: a value is wanted/);
    expect(refusal(() => table("3"))).toMatch(/^P0701.*the number 3/);
    expect(refusal(() => table('{\n"text": "a"\n}'))).toMatch(/^P0701[\s\S]*one list of objects/);
    expect(refusal(() => table("\n\n"))).toMatch(/^P0700/);
    expect(refusal(() => table([{ text: "a" }, { txt: "a" }]))).toMatch(/^P0705.*line 2: column `text` is missing\nthe row has txt/);
    expect(refusal(() => table([{ body: "a" }]))).toMatch(/^P0703.*no column `text`[\s\S]*it has body/);
    expect(refusal(() => table([{ text: ["a"] }]))).toMatch(/^P0709.*a list of 1 where text/);
    expect(refusal(() => table([{ text: "a" }], { input: ["{text}", "{text}", "{text}"] }))).toMatch(/^P0703.*list of 3/);
  });
});

describe("labels", () => {
  const labels = (values: unknown[], model = "gpt") =>
    rows(
      table(
        values.map((label) => ({ text: "a", label })),
        {},
        { model },
      ),
      "label",
    ).map(([label]) => label);
  test("numbers, truths, numerals, names by the configuration or in order", () => {
    expect(labels([2, 0, -100])).toEqual([2, 0, -100]);
    expect(labels([0.5, -1.5])).toEqual([0.5, -1.5]);
    expect(labels([true, false])).toEqual([1, 0]);
    expect(labels(["1", "0"])).toEqual([1, 0]);
    expect(labels(["dog", "cat", "dog"])).toEqual([1, 0, 1]);
    expect(labels(["yes", "no", "0"], "bert")).toEqual([1, 0, 0]);
  });
  test("rows of numbers, one for each of several classes", () => {
    const several = (values: unknown[], options = {}) =>
      rows(
        table(
          values.map((label) => ({ text: "a", label })),
          options,
          { model: "gpt" },
        ),
        "label",
      );
    expect(
      several([
        [1, 0, 1],
        [0, 0, 0.5],
      ]),
    ).toEqual([
      [1, 0, 1],
      [0, 0, 0.5],
    ]);
    expect(
      several(
        [
          [1, 0],
          [0, 1],
          [1, 1],
        ],
        { split: 0.7 },
      ),
    ).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(refusal(() => several([[1, 0], 2]))).toMatch(/^P0709.*line 2: column `label` has 0 axes, other rows have 1/);
    expect(refusal(() => several([[1, "yes"]]))).toMatch(/^P0709.*"yes" where numbers/);
  });
  test("what is no label is refused with its line", () => {
    expect(refusal(() => labels(["yes", "maybe"], "bert"))).toMatch(/^P0706.*line 2: label is "maybe"[\s\S]*names no, yes/);
    expect(refusal(() => labels(["a", 1]))).toMatch(/^P0707.*line 2.*number 1.*"a"/);
    expect(refusal(() => labels([0, [1]]))).toMatch(/^P0707.*a list of 1/);
    expect(refusal(() => labels([0, -1]))).toMatch(/^P0708.*line 2: label is -1/);
    expect(refusal(() => labels([0, null]))).toMatch(/^P0705.*is null/);
  });
  test("both parts of a split number names alike", () => {
    const data = ["b", "c", "a", "b"].map((label) => ({ text: "a", label }));
    expect(rows(table(data, { split: 0.5 }, { model: "gpt" }), "label")).toEqual([[1], [2]]);
    expect(rows(table(data, { split: 0.5 }, { model: "gpt", part: "held" }), "label")).toEqual([[0], [1]]);
  });
});

describe("CSV", () => {
  const csv = (content: string, options: Record<string, unknown> = {}) => table(content, options, { make: "csv", model: "gpt" });
  test("quotes, commas, line ends, a byte order mark", () => {
    const made = csv('\ufefftext,label,n\r\n"the , cat",1,0.5\r\n"a ""dog""\nsat",0,2\r\n', { columns: ["n"] });
    expect(rows(made, "input_ids")).toEqual([ids("the , cat"), [id("a"), 1, id("sat")]]);
    expect(rows(made, "label")).toEqual([[1], [0]]);
    expect(rows(made, "n")).toEqual([[0.5], [2]]);
  });
  test("what is malformed is refused with its line", () => {
    expect(refusal(() => csv("text,label\na,1\nb\n"))).toMatch(/^P0702 `d`.*line 3/);
    expect(refusal(() => csv('text,label\n"a,1\n'))).toMatch(/^P0702/);
    expect(refusal(() => csv("text,text\na,1\n"))).toMatch(/^P0702.*two columns named "text"/);
    expect(refusal(() => csv("text,\na,1\n"))).toMatch(/^P0702.*column 2 has no name/);
    expect(refusal(() => csv("text,label\na,x\nb,\n"))).toBe("nothing was refused");
  });
});

describe("one long text", () => {
  const text = (sequence: number | undefined, options = {}, part: "main" | "held" = "main") =>
    table("the cat sat on the mat\na dog", options, { make: "text", model: "bert", sequence, part });
  test("is cut into rows, the rest dropped, with nothing put around", () => {
    expect(rows(text(3), "input_ids")).toEqual([ids("the cat sat"), ids("on the mat")]);
    expect(rows(text(3), "attention_mask")).toEqual([
      [1, 1, 1],
      [1, 1, 1],
    ]);
  });
  test("splits by rows, at least one each", () => {
    expect(rows(text(2, { split: 0.75 }), "input_ids")).toHaveLength(3);
    expect(rows(text(2, { split: 0.75 }, "held"), "input_ids")).toEqual([ids("a dog")]);
    expect(rows(text(4, { split: 0.99 }, "held"), "input_ids")).toHaveLength(1);
    expect(text(4, {}, "held")).toBeUndefined();
  });
  test("what is missing is said", () => {
    expect(refusal(() => text(undefined))).toMatch(/^P0703.*needs `sequence`/);
    expect(refusal(() => text(9))).toMatch(/^P0700.*8 tokens, which fill no row of 9/);
    expect(refusal(() => text(8, { split: 0.5 }, "held"))).toMatch(/^P0700/);
    expect(refusal(() => text(2, { split: 2 }))).toMatch(/^P0703.*split/);
    expect(
      refusal(() =>
        makeTable({ make: "text", args: ["none"], options: {}, part: "main" }, { files: new MemoryFiles(), tokenizer: "x", sequence: 3 }),
      ),
    ).toMatch(/^P0703.*no tokenizer/);
    expect(refusal(() => table("a", {}, { make: "text", model: "nowhere", sequence: 1 }))).toMatch(/^P0703.*`nowhere` has none/);
  });
});

describe("tables of tables", () => {
  const files = new MemoryFiles([
    ...Object.entries(MODELS).map(([path, data]) => [path, typeof data === "string" ? data : JSON.stringify(data)] as const),
    ["a", '{"text": "the cat", "label": 1}\n{"text": "a dog", "label": 0}'],
    ["b", '{"text": "a mat"}'],
    ["run/predictions.jsonl", '{"row": 0, "scores": [0.1, 0.9]}\n{"row": 1, "scores": [0.8, 0.2]}'],
  ]);
  const context = { files, tokenizer: "gpt", sequence: undefined };
  const of = (path: string): TableSpec => ({ make: "jsonl", args: [path], options: {}, part: "main" });
  test("mix joins rows and the columns that all have", () => {
    const made = makeTable({ make: "mix", args: [[of("a"), of("b")]], options: {}, part: "main" }, context);
    expect(rows(made, "input_ids")).toEqual([ids("the cat"), ids("a dog"), ids("a mat")]);
    expect(made!.columns.has("label")).toBe(false);
    const weighted = makeTable({ make: "mix", args: [[of("a"), of("b")]], options: { weights: [0.5, 2] }, part: "main" }, context);
    expect(rows(weighted, "input_ids")).toEqual([ids("the cat"), ids("a mat"), ids("a mat")]);
    expect(makeTable({ make: "mix", args: [[of("a"), of("b")]], options: {}, part: "held" }, context)).toBeUndefined();
    expect(refusal(() => makeTable({ make: "mix", args: [[of("a")]], options: { weights: [0] }, part: "main" }, context))).toMatch(
      /^P0703.*weights/,
    );
  });
  test("predictions are columns, beside those they were made of", () => {
    const made = makeTable({ make: "predicted", args: ["run", of("a")], options: {}, part: "main" }, context);
    expect(rows(made, "scores")).toEqual([
      [0.1, 0.9],
      [0.8, 0.2],
    ]);
    expect(rows(made, "input_ids")).toEqual([ids("the cat"), ids("a dog")]);
    expect(refusal(() => makeTable({ make: "predicted", args: ["run", of("b")], options: {}, part: "main" }, context))).toMatch(
      /^P0703.*2 rows.*has 1/,
    );
  });
  test("prompts are inputs without targets; other kinds are a limit", () => {
    const made = makeTable({ ...of("a"), options: { input: "{text} ?", target: "{text}" } }, { ...context, promptsOnly: true });
    expect(rows(made, "input_ids")).toEqual([ids("the cat ?"), ids("a dog ?")]);
    expect([...made!.columns.keys()]).toEqual(["input_ids", "attention_mask", "special", "token_type_ids"]);
    expect(() => makeTable({ make: "abacus", args: ["x"], options: {}, part: "main" }, context)).toThrow(Limit);
  });
});

describe("conversations", () => {
  const TEMPLATE =
    "{{ bos_token }}{% for m in messages %}{{ '[CLS] ' + m.role + ' ' + m.content + ' [SEP] ' }}{% endfor %}{% if add_generation_prompt %}{{ '[CLS] assistant ' }}{% endif %}";
  function chat(
    data: object[],
    template: unknown,
    more: { sequence?: number; promptsOnly?: boolean; options?: object } = {},
  ): Table | undefined {
    const vocab = [...WORDS, "user", "assistant", "<s>"];
    const files = new MemoryFiles([
      ["m/vocab.txt", vocab.join("\n")],
      ["m/tokenizer_config.json", JSON.stringify({ chat_template: template, bos_token: "<s>" })],
      ["d", data.map((row) => JSON.stringify(row)).join("\n")],
    ]);
    return makeTable(
      { make: "chat", args: ["d"], options: { ...more.options }, part: "main" },
      { files, tokenizer: "m", sequence: more.sequence, promptsOnly: more.promptsOnly },
    );
  }
  const said = (...turns: string[]) => ({ messages: turns.map((content, i) => ({ role: i % 2 === 0 ? "user" : "assistant", content })) });
  const [USER, ASSISTANT, BOS] = [WORDS.length, WORDS.length + 1, WORDS.length + 2];
  test("labels stand on the assistant's words and on the end of its turn", () => {
    const made = chat([said("the cat", "sat", "on", "a mat")], TEMPLATE);
    expect(rows(made, "input_ids")).toEqual([
      [BOS, 2, USER, ...ids("the cat"), 3, 2, ASSISTANT, ...ids("sat"), 3, 2, USER, ...ids("on"), 3, 2, ASSISTANT, ...ids("a mat"), 3],
    ]);
    expect(rows(made, "labels")[0].map((label) => (label === -100 ? 0 : label))).toEqual([
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      ...ids("sat"),
      3,
      0,
      0,
      0,
      0,
      0,
      0,
      ...ids("a mat"),
      3,
    ]);
  });
  test("ShareGPT's names, a template among several, one that asks for an answer", () => {
    const data = [
      {
        conversations: [
          { from: "human", value: "the cat" },
          { from: "gpt", value: "sat" },
        ],
      },
    ];
    const several = [
      { name: "tool_use", template: "x" },
      { name: "default", template: TEMPLATE },
    ];
    expect(rows(chat(data, several), "labels")[0].slice(-2)).toEqual([id("sat"), 3]);
    const asked = chat(data, TEMPLATE, { promptsOnly: true });
    expect(rows(asked, "input_ids")).toEqual([[BOS, 2, USER, ...ids("the cat"), 3, 2, ASSISTANT]]);
    expect(asked!.columns.has("labels")).toBe(false);
  });
  test("sequence cuts the end; what leaves nothing to learn is refused", () => {
    expect(rows(chat([said("the cat", "sat")], TEMPLATE, { sequence: 9 }), "labels")[0].at(-1)).toBe(id("sat"));
    expect(refusal(() => chat([said("the cat", "sat")], TEMPLATE, { sequence: 8 }))).toMatch(/^P0711.*line 1.*behind 8 tokens/);
    expect(refusal(() => chat([said("the cat")], TEMPLATE))).toMatch(/^P0711.*nothing to learn/);
  });
  test("no template, a broken one, one that refuses, one that rewrites earlier turns", () => {
    expect(refusal(() => chat([said("a", "a")], undefined))).toMatch(/^P0714.*`m` has no chat template/);
    expect(refusal(() => chat([said("a", "a")], "{% for %}"))).toMatch(/^P0714.*cannot be read/);
    expect(refusal(() => chat([said("a", "a")], "{{ raise_exception('no such role') }}"))).toMatch(/^P0716.*no such role/);
    expect(refusal(() => chat([said("a", "a", "a", "a")], "{{ messages|length }}{{ messages[-1].content }}"))).toMatch(
      /^P0716.*before message/,
    );
    expect(refusal(() => chat([{ messages: [{ role: "user" }] }], TEMPLATE))).toMatch(/^P0715.*message 1 is/);
    expect(refusal(() => chat([{ text: "a" }], TEMPLATE))).toMatch(/^P0715.*messages is nothing/);
  });
});
