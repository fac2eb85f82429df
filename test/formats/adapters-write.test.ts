import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import type { AdapterFolder } from "../../src/formats/adapters/folder.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import type { OutAdapter, OutAttachment, OutParam } from "../../src/formats/adapters/out.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { chooseTargets, moduleTree } from "../../src/formats/adapters/targets.ts";
import { writeAdapter } from "../../src/formats/adapters/write.ts";
import { openCheckpoint } from "../../src/formats/checkpoint.ts";
import { readConfig } from "../../src/formats/config.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { openSafetensors } from "../../src/formats/safetensors/read.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { asTrained } from "../support/as-trained.ts";

interface Case {
  readonly name: string;
  readonly kind: string;
  readonly dir: string;
  readonly base: string;
  readonly made_with?: string;
}
const golden = new NodeFiles("test/golden");
const mappings = readMappings(new NodeFiles(), "specs/std/methods");
// in the later ones sets of names stand in any order, so that bytes say nothing: the goldens' own test reads and writes those
const cases = (JSON.parse(readFileSync("test/golden/manifest.json", "utf8")) as { cases: Case[] }).cases.filter(
  ({ kind, made_with }) => kind === "peft" && made_with === undefined,
);

/** Which modules peft would adapt. */
function targeted(config: Record<string, unknown>, modules: readonly string[]): string[] {
  const names = config.target_modules as string[];
  const layers = config.layers_to_transform as number[] | null;
  return modules.filter(
    (module) =>
      names.some((name) => module === name || module.endsWith(`.${name}`)) &&
      (layers === null || layers === undefined || layers.includes(Number(/\.(\d+)\./.exec(module)?.[1]))),
  );
}

/** Fields whose spelling may differ: names that peft spelt out for `all-linear`, and the network that made a prefix, which the file does not hold. */
const ELSEWISE: Readonly<Record<string, readonly string[]>> = {
  "lora-llama-all": ["target_modules"],
  "dora-bert-all": ["target_modules"],
  "prefix-gpt2-proj": ["encoder_hidden_size", "prefix_projection"],
};
const pick = (record: Record<string, unknown>, keys: readonly string[]) => Object.fromEntries(keys.map((key) => [key, record[key]]));
const modules = (base: string) => moduleTree([...openCheckpoint(golden, base)!.tensors.keys()]);

describe("a golden adapter read and written is the same", () => {
  test.each(cases.map((c) => [c.name, c] as const))("%s", (name, { dir, base }) => {
    const folder = readAdapter(golden, dir, mappings)!;
    const files = new MemoryFiles();
    const trained = asTrained(golden, folder, base);
    const [written, ...more] = writeAdapter(files, "out", trained, mappings);
    expect(more).toEqual([]);
    expect(written).toMatchObject({ layout: "peft", reasons: [], type: folder.config.peft_type });

    const mine = new TextDecoder().decode(files.content.get("out/adapter_config.json")!);
    const theirs = readFileSync(`test/golden/${dir}/adapter_config.json`, "utf8");
    const [ours, peft] = [mine, theirs].map((text) => JSON.parse(text) as Record<string, unknown>);
    const spared = ELSEWISE[name] ?? [];
    if (spared.length === 0) expect(mine).toBe(theirs);
    expect({ ...ours, ...pick(peft, spared) }).toEqual(peft);
    if (Array.isArray(peft.target_modules)) expect(targeted(ours, modules(base))).toEqual(targeted(peft, modules(base)));

    const weights = Buffer.from(files.content.get("out/adapter_model.safetensors")!);
    expect(weights.equals(readFileSync(`test/golden/${dir}/adapter_model.safetensors`))).toBe(true);
  });
});

