/** Tables against what a stage does with them: lengths, places of texts, and rows with nothing to learn. */
import { describe, expect, test } from "@jest/globals";
import type { ColumnDecl, Entry, EvaluateStage, GenerateStage } from "../../src/compiler/project.ts";
import { joinTables, listColumn, numberColumn, type Table } from "../../src/formats/data/table.ts";
import { placesOutside } from "../../src/ir/ops/ranges.ts";
import { checkTable } from "../../src/train/data/columns.ts";
import { targetless, withTargets } from "../../src/train/data/targets.ts";
import type { RunHost } from "../../src/train/host.ts";
import { openGenerator } from "../../src/train/stages/generate.ts";
import { compileText } from "../support/compile.ts";
import { refusal } from "../support/refusal.ts";

/** An evaluation of a small model, by its class, fields and objective. */
function evaluation(from: string, model: string, fields: string, objective: string): Entry {
  const project = compileText(`import { ${model} } from "std/models/${from}"
import { ${objective} } from "std/objectives"
model m = ${model}(${fields})
evaluate e { objective = ${objective}(m)  data = jsonl("x") }`);
  expect(project.problems.filter(({ severity }) => severity === "error")).toEqual([]);
  const action = project.actions.find(({ kind }) => kind === "stage") as { stage: EvaluateStage };
  return action.stage.evaluation;
}
const GPT2 = "vocab_size: 20, n_embd: 4, n_layer: 1, n_head: 1, n_positions: 8";
const SMALL = "vocab_size: 20, hidden_size: 4, num_attention_heads: 1, intermediate_size: 4, num_hidden_layers: 1";
const gpt2 = evaluation("gpt2", "GPT2LMHeadModel", GPT2, "causal_lm");

function tokens(lengths: readonly number[], more: Readonly<Record<string, readonly (readonly number[])[]>> = {}): Table {
  const rows = lengths.map((n) => Array.from({ length: n }, (_, i) => 5 + (i % 3)));
  return {
    name: "`d`",
    rows: rows.length,
    columns: new Map([
      ["input_ids", listColumn(rows, 0)],
      [
        "attention_mask",
        listColumn(
          rows.map((row) => row.map(() => 1)),
          0,
        ),
      ],
      ...Object.entries(more).map(([name, lists]) => [name, listColumn(lists, -100)] as const),
    ]),
    facts: rows.map((row, i) => ({ line: 10 + i, tokens: row.length, labelled: undefined })),
  };
}
const checked = ({ columns, graph }: Entry, table: Table, sequence?: number) => refusal(() => checkTable(columns, graph, table, sequence));

describe("what stands beside the tokens is as long as they are", () => {
  test.each(["labels", "attention_mask"])("%s", (name) => {
    const table = tokens([2, 4], {
      [name]: [
        [1, 1],
        [1, 1],
      ],
    });
    expect(checked(gpt2, table)).toMatch(new RegExp(`^P0752 \`d\`, line 11: \`${name}\` has 2 numbers for 4 tokens`));
  });
  test("a mask that counts the texts of a row is refused, as any other number than 0 and 1", () => {
    const table = tokens([4], { attention_mask: [[1, 1, 2, 2]] });
    expect(checked(gpt2, table)).toMatch(/^P0735 .*`attention_mask` of `d` holds 2, where 0 or 1 is wanted/);
  });
  test("answers of an encoder–decoder are texts of their own; a row without tokens has nothing to read", () => {
    const bart = evaluation(
      "bart",
      "BartForConditionalGeneration",
      "vocab_size: 20, d_model: 4, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 1, decoder_attention_heads: 1, encoder_ffn_dim: 4, decoder_ffn_dim: 4, max_position_embeddings: 6",
      "seq2seq",
    );
    expect(checked(bart, tokens([4], { labels: [[5, 6]] }))).toBe("nothing was refused");
    // their places are counted too
    expect(checked(bart, tokens([4], { labels: [[5, 6, 5, 6, 5, 6, 5]] }))).toMatch(
      /^P0733 `d`, line 10 has 7 tokens.*decoder.*8 rows[\s\S]*at most 6/,
    );
    const bert = evaluation("bert", "BertForSequenceClassification", SMALL, "classification");
    const table = tokens([2, 0]);
    const labelled = { ...table, columns: new Map([...table.columns, ["label", numberColumn([0, 1])]]) };
    expect(checked(bert, labelled)).toMatch(/^P0752 `d`, line 11: the row has no tokens/);
  });
});

