import { METRICS } from "../../../ground/metrics.ts";
import { Dataset, describe, Fields, Tokenizer, type Value } from "../values.ts";
import { verbalized } from "../verbalizers.ts";
import { BuiltinTable, type Call } from "./table.ts";

/** Read when a stage runs, described here. Paths are relative to the file. */
export const tables = new BuiltinTable("Tables of data, and what is measured on them");

/** Of conversations. */
const TALKS = ["template", "roles", "learn", "arguments", "date"];

const readers: Readonly<Record<string, { readonly doc: string; readonly options: readonly string[] }>> = {
  text: { doc: "A text file as one stream of tokens, or documents with a separator.", options: ["separator", "packed", "split"] },
  jsonl: {
    doc: "Rows of a `.jsonl` or `.json` file.",
    options: ["input", "target", "label", "classes", "columns", "lower", ...TALKS, "packed", "split"],
  },
  csv: {
    doc: "Rows of a `.csv` or `.tsv` file with a head.",
    options: ["input", "target", "label", "classes", "columns", "lower", ...TALKS, "packed", "split"],
  },
  parquet: {
    doc: "Rows of a Parquet file.",
    options: ["input", "target", "label", "classes", "columns", "lower", ...TALKS, "packed", "split"],
  },
  chat: {
    doc: "Conversations, rendered by the model's chat template; what the assistant says is learnt.",
    options: [...TALKS, "packed", "split"],
  },
  images: {
    doc: "Pictures: a folder for each class, or a list in `metadata.jsonl` or `.csv`.",
    options: ["label", "classes", "columns", "split"],
  },
};

/** The share of a table that is trained on. */
function checkSplit(split: Value | undefined, c: Call): void {
  if (split !== undefined && !(typeof split === "number" && split > 0 && split < 1))
    c.fail("P0205", `\`split\` is the share that is trained on, between 0 and 1, this is ${describe(split)}`);
}

for (const [name, { doc, options }] of Object.entries(readers))
  tables.add(name, doc, [{ name: "path" }, ...options.map((o) => ({ name: o, optional: true }))], (args, c) => {
    if (typeof args.path !== "string") return c.fail("P0205", `\`${name}\` takes the path of a file, this is ${describe(args.path!)}`);
    const { path, ...rest } = args;
    checkSplit(rest.split, c);
    return new Dataset({
      kind: "dataset",
      make: name,
      args: [c.evaluator.resolvePath(path as string, c.span)],
      options: c.evaluator.staticOptions(rest, c.span),
      part: "main",
      span: c.span,
    });
  });

/** Tables made of tables, by functions of the host. */
function made(c: Call, make: string, args: readonly Value[], options: Readonly<Record<string, Value | undefined>> = {}): Dataset {
  return new Dataset({
    kind: "dataset",
    make,
    args: args.map((a) => c.evaluator.staticValue(a, c.span)),
    options: c.evaluator.staticOptions(options, c.span),
    part: "main",
    span: c.span,
  });
}
tables.add(
  "mix",
  "Rows of several tables, in turn, as often as their weights say.",
  [{ name: "tables" }, { name: "weights", optional: true }],
  ({ tables: ts, weights }, c) => made(c, "mix", [ts!], { weights }),
);
tables.add(
  "beside",
  "With each batch of `table` come `batch` rows of `held`, as columns `held_…`.",
  [{ name: "table" }, { name: "held" }, { name: "batch" }],
  ({ table, held, batch }, c) => made(c, "beside", [table!, held!], { batch }),
);
tables.add(
  "take",
  "So many rows from the beginning of a table; what is held back from training stays as it is.",
  [{ name: "table" }, { name: "rows" }],
  ({ table, rows }, c) => {
    if (!(table instanceof Dataset)) return c.fail("P0205", `\`take\` takes a table, this is ${describe(table!)}`);
    return made(c, "take", [table, c.int(rows!, "rows")]);
  },
);
tables.add(
  "shuffle_names",
  "People's names become others of the list in the file `names`, the same ones throughout a row.",
  [{ name: "table" }, { name: "names" }, { name: "seed", optional: true }],
  ({ table, names, seed }, c) => {
    if (typeof names !== "string")
      return c.fail("P0205", `\`names\` is the path of a file with a name a line, this is ${describe(names!)}`);
    return made(c, "shuffle_names", [table!, c.evaluator.resolvePath(names, c.span)], { seed });
  },
);

