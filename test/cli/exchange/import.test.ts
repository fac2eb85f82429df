import path from "node:path";
import { describe, expect, test } from "@jest/globals";
import { selectorsFor } from "../../../src/exchange/selectors.ts";
import { matchTargets } from "../../../src/formats/adapters/targets.ts";
import { type JsonRecord, writeFile } from "../../../src/formats/files.ts";
import { importFolder } from "../../../src/index.ts";
import { peftc, place } from "../support.ts";

const LAYERS = [0, 1, 2].flatMap((i) => [
  `model.layers.${i}`,
  `model.layers.${i}.self_attn`,
  ...["q_proj", "v_proj"].map((n) => `model.layers.${i}.self_attn.${n}`),
  `model.layers.${i}.mlp.experts.${i + 1}.up_proj`,
]);
const ALL = ["model", "model.layers", ...LAYERS, "lm_head"];

describe("target_modules means what it means to peft", () => {
  const targets = (config: JsonRecord) => matchTargets(config, ALL, "the file", () => ["lm_head", "model.layers.0.self_attn.q_proj"]);
  const q = [0, 1, 2].map((i) => `model.layers.${i}.self_attn.q_proj`);
  test("lists are whole paths, or ends behind a dot", () => {
    expect(targets({ target_modules: ["q_proj"] }).modules).toEqual(q);
    expect(targets({ target_modules: ["attn.q_proj"] }).modules).toEqual([]);
    expect(targets({ target_modules: ["lm_head", "nothing"] })).toEqual({ modules: ["lm_head"], idle: ["nothing"] });
  });
  test("texts are regular expressions over whole paths", () => {
    expect(targets({ target_modules: "q_proj" }).modules).toEqual([]);
    expect(targets({ target_modules: ".*\\.[12]\\..*q_proj" }).modules).toEqual(q.slice(1));
    expect(targets({ target_modules: "All-Linear" }).modules).toEqual([q[0], "lm_head"].sort((a, b) => ALL.indexOf(a) - ALL.indexOf(b)));
  });
  test("exclusions and modules to save win", () => {
    expect(targets({ target_modules: ["q_proj"], exclude_modules: ["0.self_attn.q_proj"] }).modules).toEqual(q.slice(1));
    expect(targets({ target_modules: ["q_proj"], exclude_modules: ".*layers\\.[01].*" }).modules).toEqual(q.slice(2));
    expect(targets({ target_modules: ["q_proj", "lm_head"], modules_to_save: ["lm_head"] }).modules).toEqual(q);
    expect(targets({ target_modules: ["q_proj"], modules_to_save: ["self_attn"] }).modules).toEqual([]);
  });
  test("layers are counted by the first number, or behind a pattern; whole paths are in any layer", () => {
    const up = (i: number) => `model.layers.${i}.mlp.experts.${i + 1}.up_proj`;
    expect(targets({ target_modules: ["up_proj"], layers_to_transform: [1] }).modules).toEqual([up(1)]);
    expect(targets({ target_modules: ["up_proj"], layers_to_transform: 1, layers_pattern: "experts" }).modules).toEqual([up(0)]);
    expect(targets({ target_modules: ["q_proj", q[2]], layers_to_transform: [0] }).modules).toEqual([q[0], q[2]]);
    expect(targets({ target_modules: ["lm_head"], layers_to_transform: [0], layers_pattern: ["h"] }).modules).toEqual(["lm_head"]);
  });
  test("what is no list of names is refused", () =>
    expect(() => targets({ target_modules: 3 })).toThrow(/target_modules is .* where names are wanted/));
});

describe("paths as selectors", () => {
  const select = (...sites: string[]) => selectorsFor("m", sites, ALL);
  const at = (i: number, name: string) => `model.layers.${i}.self_attn.${name}`;
  test("by name where that is enough, else by path", () => {
    expect(select(...[0, 1, 2].map((i) => at(i, "q_proj")))).toEqual(["m.**.q_proj"]);
    expect(select(...[0, 1, 2].flatMap((i) => [at(i, "q_proj"), at(i, "v_proj")]))).toEqual(["m.**.{q_proj, v_proj}"]);
    expect(select(at(0, "q_proj"), at(1, "q_proj"), at(2, "v_proj"))).toEqual([
      "m.model.layers[0..2].self_attn.q_proj",
      "m.model.layers[2].self_attn.v_proj",
    ]);
    expect(select(at(0, "q_proj"), at(2, "q_proj"), at(0, "v_proj"), at(2, "v_proj"))).toEqual([
      "m.model.layers[0, 2].self_attn.{q_proj, v_proj}",
    ]);
    expect(select("lm_head")).toEqual(["m.lm_head"]);
    expect(select("model.layers.0", "model.layers.1", "model.layers.2")).toEqual(["m.model.layers[*]"]);
    expect(select("model.layers.0.mlp.experts.1.up_proj", "model.layers.2.mlp.experts.3.up_proj")).toEqual([
      "m.model.layers[0].mlp.experts[1].up_proj",
      "m.model.layers[2].mlp.experts[3].up_proj",
    ]);
  });
});

