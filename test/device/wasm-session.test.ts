/** Sessions on WebAssembly: threads, memory, entries, failures. */
import { spawnSync } from "node:child_process";
import { describe, expect, test } from "@jest/globals";
import { compileProgram, type EntrySource } from "../../src/backends/compile.ts";
import { peakBytes } from "../../src/backends/plan.ts";
import type { Values } from "../../src/ground/program.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { startThread } from "../../src/node/threads.ts";
import { openReference } from "../../src/runtime/reference.ts";
import type { StartThread, Thread } from "../../src/runtime/threads.ts";
import { rangesOf } from "../../src/runtime/wasm/team.ts";
import { openWasm } from "../../src/runtime/wasm.ts";
import { difference, given, meaning, numbers, openGraphs, outputs, runWasm } from "./support/run.ts";

const b = new Builder({ path: "session" });

/** Two layers with a row kernel between, every kernel with enough units for several workers. */
function layers(rows = 50): Graph {
  const x = b.input("x", { dtype: "f32", shape: [rows, 24] });
  const h = b.unary("tanh", b.add(b.dot(x, b.param("w", [24, 70]), { lhsContract: [1], rhsContract: [0] }), b.param("c", [70])));
  const e = b.unary("exp", b.sub(h, b.reduce("max", h, [1], true)));
  const y = b.div(e, b.reduce("sum", e, [1], true));
  return outputs(y, b.reduce("sum", h, [0]), b.reduce("sum", y, [0, 1]));
}

const random = (n: number, seed: number): Float32Array => Float32Array.from({ length: n }, numbers(seed));

describe("threads", () => {
  test("results are the same bits for one, two, four and eight workers, run after run", async () => {
    const graph = layers(300);
    const g = given(graph, 5);
    const one = await runWasm(graph, g, { workers: 1 });
    for (const workers of [2, 4, 8]) {
      const session = await openGraphs([{ name: "main", graph }], { workers });
      for (const [name, t] of g.params) await session.write("param", name, Float32Array.from(t.data));
      for (let run = 0; run < 5; run++) {
        const out = await session.run("main", { x: Float32Array.from(g.inputs.get("x")!.data) });
        for (const name of ["y0", "y1", "y2"]) expect(out[name]).toEqual(one.get(`output:${name}`));
      }
      await session.close();
    }
  });

  test("what is to be done when all is loaded is done once, before the first run", async () => {
    const { program, module } = await compileProgram(
      [{ name: "main", graph: outputs(b.add(b.param("w", [4]), b.input("x", { dtype: "f32", shape: [4] }))) }],
      {
        target: "wasm",
        arithmetic: "plain",
        workers: 1,
      },
    );
    const seen: string[] = [];
    const session = await openWasm(program, module!, {
      workers: 1,
      settle: async () => {
        seen.push("settle");
      },
    });
    await session.write("param", "w", new Float32Array(4));
    for (let run = 0; run < 2; run++) {
      await session.run("main", { x: new Float32Array(4) });
      seen.push("run");
    }
    expect(seen).toEqual(["settle", "run", "run"]);
    await session.close();
  });

  test("a worker that dies is an error of the run, and of every later one", async () => {
    const threads: Thread[] = [];
    const start: StartThread = () => {
      const t = startThread();
      threads.push(t);
      return t;
    };
    const { program, module } = await compileProgram([{ name: "main", graph: layers() }], {
      target: "wasm",
      arithmetic: "plain",
      workers: 2,
    });
    // A module that lacks the functions: the workers fail in their first step.
    const empty = await compileProgram([{ name: "main", graph: outputs(b.param("w", [24, 70])) }], {
      target: "wasm",
      arithmetic: "plain",
      workers: 2,
    });
    const pages = Number(/memory (\d+)/.exec(program.wat!)![1]);
    expect(Number(/memory (\d+)/.exec(empty.program.wat!)![1])).toBe(pages);
    const session = await openWasm(program, empty.module!, { workers: 2, startThread: start });
    await expect(session.run("main", { x: new Float32Array(50 * 24) })).rejects.toThrow("a worker thread failed");
    await expect(session.run("main", { x: new Float32Array(50 * 24) })).rejects.toThrow("a worker thread failed");
    await session.close();
    expect(threads.length).toBe(2);
    expect(module!.length).toBeGreaterThan(0);
  });

  test("a worker that sleeps through a run holds up nobody, and what it misses is done by others", async () => {
    const graph = layers(300);
    const g = given(graph, 5);
    const one = await runWasm(graph, g, { workers: 1 });
    // the second worker only says that it is there
    let number = 0;
    const absent: StartThread = () => {
      if (number++ !== 1) return startThread();
      let told: (m: unknown) => void = () => {};
      return { send: () => told({ kind: "ready" }), listen: (message) => (told = message), hold: () => {}, end: async () => {} };
    };
    const { program, module } = await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers: 2 });
    const session = await openWasm(program, module!, { workers: 2, startThread: absent });
    for (const [name, t] of g.params) await session.write("param", name, Float32Array.from(t.data));
    for (let run = 0; run < 3; run++) {
      const out = await session.run("main", { x: Float32Array.from(g.inputs.get("x")!.data) });
      for (const name of ["y0", "y1", "y2"]) expect(out[name]).toEqual(one.get(`output:${name}`));
    }
    await session.close();
  });

  test("a command's kernels are compiled by the optimising compiler before anything runs, other modules as usual", () => {
    const script = `
      import { setFlagsFromString } from "node:v8";
      import { compileOptimised } from "./src/node/threads.ts";
      setFlagsFromString("--allow-natives-syntax");
      const kind = async (constant, compile) => {
        // (module (func (export "f") (result i32) (i32.const ...)))
        const bytes = Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 127, 3, 2, 1, 0, 7, 5, 1, 1, 102, 0, 0, 10, 6, 1, 4, 0, 65, constant, 11]);
        const { f } = (await WebAssembly.instantiate(await compile(bytes))).exports;
        return new Function("f", "return %IsTurboFanFunction(f)")(f);
      };
      const usual = (bytes) => WebAssembly.compile(bytes);
      console.log(await kind(1, usual), await kind(2, compileOptimised), await kind(3, usual));`;
    const run = spawnSync(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], {
      encoding: "utf8",
      timeout: 60_000,
    });
    expect(run.stdout).toBe("false true false\n");
  });

  test("a step of little work is one worker's, a larger one is shared", () => {
    expect(rangesOf(10, true, 4)).toEqual([0, 10, 10, 10, 10]);
    expect(rangesOf(10, false, 4)).toEqual([0, 2, 5, 7, 10]);
  });

  test("nothing runs after close", async () => {
    const session = await openGraphs([{ name: "main", graph: layers() }], { workers: 2 });
    await session.close();
    await session.close();
    await expect(session.run("main", { x: new Float32Array(50 * 24) })).rejects.toThrow("closed");
  });
});