describe("places of a text are rows of a table", () => {
  test("GPT-2, to the last one; what rows are filled up to does not count, and `sequence` cuts", () => {
    expect(checked(gpt2, tokens([3, 8]))).toBe("nothing was refused");
    expect(checked(gpt2, tokens([3, 9]))).toMatch(
      /^P0733 `d`, line 11 has 9 tokens, but `m.transformer.wpe` has 8 rows for places[\s\S]*sequence = 8/,
    );
    expect(checked(gpt2, tokens([3, 9]), 8)).toBe("nothing was refused");
    expect(checked(gpt2, tokens([3, 12]), 9)).toMatch(/has 9 tokens/);
  });
  test.each([
    ["bert", "BertForMaskedLM", `${SMALL}, max_position_embeddings: 6`, "masked_lm", 6],
    // RoBERTa counts from the number behind its filling's
    ["bert", "RobertaForMaskedLM", `${SMALL}, pad_token_id: 1, max_position_embeddings: 8`, "masked_lm", 6],
    [
      "opt",
      "OPTForCausalLM",
      "vocab_size: 20, hidden_size: 4, num_attention_heads: 1, ffn_dim: 4, num_hidden_layers: 1, word_embed_proj_dim: 4, max_position_embeddings: 6",
      "causal_lm",
      6,
    ],
    [
      "distilbert",
      "DistilBertForMaskedLM",
      "vocab_size: 20, dim: 4, n_heads: 1, hidden_dim: 4, n_layers: 1, max_position_embeddings: 6",
      "masked_lm",
      6,
    ],
  ] as const)("%s: %s", (from, model, fields, objective, most) => {
    const entry = objective === "masked_lm" ? looked(from, model, fields) : evaluation(from, model, fields, objective);
    expect(checked(entry, tokens([most]))).toBe("nothing was refused");
    expect(checked(entry, tokens([most + 1]))).toMatch(
      new RegExp(`^P0733 .*line 10 has ${most + 1} tokens[\\s\\S]*at most ${most} tokens`),
    );
  });
  test("rotary places have no table", () => {
    const llama = evaluation("llama", "LlamaForCausalLM", `${SMALL}, max_position_embeddings: 4`, "causal_lm");
    expect(checked(llama, tokens([60]))).toBe("nothing was refused");
  });
  test("generation: prompts, what is written behind them, tokens that the model has no row for", async () => {
    const project = compileText(`import { GPT2LMHeadModel } from "std/models/gpt2"
model m = GPT2LMHeadModel(${GPT2})
generate g { model = m  prompts = ["a"]  max_tokens = 4 }`);
    const { stage } = project.actions.find(({ kind }) => kind === "stage") as { stage: GenerateStage };
    const tokenizer = { ids: {}, encode: (text: string) => Array.from(text, (c) => c.charCodeAt(0) - 96), decode: () => "" };
    const host = { values: {}, engine: { build: () => Promise.reject(new Error("it went on")) } } as unknown as RunHost;
    const opened = (text: string) =>
      openGenerator(stage, host, tokenizer, [{ text }]).catch((error: Error & { code?: string; notes?: string[] }) =>
        [error.code, error.message, ...(error.notes ?? [])].join("\n"),
      );
    expect(await opened("abcde")).toMatch("it went on");
    expect(await opened("abcdef")).toMatch(
      /^P0733\nthe prompt "abcdef" has 6 tokens and max_tokens = 4, but `m.transformer.wpe` has 8 rows[\s\S]*max_tokens may be at most 3/,
    );
    expect(await opened("abcdefabcdef")).toMatch(/prompts may have at most 8 tokens/);
    expect(await opened("az")).toMatch(/^P0733\n.*holds the token 26, but only 0 .. 19 exist in m.transformer.wte/);
    expect(
      placesOutside(
        stage.decode.graph,
        new Map([
          ["B", 1],
          ["past", 7],
        ]),
      ),
    ).toBeUndefined();
  });

  test("nor where places are counted from the mask (OPT)", async () => {
    const project = compileText(`import { OPTForCausalLM } from "std/models/opt"
model m = OPTForCausalLM(vocab_size: 30, hidden_size: 8, ffn_dim: 8, num_hidden_layers: 1, num_attention_heads: 2, max_position_embeddings: 8, word_embed_proj_dim: 8)
generate g { model = m  prompts = ["a"]  max_tokens = 4 }`);
    const { stage } = project.actions.find(({ kind }) => kind === "stage") as { stage: GenerateStage };
    const tokenizer = { ids: {}, encode: (text: string) => Array.from(text, (c) => c.charCodeAt(0) - 96), decode: () => "" };
    const host = { values: {}, engine: { build: () => Promise.reject(new Error("it went on")) } } as unknown as RunHost;
    await expect(openGenerator(stage, host, tokenizer, [{ text: "abcde" }])).rejects.toThrow("it went on");
    await expect(openGenerator(stage, host, tokenizer, [{ text: "abcdef" }])).rejects.toThrow(
      'the prompt "abcdef" has 6 tokens and max_tokens = 4, but `m.model.decoder.embed_positions` has 10 rows',
    );
  });
});

