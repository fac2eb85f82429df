/** Checkpoints as other tools leave them: quantised, wrapped, as torch's files. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { checkServed, matchCheckpoint, openCheckpoint } from "../../src/formats/checkpoint.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { unwrapped } from "../../src/formats/names.ts";
import { QUANT_METHODS } from "../../src/formats/quantised/read.ts";
import { codes as CODES } from "../../src/ground/codes.ts";
import { refusal } from "../support/refusal.ts";
import { type Raw, raw } from "./raw-tensor.ts";
import { pickled, type Stored, torchLegacy, torchZip } from "./torch-file.ts";

const f32 = (shape: readonly number[], values: readonly number[]) => raw("F32", shape, Float32Array.from(values));

function folder(tensors: Readonly<Record<string, Raw>>, config: object = {}): MemoryFiles {
  const header: Record<string, object> = {};
  const data: number[] = [];
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [data.length, data.length + bytes.length] };
    data.push(...bytes);
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return new MemoryFiles([
    ["m/model.safetensors", bytes],
    ["m/config.json", JSON.stringify(config)],
  ]);
}
const open = (tensors: Readonly<Record<string, Raw>>, config: object = {}) => openCheckpoint(folder(tensors, config), "m")!;

/** Numbers below 2^bits, some each of the extremes. */
const codes = (count: number, bits: number, salt = 7) => Array.from({ length: count }, (_, i) => (i * salt + (i >> 3) * 5) % 2 ** bits);
/** A stream of numbers in words, the first in the lowest bits. */
function stream(numbers: readonly number[], bits: number): number[] {
  let all = 0n;
  numbers.forEach((n, i) => {
    all |= BigInt(n) << BigInt(i * bits);
  });
  return Array.from({ length: Math.ceil((numbers.length * bits) / 32) }, (_, k) => Number((all >> BigInt(32 * k)) & 0xffffffffn));
}
const words = (shape: readonly number[], values: readonly number[]) => raw("I32", shape, Uint32Array.from(values));

