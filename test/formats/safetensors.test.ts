import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import { checkCopies, matchCheckpoint, openCheckpoint } from "../../src/formats/checkpoint.ts";
import { type Files, fileFailure } from "../../src/formats/files.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { narrow, widen } from "../../src/formats/safetensors/dtype.ts";
import { openSafetensors, TensorStore } from "../../src/formats/safetensors/read.ts";
import { type OutTensor, writeSafetensors, writeWeights } from "../../src/formats/safetensors/write.ts";
import { InputError } from "../../src/ir/errors.ts";
import { toBrain, toHalf } from "../../src/ir/ops/halves.ts";
import { NodeFiles } from "../../src/node/files.ts";

const golden = new NodeFiles("test/golden");

function refused(action: () => unknown): InputError {
  try {
    action();
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** A file from a header as given and this many bytes of data. */
function fileOf(header: string | object, data: number, length?: number): MemoryFiles {
  const json = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length ?? json.length), true);
  bytes.set(json, 8);
  return new MemoryFiles([["a.safetensors", bytes]]);
}

describe("malformed files", () => {
  const f32 = (start: number, end: number, shape: number[] = [(end - start) / 4]) => ({ dtype: "F32", shape, data_offsets: [start, end] });
  const cases: [name: string, files: MemoryFiles, code: string, says: RegExp][] = [
    ["no file", new MemoryFiles(), "P0680", /does not exist/],
    ["a folder", new MemoryFiles([["a.safetensors/b", ""]]), "P0683", /is a folder/],
    ["too short for a length", new MemoryFiles([["a.safetensors", "abc"]]), "P0610", /3 bytes/],
    ["a length past the end", fileOf({}, 0, 5000), "P0611", /5000 bytes/],
    ["a length past the bound", fileOf({}, 0, 100_000_001), "P0611", /100000001/],
    [
      "a Git LFS pointer",
      new MemoryFiles([["a.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n"]]),
      "P0611",
      /header of/,
    ],
    ["a header that is not JSON", fileOf('{"a": }', 0), "P0612", /line 1, column/],
    ["a header that starts with a space", fileOf(" {}", 0), "P0612", /starts with/],
    ["metadata of numbers", fileOf({ __metadata__: { n: 3 } }, 0), "P0613", /__metadata__\.n is the number 3/],
    ["metadata that is a list", fileOf({ __metadata__: [] }, 0), "P0613", /__metadata__ is a list/],
    ["an entry that is no object", fileOf({ w: 3 }, 0), "P0613", /`w`.*the number 3/],
    ["no type", fileOf({ w: { shape: [], data_offsets: [0, 4] } }, 4), "P0613", /dtype is nothing/],
    ["a negative size", fileOf({ w: { dtype: "F32", shape: [-1], data_offsets: [0, 4] } }, 4), "P0613", /shape is \[-1\]/],
    ["offsets backwards", fileOf({ w: { dtype: "F32", shape: [1], data_offsets: [4, 0] } }, 4), "P0613", /data_offsets is \[4,0\]/],
    ["an unknown type", fileOf({ w: { dtype: "F128", shape: [1], data_offsets: [0, 16] } }, 16), "P0614", /unknown type F128/],
    ["a size that is not shape times type", fileOf({ w: f32(0, 8, [3]) }, 8), "P0615", /8 bytes, but F32\[3\] takes 12/],
    ["an overlap", fileOf({ v: f32(0, 8), w: f32(4, 12) }, 12), "P0616", /`w` overlaps tensor `v` by 4/],
    ["a hole", fileOf({ v: f32(0, 4), w: f32(8, 12) }, 12), "P0616", /hole of 4 bytes between tensor `v` and tensor `w`/],
    ["a hole at the start", fileOf({ w: f32(4, 8) }, 8), "P0616", /hole of 4 bytes between the header/],
    ["data cut off", fileOf({ w: f32(0, 8) }, 7), "P0617", /ends at byte/],
    ["bytes left over", fileOf({ w: f32(0, 8) }, 9), "P0617", /1 bytes follow/],
  ];
  test.each(cases)("%s", (_name, files, code, says) => {
    const error = refused(() => openSafetensors(files, "a.safetensors"));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(says);
    expect(error.message).toContain("a.safetensors");
  });

  test("what the reference reader lets pass is read: scalars, nothing, unknown fields, spaces, misaligned data", () => {
    const header = `{"__metadata__":null,"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[],"data_offsets":[1,5],"more":1},"c":{"dtype":"F32","shape":[0,4],"data_offsets":[5,5]}}  `;
    const files = fileOf(header, 5);
    const bytes = files.content.get("a.safetensors")!;
    new DataView(bytes.buffer).setFloat32(bytes.length - 4, 1.5, true);
    const store = openSafetensors(files, "a.safetensors");
    expect(store.read("b")).toEqual(Float32Array.of(1.5));
    expect(store.read("c")).toEqual(new Float32Array(0));
    expect(refused(() => store.read("d")).code).toBe("P0623");
  });
});

