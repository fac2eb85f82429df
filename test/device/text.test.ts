/** Texts of kernels are for people too: each says where it runs, what it holds and what it computes, and can be followed. Whole ones: `text-*.test.ts`. */
import { describe, expect, test } from "@jest/globals";
import { Holdings, placesOf } from "../../src/backends/kernels/names.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Node } from "../../src/ir/graph.ts";
import { compiled, PRINTERS, textsOf } from "./support/texts.ts";

const at = (path: string): Builder => new Builder({ path });
const b = at("h.0.mlp");
const f = (name: string, ...shape: number[]): Node => b.input(name, { dtype: "f32", shape });

/** The lines of a text that are comments, without their marks. */
const head = (text: string): string[] => text.split("\n").flatMap((line) => /^(?:;;|\/\/) (.*)/.exec(line)?.[1] ?? []);

describe("the head of a kernel: where it runs, what it holds, and what it computes", () => {
  test.each(PRINTERS)("rows with reductions (%s)", async (printer) => {
    const x = f("scores", 5, 7);
    const e = b.unary("exp", b.sub(x, b.reduce("max", x, [1], true)));
    expect((await textsOf(printer, [b.div(e, b.reduce("sum", e, [1], true))])).map(head)).toEqual([
      [
        "h.0.mlp div",
        "for a0 < 5; along a row of r0 < 7",
        "  in_scores  f32[5, 7]           scores",
        "  out_y0     f32[5, 7], written  y0",
        "in_scores_0 = in_scores[7·a0 + r0]",
        "max_1 = max of in_scores_0",
        "sub_2 = sub(in_scores_0, max_1)",
        "exp_3 = exp(sub_2)",
        "sum_4 = sum of exp_3",
        "div_5 = div(exp_3, sum_4)",
        "out_y0[7·a0 + r0] = div_5",
      ],
    ]);
  });

  test.each(PRINTERS)("products, with what is done to the sum (%s)", async (printer) => {
    const y = b.dot(f("h.0.ln_2", 3, 4), b.param("h.0.mlp.c_fc.weight", [4, 5]), { lhsContract: [1], rhsContract: [0] });
    expect((await textsOf(printer, [b.add(y, b.param("h.0.mlp.c_fc.bias", [5]))])).map(head)).toEqual([
      [
        "h.0.mlp add",
        "product for b < 1, m < 3, n < 5; summed along k < 4",
        "  h_ln_2       f32[3, 4]           h.0.ln_2",
        "  c_fc_weight  f32[4, 5]           h.0.mlp.c_fc.weight",
        "  c_fc_bias    f32[5]              h.0.mlp.c_fc.bias",
        "  out_y0       f32[3, 5], written  y0",
        "h_ln_2_0 = h_ln_2[4·m + k]",
        "c_fc_weight_1 = c_fc_weight[n + 5·k]",
        "sum += h_ln_2_0·c_fc_weight_1",
        "c_fc_bias_3 = c_fc_bias[n]",
        "add_4 = add(sum, c_fc_bias_3)",
        "out_y0[5·m + n] = add_4",
      ],
    ]);
  });
});

describe("a kernel that serves several places", () => {
  const layers = (from: number): Node[] =>
    [0, 1, 2].map((i) => at(`h.${i + from}.mlp`).mul(f(`x${i}`, 6), b.param(`h.${i + from}.mlp.c_fc.weight`, [6])));

  test.each(PRINTERS)("is one, and is named after all of them (%s)", async (printer) => {
    const found = await textsOf(printer, [...layers(0), at("head").unary("tanh", f("head.z", 6))]);
    expect(found.map((text) => head(text)[0]).sort()).toEqual(["h.*.mlp mul (3 places)", "head tanh"]);
    const shared = found.find((text) => text.includes("h.*.mlp mul"))!;
    expect(head(shared)[3]).toBe("  c_fc_weight  f32[6]           h.*.mlp.c_fc.weight (3 places)");
  });

  test("places of one stack are one, in the order in which they came", () => {
    expect(placesOf(["h.0.a exp", "h.1.a exp", "goal sum"])).toEqual(["h.*.a exp (2 places)", "goal sum"]);
  });

  test("operands are named by what their places have in common, and keep what they are called apart", () => {
    const operand = { name: "x0", dtype: "f32", count: 1, access: "read" } as const;
    const named = (...places: (string | undefined)[][]): string[] => {
      const holdings = new Holdings();
      for (let i = 0; i < places[0].length; i++) holdings.add(places.map((list) => ({ name: list[i], shape: [1] })));
      const operands = places.map((_, i) => ({ ...operand, name: `x${i}` }));
      return holdings
        .named({ kind: "loop", name: "", operands, axes: [1], row: 0, values: [], stages: [] })
        .operands.map(({ name }) => name);
    };
    expect(named(["h.0.attn.c_proj.weight", "h.1.mlp.c_proj.weight"])).toEqual(["c_proj_weight"]);
    expect(named(["h.0.attn.c_attn.weight", "h.1.mlp.c_fc.weight"])).toEqual(["in_weight"]);
    expect(named(["h.0.ln_1 add", "wte gather"])).toEqual(["x0"]);
    expect(named(["h.0.mlp mul"], ["h.1.mlp mul"], [undefined])).toEqual(["mlp_mul", "mlp_mul_2", "x2"]);
    // words of the languages, and what the texts call their own
    expect(named(["static.cast"], ["shared.f32"], ["is.nan"], ["while"], ["…"])).toEqual([
      "in_static_cast",
      "in_shared_f32",
      "in_is_nan",
      "in_while",
      "x4",
    ]);
  });

  test("C that runs knows no names of a program: what is compiled serves others as well", async () => {
    const texts = async (from: number, readable: boolean) => (await compiled("c", layers(from), readable)).files![0].text;
    expect(await texts(0, false)).toBe(await texts(5, false));
    expect(await texts(0, false)).not.toContain("c_fc");
    expect(await texts(0, true)).toContain("c_fc_weight");
  });
});
