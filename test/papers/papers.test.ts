/** What the papers train, trained: their programs end to end on WebAssembly, in small. */
import { beforeAll, describe, expect, test } from "@jest/globals";
import type { RunEvent } from "../../src/train/events.ts";
import { Paper } from "./support.ts";

const said = [
  "the film was good",
  "a terrible plot",
  "great music and light",
  "the road was bad",
  "people vote for peace",
  "money is no answer",
];
const pairs = said.map((premise, i) => ({
  premise,
  hypothesis: said[(i * 5 + 2) % 6],
  label: ["yes", "no"][i % 2],
  answer: ["true", "false"][i % 2],
}));
const twice = <T>(rows: readonly T[]): T[] => [...rows, ...rows];

describe("the papers' training", () => {
  const paper = new Paper();
  beforeAll(() => {
    for (const name of ["tiny-bert", "tiny-roberta", "tiny-roberta-6", "tiny-roberta-mlm", "tiny-t5", "tiny-xlmr-mlm"]) paper.model(name);
    paper.rows("rte", twice(pairs));
    paper.rows("sst2", twice(said.map((sentence, i) => ({ sentence, label: ["bad", "good"][i % 2] }))));
    for (const task of ["mrpc", "rte2"])
      paper.rows(task, twice(pairs.map(({ premise, hypothesis, label }) => ({ sentence1: premise, sentence2: hypothesis, label }))));
  }, 300_000);

  const stages = (events: readonly RunEvent[]) => {
    const losses = Paper.losses(events);
    for (const [stage, values] of losses) expect([stage, values.every(Number.isFinite)]).toEqual([stage, true]);
    return losses;
  };
  const saved = (events: readonly RunEvent[]) => events.filter((e) => e.event === "saved").length;

  test("IncreLoRA and AdaLoRA", async () => {
    const events = await paper.run("increlora", [
      ["top: 5, alpha: 32, warmup: 100, every: 100", "top: 5, alpha: 32, warmup: 0, every: 1"],
      ["begin: 600, end: 1800", "begin: 0, end: 1"],
      ["epochs    = 1", "steps     = 4"],
      ["schedule  = linear(warmup: 100)", "schedule  = linear(warmup: 1)"],
    ]);
    expect(stages(events).get("run")).toHaveLength(8);
    expect(saved(events)).toBeGreaterThan(0);
  }, 300_000);

  test("MEFT", async () => {
    const losses: (readonly number[])[] = [];
    for (const reverse of ['"exact"', "1e-3", "0"]) {
      const events = await paper.run("meft", [
        ["for kind in [1, 2, 3]", "for kind in [3]"],
        ['reverse   = "exact"', `reverse   = ${reverse}`],
      ]);
      stages(events);
      expect(saved(events)).toBeGreaterThan(0);
      losses.push(events.flatMap((e) => (e.event === "step" ? [e.loss] : [])));
    }
    for (const l of losses) for (const [i, x] of l.entries()) expect(Math.abs(x - losses[2][i])).toBeLessThan(1e-4);
  }, 300_000);

  test("DEFT", async () => {
    const events = await paper.run("deft", [["for weight in [0, 1]", "for weight in [1]"]]);
    stages(events);
    expect(events.flatMap((e) => (e.event === "step" ? [e.scalars["watch/density"]] : [])).every((d) => d > 0 && d <= 1)).toBe(true);
  }, 300_000);

  test("ScaLearn", async () => {
    const events = await paper.run("scalearn", [
      ['tasks = ["rte", "mrpc", "cola"]', 'tasks = ["rte2", "mrpc"]'],
      ["for target in tasks {", "for target in [tasks[0]] {"],
      ['["scalearn", "uniform", "shared", "shared-uniform", "fusion"]', '["scalearn", "shared-uniform", "fusion"]'],
    ]);
    stages(events);
    expect(saved(events)).toBeGreaterThan(0);
  }, 300_000);

  test("PANDA", async () => {
    paper.rows("mnli", twice(pairs));
    paper.rows("cb", twice(pairs));
    const events = await paper.run("panda");
    expect([...stages(events).keys()]).toEqual(["on_source", "transfer", "distil"]);
  }, 300_000);

  test("VL-PET", async () => {
    const grid = [0, 1].map((row) => Array.from({ length: 16 }, (_, i) => (row + i) / 16));
    paper.rows("vqa", twice(said.map((question) => ({ question, answer: "yes", grid, score: 0.5 }))));
    paper.rows("caption", twice(said.map((text) => ({ text, grid }))));
    const events = await paper.run("vl_pet", [['["large", "middleX", "middleY", "small"]', '["small"]']]);
    stages(events);
    expect(events.filter((e) => e.event === "sample")).not.toHaveLength(0);
  }, 300_000);

  test("APET", async () => {
    const events = await paper.run("apet", [
      ["for budget in [2_000, 8_000, 20_000]", "for budget in [2_000]"],
      ["for seed in 0..3", "for seed in 0..1"],
    ]);
    expect(stages(events).get("run")).toHaveLength(2);
  }, 300_000);

  test("the survey: a gated mixture, and a masked gradient", async () => {
    const ways = /for way in (\[[^\]]*\])/.exec(paper.text("survey"))![1];
    const events = await paper.run("survey", [[ways, '["unipelt", "child"]']]);
    expect(stages(events).get("run")).toHaveLength(4);
  }, 300_000);

  test("S4: every layer gets the same share, by the methods of its group", async () => {
    const events = await paper.run("survey/s4");
    expect(stages(events).get("run")).toHaveLength(2);
    const layers = Array.from({ length: 6 }, () => ({ ways: new Set<string>(), size: 0 }));
    for (const [name, shape] of paper.saved("runs/s4")) {
      const layer = layers[Number(/\.layer\.(\d+)\./.exec(name)?.[1])];
      if (layer === undefined) continue; // the head
      const way = /lora|prefix_|\.adapter\./.exec(name)?.[0].replace(/[._]/g, "") ?? "bitfit";
      layer.ways.add(way);
      if (way !== "bitfit") layer.size += shape.reduce((a, b) => a * b);
    }
    const [first, second, third, last] = ["adapter lora", "adapter prefix", "adapter bitfit prefix", "bitfit lora prefix"];
    expect(layers.map(({ ways }) => [...ways].sort().join(" "))).toEqual([first, second, second, third, third, last]);
    for (const { size } of layers) expect(size <= 1000 && size > 900).toBe(true);
  }, 300_000);

  test("Vega: asked, evolved, prompts carried over", async () => {
    paper.put("data/corpus.txt", `${said.join("\n")}\n`.repeat(10));
    paper.rows("mnli", twice(pairs.map((p, i) => ({ ...p, label: ["a", "b", "c"][i % 3] }))));
    const events = await paper.run("vega");
    expect([...stages(events).keys()]).toEqual(["evolve", "on_source", "on_target"]);
  }, 300_000);

  test("LiST: weights from a virtual step, and the next teacher", async () => {
    const rows = twice(said.map((sentence, i) => ({ sentence, label: ["terrible", "great"][i % 2] })));
    paper.rows("labelled", rows);
    paper.rows(
      "unlabelled",
      rows.map(({ sentence }) => ({ sentence })),
    );
    paper.rows("test", rows);
    const events = await paper.run("list", [["for session in 0..6", "for session in 0..1"]]);
    expect([...stages(events).keys()]).toEqual(["start", "learn", "again"]);
    expect(events.some((e) => e.event === "evaluation" && Number.isFinite(e.metrics.loss))).toBe(true);
  }, 300_000);

  test("content analysis: voters, what they agree on, and a judged result", async () => {
    paper.put("data/people.txt", "anna\nbert\n");
    const rows = twice(said.map((text, i) => ({ text, label: ["dagegen", "dafür", "nichts"][i % 3] })));
    for (const name of ["near", "few", "unlabelled", "test"]) paper.rows(name, rows);
    const events = await paper.run("content_analysis", [["[1000, 2000, 3000]", "[1000]"]]);
    expect(stages(events).get("distil")).toHaveLength(2);
    const metrics = events.flatMap((e) => (e.event === "evaluation" && e.stage === "result" ? [e.metrics] : []))[0];
    expect(
      Object.entries(metrics)
        .filter(([name]) => name.startsWith("confusion/"))
        .reduce((sum, [, n]) => sum + n, 0),
    ).toBe(12);
    expect(metrics["confusion/dagegen/dafür"]).toBeDefined();
    for (const name of ["macro_f1", "agreement"]) expect(metrics[name] >= 0 && metrics[name] <= 1).toBe(true);
    expect(metrics.krippendorff_alpha).toBeLessThanOrEqual(1);
  }, 300_000);

  test("keyphrases: tags read back as phrases, phrases written, both judged", async () => {
    const phrases = (text: string) => [text.split(" ").slice(1, 3).join(" "), "rain"];
    paper.rows("kp", twice(said.map((abstract, i) => ({ title: said[(i + 1) % 6], abstract, keyphrases: phrases(abstract) }))));
    const events = await paper.run("keyphrase", [["max_tokens = 64", "max_tokens = 4"]]);
    expect([...stages(events).keys()]).toEqual(["tag", "write"]);
    const metrics = events.flatMap((e) => (e.event === "evaluation" && e.stage === "result" ? [e.metrics] : []))[0];
    for (const system of ["tags", "written"])
      for (const kind of ["present", "absent"]) for (const at of ["5", "M"]) expect(metrics[`${system}/${kind}_f1@${at}`] >= 0).toBe(true);
  }, 300_000);

  test("MAFT: a smaller vocabulary and its tokenizer, trained and saved; adapters stacked on it", async () => {
    for (const language of ["amharic", "hausa", "yoruba", "swahili", "english"])
      paper.put(`data/${language}.txt`, `${said.join("\n")}\n`.repeat(6));
    paper.rows("topics-hausa", twice(said.map((text, i) => ({ text, label: ["a", "b", "c"][i % 3] }))));
    const events = await paper.run("maft", [
      ["first: 50", "first: 10"],
      ["most: 120", "most: 12"],
      ["most: 150", "most: 14"],
    ]);
    expect([...stages(events).keys()]).toEqual(["maft", "language", "task"]);
    const [afro, wide] = ["runs/afro", "models/tiny-xlmr-mlm"].map((folder) => paper.tokenizerOf(folder));
    expect(afro.size).toBeLessThan(30);
    expect(paper.saved("runs/afro").get("roberta.embeddings.word_embeddings.weight")).toEqual([afro.size, 16]);
    // words that are kept are the same words under other numbers, and others are unknown
    expect(afro.decode(afro.encode("people vote"))).toBe("people vote");
    expect(afro.encode("people vote")).not.toEqual(wide.encode("people vote"));
    expect(wide.encode("zebra")).not.toContain(wide.ids.unk);
    expect(afro.encode("zebra")).toEqual([afro.ids.unk]);
  }, 300_000);

  test("PLM: pretrained, instructed, aligned by what it finds better of its own answers", async () => {
    paper.tokenizer("tiny-plm", "bert", "{% for m in messages %}{{ m['content'] }} [SEP] {% endfor %}");
    paper.put("data/corpus.txt", `${said.join("\n")}\n`.repeat(30));
    const talk = (...turns: string[]) => ({ messages: turns.map((content, i) => ({ role: ["user", "assistant"][i], content })) });
    paper.rows("instructions", twice(said.map((question, i) => talk(question, said[(i + 2) % 6]))));
    const questions = said.slice(0, 3).map((question) => talk(question));
    paper.rows("questions", questions);
    const events = await paper.run("plm", [
      ["for round in 0..2", "for round in 0..1"],
      ["max_tokens = 64", "max_tokens = 4"],
      ["max_tokens = 64", "max_tokens = 4"],
    ]);
    expect([...stages(events).keys()]).toEqual(["pretrain", "instruct", "align"]);
    expect(stages(events).get("align")![0]).toBeCloseTo(Math.log(2), 5);
    // two answers a question, each improved
    expect(events.filter((e) => e.event === "sample")).toHaveLength(12);
  }, 300_000);
});