describe("values", () => {
  const bytes = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  test("every type widens to what it says", () => {
    expect(widen("F64", bytes(Float64Array.of(0.1, -2)), 2, "t")).toEqual(Float32Array.of(0.1, -2));
    expect(widen("BF16", bytes(Uint16Array.of(0x3f80, 0xc049)), 2, "t")).toEqual(Float32Array.of(1, -3.140625));
    expect(widen("F16", bytes(Uint16Array.of(0x3c00, 0x0001, 0xfc00, 0x7bff)), 4, "t")).toEqual(
      Float32Array.of(1, 2 ** -24, -Infinity, 65504),
    );
    expect(widen("I64", bytes(BigInt64Array.of(-7n, 2147483647n)), 2, "t")).toEqual(Int32Array.of(-7, 2147483647));
    expect(widen("U32", bytes(Uint32Array.of(9)), 1, "t")).toEqual(Int32Array.of(9));
    expect(widen("I8", bytes(Int8Array.of(-1)), 1, "t")).toEqual(Int32Array.of(-1));
    expect(widen("BOOL", Uint8Array.of(0, 1, 2), 3, "t")).toEqual(Int32Array.of(0, 1, 1));
    expect(widen("F8_E4M3", Uint8Array.of(0x38, 0x7e, 0x01, 0x7f), 4, "t")).toEqual(Float32Array.of(1, 448, 2 ** -9, NaN));
    expect(widen("F8_E5M2", Uint8Array.of(0x3c, 0x7c, 0xfb), 3, "t")).toEqual(Float32Array.of(1, Infinity, -57344));
  });
  test("what does not fit or cannot be read is refused", () => {
    expect(refused(() => widen("I64", bytes(BigInt64Array.of(1n, 1n << 31n)), 2, "tensor `t`")).message).toMatch(
      /`t` holds 2147483648 \(element 1\)/,
    );
    expect(refused(() => widen("F4", Uint8Array.of(0), 2, "t")).code).toBe("P0620");
    expect(refused(() => narrow("U8", [256], "t")).code).toBe("P0622");
  });
  test("halves and bfloats round to nearest even and come back", () => {
    expect([toHalf(1), toHalf(2049), toHalf(65519), toHalf(65520), toHalf(2 ** -25), toHalf(-0)]).toEqual([
      0x3c00, 0x6800, 0x7bff, 0x7c00, 0, 0x8000,
    ]);
    expect([toBrain(1), toBrain(1 + 2 ** -8), toBrain(1 + 3 * 2 ** -8)]).toEqual([0x3f80, 0x3f80, 0x3f82]);
    for (let word = 0; word < 0x10000; word += 7) {
      const [half] = widen("F16", bytes(Uint16Array.of(word)), 1, "t");
      if (!Number.isNaN(half) && toHalf(half) !== word) throw new Error(`half ${word}`);
      const [brain] = widen("BF16", bytes(Uint16Array.of(word)), 1, "t");
      if (!Number.isNaN(brain) && toBrain(brain) !== word) throw new Error(`bfloat ${word}`);
    }
  });
});