tables.add(
  "refine",
  "What a `generate` stage wrote, asked to be made better: the conversation so far and one more request.",
  [{ name: "table" }, { name: "prompt" }],
  ({ table, prompt }, c) => made(c, "refine", [table!, prompt!]),
);
tables.add(
  "average",
  "The mean of a column over tables of the same rows; everything else is the first table's, or that of `rows`: the same texts told otherwise.",
  [{ name: "tables" }, { name: "column" }, { name: "rows", optional: true }],
  ({ tables: ts, column, rows }, c) => made(c, "average", [ts!, column!, ...(rows === undefined ? [] : [rows])]),
);
tables.add(
  "bio",
  '`tags` for words: 0 where a phrase of the column begins, 1 inside of one, 2 elsewhere. `stem: "porter"` compares stems.',
  [{ name: "table" }, { name: "phrases" }, { name: "stem", optional: true }],
  ({ table, ...rest }, c) => made(c, "bio", [table!], rest),
);
tables.add(
  "join_phrases",
  "The phrases of a column as one text to write, joined by `by`.",
  [{ name: "table" }, { name: "phrases" }, { name: "order", optional: true }, { name: "by", optional: true }],
  ({ table, ...rest }, c) => made(c, "join_phrases", [table!], rest),
);
tables.add(
  "spans",
  "Phrases that predicted tags mark in the words of a table: what `bio` wrote, read back.",
  [{ name: "tags" }, { name: "table" }],
  ({ tags, table }, c) => made(c, "spans", [tags!, table!]),
);
// a better and a worse answer: rows of a file, or answers of two tables, told apart by a column of scores
tables.add(
  "pairs",
  "A better and a worse answer: rows of a file, or answers of two tables, told apart by the column `by` of scores. Pairs that are equal are left out, and said.",
  [{ name: "chosen" }, ...["rejected", "by", "template", "roles", "arguments", "date", "split"].map((name) => ({ name, optional: true }))],
  ({ chosen, rejected, by, ...rest }, c) => {
    checkSplit(rest.split, c);
    if (typeof chosen === "string") {
      if (rejected !== undefined) return c.fail("P0205", "`pairs` takes the path of a file that has both, or two tables");
      return made(c, "pairs", [c.evaluator.resolvePath(chosen, c.span)], rest);
    }
    if (!(chosen instanceof Dataset && rejected instanceof Dataset))
      return c.fail("P0205", `\`pairs\` takes the path of a file that has both, or two tables, this is ${describe(chosen!)}`);
    return made(c, "pairs", [chosen, rejected], { by, ...rest });
  },
);

