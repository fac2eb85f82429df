/** What the papers' programs claim, in shortened runs over the bases and data of the repository: counts, directions, sequences. */
import { describe, expect, test } from "@jest/globals";
import { compileText } from "../support/compile.ts";
import { run, textOf } from "./support.ts";

/** Of the bases: width, layers, feed-forward width. */
const [D, L, F] = [64, 4, 128];
const TIME = 300_000;
const by = (rows: readonly Readonly<Record<string, unknown>>[], column: string, value: unknown) =>
  rows.find((row) => row[column] === value) as Readonly<Record<string, number>>;

describe("the papers' programs", () => {
  test(
    "survey: counts as the survey counts them, memory below full fine-tuning",
    async () => {
      const ways = /for way in (\[[^\]]*\])/.exec(textOf("survey"))![1];
      const some = '["full", "bitfit", "lora", "adalora", "ia3", "prefix", "prompt"]';
      const rows = (await run("survey", 2, [[ways, some]])).rows();
      const count = (way: string) => by(rows, "way", way).without_head;
      expect(count("lora")).toBe(L * 2 * 8 * (D + D));
      expect(count("adalora")).toBe(L * 2 * 12 * (D + D + 1));
      // keys, values, and what goes into both output projections or one: here the feed-forward's
      expect(count("ia3")).toBe(L * (D + D + F));
      expect(count("prefix")).toBe(L * 2 * 20 * D);
      expect(count("prompt")).toBe(20 * D);
      // biases of the encoder and of the embeddings' norm
      expect(count("bitfit")).toBe(L * (5 * D + F + 2 * D) + D);
      for (const way of ["bitfit", "lora", "ia3", "prefix"])
        expect(by(rows, "way", way).peak_bytes).toBeLessThan(by(rows, "way", "full").peak_bytes);
    },
    TIME,
  );

  test(
    "S4: every layer gets the same share, by the methods of its group",
    async () => {
      const saved = (await run("survey/s4", 2)).saved("");
      const layers = Array.from({ length: 6 }, () => ({ ways: new Set<string>(), size: 0 }));
      for (const [name, shape] of saved) {
        const layer = layers[Number(/\.layer\.(\d+)\./.exec(name)?.[1])];
        if (layer === undefined) continue; // the head
        const way = /lora|prefix_|\.adapter\./.exec(name)?.[0].replace(/[._]/g, "") ?? "bitfit";
        layer.ways.add(way);
        if (way !== "bitfit") layer.size += shape.reduce((a, b) => a * b, 1);
      }
      const [first, second, third, last] = ["adapter lora", "adapter prefix", "adapter bitfit prefix", "bitfit lora prefix"];
      expect(layers.map(({ ways }) => [...ways].sort().join(" "))).toEqual([first, second, second, third, third, last]);
      for (const { size } of layers) expect(size <= 4000 && size > 3500).toBe(true);
    },
    TIME,
  );

  test(
    "MEFT: two adapters a layer in every wiring",
    async () => {
      const rows = (await run("meft", 2, [['"MEFT1", "MEFT2", "MEFT3"', '"MEFT1"']])).rows();
      const head = D * D + D + 2 * D + 2; // pooler and classifier
      for (const way of ["adapters", "MEFT1"]) expect(by(rows, "way", way).trained).toBe(L * 2 * (2 * D * 8 + 8 + D) + head);
      for (const way of ["adapters", "MEFT1"]) expect(by(rows, "way", way).peak_bytes).toBeLessThan(by(rows, "way", "full").peak_bytes);
      // rebuilt to the bit or kept: the same losses
      const once = [["full", "adapters", "MEFT1", "MEFT2", "MEFT3"].map((way) => JSON.stringify(way)).join(", "), '"MEFT3"'] as const;
      const [exact, kept] = [await run("meft", 2, [once]), await run("meft", 2, [once, ['if meft then "exact" else 0', "0"]])].map(
        (ran) => ran.losses().get("run")!,
      );
      for (const [at, loss] of exact.entries()) expect(Math.abs(loss - kept[at])).toBeLessThan(1e-4);
    },
    TIME,
  );

  test(
    "DEFT: with the term the activations empty, without it they do not",
    async () => {
      // the file's own number: the term begins to show after about 80
      const rows = (await run("deft", 120, [['["adapter", "lora", "prefix", "qlora"]', '["qlora"]']])).rows();
      const [plain, emptied] = ["PEFT", "DEFT"].map((term) => by(rows, "term", term));
      expect(emptied.dense_before).toBe(plain.dense_before);
      expect(plain.dense).toBeGreaterThan(0.97);
      expect(emptied.dense).toBeLessThan(plain.dense - 0.02);
      // above √ε is a stricter count than not zero
      for (const row of [plain, emptied]) expect(row.dense).toBeLessThanOrEqual(row.nonzero);
    },
    TIME,
  );

  test(
    "IncreLoRA grows from one rank a module to two, four modules at a time; AdaLoRA and LoRA end with as many",
    async () => {
      const { events, rows } = await run("increlora", 12, [
        ["for examples in [0.1, 0.8]", "for examples in [0.1]"],
        ["warmup: 10, every: 10, orth", "warmup: 1, every: 1, orth"],
        ["begin: 20, end: 60, every: 5", "begin: 2, end: 6, every: 1"],
        ["linear(warmup: 10)", "linear(warmup: 1)"],
      ]);
      const ranks = events.flatMap((e) => (e.event === "step" ? [e.scalars["watch/rank"]] : [])).slice(-12);
      expect([ranks[0], ranks.at(-1)]).toEqual([24, 48]);
      for (const [i, rank] of ranks.entries()) if (i > 0) expect([0, 4]).toContain(rank - ranks[i - 1]);
      expect(rows().map((row) => row.final_rank)).toEqual([48, 48, 48]);
    },
    TIME,
  );

  test(
    "ScaLearn: numbers that combine four sources, down to four",
    async () => {
      const rows = (await run("scalearn", 2, [['in ["opinion", "order"]', 'in ["opinion"]']])).rows();
      const numbers = Object.fromEntries(rows.map((row) => [row.way, row.of_transfer]));
      expect(numbers).toEqual({
        "single adapter": L * (2 * D * 16 + 16 + D),
        "head alone": 0,
        ScaLearn: 4 * D * L,
        ScaLearnUniform: 4 * L,
        "ScaLearn++": 4 * D,
        "ScaLearnUniform++": 4,
        AdapterFusion: L * (3 * D * D + 2 * D),
      });
    },
    TIME,
  );

  test(
    "PANDA: a student of its own beside a frozen teacher, heard by how alike the tasks are",
    async () => {
      const ran = await run("panda", 2, [['["mnli", "task-opinion", "task-order"]', '["mnli"]']]);
      expect([...ran.losses().keys()]).toEqual(["no_transfer", "on_source", "transfer", "distil"]);
      const [, row] = ran.rows();
      expect(Math.abs(Number(row.alike))).toBeLessThanOrEqual(1);
      const trained = ran.events.flatMap((e) => (e.event === "plan" ? [e.trained] : []));
      // prefix and head alone: the teacher's are not among them
      expect(trained).toEqual(Array(4).fill(20 * 2 * L * D + D * D + D + 3 * D + 3));
    },
    TIME,
  );

  test(
    "VL-PET: gates by granularity, with the authors' counts",
    async () => {
      const rows = (
        await run("vl_pet", 2, [
          ['["lora", "large", "middleX", "middleY", "small"]', '["large", "middleY", "small"]'],
          ["max_tokens = 16", "max_tokens = 2"],
        ])
      ).rows();
      const count = (way: string) => by(rows, "way", way).trained;
      expect(count("large") - count("middleY")).toBe(2 * 3 * (2 * D * 8 + 8 + D) - 2 * 3 * D);
      expect(count("small") - count("middleY")).toBe(2 * 3 * (D + 1));
    },
    TIME,
  );

  test(
    "APET: what is drawn stays within its budget, and memory falls with it",
    async () => {
      const rows = (await run("apet", 2, [["for seed in 1..3", "for seed in 1..2"]])).rows();
      const [whole, least, middle, most] = rows as readonly Readonly<Record<string, number>>[];
      expect(middle.trained).toBeLessThanOrEqual(4_000);
      expect(most.trained).toBeLessThanOrEqual(24_000);
      expect(least.trained).toBeLessThan(middle.trained);
      for (const { peak_bytes } of [least, middle, most]) expect(peak_bytes).toBeLessThan(whole.peak_bytes);
      expect(least.peak_bytes).toBeLessThan(most.peak_bytes);
    },
    TIME,
  );

  test(
    "Vega: asked, evolved, prompts carried over",
    async () => {
      const ran = await run("vega", 2, [['["as it was", "masked", "evolved"]', '["evolved"]']]);
      expect([...ran.losses().keys()]).toEqual(["masked", "evolve", "on_source", "on_target"]);
      const [row] = ran.rows();
      expect(Number(row.unsure_of)).toBeGreaterThan(0);
      expect(Number(row.unsure_of)).toBeLessThan(1);
    },
    TIME,
  );

  test(
    "LiST: weights from a virtual step, and the next teacher",
    async () => {
      const ran = await run("list", 3, [
        ["for session in 1..3", "for session in 1..2"],
        ["from_step: 60", "from_step: 0"],
      ]);
      expect([...ran.losses().keys()]).toEqual(["classic_ft", "start", "learn", "again"]);
      const listened = ran.events.flatMap((e) => (e.event === "step" && e.stage === "learn" ? [e.scalars.listened] : []));
      for (const share of listened) expect(share >= 0 && share <= 1).toBe(true);
      expect(listened.some((share) => share > 0)).toBe(true);
    },
    TIME,
  );

  test(
    "content analysis: voters, what they agree on, and the model that was trained last is judged",
    async () => {
      const ran = await run("content_analysis", 2, [
        ["[1000, 2000]", "[1000]"],
        ["for pattern in patterns", "for pattern in patterns[:2]"],
      ]);
      const [numbers] = ran.rows("final_numbers");
      expect(Object.keys(numbers)).toEqual(expect.arrayContaining(["macro_f1", "agreement", "krippendorff_alpha"]));
      const judged = ran.rows("table").find((row) => row.way === "distilled ensemble")!.macro_f1 as { mean: number };
      expect(judged.mean).toBeCloseTo(Number(numbers.macro_f1), 6);
      const counts = ran
        .rows("final_numbers")
        .flatMap((row) => Object.entries(row).filter(([name]) => /^(dagegen|dafür|nichts)\//.test(name)));
      expect(counts.reduce((sum, [, n]) => sum + Number(n), 0)).toBe(240);
    },
    TIME,
  );

  test(
    "keyphrases: tags read back as phrases, phrases written, both judged",
    async () => {
      const rows = (await run("keyphrase", 2, [["max_tokens = 16", "max_tokens = 4"]])).rows("scores");
      for (const system of ["tags", "written"])
        for (const kind of ["present", "absent"])
          for (const at of ["5", "M"]) {
            const value = by(rows, "system", system)[`${kind}_f1@${at}`];
            expect(value >= 0 && value <= 1).toBe(true);
          }
      // a tagger cannot find what is not there
      expect(by(rows, "system", "tags")["absent_f1@M"]).toBe(0);
    },
    TIME,
  );

  test(
    "MAFT: a smaller vocabulary and its tokenizer; the language is swapped under the task",
    async () => {
      const ran = await run("maft", 2);
      const [before, after] = ran.rows("sizes") as readonly Readonly<Record<string, number>>[];
      // a row of the table and a number of the bias for each token that went
      expect(before.parameters - after.parameters).toBe((before.tokens - after.tokens) * (D + 1));
      expect(after.tokens).toBeLessThan(before.tokens);
      expect(ran.saved("maft").get("roberta.embeddings.word_embeddings.weight")).toEqual([after.tokens, D]);
      expect(ran.rows("topics_table")).toHaveLength(3);
    },
    TIME,
  );

  test(
    "PLM: aligned by what it finds better of its own answers, from the loss of equal models",
    async () => {
      const ran = await run("plm", 2, [["for round in 0..2", "for round in 0..1"]]);
      expect([...ran.losses().keys()]).toEqual(["pretrain", "instruct", "align"]);
      expect(ran.losses().get("align")![0]).toBeCloseTo(Math.log(2), 5);
      expect(by(ran.rows("stages"), "stage", "pre-training").density).toBeGreaterThan(0);
    },
    TIME,
  );
});

test("density counts what is above its threshold", () => {
  const { problems } = compileText('import { measured_density } from "std/objectives"\nfn f(x) = measured_density([x], above: 0.5)');
  expect(problems).toEqual([]);
});
