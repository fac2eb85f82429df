/** Sources of the hub, fetched from a server of this machine into a cache of the test's own. */
import { lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import { parseSource } from "../../src/node/hub-names.ts";
import { type FakeHub, fakeHub } from "../support/hub.ts";
import { peftc, place } from "./support.ts";

const spec = (model: string, data: string) => `import { GPT2LMHeadModel } from "std/models/gpt2"
import { LoRA }            from "std/methods/lora"
import { causal_lm }       from "std/objectives"
// not this one: "hf://tiny/comment"
model gpt2 = GPT2LMHeadModel from "${model}"
attach lora = LoRA(rank: 2) to gpt2.transformer.h[*].attn.c_attn
train { objective = causal_lm(gpt2)  data = text("${data}")  sequence = 16  batch = 2  steps = 1 }
`;
const FILES = ["config.json", "model.safetensors", "vocab.json", "merges.txt", "tokenizer_config.json"];

let hub: FakeHub;
let cache: string;
const before = { ...process.env };

beforeEach(async () => {
  const at = place();
  const files = Object.fromEntries(FILES.map((name) => [name, at.bytes(`models/tiny/${name}`)]));
  const repo = { files: { ...files, "README.md": "no", "onnx/model.onnx": "no", "pytorch_model.bin": "no", "copy.safetensors": "no" } };
  hub = await fakeHub({
    "models/tiny/gpt2": { ...repo, revisions: ["v1"] },
    "models/tiny/secret": { ...repo, token: "hf_right" },
    "models/tiny/gated": { ...repo, gated: true },
    "datasets/tiny/text": { files: { "data/corpus.txt": at.get("corpus.txt"), "data/other.txt": "no" } },
  });
  cache = mkdtempSync(path.join(tmpdir(), "peftc-hub-"));
  Object.assign(process.env, { HF_HUB_CACHE: cache, HF_ENDPOINT: hub.url });
});
afterEach(async () => {
  await hub.close();
  for (const name of ["HF_HUB_CACHE", "HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE"]) {
    if (before[name] === undefined) delete process.env[name];
    else process.env[name] = before[name];
  }
});
const check = (model = "hf://tiny/gpt2", data = "corpus.txt") => peftc(place(spec(model, data)), ["check", "main.peft"]);

describe("sources of the hub", () => {
  test("are read as models and data; the cache is laid out as other tools have it, with what is needed only", async () => {
    const at = place(spec("hf://tiny/gpt2@v1", "hf://datasets/tiny/text/data/corpus.txt"));
    const { code, err } = await peftc(at, ["train", "main.peft", "--device", "wasm"]);
    expect([code, err.match(/fetching .*/g)]).toEqual([
      0,
      expect.arrayContaining([expect.stringMatching(/fetching hf:\/\/tiny\/gpt2@v1: model.safetensors \(\d+/)]),
    ]);
    const repo = path.join(cache, "models--tiny--gpt2");
    const sha = readFileSync(path.join(repo, "refs", "v1"), "utf8");
    expect(sha).toMatch(/^[0-9a-f]{40}$/);
    const snapshot = path.join(repo, "snapshots", sha);
    expect(readdirSync(snapshot).sort()).toEqual([...FILES].sort());
    expect(lstatSync(path.join(snapshot, "config.json")).isSymbolicLink()).toBe(true);
    expect(readlinkSync(path.join(snapshot, "model.safetensors"))).toMatch(/^\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/);
    expect(readdirSync(path.join(repo, "blobs"))).toHaveLength(FILES.length);
    const data = path.join(cache, "datasets--tiny--text", "snapshots");
    expect(readdirSync(path.join(data, readdirSync(data)[0], "data"))).toEqual(["corpus.txt"]);
    expect(hub.asked.some((asked) => asked.includes("comment"))).toBe(false);
  });
  test("are fetched once, and read offline", async () => {
    expect((await check()).code).toBe(0);
    const first = hub.asked.length;
    const again = await check();
    expect([again.code, again.err]).toEqual([0, ""]);
    expect(hub.asked.slice(first).every((asked) => asked.startsWith("/api/"))).toBe(true);
    process.env.HF_HUB_OFFLINE = "1";
    const asked = hub.asked.length;
    expect((await check()).code).toBe(0);
    expect(hub.asked).toHaveLength(asked);
    const missing = await check("hf://tiny/other");
    expect(missing.code).toBe(1);
    expect(missing.err).toMatch(/error P0678: `hf:\/\/tiny\/other` was not fetched\n {2}main.peft:5:35[\s\S]*HF_HUB_OFFLINE is set/);
  });
  test("are read from the cache where the hub cannot be reached", async () => {
    expect((await check()).code).toBe(0);
    process.env.HF_ENDPOINT = "http://127.0.0.1:9";
    expect((await check()).code).toBe(0);
    const missing = await check("hf://tiny/other");
    expect(missing.err).toMatch(/error P0678: `hf:\/\/tiny\/other` cannot be fetched: http:\/\/127.0.0.1:9 cannot be reached/);
  });
  test("what the hub does not give is said in words", async () => {
    const says = async (model: string, data?: string) => {
      const { code, err } = await check(model, data);
      expect(code).toBe(1);
      return err;
    };
    expect(await says("hf://tiny/none")).toMatch(
      /error P0677: `hf:\/\/tiny\/none` does not exist\n {2}main.peft:5:35[\s\S]*Repository not found[\s\S]*hf:\/\/datasets/,
    );
    expect(await says("hf://tiny/gpt2@v9")).toMatch(/error P0677.*does not exist\n[\s\S]*Invalid rev id: v9[\s\S]*is `v9` a branch/);
    expect(await says("hf://tiny/gpt2", "hf://datasets/tiny/text/data/none.txt")).toMatch(
      /error P0677.*has no `data\/none.txt`\n[\s\S]*data\/corpus.txt, data\/other.txt/,
    );
    expect(await says("hf://tiny/gated")).toMatch(/error P0677.*is gated[\s\S]*accept them at http/);
    expect(await says("hf://tiny/secret")).toMatch(/error P0677.*not for everybody[\s\S]*set HF_TOKEN/);
    process.env.HF_TOKEN = "hf_wrong";
    expect(await says("hf://tiny/secret")).toMatch(/HF_TOKEN is valid/);
    process.env.HF_TOKEN = "hf_right";
    expect((await check("hf://tiny/secret")).code).toBe(0);
    expect(await says("hf://tiny")).toMatch(/error P0676: `hf:\/\/tiny` names nothing/);
  });
  test("--json says what is fetched, an object a file", async () => {
    const at = place(spec("hf://tiny/gpt2", "corpus.txt"));
    const events = (await peftc(at, ["check", "main.peft", "--json"])).events();
    expect(
      events
        .filter(({ event }) => event === "fetch")
        .map(({ file }) => file)
        .sort(),
    ).toEqual([...FILES].sort());
  });
});

test("names of sources", () => {
  expect(parseSource("hf://a/b")).toMatchObject({ type: "model", name: "a/b", revision: "main", path: "" });
  expect(parseSource("hf://a/b@v1/c/d.txt")).toMatchObject({ name: "a/b", revision: "v1", path: "c/d.txt" });
  expect(parseSource("hf://datasets/a/b@refs%2Fpr%2F1")).toMatchObject({ type: "dataset", name: "a/b", revision: "refs/pr/1" });
});
