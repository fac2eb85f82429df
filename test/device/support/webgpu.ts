/** Runs graphs on WebGPU: the machine's adapter, or SwiftShader's. */
import { compileProgram, type EntrySource } from "../../../src/backends/compile.ts";
import type { WebGPULimits } from "../../../src/ground/limits.ts";
import type { Program, Session, Values } from "../../../src/ground/program.ts";
import type { Graph } from "../../../src/ir/graph.ts";
import { interpret } from "../../../src/ir/interpret.ts";
import { dawn } from "../../../src/node/dawn.ts";
import { openDevice, openWebGPU, type WebGPUDevice } from "../../../src/runtime/webgpu.ts";
import { loadVulkan } from "../../support/swiftshader.ts";
import { type Given, resultsOf, values } from "./run.ts";

/** A device of its own for a test file; destroy it at the end. */
export async function testDevice(): Promise<WebGPUDevice> {
  loadVulkan();
  return openDevice(await dawn());
}

export async function programFor(entries: readonly EntrySource[], limits: WebGPULimits): Promise<Program> {
  return (await compileProgram(entries, { target: "webgpu", limits })).program;
}

/** Writes the parameters and states of a program. */
export async function supply(session: Session, program: Program, given: Given): Promise<void> {
  for (const name of Object.keys(program.params)) await session.write("param", name, values(given.params.get(name)!));
  for (const name of Object.keys(program.states)) await session.write("state", name, values(given.states.get(name)!));
}

/** The results of one graph, by `resultKey`. `limits`: those to compile for, the device's own unless told. */
export async function runWebGPU(device: WebGPUDevice, graph: Graph, given: Given, limits = device.limits): Promise<Map<string, Values>> {
  const program = await programFor([{ name: "main", graph }], limits);
  const session = await openWebGPU(program, device);
  try {
    await supply(session, program, given);
    return await resultsOf(session, graph, given);
  } finally {
    await session.close();
  }
}

/**
 * Where results do not agree with f64: every finite element within `tolerance` of the largest, integers and conditions exactly, NaN where the
 * interpreter has NaN. At most twenty places.
 */
export function differences(graph: Graph, given: Given, got: ReadonlyMap<string, Values>, tolerance: number): string[] {
  const wrong: string[] = [];
  for (const [key, want] of interpret(graph, given)) {
    const have = got.get(key)!;
    const scale = want.data.reduce((m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m), 0);
    const allowed = want.dtype === "f32" ? tolerance * scale : 0;
    want.data.forEach((v, i) => {
      const same = Number.isNaN(v) ? Number.isNaN(have[i]) : !Number.isFinite(v) || Math.abs(v - have[i]) <= allowed;
      if (!same) wrong.push(`${key}[${i}] is ${have[i]} instead of ${v}`);
    });
    if (have.length !== want.data.length) wrong.push(`${key} has ${have.length} elements instead of ${want.data.length}`);
  }
  return wrong.slice(0, 20);
}