describe("quantised weights are what they stand for", () => {
  const [out, inputs] = [8, 32];
  const at = (o: number, i: number) => o * inputs + i;
  const scale = Array.from({ length: 64 }, (_, i) => (i + 1) / 64);

  test.each([2, 3, 4, 8])("GPTQ in %d bits: zeros less one, inputs in any order of groups", (bits) => {
    const groups = 2;
    const [q, z] = [codes(out * inputs, bits), codes(groups * out, bits, 3).map((x) => Math.max(1, x))];
    const index = Array.from({ length: inputs }, (_, i) => (i * 3) % groups);
    const rows = Array.from({ length: out }, (_, o) =>
      stream(
        Array.from({ length: inputs }, (_, i) => q[at(o, i)]),
        bits,
      ),
    );
    const zeros = Array.from({ length: groups }, (_, g) =>
      stream(
        Array.from({ length: out }, (_, o) => z[g * out + o] - 1),
        bits,
      ),
    ).flat();
    const tensors = {
      "l.qweight": words(
        [rows[0].length, out],
        rows[0].flatMap((_, k) => rows.map((row) => row[k])),
      ),
      "l.qzeros": words([groups, zeros.length / groups], zeros),
      "l.scales": f32([groups, out], scale.slice(0, groups * out)),
      "l.g_idx": raw("I32", [inputs], Int32Array.from(index)),
    };
    const store = open(tensors, { quantization_config: { quant_method: "gptq", bits, group_size: 16 } });
    expect([...store.tensors.keys()]).toEqual(["l.weight"]);
    expect(store.info("l.weight").shape).toEqual([out, inputs]);
    const wanted = q.map((code, k) => {
      const [o, g] = [Math.floor(k / inputs), index[k % inputs]];
      return Math.fround(scale[g * out + o] * (code - z[g * out + o]));
    });
    expect([...store.read("l.weight")]).toEqual(wanted);
    const second = open(tensors, { quantization_config: { quant_method: "gptq", bits, group_size: 16, checkpoint_format: "gptq_v2" } });
    expect(second.read("l.weight")[0]).toBeCloseTo(scale[0] * (q[0] - z[0] + 1), 6);
  });

  test("AWQ: columns in the order of its kernels", () => {
    // a word's parts hold the columns 0, 2, 4, 6, 1, 3, 5, 7
    const order = [0, 2, 4, 6, 1, 3, 5, 7];
    const word = (columns: readonly number[]) => order.reduce((sum, column, part) => sum + columns[column] * 16 ** part, 0);
    const [q, z] = [codes(out * inputs, 4), codes(2 * out, 4, 3)];
    const store = open(
      {
        "l.qweight": words(
          [inputs, 1],
          Array.from({ length: inputs }, (_, i) => word(Array.from({ length: out }, (_, o) => q[at(o, i)]))),
        ),
        "l.qzeros": words(
          [2, 1],
          [0, 1].map((g) => word(z.slice(g * out, g * out + out))),
        ),
        "l.scales": f32([2, out], scale.slice(0, 16)),
      },
      { quantization_config: { quant_method: "awq", bits: 4, group_size: 16, version: "gemm" } },
    );
    const wanted = q.map((code, k) => {
      const [o, g] = [Math.floor(k / inputs), Math.floor((k % inputs) / 16)];
      return Math.fround(scale[g * out + o] * (code - z[g * out + o]));
    });
    expect([...store.read("l.weight")]).toEqual(wanted);
  });

  test.each([4, 8])("compressed-tensors, packed in %d bits, with and without zeros", (bits) => {
    const [q, z] = [codes(out * inputs, bits), codes(2 * out, bits, 3)];
    const rows = Array.from({ length: out }, (_, o) => stream(q.slice(at(o, 0), at(o, inputs)), bits)).flat();
    const zeroColumns = [0, 1].map((g) =>
      stream(
        Array.from({ length: out }, (_, o) => z[o * 2 + g]),
        bits,
      ),
    );
    const tensors = {
      "l.weight_packed": words([out, rows.length / out], rows),
      "l.weight_scale": f32([out, 2], scale.slice(0, 16)),
      "l.weight_shape": raw("I64", [2], BigInt64Array.of(BigInt(out), BigInt(inputs))),
    };
    const config = {
      quantization_config: {
        quant_method: "compressed-tensors",
        format: "pack-quantized",
        config_groups: { group_0: { weights: { num_bits: bits } } },
      },
    };
    const wanted = (zero: (o: number, g: number) => number) =>
      q.map((code, k) => {
        const [o, g] = [Math.floor(k / inputs), Math.floor((k % inputs) / 16)];
        return Math.fround(scale[o * 2 + g] * (code - zero(o, g)));
      });
    expect([...open(tensors, config).read("l.weight")]).toEqual(wanted(() => 2 ** (bits - 1)));
    const shifted = {
      ...tensors,
      "l.weight_zero_point": words(
        [zeroColumns[0].length, 2],
        zeroColumns[0].flatMap((_, k) => zeroColumns.map((c) => c[k])),
      ),
    };
    expect([...open(shifted, config).read("l.weight")]).toEqual(wanted((o, g) => z[o * 2 + g]));
  });

  test("FP8 in blocks, by row, as a whole; whole numbers of 8 bits with zeros", () => {
    // 0x38 is 1, 0x40 is 2 in E4M3
    const weight = raw(
      "F8_E4M3",
      [3, 4],
      Uint8Array.from({ length: 12 }, (_, i) => (i % 2 ? 0x40 : 0x38)),
    );
    const fp8 = (more: Record<string, Raw>, quant: object) => [
      ...open({ "l.weight": weight, ...more }, { quantization_config: quant }).read("l.weight"),
    ];
    expect(fp8({ "l.weight_scale_inv": f32([2, 2], [1, 2, 3, 4]) }, { quant_method: "fp8", weight_block_size: [2, 2] })).toEqual([
      1, 2, 2, 4, 1, 2, 2, 4, 3, 6, 4, 8,
    ]);
    expect(fp8({ "l.weight_scale": f32([3, 1], [1, 2, 3]), "l.input_scale": f32([1], [9]) }, { quant_method: "fbgemm_fp8" })).toEqual([
      1, 2, 1, 2, 2, 4, 2, 4, 3, 6, 3, 6,
    ]);
    const compressed = { quant_method: "compressed-tensors", format: "float-quantized" };
    expect(fp8({ "l.weight_scale": f32([1], [0.5]) }, compressed).slice(0, 2)).toEqual([0.5, 1]);
    const int = open(
      {
        "l.weight": raw("I8", [2, 2], Int8Array.of(-1, 2, 3, -4)),
        "l.weight_scale": f32([2, 1], [2, 10]),
        "l.weight_zero_point": raw("I8", [2, 1], Int8Array.of(1, -1)),
      },
      { quantization_config: { ...compressed, format: "int-quantized" } },
    );
    expect([...int.read("l.weight")]).toEqual([-4, 2, 40, -30]);
  });

  test("mlx: scale and offset of each group, a module with numbers of its own, in words without a sign", () => {
    const [q4, q8] = [codes(2 * 32, 4), codes(2 * 32, 8)];
    const store = open(
      {
        "a.weight": raw("U32", [2, 4], Uint32Array.from([...stream(q4.slice(0, 32), 4), ...stream(q4.slice(32), 4)])),
        "a.scales": f32([2, 1], [0.5, 2]),
        "a.biases": f32([2, 1], [-1, 3]),
        "b.weight": raw("U32", [2, 8], Uint32Array.from([...stream(q8.slice(0, 32), 8), ...stream(q8.slice(32), 8)])),
        "b.scales": f32([2, 1], [0.5, 2]),
        "b.biases": f32([2, 1], [-1, 3]),
        "norm.weight": f32([2], [1, 2]),
      },
      { quantization: { group_size: 32, bits: 4, b: { group_size: 32, bits: 8 } } },
    );
    const wanted = (q: readonly number[]) => q.map((code, i) => (i < 32 ? 0.5 * code - 1 : 2 * code + 3));
    expect([...store.read("a.weight")]).toEqual(wanted(q4));
    expect([...store.read("b.weight")]).toEqual(wanted(q8));
    expect([...store.read("norm.weight")]).toEqual([1, 2]);
  });

  const map = Array.from({ length: 16 }, (_, i) => i / 8 - 1);
  const state = (more: object) => {
    const bytes = new TextEncoder().encode(JSON.stringify({ quant_type: "nf4", blocksize: 4, dtype: "float32", shape: [2, 4], ...more }));
    return raw("U8", [bytes.length], bytes);
  };
  const nf4 = {
    "l.weight": raw("U8", [4, 1], Uint8Array.of(0x01, 0x23, 0x89, 0xef)),
    "l.weight.quant_map": f32([16], map),
  };
  test("bitsandbytes in 4 bits, the scales plain or packed in 8 bits, with or without a word in config.json", () => {
    const plain = { ...nf4, "l.weight.absmax": f32([2], [1, 10]), "l.weight.quant_state.bitsandbytes__nf4": state({}) };
    const wanted = [0, 1, 2, 3].map((c) => map[c]).concat([8, 9, 14, 15].map((c) => Math.fround(map[c]) * 10));
    for (const config of [{ quantization_config: { quant_method: "bitsandbytes", load_in_4bit: true } }, {}])
      expect([...open(plain, config).read("l.weight")].map((x) => Math.fround(x))).toEqual(wanted.map(Math.fround));
    const nested = {
      ...nf4,
      "l.weight.absmax": raw("U8", [2], Uint8Array.of(3, 200)),
      "l.weight.nested_absmax": f32([1], [2]),
      "l.weight.nested_quant_map": f32(
        [256],
        Array.from({ length: 256 }, (_, i) => i / 256),
      ),
      "l.weight.quant_state.bitsandbytes__nf4": state({ nested_blocksize: 256, nested_offset: 0.25 }),
    };
    const values = open(nested).read("l.weight");
    expect(values[0]).toBeCloseTo(map[0] * ((3 / 256) * 2 + 0.25), 6);
    expect(values[7]).toBeCloseTo(map[15] * ((200 / 256) * 2 + 0.25), 6);
  });
  test("bitsandbytes in 8 bits: one scale a row, over 127", () => {
    const tensors = {
      "l.weight": raw("I8", [2, 2], Int8Array.of(127, -127, 1, 0)),
      "l.SCB": f32([2], [1, 254]),
      "l.weight_format": raw("U8", [], Uint8Array.of(0)),
    };
    expect([...open(tensors, { quantization_config: { quant_method: "bitsandbytes" } }).read("l.weight")]).toEqual([1, -1, 2, 0]);
    const tiled = { ...tensors, "l.weight_format": raw("U8", [], Uint8Array.of(2)) };
    expect(refusal(() => open(tiled, { quantization_config: { quant_method: "bitsandbytes" } }))).toMatch(/^P0643[\s\S]*weight_format 2/);
  });

  test("what is packed in another way, or lacks a part, is refused by name, with what to use instead", () => {
    const weight = { "l.weight": f32([1], [1]) };
    for (const quant_method of ["hqq", "aqlm", "mxfp4", "torchao", "quanto"])
      expect(refusal(() => open(weight, { quantization_config: { quant_method } }))).toMatch(
        new RegExp(`^P0643 .*quantization_config: ${quant_method}[\\s\\S]*read are ${QUANT_METHODS.join(", ")}[\\s\\S]*unquantised base`),
      );
    const quantised = (quantization_config: object, tensors: Record<string, Raw> = {}) =>
      refusal(() => open({ ...weight, ...tensors }, { quantization_config }));
    expect(quantised({ quant_method: "awq", version: "gemv" })).toMatch(/^P0643 .*"gemv" is not read/);
    expect(quantised({ quant_method: "gptq", bits: 5 })).toMatch(/5 bits are not read/);
    expect(quantised({ quant_method: "compressed-tensors", format: "nvfp4-pack-quantized" })).toMatch(/nvfp4-pack-quantized is not read/);
    expect(quantised({ quant_method: "compressed-tensors", format: "dense", sparsity_config: { format: "sparse-24-bitmask" } })).toMatch(
      /sparse-24/,
    );
    expect(refusal(() => open(weight, { quantization: { mode: "mxfp4" } }))).toMatch(/^P0643[\s\S]*mxfp4/);
    expect(quantised({ quant_method: "gptq", bits: 4 }, { "q.qweight": words([4, 8], codes(32, 8)) })).toMatch(
      /^P0644 .*gptq.*`q.scales` is missing/,
    );
    expect(refusal(() => open({ "q.qweight": words([1, 1], [1]) }))).toMatch(/^P0643 .*`q.qweight`.*no quantization_config/);
    expect(
      refusal(() =>
        open({ ...nf4, "l.weight.absmax": f32([2], [1, 1]), "l.weight.quant_state.bitsandbytes__nf4": raw("U8", [4], new Uint8Array(4)) }),
      ),
    ).toMatch(/^P0644 .*bitsandbytes[\s\S]*no JSON object[\s\S]*unquantised base/);
    expect(
      refusal(() =>
        open({ "l.qweight": words([1, 1], [1]) }, { model_type: "gpt2", quantization_config: { quant_method: "gptq", bits: 4 } }),
      ),
    ).toMatch(/of gpt2 are not read/);
  });

  test("whole numbers that nothing explains, and empty tensors, serve no parameter", () => {
    const serve = (tensor: Raw) => {
      const store = open({ w: tensor });
      checkServed(store, matchCheckpoint([{ path: "w", shape: [2] }], store.tensors), "m");
    };
    expect(refusal(() => serve(f32([2], [1, 2])))).toBe("nothing was refused");
    expect(refusal(() => serve(raw("I8", [2], Int8Array.of(1, 2))))).toMatch(/^P0643 .*`w` as whole numbers \(I8\)/);
    expect(refusal(() => serve(f32([0], [])))).toMatch(/^P0646 .*`w` of `m` is empty[\s\S]*ZeRO-3/);
  });
});

