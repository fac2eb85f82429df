/** A compiled program in a page: on WebGPU, and on WebAssembly with and without threads; all agree with the meaning of the graph. */
import { fileURLToPath } from "node:url";
import { beforeAll, expect, test } from "@jest/globals";
import { compileProgram } from "../../src/backends/compile.ts";
import { guaranteed } from "../../src/ground/limits.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Tensor } from "../../src/ir/ops/index.ts";
import { type Given, given, outputs, values } from "../device/support/run.ts";
import { differences } from "../device/support/webgpu.ts";
import { bundleForPage, runInChromium } from "../support/chromium.ts";
import { tolerances } from "../tolerances.ts";

const b = new Builder({ path: "page" });
const x = b.input("x", { dtype: "f32", shape: [5, 12] });
const hidden = b.unary("tanh", b.matmul(x, b.param("w", [12, 9])));
const e = b.unary("exp", b.sub(hidden, b.reduce("max", hidden, [-1], true)));
const graph = outputs(b.div(e, b.reduce("sum", e, [-1], true)), b.reduce("sum", hidden));
const supplies: Given = given(graph, 11);

let runtime: string;
beforeAll(async () => {
  runtime = await bundleForPage(fileURLToPath(new URL("../../src/runtime/index.ts", import.meta.url)));
});

const numbers = (t: Tensor): number[] => [...values(t)];
/** What the page does with a session, whatever made it. */
const useSession = `
  await session.write("param", "w", Float32Array.from(given.w));
  const out = await session.run("main", { x: Float32Array.from(given.x) });
  const results = { device: session.device, y0: [...out.y0], y1: [...out.y1] };
  await session.close();
  return results;`;

async function inPage(files: Record<string, string | Uint8Array>, open: string, isolated = true): Promise<string> {
  const served = {
    ...files,
    "runtime.js": runtime,
    "given.json": JSON.stringify({ w: numbers(supplies.params.get("w")!), x: numbers(supplies.inputs.get("x")!) }),
  };
  const script = `
import { openDevice, openWasm, openWebGPU, startWorker } from "/runtime.js";
const json = async (name) => (await fetch(name)).json();
export default async () => {
  const given = await json("/given.json");
  ${open}
  ${useSession}
};`;
  const got = (await runInChromium(served, script, { isolated })) as { device: string; y0: number[]; y1: number[] };
  const results = new Map(["y0", "y1"].map((k) => [`output:${k}`, Float32Array.from(got[k as "y0" | "y1"])]));
  expect(differences(graph, supplies, results, tolerances.chain)).toEqual([]);
  return got.device;
}

test("WebGPU", async () => {
  const limits = { ...guaranteed, deviceClass: "software" as const };
  const { program } = await compileProgram([{ name: "main", graph }], { target: "webgpu", limits });
  const open = `const session = await openWebGPU(await json("/program.json"), await openDevice(navigator.gpu));`;
  expect(await inPage({ "program.json": JSON.stringify(program) }, open)).toMatch(/^webgpu, google swiftshader \(software\)/);
});

const wasm = async (workers: number, isolated: boolean) => {
  const { program, module } = await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers });
  const open = `
  const module = new Uint8Array(await (await fetch("/module.wasm")).arrayBuffer());
  const session = await openWasm(await json("/program.json"), module, { workers: ${workers}, startThread: startWorker });`;
  return inPage({ "program.json": JSON.stringify(program), "module.wasm": module! }, open, isolated);
};

test("WebAssembly on two threads", async () => {
  expect(await wasm(2, true)).toBe("wasm, 2 threads, plain");
});

test("WebAssembly without shared memory", async () => {
  expect(await wasm(1, false)).toBe("wasm, 1 thread, plain");
});

test("several threads without shared memory are refused with a sentence", async () => {
  await expect(wasm(2, false)).rejects.toThrow(
    /2 workers need shared memory, and this page has none, since it is not cross-origin isolated/,
  );
});
