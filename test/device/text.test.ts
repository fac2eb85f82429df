/** Texts of kernels are for people too: each says where it runs and what it computes, and can be followed. */
import { describe, expect, test } from "@jest/globals";
import type { TargetOptions } from "../../src/backends/backend.ts";
import { compileProgram } from "../../src/backends/compile.ts";
import { placesOf } from "../../src/backends/kernels/describe.ts";
import { guaranteed } from "../../src/ground/limits.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Node } from "../../src/ir/graph.ts";
import { outputs } from "./support/run.ts";

const at = (path: string): Builder => new Builder({ path });
const b = at("h.0.mlp");
const f = (name: string, ...shape: number[]): Node => b.input(name, { dtype: "f32", shape });

const TARGETS = {
  wasm: { target: "wasm", arithmetic: "plain", workers: 1 },
  native: { target: "native", machine: { lanes: 8, registers: 16 }, workers: 1 },
  webgpu: { target: "webgpu", limits: { ...guaranteed, deviceClass: "software" } },
} as const satisfies Record<string, TargetOptions>;

async function texts(target: keyof typeof TARGETS, ...nodes: readonly Node[]): Promise<string[]> {
  const { program, files } = await compileProgram([{ name: "main", graph: outputs(...nodes) }], TARGETS[target]);
  if (target === "webgpu") return program.kernels.map((k) => k.code.trim());
  if (target === "native") return [files![0].text.slice(files![0].text.indexOf("// for")).split("\n\nvoid peftc_call")[0]];
  return program
    .wat!.split("\n")
    .slice(2, -2)
    .join("\n")
    .split(/\n(?=;; \S.*\n;; (?:for|product|rows|running|the k))/);
}
/** The lines of a text that are comments, without their marks. */
const head = (text: string): string[] => text.split("\n").flatMap((line) => /^;; (.*)/.exec(line)?.[1] ?? []);
const heads = async (...nodes: readonly Node[]): Promise<string[][]> => (await texts("wasm", ...nodes)).map(head);

const softmax = (): Node => {
  const x = f("x", 5, 7);
  const e = b.unary("exp", b.sub(x, b.reduce("max", x, [1], true)));
  return b.div(e, b.reduce("sum", e, [1], true));
};

describe("the head of a kernel: where it runs, sizes, and what it computes", () => {
  test("rows with reductions", async () => {
    expect(await heads(softmax())).toEqual([
      [
        "h.0.mlp div",
        "for a0 < 5; along a row of a1 < 7",
        "x0 f32[35]; out1 f32[35], written",
        "  v0 = x0[7·a0 + a1]",
        "  v1 = max of v0",
        "  v2 = sub(v0, v1)",
        "  v3 = exp(v2)",
        "  v4 = sum of v3",
        "  v5 = div(v3, v4)",
        "  out1[7·a0 + a1] = v5",
      ],
    ]);
  });

  test("products, with what is done to the sum", async () => {
    const y = b.dot(f("a", 3, 4), b.param("w", [4, 5]), { lhsContract: [1], rhsContract: [0] });
    expect(await heads(b.add(y, b.param("bias", [5])))).toEqual([
      [
        "h.0.mlp add",
        "product for a0 < 1, a1 < 3, a2 < 5; summed along a3 < 4",
        "x0 f32[12]; x1 f32[20]; x2 f32[5]; out3 f32[15], written",
        "  v0 = x0[4·a1 + a3]",
        "  v1 = x1[a2 + 5·a3]",
        "  sum += v0·v1",
        "  v3 = x2[a2]",
        "  v4 = add(sum, v3)",
        "  out3[5·a1 + a2] = v4",
      ],
    ]);
  });

  test("a kernel of several places is named after all of them", async () => {
    const layers = [0, 1, 2].map((i) => at(`h.${i}.mlp`).unary("exp", b.param(`w${i}`, [6])));
    const found = await heads(...layers, at("head").unary("tanh", f("z", 6)));
    expect(found.map(([place]) => place)).toEqual(expect.arrayContaining(["h.*.mlp exp (3 places)", "head tanh"]));
    expect(placesOf(["h.0.a exp", "h.1.a exp", "goal sum"])).toEqual(["h.*.a exp (2 places)", "goal sum"]);
  });
});