describe("entries", () => {
  const w = b.param("w", [4, 6]);
  const frozen = b.param("f", [6]);
  const m = b.state("m", { dtype: "f32", shape: [4, 6] });
  const g = b.input("g", { dtype: "f32", shape: [4, 6] });
  const rate = b.input("rate", { dtype: "f32", shape: [] });
  const moved = b.add(b.mul(m, 0.5), g);
  const next = b.sub(w, b.mul(moved, b.broadcastTo(rate, [4, 6])));
  const entries: EntrySource[] = [
    {
      name: "update",
      graph: {
        results: [
          { role: "output", name: "norm", node: b.reduce("sum", b.mul(g, g), [0, 1]) },
          { role: "param", name: "w", node: next },
          { role: "state", name: "m", node: moved },
        ],
      },
      scalars: [{ name: "rate", dtype: "f32", code: [["div", 1, "@step"]] }],
    },
    { name: "evaluate", graph: outputs(b.mul(w, b.broadcastTo(frozen, [4, 6])), w) },
  ];

  test("share parameters and states, and do what the reference does", async () => {
    const wasm = await openGraphs(entries);
    const reference = openReference(entries, { rounded: true });
    for (const s of [wasm, reference]) {
      await s.write("param", "w", random(24, 1));
      await s.write("param", "f", random(6, 2));
      await s.write("state", "m", random(24, 3));
      for (const step of [1, 2, 4]) await s.run("update", { g: random(24, 3 + step), step });
    }
    const [seen, expected] = [await wasm.run("evaluate", {}), await reference.run("evaluate", {})];
    for (const name of ["y0", "y1"]) for (let i = 0; i < 24; i++) expect(seen[name][i]).toBeCloseTo(expected[name][i], 5);
    expect([...(await wasm.read("state", "m"))].map((x) => x.toFixed(5))).toEqual(
      [...(await reference.read("state", "m"))].map((x) => x.toFixed(5)),
    );
    await wasm.close();
  });

  test("updates need no second copy of parameters and states", async () => {
    const { program } = await compileProgram(entries, { target: "wasm", arithmetic: "plain", workers: 1 });
    expect(program.arenas.some((a) => a.name === "activations")).toBe(false);
    expect(program.arenas.find((a) => a.name === "trained")?.pages).toEqual([96]);
    expect(program.arenas.find((a) => a.name === "frozen")?.pages).toEqual([32]);
  });

  test("say what is missing or wrong", async () => {
    const s = await openGraphs(entries);
    await expect(s.run("nothing", {})).rejects.toThrow("there is no entry nothing");
    await expect(s.run("update", { step: 1 })).rejects.toThrow("needs the input `g`");
    await expect(s.run("update", { g: random(24, 1) })).rejects.toThrow("`step`");
    await expect(s.run("update", { g: random(23, 1), step: 1 })).rejects.toThrow("has 24 elements, not 23");
    await expect(s.run("update", { g: new Int32Array(24), step: 1 })).rejects.toThrow("is f32");
    await expect(s.run("evaluate", {}, ["loss"])).rejects.toThrow("no output loss");
    await expect(s.write("param", "x", random(1, 1))).rejects.toThrow("no param x");
    await s.close();
  });
});

