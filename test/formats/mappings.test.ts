/** Mappings `*.hf.json`: what they may say, what is told of mistakes, and a user's own beside a method of theirs. */

import { expect, test } from "@jest/globals";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { readText } from "../../src/formats/files.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { artefactsFor } from "../../src/train/run/artefacts.ts";
import { programOf } from "../methods/program.ts";

const library = readMappings(new NodeFiles(), "specs/std/methods");
const bytes = (text: string) => new TextEncoder().encode(text);

test.each([
  [{ peft: { X: { method: [] } } }, "peft.X lacks `methods`"],
  [{ peft: { X: { methods: [{ method: "M", options: {}, param: {} }] } } }, "peft.X.methods[0] has `param`, which nothing reads"],
  [
    { peft: { X: { methods: [{ method: "M", options: { rank: { feild: "r" } } }] } } },
    "peft.X.methods[0].options.rank has `feild`, which nothing reads",
  ],
  [
    { peft: { X: { methods: [{ method: "M", options: { rank: { first: [{ feild: "r" }] } } }] } } },
    "peft.X.methods[0].options.rank.first[0] has `feild`",
  ],
  [{ peft: [] }, "peft is a list of 0 where an object is wanted"],
  [{ adapters: {} }, "adapters is an object where a list is wanted"],
  [{ pefft: {} }, "has `pefft`, which nothing reads; it may have peft, adapters"],
  [{ renamed: { "(": "x" } }, "`(` is no regular expression"],
])("%j", (file, message) => {
  const files = new MemoryFiles();
  files.append("maps/x.hf.json", bytes(JSON.stringify(file)));
  expect(() => readMappings(files, "maps")).toThrow(message);
});

const METHOD = `import { Linear } from "std/nn"
method Doubled(rank: int = 2) on Linear {
  param down: f32[rank, in_features] = normal(std: 0.02)
  param up:   f32[out_features, rank] = 0
  y := y + 2 * (x @ down.T) @ up.T
}
`;
const MAP = {
  peft: {
    DOUBLED: {
      fields: { r: 8 },
      methods: [
        { method: "Doubled", options: { rank: { field: "r", size: ["down", 0] } }, params: { down: "doubled_A", up: "doubled_B" } },
      ],
    },
  },
};
const HEAD = `import { GPT2LMHeadModel } from "std/models/gpt2"
import { Doubled } from "own/doubled"
model m = GPT2LMHeadModel(vocab_size: 11, n_positions: 16, n_embd: 8, n_layer: 1, n_head: 2)
`;

const program = (body: string, files: MemoryFiles) => programOf(HEAD + body, library, files);

test("a method of one's own with a mapping beside it is saved as its type, and read as that", () => {
  const files = new MemoryFiles();
  files.append("own/doubled.peft", bytes(METHOD));
  files.append("own/doubled.hf.json", bytes(JSON.stringify(MAP)));
  const { p, sources, values } = program("attach a = Doubled(rank: 3) to m.**.c_fc", files);
  expect(p.problems.map((x) => `${x.code} ${x.message}`)).toEqual([]);
  artefactsFor(p, files, sources.mappings).adapter("out", { attachments: ["a"], models: [], heads: [], objectives: [] }, (n) =>
    values.param(n),
  );
  const config = JSON.parse(readText(files, "out/adapter_config.json"));
  expect([config.peft_type, config.r]).toEqual(["DOUBLED", 3]);

  const again = program('attach a = load("out") to m', files);
  expect(again.p.problems.map((x) => `${x.code} ${x.message}`)).toEqual([]);
  expect(again.p.attachments[0].method).toBe("Doubled");
  const [name] = Object.values(again.p.attachments[0].sites[0].params);
  expect(again.values.param(name)).toEqual(values.param(name));

  // without the mapping the type is nobody's
  files.remove("own/doubled.hf.json");
  expect(program('attach a = load("out") to m', files).p.problems.map((x) => x.code)).toContain("P0662");
});
