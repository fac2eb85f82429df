/** What a session promises beside results: order, memory, errors in words, an end. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "@jest/globals";
import type { Program, Session } from "../../src/ground/program.ts";
import { Builder } from "../../src/ir/build.ts";
import { Bug } from "../../src/ir/errors.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { DeviceLost, NoDevice, OutOfMemory } from "../../src/runtime/errors.ts";
import { openDevice, openWebGPU, type WebGPUDevice } from "../../src/runtime/webgpu.ts";
import { outputs } from "./support/run.ts";
import { programFor, testDevice } from "./support/webgpu.ts";

let device: WebGPUDevice;
beforeAll(async () => {
  device = await testDevice();
});
afterAll(() => device.close());

const b = new Builder({ path: "counter" });
/** Counts: the state grows by the input, `y0` is its new value. */
const counter = (): Graph => {
  const next = b.add(b.state("total", { dtype: "f32", shape: [4] }), b.input("by", { dtype: "f32", shape: [] }));
  return { results: [...outputs(next).results, { role: "state", name: "total", node: next }] };
};
const open = async (graph: Graph): Promise<{ program: Program; session: Session }> => {
  const program = await programFor([{ name: "main", graph }], device.limits);
  return { program, session: await openWebGPU(program, device) };
};

test("runs that are under way together come out in the order they were asked for", async () => {
  const { session } = await open(counter());
  await session.write("state", "total", new Float32Array(4));
  const runs = Array.from({ length: 9 }, (_, i) => session.run("main", { by: i + 1 }));
  const end = session.read("state", "total");
  expect((await Promise.all(runs)).map((r) => r.y0[3])).toEqual([1, 3, 6, 10, 15, 21, 28, 36, 45]);
  expect([...(await end)]).toEqual([45, 45, 45, 45]);
  await session.close();
});

test("parameters come back as they were written, more than a transfer at a time", async () => {
  const size = 1_500_000;
  const { session } = await open(outputs(b.add(b.param("w", [size]), 0.5)));
  const data = Float32Array.from({ length: size }, (_, i) => i % 8191);
  await session.write("param", "w", data);
  expect(Buffer.compare(Buffer.from((await session.read("param", "w")).buffer), Buffer.from(data.buffer))).toBe(0);
  // An output too large for the ring is read before the next run may write over it.
  const [first] = await Promise.all([session.run("main", {}), session.run("main", {})]);
  expect([first.y0[0], first.y0[size - 1]]).toEqual([0.5, ((size - 1) % 8191) + 0.5]);
  await session.close();
});

test("memory is what the plan says, and what is beside it", async () => {
  const { program, session } = await open(counter());
  expect(session.memory.planned).toBe(program.arenas.flatMap((a) => a.pages).reduce((x, y) => x + y, 0));
  expect(session.memory.platform).toBeGreaterThan(0);
  expect(session.device).toMatch(/^webgpu, /);
  await session.close();
});

describe("misuse is told in words", () => {
  test("names and sizes", async () => {
    const { session } = await open(counter());
    await expect(session.run("mian", {})).rejects.toThrow(/no entry mian/);
    await expect(session.run("main", {})).rejects.toThrow(/needs the input `by`/);
    await expect(session.run("main", { by: new Float32Array(2) })).rejects.toThrow(/has 1 elements \(\[\]\), not 2/);
    await expect(session.run("main", { by: new Int32Array(1) })).rejects.toThrow(/is f32: pass a Float32Array/);
    await expect(session.write("state", "total", new Float32Array(3))).rejects.toThrow(/has 4 elements, not 3/);
    await expect(session.read("param", "total")).rejects.toThrow(/no param total/);
    await session.close();
    await expect(session.read("state", "total")).rejects.toThrow(/closed/);
  });

  test("a program for a larger device, or for another target", async () => {
    const program = await programFor([{ name: "main", graph: counter() }], device.limits);
    const small = (limits: Partial<WebGPUDevice["limits"]>) => ({ ...device, limits: { ...device.limits, ...limits } });
    await expect(openWebGPU(program, small({ bindingBytes: 8 }))).rejects.toThrow(/this device binds at most 8/);
    await expect(openWebGPU(program, small({ bindings: 1 }))).rejects.toThrow(/this device allows 1/);
    await expect(openWebGPU({ ...program, target: "wasm" }, device)).rejects.toThrow(/built for wasm/);
  });

  test("a kernel that WebGPU refuses is our mistake, shown with its text", async () => {
    const program = await programFor([{ name: "main", graph: counter() }], device.limits);
    const broken = { ...program, kernels: program.kernels.map((k) => ({ ...k, code: k.code.replace("let at", "let at: bool") })) };
    const session = await openWebGPU(broken, device);
    const run = session.run("main", { by: 1 });
    await expect(run).rejects.toThrow(Bug);
    await expect(run).rejects.toThrow(/refuses the kernel[\s\S]*\d+:\d+ [\s\S]*let at: bool/);
    await session.close();
  });
});

describe("what a device can do", () => {
  test("refuse memory", async () => {
    const program = await programFor([{ name: "main", graph: counter() }], device.limits);
    const refusing = new Proxy(device.device, {
      get(target, key) {
        if (key === "popErrorScope") return async () => ({ ...(await target.popErrorScope()), message: "no room" });
        const value = Reflect.get(target, key) as unknown;
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
    const opening = openWebGPU(program, { ...device, device: refusing });
    await expect(opening).rejects.toThrow(OutOfMemory);
    await expect(opening).rejects.toMatchObject({ notes: expect.arrayContaining([expect.stringContaining("batch")]) });
  });

  test("go away", async () => {
    const other = await testDevice();
    const program = await programFor([{ name: "main", graph: counter() }], other.limits);
    const session = await openWebGPU(program, other);
    await session.write("state", "total", new Float32Array(4));
    await session.run("main", { by: 1 });
    await other.close();
    await expect(session.run("main", { by: 1 })).rejects.toThrow(DeviceLost);
    await expect(session.read("state", "total")).rejects.toThrow(DeviceLost);
    await session.close();
  });

  test("not be there", async () => {
    await expect(openDevice(undefined)).rejects.toThrow(NoDevice);
    await expect(openDevice({ requestAdapter: async () => null } as unknown as GPU)).rejects.toThrow(/no adapter on this machine/);
  });
});

test("a process that closes its device ends", () => {
  const here = (path: string) => JSON.stringify(fileURLToPath(new URL(path, import.meta.url)));
  const script = `
    import { testDevice } from ${here("./support/webgpu.ts")};
    const device = await testDevice();
    await device.close();
    console.log("closed", device.name.startsWith("webgpu"));`;
  const run = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], { encoding: "utf8", timeout: 60_000 });
  expect([run.stdout.trim(), run.status, run.signal]).toEqual(["closed true", 0, null]);
});
