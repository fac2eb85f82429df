/** What `check` and `plan` say of `reverse`, on stacks of the library and on one written out in the file. */
import { expect, test } from "@jest/globals";
import { peftc, place } from "./support.ts";

const bert = (wiring: string, layers = 4): string => `import { BertForSequenceClassification } from "std/models/bert"
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
  optimizer = sgd(lr: 0.1)
  steps     = 1
  reverse   = "exact"
}
`;
const own = (first: string): string => `method Own() on [Block] {
  a = x
  b = x
  for f in blocks {
    y1 = ${first}
    y2 = b + f(y1)
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
    "own.bert.encoder (4 turns) runs backwards: no, mul of own.bert.encoder (main.peft:12): the factor is no static number",
  );
});

test("check says what runs backwards, and how wide its streams are", async () => {
  const text = await said(bert(own("a + f(b)")));
  expect(text).toContain("own.bert.encoder (4 turns) runs backwards: yes");
  expect(text).toContain("own.bert.encoder (4 turns): streams have 64 bits, as no norm keeps them from growing by 1.00 a turn");
  expect(await said(bert("attach wiring = MEFT3() to bert.bert.encoder.layer"))).not.toContain("64 bits");
});

test("where the end of a stack reads the first token only, the turns before it run backwards all the same", async () => {
  const text = await said(bert("attach wiring = MEFT1(size: 2) to bert.bert.encoder.layer", 6));
  expect(text).toMatch(
    /wiring.bert.encoder \(6 turns\) runs backwards: turns 1 to 4; the others no, .*: only a part of what is carried goes on/,
  );
});
