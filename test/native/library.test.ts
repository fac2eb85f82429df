/** A program as a library in C: it is loaded, and runs steps that give what the same run gives here. */
import fs from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { describe, expect } from "@jest/globals";
import { peftc, place, SPEC } from "../cli/support.ts";
import { nativeTest } from "./support.ts";

/** Offsets and sizes of a table in the C text. */
function table(text: string, name: string): Map<string, { offset: number; count: number }> {
  const body = new RegExp(`peftc_tensor ${name}\\[\\] = \\{\\n([\\s\\S]*?)\\n\\};`).exec(text)![1];
  return new Map(
    [...body.matchAll(/\{"(.+?)", (\d+)u, (\d+)u, '\w'\}/g)].map((m) => [m[1], { offset: Number(m[2]), count: Number(m[3]) }]),
  );
}

describe("build --target native", () => {
  nativeTest("writes a library whose steps are those of a run", async () => {
    // without dropout, rows in the order of the file: what a step reads is plain to see
    const at = place(SPEC.replace(", dropout: 0.1", "").replace(/generate \{.*\}\n/, ""));
    const built = await peftc(at, ["build", "main.peft", "--target", "native", "-o", "built", "--json"]);
    expect([built.code, built.err]).toEqual([0, ""]);
    const { files } = built.events().at(-1) as { files: string[] };
    expect(files).toEqual(expect.arrayContaining(["peftc.h", "peftc.c", "kernels-0.c", "values.bin", "libpeftc.so"]));

    const [header, source] = [at.get("built/peftc.h"), at.get("built/peftc.c")];
    const bytes = Number(/PEFTC_BYTES (\d+)u/.exec(header)![1]);
    const memory = new Uint8Array(new SharedArrayBuffer(bytes + 64));
    const koffi = createRequire(import.meta.url)("koffi") as {
      load(path: string): { func(declared: string): (...args: unknown[]) => void };
      address(view: Uint8Array): bigint;
    };
    const begin = Number((64n - (koffi.address(memory) % 64n)) % 64n);
    const aligned = memory.subarray(begin, begin + bytes);
    const library = koffi.load(join(at.folder, "built/libpeftc.so"));
    const values = fs.readFileSync(join(at.folder, "built/values.bin"));
    expect(values).toHaveLength(Number(/PEFTC_VALUES (\d+)u/.exec(header)![1]));
    library.func("void peftc_start(void *, void *)")(aligned, values);
    const [, declared] = /void peftc_run_step\(void \*memory((?:, double \w+)*)\)/.exec(header)!;
    const step = library.func(`void peftc_run_step(void *${declared})`);

    const inputs = table(source, "peftc_inputs_step");
    const loss = table(source, "peftc_outputs_step").get("loss")!;
    const words = (name: string) => new Int32Array(aligned.buffer, begin + inputs.get(name)!.offset, inputs.get(name)!.count);
    for (const name of inputs.keys()) words(name).fill(1);
    words("input_ids").forEach((_, i, ids) => {
      ids[i] = i % 7;
    });
    if (inputs.has("labels")) words("labels").set(words("input_ids"));
    const numbers = [...declared.matchAll(/double (\w+)/g)].map((m) => m[1]);
    const losses: number[] = [];
    for (let i = 0; i < 8; i++) {
      step(aligned, ...numbers.map((name) => (name === "steps" ? 8 : i)));
      losses.push(new Float32Array(aligned.buffer, begin + loss.offset, 1)[0]);
    }
    // it learns these rows by heart
    expect(losses.every(Number.isFinite)).toBe(true);
    expect(losses[7]).toBeLessThan(losses[0]);
  });

  nativeTest("refuses by name what it has no words for", async () => {
    const at = place(
      SPEC.replace("import { LoRA }", "import { LoRA, NF4 }")
        .replace("attach lora", "attach four = NF4() to gpt2.transformer.h[*].**: Linear\nattach lora")
        .replace("model gpt2", 'import { Linear } from "std/nn"\nmodel gpt2'),
    );
    const built = await peftc(at, ["build", "main.peft", "--target", "native", "-o", "built"]);
    expect([built.code, built.err]).toEqual([
      1,
      expect.stringMatching(/`build --target native` does not write `quantise`, which is computed on the host at loading, yet/),
    ]);
  });
});
