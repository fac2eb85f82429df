import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { writeFile } from "../../../src/formats/files.ts";
import { openSafetensors } from "../../../src/formats/safetensors/read.ts";
import { type OutTensor, writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { convert as convertFolder, InputError } from "../../../src/index.ts";
import { type Place, peftc, place } from "../support.ts";

const LLAMA = path.resolve(import.meta.dirname, "../../../specs/examples/models/tiny-llama");

const tensor = (name: string, shape: number[], seed: number): OutTensor => ({
  name,
  shape,
  dtype: "F32",
  values: () => Float32Array.from({ length: shape[0] * (shape[1] ?? 1) }, (_, i) => Math.sin(i * 0.7 + seed)),
});

/** An adapter in PEFT's layout on the queries (of rank 2) and the way down (of rank 3) of two layers. */
function adapter(at: Place, more: Record<string, unknown> = {}): { hidden: number; inner: number; heads: number; layers: number } {
  const {
    hidden_size: hidden,
    intermediate_size: inner,
    num_attention_heads: heads,
    num_hidden_layers: layers,
  } = JSON.parse(Buffer.from(at.files.read(`${LLAMA}/config.json`, 0, at.files.stat(`${LLAMA}/config.json`)!.size)).toString());
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: LLAMA,
    r: 2,
    lora_alpha: 6,
    rank_pattern: { down_proj: 3 },
    target_modules: ["q_proj", "down_proj"],
    ...more,
  };
  at.put("adapter/adapter_config.json", JSON.stringify(config));
  const tensors = Array.from({ length: layers }, (_, i) => i).flatMap((i) => {
    const key = (module: string) => `base_model.model.model.layers.${i}.${module}`;
    const dora = more.use_dora
      ? [
          tensor(`${key("self_attn.q_proj")}.lora_magnitude_vector`, [hidden], i),
          tensor(`${key("mlp.down_proj")}.lora_magnitude_vector`, [hidden], i),
        ]
      : [];
    return [
      tensor(`${key("self_attn.q_proj")}.lora_A.weight`, [2, hidden], i),
      tensor(`${key("self_attn.q_proj")}.lora_B.weight`, [hidden, 2], i + 1),
      tensor(`${key("mlp.down_proj")}.lora_A.weight`, [3, inner], i + 2),
      tensor(`${key("mlp.down_proj")}.lora_B.weight`, [hidden, 3], i + 3),
      ...dora,
    ];
  });
  writeSafetensors(at.files, "adapter/adapter_model.safetensors", tensors);
  return { hidden, inner, heads, layers };
}

const convert = (at: Place, from: string, to: string, output: string) =>
  peftc(at, ["convert", from, "--to", to, "--output", output, "--base", LLAMA]);

const product = (b: ArrayLike<number>, a: ArrayLike<number>, rows: number, rank: number, columns: number): Float64Array => {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++)
    for (let k = 0; k < rank; k++) for (let j = 0; j < columns; j++) out[i * columns + j] += b[i * rank + k] * a[k * columns + j];
  return out;
};
const near = (a: ArrayLike<number>, b: ArrayLike<number>) => Math.max(...Array.from(a, (v, i) => Math.abs(v - b[i])));