test("the page on folders has a row for each packing, and codes that there are", () => {
  const page = readFileSync("docs/folders.md", "utf8");
  const rows = [...page.matchAll(/^\| `([\w-]+)` \|/gm)].map(([, name]) => name);
  expect(rows).toEqual(["quant_method", ...QUANT_METHODS]);
  for (const [code] of page.matchAll(/P0\d{3}/g)) expect(CODES).toHaveProperty(code);
});

describe("names", () => {
  test("what wrappers put in front or inside is left out", () => {
    for (const name of [
      "a.b.weight",
      "_orig_mod.a.b.weight",
      "module.a.b.weight",
      "module._orig_mod.a.b.weight",
      "_fsdp_wrapped_module.a._fsdp_wrapped_module.b.weight",
      "a._checkpoint_wrapped_module.b._orig_mod.weight",
    ])
      expect(unwrapped(name)).toBe("a.b.weight");
    expect(unwrapped("model.module.weight")).toBe("model.module.weight");
    expect(refusal(() => open({ "module.w": f32([1], [1]), w: f32([1], [1]) }))).toMatch(/^P0642 .*`module.w` and `w`/);
  });
  test("a whole model saved from inside PEFT is found; one that still holds its adapter is refused", () => {
    const names = ["embed.weight", "layers.0.q.weight", "layers.1.q.weight"];
    const tensors = new Map(names.map((name) => [`base_model.model.${name}`, { shape: [1] }]));
    const match = matchCheckpoint(
      names.map((path) => ({ path, shape: [1] })),
      tensors,
    );
    expect([match.missing, match.leftOver, match.prefix]).toEqual([[], [], { kind: "adds", name: "base_model.model" }]);
    for (const name of ["base_model.model.q.base_layer.weight", "q.lora_A.default.weight", "score.modules_to_save.default.weight"])
      expect(refusal(() => open({ [name]: f32([1], [1]) }))).toMatch(/^P0645[\s\S]*merge_and_unload/);
  });
});

