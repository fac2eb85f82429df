import { readFileSync } from "node:fs";
import { describe, expect, test } from "@jest/globals";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import type { OutAdapter, OutAttachment, OutParam } from "../../src/formats/adapters/out.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { writeLibrary } from "../../src/formats/adapters/write-library.ts";
import { openCheckpoint } from "../../src/formats/checkpoint.ts";
import { readConfig } from "../../src/formats/config.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { readHeader } from "../../src/formats/safetensors/header.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { asTrained } from "../support/as-trained.ts";
import { refusal } from "../support/refusal.ts";

interface Case {
  readonly kind: string;
  readonly dir: string;
  readonly base: string;
  readonly files: readonly string[];
}
const golden = new NodeFiles("test/golden");
const mappings = readMappings(new NodeFiles(), "specs/std/methods");
const folders = (JSON.parse(readFileSync("test/golden/manifest.json", "utf8")) as { cases: Case[] }).cases
  .filter(({ kind }) => kind === "adapters")
  .flatMap(({ base, files }) =>
    files.filter((file) => file.endsWith("config.json")).map((file) => [file.slice(0, file.lastIndexOf("/")), base] as const),
  );

const shapesOf = (base: string) =>
  new Map([...openCheckpoint(golden, base)!.tensors.values()].map(({ name, shape }) => [name, shape] as const));

describe("an adapter of the adapters library read and written is the same, byte for byte", () => {
  test.each(folders)("%s", (dir, base) => {
    const folder = readAdapter(golden, dir, mappings)!;
    const files = new MemoryFiles();
    const { name, adapter_names } = folder.config as { name: string; adapter_names?: string[] };
    writeLibrary(files, "out", asTrained(golden, folder, base), mappings, { name, sources: adapter_names });
    expect(files.content.size).toBe(2);
    for (const [path, bytes] of files.content) {
      const theirs = readFileSync(`test/golden/${dir}/${path.slice("out/".length)}`);
      if (path.endsWith(".json")) expect(new TextDecoder().decode(bytes)).toBe(theirs.toString());
      else expect(Buffer.from(bytes).equals(theirs)).toBe(true);
    }
  });
});

/** Options that no golden has: the field, what is said in its place, the option that it is. */
test.each([
  ["adapters/compacter-bert", '"learn_phm": true', '"learn_phm": false', "learn", false],
  ["adapters/fusion-bert/fusion", '"temperature": false', '"temperature": true', "temperature", true],
])("%s with %s as %s", (dir, from, to, option, value) => {
  const [config] = golden.list(dir).filter((name) => name.endsWith("config.json"));
  const [weights] = golden.list(dir).filter((name) => name.endsWith(".safetensors"));
  const text = readFileSync(`test/golden/${dir}/${config}`, "utf8").replace(from, to);
  const files = new MemoryFiles([[`in/${config}`, text]]);
  files.content.set(`in/${weights}`, readFileSync(`test/golden/${dir}/${weights}`));
  const folder = readAdapter(files, "in", mappings)!;
  expect(folder.parts[0].options[option]).toBe(value);
  const { name, adapter_names } = folder.config as { name: string; adapter_names?: string[] };
  writeLibrary(files, "out", asTrained(golden, folder, "models/bert-cls"), mappings, { name, sources: adapter_names });
  expect(new TextDecoder().decode(files.content.get(`out/${config}`)!)).toBe(text);
});

const BERT = "models/bert-cls";
const param = (...shape: number[]): OutParam => ({ shape, values: () => new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(0.5) });
const bottleneck = (size: number) => ({
  "adapter.down.weight": param(size, 32),
  "adapter.down.bias": param(size),
  "adapter.up.weight": param(32, size),
  "adapter.up.bias": param(32),
});
const pfeiffer = (size: number, ...layers: number[]): OutAttachment => ({
  name: "task",
  method: "Pfeiffer",
  from: "std/methods/bottleneck.peft",
  options: { size, std: 0.02 },
  sites: layers.map((i) => ({ path: `bert.encoder.layer.${i}.output`, role: "FeedForwardSublayer", params: bottleneck(size) })),
  shared: {},
});
const adapter = (attachments: readonly OutAttachment[], heads: Record<string, OutParam> = {}): OutAdapter => ({
  attachments,
  heads,
  base: { name: BERT, module: "BertForSequenceClassification", config: readConfig(golden, BERT)!, shapes: shapesOf(BERT) },
});
function written(out: OutAdapter, folder = "out") {
  const files = new MemoryFiles();
  writeLibrary(files, folder, out, mappings);
  const read = (name: string) => JSON.parse(new TextDecoder().decode(files.content.get(`${folder}/${name}`)!));
  return { files, read, config: read("adapter_config.json").config as Record<string, unknown> };
}

