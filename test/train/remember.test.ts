/** Equal graphs are compiled once, whatever their models are called, and from run to run where a folder keeps programs. */
import { mkdtempSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, test } from "@jest/globals";
import { Builder } from "../../src/ir/build.ts";
import { symbol } from "../../src/ir/dim.ts";
import { openEngine } from "../../src/node/engine.ts";
import { cacheFolder, programCache } from "../../src/node/program-cache.ts";
import type { EntryPoint } from "../../src/train/engine/engine.ts";
import { type BuildStore, rememberingEngine } from "../../src/train/engine/remember.ts";

/** out = frozen · x + factor · adapter, which learns: its next value is its double. */
function point(model: string, adapter: string, factor = 3): EntryPoint {
  const b = new Builder({ path: `${model}.layer` });
  const rows = symbol("B");
  const x = b.input("x", { dtype: "f32", shape: [rows] });
  const [w, a] = [b.param(`${model}.w`, [1]), b.param(`${adapter}.a`, [1])];
  const out = b.add(b.mul(x, b.broadcastTo(w, [rows])), b.broadcastTo(b.mul(a, factor), [rows]));
  const results = [
    { role: "output", name: "out", node: out },
    { role: "param", name: `${adapter}.a`, node: b.add(a, a) },
  ] as const;
  return { name: "step", graph: { results: [...results] }, sizes: new Map([["B", 2]]) };
}

async function counting(store?: BuildStore) {
  const inner = await openEngine("wasm", { without: [] });
  let builds = 0;
  const build: typeof inner.build = (...given) => {
    builds++;
    return inner.build(...given);
  };
  const engine = rememberingEngine({ ...inner, build }, "salt", store);
  const run = async (model: string, adapter: string, factor?: number, memory?: number) => {
    const built = await engine.build([point(model, adapter, factor)], { trained: [`${adapter}.a`], memory });
    const session = await engine.open(built);
    try {
      await session.write("param", `${model}.w`, Float32Array.of(10));
      await session.write("param", `${adapter}.a`, Float32Array.of(1));
      const { out } = await session.run("step", { x: Float32Array.of(1, 2) });
      return { out: [...out], next: [...(await session.read("param", `${adapter}.a`))], built };
    } finally {
      await session.close();
    }
  };
  return { run, builds: () => builds };
}

test("another model's names, in any order, and nothing else", async () => {
  const { run, builds } = await counting();
  for (const [model, adapter] of [
    ["m", "lora"],
    ["m_2", "lora_2"],
    ["lora", "m"],
  ])
    expect(await run(model, adapter)).toMatchObject({ out: [13, 23], next: [2] });
  expect(builds()).toBe(1);
  const { built } = await run("mm", "yy");
  expect(Object.keys(built.program.params).sort()).toEqual(["mm.w", "yy.a"]);
  // places are the new model's; kernels, which several may share, keep the names they were printed with
  expect(built.program.entries[0].steps.map((s) => s.label)).toEqual(["mm.layer add", "mm.layer mul"]);
  expect(builds()).toBe(1);
  expect((await run("m", "lora", 4)).out).toEqual([14, 24]);
  expect(builds()).toBe(2);
  await run("m", "lora", 3, 1e9);
  expect(builds()).toBe(3);
});

test("a name that is a word of the graph too stays what it is there", async () => {
  const { run, builds } = await counting();
  expect((await run("x", "lora")).out).toEqual([13, 23]);
  expect((await run("out", "step")).out).toEqual([13, 23]);
  expect((await run("m", "lora")).out).toEqual([13, 23]);
  expect(builds()).toBe(3);
});

test("models that are called as fields of a program, or as what fields say", async () => {
  for (const odd of ["arena", "frozen", "__proto__"]) {
    const folder = path.join(mkdtempSync(path.join(tmpdir(), "peftc-programs-")), "new");
    const { run } = await counting(programCache(folder));
    // before others and after them, and from a store that one of them wrote
    for (const [model, adapter] of [
      [odd, "lora"],
      ["m", odd],
      ["m", "lora"],
    ])
      expect(await run(model, adapter)).toMatchObject({ out: [13, 23], next: [2] });
    const other = await counting(programCache(mkdtempSync(path.join(tmpdir(), "peftc-programs-"))));
    for (const [model, adapter] of [
      [odd, "lora"],
      ["m", "lora"],
    ]) {
      const found = await other.run(model, adapter);
      expect(found).toMatchObject({ out: [13, 23], next: [2] });
      expect(found.built.program.tensors.map((t) => t.arena)).not.toContain(undefined);
    }
  }
});

test("from process to process: whole programs alone, and those that were used last", async () => {
  const folder = path.join(mkdtempSync(path.join(tmpdir(), "peftc-programs-")), "new");
  const first = await counting(programCache(folder));
  const { built } = await first.run("m", "lora");
  const again = async (names: readonly [string, string] = ["other", "adapter"]) => {
    const one = await counting(programCache(folder));
    return { ...(await one.run(...names)), builds: one.builds() };
  };
  const second = await again();
  expect(second).toMatchObject({ out: [13, 23], next: [2], builds: 0 });
  expect(Object.keys(second.built.program.params).sort()).toEqual(["adapter.a", "other.w"]);
  expect((await again(["m", "lora"])).built.program).toEqual(built.program);
  const [name] = readdirSync(folder);
  const file = path.join(folder, name);
  const whole = readFileSync(file);
  for (const broken of [Buffer.alloc(0), whole.subarray(0, -1), Buffer.from(whole).fill(7, 40, 41)]) {
    writeFileSync(file, broken);
    expect(await again()).toMatchObject({ out: [13, 23], builds: 1 });
  }
  const small = programCache(folder, 4 * whole.length + 1);
  for (let i = 0; i < 6; i++) {
    small.write(`k${i}`, built);
    utimesSync(path.join(folder, `k${i}.program`), i, i);
  }
  const kept = readdirSync(folder);
  expect(kept.reduce((sum, one) => sum + statSync(path.join(folder, one)).size, 0)).toBeLessThanOrEqual(4 * whole.length + 1);
  expect(kept).toContain("k5.program");
  expect(kept).not.toContain("k0.program");
  expect(small.read("nothing")).toBeUndefined();
});

test("a folder that cannot be written costs the programs, not the run", async () => {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "peftc-programs-")), "file");
  writeFileSync(file, "");
  const { run } = await counting(programCache(path.join(file, "below")));
  expect((await run("m", "lora")).out).toEqual([13, 23]);
});

test("where they lie", () => {
  expect(cacheFolder({ PEFTC_CACHE: "off", XDG_CACHE_HOME: "/x" })).toBeUndefined();
  expect(cacheFolder({ PEFTC_CACHE: "/own", XDG_CACHE_HOME: "/x" })).toBe("/own");
  expect(cacheFolder({ XDG_CACHE_HOME: "/x" })).toBe("/x/peftc");
});