describe("torch's files", () => {
  const bytes = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const tensors: Record<string, Stored> = {
    "a.weight": { shape: [2, 3], storage: "FloatStorage", count: 6, data: bytes(Float32Array.of(1, 2, 3, 4, 5, 6)) },
    turned: { shape: [3, 2], strides: [1, 3], storage: "FloatStorage", count: 6, data: bytes(Float32Array.of(1, 2, 3, 4, 5, 6)) },
    part: { shape: [2], start: 3, storage: "HalfStorage", count: 5, data: bytes(Uint16Array.of(0, 0, 0, 0x3c00, 0xc000)) },
    brain: { shape: [], storage: "BFloat16Storage", count: 1, data: bytes(Uint16Array.of(0x3f80)) },
    n: { shape: [1], storage: "LongStorage", count: 1, data: bytes(BigInt64Array.of(-5n)) },
  };
  const put = (data: Uint8Array, name = "pytorch_model.bin") => openCheckpoint(new MemoryFiles([[`m/${name}`, data]]), "m")!;

  test.each([
    ["an archive", torchZip(tensors)],
    ["pickles one behind the other", torchLegacy(tensors)],
  ])("%s", (_name, data) => {
    const store = put(data);
    expect([...store.tensors.keys()].sort()).toEqual(Object.keys(tensors).sort());
    expect([...store.read("a.weight")]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...store.read("turned")]).toEqual([1, 4, 2, 5, 3, 6]);
    expect([...store.read("part")]).toEqual([1, -2]);
    expect([...store.read("brain"), ...store.read("n")]).toEqual([1, -5]);
  });

  test("shards, and safetensors before them", () => {
    const { "a.weight": a, brain } = tensors;
    const files = new MemoryFiles([
      ["m/pytorch_model-1.bin", torchZip({ a })],
      ["m/pytorch_model-2.bin", torchZip({ brain })],
      ["m/pytorch_model.bin.index.json", JSON.stringify({ weight_map: { a: "pytorch_model-1.bin", brain: "pytorch_model-2.bin" } })],
    ]);
    expect([...openCheckpoint(files, "m")!.read("a")]).toEqual([1, 2, 3, 4, 5, 6]);
    files.content.set("m/model.safetensors", folder({ a: f32([1], [9]) }).content.get("m/model.safetensors")!);
    expect([...openCheckpoint(files, "m")!.read("a")]).toEqual([9]);
  });

  const text = (s: string) => [...new TextEncoder().encode(s)];
  const call = (module: string, name: string, arg: string) => [
    0x63,
    ...text(`${module}\n${name}\n`),
    0x58,
    arg.length,
    0,
    0,
    0,
    ...text(arg),
    0x85,
    0x52,
  ];
  test("nothing is run: other functions, attributes, other instructions, values beyond the file", () => {
    const { "a.weight": a } = tensors;
    const evil = (extra: readonly number[]) => refusal(() => put(torchZip({ a }, pickled({ a }, false, extra))));
    expect(evil(call("os", "system", "true"))).toMatch(/^P0669 .*calls `os.system`/);
    expect(evil(call("builtins", "eval", "1"))).toMatch(/`builtins.eval`/);
    expect(evil([0x28, 0x69, ...text("os\nsystem\n")])).toMatch(/instruction 0x69/);
    expect(evil([0x82, 1])).toMatch(/instruction 0x82/);
    expect(evil([0x4b, 1, 0x7d, 0x62])).toMatch(/attributes of an object/);
    expect(refusal(() => put(torchZip({ a: { ...a, shape: [7] } })))).toMatch(/`a` reaches beyond its bytes/);
    expect(refusal(() => put(torchZip({ a: { ...a, strides: [3, 99] } })))).toMatch(/`a` reaches beyond its bytes/);
    expect(refusal(() => put(torchZip({})))).toMatch(/no tensors/);
    const whole = torchZip({ a });
    for (let length = 0; length < whole.length; length += 3) expect(refusal(() => put(whole.slice(0, length)))).toMatch(/^P0669/);
    const old = torchLegacy({ a });
    for (let length = 0; length < old.length; length += 3) expect(refusal(() => put(old.slice(0, length)))).toMatch(/^P0669/);
  });
  test("any byte changed gives tensors or a refusal, and never anything else", () => {
    const { "a.weight": a, part } = tensors;
    for (const whole of [torchZip({ a, part }), torchLegacy({ a, part })])
      for (let i = 0; i < whole.length; i++)
        for (const flip of [1, 0x80, 0xff]) {
          const damaged = whole.slice();
          damaged[i] ^= flip;
          refusal(() => {
            const store = put(damaged);
            for (const name of store.tensors.keys()) store.read(name);
          });
        }
  });
});
