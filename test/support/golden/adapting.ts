/** The statements that put a case's adapter on its model. */

import type { ParamDecl } from "../../../src/compiler/project.ts";
import type { ViewMapping } from "../../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../../src/formats/adapters/read.ts";
import { readRecord } from "../../../src/formats/files.ts";
import { MemoryFiles } from "../../../src/formats/memory.ts";
import type { Part } from "./expected.ts";
import { type Case, Unsupported } from "./manifest.ts";
import { moduleAdapting } from "./modules.ts";
import { type Look, selector } from "./program.ts";
import type { Bench, Derived } from "./trial.ts";
import { overlaid, type Vectors } from "./vectors.ts";

/** A parameter of the program that the case's file holds under another name: as a whole, or as a part of a larger tensor. */
interface Renamed {
  readonly key: string;
  readonly view?: ViewMapping;
}

export interface Adapting {
  readonly statements: readonly string[];
  readonly imports: readonly (readonly [string, readonly string[]])[];
  /** Selections of what is trained of the adapter. */
  readonly trained: readonly string[];
  /** Paths of parameters of the model that are trained along. */
  readonly heads: readonly string[];
  /** Keys of the adapter's file for those of the model, where the program does not load the file. */
  readonly headKeys?: Readonly<Record<string, string>>;
  /** The name that a parameter of the attachment `a` has in the case's file (`param.*`), by its path there; `site`: the number of its site, `place`: the path of that. */
  readonly renamed?: (path: string, site: number, place: string) => Renamed | undefined;
  /** The tensors of the case's file that a parameter of any attachment consists of. */
  readonly parts?: (param: ParamDecl) => readonly Part[];
  /** Declarations that stand in front of the model. */
  readonly declared?: string;
  /** What is trained, where it is more than the task's objective, `goal`. */
  readonly objective?: string;
  /** More values to look at; what is made of their graphs. */
  readonly looks?: readonly Look[];
  readonly derived?: readonly Derived[];
}

const NOTHING: Adapting = { statements: [], imports: [], trained: [], heads: [] };

export function adapting(bench: Bench, test: Case, io: Vectors): Adapting {
  switch (test.kind) {
    case "base":
    case "train":
      return NOTHING;
    case "peft":
      return [...io.keys()].some((key) => key.startsWith("param.")) ? reparametrised(bench, test, io) : loaded(bench, test);
    case "adapters":
      return test.method === "fuse" || test.method === "stack" ? composed(bench, test, io) : loaded(bench, test);
    case "module":
      return moduleAdapting(test, io);
  }
}

/** The adapter's folder as it is. */
export function loaded({ files, goldens, mappings }: Bench, test: Case): Adapting {
  const adapter = readAdapter(files, `${goldens.folder}/${test.dir}`, mappings);
  if (adapter === undefined) throw new Error(`no adapter in ${test.dir}`);
  return {
    statements: [`attach a = load("${test.dir}") to m`],
    imports: [],
    trained: adapter.parts.length > 0 ? ["a"] : [],
    heads: test.head_trained ?? Object.keys(adapter.heads),
  };
}

/** The folders of adapters below a case's own, in the order of their names; those of fusions last. */
export function adapterFolders(
  { files, goldens }: Bench,
  test: Case,
): { readonly adapters: readonly string[]; readonly fusions: readonly string[] } {
  const folder = `${goldens.folder}/${test.dir}`;
  const holding = (name: string) =>
    files
      .list(folder)
      .filter((entry) => files.stat(`${folder}/${entry}/${name}`) !== undefined)
      .sort()
      .map((entry) => `${test.dir}/${entry}`);
  return { adapters: holding("adapter_config.json"), fusions: holding("adapter_fusion_config.json") };
}

