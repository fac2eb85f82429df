import type { Dim } from "../../../ir/dim.ts";
import { torchNormal, torchRandperm, torchUniform } from "../../../ir/mt19937.ts";
import { count } from "../../../ir/ops/tensor.ts";
import { context } from "../context.ts";
import { Start, type Value } from "../values.ts";
import { BuiltinTable, type Call } from "./table.ts";

/**
 * Random numbers. As a start a draw takes its shape from the declaration; elsewhere from `like`. A draw in a step is a function of the
 * seed, the stage, the step, the site, which call of it, and which draw in its text.
 */
export const draws = new BuiltinTable("Random numbers");

function draw(c: Call, kind: "uniform" | "normal", shape: readonly Dim[]) {
  const ctx = context();
  const key = c.evaluator.drawKey(c.here, c.expr, c.span);
  return c.build((b) =>
    b.draw(
      kind,
      shape,
      b.table(key, [2], "i32"),
      ctx.mode === "start" ? b.constant(0, "i32") : b.input("step", { dtype: "i32", shape: [] }),
    ),
  );
}

draws.add(
  "normal",
  "Normal numbers. As the start of a parameter they have its shape, elsewhere that of `like`; in a step they are drawn anew each time, from the seed and the step.",
  [
    { name: "std", optional: true },
    { name: "mean", optional: true },
    { name: "like", optional: true },
  ],
  ({ std, mean, like }, c) => {
    const [s, m] = [std === undefined ? 1 : c.num(std, "std"), mean === undefined ? 0 : c.num(mean, "mean")];
    if (like === undefined) return new Start("normal", m, s, c.span);
    const { shape } = c.node(like).type;
    return c.tensor(c.build((b) => b.add(b.mul(draw(c, "normal", shape), s), m)));
  },
);
draws.add(
  "uniform",
  "Numbers from `low` on, below `high`; shapes and seeds as for `normal`.",
  [{ name: "low" }, { name: "high" }, { name: "like", optional: true }],
  ({ low, high, like }, c) => {
    const [a, b] = [c.num(low!, "low"), c.num(high!, "high")];
    if (like === undefined) return new Start("uniform", a, b - a, c.span);
    const { shape } = c.node(like).type;
    return c.tensor(c.build((bd) => bd.add(bd.mul(draw(c, "uniform", shape), b - a), a)));
  },
);
// as a parameter's start: it is frozen, as if it were declared so
draws.add(
  "fixed",
  "The start of a parameter that is never trained, as if it were declared `frozen`.",
  [{ name: "start" }],
  ({ start }) => start!,
);
draws.add(
  "bernoulli",
  "True with probability `p`, for each element of `like` anew in each step.",
  [{ name: "p" }, { name: "like" }],
  ({ p, like }, c) => {
    if (typeof p === "number" && !(p >= 0 && p <= 1)) c.fail("P0205", `\`bernoulli\` takes a probability from 0 to 1, this is ${p}`);
    const { shape } = c.node(like!).type;
    return c.tensor(c.build((b) => b.compare("lt", draw(c, "uniform", shape), c.operand(p!))));
  },
);
// the first numbers of the permutation of 0..n that PyTorch draws for a seed: what adapters of other tools name by their seed only
draws.add(
  "torch_randperm",
  "The first numbers of the permutation of 0..n−1 that PyTorch draws for a seed: what some adapters' folders name by their seed alone.",
  [{ name: "n" }, { name: "seed" }, { name: "first", optional: true }],
  ({ n, seed, first }, c) => {
    const size = c.int(n!, "n");
    const count = first === undefined ? size : c.int(first, "first");
    if (size < 1 || size >= 2 ** 31) c.fail("P0205", `\`torch_randperm\` orders from 1 to 2³¹ − 1 numbers, this asks for ${size}`);
    if (count < 1 || count > size) c.fail("P0205", `the first ${count} of ${size} numbers`);
    return c.tensor(c.build((b) => b.table([...torchRandperm(size, c.int(seed!, "seed"), count)], [count], "i32")));
  },
);
// numbers between two that PyTorch draws for a seed, behind `skip` others; "bf16": as it fills a tensor of that type
draws.add(
  "torch_uniform",
  'The numbers that PyTorch draws between two for a seed, behind `skip` others; `format: "bf16"` as it fills a tensor of that type.',
  [
    { name: "low" },
    { name: "high" },
    { name: "shape" },
    { name: "seed" },
    { name: "skip", optional: true },
    { name: "format", optional: true },
  ],
  ({ low, high, shape, seed, skip, format }, c) => {
    const type = format ?? "f32";
    if (type !== "f32" && type !== "bf16") return c.fail("P0205", `\`format\` of \`torch_uniform\` is "f32" or "bf16"`);
    const sizes = sizesOf(shape, c);
    const before = skip === undefined ? 0 : c.int(skip, "skip");
    const values = torchUniform(count(sizes), c.num(low!, "low"), c.num(high!, "high"), c.int(seed!, "seed"), before, type);
    return c.tensor(c.build((b) => b.table(Array.from(values), sizes)));
  },
);
// normal numbers that PyTorch draws for a seed
draws.add(
  "torch_normal",
  "The normal numbers that PyTorch draws for a seed.",
  [{ name: "std" }, { name: "shape" }, { name: "seed" }],
  ({ std, shape, seed }, c) => {
    const sizes = sizesOf(shape, c);
    const values = torchNormal(count(sizes), c.num(std!, "std"), c.int(seed!, "seed"));
    return c.tensor(c.build((b) => b.table(Array.from(values), sizes)));
  },
);

function sizesOf(shape: Value | undefined, c: Call): number[] {
  return c.list(shape, "shape").map((size) => c.int(size, "shape"));
}
