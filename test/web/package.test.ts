/** A built package in a page, through its own `index.mjs` and with the runtime alone: no compiler is there. */
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "@jest/globals";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { guaranteed } from "../../src/ground/limits.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { backendEngine } from "../../src/train/engine/backend.ts";
import { writePackage } from "../../src/train/engine/package.ts";
import { type Given, given, values } from "../device/support/run.ts";
import { differences } from "../device/support/webgpu.ts";
import { bundleForPage, runInChromium } from "../support/chromium.ts";
import { tolerances } from "../tolerances.ts";

// One update of a linear map by its gradient: the parameter changes in place, from run to run.
const b = new Builder({ path: "line" });
const w = b.param("w", [6, 2]);
const error = b.sub(b.matmul(b.input("x", { dtype: "f32", shape: [4, 6] }), w), b.input("y", { dtype: "f32", shape: [4, 2] }));
const loss = b.reduce("mean", b.mul(error, error));
const graph: Graph = {
  results: [
    { role: "output", name: "loss", node: loss },
    { role: "param", name: "w", node: b.sub(w, b.mul(0.1, b.grad(loss, w))) },
  ],
};
const supplies: Given = given({ results: [{ role: "output", name: "loss", node: loss }] }, 21);

const files: Record<string, string | Uint8Array> = {};
beforeAll(async () => {
  const driver = {
    device: "",
    reason: "",
    memory: Number.POSITIVE_INFINITY,
    depth: 1,
    open: () => {
      throw new Error("only built");
    },
  };
  const entries = [{ name: "step", graph, sizes: new Map<string, number>() }];
  const build = (target: Parameters<typeof backendEngine>[0]["target"]) =>
    backendEngine({ ...driver, target }).build(entries, { trained: ["w"] });
  const folder = new MemoryFiles();
  writePackage(folder, "built", {
    wasm: await build({ target: "wasm", arithmetic: "plain", workers: 1 }),
    webgpu: await build({ target: "webgpu", limits: guaranteed }),
    title: "line.peft",
    version: "0.0.0",
    param: (name) => values(supplies.params.get(name)!),
    state: (name) => values(supplies.states.get(name)!),
  });
  for (const [name, content] of folder.content) files[name] = content;
  files["runtime.js"] = await bundleForPage(fileURLToPath(new URL("../../src/runtime/index.ts", import.meta.url)));
});

test("both devices take the same steps", async () => {
  const list = (name: string) => JSON.stringify([...values(supplies.inputs.get(name)!)]);
  const script = `
import { open } from "/built/index.mjs";
export default async () => {
  const x = Float32Array.from(${list("x")}), y = Float32Array.from(${list("y")});
  const results = {};
  for (const device of ["wasm", "webgpu"]) {
    const line = await open({ device });
    const first = await line.step({ x, y });
    const second = await line.step({ x, y });
    results[device] = { losses: [first.loss[0], second.loss[0]], w: [...(await line.read("param", "w"))] };
    await line.close();
  }
  return results;
};`;
  const got = (await runInChromium(files, script, { imports: { "peftc/runtime": "/runtime.js" } })) as Record<
    "wasm" | "webgpu",
    { losses: number[]; w: number[] }
  >;
  for (const { losses } of [got.wasm, got.webgpu]) {
    const lossOnly: Graph = { results: [graph.results[0]] };
    expect(differences(lossOnly, supplies, new Map([["output:loss", Float32Array.of(losses[0])]]), tolerances.chain)).toEqual([]);
    expect(losses[1]).toBeLessThan(losses[0]);
  }
  got.wasm.w.forEach((v, i) => {
    expect(got.webgpu.w[i]).toBeCloseTo(v, 5);
  });
});