/** What a masked model looks up, without the tokenizer that its objective asks for. */
function looked(from: string, model: string, fields: string): Entry {
  const project = compileText(`import { ${model} } from "std/models/${from}"
model m = ${model}(${fields})
predict p { model = m  data = jsonl("x")  columns = ["logits"] }`);
  return (project.actions.find(({ kind }) => kind === "stage") as { stage: { entry: Entry } }).stage.entry;
}

describe("rows with nothing to learn", () => {
  const N = -100;
  test("texts of one token and none, labels that are all set aside, behind the filling or behind the cut", () => {
    expect(targetless(gpt2.columns, tokens([3, 1, 0, 2]), undefined)).toEqual([1, 2]);
    const labels = [
      [N, 5, N],
      [5, N, N],
      [N, N, N],
      [N, N, 6],
    ];
    expect(targetless(gpt2.columns, tokens([3, 3, 3, 3], { labels }), undefined)).toEqual([1, 2]);
    expect(targetless(gpt2.columns, tokens([3, 3, 3, 3], { labels }), 2)).toEqual([1, 2, 3]);
    expect(targetless(gpt2.columns, tokens([2], { labels: [[N, 5]], attention_mask: [[1, 0]] }), undefined)).toEqual([0]);
  });
  test("they are taken out; nothing left is refused", () => {
    const left = withTargets(gpt2.columns, tokens([3, 1, 2]), undefined);
    expect([left.rows, left.facts!.map(({ line }) => line)]).toEqual([2, [10, 12]]);
    expect(refusal(() => withTargets(gpt2.columns, tokens([1, 0]), undefined))).toMatch(
      /^P0711 none of the 2 rows of `d` has anything to learn/,
    );
  });
  test("answers of their own need no token before them; classes are set aside by -100", () => {
    const [B, S, T] = ["B", "S", "T"];
    const decl = (name: string, shape: readonly string[]): ColumnDecl => ({ name, dtype: "i32", shape: shape as never });
    expect(targetless([decl("input_ids", [B, S]), decl("labels", [B, T])], tokens([1, 1], { labels: [[5], [N]] }), undefined)).toEqual([1]);
    const classes = { ...tokens([2, 2]), columns: new Map([["label", numberColumn([0, N])]]) };
    expect(targetless([decl("label", [B])], classes, undefined)).toEqual([1]);
  });
});

test("a table of texts beside one with labels is learnt whole, as it is alone", () => {
  const both = joinTables([tokens([2], { labels: [[-100, 5]] }), tokens([3])], "mix");
  expect([0, 1].map((row) => Array.from(both.columns.get("labels")!.row(row)))).toEqual([
    [-100, 5],
    [5, 6, 7],
  ]);
});