describe("what the library says by layer, by place and beside the adapter", () => {
  test("layers left out; sizes by layer; heads in files of their own", () => {
    expect(written(adapter([pfeiffer(8, 1)])).config).toMatchObject({ leave_out: [0], reduction_factor: 4 });
    const { files, read, config } = written(
      adapter([pfeiffer(8, 0), pfeiffer(10, 1)], { "classifier.weight": param(3, 32), "classifier.bias": param(3) }),
    );
    expect(config).toMatchObject({ leave_out: [], reduction_factor: { 1: 3, default: 4 }, mh_adapter: false, output_adapter: true });
    expect(read("head_config.json")).toMatchObject({ name: null, config: null, num_labels: 3 });
    const back = readAdapter(files, "out", mappings)!;
    expect(back.heads).toEqual({ "classifier.weight": "classifier.weight", "classifier.bias": "classifier.bias" });
    expect(back.parts.map(({ method, options, sites }) => [method, options.size, sites.map((s) => s.path)])).toEqual([
      ["Pfeiffer", 8, ["bert.encoder.layer.0.output"]],
      ["Pfeiffer", 10, ["bert.encoder.layer.1.output"]],
    ]);
  });
  test("methods of several kinds are a union; a size that divides nothing is found again", () => {
    const lora: OutAttachment = {
      name: "lora",
      method: "LoRA",
      from: "std/methods/lora",
      options: { rank: 2, alpha: 4, dropout: 0, rslora: false, bias: false },
      sites: [0, 1].map((i) => ({
        path: `bert.encoder.layer.${i}.attention.self.query`,
        params: { "lora_A.weight": param(2, 32), "lora_B.weight": param(32, 2) },
      })),
      shared: {},
    };
    const { files, config } = written(adapter([pfeiffer(11, 0, 1), lora]));
    expect(config).toMatchObject({
      architecture: "union",
      configs: [{ leave_out: [] }, { architecture: "lora", r: 2, attn_matrices: ["q"] }],
    });
    const [{ reduction_factor }] = config.configs as { reduction_factor: number }[];
    expect(Math.floor(32 / reduction_factor)).toBe(11);
    expect(readAdapter(files, "out", mappings)!.parts.map(({ method }) => method)).toEqual(["Pfeiffer", "LoRA"]);
  });
  test("an invertible part stands at the trunk, of an encoder–decoder at its encoder", () => {
    const coupling = {
      "layer.0.weight": param(8, 16),
      "layer.0.bias": param(8),
      "layer.1.weight": param(16, 8),
      "layer.1.bias": param(16),
    };
    const halves = ["F", "G"].flatMap((half) => Object.entries(coupling).map(([end, value]) => [`${half}.${end}`, value] as const));
    const invertible = (inverse: boolean): OutAttachment => ({
      name: "tongue",
      method: "Invertible",
      from: "std/methods/invertible",
      options: { reduction: 2, inverse, act: "relu" },
      sites: [{ path: "", role: "WordSpace", params: Object.fromEntries(halves) }],
      shared: {},
    });
    const keys = (files: MemoryFiles) =>
      [...files.content.keys()]
        .filter((file) => file.endsWith(".safetensors"))
        .flatMap((file) => [...readHeader(files, file).tensors.keys()]);
    const bert = written(adapter([pfeiffer(8, 0, 1), invertible(false)]));
    expect(bert.config).toMatchObject({ inv_adapter: "nice", inv_adapter_reduction_factor: 2 });
    expect(keys(bert.files)).toContain("bert.invertible_adapters.task.F.0.weight");
    const back = readAdapter(bert.files, "out", mappings)!.parts.find(({ method }) => method === "Invertible")!;
    expect([back.options, back.sites.map((site) => site.path)]).toEqual([{ reduction: 2, inverse: false }, ["**: WordSpace"]]);

    const layers = ["encoder", "decoder"].flatMap((half) => [0, 1].map((i) => `model.${half}.layers.${i}`));
    const bart = written({
      attachments: [
        { ...pfeiffer(8), sites: layers.map((path) => ({ path, role: "FeedForwardSublayer", params: bottleneck(8) })) },
        invertible(false),
      ],
      heads: {},
      base: {
        name: "bart",
        module: "BartForConditionalGeneration",
        config: { model_type: "bart", d_model: 32, encoder_layers: 2, decoder_layers: 2, is_encoder_decoder: true },
        shapes: new Map(layers.map((path) => [`${path}.fc1.weight`, [64, 32]])),
      },
    });
    expect(keys(bart.files).filter((key) => key.includes("invertible"))).toHaveLength(8);
    expect(keys(bart.files)).toContain("model.encoder.invertible_adapters.task.G.2.bias");
  });
  test("what it has no form for is refused with the reason", () => {
    const other = { ...pfeiffer(8, 0), method: "Lite" };
    expect(refusal(() => written(adapter([other])))).toMatch(/^P0670[\s\S]*no method like Lite/);
    const stacked = [pfeiffer(8, 0, 1), pfeiffer(8, 0, 1)];
    expect(refusal(() => written(adapter(stacked)))).toMatch(/^P0670[\s\S]*would be there twice/);
    const reft: OutAttachment = {
      name: "r",
      method: "ReFT",
      from: "std/methods/reft",
      options: { rank: 1, prefix: 1, suffix: 0, orthogonal: false, subtract: false, tied: true, act: "identity", p: 0 },
      sites: [
        {
          path: "bert.encoder.layer.0",
          role: "Block",
          params: {
            "units.0.learned_source.weight": param(1, 32),
            "units.0.learned_source.bias": param(1),
            "units.0.projection.weight": param(1, 32),
          },
        },
      ],
      shared: {},
    };
    expect(refusal(() => written(adapter([reft])))).toMatch(/^P0670[\s\S]*does not save subtract_projection = false/);
    expect(written(adapter([{ ...reft, options: { ...reft.options, subtract: true } }])).config).toMatchObject({
      layers: [0],
      tied_weights: true,
    });
  });
});
