/** What the authors' own sources of a method put on a model: options, names of parameters, values to look at. Their cases hold no adapter's files. */

import type { ParamDecl } from "../../../src/compiler/project.ts";
import { MemoryFiles } from "../../../src/formats/memory.ts";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import type { Adapting } from "./adapting.ts";
import { architectureOf } from "./architectures.ts";
import type { Part } from "./expected.ts";
import { type Case, Unsupported } from "./manifest.ts";
import type { Look } from "./program.ts";
import { rebuiltStreams } from "./rebuilt.ts";
import type { Bench } from "./trial.ts";
import { below, overlaid, type Vectors } from "./vectors.ts";

export function moduleAdapting(test: Case, io: Vectors): Adapting {
  switch (test.method) {
    case "scalearn":
      return scaLearn(test, io);
    case "meft":
      return meft(test, io);
    case "deft":
      return deft(test, io);
    default:
      throw new Unsupported(`modules of the method ${test.method} on ${test.arch}`);
  }
}

/** Parameters of the model that learn: keys that have a gradient and are none of the method's. */
const heads = (io: Vectors, own: RegExp): string[] => [...below(io, "grad.").keys()].filter((key) => !own.test(key));

const widthOf = (io: Vectors, key: RegExp): number => {
  const found = [...io].find(([k]) => key.test(k));
  if (found === undefined) throw new Unsupported(`no parameter ${key.source}`);
  return found[1].shape[0];
};

/** Names of one parameter in the other's terms: the first rule whose pattern fits. */
const renaming =
  (rules: (param: ParamDecl) => readonly (readonly [RegExp, string])[]) =>
  (param: ParamDecl): Part[] => {
    const rule = rules(param).find(([pattern]) => pattern.test(param.path));
    return rule ? [{ key: param.path.replace(rule[0], rule[1]) }] : [];
  };

function scaLearn(test: Case, io: Vectors): Adapting {
  const config = test.config as {
    omega_shape: string;
    adapters: string[];
    non_linearity: string;
    per_layer?: boolean;
    take_softmax?: boolean;
    take_mean?: boolean;
    regularization?: boolean;
    lambda_reg?: number;
  };
  const size = widthOf(io, /^param\..*\.adapter_down\.0\.bias$/);
  const names = config.adapters.join(",");
  const sources = config.adapters.flatMap((_, i) => [
    `model of${i} = m`,
    `attach source${i} = Pfeiffer(size: ${size}, act: activations["${config.non_linearity}"]) to of${i}.**: FeedForwardSublayer`,
  ]);
  const method = config.per_layer ? "ScaLearnShared" : "ScaLearn";
  const options = [
    `sources: [${config.adapters.map((_, i) => `source${i}`).join(", ")}]`,
    `uniform: ${config.omega_shape === "scalar"}`,
    `pull: ${config.regularization ? (config.lambda_reg ?? 0) : 0}`,
    ...(config.take_softmax ? ["soft: true"] : []),
    ...(config.take_mean ? ["average: true"] : []),
  ];
  const shared = [...below(io, "param.").keys()].find((key) => key.endsWith(`shared_parameters.${names}.omega`));
  return {
    statements: [...sources, `attach mix = ${method}(${options.join(", ")}) to m.**: FeedForwardSublayer`],
    imports: [
      ["std/methods/fusion", [method]],
      ["std/methods/bottleneck", ["Pfeiffer"]],
      ["std/nn", ["FeedForwardSublayer", "activations"]],
    ],
    trained: ["mix"],
    heads: heads(io, /\.omega$/),
    parts: renaming(({ owner }) => {
      if (owner.kind !== "attachment") return [];
      if (owner.name === "mix")
        return [
          [/^omega$/, shared ?? ""],
          [/\.omega$/, `.scalearn_layer.${names}.omega`],
        ];
      const source = config.adapters[Number(owner.name.slice("source".length))];
      return [
        [/\.adapter\.down\.(\w+)$/, `.adapters.${source}.adapter_down.0.$1`],
        [/\.adapter\.up\.(\w+)$/, `.adapters.${source}.adapter_up.$1`],
      ];
    }),
  };
}

