/** `report` stages, and files that are run in part. */
import { describe, expect, test } from "@jest/globals";
import { curve } from "../../src/train/report/curve.ts";
import { markdown, type ReportTable, shown } from "../../src/train/report/report.ts";
import { type Place, peftc, place } from "../cli/support.ts";

const spec = (last = "") => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"

model base = GPT2LMHeadModel from "models/tiny"
corpus = text("corpus.txt", split: 0.9)
rows = []
for rank in [1, 2] {
  for seed in [3, 4] {
    model m = base
    attach lora = LoRA(rank: rank) to m.transformer.h[*].attn.c_attn
    train run {
      objective = causal_lm(m)  data = corpus  sequence = 16  batch = 4  steps = 3  seed = seed
      watch     = { twice: 2 * loss }
      evaluate  = { metrics: ["perplexity"] }
    }
    rows = [...rows, { rank: rank, seed: seed, trained: run.trained, share: run.trained / run.parameters, before: run.before.loss, perplexity: run.after.perplexity,
                       twice: run.watch.twice, loss: run.loss, updates: run.updates, peak_bytes: run.peak_bytes }]
  }
}
report table { rows = rows  over = "seed"  title = "By rank"  curve = { x: "trained", y: "perplexity" } }
${last}`;
const json = (at: Place, file: string) => JSON.parse(at.get(file)) as ReportTable;
const run = (at: Place, ...more: string[]) => peftc(at, ["train", "main.peft", "--device", "reference", ...more]);

describe("a report", () => {
  test("has counts that are known before the run and numbers that it makes, the mean over seeds", async () => {
    const at = place(spec());
    const { code, err } = await run(at);
    expect([code, err]).toEqual([0, expect.stringContaining("By rank\n")]);
    const { columns, rows } = json(at, "runs/main/table/report.json");
    expect(columns).toEqual(["rank", "trained", "share", "before", "perplexity", "twice", "loss", "updates", "peak_bytes"]);
    const events = ["0-0", "0-1"].map((turn) =>
      at
        .get(`runs/main/run-${turn}/metrics.jsonl`)
        .trim()
        .split("\n")
        .map((l) => JSON.parse(l)),
    );
    const ends = events.map((all) => all.findLast((e) => e.eval_perplexity !== undefined).eval_perplexity as number);
    const first = rows[0] as Record<string, { mean: number; sd: number; n: number }>;
    expect(first.perplexity.n).toBe(2);
    expect(first.perplexity.mean).toBeCloseTo((ends[0] + ends[1]) / 2, 3);
    expect(first.perplexity.sd).toBeCloseTo(Math.abs(ends[0] - ends[1]) / Math.SQRT2, 3);
    expect(first.twice.mean).toBeCloseTo(2 * first.loss.mean, 4);
    expect(first.before.sd).toBeCloseTo(0, 6);
    expect(first.updates.mean).toBe(3);
    expect(first.peak_bytes.mean).toBeGreaterThan(1000);
    expect([rows[0].trained, rows[1].trained].map(Number)[1]).toBe(2 * Number(rows[0].trained));
    expect(at.get("runs/main/table/report.md")).toMatch(/^# By rank\n\n\| rank \| trained \|.*\n\| ---: /);
    expect(at.get("runs/main/table/report.svg")).toMatch(/^<svg[\s\S]*<circle[\s\S]*<\/svg>\n$/);
  });
  test("has what is computed of numbers and of parameters, where the row is made", async () => {
    const last = `
