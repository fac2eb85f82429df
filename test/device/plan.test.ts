/** The memory plan and the order of steps. */
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type { FuseLimits } from "../../src/backends/kernels/fuse.ts";
import { lower } from "../../src/backends/lower.ts";
import { allocate } from "../../src/backends/places.ts";
import { peakBytes, plan } from "../../src/backends/plan.ts";
import type { Placed } from "../../src/ground/program.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph, Node } from "../../src/ir/graph.ts";
import { randomGraph } from "../support/random-graph.ts";

const b = new Builder({ path: "plan" });
const limits: FuseLimits = { leaves: 24, cost: 300, operands: 32, roots: 32 };

function planned(graph: Graph, options = { alignment: 16, page: Number.POSITIVE_INFINITY }, fusing = limits) {
  return plan([{ name: "main", ...lower(graph, fusing) }], options);
}

test("values that live at the same time never share a byte", () => {
  const life = fc.record({ bytes: fc.integer({ min: 1, max: 40 }), from: fc.nat(20), length: fc.nat(10) });
  fc.assert(
    fc.property(fc.array(life, { maxLength: 40 }), (list) => {
      const lives = list.map(({ bytes, from, length }) => ({ bytes: 4 * bytes, from, to: from + length, offset: -1 }));
      const end = allocate(lives, { fit: (at) => Math.ceil(at / 16) * 16 });
      let busiest = 0;
      for (let t = 0; t <= 30; t++) {
        const now = lives.filter((l) => l.from <= t && t <= l.to);
        busiest = Math.max(
          busiest,
          now.reduce((sum, l) => sum + l.bytes, 0),
        );
        for (const x of now)
          for (const y of now) if (x !== y) expect(x.offset + x.bytes <= y.offset || y.offset + y.bytes <= x.offset).toBe(true);
      }
      expect(lives.every((l) => l.offset % 16 === 0 && l.offset + l.bytes <= end)).toBe(true);
      expect(end).toBeGreaterThanOrEqual(busiest);
    }),
    { numRuns: 200 },
  );
});

test("tensors have the names of what they hold", () => {
  const at = new Builder({ path: "h.0.mlp" });
  const y = at.dot(b.input("x", { dtype: "f32", shape: [4, 3] }), b.param("w", [3, 5]), { lhsContract: [1], rhsContract: [0] });
  const z = at.dot(y, b.param("v", [5, 2]), { lhsContract: [1], rhsContract: [0] });
  const { tensors } = planned({ results: [{ role: "output", name: "z", node: z }] });
  expect(tensors.map((t) => `${t.arena}: ${t.name}`).sort()).toEqual([
    "activations: h.0.mlp dot",
    "frozen: v",
    "frozen: w",
    "io: x",
    "io: z",
  ]);
});

/** Bytes of two places that overlap. */
const overlap = (p: Placed, q: Placed): boolean =>
  p.arena === q.arena && p.page === q.page && p.offset < q.offset + q.bytes && q.offset < p.offset + p.bytes;

test("no step of a random graph writes what another operand of it still reads, and pages hold what is put on them", () => {
  fc.assert(
    fc.property(randomGraph, (graph) => {
      const page = 4096;
      const p = planned(graph, { alignment: 256, page }, { leaves: 6, cost: 300, operands: 8, roots: 16 });
      for (const t of p.tensors) {
        const pages = p.arenas.find((a) => a.name === t.arena)!.pages;
        expect(t.offset % 256).toBe(0);
        expect(t.offset + t.bytes).toBeLessThanOrEqual(pages[t.page]);
      }
      expect(Math.max(...p.arenas.flatMap((a) => a.pages))).toBeLessThanOrEqual(page);
      for (const s of p.entries[0].steps) {
        if ("host" in s) continue;
        s.kernel.operands.forEach((o, i) => {
          if (o.access === "read") return;
          s.operands.forEach((t, j) => {
            if (i !== j) expect(overlap(p.tensors[t], p.tensors[s.operands[i]])).toBe(false);
          });
        });
      }
    }),
    { numRuns: 150, seed: 11 },
  );
});