/** Several adapters at once: one on top of the other; or side by side under a fusion, which stands on the model in their place. */
function composed(bench: Bench, test: Case, io: Vectors): Adapting {
  const { adapters, fusions } = adapterFolders(bench, test);
  const name = (i: number) => `a${i}`;
  const heads = test.head_trained ?? [];
  if (test.method === "stack") {
    const trained = adapters.flatMap((dir, i) => {
      const { name: own } = readRecord(bench.files, `${bench.goldens.folder}/${dir}/adapter_config.json`);
      return [...io.keys()].some((key) => key.startsWith("grad.") && key.includes(`.${String(own)}.`)) ? [name(i)] : [];
    });
    return { statements: adapters.map((dir, i) => `attach ${name(i)} = load("${dir}") to m`), imports: [], trained, heads };
  }
  if (fusions.length !== 1) throw new Unsupported(`${fusions.length} fusions in one case`);
  const sources = adapters.map((_, i) => name(i)).join(", ");
  return {
    statements: [
      "model sources = m",
      ...adapters.map((dir, i) => `attach ${name(i)} = load("${dir}") to sources`),
      `attach f = load("${fusions[0]}", given: { sources: [${sources}] }) to m`,
    ],
    imports: [],
    trained: ["f"],
    heads,
  };
}

/** A run that never calls peft's allocation of ranks: our method allocates by itself, so it is told to begin behind the end. */
export function withoutAllocation(bench: Bench, test: Case, io: Vectors): Bench {
  if (test.method !== "adalora" || [...io.keys()].some((key) => key.startsWith("alloc"))) return bench;
  const path = `${bench.goldens.folder}/${test.dir}/adapter_config.json`;
  const config = { ...readRecord(bench.files, path), tinit: (test.optimizer?.steps ?? 0) + 2 };
  return { ...bench, files: overlaid(bench.files, new MemoryFiles([[path, JSON.stringify(config)]])) };
}