function meft(test: Case, io: Vectors): Adapting {
  const config = test.config as { f_arch: string; x1_factor: number; x2_factor: number };
  const couplings: Readonly<Record<string, string>> = { layer: "MEFT1", adapter: "MEFT2", attn: "MEFT3" };
  const method = couplings[config.f_arch];
  if (method === undefined) throw new Unsupported(`the wiring ${config.f_arch}`);
  const { layers } = architectureOf(test).streams.hidden_states;
  const width = (name: string) => widthOf(io, new RegExp(`^param\\..*\\.${name}\\.dense1\\.bias$`));
  const norm = (name: string) => `pre: ${[...io.keys()].some((key) => key.endsWith(`.${name}.LayerNorm.weight`))}`;
  const act = "act: activations[m.config.hidden_act]";
  const factors = `lambda: ${config.x1_factor}, beta: ${config.x2_factor}`;
  const halves = method === "MEFT3";
  const options = halves ? factors : `size: ${width("rev_adapter")}, ${factors}, ${act}, ${norm("rev_adapter")}`;
  const keys = [...below(io, "out.").keys()];
  const depth = keys.filter((key) => key.startsWith("stream.")).length;
  const streams = Array.from({ length: depth }, (_, i) => `stream_${i}`);
  return {
    statements: [
      `attach inner = ParallelSmall(size: ${width("ffn_adapter")}, ${act}, ${norm("ffn_adapter")}) to m.**: FeedForward`,
      ...(halves
        ? [`attach outer = Sequential(size: ${width("attn_adapter")}, ${act}, ${norm("attn_adapter")}) to m.**: AttentionSublayer`]
        : []),
      `attach rev = ${method}(${options}) to m.${layers}`,
    ],
    imports: [
      ["std/couplings", [method]],
      ["std/methods/bottleneck", ["ParallelSmall", ...(halves ? ["Sequential"] : [])]],
      ["std/nn", ["FeedForward", "activations", ...(halves ? ["AttentionSublayer"] : [])]],
    ],
    trained: ["inner", "rev", ...(halves ? ["outer"] : [])].filter((name) => name !== "rev" || !halves),
    heads: heads(io, /_adapter\./),
    parts: renaming(({ owner }) => {
      const parts = (adapter: string): [RegExp, string][] => [
        [/\.adapter\.down\.(\w+)$/, `.${adapter}.dense1.$1`],
        [/\.adapter\.up\.(\w+)$/, `.${adapter}.dense2.$1`],
        [/\.adapter\.LayerNorm\.(\w+)$/, `.${adapter}.LayerNorm.$1`],
      ];
      if (owner.name === "inner") return parts("ffn_adapter");
      if (owner.name === "outer") return parts("attn_adapter");
      if (owner.name !== "rev") return [];
      const list = layers.slice(layers.lastIndexOf(".") + 1);
      return [
        [/\.rev\.(\d+)\.down\.(\w+)$/, `.${list}.$1.rev_adapter.dense1.$2`],
        [/\.rev\.(\d+)\.up\.(\w+)$/, `.${list}.$1.rev_adapter.dense2.$2`],
        [/\.rev\.(\d+)\.LayerNorm\.(\w+)$/, `.${list}.$1.rev_adapter.LayerNorm.$2`],
      ];
    }),
    ...look(test, "wiring", streams, ["loss   = sum(out)", ...streams.map((name, i) => `${name} = concat(rev.streams[${i}], axis: -1)`)]),
    derived: [{ name: "rebuilt", of: "look_wiring", make: (entry, sizes) => rebuiltStreams(entry, streams, sizes) }],
  };
}

