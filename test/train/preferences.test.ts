/** Rows and runs of objectives of preferences: answers wished for or not, rewards, groups of answers and functions that score them. */
import { describe, expect, test } from "@jest/globals";
import { makeTable } from "../../src/formats/data/make.ts";
import { callFunction } from "../../src/formats/data/makers/scored.ts";
import type { Source } from "../../src/formats/data/source.ts";
import type { TableSpec } from "../../src/ground/table.ts";
import { type InputError, train } from "../../src/index.ts";
import { type Place, peftc, place } from "../cli/support.ts";
import { refusal } from "../support/refusal.ts";

const lines = (...rows: object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
const spec = (make: string, path: string, options: TableSpec["options"] = {}): TableSpec => ({ make, args: [path], options, part: "main" });
const tableOf = (at: Place, call: TableSpec, sequence = 16) => makeTable(call, { files: at.files, tokenizer: "models/tiny", sequence })!;
const list = (at: ReturnType<typeof tableOf>, name: string) =>
  Array.from({ length: at.rows }, (_, i) => Array.from(at.columns.get(name)!.row(i)));

describe("judged", () => {
  test("prompt, completion and label; the divergence's rows are prompts with the answer of the row before", () => {
    const at = place();
    at.put(
      "k.jsonl",
      lines(
        { prompt: "ab", completion: "c", label: true },
        { prompt: "b", completion: "aa", label: 0 },
        { prompt: "c", completion: "b", label: "true" },
      ),
    );
    const table = tableOf(at, spec("judged", "k.jsonl"));
    expect(list(table, "wanted")).toEqual([[1], [0], [1]]);
    const [ids, others, fronts, otherFronts] = ["input_ids", "kl_ids", "prompt_length", "kl_prompt_length"].map((name) =>
      list(table, name),
    );
    const [end] = ids.map((row) => row.at(-1));
    expect(ids.every((row) => row.at(-1) === end)).toBe(true);
    const answer = (i: number) => ids[i].slice(fronts[i][0]);
    const prompt = (i: number) => ids[i].slice(0, fronts[i][0]);
    for (const i of [0, 1, 2]) {
      expect(others[i]).toEqual([...prompt(i), ...answer((i + 2) % 3)]);
      expect(otherFronts[i]).toEqual(fronts[i]);
    }
    expect(list(table, "attention_mask").map((row) => row.length)).toEqual(ids.map((row) => row.length));
  });

  test("pairs are two rows each, of one part of a split", () => {
    const at = place();
    const pair = (n: number) => ({ prompt: "a".repeat(n), chosen: "b", rejected: "cc" });
    at.put("p.jsonl", lines(pair(1), pair(2), pair(3), pair(4)));
    const main = tableOf(at, spec("judged", "p.jsonl", { split: 0.5 }));
    expect(list(main, "wanted")).toEqual([[1], [0], [1], [0]]);
    const held = tableOf(at, { ...spec("judged", "p.jsonl", { split: 0.5 }), part: "held" });
    expect(held.rows).toBe(4);
    // the files of pairs themselves keep a margin
    at.put("m.jsonl", lines({ ...pair(1), margin: 0.5 }, { ...pair(2), margin: 2 }));
    expect(list(tableOf(at, spec("pairs", "m.jsonl")), "margin")).toEqual([[0.5], [2]]);
    at.put("n.jsonl", lines({ ...pair(1), margin: 0.5 }, pair(2)));
    expect(refusal(() => tableOf(at, spec("pairs", "n.jsonl")))).toMatch(/P0709.*line 2 has no number `margin`/);
  });

  test.each([
    [[{ prompt: "a", completion: "b" }], /P0715.*line 1: label is missing/],
    [[{ prompt: "a", label: true }], /P0715.*line 1: completion is missing/],
    [[{ completion: "b", label: true }], /P0715.*line 1: prompt is missing/],
    [[{ prompt: "a", completion: "b", label: "good" }], /P0707.*label is the string "good" where true or false is wanted/],
    [[{ prompt: "a", completion: "b", label: true }], /P0703.*one answer/],
    [
      [
        { prompt: "a".repeat(40), completion: "b", label: true },
        { prompt: "a", completion: "b", label: true },
      ],
      /P0711.*line 1: its prompt takes/,
    ],
  ])("%j is refused", (rows, why) => {
    const at = place();
    at.put("k.jsonl", lines(...rows));
    expect(refusal(() => tableOf(at, spec("judged", "k.jsonl"), 8))).toMatch(why);
  });
});

const HEAD = `import { GPT2LMHeadModel, GPT2ForSequenceClassification } from "std/models/gpt2"
import { LoRA } from "std/methods/lora"
import { adamw } from "std/training"
`;
const last = (events: Record<string, unknown>[]) => events.filter((e) => e.event === "step").at(-1)!;

test.each([
  ["orpo(m)", "", 'pairs("p.jsonl")'],
  ["simpo(m)", "", 'pairs("p.jsonl")'],
  ["kto(m, base)", "", 'judged("p.jsonl")'],
  ["reward(m)", "reward", 'pairs("p.jsonl")'],
])("%s learns from rows: its loss falls", async (call, kind, data) => {
  const at = place();
  const words = ["the cat", "a dog", "of it", "and so"];
  at.put("p.jsonl", lines(...words.map((prompt) => ({ prompt, chosen: " the the", rejected: " and of" }))));
  const name = call.slice(0, call.indexOf("("));
  at.put(
    "x.peft",
    `${HEAD}import { ${name} } from "std/objectives/${name}"
model base = GPT2LMHeadModel from "models/tiny"
model m = ${kind === "reward" ? 'GPT2ForSequenceClassification(num_labels: 1) from "models/tiny" except **.score' : "base"}
attach lora = LoRA(rank: 2) to m.transformer.h[*].attn.c_attn
train { objective = ${call}  data = ${data}  sequence = 24  batch = 4  optimizer = adamw(lr: 2e-2)  steps = 12 }
`,
  );
  const run = await peftc(at, ["train", "x.peft", "--json", "--device", "wasm"]);
  expect([run.code, run.err]).toEqual([0, ""]);
  const steps = run.events().filter((e) => e.event === "step") as { loss: number }[];
  expect(steps.length).toBeGreaterThan(1);
  expect(last(run.events()).loss as number).toBeLessThan(steps[0].loss);
});

const grpo = (rewarding: string, data: string) => `${HEAD}import { grpo } from "std/objectives/grpo"
${rewarding}
model m = GPT2LMHeadModel from "models/tiny"
attach lora = LoRA(rank: 4) to m.transformer.h[*].attn.c_attn
for round in 0..2 {
  model old = m
  generate answers { model = m  prompts = ["the ", "a "]  samples = 6  max_tokens = 6  temperature = 1  seed = round }
  ${data}
  train align { objective = grpo(m, old, beta: 0.01)  data = table  sequence = 16  batch = 12  optimizer = adamw(lr: 1e-2)  steps = 4 }
}
`;

describe("grpo", () => {
  const rows = { file: "s.jsonl", rows: [{ line: 1, values: { answer: "a" } }, { line: 2, values: { answer: "b" } }], part: [0, 2] as const }; // biome-ignore format: a table
  const called = async (functions: Parameters<typeof callFunction>[2]) =>
    callFunction({ ...spec("scored", "x"), args: [spec("jsonl", "s.jsonl"), "many"] }, rows as unknown as Source, functions).catch(
      (e: InputError) => `${e.code} ${e.message}`,
    );
  test.each([
    [{}, /P0754 `scored` asks for the function `many`, which nobody gave/],
    [{ many: () => [1] }, /P0754 the function `many` was given 2 rows and gives 1 values/],
    [{ many: () => [1, Number.NaN] }, /P0754.*gives 2 values, the one at 1 being NaN/],
  ])("a function that is not there, or gives no numbers: %#", async (functions, why) => {
    expect(await called(functions)).toMatch(why);
  });
  test("groups: the score less the mean of a prompt's answers, over their deviation", () => {
    const at = place();
    at.put("samples.jsonl", lines(...[1, 0, 5, 2].map((score, i) => ({ row: Math.floor(i / 2), prompt: "a", text: "b", score }))));
    const answers: TableSpec = { make: "generated", args: ["."], options: {}, part: "main" };
    const groups = (options: object) =>
      tableOf(at, { make: "groups", args: [answers], options: { by: "score", ...options }, part: "main" });
    const near = (scale: number[]) => scale.map((x) => [expect.closeTo(x, 4)]);
    const over = (x: number, deviation: number) => x / (deviation + 1e-4);
    expect(list(groups({}), "advantage")).toEqual(
      near([over(0.5, Math.SQRT1_2), -over(0.5, Math.SQRT1_2), over(1.5, 4.5 ** 0.5), -over(1.5, 4.5 ** 0.5)]),
    );
    expect(list(groups({ scale: false }), "advantage")).toEqual(near([0.5, -0.5, 1.5, -1.5]));
    // an empty answer counts among its prompt's, and is no row
    at.put("samples.jsonl", lines(...[1, 0, 5].map((score, i) => ({ row: 0, prompt: "a", text: i === 1 ? "" : "b", score }))));
    expect(list(groups({ scale: false }), "advantage")).toEqual(near([-1, 3]));
    expect(groups({}).without).toMatchObject({ rows: 1, why: "the answer is empty" });
    expect(refusal(() => groups({ by: "reward" }))).toMatch(/P0703.*line 1 has no number `reward`/);
    at.put("samples.jsonl", lines({ row: 0, prompt: "a", text: "b", score: 1 }));
    expect(refusal(() => groups({}))).toMatch(/P0703.*one answer to a prompt/);
  });

  test("with a function of the library's user: it sees prompts and answers, and what pleases it becomes likelier", async () => {
    const at = place();
    at.put("x.peft", grpo("", 'table = groups(scored(answers, "many"), by: "many")'));
    const seen: string[][] = [];
    const many = (rows: readonly { readonly [name: string]: unknown }[]) => {
      const scores = rows.map(({ answer }) => [...String(answer)].filter((c) => c.charCodeAt(0) % 2 === 0).length);
      seen.push(rows.map(({ prompt }) => String(prompt)));
      return scores;
    };
    const { runs } = await train("x.peft", { cwd: at.folder, device: "wasm", functions: { many } });
    expect(runs.map(({ steps }) => steps)).toEqual([4, 4]);
    expect(new Set(seen[0])).toEqual(new Set(["the ", "a "]));
    expect(seen[0]).toHaveLength(12);
    // all answers in each batch: what was better than the others has become likelier
    const losses = runs[0].history.flatMap(({ loss }) => (loss === undefined ? [] : [loss]));
    expect(losses.at(-1)).toBeLessThan(losses[0] - 0.01);
  });

  test("with a reward written in the language", async () => {
    const at = place();
    at.put(
      "x.peft",
      grpo(
        `module many() {
  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true, labels: i32[B, S]) -> loss: f32[] {
    good = labels == 3 and attention_mask
    gain = sum(where(good, 1, 0), axis: 1)
    loss = -mean(gain)
  }
}
goal = many()`,
        'predict judged_ { objective = goal  data = answers  columns = ["gain"]  sequence = 16  batch = 6 }\n  table = groups(judged_, by: "gain")',
      ),
    );
    const run = await peftc(at, ["train", "x.peft", "--json", "--device", "wasm"]);
    expect([run.code, run.err]).toEqual([0, ""]);
    expect(run.events().filter((e) => e.event === "step").length).toBeGreaterThan(1);
  });
});