describe("the text itself", () => {
  test("WGSL", async () => {
    expect((await texts("webgpu", softmax())).map((text) => text.replace(/^\/\/.*\n/gm, ""))).toEqual([
      `@group(0) @binding(0) var<storage, read_write> x0: array<f32>;
@group(0) @binding(1) var<storage, read_write> out1: array<f32>;
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn larger(x: f32, y: f32) -> f32 { return select(max(x, y), x + y, is_nan(x) || is_nan(y)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 5) { return; }

  var max0_0 = -0x1.fffffep+127f;
  for (var r0 = 0; r0 < 7; r0++) {
    let v0 = x0[7 * at + r0];
    max0_0 = larger(max0_0, v0);
  }

  var sum1_0 = 0.0;
  for (var r0 = 0; r0 < 7; r0++) {
    let v0 = x0[7 * at + r0];
    sum1_0 = sum1_0 + exp(v0 - max0_0);
  }

  for (var r0 = 0; r0 < 7; r0++) {
    let v0 = x0[7 * at + r0];
    out1[7 * at + r0] = exp(v0 - max0_0) / sum1_0;
  }
}`,
    ]);
  });

  test("C", async () => {
    expect(await texts("native", b.add(f("x", 2, 6), f("y", 2, 6)))).toEqual([
      `// for a0 < 12
// x0 f32[12]; x1 f32[12]; out2 f32[12], written
//   v0 = x0[a0]
//   v1 = x1[a0]
//   v2 = add(v0, v1)
//   out2[a0] = v2
__attribute__((noinline)) void k_h_0_mlp_add(const f32a *restrict x0, const f32a *restrict x1, f32a *restrict out2, ix from, ix to, char *scratch) {
  for (ix u_0 = from; u_0 < to; u_0 += 1) {
    ix x_1 = 0;
    for (; x_1 < 8; x_1 += 8) {
      vf8 const v0_2 = *(const uf8 *)(x0 + x_1);
      vf8 const v1_3 = *(const uf8 *)(x1 + x_1);
      vf8 const v2_4 = v0_2 + v1_3;
      __builtin_memcpy(out2 + x_1, &v2_4, 32);
    }
    {
      ix const x_5 = 8;
      vf8 const v0_6 = *(const uf8 *)(x0 + x_5);
      vf8 const v1_7 = *(const uf8 *)(x1 + x_5);
      vf8 const v2_8 = v0_6 + v1_7;
      __builtin_memcpy(out2 + x_5, &v2_8, 16);
    }
  }
}`,
    ]);
  });

  test("WebAssembly", async () => {
    const [text] = await texts("wasm", b.add(f("x", 2, 6), f("y", 2, 6)));
    expect(text.replace(/^;;.*\n/gm, "")).toBe(
      `(func (export "h.0.mlp_add") (param $from i32) (param $to i32) (param $scratch i32) (param $x0 i32) (param $x1 i32) (param $out2 i32)
  (local $u_0 i32)
  (local $at_2 i32)
  (local $at_3 i32)
  (local $at_4 i32)
  (local $x_5 i32)
  (local $v0_7 v128)
  (local $v1_8 v128)
  (local $v2_9 v128)
  (local.set $u_0 (local.get $from))
  (if (i32.lt_s (local.get $u_0) (local.get $to)) (then (loop $loop_1
    (local.set $at_2 (local.get $x0))
    (local.set $at_3 (local.get $x1))
    (local.set $at_4 (local.get $out2))
    (local.set $x_5 (i32.const 0))
    (if (i32.lt_s (local.get $x_5) (i32.const 48)) (then (loop $loop_6
      (local.set $v0_7 (v128.load  (i32.add (local.get $at_2) (local.get $x_5))))
      (local.set $v1_8 (v128.load  (i32.add (local.get $at_3) (local.get $x_5))))
      (local.set $v2_9 (f32x4.add (local.get $v0_7) (local.get $v1_8)))
      (v128.store  (i32.add (local.get $at_4) (local.get $x_5)) (local.get $v2_9))
      (local.set $x_5 (i32.add (local.get $x_5) (i32.const 16)))
      (br_if $loop_6 (i32.lt_s (local.get $x_5) (i32.const 48)))
    )))
    (local.set $u_0 (i32.add (local.get $u_0) (i32.const 1)))
    (br_if $loop_1 (i32.lt_s (local.get $u_0) (local.get $to)))
  )))
)`,
    );
  });
});
