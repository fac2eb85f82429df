import { describe, expect, test } from "@jest/globals";
import { accumulate, NotAdditive, ROWS_BEFORE, UPDATE_ROWS } from "../../src/ir/accumulate.ts";
import { differentiate } from "../../src/ir/autodiff.ts";
import { bind } from "../../src/ir/bind.ts";
import { Builder } from "../../src/ir/build.ts";
import { mulDim, symbol } from "../../src/ir/dim.ts";
import { type Graph, type Node, order, type Result } from "../../src/ir/graph.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { count, rowOf, type Tensor, tensor } from "../../src/ir/ops/index.ts";
import { verify } from "../../src/ir/verify.ts";

const b = new Builder({ path: "objective" });
const B = symbol("B");
const [S, V, D] = [4, 5, 3];
const step = b.input("step", { dtype: "i32", shape: [] });
const ids = b.input("ids", { dtype: "i32", shape: [B, S] });
const labels = b.input("labels", { dtype: "i32", shape: [B, S] });
const target = b.input("target", { dtype: "f32", shape: [B] });
const w = b.param("w", [D, V]);
const up = b.param("up", [D, D]);
const temperature = b.param("temperature", []);
const table = b.param("table", [V, D]); // frozen

/** Words to hidden values, with dropout. */
const hidden = (): Node => {
  const x = b.unary("tanh", b.matmul(b.gather(table, ids), up));
  const keep = b.compare("lt", b.draw("uniform", [B, S, D], b.table([3, 4], [2], "i32"), step), 0.7);
  return b.where(keep, x, 0);
};
const logSoftmax = (x: Node): Node => {
  const centred = b.sub(x, b.reduce("max", x, [-1], true));
  return b.sub(centred, b.unary("log", b.reduce("sum", b.unary("exp", centred), [-1], true)));
};
/** Negative log likelihood where there is a label; labels of -1 do not count. */
const tokens = () => {
  const logits = b.matmul(hidden(), w);
  const one = b.eq(b.iota([B, S, V], 2), b.reshape(labels, [B, S, 1]));
  const nll = b.neg(b.reduce("sum", b.where(one, logSoftmax(logits), 0), [2]));
  const real = b.compare("ge", labels, 0);
  const number = b.max(b.reduce("sum", real), 1);
  return { logits, nll, real, number, loss: b.div(b.reduce("sum", nll), number) };
};
const squared = (): Node => {
  const first = b.pick(b.pick(hidden(), 1, 0), 1, 1);
  const gap = b.sub(first, target);
  return b.mul(gap, gap);
};
const penalty = (): Node => b.mul(b.reduce("sum", b.mul(up, up)), 0.01);

/** An update as a stage makes it: gradients, their norm, clipping, plain descent with momentum, logs. */
function update(loss: Node, logs: Record<string, Node> = {}, params: readonly Node[] = [w, up]): Graph {
  const grads = params.map((p) => b.grad(loss, p));
  const norm = b.unary(
    "sqrt",
    grads.map((g) => b.reduce("sum", b.mul(g, g))).reduce((x, y) => b.add(x, y)),
  );
  const factor = b.min(b.div(0.05, b.add(norm, 1e-6)), 1);
  const results: Result[] = [
    { role: "output", name: "loss", node: loss },
    { role: "output", name: "grad_norm", node: norm },
    ...Object.entries(logs).map(([name, node]): Result => ({ role: "output", name, node })),
  ];
  params.forEach((p, i) => {
    const name = String(p.attrs.name);
    const m = b.add(b.mul(b.state(`m/${name}`, p.type), 0.9), b.mul(grads[i], factor));
    results.push({ role: "state", name: `m/${name}`, node: m }, { role: "param", name, node: b.sub(p, b.mul(m, 0.1)) });
  });
  return { results };
}