describe("next values that need the old ones", () => {
  const [p, q] = [b.param("p", [5]), b.param("q", [5])];
  const cases: Readonly<Record<string, readonly [Node, Node]>> = {
    swapped: [q, p],
    "each from both": [b.add(p, q), b.sub(q, p)],
    "read backwards": [b.reverse(p, 0), b.mul(b.reverse(p, 0), q)],
    "one value for both": [b.mul(p, q), b.mul(p, q)],
    "a sum of all": [b.broadcastTo(b.reduce("sum", p, [0]), [5]), b.add(q, b.broadcastTo(b.reduce("max", p, [0]), [5]))],
  };
  for (const [name, [a, c]] of Object.entries(cases))
    test(name, async () => {
      const graph: Graph = {
        results: [
          { role: "param", name: "p", node: a },
          { role: "param", name: "q", node: c },
          { role: "output", name: "old", node: b.mul(p, 2) },
          { role: "output", name: "again", node: a },
        ],
      };
      const g = given(graph, 9);
      const expected = meaning(graph, g);
      for (const [key, seen] of await runWasm(graph, g)) expect(difference(seen, expected.get(key)!)).toBeLessThan(1e-6);
    });
});

describe("what frozen parameters alone decide", () => {
  const big = b.param("big", [12, 20]);
  const moving = b.param("moving", [20]);
  const norm = b.unary("sqrt", b.reduce("sum", b.mul(big, big), [1]));
  const table = b.unary("cos", b.mul(b.cast(b.iota([20], 0), "f32"), 0.25));
  const entries: EntrySource[] = [
    {
      name: "update",
      graph: {
        results: [
          { role: "output", name: "y", node: b.div(b.dot(big, b.mul(moving, table), { lhsContract: [1], rhsContract: [0] }), norm) },
          { role: "param", name: "moving", node: b.add(moving, 1) },
        ],
      },
    },
    {
      name: "evaluate",
      graph: outputs(
        b.dot(b.div(big, b.broadcastTo(b.reshape(norm, [12, 1]), [12, 20])), moving, { lhsContract: [1], rhsContract: [0] }),
        norm,
      ),
    },
  ];

  test("is computed at loading, once for all entries, and again when a weight is written", async () => {
    const { program } = await compileProgram(entries, { target: "wasm", arithmetic: "plain", workers: 1 });
    expect(program.entries.map((e) => [e.name, e.steps.length])).toEqual([
      ["load", 2],
      ["update", 2],
      ["evaluate", 2],
    ]);
    expect(Object.keys(program.params)).toEqual(["big", "moving"]);
    const wasm = await openGraphs(entries);
    const reference = openReference(entries, { rounded: true });
    for (const seed of [1, 2]) {
      for (const s of [wasm, reference]) {
        await s.write("param", "big", random(240, seed));
        await s.write("param", "moving", random(20, seed + 5));
      }
      for (const name of ["evaluate", "update", "update", "evaluate"]) {
        const [seen, expected] = [await wasm.run(name, {}), await reference.run(name, {})];
        for (const [key, values] of Object.entries(expected)) for (const [i, v] of values.entries()) expect(seen[key][i]).toBeCloseTo(v, 4);
      }
    }
    await wasm.close();
  });
});

test("sums of many elements are cut for several workers, in one order", async () => {
  const x = b.param("x", [300, 200]);
  const flat = b.param("flat", [64 * 1024]);
  const graph = outputs(
    b.reduce("sum", x, [0, 1]),
    b.reduce("max", x, [0, 1]),
    b.reduce("sum", b.mul(flat, flat), [0]),
    b.reduce("sum", x, [0]),
  );
  const { program } = await compileProgram([{ name: "main", graph }], { target: "wasm", arithmetic: "plain", workers: 2 });
  for (const s of program.entries[0].steps)
    if ("units" in s && s.operands.some((t) => program.tensors[t].bytes > 2000)) expect(s.units).toBeGreaterThan(8);
  const g = given(graph, 8);
  const [one, two] = [await runWasm(graph, g, { workers: 1 }), await runWasm(graph, g, { workers: 2 })];
  for (const [key, t] of meaning(graph, g)) {
    expect(difference(one.get(key)!, t)).toBeLessThan(1e-6);
    expect(two.get(key)).toEqual(one.get(key));
  }
});

