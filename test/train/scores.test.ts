/** Metrics of finished tables. */
import { describe, expect, test } from "@jest/globals";
import type { ScoreStage } from "../../src/compiler/project.ts";
import { makeSource } from "../../src/formats/data/make.ts";
import { scoreStage } from "../../src/train/stages/scores.ts";
import { peftc, place } from "../cli/support.ts";
import { lines, spec, wordFiles } from "../formats/words.ts";

const span = { file: "x", start: 0, end: 0 };

/** Scores what was written for texts: rows of `[text, phrases wanted, answer]`. */
async function score(
  rows: readonly (readonly [string, readonly string[], string])[],
  options: Record<string, unknown> = { at: [5, null] },
  name = "keyphrase_f1",
) {
  const files = wordFiles({
    d: lines(rows.map(([text, keyphrases]) => ({ text, keyphrases }))),
    "s/samples.jsonl": lines(rows.map(([text, , answer], row) => ({ row, prompt: text, text: answer }))),
  });
  const stage = {
    verb: "score",
    name: "result",
    span,
    folder: "x/result",
    tokenizer: undefined,
    data: [{}],
    metrics: [{ name, options }],
  };
  const source = makeSource(spec("generated", ["s", spec("jsonl", ["d"], { input: "{text}" })]), {
    files,
    tokenizer: "m",
    sequence: undefined,
  })!;
  return scoreStage(
    stage as unknown as ScoreStage,
    { files, listen: () => {}, table: async () => undefined, written: async () => ({ name: "written", source }) },
    "out",
  );
}

test("references in a column that is called as what a sample holds are the table's; what was written is `answer`", async () => {
  const rows = (answer: string) =>
    [
      ["a cake and a coin", [], answer],
      ["the rain", [], "the rain"],
    ] as const;
  const told = async (answer: string) => (await score(rows(answer), { references: "text" }, "cider")).cider;
  expect(await told("a film")).toBeLessThan(await told("a cake and a coin"));
  await expect(score([["a", [], "b"]], { references: "answer" }, "cider")).rejects.toThrow(/what was written/);
});

describe("keyphrase_f1", () => {
  const text = "alpha beta gamma delta epsilon zeta eta theta iota kappa";
  test("phrases are parted by a semicolon, or by what is named", async () => {
    const row = [text, ["alpha beta", "gamma"], "alpha beta , gamma"] as const;
    expect((await score([row], { at: [null], by: " , " }))["present_f1@M"]).toBe(1);
    expect((await score([row], { at: [null] }))["present_f1@M"]).toBe(0);
  });
  test("of the first five, of all; precision is out of five even where there are fewer", async () => {
    const wanted = ["alpha", "beta", "gamma", "delta"];
    const three = await score([[text, wanted, "alpha ; zeta ; beta"]]);
    expect(three["present_f1@5"]).toBeCloseTo(0.4444, 4);
    expect(three["present_f1@M"]).toBeCloseTo(0.5714, 4);
    expect(three["absent_f1@5"]).toBe(0);
    const eight = await score([[text, wanted, "alpha ; beta ; zeta ; eta ; theta ; gamma ; iota ; kappa"]]);
    expect(eight["present_f1@5"]).toBeCloseTo(0.4444, 4);
    expect(eight["present_f1@M"]).toBeCloseTo(0.5, 4);
  });
  test("of as many as there are to find; digits are alike, an unknown word is no phrase", async () => {
    const found = await score([[text, ["alpha", "beta"], "zeta ; beta ; alpha"]], { at: ["O"] });
    // of two looked at, one is right of two there are
    expect(found["present_f1@O"]).toBeCloseTo(0.5, 12);
    expect((await score([["in 1999 it rained", ["1999"], "2000"]], { at: [null] }))["present_f1@M"]).toBe(1);
    const unknown = await score([[text, ["alpha"], "[UNK] ; alpha ; alpha [UNK]"]], { at: [null] });
    expect([unknown["present_f1@M"], unknown["absent_f1@M"]]).toEqual([1, 0]);
  });
  test("after stemming, each phrase once, what is not in the text apart, means before the harmonic mean", async () => {
    const found = await score([
      ["the models learn", ["learning", "graph nets"], "learn;learning; graph net"],
      ["a cat", ["cat"], "dog"],
    ]);
    // present: precision (1/1 + 0) / 2, recall (1/1 + 0/1) / 2; absent: (1/1 + 0/1) / 2, (1/1 + 0) / 2
    expect(found).toMatchObject({ "present_f1@M": 0.5, "absent_f1@M": 0.5 });
    expect((await score([["the models learn", ["learning"], "learn"]], { stem: "none" }))["present_f1@M"]).toBe(0);
  });
});

test("CIDEr-D: by hand, at its most for what the references say, less for other words and other lengths", async () => {
  const of = async (answers: readonly string[]) => {
    const references = ["a red house", "a blue house by the sea", "two green boats"];
    return (
      await score(
        references.map((r, i) => [r, [r], answers[i]] as const),
        { references: "keyphrases" },
        "cider",
      )
    ).cider;
  };
  const best = await of(["a red house", "a blue house by the sea", "two green boats"]);
  // texts of three words have no run of four: three quarters of ten for two of the rows
  expect(best).toBeCloseTo((7.5 + 10 + 7.5) / 3, 6);
  expect(await of(["two green boats", "two green boats", "a red house"])).toBe(0);
  const long = await of(["a red house a red house", "a blue house by the sea", "two green boats"]);
  expect(long).toBeGreaterThan(0);
  expect(long).toBeLessThan(best);
  // the row alone, by hand: only `red` tells it from the others (ln 3), `house` and `a` are in two of three (ln 1.5)
  const [rare, often] = [Math.log(3), Math.log(1.5)];
  const single = await of(["red", "", ""]);
  const cosine = (rare * rare) / (rare * Math.sqrt(rare ** 2 + 2 * often ** 2));
  expect(single).toBeCloseTo((10 * cosine * Math.exp(-4 / 72)) / 4 / 3, 6);
});

test("a file that scores what it wrote", async () => {
  const at = place(`import { GPT2LMHeadModel } from "std/models/gpt2"
model gpt2 = GPT2LMHeadModel from "models/tiny"
generate written { model = gpt2  data = jsonl("d.jsonl", input: "{text}")  max_tokens = 3 }
evaluate result { data = [written, written]  metrics = [keyphrase_f1(at: [5], phrases: "phrases")] }
`);
  at.put("d.jsonl", lines([{ text: "a cat", phrases: ["cat"] }]));
  const { code, err, out } = await peftc(at, ["train", "main.peft", "--json", "--device", "wasm"]);
  expect([code, err]).toEqual([0, ""]);
  expect(out).toMatch(/"event":"evaluation","stage":"result".*"written\/present_f1@5":0,"written\/absent_f1@5":0/);
  expect(JSON.parse(at.get("runs/main/result/metrics.json"))).toEqual({ "written/absent_f1@5": 0, "written/present_f1@5": 0 });
});
