/** Stages of generation of one model have the same two graphs as long as nothing is attached in between; what draws is another in each. */
import { expect, test } from "@jest/globals";
import { compileText } from "../support/compile.ts";

const graphs = (body: string, first = "Embedding(11, 4)") => {
  const project = compileText(`
import { Linear, Embedding } from "std/nn"
import { LoRA } from "std/methods/lora"
module Noisy() {
  table = Embedding(11, 4)
  forward(ids: i32[B, S]) -> y: f32[B, S, 4] { e = table(ids)  y = e + normal(std: 0.1, like: e) }
}
module Writer() {
  inner = ${first}
  head  = Linear(4, 11)
  forward(input_ids: i32[B, S]) -> logits: f32[B, S, 11] { logits = head(inner(input_ids)) }
}
model m = Writer()
${body}
`);
  expect(project.problems.filter((p) => p.severity === "error").map((p) => p.message)).toEqual([]);
  return project.actions.flatMap((a) => (a.kind === "stage" && a.stage.verb === "generate" ? [a.stage] : []));
};
const ask = (name: string, more = "") => `generate ${name} { model = m  prompts = ["a"]  ${more} }\n`;

test("they are made once, and again after an attach, a detach, or for beams", () => {
  const attach = "attach lora = LoRA(rank: 2) to m.head\n";
  const [a, b, c, d, e, f] = graphs(
    `${ask("a")}${ask("b")}${attach}${ask("c")}${ask("d")}detach lora\n${ask("e")}${ask("f", "beams = 2")}`,
  );
  expect(b.prefill.graph).toBe(a.prefill.graph);
  expect(b.decode.graph).toBe(a.decode.graph);
  expect(d.decode.graph).toBe(c.decode.graph);
  for (const [one, other] of [
    [c, b],
    [e, d],
    [f, e],
  ])
    expect(one.decode.graph).not.toBe(other.decode.graph);
  // what each reads is asked for at its own place
  for (const stage of [a, b, c, d, e, f]) expect(stage.prefill.columns.map((column) => column.span)).toEqual([stage.span]);
});

test("what draws is drawn anew in each", () => {
  const [a, b] = graphs(ask("a") + ask("b"), "Noisy()");
  expect(b.prefill.graph).not.toBe(a.prefill.graph);
});
