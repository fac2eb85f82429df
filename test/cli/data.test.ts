/** `peftc data`, and the same checks before training. The tokenizer has a token for each byte, and `<|endoftext|>` (256). */
import { describe, expect, test } from "@jest/globals";
import { type Place, peftc, place } from "./support.ts";

const TEMPLATE =
  "{% for m in messages %}{{ m.role }}: {{ m.content }}{% if m.role == 'assistant' %}<|endoftext|>{% endif %}{{ '\\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";

/** A language model that learns from `data`, an expression. */
const spec = (data: string, settings = "sequence = 48") => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"

model gpt2 = GPT2LMHeadModel from "models/tiny"
attach lora = LoRA(rank: 2) to gpt2.transformer.h[*].attn.c_attn
train { objective = causal_lm(gpt2)  data = ${data}  ${settings}  batch = 2  steps = 2 }
`;

function withRows(rows: readonly object[], data = 'jsonl("rows.jsonl")', settings?: string, template = TEMPLATE): Place {
  const at = place(spec(data, settings));
  at.put("rows.jsonl", rows.map((row) => JSON.stringify(row)).join("\n"));
  at.put("models/tiny/chat_template.jinja", template);
  return at;
}
const codes = (err: string) => [...err.matchAll(/(error|warning) (P\d+)/g)].map(([, severity, code]) => `${severity} ${code}`);
const answered = (prompt: string, completion: string) => ({ prompt, completion });

describe("data", () => {
  test("a label that the objective does not read is listed, and warned of", async () => {
    const at = withRows([
      { ...answered("hi ", "yes"), label: true },
      { ...answered("so ", "no"), label: false },
    ]);
    const { out, err } = await peftc(at, ["data", "main.peft"]);
    expect(out).toMatch(/not used +label\n/);
    expect(codes(err)).toContain("warning P0750");
    expect((await peftc(at, ["data", "main.peft", "--json"])).events().find((e) => e.event === "data")).toMatchObject({
      unread: ["label"],
    });
  });
  test("conversations lie in a table of CSV too, as JSON", async () => {
    const at = withRows([], 'chat("rows.csv")');
    const quoted = JSON.stringify([
      { role: "user", content: "hi" },
      { role: "assistant", content: "yes" },
    ]).replaceAll('"', '""');
    at.put("rows.csv", `id,messages\n1,"${quoted}"\n`);
    const { out } = await peftc(at, ["data", "main.peft"]);
    expect(out).toMatch(/user: hi/);
    expect(out).toMatch(/not used +id\n/);
  });
  test("shows rows with what is learnt, lengths, and the line of each row", async () => {
    const at = withRows([answered("hi ", "yes"), answered("so\nwhat? ", "no")]);
    const { code, out, err } = await peftc(at, ["data", "main.peft"]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toMatch(
      /^train: `rows.jsonl`\n {2}rows +2\n {2}tokens a row +7 to 12, median 12, mean 9.5\n {2}padded to +48 \(80.2 % padding\)\n {2}learnt +36.8 % of the tokens\n/,
    );
    expect(out).toContain("  row 1, line 1\n  hi «yes<|endoftext|>»\n");
    expect(out).toContain("  row 2, line 2\n  so⏎\n  what? «no<|endoftext|>»\n");
  });
  test("--rows, and an object a line with --json", async () => {
    const at = withRows([answered("a", "b"), answered("c", "d")]);
    expect((await peftc(at, ["data", "main.peft", "--rows", "1"])).out).not.toContain("row 2");
    const [facts, row] = (await peftc(at, ["data", "main.peft", "--json", "--rows", "1"])).events();
    expect(facts).toMatchObject({
      event: "data",
      stage: "train",
      part: "main",
      rows: 2,
      cut: { rows: 0, answers: 0 },
      tokens: { least: 3, most: 3 },
    });
    expect(row).toMatchObject({ event: "row", row: 0, line: 1, cut: 0 });
    const { input_ids: tokens } = row.texts as { input_ids: { id: number; text: string; label: number | null }[] };
    expect(tokens.map(({ text }) => text)).toEqual(["a", "b", "<|endoftext|>"]);
    expect(tokens.map(({ id, label }) => label === id)).toEqual([false, true, true]);
    expect(tokens[0].label).toBeNull();
  });
  test("what a mask leaves out is not shown as learnt", async () => {
    const at = withRows([{ input_ids: [65, 66, 67], attention_mask: [1, 1, 0] }]);
    const [, row] = (await peftc(at, ["data", "main.peft", "--json"])).events();
    const { input_ids: tokens } = row.texts as { input_ids: { label: number | null }[] };
    expect(tokens.map(({ label }) => label)).toEqual([65, 66, null]);
  });
  test("a row of which the length leaves nothing is shown whole", async () => {
    const at = withRows([answered("so long a front that nothing behind it is left of it, whatever the answer is ".repeat(2), "yes")]);
    const { code, out, err } = await peftc(at, ["data", "main.peft"]);
    expect(code).toBe(1);
    expect(err).toMatch(/P0711.*the answer starts behind \d+ tokens, so sequence = 48 leaves nothing of it/);
    expect(out).toContain("whatever the answer is «yes<|endoftext|>»\n");
  });
  test("a conversation by its template; the held-out part too", async () => {
    const talk = (i: number) => ({
      messages: [
        { role: "user", content: `q${i}` },
        { role: "assistant", content: `a${i}` },
      ],
    });
    const at = withRows([talk(1), talk(2), talk(3)], 'chat("rows.jsonl", split: 0.7)');
    const { code, out, err } = await peftc(at, ["data", "main.peft"]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toContain("user: q1⏎\n  assistant: «a1<|endoftext|>»⏎\n");
    expect(out).toMatch(/train \(held-out part\): `rows.jsonl`\n {2}rows +1\n[\s\S]*q3/);
  });
  test("data that an earlier stage makes are named, not looked for", async () => {
    const at = withRows([answered("a", "b")], "drafts");
    at.put(
      "main.peft",
      at.get("main.peft").replace("train {", 'generate drafts { model = gpt2  data = jsonl("rows.jsonl")  max_tokens = 2 }\ntrain {'),
    );
    const { code, out } = await peftc(at, ["data", "main.peft"]);
    expect(code).toBe(0);
    expect(out).toContain("train: its data are made by an earlier stage");
  });
});

describe("what stops a run is said with its place in the file", () => {
  const cases: readonly (readonly [string, readonly object[], RegExp, (string | undefined)?, string?])[] = [
    [
      "an answer that is cut away",
      [answered("a", "b"), answered("x".repeat(60), "b")],
      /error P0711: `rows.jsonl`, line 2: the answer starts behind 60 tokens, so sequence = 48[\s\S]*main.peft:7:45[\s\S]*larger sequence/,
    ],
    [
      "what is no number of a token",
      [{ input_ids: [1, 2.5, 3] }],
      /error P0735: row 1 of column `input_ids` of `rows.jsonl` holds 2.5, where a whole number is wanted/,
      undefined,
      'jsonl("rows.jsonl")',
    ],
    ["no answer", [answered("a", "")], /error P0711: `rows.jsonl`, line 1: there is nothing to learn/],
    [
      "a template that rewrites what was said",
      [{ messages: ["a", "b", "c", "d"].map((content, i) => ({ role: i % 2 ? "assistant" : "user", content })) }],
      /error P0716: `rows.jsonl`, line 1.*before message 2 otherwise/,
      "{% for m in messages %}{{ m.content if loop.last else 'x' }}{% endfor %}",
    ],
    ["no file", [], /error P0680: `none.jsonl` does not exist[\s\S]*main.peft:7:45/, undefined, 'jsonl("none.jsonl")'],
  ];
  test.each(cases)("%s", async (...[, rows, says, template, data]) => {
    const at = withRows(rows, data, undefined, template);
    for (const verb of ["data", "train"]) {
      const { code, err } = await peftc(at, verb === "data" ? [verb, "main.peft"] : [verb, "main.peft", "--device", "reference"]);
      expect(code).toBe(1);
      expect(err).toMatch(says);
    }
    expect(at.has("runs")).toBe(false);
  });
});

describe("what looks wrong is said, and the run goes on", () => {
  const cases: readonly (readonly [string, readonly object[], string, RegExp, string?])[] = [
    [
      "texts that are cut",
      [{ text: `${"x".repeat(60)}<|endoftext|>` }, { text: "y<|endoftext|>" }],
      "P0740",
      /1 of 2 rows of `rows.jsonl` is longer than sequence = 48[\s\S]*61 tokens: sequence = 64/,
    ],
    [
      "answers that lose their end",
      [answered("a", "b".repeat(60)), answered("c", "d")],
      "P0741",
      /1 of 2 rows.*part of what is to be learnt[\s\S]*line 1 keeps 47 of 61 labelled tokens/,
    ],
    [
      "no end in any answer",
      [
        {
          messages: [
            { role: "user", content: "q" },
            { role: "assistant", content: "a" },
          ],
        },
      ],
      "P0742",
      /ends with "<\|endoftext\|>": the model does not learn to stop/,
      "{% for m in messages %}{{ m.content }} {% endfor %}",
    ],
    [
      "a start written twice",
      [{ text: "<|endoftext|><|endoftext|>a<|endoftext|>" }, { text: "b<|endoftext|>" }],
      "P0743",
      /1 of 2 rows.*begins with "<\|endoftext\|>" twice/,
    ],
  ];
  test.each(cases)("%s", async (...[, rows, code, says, template]) => {
    const at = withRows(rows, undefined, undefined, template);
    const shown = await peftc(at, ["data", "main.peft"]);
    expect([shown.code, codes(shown.err)]).toEqual([0, [`warning ${code}`]]);
    expect(shown.err).toMatch(says);
    expect(shown.err).toContain("main.peft:7:45");
    const run = await peftc(at, ["train", "main.peft", "--device", "reference"]);
    expect([run.code, codes(run.err)]).toEqual([0, [`warning ${code}`]]);
  });
  test("held rows that are trained on", async () => {
    const at = withRows([answered("a", "b"), answered("c", "d"), answered("a", "b")], 'jsonl("rows.jsonl", split: 0.7)');
    const { err } = await peftc(at, ["data", "main.peft"]);
    expect(codes(err)).toEqual(["warning P0747"]);
    expect(err).toMatch(/1 of 1 row of the held-out part[\s\S]*line 3 is the first/);
  });
  test("the same text with another picture is another row", async () => {
    const rows = [0.25, 0.5, 0.75].map((grid) => ({ text: "what is it", grid: [grid, 0], label: grid * 4 }));
    const seen = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LanguageModel, token_loss } from "std/nn"
model gpt2 = GPT2LMHeadModel from "models/tiny"
module seen(lm: LanguageModel) {
  forward(input_ids: i32[B, S], grid: f32[B, 2], label: i32[B]) -> loss: f32[] { loss = mean(lm(input_ids).logits) + mean(grid) * mean(label) }
}
train { objective = seen(gpt2)  params = gpt2  data = jsonl("rows.jsonl", input: "{text}", label: "label", columns: ["grid"], split: 0.7)  batch = 2  steps = 2 }
`;
    const at = place(seen);
    const put = (of: readonly object[]) => at.put("rows.jsonl", of.map((row) => JSON.stringify(row)).join("\n"));
    put(rows);
    expect(codes((await peftc(at, ["data", "main.peft"])).err)).toEqual([]);
    put([rows[0], rows[1], { ...rows[0], label: 2 }]);
    expect(codes((await peftc(at, ["data", "main.peft"])).err)).toEqual(["warning P0747"]);
  });
});
