/** Optimisers of `std/optimizers`: numbers in 8 bits, what states weigh. That they compute what PyTorch and the papers do: the cases `train/h-*` of the goldens. */
import { expect, test } from "@jest/globals";
import { bind } from "../../src/ir/bind.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { meaning, runWasm } from "../device/support/run.ts";
import { compileText } from "../support/compile.ts";
import { errorsOf, predictOf } from "./support.ts";

/** The numbers of bitsandbytes' dynamic type from 0 on; `first`: how many the lowest of seven decades has. */
const numbers = (first: number): number[] => [
  0,
  ...[0, 1, 2, 3, 4, 5, 6].flatMap((i) => {
    const cells = first * 2 ** i;
    return Array.from({ length: cells }, (_, j) => 10 ** (i - 6) * (0.1 + (0.9 * (j + 0.5)) / cells));
  }),
  1,
];

test("8 bits: every magnitude goes to the nearest number of the dynamic type, on both devices", async () => {
  const p = compileText(`import { number, place } from "std/optimizers/adamw8"
module probe() {
  forward(x: f32[B]) -> k: f32[B], u: f32[B], n: f32[B], w: f32[B] {
    k = place(x, 1)
    u = place(x, 2)
    n = number(k, 1)
    w = number(u, 2)
  }
}
goal = probe()
predict look { objective = goal  data = jsonl("x")  columns = ["k", "u", "n", "w"] }
`);
  expect(errorsOf(p)).toEqual([]);
  expect([numbers(1).length, numbers(2).length]).toEqual([129, 256]);
  // away from where two are equally near
  const midway = [1, 2].flatMap((first) => numbers(first).map((x, i, all) => (i === 0 ? x / 2 : (x + all[i - 1]) / 2)));
  const drawn = Array.from({ length: 4000 }, (_, i) => 10 ** (-8 + (8 * i) / 4000));
  const xs = [0, 1, ...numbers(1), ...numbers(2), ...drawn].filter((x) => midway.every((m) => Math.abs(x - m) > 1e-4 * m)).map(Math.fround);
  const graph = bind(predictOf(p, "look").entry.graph, new Map([["B", xs.length]]));
  const given = { params: new Map(), states: new Map(), inputs: new Map([["x", tensor("f32", [xs.length], xs)]]) };
  for (const seen of [meaning(graph, given), await runWasm(graph, given)]) {
    const column = (name: string) => {
      const found = [...seen].find(([key]) => key.endsWith(name))![1];
      return Array.from("data" in found ? found.data : found);
    };
    for (const [first, k, n] of [
      [1, "k", "n"],
      [2, "u", "w"],
    ] as const) {
      // biome-ignore format: rows
      const all = numbers(first);
      const [places, back] = [column(k), column(n)];
      const wrong = xs.filter((x, i) => {
        const best = all.reduce((b, v, at) => (Math.abs(v - x) < Math.abs(all[b] - x) ? at : b), 0);
        return places[i] !== best || Math.abs(back[i] - all[best]) > 1e-6 * all[best];
      });
      expect(wrong.slice(0, 5)).toEqual([]);
    }
  }
});

test.each([
  ["adamw()", "std/training", 8],
  ["lion()", "std/optimizers/lion", 4],
  ["adamw8()", "std/optimizers/adamw8", 2 + 8 / 256],
  ["adamw8(block: 64)", "std/optimizers/adamw8", 2 + 8 / 64],
  ["adafactor()", "std/optimizers/adafactor", (4 * (96 + 128)) / (96 * 128)],
  ["muon()", "std/optimizers/muon", 4],
])("%s keeps so many bytes for each element of a matrix", (call, from, bytes) => {
  const p = compileText(`import { Linear } from "std/nn"
import { ${call.slice(0, call.indexOf("("))} } from "${from}"
module goal(m: Linear) { forward(x: f32[B, 96]) -> loss: f32[] { loss = mean(m(x) ** 2) } }
model m = Linear(96, 128, bias: false)
train { objective = goal(m)  data = jsonl("x")  optimizer = ${call}  steps = 1 }
`);
  expect(errorsOf(p)).toEqual([]);
  const all = [...p.states.values()].reduce((sum, { shape }) => sum + 4 * shape.map(Number).reduce((a, b) => a * b, 1), 0);
  expect(all / (96 * 128)).toBeCloseTo(bytes, 6);
});