/** Adapters whose file holds what a small network made, while the network is trained. */
function reparametrised(bench: Bench, test: Case, io: Vectors): Adapting {
  const { heads } = loaded(bench, test);
  const headKeys = readAdapter(bench.files, `${bench.goldens.folder}/${test.dir}`, bench.mappings)!.heads;
  const config = test.config ?? {};
  const tokens = Number(config.num_virtual_tokens);
  const width = (key: string, axis = 0): number => io.get(`param.prompt_encoder.${key}`)?.shape[axis] ?? fail(test, key);
  if (test.method === "prefix_tuning" && config.prefix_projection === true && config.num_transformer_submodules === 1) {
    const second = (name: string, index: string): Renamed => ({
      key: `prompt_encoder.transform.2.${name}`,
      view: { of: name, reshape: ["slots", "dim", ...(name === "weight" ? ["hidden"] : [])], axis: 0, index },
    });
    const names: Readonly<Record<string, Renamed>> = {
      table: { key: "prompt_encoder.embedding.weight" },
      "wide.weight": { key: "prompt_encoder.transform.0.weight" },
      "wide.bias": { key: "prompt_encoder.transform.0.bias" },
      "to_key.weight": second("weight", "2 * index"),
      "to_key.bias": second("bias", "2 * index"),
      "to_value.weight": second("weight", "2 * index + 1"),
      "to_value.bias": second("bias", "2 * index + 1"),
    };
    return {
      statements: [
        `attach shift = Shifted(tokens: ${tokens}) to m.**: Positions`,
        `attach a = PrefixMLP(tokens: ${tokens}, hidden: ${width("transform.0.bias")}, width: ${width("embedding.weight", 1)}) to m.**: Attention`,
      ],
      imports: [
        ["std/methods/prefix", ["PrefixMLP", "Shifted"]],
        ["std/nn", ["Attention", "Positions"]],
      ],
      trained: ["a"],
      heads,
      headKeys,
      renamed: (path) => Object.entries(names).find(([end]) => path === end || path.endsWith(`.${end}`))?.[1],
    };
  }
  if (test.method === "prefix_tuning" && config.prefix_projection === true) {
    const hidden = width("transform.0.bias");
    const names: Readonly<Record<string, string>> = { table: "embedding", wide: "transform.0", pairs: "transform.2" };
    const relative = test.arch === "t5";
    return {
      statements: [
        relative
          ? `attach shift = RelativePrefix(tokens: ${tokens}) to m.**.decoder.**: T5DecoderStack`
          : `attach shift = Shifted(tokens: ${tokens}) to m.**.decoder.**: Positions`,
        `attach a = PairedPrefixMLP(tokens: ${tokens}, hidden: ${hidden}, width: ${width("embedding.weight", 1)}, pad_bias: false) to m.**.decoder.**: SelfAttention`,
      ],
      imports: [
        ["std/methods/prefix", ["PairedPrefixMLP", ...(relative ? [] : ["Shifted"])]],
        ["std/nn", ["SelfAttention", ...(relative ? [] : ["Positions"])]],
        ...(relative ? [["std/models/t5", ["RelativePrefix", "T5DecoderStack"]] as const] : []),
      ],
      trained: ["a"],
      heads,
      headKeys,
      renamed: (path) => {
        const [module, name = "weight"] = path.split(".");
        return names[module] === undefined ? undefined : { key: `prompt_encoder.${names[module]}.${name}` };
      },
    };
  }
  const encoder = String(config.encoder_reparameterization_type);
  if (test.method === "p_tuning" && ["MLP", "LSTM"].includes(encoder)) {
    const cut = config.task_type === "TOKEN_CLS";
    const reads = config.task_type === "SEQ_CLS" && isCausal(test);
    const hidden = encoder === "LSTM" ? width("lstm_head.weight_hh_l0", 1) : width("mlp_head.0.bias");
    const layers = encoder === "LSTM" ? `, layers: ${Number(config.encoder_num_layers)}` : "";
    // a table for each half of an encoder-decoder, of which the first is used
    const spare = tokens * (Number(config.num_transformer_submodules) - 1);
    const options = `tokens: ${tokens}, hidden: ${hidden}, encoder: "${encoder}"${layers}, spare: ${spare}, cut: ${cut}`;
    return {
      statements: [...(reads ? ["attach last = LastColumn() to m.**: LastRead"] : []), `attach a = PTuning(${options}) to m.**: TextModel`],
      imports: [
        ["std/methods/prompt", ["PTuning", ...(reads ? ["LastColumn"] : [])]],
        ["std/nn", ["TextModel", ...(reads ? ["LastRead"] : [])]],
      ],
      trained: ["a"],
      heads,
      headKeys,
      renamed: (path) => {
        const layer = /(?:^|\.)mlp\.(\d)\.(weight|bias)$/.exec(path);
        if (layer) return { key: `prompt_encoder.mlp_head.${2 * Number(layer[1])}.${layer[2]}` };
        const gate = /(?:^|\.)lstm\.(ahead|back)\.(\d+)\.(\w+)$/.exec(path);
        if (gate) return { key: `prompt_encoder.lstm_head.${gate[3]}_l${gate[2]}${gate[1] === "back" ? "_reverse" : ""}` };
        return { key: "prompt_encoder.embedding.weight" };
      },
    };
  }
  if (test.method === "vblora" && config.save_only_topk_weights === true) {
    const adapter = readAdapter(bench.files, `${bench.goldens.folder}/${test.dir}`, bench.mappings)!;
    const [{ options, sites, shared }] = adapter.parts;
    const given = Object.entries(options).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
    const bank = Object.entries(shared);
    return {
      statements: [`attach a = VBLoRATop(${given.join(", ")}) to [${sites.map(({ path }) => `m.${selector(path)}`).join(", ")}]`],
      imports: [["std/methods/vblora", ["VBLoRATop"]]],
      trained: ["a"],
      heads,
      headKeys,
      renamed: (path, _, place) => ({ key: bank.find(([name]) => name === path)?.[1] ?? `base_model.model.${place}.${path}` }),
    };
  }
  throw new Unsupported(`${test.method} whose parameters the adapter's file does not hold`);
}

/** Whether a classifier of the architecture reads its answer at the last word. */
const isCausal = ({ arch }: Case): boolean => ["gpt2", "opt", "gpt_neox", "llama", "mistral", "qwen2", "qwen3"].includes(arch);

function fail(test: Case, key: string): never {
  throw new Unsupported(`${test.method} without prompt_encoder.${key}`);
}