const files = () => new MemoryFiles();
const param = (...shape: number[]): OutParam => ({ shape, values: () => new Float32Array(shape.reduce((a, b) => a * b, 1)) });
const lora = (name: string, rank: number, alpha: number, paths: readonly string[], more: Record<string, unknown> = {}): OutAttachment => ({
  name,
  method: "LoRA",
  from: "std/methods/lora",
  options: { rank, alpha, dropout: 0, rslora: false, bias: false, ...more },
  sites: paths.map((path) => ({ path, params: { "lora_A.weight": param(rank, 32), "lora_B.weight": param(32, rank) } })),
  shared: {},
});
function adapter(base: string, attachments: readonly OutAttachment[], heads: Record<string, OutParam> = {}): OutAdapter {
  const config = readConfig(golden, base)!;
  const shapes = new Map([...openCheckpoint(golden, base)!.tensors.values()].map(({ name, shape }) => [name, shape]));
  return { attachments, heads, base: { name: base, module: (config.architectures as string[])[0], config, shapes } };
}
const configOf = (memory: MemoryFiles, folder = "out") =>
  JSON.parse(new TextDecoder().decode(memory.content.get(`${folder}/adapter_config.json`)!));

describe("what peft says by pattern, layer and name", () => {
  const q = [0, 1].map((i) => `bert.encoder.layer.${i}.attention.self.query`);
  const k = [0, 1].map((i) => `bert.encoder.layer.${i}.attention.self.key`);
  test("several ranks and alphas in one folder come back as parts", () => {
    const memory = files();
    const written = writeAdapter(
      memory,
      "out",
      adapter("models/bert-cls", [lora("a", 4, 8, [...q, k[0]]), lora("b", 2, 8, [k[1]])]),
      mappings,
    );
    expect(written).toEqual([{ folder: "out", layout: "peft", attachments: ["a", "b"], type: "LORA", reasons: [] }]);
    expect(configOf(memory)).toMatchObject({
      r: 4,
      rank_pattern: { "1\\.attention\\.self\\.key": 2 },
      alpha_pattern: {},
      target_modules: ["key", "query"],
    });
    const parts = readAdapter(memory, "out", mappings)!.parts;
    expect(parts.map((part) => [part.options.rank, part.sites.map((site) => site.path)])).toEqual([
      [4, [k[0], q[0], q[1]]],
      [2, [k[1]]],
    ]);
  });
  test("alphas by pattern", () => {
    const memory = files();
    writeAdapter(memory, "out", adapter("models/bert-cls", [lora("a", 4, 8, q), lora("b", 4, 3, [k[0]])]), mappings);
    expect(readAdapter(memory, "out", mappings)!.parts.map((part) => part.options.alpha)).toEqual([3, 8]);
  });
  test("some layers only", () => {
    const memory = files();
    writeAdapter(memory, "out", adapter("models/bert-cls", [lora("a", 4, 8, [q[1], k[1]])]), mappings);
    expect(configOf(memory)).toMatchObject({ target_modules: ["key", "query"], layers_to_transform: [1] });
  });
  test("different modules in different layers need longer names", () => {
    const chosen = chooseTargets([q[0], k[1]], moduleTree([...q, ...k].map((module) => `${module}.weight`)));
    expect(chosen).toEqual({ modules: ["0.attention.self.query", "1.attention.self.key"] });
  });
  test("AdaLoRA's schedule is one that peft accepts", () => {
    const memory = files();
    const options = {
      rank: 4,
      target: 2,
      alpha: 8,
      dropout: 0,
      begin: 5,
      end: 7,
      every: 1,
      beta1: 0.85,
      beta2: 0.85,
      orth: 0.5,
      settle: true,
    };
    const sites = q.map((path) => ({ path, params: { lora_A: param(4, 32), lora_B: param(32, 4), lora_E: param(4, 1) } }));
    writeAdapter(
      memory,
      "out",
      adapter("models/bert-cls", [{ name: "a", method: "AdaLoRA", from: "std/methods/adalora.peft", options, sites, shared: {} }]),
      mappings,
    );
    expect(configOf(memory)).toMatchObject({ peft_type: "ADALORA", init_r: 4, target_r: 2, tinit: 5, tfinal: 7, total_step: 13 });
    expect(readAdapter(memory, "out", mappings)!.parts[0].options).toEqual(options);
    // before anything was learned all of E is 0, and nothing is left out
    expect(configOf(memory).rank_pattern).toBe(null);

    // rows that the allocation has silenced are left out of the file, as peft does: one of four remain in the first site, none in the second
    const numbers = (values: number[], ...shape: number[]): OutParam => ({ shape, values: () => values });
    const count = Array.from({ length: 128 }, (_, i) => i + 1);
    const trained = q.map((path, i) => ({
      path,
      params: {
        lora_A: numbers(count, 4, 32),
        lora_B: numbers(count, 32, 4),
        lora_E: numbers([0, 0, i === 0 ? 5 : 0, 0], 4, 1),
      },
    }));
    const out = adapter("models/bert-cls", [
      { name: "a", method: "AdaLoRA", from: "std/methods/adalora", options, sites: trained, shared: {} },
    ]);
    const thin = files();
    writeAdapter(thin, "out", out, mappings);
    expect(configOf(thin)).toMatchObject({
      init_r: 4,
      rank_pattern: { [`${q[0]}.lora_E`]: [false, false, true, false], [`${q[1]}.lora_E`]: [false, false, false, false] },
    });
    const stored = openSafetensors(thin, "out/adapter_model.safetensors");
    expect([...stored.tensors.values()].map(({ shape }) => shape.join())).toEqual(["1,32", "32,1", "1,1", "0,32", "32,0", "0,1"]);
    expect([...stored.read(`base_model.model.${q[0]}.lora_B`)]).toEqual(Array.from({ length: 32 }, (_, i) => 4 * i + 3));
    // and come back, as 0, where they were
    const back = readAdapter(thin, "out", mappings)!;
    expect(back.parts).toHaveLength(1);
    expect(back.parts[0].options).toEqual(options);
    const [first, second] = back.parts[0].sites.map((site) =>
      Object.fromEntries(Object.entries(site.params).map(([n, key]) => [n, [...back.read(key)]])),
    );
    expect(first.lora_E).toEqual([0, 0, 5, 0]);
    expect(first.lora_A).toEqual(count.map((v, i) => (Math.floor(i / 32) === 2 ? v : 0)));
    expect(first.lora_B).toEqual(count.map((v, i) => (i % 4 === 2 ? v : 0)));
    expect(second.lora_A).toEqual(count.map(() => 0));
    expect(back.shapes[back.parts[0].sites[1].params.lora_B]).toEqual([32, 4]);
    // once more it is the same
    const again = files();
    const copy = asTrained(golden, back, "models/bert-cls");
    writeAdapter(again, "out", { ...copy, origin: back }, mappings);
    for (const name of ["adapter_config.json", "adapter_model.safetensors"])
      expect(Buffer.from(again.content.get(`out/${name}`)!)).toEqual(Buffer.from(thin.content.get(`out/${name}`)!));
    // a list of another adapter is no list of these tensors
    const config = { ...configOf(thin), rank_pattern: { [`${q[0]}.lora_E`]: [false, true, true, false] } };
    const odd = new MemoryFiles([["out/adapter_config.json", JSON.stringify(config)]]);
    odd.content.set("out/adapter_model.safetensors", thin.content.get("out/adapter_model.safetensors")!);
    expect(() => readAdapter(odd, "out", mappings)).toThrow(/2 of 4 rows are there/);
  });
  test("rows of the embedding that learn go along with LoRA, in peft's field for them", () => {
    const delta = { trainable_tokens_delta: param(2, 32) };
    const tokens = { name: "t", method: "TrainableTokens", from: "std/methods/trainable_tokens", options: { tokens: [7, 3] }, shared: {} };
    const words = [{ path: "bert.embeddings.word_embeddings", params: delta }];
    const memory = files();
    const written = writeAdapter(memory, "out", adapter("models/bert-cls", [{ ...tokens, sites: words }, lora("a", 4, 8, q)]), mappings);
    expect(written).toEqual([{ folder: "out", layout: "peft", attachments: ["a", "t"], type: "LORA", reasons: [] }]);
    expect(configOf(memory)).toMatchObject({
      target_modules: ["query"],
      trainable_token_indices: { word_embeddings: [7, 3] },
      modules_to_save: ["classifier", "score"],
    });
    expect([...openSafetensors(memory, "out/adapter_model.safetensors").tensors.keys()]).toContain(
      "base_model.model.bert.embeddings.word_embeddings.token_adapter.trainable_tokens_delta",
    );
    const back = readAdapter(memory, "out", mappings)!;
    expect(back.parts.map(({ method, options, sites }) => [method, options.tokens, sites.length])).toEqual([
      ["TrainableTokens", [7, 3], 1],
      ["LoRA", undefined, 2],
    ]);
    // alone they are the type of their own; beside a LoRA of the same place, two folders
    const alone = files();
    expect(writeAdapter(alone, "out", adapter("models/bert-cls", [{ ...tokens, sites: words }]), mappings)[0].type).toBe(
      "TRAINABLE_TOKENS",
    );
    const both = {
      ...lora("e", 4, 8, []),
      sites: [{ path: words[0].path, params: { lora_embedding_A: param(4, 40), lora_embedding_B: param(32, 4) } }],
    };
    const apart = writeAdapter(
      files(),
      "out",
      adapter("models/bert-cls", [
        { ...both, method: "LoRAEmbedding", options: { rank: 4, alpha: 8, rslora: false } },
        { ...tokens, sites: words },
      ]),
      mappings,
    );
    expect(apart.map(({ type }) => type)).toEqual(["LORA", "TRAINABLE_TOKENS"]);
  });
  test("the shortest name picks only what is meant", () => {
    const memory = files();
    writeAdapter(memory, "out", adapter("models/bert-cls", [lora("a", 4, 8, ["bert.pooler.dense"])]), mappings);
    expect(configOf(memory).target_modules).toEqual(["pooler.dense"]);
  });
  test("trained biases of the adapted modules, and a head under another name", () => {
    const memory = files();
    writeAdapter(
      memory,
      "out",
      adapter("models/bert-cls", [lora("a", 4, 8, q)], { [`${q[0]}.bias`]: param(32), "bert.pooler.dense.weight": param(32, 32) }),
      mappings,
    );
    expect(configOf(memory)).toMatchObject({ bias: "lora_only", modules_to_save: ["classifier", "pooler.dense", "score"] });
    expect(Object.keys(readAdapter(memory, "out", mappings)!.heads).sort()).toEqual([
      "bert.encoder.layer.0.attention.self.query.bias",
      "bert.pooler.dense.weight",
    ]);
  });
});

