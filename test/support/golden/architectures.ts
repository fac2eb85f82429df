/** Where the parts of a model are, by architecture: what Hugging Face's outputs name by number only. */
import { type Case, Unsupported } from "./manifest.ts";

/** Paths of values, from the model. `layers`: the list of blocks; the last hidden state is `last`. */
interface Stream {
  readonly layers: string;
  /** Name of the value that a block takes. */
  readonly input: string;
  readonly last: string;
}
interface Architecture {
  /** File of the library that declares the model. */
  readonly file: string;
  /** Classes whose module has another name. */
  readonly classes?: Readonly<Record<string, string>>;
  /** By the name of the output: `hidden_states`, `encoder_hidden_states`, `decoder_hidden_states`. */
  readonly streams: Readonly<Record<string, Stream>>;
  /** The same for classes that call their trunk otherwise. */
  readonly others?: readonly (readonly [classes: RegExp, streams: Readonly<Record<string, Stream>>])[];
}

const bert = (trunk: string): Architecture["streams"] => ({
  hidden_states: { layers: `${trunk}.encoder.layer`, input: "hidden_states", last: `${trunk}.last_hidden_state` },
});
const llama = (file: string): Architecture => {
  const streams = (trunk: string): Architecture["streams"] => ({
    hidden_states: { layers: `${trunk}.layers`, input: "hidden_states", last: `${trunk}.last_hidden_state` },
  });
  return { file, streams: streams("model"), others: [[/ForQuestionAnswering$/, streams("transformer")]] };
};
const tower: Architecture["streams"] = {
  hidden_states: { layers: "vision_model.encoder.layers", input: "hidden_states", last: "vision_model.encoder.y" },
};
const vit = (trunk: string): Architecture => ({
  file: "std/models/vit",
  streams: { hidden_states: { layers: `${trunk}.encoder.layer`, input: "x", last: `${trunk}.encoder.y` } },
});
const t5 = (trunk: string): Architecture["streams"] => {
  const encoder: Stream = { layers: `${trunk}encoder.block`, input: "x", last: `${trunk}encoder.y` };
  const decoder: Stream = { layers: `${trunk}decoder.block`, input: "x", last: `${trunk}decoder.y` };
  return { hidden_states: encoder, encoder_hidden_states: encoder, decoder_hidden_states: decoder };
};

const architectures: Readonly<Record<string, Architecture>> = {
  gpt2: {
    file: "std/models/gpt2",
    streams: { hidden_states: { layers: "transformer.h", input: "x", last: "transformer.last_hidden_state" } },
  },
  bert: { file: "std/models/bert", streams: bert("bert") },
  roberta: { file: "std/models/bert", streams: bert("roberta") },
  "xlm-roberta": {
    file: "std/models/bert",
    classes: { XLMRobertaForMaskedLM: "RobertaForMaskedLM" },
    streams: bert("roberta"),
  },
  llama: llama("std/models/llama"),
  qwen2: llama("std/models/llama"),
  qwen3: llama("std/models/llama"),
  mistral: llama("std/models/llama"),
  deepseek_v2: llama("std/models/plm"),
  phi3: llama("std/models/phi3"),
  gemma2: llama("std/models/gemma2"),
  gemma3_text: llama("std/models/gemma3"),
  smollm3: llama("std/models/smollm3"),
  phi: llama("std/models/phi"),
  stablelm: llama("std/models/stablelm"),
  mixtral: llama("std/models/mixtral"),
  qwen3_moe: llama("std/models/qwen3_moe"),
  deepseek_v3: llama("std/models/deepseek_v3"),
  modernbert: {
    file: "std/models/modernbert",
    streams: { hidden_states: { layers: "model.layers", input: "hidden_states", last: "model.layered" } },
  },
  clip: { file: "std/models/clip", streams: tower },
  siglip: { file: "std/models/siglip", streams: tower },
  gpt_neox: {
    file: "std/models/gpt_neox",
    streams: { hidden_states: { layers: "gpt_neox.layers", input: "hidden_states", last: "gpt_neox.last_hidden_state" } },
  },
  distilbert: {
    file: "std/models/distilbert",
    streams: { hidden_states: { layers: "distilbert.transformer.layer", input: "x", last: "distilbert.last_hidden_state" } },
  },
  "deberta-v2": {
    file: "std/models/deberta_v2",
    streams: bert("deberta"),
  },
  opt: {
    file: "std/models/opt",
    streams: { hidden_states: { layers: "model.decoder.layers", input: "x", last: "model.decoder.last_hidden_state" } },
  },
  vit: vit("vit"),
  deit: vit("deit"),
  t5: { file: "std/models/t5", streams: t5(""), others: [[/For(Sequence|Token)Classification$/, t5("transformer.")]] },
  bart: {
    file: "std/models/bart",
    streams: {
      encoder_hidden_states: { layers: "model.encoder.layers", input: "x", last: "model.encoder.y" },
      decoder_hidden_states: { layers: "model.decoder.layers", input: "x", last: "model.decoder.y" },
    },
  },
};

export function architectureOf(test: Case): Architecture {
  const found = architectures[test.arch];
  if (found === undefined) throw new Unsupported(`no model of the architecture ${test.arch}`);
  return found;
}

/** Path, from an objective that calls its model `lm`, of the output `key` (`loss`, `logits`, `hidden_states.1`), given all such keys; `undefined`: no output of these. */
export function outputPath(test: Case, key: string, lm: string, keys: readonly string[]): string | undefined {
  if (key === "loss") return key;
  if (/^((start_|end_)?logits|logits_per_text|(text|image)_embeds)$/.test(key)) return `${lm}.${key}`;
  const hidden = /^(.*hidden_states)\.(\d+)$/.exec(key);
  if (hidden === null) return key === "encoder_last_hidden_state" ? `${lm}.${streamOf(test, "encoder_hidden_states").last}` : undefined;
  const { layers, input, last } = streamOf(test, hidden[1]);
  const count = keys.filter((k) => k.startsWith(`${hidden[1]}.`)).length;
  return Number(hidden[2]) === count - 1 ? `${lm}.${last}` : `${lm}.${layers}.${hidden[2]}.${input}`;
}

function streamOf(test: Case, name: string): Stream {
  const { streams, others } = architectureOf(test);
  const stream = (others?.find(([classes]) => classes.test(test.model_class ?? ""))?.[1] ?? streams)[name];
  if (stream === undefined) throw new Unsupported(`nothing is known of the output ${name} of ${test.arch}`);
  return stream;
}