describe("peftc convert", () => {
  test("mlx-lm has no place for adapters of single experts", async () => {
    const at = place();
    const golden = path.resolve(import.meta.dirname, "../../golden");
    const { code, err } = await peftc(at, [
      ...["convert", `${golden}/peft/h-lora-mixtral`, "--to", "mlx", "--output", "mlx", "--base", `${golden}/models/h-mixtral`],
    ]);
    expect(code).toBe(1);
    expect(err).toMatch(/experts of a layer in one tensor.*experts\.0\.w1/);
  });
  test("mlx-lm: the matrices turned, one rank and scale for all, and back again", async () => {
    const at = place();
    const { hidden, inner, layers } = adapter(at);
    expect((await convert(at, "adapter", "mlx", "mlx")).code).toBe(0);
    const config = JSON.parse(at.get("mlx/adapter_config.json"));
    expect(config).toMatchObject({
      fine_tune_type: "lora",
      num_layers: layers,
      lora_parameters: { rank: 3, keys: ["mlp.down_proj", "self_attn.q_proj"] },
    });
    const mlx = openSafetensors(at.files, "mlx/adapters.safetensors");
    const peft = openSafetensors(at.files, "adapter/adapter_model.safetensors");
    for (const [module, rank, width] of [
      ["self_attn.q_proj", 2, hidden],
      ["mlp.down_proj", 3, inner],
    ] as const) {
      const own = (name: string) => mlx.read(`model.layers.1.${module}.${name}`);
      expect(mlx.info(`model.layers.1.${module}.lora_a`).shape).toEqual([width, 3]);
      // x @ lora_a @ lora_b · scale: the update's transpose
      const update = product(own("lora_a"), own("lora_b"), width, 3, hidden);
      const key = (m: string) => peft.read(`base_model.model.model.layers.1.${module}.lora_${m}.weight`);
      const wanted = product(key("B"), key("A"), hidden, rank, width);
      let gap = 0;
      for (let i = 0; i < hidden; i++)
        for (let j = 0; j < width; j++)
          gap = Math.max(gap, Math.abs(config.lora_parameters.scale * update[j * hidden + i] - (6 / rank) * wanted[i * width + j]));
      expect(gap).toBeLessThan(1e-4);
    }
    expect((await convert(at, "mlx", "peft", "again")).code).toBe(0);
    expect(JSON.parse(at.get("again/adapter_config.json"))).toMatchObject({
      peft_type: "LORA",
      r: 3,
      target_modules: ["down_proj", "q_proj"],
    });
  });

  test("our own layout and PEFT's, without loss; where PEFT's cannot, why", async () => {
    const at = place();
    adapter(at);
    expect((await convert(at, "adapter", "peftc", "own")).code).toBe(0);
    expect(JSON.parse(at.get("own/adapter_config.json")).peft_type).toBe("PEFTC");
    expect((await convert(at, "own", "peft", "again")).code).toBe(0);
    expect(Buffer.from(at.bytes("again/adapter_model.safetensors"))).toEqual(Buffer.from(at.bytes("adapter/adapter_model.safetensors")));
    expect((await convert(at, "own", "peft", "again")).err).toMatch(/P0825/);
    expect((await convert(at, "own", "zip", "x")).code).toBe(2);
    // and from the library
    expect(convertFolder("own", { cwd: at.folder, output: "third" })).toEqual({ kind: "adapter", output: "third" });
    expect(Buffer.from(at.bytes("third/adapter_model.safetensors"))).toEqual(Buffer.from(at.bytes("adapter/adapter_model.safetensors")));
    expect(() => convertFolder("own", { cwd: at.folder, output: "third" })).toThrow(InputError);
  });

  test("GGUF: what llama.cpp reads, with rows of queries in its order and one alpha for all", async () => {
    const at = place();
    const { hidden, heads } = adapter(at);
    expect(await convert(at, "adapter", "gguf", "a.gguf")).toMatchObject({ code: 0, out: "wrote a.gguf\n", err: "" });
    const { facts, tensors } = readGguf(at.bytes("a.gguf"));
    expect(facts).toEqual({ "general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 6 });
    expect([...tensors.keys()].sort().slice(0, 4)).toEqual([
      "blk.0.attn_q.weight.lora_a",
      "blk.0.attn_q.weight.lora_b",
      "blk.0.ffn_down.weight.lora_a",
      "blk.0.ffn_down.weight.lora_b",
    ]);
    const peft = openSafetensors(at.files, "adapter/adapter_model.safetensors");
    const down = tensors.get("blk.1.ffn_down.weight.lora_b")!;
    expect(down.sizes).toEqual([3, hidden]);
    expect(near(down.data, peft.read("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"))).toBe(0);
    // rows [heads, 2, half] become [heads, half, 2]
    const up = peft.read("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight");
    const half = hidden / heads / 2;
    const rows = Array.from({ length: heads }, (_, h) =>
      Array.from({ length: half }, (_, i) => [0, 1].map((p) => (h * 2 + p) * half + i)),
    ).flat(2);
    expect([...tensors.get("blk.1.attn_q.weight.lora_b")!.data]).toEqual(rows.flatMap((r) => [up[2 * r], up[2 * r + 1]]));

    adapter(at, { use_dora: true });
    expect((await convert(at, "adapter", "gguf", "b.gguf")).err).toMatch(/P0671[\s\S]*magnitudes of DoRA/);
    expect(at.has("b.gguf")).toBe(false);
    expect((await convert(at, "adapter", "mlx", "dora")).code).toBe(0);
    expect(openSafetensors(at.files, "dora/adapters.safetensors").info("model.layers.0.mlp.down_proj.m").shape).toEqual([hidden]);
  });
  test("folders of LoRAs as the rows of one bank, of one rank and scale, and apart again", async () => {
    const at = place();
    const { hidden, inner, layers } = adapter(at);
    for (const name of ["adapter_config.json", "adapter_model.safetensors"])
      writeFile(at.files, `many/2/${name}`, at.bytes(`adapter/${name}`));
    // the second has another scale, and the way down alone
    adapter(at, { lora_alpha: 3, target_modules: ["down_proj"] });
    const store = openSafetensors(at.files, "adapter/adapter_model.safetensors");
    writeFile(at.files, "many/10/adapter_config.json", at.bytes("adapter/adapter_config.json"));
    const kept = [...store.tensors.values()].filter(({ name }) => name.includes("down_proj"));
    writeSafetensors(
      at.files,
      "many/10/adapter_model.safetensors",
      kept.map(({ name, shape }) => ({ name, shape, dtype: "F32", values: () => store.read(name) })),
    );
    const made = await convert(at, "many", "bank", "bank");
    expect([made.code, made.out]).toEqual([0, "0 is many/2\n1 is many/10\nwrote bank\n"]);
    const [part] = JSON.parse(at.get("bank/adapter_config.json")).parts;
    expect(part).toMatchObject({ method: "LoRABank", options: { count: 2, rank: 3 } });
    expect(part.sites).toHaveLength(2 * layers);

    expect((await convert(at, "bank", "peft", "apart")).code).toBe(0);
    const update = (folder: string, module: string, width: number) => {
      const own = openSafetensors(at.files, `${folder}/adapter_model.safetensors`);
      const { lora_alpha } = JSON.parse(at.get(`${folder}/adapter_config.json`));
      const [a, b] = ["A", "B"].map((end) => `base_model.model.model.layers.1.${module}.lora_${end}.weight`);
      if (!own.tensors.has(a)) return new Float64Array(hidden * width);
      const [rank] = own.info(a).shape;
      return product(own.read(b), own.read(a), hidden, rank, width).map((v) => (v * lora_alpha) / rank);
    };
    for (const [row, folder] of ["many/2", "many/10"].entries())
      for (const [module, width] of [
        ["self_attn.q_proj", hidden],
        ["mlp.down_proj", inner],
      ] as const) {
        const wanted = update(folder, module, width);
        expect(near(update(`apart/${row}`, module, width), wanted)).toBeLessThan(1e-6 * Math.max(1, ...wanted.map(Math.abs)));
      }
    expect((await convert(at, "apart/0", "bank", "none")).err).toMatch(/P0660.*folders of adapters/);
  });
});

/** A reader of its own, after the format's description. */
function readGguf(bytes: Uint8Array): { facts: Record<string, unknown>; tensors: Map<string, { sizes: number[]; data: Float32Array }> } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let at = 4;
  expect(new TextDecoder().decode(bytes.subarray(0, 4))).toBe("GGUF");
  const past = (bytes: number) => {
    at += bytes;
    return at - bytes;
  };
  const u32 = () => view.getUint32(past(4), true);
  const u64 = () => Number(view.getBigUint64(past(8), true));
  const text = () => {
    const n = u64();
    const start = past(n);
    return new TextDecoder().decode(bytes.subarray(start, at));
  };
  expect(u32()).toBe(3);
  const [count, facts] = [u64(), u64()];
  const known: Record<string, unknown> = {};
  for (let i = 0; i < facts; i++) {
    const name = text();
    const type = u32();
    expect([6, 8]).toContain(type);
    known[name] = type === 8 ? text() : view.getFloat32(past(4), true);
  }
  const infos = Array.from({ length: count }, () => {
    const name = text();
    const sizes = Array.from({ length: u32() }, u64);
    expect(u32()).toBe(0);
    return { name, sizes, offset: u64() };
  });
  const start = Math.ceil(at / 32) * 32;
  const tensors = new Map(
    infos.map(({ name, sizes, offset }) => {
      expect(offset % 32).toBe(0);
      const n = sizes.reduce((a, b) => a * b, 1);
      return [name, { sizes, data: new Float32Array(bytes.slice(start + offset, start + offset + 4 * n).buffer) }] as const;
    }),
  );
  return { facts: known, tensors };
}