describe("peftc import", () => {
  test("a model's folder: its class, its task, a program that checks", async () => {
    const at = place();
    expect((await peftc(at, ["import", "models/tiny", "--output", "specs/tune.peft"])).code).toBe(0);
    expect(at.get("specs/tune.peft")).toMatch(/model gpt2 = GPT2LMHeadModel from "\.\.\/models\/tiny"/);
    expect(at.get("specs/tune.peft")).toMatch(/objective = causal_lm\(gpt2\)/);
    expect((await peftc(at, ["check", "specs/tune.peft"])).out).toMatch(/4 sites/);
    expect((await peftc(at, ["import", "models/tiny", "--output", "specs/tune.peft"])).err).toMatch(/P0825/);
    expect(importFolder("models/tiny", { cwd: at.folder, output: "specs/tune.peft" })).toEqual({
      text: at.get("specs/tune.peft"),
      notes: [],
    });
  });

  test("what a head's numbers are decides the objective", async () => {
    const at = place();
    const base = JSON.parse(at.get("models/tiny/config.json")) as JsonRecord;
    const labels = (n: number) => Object.fromEntries(Array.from({ length: n }, (_, i) => [i, `LABEL_${i}`]));
    for (const [fields, objective] of [
      [{ id2label: labels(3) }, "classification"],
      [{ id2label: labels(1) }, "regression"],
      [{ id2label: labels(2), problem_type: "regression" }, "regression"],
      [{ id2label: labels(3), problem_type: "multi_label_classification" }, "multi_label"],
      [{ id2label: labels(3), problem_type: "single_label_classification" }, "classification"],
    ] as const) {
      at.put("models/tiny/config.json", JSON.stringify({ ...base, ...fields, architectures: ["GPT2ForSequenceClassification"] }));
      const { out, code } = await peftc(at, ["import", "models/tiny"]);
      expect(code).toBe(0);
      expect(out).toMatch(new RegExp(`objective = ${objective}\\(gpt2\\)`));
    }
  });

  test("an adapter's configuration: selectors, options by pattern, heads, what meets nothing", async () => {
    const at = place();
    const config = {
      peft_type: "LORA",
      task_type: "CAUSAL_LM",
      base_model_name_or_path: "../models/tiny",
      r: 4,
      lora_alpha: 12,
      target_modules: ["c_attn", "c_proj", "q_proj"],
      rank_pattern: { "mlp.c_proj": 2 },
      modules_to_save: ["ln_f"],
      bias: "all",
    };
    at.put("adapter/adapter_config.json", JSON.stringify(config));
    const { code, out, err } = await peftc(at, ["import", "adapter"]);
    expect(code).toBe(0);
    expect(err).toMatch(/`q_proj` in target_modules meets nothing/);
    expect(out).toMatch(/attach lora = LoRA\(rank: 4, alpha: 12\) to gpt2\.transformer\.h\[0\]\.attn\.\{c_attn, c_proj\}\n/);
    expect(out).toMatch(/attach lora_ = LoRA\(rank: 2, alpha: 12\) to gpt2\.transformer\.h\[0\]\.mlp\.c_proj\n/);
    expect(out).toMatch(/params\s+= \[new, gpt2\.\*\*\.ln_f, gpt2\.\*\*\.bias\]/);
    at.put("adapter/adapter_config.json", JSON.stringify({ ...config, target_modules: ["ln_1"] }));
    expect((await peftc(at, ["import", "adapter"])).err).toMatch(/P0665.*`transformer\.h\.0\.ln_1`, which is a LayerNorm/);
    at.put("adapter/adapter_config.json", JSON.stringify({ ...config, base_model_name_or_path: "gpt2" }));
    expect((await peftc(at, ["import", "adapter"])).err).toMatch(/P0694.*`gpt2`/);
  });

  test("a class that is not there is refused by name, with its relatives or the nearest", async () => {
    const at = place();
    const config = JSON.parse(at.get("models/tiny/config.json"));
    const as = async (...architectures: string[]) => {
      at.put("m/config.json", JSON.stringify({ ...config, architectures }));
      return (await peftc(at, ["import", "m"])).err;
    };
    expect(await as("GPT2DoubleHeadsModel")).toMatch(/P0693.*GPT2DoubleHeadsModel/);
    expect(await as("GPT2ForMaskedLM")).toMatch(/of this family there are: GPT2LMHeadModel/);
    expect(await as("LlamForCausalLM")).toMatch(/P0693.*LlamForCausalLM[\s\S]*did you mean `LlamaForCausalLM`/);
  });
});