lifted = run.after.loss - run.before.loss
moved  = [max(abs(site.lora_B.weight)) for site in lora]
most   = max(stack(moved))
report more { rows = [{ lifted: lifted, twice: 2 * lifted, named: run.last.loss, most: most, planned: run.planned_bytes, activations: run.activation_bytes }]  }
report mean { rows = rows  over = ["seed", "trained"] }`;
    const at = place(spec(last));
    expect(await run(at)).toMatchObject({ code: 0 });
    const [row] = json(at, "runs/main/more/report.json").rows as readonly Readonly<Record<string, number>>[];
    const ends = at
      .get("runs/main/run-1-1/metrics.jsonl")
      .trim()
      .split("\n")
      .map((l) => JSON.parse(l));
    const evaluations = ends.filter((e) => e.eval_loss !== undefined);
    expect(row.lifted).toBeCloseTo(evaluations.at(-1).eval_loss - evaluations[0].eval_loss, 4);
    expect(row.twice).toBeCloseTo(2 * row.lifted, 6);
    expect(row.named).toBeCloseTo(ends.findLast((e) => e.loss !== undefined).loss, 5);
    // B begins at zero: it was looked at behind its training
    expect(row.most).toBeGreaterThan(0);
    expect(row.activations).toBeLessThan(row.planned);
    // sizes differ by rank alone, so \`trained\` is a mean without a spread; without it in \`over\` nothing would change here
    expect((json(at, "runs/main/mean/report.json").rows[0] as Record<string, { sd: number }>).trained.sd).toBe(0);
  });
  test.each([
    ["a number as a condition", "if run.after.loss < 1 { rows = [] }", /P0505/],
    ["a column that no row has", 'report r { rows = rows  over = "sed" }', /P0203[\s\S]*did you mean `seed`/],
    ["rows that are none", "report r { rows = [1] }", /P0206/],
    ["a cell that is a model", "report r { rows = [{ x: base }] }", /P0206/],
    ["nothing at all", "report r { }", /P0204/],
    ["half a curve", 'report r { rows = rows  curve = { x: "rank" } }', /P0204/],
  ])("refuses %s", async (_name, last, wanted) => {
    expect((await peftc(place(spec(last)), ["check", "main.peft"])).err).toMatch(wanted);
  });
});

describe("a file is run in part", () => {
  test("--stage: only what the stage rests on; what is unchanged is taken from the earlier run", async () => {
    const other = "train other { objective = causal_lm(base)  params = base  data = corpus  sequence = 16  steps = 1 }\n";
    const at = place(spec(other));
    expect((await run(at)).code).toBe(0);
    const before = json(at, "runs/main/table/report.json");
    at.put("main.peft", spec(other).replace("By rank", "By size"));
    const again = await run(at, "--stage", "table");
    expect(again.code).toBe(0);
    expect([...again.err.matchAll(/is finished already/g)]).toHaveLength(4);
    expect(again.err).not.toMatch(/step 1|train other/);
    expect(json(at, "runs/main/table-2/report.json")).toEqual({ ...before, title: "By size" });
  });
  test("--reuse: a changed stage is run again, the others are not", async () => {
    const short = spec().replace("seed in [3, 4]", "seed in [3]");
    const at = place(short);
    await run(at);
    at.put("main.peft", short.replace("rank in [1, 2]", "rank in [1, 3]"));
    const again = await run(at, "--reuse");
    expect([...again.err.matchAll(/is finished already/g)]).toHaveLength(1);
    expect([...again.err.matchAll(/step 1\/3/g)]).toHaveLength(1);
    const without = await run(at);
    expect(without.err).not.toMatch(/is finished already/);
  });
  test("a name that no stage has", async () => {
    const { code, err } = await run(place(spec()), "--stage", "tabel");
    expect([code, err]).toEqual([1, expect.stringMatching(/P0830[\s\S]*there are: run, table/)]);
  });
});

describe("numbers in a table", () => {
  test("are written as their column's name says", () => {
    expect(shown("peak_bytes", 1_500_000)).toBe("1.50 MB");
    expect(shown("seconds", 1.26)).toBe("1.3");
    expect(shown("trained", 12345)).toBe("12 345");
    expect(shown("accuracy", { mean: 0.91234, sd: 0.0123, n: 3 })).toBe("0.912 ± 0.0123");
    expect(shown("accuracy", Number.NaN)).toBe("–");
    expect(shown("error", 0.00001234)).toBe("1.2e-5");
  });
  const table: ReportTable = {
    title: "A & B",
    columns: ["way", "x", "y"],
    rows: [
      { way: "a", x: 1, y: 2 },
      { way: "b", x: 3, y: Number.NaN },
    ],
  };
  test("texts stand left, numbers right", () => {
    expect(markdown(table)).toBe("# A & B\n\n| way | x | y |\n| --- | ---: | ---: |\n| a | 1 | 2 |\n| b | 3 | – |\n");
  });
  test("a curve leaves out what is not finite", () => {
    const svg = curve(table, { x: "x", y: "y", by: "way" });
    expect(svg).toContain("A &amp; B");
    expect([...svg.matchAll(/<circle/g)]).toHaveLength(1);
  });
});