describe("writing", () => {
  const out = (name: string, shape: number[], values: ArrayLike<number>, dtype: OutTensor["dtype"] = "F32"): OutTensor => ({
    name,
    shape,
    dtype,
    values: () => values,
  });

  test("golden files are written again byte for byte", () => {
    for (const path of [
      "models/gpt2-lm/model.safetensors",
      "models/bert-cls/model.safetensors",
      "peft/dora-bert-all/adapter_model.safetensors",
    ]) {
      const store = openSafetensors(golden, path);
      const tensors = [...store.tensors.values()].reverse().map(({ name, shape }) => out(name, [...shape], store.read(name)));
      const copy = new MemoryFiles();
      writeSafetensors(copy, "copy", tensors, store.metadata);
      expect(Buffer.from(copy.content.get("copy")!).equals(readFileSync(join("test/golden", path)))).toBe(true);
    }
  });

  test("what is written is read back, whatever the order, types and shapes", () => {
    const dtypes = ["F32", "F16", "BF16", "I32", "I64", "U8", "BOOL"] as const;
    const tensor = fc.record({
      name: fc.string({ minLength: 1 }),
      shape: fc.array(fc.nat(3), { maxLength: 3 }),
      dtype: fc.constantFrom(...dtypes),
    });
    fc.assert(
      fc.property(fc.uniqueArray(tensor, { selector: (t) => t.name, maxLength: 6 }), (specs) => {
        const named = specs.filter((t) => t.name !== "__metadata__" && t.name !== "__proto__");
        const make = (list: typeof named) =>
          list.map(({ name, shape, dtype }) => {
            const count = shape.reduce((a, b) => a * b, 1);
            return out(
              name,
              shape,
              Float32Array.from({ length: count }, (_, i) => (dtype === "BOOL" ? i % 2 : i)),
              dtype,
            );
          });
        const files = new MemoryFiles();
        writeSafetensors(files, "a", make(named));
        writeSafetensors(files, "b", make([...named].reverse()));
        expect(files.content.get("a")).toEqual(files.content.get("b"));
        const store = openSafetensors(files, "a");
        expect(store.metadata).toEqual({ format: "pt" });
        for (const t of make(named)) {
          expect(store.info(t.name)).toMatchObject({ dtype: t.dtype, shape: t.shape });
          expect([...store.read(t.name)]).toEqual([...(t.values() as Float32Array)]);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("pieces are the whole in order", () => {
    const files = new MemoryFiles();
    writeSafetensors(files, "a", [
      out(
        "w",
        [37],
        Float32Array.from({ length: 37 }, (_, i) => i),
      ),
    ]);
    const pieces = [...openSafetensors(files, "a").pieces("w", 16)];
    expect(pieces.map((p) => p.length)).toEqual([16, 16, 5]);
    expect(pieces.flatMap((p) => [...p])).toEqual([...Array(37).keys()]);
  });

  test("a full disk leaves the old file and nothing else", () => {
    const memory = new MemoryFiles([["a", "old"]]);
    let abandoned = 0;
    const full: Files = Object.assign(Object.create(memory) as Files, {
      draft: (path: string) => {
        let written = 0;
        return {
          write: (bytes: Uint8Array) => {
            written += bytes.length;
            if (written > 150) throw fileFailure(path, "ENOSPC", "no space left on device");
          },
          commit: () => {
            throw new Error("committed");
          },
          abandon: () => void abandoned++,
        };
      },
    });
    const error = refused(() => writeSafetensors(full, "a", [out("w", [64], new Float32Array(64))]));
    expect(error.code).toBe("P0682");
    expect(error.message).toMatch(/`a`.*disk is full/);
    expect(abandoned).toBe(1);
    expect(memory.content.get("a")).toEqual(new TextEncoder().encode("old"));
  });

  test("on a real disk a failed write leaves no trace", () => {
    const folder = mkdtempSync(join(tmpdir(), "peftc-"));
    try {
      const files = new NodeFiles(folder);
      const bad = out("w", [4], [1, 2, 3, 300], "U8");
      expect(() => writeSafetensors(files, "x/a.safetensors", [bad])).toThrow(InputError);
      expect(readdirSync(join(folder, "x"))).toEqual([]);
      writeSafetensors(files, "x/a.safetensors", [out("w", [4], [1, 2, 3, 255], "U8")]);
      expect(readdirSync(join(folder, "x"))).toEqual(["a.safetensors"]);
      expect(openSafetensors(files, "x/a.safetensors").read("w")).toEqual(Int32Array.of(1, 2, 3, 255));
      expect(refused(() => files.draft("x")).code).toBe("P0683");
      expect(refused(() => files.list("y")).code).toBe("P0680");
      expect(files.stat("x/a.safetensors/b")).toBeUndefined();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("past the bound weights go to shards, and a smaller save takes the stale ones away", () => {
    const files = new MemoryFiles();
    const tensors = ["a", "b", "c"].map((name, i) => out(name, [4], Float32Array.of(i, i, i, i)));
    expect(writeWeights(files, "m", tensors, 32)).toEqual([
      "model-00001-of-00002.safetensors",
      "model-00002-of-00002.safetensors",
      "model.safetensors.index.json",
    ]);
    const store = openCheckpoint(files, "m")!;
    expect([...store.tensors.keys()].sort()).toEqual(["a", "b", "c"]);
    expect(store.read("c")).toEqual(Float32Array.of(2, 2, 2, 2));
    writeWeights(files, "m", tensors);
    expect(files.list("m")).toEqual(["model.safetensors"]);
  });
});

describe("shards", () => {
  test("the golden shards hold what the single file holds", () => {
    const whole = openCheckpoint(golden, "models/llama-lm")!;
    const shards = openCheckpoint(golden, "models/llama-sharded")!;
    expect([...shards.tensors.keys()].sort()).toEqual([...whole.tensors.keys()].sort());
    for (const name of whole.tensors.keys()) expect(shards.read(name)).toEqual(whole.read(name));
  });

  function broken(change: (files: MemoryFiles) => void): InputError {
    const files = new MemoryFiles();
    const out = (name: string): OutTensor => ({ name, shape: [1], dtype: "F32", values: () => [1] });
    writeWeights(files, "m", [out("a"), out("b")], 4);
    change(files);
    return refused(() => openCheckpoint(files, "m"));
  }
  const index = "m/model.safetensors.index.json";
  test("broken sets are refused, each for its reason", () => {
    expect(broken((f) => f.remove("m/model-00002-of-00002.safetensors"))).toMatchObject({
      code: "P0680",
      message: expect.stringContaining("model-00002"),
    });
    expect(broken((f) => void f.content.set(index, new TextEncoder().encode('{"weight_map": 1}')))).toMatchObject({ code: "P0618" });
    expect(broken((f) => void f.content.set(index, new TextEncoder().encode("{")))).toMatchObject({ code: "P0686" });
    expect(broken((f) => void f.content.set(index, new TextEncoder().encode('{"weight_map": {"a": "../x"}}')))).toMatchObject({
      code: "P0618",
    });
    const wrong = '{"weight_map": {"a": "model-00002-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}';
    expect(broken((f) => void f.content.set(index, new TextEncoder().encode(wrong)))).toMatchObject({
      code: "P0619",
      message: expect.stringContaining("`a`"),
    });
    const extra = broken((f) => {
      writeSafetensors(f, "m/model-00001-of-00002.safetensors", [
        { name: "a", shape: [1], dtype: "F32", values: () => [1] },
        { name: "z", shape: [1], dtype: "F32", values: () => [1] },
      ]);
    });
    expect(extra).toMatchObject({ code: "P0619", message: expect.stringContaining("`z`") });
  });

  test("a tensor serves a parameter that older files have no other for; one of its own comes first", () => {
    const wanted = [
      { path: "head.bias", shape: [2] },
      { path: "head.decoder.bias", shape: [2], otherwise: "head.bias" },
    ];
    const file = (...names: string[]) => new Map(names.map((name) => [name, { shape: [2] }]));
    const own = matchCheckpoint(wanted, file("head.bias", "head.decoder.bias"));
    expect(own.found.get("head.decoder.bias")).toBe("head.decoder.bias");
    const old = matchCheckpoint(wanted, file("m.head.bias"));
    expect([...old.found]).toEqual([
      ["head.bias", "m.head.bias"],
      ["head.decoder.bias", "m.head.bias"],
    ]);
    expect(old.missing).toEqual([]);
    expect(matchCheckpoint(wanted, file("head.decoder.bias")).missing).toEqual(["head.bias"]);
  });
  test("a second copy of a tied parameter that differs in its last value is refused", () => {
    const of = (last: number, dtype: OutTensor["dtype"]) => {
      const files = new MemoryFiles();
      const out = (name: string, x: number, type: OutTensor["dtype"]): OutTensor => ({
        name,
        shape: [2],
        dtype: type,
        values: () => [1, x],
      });
      writeWeights(files, "m", [out("wte.weight", 2, "F32"), out("head.weight", last, dtype)]);
      checkCopies(openCheckpoint(files, "m")!, { copies: [{ path: "head.weight", tensor: "head.weight", of: "wte.weight" }] }, "m");
    };
    expect(() => of(2, "F32")).not.toThrow();
    expect(() => of(2, "BF16")).not.toThrow();
    const error = refused(() => of(3, "F32"));
    expect(error).toMatchObject({ code: "P0641", message: expect.stringContaining("`head.weight` with other values than `wte.weight`") });
  });

  test("a folder in other formats only says how to convert", () => {
    const error = refused(() => openCheckpoint(new MemoryFiles([["m/tf_model.h5", ""]]), "m"));
    expect(error.code).toBe("P0640");
    expect(error.notes.join("\n")).toMatch(/tf_model.h5[\s\S]*save_pretrained/);
    expect(openCheckpoint(new MemoryFiles(), "m")).toBeUndefined();
  });
});

describe("weights for a device", () => {
  const tensors: OutTensor[] = (["F32", "F16", "BF16", "I64", "I32", "I16", "U8", "BOOL"] as const).map((dtype) => ({
    name: dtype,
    shape: [7, 5],
    dtype,
    values: () => Float32Array.from({ length: 35 }, (_, i) => (dtype === "BOOL" ? i % 2 : i)),
  }));
  test("are what is read, from any place on, into shared memory as well", async () => {
    const files = new MemoryFiles();
    writeSafetensors(files, "a.safetensors", tensors);
    const folder = mkdtempSync(join(tmpdir(), "peftc-"));
    writeSafetensors(new NodeFiles(folder), "a.safetensors", tensors);
    for (const store of [openSafetensors(files, "a.safetensors"), openSafetensors(new NodeFiles(folder), "a.safetensors")]) {
      for (const { name } of tensors) {
        const weights = store.weights(name);
        const whole = Float32Array.from(store.read(name));
        expect(weights.length).toBe(35);
        const into = new Float32Array(new SharedArrayBuffer(4 * 16));
        await weights.fill(into, 8);
        expect([...into]).toEqual([...whole.subarray(8, 24)]);
        const words = new Uint16Array(16);
        await weights.fillWords(words, 8, "bf16");
        expect([...words]).toEqual([...whole.subarray(8, 24)].map(toBrain));
      }
    }
    rmSync(folder, { recursive: true });
  });

  test("a large file is told from others by size, time and header; a small one, or one without a time, is not", () => {
    const files = new MemoryFiles();
    writeSafetensors(files, "a.safetensors", tensors);
    const { tensors: infos } = openSafetensors(files, "a.safetensors");
    const stamp = (name: string, size: number, changed?: number) => {
      const large: Files = Object.assign(Object.create(files), { stat: () => ({ kind: "file", size, ...(changed && { changed }) }) });
      return new TensorStore(large, infos, {}).stamp(name);
    };
    expect(stamp("F32", 1e6, 5)).toBeUndefined();
    expect(stamp("F32", 1e9)).toBeUndefined();
    const first = stamp("F32", 1e9, 5);
    expect(first).toEqual(expect.any(String));
    expect(stamp("F32", 1e9, 5)).toBe(first);
    expect(stamp("F32", 1e9, 6)).not.toBe(first);
    expect(stamp("F32", 1e9 + 1, 5)).not.toBe(first);
    expect(stamp("I32", 1e9, 5)).not.toBe(first);
  });
});