describe("setups of the adapters library", () => {
  const GOLDEN = path.resolve(import.meta.dirname, "../../golden");
  const single = (name: string) => ({ type: "single", children: [name] });
  const [a, b, c] = ["a", "b", "c"].map(single);
  const at = place();
  const copy = (from: string, to: string) => {
    for (const name of at.files.list(`${GOLDEN}/adapters/fusion-bert/${from}`)) {
      const file = `${GOLDEN}/adapters/fusion-bert/${from}/${name}`;
      writeFile(at.files, `setup/${to}/${name}`, at.files.read(file, 0, at.files.stat(file)!.size));
    }
  };
  for (const name of ["a", "b", "c"]) copy(name, name);
  copy("fusion", "a,b,c");
  const made = async (adapter_setup: object) => {
    at.put("setup/adapter_setup.json", JSON.stringify({ adapter_setup, head_setup: null, version: "adapters.1.2.0" }));
    const { code, out } = await peftc(at, ["import", "setup", "--base", `${GOLDEN}/models/bert-cls`, "--json"]);
    return code === 0 ? (JSON.parse(out).text as string).split("\n").filter((line) => /^(attach|model shelf)/.test(line)) : out;
  };
  const load = (name: string, to: string) => `attach ${name} = load("setup/${name}") to ${to}`;
  const shelf = expect.stringMatching(/^model shelf = bert /);

  test.each<[string, object, readonly unknown[]]>([
    ["one on top of the other", { type: "Stack", children: [a, b] }, [load("a", "bert"), load("b", "bert")]],
    [
      "fused",
      { type: "Fuse", children: [a, b, c] },
      [shelf, ...["a", "b", "c"].map((n) => load(n, "shelf")), 'attach a_b_c = load("setup/a,b,c", given: { sources: [a, b, c] }) to bert'],
    ],
    [
      "an average on top of another, with the weights as they are saved",
      { type: "Stack", children: [a, { type: "Average", children: [b, c], kwargs: { weights: [0.25, 0.75] } }] },
      [
        shelf,
        load("a", "bert"),
        load("b", "bert"),
        load("c", "shelf"),
        "attach average_of_b = Average([c], [0.25,0.75], normalize: false) to b",
      ],
    ],
    [
      "tokens apart",
      { type: "Split", children: [a, b, c], kwargs: { splits: [2, 3, 4] } },
      [shelf, load("a", "bert"), load("b", "shelf"), load("c", "shelf"), "attach split_of_a = Split([b, c], [2,3]) to a"],
    ],
  ])("%s", async (_name, setup, lines) => {
    expect(await made(setup)).toEqual(lines);
  });
  test("a folder of adapters becomes such a setup, and one is read back from it", async () => {
    at.files.remove("setup/a,b,c");
    at.files.remove("setup/adapter_setup.json");
    const base = ["--base", `${GOLDEN}/models/bert-cls`];
    const done = await peftc(at, ["convert", "setup", "--to", "adapters", "--output", "written", ...base]);
    expect([done.code, done.out]).toEqual([0, "wrote written: a, b, c, one on top of the other\n"]);
    expect(JSON.parse(at.get("written/adapter_setup.json"))).toEqual({
      adapter_setup: { type: "Stack", children: [a, b, c] },
      head_setup: null,
      version: "adapters.1.2.0",
    });
    expect(Buffer.from(at.bytes("written/b/adapter.safetensors"))).toEqual(Buffer.from(at.bytes("setup/b/adapter.safetensors")));
    expect((await peftc(at, ["import", "written", ...base])).out).toMatch(/attach c = load\("written\/c"\) to bert/);
  });
  test("what is not built is named", async () => {
    expect(await made({ type: "MultiTask", children: [a, b] })).toMatch(/P0665.*MultiTask is not built/);
    expect(await made({ type: "Fuse", children: [a, { type: "Stack", children: [b, c] }] })).toMatch(/P0665.*Stack in Fuse/);
    expect(await made({ type: "Stack" })).toMatch(/P0661.*\{ type, children \}/);
  });
});