// answers that are wished for or not, for objectives without pairs
tables.add(
  "judged",
  "Answers that are wished for or not, by a column `label`: for objectives without pairs.",
  [{ name: "path" }, ...["label", "template", "roles", "arguments", "date", "split"].map((name) => ({ name, optional: true }))],
  ({ path, ...rest }, c) => {
    checkSplit(rest.split, c);
    if (typeof path !== "string") return c.fail("P0205", `\`judged\` takes the path of a file, this is ${describe(path!)}`);
    return made(c, "judged", [c.evaluator.resolvePath(path, c.span)], rest);
  },
);
// the answers to each prompt against each other, by a column of scores
tables.add(
  "groups",
  "Answers to one prompt against each other, by the column `by` of scores; `scale` divides by their deviation.",
  [{ name: "answers" }, { name: "by" }, { name: "scale", optional: true }],
  ({ answers, by, scale }, c) => {
    if (!(answers instanceof Dataset)) return c.fail("P0205", `\`groups\` takes a table of answers, this is ${describe(answers!)}`);
    if (typeof by !== "string") return c.fail("P0205", `\`by\` is the name of a column of scores, this is ${describe(by!)}`);
    return made(c, "groups", [answers], { by, scale });
  },
);
// a number for each row, by a function that the library's user gives under this name
tables.add(
  "scored",
  "A number for each row, by a function that the library's user gives under this name.",
  [{ name: "rows" }, { name: "by" }],
  ({ rows, by }, c) => {
    if (!(rows instanceof Dataset)) return c.fail("P0205", `\`scored\` takes a table, this is ${describe(rows!)}`);
    if (typeof by !== "string") return c.fail("P0205", `\`by\` is the name of a function, this is ${describe(by!)}`);
    return made(c, "scored", [rows, by]);
  },
);

// metrics with options: a name and what it is told
for (const [name, { options, doc }] of Object.entries(METRICS))
  tables.add(
    name,
    doc,
    options.map((p) => ({ name: p, optional: true })),
    (args, c) => {
      const told = options.flatMap((p): [string, Value][] => (args[p] === undefined ? [] : [[p, args[p]!]]));
      c.evaluator.staticOptions(Object.fromEntries(told), c.span);
      return new Fields(new Map<string, Value>([["metric", name], ...told]));
    },
  );

// how alike two columns of predictions are: their mean vectors' cosine
tables.add(
  "similarity",
  "How alike two columns are: the cosine of their mean vectors. A number that later objectives may use.",
  [{ name: "a" }, { name: "b" }],
  ({ a, b }, c) => {
    if (!(a instanceof Dataset && b instanceof Dataset))
      return c.fail("P0205", `\`similarity\` compares two columns of tables, this is ${describe(a instanceof Dataset ? b! : a!)}`, [
        'such as `similarity(a["logits"], b["logits"])`',
      ]);
    return c.evaluator.lateNumber({ kind: "similarity", tables: [a.spec, b.spec] }, c.span);
  },
);
tables.add(
  "merge",
  "The model with what is attached folded into its weights, checked on drawn rows.",
  [{ name: "model" }, { name: "vocab_size", optional: true }, { name: "tokenizer", optional: true }],
  ({ model, vocab_size, tokenizer }, c) =>
    c.evaluator.merge(model!, new Fields(new Map(vocab_size === undefined ? [] : [["vocab_size", vocab_size]])), tokenizer, c.span),
);

tables.add("tokenizer", "The tokenizer of a folder.", [{ name: "folder" }], ({ folder }, c) => {
  if (typeof folder !== "string") return c.fail("P0205", `\`tokenizer\` takes a folder, this is ${describe(folder!)}`);
  return c.evaluator.tokenizerIn(c.evaluator.resolvePath(folder, c.span), c.span);
});

// the tokens of words that stand for classes, as a masked language model would put them
tables.add(
  "verbalizer",
  "Numbers of the tokens of words that stand for classes, each of which must be one token.",
  [{ name: "tokenizer" }, { name: "words" }],
  ({ tokenizer, words }, c) => {
    if (!(tokenizer instanceof Tokenizer)) return c.fail("P0205", `\`verbalizer\` takes a tokenizer, this is ${describe(tokenizer!)}`);
    const classes = c.list(words, "words").map((w) => (Array.isArray(w) ? w : [w]));
    const tokens = classes.map((all) =>
      all.map((word) => {
        if (typeof word !== "string") return c.fail("P0205", `a word is a string, this is ${describe(word as Value)}`);
        const ids = tokenizer.facts.encode(` ${word}`);
        if (ids.length !== 1) return c.fail("P0710", `"${word}" is ${ids.length} tokens: a word that stands for a class must be one`);
        return ids[0];
      }),
    );
    return verbalized(tokens, classes as string[][]);
  },
);