/** DEFT's cases hold the tensors of a LoRA adapter under PEFT's names: they are read as if they lay in its files. */
export function asPeft(bench: Bench, test: Case, io: Vectors): Bench {
  if (test.kind !== "module" || test.method !== "deft") return bench;
  const { r, lora_alpha, target_modules } = test.config as { r: number; lora_alpha: number; target_modules: string[] };
  const folder = `${bench.goldens.folder}/${test.dir}`;
  const config = { peft_type: "LORA", base_model_name_or_path: test.base, r, lora_alpha, target_modules, lora_dropout: 0, bias: "none" };
  const memory = new MemoryFiles([[`${folder}/adapter_config.json`, JSON.stringify(config)]]);
  writeSafetensors(
    memory,
    `${folder}/adapter_model.safetensors`,
    [...below(io, "param.")].map(([name, { shape, data }]) => ({
      name,
      shape,
      dtype: "F32" as const,
      values: () => Float32Array.from(data),
    })),
  );
  return { ...bench, files: overlaid(bench.files, memory) };
}

function deft(test: Case, io: Vectors): Adapting {
  const { weight, eps } = test.config as { weight: number; eps: number };
  const acts = [...below(io, "out.").keys()].filter((key) => key.startsWith("activation."));
  const halves = test.task === "seq2seq" ? ["encoder", "decoder"] : [undefined];
  const from = (root: string, half: string | undefined) => `${root}.${half ? `${half}.` : ""}**: FeedForward.act`;
  const objective = halves.map((half) => `${weight} * density(${from("m", half)}, eps: ${eps})`);
  const wanted: Record<string, string> = {
    density_loss: "all",
    density_per_layer: "each_0",
    density_per_layer_decoder: "each_1",
    measured_density: "seen",
    ...Object.fromEntries(acts.map((key, i) => [key, `act_${i}`])),
  };
  const lines = [
    ...halves.map((half, i) => `acts_${i} = [a for a in ${from("out", half)}]`),
    "loss = sum(out)",
    `all  = ${halves.map((_, i) => `density(acts_${i}, eps: ${eps})`).join(" + ")}`,
    ...halves.map((_, i) => `each_${i} = stack([mean(activity(a, ${eps}), axis: [1, 2]) for a in acts_${i}], axis: 1)`),
    "seen = stack([mean(a != 0, axis: [1, 2]) for a in acts_0], axis: 1)",
    ...acts.map((_, i) => `act_${i} = acts_0[${i}]`),
  ];
  const shown = look(test, "dense", [], lines);
  const outputs = Object.fromEntries(Object.entries(wanted).filter(([key]) => io.has(`out.${key}`)));
  return {
    statements: [`attach a = load("${test.dir}") to m`],
    imports: [
      ["std/objectives", ["activity", "density"]],
      ["std/nn", ["FeedForward"]],
    ],
    trained: ["a"],
    heads: heads(io, /\.lora_[AB]\./).map((key) => key.replace(/^base_model\.model\./, "")),
    objective: `goal + ${objective.join(" + ")}`,
    declared: shown.declared,
    looks: shown.looks.map((l) => ({ ...l, outputs })),
  };
}

const roles: Readonly<Record<string, string>> = {
  cls: "Classifier",
  tok: "Tagger",
  qa: "QuestionAnswerer",
  lm: "LanguageModel",
  mlm: "LanguageModel",
  seq2seq: "Seq2Seq",
};

/** A module that calls the model as the task does, as `out`, and names more values; and the stage that reads those that the case has: `stream_0` is `out.stream.0`. */
function look(test: Case, name: string, outputs: readonly string[], lines: readonly string[]): { declared: string; looks: Look[] } {
  const role = roles[test.task];
  if (role === undefined) throw new Unsupported(`no role for the task ${test.task}`);
  const decoder = test.task === "seq2seq";
  const declared = [
    `import { ${role} } from "std/nn"`,
    `module ${name}(net: ${role}) {`,
    `  forward(input_ids: i32[B, S], attention_mask: bool[B, S] = true${decoder ? ", decoder_input_ids: i32[B, T]" : ""}) -> loss: f32[] {`,
    `    out = net(input_ids, attention_mask${decoder ? ", decoder_input_ids" : ""})`,
    ...lines.map((line) => `    ${line}`),
    "  }",
    "}",
  ].join("\n");
  const columns = Object.fromEntries(outputs.map((column) => [column.replace(/_(\d+)$/, ".$1"), column]));
  return { declared, looks: [{ name: `look_${name}`, objective: `${name}(eval(m))`, outputs: columns }] };
}
