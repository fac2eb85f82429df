/** What the papers' programs claim, in shortened runs over the bases and data of the repository: counts, directions, sequences. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { compileText } from "../support/compile.ts";
import { run, textOf } from "./support.ts";

/** Of the bases: width, layers, feed-forward width. */
const [D, L, F] = [64, 4, 128];
const TIME = 600_000;
const by = (rows: readonly Readonly<Record<string, unknown>>[], column: string, value: unknown) =>
  rows.find((row) => row[column] === value) as Readonly<Record<string, number>>;

describe("the papers' programs", () => {
  test(
    "survey: counts as the survey counts them, of models that need not be here too; memory below full fine-tuning",
    async () => {
      const ways = /for way in (\[[^\]]*\])/.exec(textOf("survey"))![1];
      const some = '["full", "bitfit", "lora", "ia3", "prompt"]';
      const ran = await run("survey", 2, [[ways, some]]);
      const rows = ran.rows("table");
      const count = (way: string) => by(rows, "way", way).without_head;
      expect(count("lora")).toBe(L * 2 * 8 * (D + D));
      // keys, values, and what goes into both output projections or one: here the feed-forward's
      expect(count("ia3")).toBe(L * (D + D + F));
      expect(count("prompt")).toBe(20 * D);
      // biases of the encoder and of the embeddings' norm
      expect(count("bitfit")).toBe(L * (5 * D + F + 2 * D) + D);
      for (const way of ["bitfit", "lora", "ia3"]) {
        const [own, full] = [by(rows, "way", way), by(rows, "way", "full")];
        expect(own.peak_bytes).toBeLessThan(full.peak_bytes);
        // what was planned is what was taken, but for what the host holds beside
        expect(own.peak_bytes / own.planned_bytes - 1).toBeLessThan(0.05);
      }
      const large = Object.fromEntries(ran.rows("large").map((row) => [row.way, [row.roberta_base, row.roberta_large]]));
      expect(large).toMatchObject({
        full: [124_647_170, 355_361_794],
        prompt: [607_490, 1_072_130],
        prefix: [960_770, 2_034_690],
        ia3: [656_642, 1_223_682],
        bitfit: [694_274, 1_323_010],
        lora: [887_042, 1_838_082],
        adalora: [1_034_786, 2_231_874],
        pfeiffer: [894_528 + 592_130, 3_171_840 + 1_051_650],
      });
      expect(ran.rows("writers").map((row) => [row.parameters, row.trained])).toEqual([
        [222_903_552, 884_736],
        [6_738_415_616, 159_907_840],
      ]);
    },
    TIME,
  );

  test(
    "S4: every layer gets the same share, by the methods of its group",
    async () => {
      const saved = (await run("survey/s4", 1)).saved("");
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
    "MEFT: two adapters a layer in every wiring, fewer activations, and errors that grow as the wiring says",
    async () => {
      const one = /kinds = \[[\s\S]*?steps: \d+ \}\]/.exec(textOf("meft"))![0];
      const bert = (ways: string) => `kinds = [{ name: "BERT", model: bert, ways: ${ways}, steps: 2 }]`;
      const ran = await run("meft", 2, [[one, bert('["full", "adapters", "MEFT1"]')]]);
      const rows = ran.rows("table");
      const head = D * D + D + 2 * D + 2; // pooler and classifier
      for (const way of ["adapters", "MEFT1"]) {
        expect(by(rows, "way", way).trained).toBe(L * 2 * (2 * D * 8 + 8 + D) + head);
        expect(by(rows, "way", way).activation_bytes).toBeLessThan(by(rows, "way", "full").activation_bytes);
      }
      expect(by(rows, "way", "MEFT1").activation_bytes).toBeLessThan(by(rows, "way", "adapters").activation_bytes);
      const errors = ran.rows("rebuilt") as readonly Readonly<Record<string, number>>[];
      for (const row of errors) expect(row.growth_measured).toBeLessThanOrEqual(row.growth_at_most);
      // the further the factors are from 1, the more an error grows
      for (const [i, row] of errors.entries()) if (i > 0) expect(row.growth_measured).toBeLessThan(errors[i - 1].growth_measured);
      // a decoder with ReLU, whose products skip zeros: what they need of frozen weights is computed at loading
      const opt = await run("meft", 2, [
        [one, 'kinds = [{ name: "OPT", model: opt, ways: ["MEFT1"], steps: 2 }]'],
        ["[0.1, 0.3, 0.5, 0.8]", "[0.8]"],
      ]);
      expect(opt.losses().get("run")).toHaveLength(2);
      // rebuilt to the bit or kept: the same losses
      const few = [
        [one, bert('["MEFT3"]')],
        ["[0.1, 0.3, 0.5, 0.8]", "[0.8]"],
      ] as const;
      const [exact, kept] = [await run("meft", 2, few), await run("meft", 2, [...few, ['if meft then "exact" else 0', "0"]])].map(
        (r) => r.losses().get("run")!,
      );
      for (const [at, loss] of exact.entries()) expect(Math.abs(loss - kept[at])).toBeLessThan(1e-4);
    },
    TIME,
  );

  test(
    "DEFT: with the term the activations empty, without it they do not; in the encoder and in the decoder",
    async () => {
      const ran = await run("deft", 20, [
        ['["adapter", "lora", "prefix", "prompt", "qlora", "pruned by half, lora"]', '["lora", "pruned by half, lora"]'],
        ["steps: int) = { sequence: 24, batch: 32", "steps: int) = { sequence: 24, batch: 16"],
      ]);
      const [plain, emptied] = ["PEFT", "DEFT"].map((term) => by(ran.rows("table"), "term", term));
      // at the same score, and so on a base that was pruned
      expect(Math.abs(emptied.accuracy - plain.accuracy)).toBeLessThan(0.06);
      const thin = ran.rows("table").filter((row) => String(row.way).startsWith("pruned"));
      expect(thin[0].encoder_before).not.toBe(plain.encoder_before);
      expect(Number(thin[1].encoder)).toBeLessThan(Number(thin[0].encoder) - 0.02);
      for (const half of ["encoder", "decoder"]) {
        expect(emptied[`${half}_before`]).toBe(plain[`${half}_before`]);
        expect(emptied[half]).toBeLessThan(plain[half] - 0.02);
      }
      // a half's density is the mean of its layers'
      for (const [i, row] of ran.rows("by_layer").entries())
        for (const half of ["encoder", "decoder"]) {
          const mean = [1, 2, 3].reduce((sum, n) => sum + Number(row[`${half}_${n}`]) / 3, 0);
          expect(mean).toBeCloseTo(Number(ran.rows("table")[i][half]), 5);
        }
      // above √ε is a stricter count than not zero
      for (const row of ran.rows("encoder")) expect(Number(row.dense)).toBeLessThanOrEqual(Number(row.nonzero));
    },
    TIME,
  );

  test(
    "IncreLoRA grows from one rank a module to two, four modules at a time; AdaLoRA and LoRA end with as many",
    async () => {
      const all = /for setting in (\[.*?\]) \{/.exec(textOf("increlora"))![1];
      const ran = await run("increlora", 12, [
        [all, "[{ target: 2, share: 0.8 }]"],
        ["warmup: 10, every: every, orth", "warmup: 1, every: 1, orth"],
        ["begin: 20, end: 60, every: 5", "begin: 2, end: 6, every: 1"],
        ["linear(warmup: 10)", "linear(warmup: 1)"],
        ["setting.target == 4", "setting.target == 2"],
      ]);
      const ranks = ran.events.flatMap((e) => (e.event === "step" ? [e.scalars["watch/rank"]] : [])).slice(-12);
      expect([ranks[0], ranks.at(-1)]).toEqual([24, 48]);
      for (const [i, rank] of ranks.entries()) if (i > 0) expect([0, 4]).toContain(rank - ranks[i - 1]);
      expect(ran.rows("by_budget").map((row) => row.final_rank)).toEqual([48, 48, 48]);
      // the picture shows where they went: each module's own, and all of them together
      const places = ran.rows("ranks").map((row) => Number(row.rank));
      expect(places).toHaveLength(24);
      expect(places.reduce((a, b) => a + b, 0)).toBe(48);
    },
    TIME,
  );

  test(
    "ScaLearn: numbers that combine four sources, down to four; what was learnt is one wide adapter",
    async () => {
      const ran = await run("scalearn", 2, [
        ["enumerate(tasks) {", "enumerate(tasks[:1]) {"],
        ['in ["opinion", "order"]', 'in ["opinion"]'],
        ["for share in [0.75, 0.1]", "for share in [0.75]"],
      ]);
      const numbers = Object.fromEntries(ran.rows("table").map((row) => [row.way, row.of_transfer]));
      expect(numbers).toEqual({
        "single adapter": L * (2 * D * 16 + 16 + D),
        "head alone": 0,
        average: 0,
        ScaLearn: 4 * D * L,
        ScaLearnUniform: 4 * L,
        "ScaLearn++": 4 * D,
        "ScaLearnUniform++": 4,
        AdapterFusion: L * (3 * D * D + 2 * D),
      });
      const [folded] = ran.rows("folded_into_one") as readonly Readonly<Record<string, number>>[];
      expect(folded.largest_difference / folded.largest_logit).toBeLessThan(1e-5);
      expect(folded.largest_difference).toBeGreaterThanOrEqual(0);
    },
    TIME,
  );

  test(
    "PANDA: a student of its own beside a frozen teacher, heard by how alike the tasks are",
    async () => {
      const ran = await run("panda", 2, [
        ['["mnli", "task-opinion", "task-person", "task-order"]', '["mnli"]'],
        ['["cb", "rte"]', '["cb"]'],
      ]);
      expect([...ran.losses().keys()]).toEqual(["on_source", "no_transfer", "transfer", "distil"]);
      const rows = ran.rows("table") as readonly Readonly<Record<string, number>>[];
      for (const row of rows) {
        expect(row.transfer_gains).toBeCloseTo(row.transfer - row.no_transfer, 6);
        expect(row.on).toBeGreaterThan(0);
        for (const alike of [row.ours, row.e_avg, row.on]) expect(Math.abs(alike)).toBeLessThanOrEqual(1 + 1e-6);
      }
      // one source has no rank among others
      for (const name of ["e_avg", "on", "ours"]) expect(Number(ran.rows("guesses")[0][name])).toBeCloseTo(0, 6);
      const trained = ran.events.flatMap((e) => (e.event === "plan" ? [e.trained] : []));
      // prefix and head alone: the teacher's are not among them
      const own = (classes: number) => 20 * 2 * L * D + D * D + D + classes * (D + 1);
      expect(trained).toEqual(Array(4).fill(own(3)));
    },
    TIME,
  );

  test(
    "VL-PET: gates by granularity, with the authors' counts; captions judged by CIDEr",
    async () => {
      const rows = (
        await run("vl_pet", 2, [
          ['["lora", "VL-Adapter", "large", "middleX", "middleY", "small"]', '["large", "small"]'],
          ["max_tokens = 16  beams = 3", "max_tokens = 2"],
          ["max_tokens = 16", "max_tokens = 4"],
        ])
      ).rows();
      const count = (way: string) => by(rows, "way", way).trained;
      expect(count("large") - count("small")).toBe(2 * 3 * (2 * D * 8 + 8 + D) - 2 * 3 * (2 * D + 1));
      for (const row of rows) expect(Number(row.cider)).toBeGreaterThanOrEqual(0);
    },
    TIME,
  );

  test(
    "APET: what is drawn stays within its budget, and memory falls with it",
    async () => {
      const rows = (
        await run("apet", 2, [
          ["for seed in 1..3", "for seed in 1..2"],
          ['["small", "base"]', '["base"]'],
          ["[150, 600, 2_400, 9_600]", "[600, 9_600]"],
        ])
      ).rows() as readonly Readonly<Record<string, { readonly mean: number }>>[];
      const [whole, least, most] = rows.map((row) => ({ trained: row.trained.mean, bytes: row.peak_bytes.mean }));
      expect(most.trained).toBeLessThanOrEqual(9_600);
      expect(least.trained).toBeLessThan(most.trained);
      for (const { bytes } of [least, most]) expect(bytes).toBeLessThan(whole.bytes);
      expect(least.bytes).toBeLessThan(most.bytes);
    },
    TIME,
  );

  test(
    "Vega: asked, evolved, prompts carried over",
    async () => {
      const ran = await run("vega", 2, [['["as it was", "more masking", "evolved, hard labels", "evolved"]', '["evolved"]']]);
      expect([...ran.losses().keys()]).toEqual(["evolve", "on_source", "without", "transfer", "distil"]);
      const [row] = ran.rows();
      expect(Number(row.unsure_of)).toBeGreaterThan(0);
      expect(Number(row.unsure_of)).toBeLessThan(1);
      const [evolve] = ran.events.flatMap((e) => (e.event === "step" && e.stage === "evolve" ? [e.scalars] : []));
      // most texts have a hard token; those that have none are masked as BERT's are
      expect(evolve.fell_back).toBeGreaterThanOrEqual(0);
      expect(evolve.fell_back).toBeLessThan(0.5);
    },
    TIME,
  );

  test(
    "LiST: weights from a virtual step are the derivative of the bilevel loss, and the next teacher",
    async () => {
      const ran = await run("list", 3, [
        ["for session in 1..4", "for session in 1..2"],
        ["from_step: 36", "from_step: 0"],
        ["for labels in [4, 30]", "for labels in [4]"],
        ["for seed in 0..3", "for seed in 0..1"],
        ["for seed in 0..3", "for seed in 0..1"],
      ]);
      expect([...ran.losses().keys()]).toEqual(["classic_ft", "start", "learn", "again", "proof"]);
      // a prompt without any label is already right about most, and trains a twelfth of what classic fine-tuning does
      const way = (name: string) => by(ran.rows("table"), "way", name);
      expect((way("prompt, untuned").accuracy as unknown as { readonly mean: number }).mean).toBeGreaterThan(0.75);
      expect(way("LiST").trained).toBeLessThan(0.1 * way("classic fine-tuning").trained);
      const listened = ran.events.flatMap((e) => (e.event === "step" && e.stage === "learn" ? [e.scalars.listened] : []));
      for (const share of listened) expect(share >= 0 && share <= 1).toBe(true);
      expect(listened.some((share) => share > 0)).toBe(true);
      const proofs = ran.rows("weights") as readonly Readonly<Record<string, number>>[];
      expect(proofs).toHaveLength(1);
      const size = Math.max(...proofs.map((row) => Math.abs(row.by_derivative)));
      expect(size).toBeGreaterThan(0);
      for (const row of proofs) expect(Math.abs(row.by_derivative - row.by_difference)).toBeLessThan(0.02 * size);
    },
    TIME,
  );

  test(
    "content analysis: voters in generations, one or two masks, a rerun to the bit, and the model that was trained last is judged",
    async () => {
      const names = /\/\/ Names left as they are[\s\S]*?(?=\/\/ Method by training size)/.exec(textOf("content_analysis"))![0];
      const ran = await run("content_analysis", 2, [
        [names, ""],
        ["for labels in [12, 30]", "for labels in [12]"],
        ["for seed in [1000, 2000, 3000] {", "for seed in [1000] {"],
        ["for i, pattern in enumerate(patterns) {", "for i, pattern in enumerate(patterns[:2]) {"],
      ]);
      const [numbers] = ran.rows("final_numbers");
      expect(Object.keys(numbers)).toEqual(expect.arrayContaining(["macro_f1", "agreement", "krippendorff_alpha"]));
      const judged = ran.rows("table").find((row) => row.way === "distilled ensemble")!.macro_f1 as { mean: number };
      expect(judged.mean).toBeCloseTo(Number(numbers.macro_f1), 6);
      const counts = ran
        .rows("final_numbers")
        .flatMap((row) => Object.entries(row).filter(([name]) => /^(dagegen|dafür|nichts)\//.test(name)));
      expect(counts.reduce((sum, [, n]) => sum + Number(n), 0)).toBe(240);
      const [again] = ran.rows("reliability") as readonly Readonly<Record<string, number>>[];
      expect(again.largest_difference_of_a_rerun).toBe(0);
      expect(again.krippendorff_alpha).toBeLessThanOrEqual(1);
    },
    TIME,
  );

  test(
    "keyphrases: tags read back as phrases, phrases written, both judged",
    async () => {
      const ran = await run("keyphrase", 4, [
        ['["tagger", "tagger with a CRF", "tagger, in-domain base"]', '["tagger with a CRF"]'],
        [
          '["T5, LoRA", "T5", "BART", "BERT2BERT, 3 + 1 layers", "BERT2BERT, 1 + 3 layers", "BERT, prefix mask"]',
          '["T5, LoRA", "BERT2BERT, 3 + 1 layers", "BERT, prefix mask"]',
        ],
        ["...recipe(rate, steps, 3)", "...recipe(rate, 4, 3)"],
        ["max_tokens = 14", "max_tokens = 4"],
      ]);
      const rows = ran.rows("table");
      for (const row of rows)
        for (const kind of ["present", "absent"])
          for (const at of ["5", "M", "O"]) {
            const value = Number(row[`${kind}_${at}`]);
            expect(value >= 0 && value <= 1).toBe(true);
          }
      // a loop's models read their own rows: what goes on writing behind a text is not shown the token that ends it, and what starts a text is not written
      const [apart, behind] = [1, 2].map((i) =>
        JSON.parse(readFileSync(path.join(ran.folder, `written-${i}/samples.jsonl`), "utf8").split("\n")[0]),
      );
      expect([apart.prompt.endsWith("[SEP]"), behind.prompt.endsWith("[SEP]")]).toEqual([true, false]);
      for (const { text } of [apart, behind]) expect(text).not.toMatch(/\[(CLS|SEP|PAD)\]/);
      // a tagger cannot find what is not there
      expect(by(rows, "way", "tagger with a CRF").absent_M).toBe(0);
      // the shapes that are compared cost the same, to a few per cent
      const sizes = ran.rows("budget").map((row) => Number(row.parameters));
      expect(Math.max(...sizes) / Math.min(...sizes)).toBeLessThan(1.1);
    },
    TIME,
  );

  test(
    "MAFT: a smaller vocabulary and its tokenizer, with its certificate; the language is swapped under the task",
    async () => {
      // without the tasks on three trunks, which claim nothing that two updates could show
      const tasks = /model lone = afro[\s\S]*?\n(?=\/\/ MAD-X)/.exec(textOf("maft"))![0];
      const topics =
        'fn topics_of(language: string) = jsonl("../data/topics-" + language + ".jsonl", input: "{text}", label: "label", split: 0.8)\n';
      const ran = await run("maft", 2, [[tasks, `${topics}tasks = [{ model: "none" }]\n`]]);
      const [before, after] = ran.rows("sizes_table") as readonly Readonly<Record<string, number>>[];
      // a row of the table and a number of the bias for each token that went
      expect(before.parameters - after.parameters).toBe((before.tokens - after.tokens) * (D + 1));
      expect(after.tokens).toBeLessThan(before.tokens);
      const [same] = ran.rows("certificate") as readonly Readonly<Record<string, number>>[];
      expect(same.kept_logits_differ_by).toBeLessThan(1e-5 * same.largest_logit);
      expect(same.cross_entropy_off_by).toBeLessThan(1e-4);
      expect(ran.saved("maft").get("roberta.embeddings.word_embeddings.weight")).toEqual([after.tokens, D]);
      expect(ran.rows("topics_table")).toHaveLength(3);
    },
    TIME,
  );

  test(
    "PLM: aligned by what it finds better of its own answers, from the loss of equal models; two ways to compute latent attention",
    async () => {
      const ran = await run("plm", 2, [["for round in 0..2", "for round in 0..1"]]);
      expect([...ran.losses().keys()]).toEqual(["pretrain", "instruct", "align"]);
      const [align] = ran.events.flatMap((e) => (e.event === "step" && e.stage === "align" ? [e.scalars] : []));
      expect(align.dpo).toBeCloseTo(Math.log(2), 5);
      expect(by(ran.rows("stages"), "stage", "pre-training").density).toBeGreaterThan(0);
      const [latent, whole] = ran.rows("attention") as readonly Readonly<Record<string, number>>[];
      expect([latent.bytes_a_token, whole.bytes_a_token]).toEqual([4 * 3 * (32 + 8), 4 * 3 * 4 * (16 + 8 + 16)]);
      expect(latent.outputs_differ_by).toBeLessThan(1e-5);
      const rates = ran
        .rows("schedule")
        .map((row) => Number(row.rate))
        .slice(1);
      // up, level, down, and low to the end
      expect([rates[0], rates[5], rates.at(-1)!].map((rate) => rate / 3e-3)).toEqual([
        expect.closeTo(1),
        expect.closeTo(1),
        expect.closeTo(0.1),
      ]);
    },
    TIME,
  );
});

test("density counts what is above its threshold", () => {
  const { problems } = compileText('import { measured_density } from "std/objectives"\nfn f(x) = measured_density([x], above: 0.5)');
  expect(problems).toEqual([]);
});
