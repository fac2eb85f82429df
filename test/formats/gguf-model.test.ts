/** Whole models as GGUF: bytes of blocks as the gguf library for Python writes them (0.19), names, turned and paired rows, refusals. */
import path from "node:path";
import { expect, test } from "@jest/globals";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { openCheckpoint } from "../../src/formats/checkpoint.ts";
import { encodeBlocks, type GgufType } from "../../src/formats/gguf-blocks.ts";
import { encodeGgufModel } from "../../src/formats/gguf-model.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { peftc, place } from "../cli/support.ts";
import { refusal } from "../support/refusal.ts";

const values = Float32Array.from({ length: 64 }, (_, i) => (((i * 37) % 64) - 29) / 16 + (i % 5) / 64);
const BYTES: readonly (readonly [GgufType, string])[] = [
  [
    "f16",
    "40bf2038a0bcb03c00b8003f002d60bee03980bb403dc0b5e03fc03480bd003b60ba203e80b060400037f0bc603ca0b8003f0000b0be403910bc403d00b7903f0033d0bd003b00bbd03d00b33840003740bd103c40b9b03e000000bfa03860bcf03c00b7403f803020be603a00bb803dc0b41040c03540bd803be0b9603e00ad",
  ],
  [
    "q8_0",
    "6924971ebd44e36605a32bca4ceb7211b033d259f87f19b840de66009f26c54ce76e41240da935cb57f37f1ab13dd865009723be4ae66d08a430cb53ee7a16b138d460fb",
  ],
  ["q4_0", "60b4bf269c046ad248ae258be369c137ad1538b437ae157be259b0369d047ad248bf268c"],
];
test.each(BYTES)("%s", (type, hex) => {
  expect(Buffer.from(encodeBlocks(type, values)).toString("hex")).toBe(hex);
  // nothing but zeros divides by nothing; of q4_0 the zero is code 8, and its scale -0
  expect(new Set(encodeBlocks(type, new Float32Array(32)).slice(2))).toEqual(new Set([type === "q4_0" ? 0x88 : 0]));
});

const files = new NodeFiles();
const mappings = readMappings(files, "specs/std/methods", "specs/std/models");
const MODELS = path.resolve(import.meta.dirname, "../../specs/examples/models");

test("names, facts and vocabulary; matrices of GPT-2 turned, rows of LLaMA's heads paired", () => {
  const gpt2 = encodeGgufModel(files, `${MODELS}/tiny-gpt2`, "q8_0", mappings);
  expect(gpt2.facts).toMatchObject({
    "general.architecture": "gpt2",
    "gpt2.block_count": { u32: 4 },
    "tokenizer.ggml.pre": "gpt-2",
    "general.file_type": { u32: 7 },
  });
  expect((gpt2.facts["tokenizer.ggml.tokens"] as { strings: string[] }).strings).toHaveLength(8192);
  const one = (of: typeof gpt2, name: string) => of.tensors.find((t) => t.name === name)!;
  const up = one(gpt2, "blk.0.ffn_up.weight");
  const own = openCheckpoint(files, `${MODELS}/tiny-gpt2`)!;
  const stored = own.tensors.has("transformer.h.0.mlp.c_fc.weight") ? "transformer.h.0.mlp.c_fc.weight" : "h.0.mlp.c_fc.weight";
  const [rows, columns] = own.info(stored).shape;
  expect([up.shape, up.type]).toEqual([[columns, rows], "q8_0"]);
  expect(up.values()[1]).toBe(own.read(stored)[columns]);
  expect([one(gpt2, "blk.0.attn_norm.bias").type, one(gpt2, "position_embd.weight").type]).toEqual(["f32", "f32"]);
  const llama = encodeGgufModel(files, `${MODELS}/tiny-llama`, "f16", mappings);
  const q = one(llama, "blk.0.attn_q.weight");
  const weights = openCheckpoint(files, `${MODELS}/tiny-llama`)!.read("model.layers.0.self_attn.q_proj.weight");
  const width = q.shape[1];
  const head = q.shape[0] / Number((llama.facts["llama.attention.head_count"] as { u32: number }).u32);
  // the second row is the first of the head's second half
  expect(Array.from(q.values()).slice(width, 2 * width)).toEqual(Array.from(weights.slice((head / 2) * width, (head / 2 + 1) * width)));
});

test("convert --to gguf of a model's folder; what is not written is refused by name", async () => {
  const at = place();
  const run = await peftc(at, ["convert", `${MODELS}/tiny-llama`, "--to", "gguf", "--type", "q4_0", "--output", "m.gguf"]);
  expect([run.code, run.err, run.out]).toEqual([0, "", expect.stringMatching(/^wrote m\.gguf: \d+ tensors, matrices in q4_0\n$/)]);
  const bytes = at.bytes("m.gguf");
  expect([new TextDecoder().decode(bytes.slice(0, 4)), bytes.length % 32]).toEqual(["GGUF", 0]);
  expect((await peftc(at, ["convert", `${MODELS}/tiny-llama`, "--to", "gguf", "--output", "m.gguf"])).err).toMatch(/P0825/);
  expect((await peftc(at, ["convert", `${MODELS}/tiny-llama`, "--to", "gguf", "--type", "q5", "--output", "n.gguf"])).err).toMatch(
    /no such type/,
  );
  const golden = path.resolve(import.meta.dirname, "../golden/models");
  expect(refusal(() => encodeGgufModel(files, `${golden}/bert-cls`, "f16", mappings))).toMatch(
    /P0671[\s\S]*models of the type bert are not known/,
  );
  expect(refusal(() => encodeGgufModel(files, `${golden}/llama-lm`, "f16", mappings))).toMatch(/P0671[\s\S]*tokenizer\.json/);
});