describe("what PEFT cannot say is written in our layout, with the reason, and read back", () => {
  function own(
    attachments: readonly OutAttachment[],
    base = "models/bert-cls",
    heads: Record<string, OutParam> = {},
  ): { reason: string; folder: AdapterFolder } {
    const memory = files();
    const [written, ...more] = writeAdapter(memory, "out", adapter(base, attachments, heads), mappings);
    expect(more).toEqual([]);
    expect(written).toMatchObject({ layout: "peftc", type: "PEFTC" });
    return { reason: written.reasons[0], folder: readAdapter(memory, "out", mappings)! };
  }
  const site = "bert.encoder.layer.0.attention.self.query";
  test("a method it has no name for", () => {
    const mine: OutAttachment = {
      name: "mine",
      method: "Mine",
      from: "specs/mine.peft",
      options: { size: 3, names: ["a", null], act: "relu" },
      sites: [{ path: `${site}:Linear`, params: { "w.weight": { shape: [2], values: () => [1, 2] } } }],
      shared: { table: { shape: [1], values: () => [7] } },
    };
    const { reason, folder } = own([mine], undefined, { "classifier.bias": { shape: [3], values: () => [1, 2, 3] } });
    expect(reason).toMatch(/no name for Mine of specs\/mine/);
    expect(folder.base).toBe("models/bert-cls");
    expect(folder.parts).toEqual([
      {
        method: "Mine",
        from: "specs/mine",
        options: mine.options,
        sites: [{ path: `${site}:Linear`, params: { "w.weight": `mine.${site}:Linear.w.weight` } }],
        shared: { table: "mine.table" },
      },
    ]);
    expect(folder.read(folder.parts[0].sites[0].params["w.weight"])).toEqual(Float32Array.of(1, 2));
    expect(folder.read(folder.parts[0].shared.table)).toEqual(Float32Array.of(7));
    expect(folder.read(folder.heads["classifier.bias"])).toEqual(Float32Array.of(1, 2, 3));
  });
  test("an option it has no field for, one field for two values", () => {
    expect(own([lora("a", 4, 8, [site], { extra: 1 })]).reason).toMatch(/no field for the option extra/);
    expect(own([lora("a", 4, 8, [site]), lora("b", 4, 8, ["bert.pooler.dense"], { rslora: true })]).reason).toMatch(
      /one value of use_rslora.*false, true/,
    );
  });
  test("a prefix that lets positions be, or is not in every layer; a prompt that is cut off under a pooler", () => {
    const prefix = (layers: number): OutAttachment => ({
      name: "p",
      method: "Prefix",
      from: "std/methods/prefix",
      options: { tokens: 3, std: 0.02, p: 0, pad_bias: true },
      sites: Array.from({ length: layers }, (_, i) => ({
        path: `l${i}`,
        params: { prefix_key: param(4, 3, 8), prefix_value: param(4, 3, 8) },
      })),
      shared: {},
    });
    expect(own([prefix(2)]).reason).toMatch(/positions start behind the prefix.*Prefix together with Shifted/);
    expect(own([prefix(1)]).reason).toMatch(/each of 2 places/);
    const prompt: OutAttachment = {
      name: "p",
      method: "Prompt",
      from: "std/methods/prompt",
      options: { tokens: 3, init: 0, cut: true, late: false },
      sites: [{ path: "bert", params: { prompt_embeddings: param(3, 32) } }],
      shared: {},
    };
    expect(own([prompt]).reason).toMatch(/cut: false only/);
  });
  test("adapters that meet at a place are adapters of their own, in PEFT's layout", () => {
    const memory = files();
    const written = writeAdapter(
      memory,
      "out",
      adapter(
        "models/bert-cls",
        [lora("a", 4, 8, [site]), lora("b", 2, 8, [site, "bert.pooler.dense"]), lora("c", 4, 8, ["bert.pooler.dense"])],
        {},
      ),
      mappings,
    );
    expect(written.map(({ folder, layout, attachments }) => [folder, layout, attachments])).toEqual([
      ["out/a", "peft", ["a", "c"]],
      ["out/b", "peft", ["b"]],
    ]);
  });
  test("attachments of several types go to folders of their own, heads with the first", () => {
    const memory = files();
    const ia3: OutAttachment = {
      name: "scale",
      method: "IA3",
      from: "std/methods/ia3",
      options: { init: 1 },
      sites: [{ path: "bert.pooler.dense", params: { ia3_l: param(32, 1) } }],
      shared: {},
    };
    const written = writeAdapter(
      memory,
      "out",
      adapter("models/bert-cls", [lora("a", 4, 8, [site]), ia3], { "classifier.bias": param(3) }),
      mappings,
    );
    expect(written.map(({ folder, type }) => [folder, type])).toEqual([
      ["out/a", "LORA"],
      ["out/scale", "IA3"],
    ]);
    expect(configOf(memory, "out/scale").feedforward_modules).toEqual([]);
    expect(Object.keys(readAdapter(memory, "out/a", mappings)!.heads)).toEqual(["classifier.bias"]);
    expect(readAdapter(memory, "out/scale", mappings)!.heads).toEqual({});
  });
});
