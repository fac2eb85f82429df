/** What `check` and `plan` say of `reverse`, on stacks of the library and on one written out in the file. */
import { expect, test } from "@jest/globals";
import type { Program } from "../../src/ground/program.ts";
import { type Place, peftc, place } from "./support.ts";

const bert = (
  wiring: string,
  layers = 4,
  reverse = `"exact"`,
  steps = 1,
): string => `import { BertForSequenceClassification } from "std/models/bert"
import { Block } from "std/nn"
import { MEFT1, MEFT3 } from "std/couplings"
import { classification } from "std/objectives"
import { sgd } from "std/training"
model bert = BertForSequenceClassification(vocab_size: 300, hidden_size: 8, num_hidden_layers: ${layers}, num_attention_heads: 2,
  intermediate_size: 16, max_position_embeddings: 16, num_labels: 2, tokenizer: tokenizer("models/tiny"))
${wiring}
train {
  objective = classification(bert)
  data      = jsonl("rows.jsonl", input: "{text}", label: "label")
  params    = new
  sequence  = 12
  optimizer = sgd(lr: 1e-3)
  batch     = 2
  shuffle   = false
  steps     = ${steps}
  checkpoint = { every: 1 }
  reverse   = ${reverse}
}
`;
const own = (first: string, second = "b + f(y1)"): string => `method Own() on [Block] {
  a = x
  b = x
  for f in blocks {
    y1 = ${first}
    y2 = ${second}
    a, b = y1, y2
  }
  y := a + b
}
attach own = Own() to bert.bert.encoder.layer`;

async function said(spec: string): Promise<string> {
  const { out, err } = await peftc(place(spec), ["check", "main.peft"]);
  return out + err;
}

test("check names the line of what keeps a loop from running backwards", async () => {
  const text = await said(bert(own("a * f(b)")));
  expect(text).toContain(
    "own.bert.encoder (4 iterations) runs backwards: no, mul of own.bert.encoder (main.peft:12): the factor is no static number",
  );
});

test("check says what runs backwards, and how wide its streams are", async () => {
  const text = await said(bert(own("a + f(b)")));
  expect(text).toContain("own.bert.encoder (4 iterations) runs backwards: yes");
  expect(text).toContain("own.bert.encoder (4 iterations): streams have 64 bits, as no norm keeps them from growing by 1.00 an iteration");
  expect(await said(bert("attach wiring = MEFT3() to bert.bert.encoder.layer"))).not.toContain("64 bits");
});

test("where only the first token is read behind a stack, all of its iterations run backwards all the same", async () => {
  const text = await said(bert("attach wiring = MEFT1(size: 2) to bert.bert.encoder.layer", 6));
  expect(text).toContain("wiring.bert.encoder (6 iterations) runs backwards: yes");
});

const ROWS = ["the sea", "a king of old", "what is", "the way of it"].map((text, i) => JSON.stringify({ text, label: i % 2 })).join("\n");
/** Trains a file in a folder of its own; gives the lines, and the losses. */
async function trained(spec: string, again?: Place, more: readonly string[] = [], interruptAfter?: number): Promise<Run> {
  const at = again ?? place(spec);
  if (!again) at.put("rows.jsonl", ROWS);
  const run = await peftc(at, ["train", "main.peft", "--device", "wasm", "--json", ...more], { interruptAfter });
  const events = run.events();
  const notes = events.filter((e) => e.event === "note").map((e) => String(e.message));
  return {
    at,
    notes,
    losses: events.filter((e) => e.event === "step").map((e) => Number(e.loss)),
    err: events
      .filter((e) => e.severity === "error")
      .map((e) => String(e.message))
      .join(),
  };
}
interface Run {
  readonly at: Place;
  readonly notes: string[];
  readonly losses: number[];
  readonly err: string;
}

test("beyond its bound a run in f32 keeps values more often, says so, and loses nothing", async () => {
  const wiring = own("a + f(sin(400 * b))", "b + f(sin(400 * y1))");
  const run = await trained(bert(wiring, 3, "1e-5"));
  const said = run.notes.join("\n");
  expect(said).toMatch(
    /rebuilt values are off by .* after \d+ iterations: an error grows by .* an iteration, as with Jacobians of norm .*; the bound was .*, for 1/,
  );
  expect(said).toMatch(
    /more than `reverse` allows: the step is made again, and values are kept every (iteration|\d iterations) from here on/,
  );
  expect([run.err, run.losses.length]).toEqual(["", 1]);
  const stored = await trained(bert(wiring, 3, "0"));
  run.losses.forEach((loss, i) => expect(Math.abs(loss - stored.losses[i])).toBeLessThan(1e-2 * stored.losses[i]));
}, 300_000);

test("a stream out of its range costs bits of fraction, which a resumed run goes on with", async () => {
  const spec = bert(own("0.1 * a + 1000 * f(b)", "0.1 * b + 1000 * f(y1)"), 3, `"exact"`, 2);
  const whole = await trained(spec);
  expect(whole.notes.filter((n) => n.includes("left the range"))).toEqual([
    "a stream left the range of ±256: the step is made again, and streams have 20 bits of fraction from here on",
    "a stream left the range of ±1024: the step is made again, and streams have 18 bits of fraction from here on",
  ]);
  const part = await trained(spec, undefined, [], 7);
  expect(part.losses.length).toBeLessThan(2);
  const rest = await trained(spec, part.at, ["--resume"]);
  expect(rest.notes.filter((n) => n.includes("left the range"))).toEqual([]);
  expect([...part.losses, ...rest.losses]).toEqual(whole.losses);
}, 300_000);

test("a built program runs backwards as the trained one does, and asks its caller for nothing more", async () => {
  const at = place(bert(own("0.1 * a + 1000 * f(b)", "0.1 * b + 1000 * f(y1)"), 3));
  at.put("rows.jsonl", ROWS);
  const { out, err } = await peftc(at, ["build", "main.peft", "-o", "built"]);
  expect([out, err]).toEqual([expect.stringContaining("index.mjs runs step"), ""]);
  expect(at.get("built/index.d.ts")).not.toContain("reverse");
  const program = JSON.parse(at.get("built/program.json")) as Program;
  const [step] = program.entries.filter((e) => e.name === "step");
  expect(step.inputs).toEqual(expect.arrayContaining(["reverse_scale", "reverse_unit"]));
  // the generated call, on a session whose first runs leave the range
  const seen: number[] = [];
  const text = at.get("built/index.mjs");
  const streaming = new Function(`${text.slice(text.indexOf("function streaming"), text.indexOf("/** Opens"))}; return streaming;`)();
  const facts = JSON.parse(/streaming\(session, "step", (\{.*\})\)/.exec(text)![1]);
  const session = {
    run: async (_: string, inputs: Record<string, number>) => {
      seen.push(inputs.reverse_scale);
      return { loss: [1], reverse_range: [Number(seen.length < 3)], reverse_check: [0] };
    },
  };
  expect(await streaming(session, "step", facts)({})).toEqual({ loss: [1] });
  expect(seen).toEqual([2 ** 22, 2 ** 20, 2 ** 18]);
  const broken = { run: async () => ({ reverse_range: [0], reverse_check: [1] }) };
  await expect(streaming(broken, "step", facts)({})).rejects.toThrow("not those that were there");
}, 300_000);