describe("lifetimes", () => {
  /** A chain of square products: at any time one is read and one is written. */
  const chain = (length: number): Graph => {
    let x: Node = b.input("x", { dtype: "f32", shape: [16, 16] });
    for (let i = 0; i < length; i++) x = b.unary("tanh", b.dot(x, b.param(`w${i}`, [16, 16]), { lhsContract: [1], rhsContract: [0] }));
    return { results: [{ role: "output", name: "y", node: b.reduce("sum", x, [0, 1]) }] };
  };
  test("a chain needs two places, however long it is", () => {
    for (const length of [3, 10]) expect(planned(chain(length)).arenas.find((a) => a.name === "activations")?.pages).toEqual([2 * 1024]);
  });

  test("a value whose operand dies with it takes its place", () => {
    const x = b.input("x", { dtype: "f32", shape: [64] });
    const sum = (n: Node) => b.broadcastTo(b.reduce("sum", n, [0]), [64]);
    const first = b.make("cumsum", [x], { axis: 0 });
    const second = b.make("cumsum", [b.mul(first, sum(first))], { axis: 0 });
    const p = planned({ results: [{ role: "output", name: "y", node: second }] });
    expect(peakBytes(p.arenas.filter((a) => a.name === "activations"))).toBeLessThanOrEqual(256 + 16);
  });

  test("a weight's gradient is taken while its operands are at hand", () => {
    // Backwards through four layers; each layer's gradient goes into a small state and frees what it read.
    const results: Graph["results"][number][] = [];
    let d: Node = b.input("d", { dtype: "f32", shape: [64, 64] });
    for (let i = 0; i < 6; i++) {
      const kept = b.input(`a${i}`, { dtype: "f32", shape: [64, 64] });
      const state = b.state(`s${i}`, { dtype: "f32", shape: [64] });
      d = b.mul(b.dot(d, b.param(`w${i}`, [64, 64]), { lhsContract: [1], rhsContract: [0] }), kept);
      results.unshift({ role: "state", name: `s${i}`, node: b.add(state, b.reduce("sum", b.mul(b.unary("exp", d), kept), [0])) });
    }
    const activations = planned({ results }).arenas.find((a) => a.name === "activations")!.pages[0];
    expect(activations).toBeLessThanOrEqual(3 * 64 * 64 * 4);
  });

  test("what the backward half computes again is not stored by the forward half's kernels", () => {
    // Four products are kept; backwards, a function of each is wanted once, by a product.
    const layers = [0, 1, 2, 3];
    const behind = b.at({ path: "plan", half: "backward" });
    let x: Node = b.input("x", { dtype: "f32", shape: [64, 64] });
    const kept = layers.map((i) => {
      x = b.dot(x, b.param(`w${i}`, [64, 64]), { lhsContract: [1], rhsContract: [0] });
      return x;
    });
    let d: Node = behind.unary("exp", x);
    for (const h of kept.reverse())
      d = behind.add(behind.dot(d, behind.unary("tanh", h), { lhsContract: [1], rhsContract: [0] }), behind.mul(h, 2));
    const graph: Graph = {
      results: [
        { role: "output", name: "loss", node: b.reduce("sum", x, [0, 1]) },
        { role: "output", name: "d", node: behind.reduce("sum", d, [0, 1]) },
      ],
    };
    const activations = planned(graph).arenas.find((a) => a.name === "activations")!.pages[0];
    // four kept, a function of one, two of the chain
    expect(activations).toBeLessThanOrEqual((4 + 3) * 64 * 64 * 4);
  });

  test("equal tables lie once, entries share parameters", () => {
    const table = () => b.table([1, 2, 3, 5], [4]);
    const p = b.param("p", [4]);
    const input = (node: Node) => ({ name: "e", ...lower({ results: [{ role: "output" as const, name: "y", node }] }, limits) });
    const made = plan([input(b.add(table(), p)), input(b.mul(p, table()))], { alignment: 16, page: Number.POSITIVE_INFINITY });
    expect(made.constants.length).toBe(1);
    expect(made.params.size).toBe(1);
    expect(made.arenas.map((a) => [a.name, ...a.pages])).toEqual([
      ["frozen", 16],
      ["io", 16],
      ["constants", 16],
    ]);
  });
});
