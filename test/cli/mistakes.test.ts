import { describe, expect, test } from "@jest/globals";
import { writeSafetensors } from "../../src/formats/safetensors/write.ts";
import { type Place, peftc, place, SPEC } from "./support.ts";

/** What is wrong, how it is made, and the code and words of the message. */
interface Mistake {
  readonly what: string;
  readonly spec?: (spec: string) => string;
  readonly files?: (at: Place) => void;
  readonly code: string;
  readonly says: RegExp;
}

const CLASSIFY = `import { GPT2ForSequenceClassification } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { classification }  from "std/objectives"
model m = GPT2ForSequenceClassification(num_labels: 3) from "models/tiny" except **.score
attach lora = LoRA(rank: 2) to m.**.c_attn
train { objective = classification(m)  data = jsonl("rows.jsonl")  steps = 1  batch = 2 }
`;

const rows = (...labels: number[]) => labels.map((label, i) => `${JSON.stringify({ text: `row ${i}`, label })}\n`).join("");

const MISTAKES: readonly Mistake[] = [
  { what: "an unknown method", spec: (s) => s.replaceAll("LoRA", "LoRRA"), code: "P0216", says: /LoRRA[\s\S]*did you mean `LoRA`/ },
  { what: "an unknown module", spec: (s) => s.replace("GPT2LMHeadModel from", "GPT3 from"), code: "P0201", says: /GPT3/ },
  { what: "an unknown field", spec: (s) => s.replace("batch     =", "micro_batch_size ="), code: "P0203", says: /`batch`/ },
  { what: "an unknown option", spec: (s) => s.replace("alpha: 8", "lora_alpha: 8"), code: "P0203", says: /`alpha`/ },
  {
    what: "an unknown field of the configuration",
    spec: (s) => s.replace("GPT2LMHeadModel from", "GPT2LMHeadModel(n_hed: 2) from"),
    code: "P0203",
    says: /n_head/,
  },
  { what: "a selector without a match", spec: (s) => s.replace("h[*].attn", "h[*].atn"), code: "P0312", says: /\^\^\^[\s\S]*did you mean/ },
  { what: "`expect` not met", spec: (s) => s.replace(".c_attn\n", ".c_attn expect 12\n"), code: "P03", says: /12/ },
  { what: "text that does not parse", spec: (s) => s.replace("batch     = 4", "batch     = = 4"), code: "P01", says: /main\.peft:\d+:\d+/ },
  {
    what: "a tensor that is missing",
    files: (at) => editTensors(at, (names) => names.filter((n) => !n.includes("ln_f.bias"))),
    code: "P06",
    says: /transformer\.ln_f\.bias/,
  },
  {
    what: "a tensor of another shape",
    files: (at) => editTensors(at, (n) => n, "transformer.ln_f.bias"),
    code: "P06",
    says: /\[16\][\s\S]*\[17\]|\[17\][\s\S]*\[16\]/,
  },
  {
    what: "a truncated checkpoint",
    files: (at) => put(at, "models/tiny/model.safetensors", at.bytes("models/tiny/model.safetensors").slice(0, -100)),
    code: "P06",
    says: /model\.safetensors/,
  },
  { what: "empty data", files: (at) => at.put("corpus.txt", ""), code: "P0700", says: /corpus\.txt/ },
  { what: "no data", spec: (s) => s.replace("corpus.txt", "corpse.txt"), code: "P06", says: /corpse\.txt/ },
  {
    what: "a label out of range",
    spec: () => CLASSIFY,
    files: (at) => at.put("rows.jsonl", rows(0, 1, 3)),
    code: "P0733",
    says: /row 3 of column `label`[\s\S]*holds 3[\s\S]*0 \.\. 2/,
  },
  {
    what: "a token that the model has no row for",
    files: (at) => {
      const vocab = JSON.parse(at.get("models/tiny/vocab.json")) as Record<string, number>;
      at.put("models/tiny/vocab.json", JSON.stringify({ ...vocab, t: 300 }));
    },
    code: "P0733",
    says: /300[\s\S]*0 \.\. 256/,
  },
  {
    what: "a budget that cannot be met",
    spec: (s) => s.replace("steps     = 6", "steps     = 6\n  memory    = 20KB"),
    code: "P0901",
    says: /scratch[\s\S]*frozen weights/,
  },
  { what: "a metric that nobody knows", spec: (s) => s.replace("perplexity", "blue"), code: "P0822", says: /blue[\s\S]*perplexity/ },
  {
    what: "a loss that is no number",
    spec: (s) => s.replace("lr: 1e-2", "lr: 1e30"),
    code: "P0910",
    says: /first value that is no number is `\w+` of [\s\S]*gave (NaN|-?Infinity)/,
  },
];

function put(at: Place, name: string, bytes: Uint8Array): void {
  const draft = at.files.draft(name);
  draft.write(bytes);
  draft.commit();
}

/** Writes the checkpoint anew with other names, and `longer` with one number more. */
function editTensors(at: Place, keep: (names: string[]) => string[], longer?: string): void {
  const file = "models/tiny/model.safetensors";
  const bytes = at.bytes(file);
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length))) as Record<
    string,
    { shape: number[]; data_offsets: number[] }
  >;
  const names = keep(Object.keys(header).filter((n) => n !== "__metadata__"));
  writeSafetensors(
    at.files,
    file,
    names.map((name) => {
      const {
        shape,
        data_offsets: [from, to],
      } = header[name];
      const values = new Float32Array(bytes.slice(8 + length + from, 8 + length + to).buffer);
      return name === longer
        ? { name, shape: [shape[0] + 1], dtype: "F32" as const, values: () => [...values, 0] }
        : { name, shape, dtype: "F32" as const, values: () => values };
    }),
  );
}

describe("a mistake is told with its code, exits with 1, and leaves nothing half-written", () => {
  test.each(MISTAKES)("$what", async ({ spec, files, code, says }) => {
    const at = place(spec?.(SPEC) ?? SPEC);
    files?.(at);
    const { code: exit, err } = await peftc(at, ["train", "main.peft", "--device", "wasm", "--output", "result"]);
    expect(err).toContain(`error ${code}`);
    expect(err).toMatch(says);
    expect(exit).toBe(1);
    for (const name of ["adapter_model.safetensors", "adapter_config.json", "finished.json"]) expect(at.has(`result/${name}`)).toBe(false);
    if (code !== "P0910") expect(at.has("result")).toBe(false);
  });

  test("as JSON, one object a problem", async () => {
    const at = place(SPEC.replace("h[*].attn", "h[*].atn"));
    const { code, events } = await peftc(at, ["check", "main.peft", "--json"]);
    expect(code).toBe(1);
    expect(events()[0]).toMatchObject({ event: "problem", code: "P0312", severity: "error", place: { file: "main.peft", line: 7 } });
  });
});
