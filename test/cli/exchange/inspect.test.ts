import { describe, expect, test } from "@jest/globals";
import { writeSafetensors } from "../../../src/formats/safetensors/write.ts";
import { inspect } from "../../../src/index.ts";
import { peftc, place } from "../support.ts";

describe("peftc inspect", () => {
  test("an adapter that was trained: methods, places, shapes, and where it loads; train says the same", async () => {
    const at = place();
    const trained = await peftc(at, ["train", "main.peft", "--set", "train.steps=1"]);
    expect(trained.err).toMatch(
      /loads in peft: yes\n\s+loads in vLLM: yes\n\s+loads in llama\.cpp: yes, after `peftc convert --to gguf`\n\s+loads in mlx-lm: no, .*`model\.layers`/,
    );
    const { code, out } = await peftc(at, ["inspect", "runs/main/train", "--norms"]);
    expect(code).toBe(0);
    expect(out).toMatch(/an adapter in the layout of peft, LORA, for models\/tiny\n\s+256 parameters, task CAUSAL_LM/);
    expect(out).toMatch(/LoRA\(rank: 4, alpha: 8.*\) at 1 place\n\s+transformer\.h\[0\]\.attn\.c_attn\n\s+lora_A\.weight \[4, 16\]/);
    expect(out).toMatch(/lora_A\.weight\s+\d+\.\d+\s+\d\.\d+/);
    const [facts] = (await peftc(at, ["inspect", "runs/main/train", "--json", "--base", "models/tiny"])).events();
    expect(facts).toMatchObject({ kind: "adapter", layout: "peft", parameters: 256, parts: [{ method: "LoRA", options: { rank: 4 } }] });
    expect((facts.loads as { tool: string; loads: boolean }[]).map((v) => [v.tool, v.loads])).toEqual([
      ["peft", true],
      ["vLLM", true],
      ["llama.cpp", true],
      ["mlx-lm", false],
      ["adapters", false],
    ]);
    // the library says the same
    const found = await inspect("runs/main/train", { cwd: at.folder });
    expect(found).toMatchObject({ kind: "adapter", adapter: { layout: "peft", base: "models/tiny" }, loads: { verdicts: facts.loads } });
  });

  test("a checkpoint by kinds of tensors, a single file, values that are not finite", async () => {
    const at = place();
    const model = await peftc(at, ["inspect", "models/tiny"]);
    expect(model.out).toMatch(/^models\/tiny: GPT2LMHeadModel, 16 tensors/);
    expect(model.out).toMatch(/transformer\.h\[0\]\.\{?.*c_attn\.weight\s+\[16, 48\] F32/);
    writeSafetensors(at.files, "odd.safetensors", [{ name: "w", shape: [3], dtype: "F32", values: () => [3, Number.NaN, 4] }]);
    const [facts] = (await peftc(at, ["inspect", "odd.safetensors", "--norms", "--json"])).events();
    expect(facts).toMatchObject({ kind: "checkpoint", parameters: 3, norms: [{ name: "w", norm: 5, largest: 4, not_finite: 1 }] });
    expect((await peftc(at, ["inspect", "nothing"])).err).toMatch(/P0680/);
    at.put("empty/readme.txt", "");
    expect((await peftc(at, ["inspect", "empty"])).err).toMatch(/P0640/);
  });

  test("without its base an adapter is shown, and it is said what is missing", async () => {
    const at = place();
    at.put(
      "a/adapter_config.json",
      JSON.stringify({ peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["c_attn"], base_model_name_or_path: "gone" }),
    );
    writeSafetensors(at.files, "a/adapter_model.safetensors", [
      {
        name: "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight",
        shape: [2, 16],
        dtype: "F32",
        values: () => new Float32Array(32),
      },
      {
        name: "base_model.model.transformer.h.0.attn.c_attn.lora_B.weight",
        shape: [48, 2],
        dtype: "F32",
        values: () => new Float32Array(96),
      },
    ]);
    const { code, out } = await peftc(at, ["inspect", "a"]);
    expect([code, out]).toEqual([0, expect.stringMatching(/128 parameters[\s\S]*loads in\n\s+not known: .*`gone`.*--base/)]);
  });
});