const ROWS = 6;
/** Rows of the columns; the numbers of labels differ from row to row. */
const column = (n: Node, from: number, rows: number): Tensor => {
  const rest = (n.type.shape as number[]).slice(1);
  const each = count(rest);
  const data = Array.from({ length: rows * each }, (_, i) => {
    const row = from + Math.floor(i / each);
    const k = row * 31 + (i % each) * 7;
    if (n.attrs.name === "labels") return i % each < (row % 4) + (row === 0 ? 1 : 0) ? k % V : -1;
    return n.type.dtype === "i32" ? k % V : Math.sin(k);
  });
  return tensor(n.type.dtype, [rows, ...rest], data);
};
function run(graph: Graph, from: number, rows: number, held: Map<string, Tensor>): Map<string, Tensor> {
  const bound = differentiate(bind(graph, new Map([["B", rows]])));
  verify(bound);
  const inputs = new Map<string, Tensor>();
  const scalars: Record<string, number> = { step: 7, [UPDATE_ROWS]: ROWS, [ROWS_BEFORE]: from };
  const given = new Map(held);
  for (const n of order(bound.results.map((r) => r.node))) {
    const { supply } = rowOf(n);
    const name = String(n.attrs.name);
    const shape = n.type.shape as number[];
    if (supply === "input") inputs.set(name, shape.length ? column(n, from, rows) : tensor("i32", [], [scalars[name]]));
    else if ((supply === "param" || supply === "state") && !given.has(name))
      given.set(
        name,
        tensor(
          n.type.dtype,
          shape,
          Array.from({ length: count(shape) }, (_, i) => (supply === "param" ? Math.cos(i + name.length) : 0)),
        ),
      );
  }
  return interpret(bound, { inputs, params: given, states: given });
}

/** One batch, and the same rows in micro-batches. */
function both(graph: Graph, pieces: readonly number[]): { whole: Map<string, Tensor>; parts: Map<string, Tensor> } {
  const split = accumulate(graph, "B");
  const held = new Map<string, Tensor>(
    split.states.map((s) => [s.name, tensor(s.type.dtype, s.type.shape as number[], new Array(count(s.type.shape as number[])).fill(0))]),
  );
  for (const part of [split.count, split.gradients]) {
    let from = 0;
    for (const rows of part ? pieces : []) {
      for (const [key, value] of run(part!, from, rows, held)) held.set(key.slice("state:".length), value);
      from += rows;
    }
  }
  return { whole: run(graph, 0, ROWS, new Map()), parts: run(split.update, 0, 1, held) };
}

function expectEqual(graph: Graph): void {
  for (const pieces of [[2, 2, 2], [3, 1, 2], [6]]) {
    const { whole, parts } = both(graph, pieces);
    for (const [key, value] of whole)
      value.data.forEach((v, i) => {
        expect(Math.abs(parts.get(key)!.data[i] - v)).toBeLessThan(1e-12 * (1 + Math.abs(v)));
      });
    for (const [key, value] of parts) if (!whole.has(key)) expect([...value.data].every((v) => v === 0)).toBe(true);
  }
}

