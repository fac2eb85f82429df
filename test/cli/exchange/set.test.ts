import { describe, expect, test } from "@jest/globals";
import { peftc, place, SPEC } from "../support.ts";

describe("--set reaches what lies inside", () => {
  const check = async (...settings: string[]) =>
    peftc(place(SPEC.replace("evaluate  = { metrics", "evaluate  = { every: 2, metrics")), [
      "check",
      "main.peft",
      ...settings.flatMap((s) => ["--set", s]),
    ]);
  test("options of attachments, of methods in a stage, fields of records, records that the file leaves out", async () => {
    expect((await check("lora.rank=2", "train.optimizer.lr=0.5", "train.evaluate.every=3", "train.checkpoint.keep=2")).out).toMatch(
      /LoRA\(rank: 2, alpha: 8[\s\S]*lora_A\.weight \[2, 16\]/,
    );
  });
  test("what is not there is refused, with what is", async () => {
    expect((await check("lora.rnk=2")).err).toMatch(/P0203.*LoRA has no `rnk`[\s\S]*did you mean `rank`/);
    expect((await check("train.optimizer.rate=2")).err).toMatch(/P0203.*adamw has no `rate`/);
    expect((await check("train.evaluate.evry=2")).err).toMatch(/P0203.*evry/);
    expect((await check("train.steps.more=2")).err).toMatch(/P0203.*`more` cannot be set from outside/);
    expect(await check("loro.rank=2")).toMatchObject({ code: 2, err: expect.stringMatching(/the attachments are: lora/) });
  });
});
