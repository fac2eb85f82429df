/** Weighted sums of adapters: equal to PEFT 0.21's `add_weighted_adapter` on `test/golden/combined`, and what is no sum. */
import { readFileSync } from "node:fs";
import { expect, test } from "@jest/globals";
import { compile } from "../../src/compiler/compile.ts";
import { WAYS } from "../../src/formats/adapters/combine.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { nearest, nearestOfProduct, product } from "../../src/formats/adapters/truncated.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { drawInto, keyOf } from "../../src/ir/random.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { Sources } from "../../src/train/compiler-host.ts";
import { ValueStore } from "../../src/train/values.ts";
import { call, predictOf } from "./support.ts";

interface Asked {
  readonly adapters: readonly string[];
  readonly weights: readonly number[];
  readonly how: string;
  readonly [option: string]: unknown;
}
const files = new NodeFiles();
const mappings = readMappings(files, "specs/std/methods", "specs/std/models");
const asked = JSON.parse(readFileSync("test/golden/combined/cases.json", "utf8")) as Asked[];
const io = openSafetensors(files, "test/golden/combined/io.safetensors");
const ids = tensor("i32", io.info("in.input_ids").shape, Float64Array.from(io.read("in.input_ids")));

const HEAD = `import { LlamaForCausalLM } from "std/models/llama"
model m = LlamaForCausalLM from "test/golden/models/llama-lm"
`;
function compiled(body: string) {
  const sources = new Sources(
    files,
    { source: (path) => readFileSync(`specs/${path}`, "utf8") },
    mappings,
    new Map([["main.peft", HEAD + body]]),
  );
  return { p: compile("main.peft", sources), sources };
}
const load = (name: string) => `load("test/golden/combined/${name}")`;
const text = ({ adapters, weights, ...more }: Asked): string =>
  `combine([${adapters.map(load).join(", ")}], [${weights.join(", ")}]${Object.entries(more)
    .map(([k, v]) => `, ${k}: ${JSON.stringify(v)}`)
    .join("")})`;

test("every way has a case", () => {
  const made = new Set(asked.map(({ how }) => how));
  expect(WAYS.filter((way) => !made.has(way))).toEqual([]);
});

test.each(asked.map((one, i) => [text(one).replaceAll("test/golden/combined/", ""), one, i] as const))("%s", (_, one, i) => {
  const { p, sources } = compiled(`attach x = ${text(one)} to m\npredict look { model = m  data = jsonl("x")  columns = ["logits"] }\n`);
  expect(p.problems).toEqual([]);
  const [B, S] = ids.shape as [number, number];
  const entry = predictOf(p, "look").entry;
  const out = call(
    p,
    entry,
    new ValueStore(p, sources.open),
    {
      input_ids: ids,
      attention_mask: tensor(
        "bool",
        [B, S],
        ids.data.map(() => 1),
      ),
    },
    new Map([
      ["B", B],
      ["S", S],
    ]),
  );
  const seen = [...out].find(([key]) => key.endsWith("logits"))![1].data;
  const wanted = Float32Array.from(io.read(`out.c${i}`));
  const gap = wanted.reduce((most, v, at) => Math.max(most, Math.abs(v - seen[at])), 0);
  expect(gap / Math.max(...wanted.map(Math.abs))).toBeLessThan(1e-4);
});

test.each([
  ['[load("A"), load("B")], [1]', /1 weights for 2 adapters/],
  ['[load("A"), load("B")], [1, 1], how: "mean"', /no combination `mean`/],
  ['[load("A"), load("B")], [1, 1], how: "ties"', /wants a density/],
  ['[load("A"), load("B")], [1, 1], how: "svd", density: 0.5', /prunes nothing/],
  ['[load("A"), load("B")], [1, 1], how: "ties", density: 1.5', /density is 1.5/],
  ['[load("A"), load("B")], [1, 1], how: "linear", rank: 3', /chooses no rank/],
  ['[load("A"), load("B")], [1, 1], how: "linear", sign: "total"', /elects no signs/],
  ['[load("A"), load("C")], [1, 1], how: "linear"', /ranks 4 and 2 at `model\.layers\.0\.self_attn\.[qv]_proj`/],
])("combine(%s) is refused", (args, why) => {
  const here = args.replace(/load\("(\w)"\)/g, (_, name: string) => load(name.toLowerCase()));
  const { problems } = compiled(`attach x = combine(${here}) to m\n`).p;
  expect(problems.map(({ code, message }) => `${code} ${message}`).join()).toMatch(why);
  expect(problems[0].code).toBe("P0672");
});

const drawn = (rows: number, columns: number, seed: number) => {
  const out = new Float64Array(rows * columns);
  drawInto(out, "normal", keyOf(seed, "drawn"), 0);
  return out;
};
const far = (x: Float64Array, { up, down, rank }: ReturnType<typeof nearest>, rows: number, columns: number) =>
  Math.sqrt(product(up, down, rows, rank, columns).reduce((sum, v, i) => sum + (v - x[i]) ** 2, 0));

test("the nearest matrix of a rank: of a large one by a subspace, of a product by way of a small one", () => {
  // rank 20 with falling values, and noise; above the size from which the subspace is turned
  const [rows, columns] = [430, 400];
  const up = drawn(rows, 20, 1).map((v, i) => v * 0.7 ** (i % 20));
  const x = product(up, drawn(20, columns, 2), rows, 20, columns);
  const exact = nearestOfProduct(up, drawn(20, columns, 2), rows, columns, 20, 6);
  const turned = nearest(x, rows, columns, 6);
  const least = far(x, exact, rows, columns);
  expect(least).toBeGreaterThan(1);
  expect(Math.abs(far(x, turned, rows, columns) / least - 1)).toBeLessThan(1e-6);
  expect(far(x, nearest(x, rows, columns, 20), rows, columns)).toBeLessThan(1e-6);
});