describe("micro-batches equal the batch", () => {
  test("mean over tokens, with unequal numbers of labels; accuracy and perplexity beside", () => {
    const { loss, logits, real, number } = tokens();
    const right = b.logic("and", b.eq(b.argmax(logits, 2), labels), real);
    const graph = update(loss, { accuracy: b.div(b.reduce("sum", right), number), perplexity: b.unary("exp", loss) });
    const split = accumulate(graph, "B");
    expect(split.count!.results.map((r) => r.name)).toHaveLength(1);
    // Counting reads labels alone.
    const reads = order(split.count!.results.map((r) => r.node)).flatMap((n) => (rowOf(n).supply === "input" ? [n.attrs.name] : []));
    expect(reads).toEqual(["labels"]);
    expectEqual(graph);
  });

  test("mean over the batch needs no counting, only its size", () => {
    const graph = update(b.reduce("mean", squared()), {}, [up]);
    const split = accumulate(graph, "B");
    expect(split.count).toBeUndefined();
    const inputs = (g: Graph) =>
      order(g.results.map((r) => r.node)).flatMap((n) => (rowOf(n).supply === "input" ? [String(n.attrs.name)] : []));
    expect(inputs(split.gradients).sort()).toEqual(["ids", ROWS_BEFORE, "step", "target", UPDATE_ROWS].sort());
    expect(inputs(split.update)).toEqual([]);
    expectEqual(graph);
  });

  test("terms without rows are added once; weighted sums; a learned factor", () => {
    const { loss } = tokens();
    const mixed = b.add(b.add(b.mul(loss, b.unary("exp", temperature)), b.mul(b.reduce("mean", squared()), 0.3)), penalty());
    expectEqual(update(b.add(mixed, b.mul(temperature, temperature)), {}, [w, up, temperature]));
  });

  test("a divisor within each row, and a division before the sum", () => {
    const { nll, real, number } = tokens();
    const mine = b.max(b.reduce("sum", real, [1]), 1);
    const byExample = b.reduce("mean", b.div(b.reduce("sum", nll, [1]), mine));
    const divided = b.reduce("sum", b.div(nll, number));
    expectEqual(update(b.add(byExample, divided)));
  });

  test("x[arange(B), place] reads each row's own place", () => {
    const x = hidden();
    const place = b.mul(b.pick(ids, 1, 0), 0);
    const rows = b.add(b.mul(b.iota([B], 0), S), place);
    const here = b.gather(b.reshape(x, [mulDim(B, S), D]), rows);
    expectEqual(update(b.reduce("mean", b.mul(here, here)), {}, [up]));
  });

  test("gradients by values with rows, summed; a product over rows; a loss that is a plain sum", () => {
    const x = hidden();
    const logits = b.matmul(x, w);
    const loss = b.reduce("sum", b.mul(logits, logits));
    const importance = b.reduce("sum", b.unary("abs", b.mul(b.grad(loss, x), x)), [0, 1]);
    const gram = b.dot(target, target, { lhsContract: [0], rhsContract: [0] });
    expectEqual(update(loss, { importance, gram }));
  });

  test("a sum that no gradient passes may divide", () => {
    const each = squared();
    const scale = b.stopGradient(b.reduce("sum", each));
    const graph = update(b.div(b.reduce("sum", each), b.add(scale, 1)), {}, [up]);
    expect(accumulate(graph, "B").count).toBeDefined();
    expectEqual(graph);
  });

  test("several gradients that depend on one another's sums", () => {
    const a = b.reduce("mean", squared());
    const { loss } = tokens();
    const g = b.grad(a, up);
    const graph = update(loss, { other: b.reduce("sum", b.mul(g, b.grad(loss, up))) });
    expectEqual(graph);
  });
});

describe("refused, with the place and the reason", () => {
  const refuse = (loss: Node, why: RegExp, params = [up]): void => {
    let error: unknown;
    try {
      accumulate(update(loss, {}, params), "B");
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(NotAdditive);
    expect((error as NotAdditive).code).toBe("P0811");
    expect((error as NotAdditive).message).toMatch(why);
  };
  test("batch statistics that go back into rows", () => {
    const x = hidden();
    refuse(b.reduce("mean", b.unary("tanh", b.sub(x, b.reduce("mean", x, [0], true)))), /gives rows a value that sums over rows/);
  });
  test("the largest over rows", () => {
    refuse(b.reduce("max", squared()), /largest or smallest over rows/);
  });
  test("what is not linear in a sum", () => {
    refuse(b.unary("sqrt", b.reduce("mean", squared())), /`sqrt` of objective is not linear/);
    const s = b.reduce("sum", squared());
    refuse(b.mul(s, s), /`mul` of objective is not linear/);
  });
  test("rows against rows", () => {
    const x = b.pick(hidden(), 1, 0);
    refuse(b.reduce("sum", b.matmul(x, b.swapLast(x))), /pairs rows of the batch/);
  });
  test("some rows, places of rows, rows one behind the other", () => {
    const x = b.pick(hidden(), 1, 0);
    refuse(b.reduce("sum", b.sliceAxis(x, 0, 0, 1)), /takes some rows/);
    refuse(b.reduce("sum", b.mul(x, b.broadcastTo(b.reshape(b.cast(b.iota([B], 0), "f32"), [B, 1]), x.type.shape))), /places of rows/);
    refuse(b.reduce("sum", b.cumsum(x, 0)), /in their order/);
    refuse(b.reduce("sum", b.concat([x, x], 0)), /one behind the other/);
  });
});