test("the session allocates what the plan says, to the byte: whole pages of a memory", async () => {
  for (const workers of [1, 2]) {
    const { program, module } = await compileProgram([{ name: "main", graph: layers() }], { target: "wasm", arithmetic: "plain", workers });
    const session = await openWasm(program, module!, { workers, startThread });
    expect(session.memory.planned).toBe(peakBytes(program.arenas));
    expect(session.memory.planned % 65536).toBe(0);
    expect(session.memory.platform).toBe(0);
    await session.close();
  }
});

test("decompositions run on the host between kernels", async () => {
  const x = b.param("x", [6, 4]);
  const doubled = b.mul(x, 2);
  const [u, s, v] = (["svd_u", "svd_s", "svd_v"] as const).map((op) => b.make(op, [doubled], { k: 4 }));
  const back = b.dot(b.mul(u, b.broadcastTo(b.reshape(s, [1, 4]), [6, 4])), v, { lhsContract: [1], rhsContract: [0] });
  const graph = outputs(back);
  const g = given(graph, 4);
  const seen: Values = (await runWasm(graph, g)).get("output:y0")!;
  g.params.get("x")!.data.forEach((value, i) => {
    expect(seen[i]).toBeCloseTo(2 * value, 5);
  });
});

describe("what a page may lack is said", () => {
  const made = () => compileProgram([{ name: "main", graph: layers() }], { target: "wasm", arithmetic: "plain", workers: 2 });
  /** With another answer to what the engine takes. */
  async function validating<T>(validate: unknown, run: () => Promise<T>): Promise<T> {
    const kept = WebAssembly.validate;
    WebAssembly.validate = validate as typeof kept;
    try {
      return await run();
    } finally {
      WebAssembly.validate = kept;
    }
  }

  test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, "2" as unknown as number])("%s workers", async (workers) => {
    const { program, module } = await made();
    await expect(openWasm(program, module!, { workers, startThread })).rejects.toThrow(/P0902|a whole number from 1 on, this is/);
  });
  test("more workers than the program has room for are as many as that", async () => {
    const { program, module } = await made();
    const session = await openWasm(program, module!, { workers: 64, startThread });
    expect(session.device).toBe("wasm, 2 threads, plain");
    await session.close();
  });
  test("no WebAssembly, no SIMD, no way to start threads, bytes that are no module", async () => {
    const { program, module } = await made();
    const open = () => openWasm(program, module!, { workers: 1 });
    await expect(validating(undefined, open)).rejects.toThrow("this engine has no WebAssembly");
    await expect(validating(() => false, open)).rejects.toThrow("this engine's WebAssembly has no SIMD");
    await expect(openWasm(program, module!, { workers: 2 })).rejects.toThrow("2 workers need `startThread`");
    const torn = await openWasm(program, module!.slice(0, 90), { workers: 1 });
    await expect(torn.run("main", { x: new Float32Array(50 * 24) })).rejects.toThrow(
      "the bytes of the program are no module that this engine takes",
    );
    await torn.close();
  });
  test("threads that are forbidden, fail, never start, or fall silent end the run with a sentence", async () => {
    const { program, module } = await made();
    const run = async (start: StartThread, patience?: number) => {
      const session = await openWasm(program, module!, { workers: 2, startThread: start, ...(patience && { patience }) });
      try {
        return await session.run("main", { x: new Float32Array(50 * 24) });
      } finally {
        await session.close();
      }
    };
    const thread =
      (after: (message: (m: unknown) => void, failed: (e: Error) => void) => void): StartThread =>
      () => ({
        send: () => {},
        listen: after,
        hold: () => {},
        end: async () => {},
      });
    const forbidden: StartThread = () => {
      throw new Error("SecurityError");
    };
    await expect(run(forbidden)).rejects.toThrow("a worker thread did not start: Error: SecurityError");
    await expect(run(thread((_, failed) => setTimeout(() => failed(new Error("")), 1)))).rejects.toThrow("a worker thread did not start");
    await expect(
      run(
        thread(() => {}),
        40,
      ),
    ).rejects.toThrow("2 of 2 worker threads did not start within 0.04 s");
    await expect(
      run(
        thread((message) => setTimeout(() => message({ kind: "ready" }), 1)),
        40,
      ),
    ).rejects.toThrow("no worker thread did anything for 0.04 s");
  });
});
