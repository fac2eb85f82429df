import { addDim, type Dim, divDim, mulDim, subDim } from "../../../ir/dim.ts";
import type { Node } from "../../../ir/graph.ts";
import type { Value } from "../values.ts";
import { BuiltinTable, type Call, tensorArg } from "./table.ts";

export const shapes = new BuiltinTable("Making and moving tensors");

shapes.add(
  "arange",
  "0, 1, … below `start`; or from `start` on, below `stop`.",
  [{ name: "start" }, { name: "stop", optional: true }],
  ({ start, stop }, c) => {
    const low: Dim = stop === undefined ? 0 : c.dim(start!, "start");
    const high = stop === undefined ? c.dim(start!, "n") : c.dim(stop, "stop");
    const iota = c.build((b) => b.iota([subDim(high, low)], 0));
    return c.tensor(low === 0 ? iota : c.build((b) => b.add(iota, low)));
  },
);
shapes.add("eye", "The identity matrix [n, n].", [{ name: "n" }], ({ n }, c) => {
  const d = c.dim(n!, "n");
  return c.tensor(c.build((b) => b.cast(b.eq(b.iota([d, d], 0), b.iota([d, d], 1)), "f32")));
});
for (const [name, value] of [
  ["zeros", 0],
  ["ones", 1],
] as const)
  shapes.add(name, `A tensor of ${value === 0 ? "zeros" : "ones"}.`, [{ name: "shape" }], ({ shape }, c) => {
    const to = Array.isArray(shape) ? c.dims(shape, "shape") : [c.dim(shape!, "shape")];
    return c.tensor(c.build((b) => b.constant(value, "f32", to)));
  });
shapes.add(
  "expand",
  "x in a larger shape: axes of size 1, and missing ones in front, are repeated.",
  [{ name: "x" }, { name: "shape" }],
  ({ x, shape }, c) => c.tensor(c.build((b) => b.broadcastTo(c.node(x!), c.dims(shape, "shape")))),
);
shapes.add(
  "reshape",
  "The elements in another shape; one size may be −1, what is left.",
  [{ name: "x" }, { name: "shape" }],
  ({ x, shape }, c) => c.tensor(reshape(c.node(x!), c.dims(shape, "shape"), c)),
);
shapes.add("transpose", "Two axes changed for each other.", [{ name: "x" }, { name: "a" }, { name: "b" }], ({ x, a, b }, c) => {
  const node = c.node(x!);
  const rank = node.type.shape.length;
  const at = (v: Value, what: string) => {
    const i = c.int(v, what);
    return i < 0 ? i + rank : i;
  };
  const [p, q] = [at(a!, "a"), at(b!, "b")];
  return c.tensor(
    c.build((bd) =>
      bd.permute(
        node,
        node.type.shape.map((_, i) => (i === p ? q : i === q ? p : i)),
      ),
    ),
  );
});
shapes.add("permute", "Axes in another order.", [{ name: "x" }, { name: "order" }], ({ x, order }, c) =>
  c.tensor(
    c.build((b) =>
      b.permute(
        c.node(x!),
        c.list(order, "order").map((v) => c.int(v, "order")),
      ),
    ),
  ),
);
shapes.add(
  "concat",
  "Tensors one behind the other along an axis, the first if none is given.",
  [{ name: "xs" }, { name: "axis", optional: true }],
  ({ xs, axis }, c) => {
    const nodes = c.list(xs, "xs").map((v) => c.node(v));
    return c.tensor(c.build((b) => b.concat(nodes, axis === undefined ? 0 : c.int(axis, "axis"))));
  },
);
shapes.add("stack", "Tensors of one shape along a new axis.", [{ name: "xs" }, { name: "axis", optional: true }], ({ xs, axis }, c) => {
  const nodes = c.list(xs, "xs").map((v) => c.node(v));
  const rank = nodes[0].type.shape.length + 1;
  let a = axis === undefined ? 0 : c.int(axis, "axis");
  if (a < 0) a += rank;
  return c.tensor(
    c.build((b) =>
      b.concat(
        nodes.map((n) => b.reshape(n, [...n.type.shape.slice(0, a), 1, ...n.type.shape.slice(a)])),
        a,
      ),
    ),
  );
});
shapes.add(
  "split",
  "A tensor in n equal parts along an axis, or in parts of the sizes that a list gives.",
  [{ name: "x" }, { name: "n" }, { name: "axis", optional: true }],
  ({ x, n, axis }, c) => {
    const node = c.node(x!);
    const a = normal(axis === undefined ? 0 : c.int(axis, "axis"), node);
    const size = node.type.shape[a];
    if (Array.isArray(n)) {
      let at: Dim = 0;
      return n.map((v) => {
        const from = at;
        at = addDim(at, c.dim(v, "n"));
        return c.tensor(c.build((b) => b.sliceAxis(node, a, from, at)));
      });
    }
    const parts = c.int(n!, "n");
    const each = divDim(size, parts);
    if (each === undefined) return c.fail("P0404", `the size ${size} of axis ${a} cannot be split into ${parts} equal parts`);
    return Array.from({ length: parts }, (_, i) => c.tensor(c.build((b) => b.sliceAxis(node, a, mulDim(each, i), mulDim(each, i + 1)))));
  },
);
// each element of the axis n times, in place: [a, b] becomes [a, a, b, b]
shapes.add(
  "repeat",
  "Each element of an axis n times, in place: [a, b] becomes [a, a, b, b].",
  [{ name: "x" }, { name: "n" }, { name: "axis" }],
  ({ x, n, axis }, c) => {
    const node = c.node(x!);
    const times = c.dim(n!, "n");
    if (times === 1) return c.tensor(node);
    const a = normal(c.int(axis!, "axis"), node);
    const { shape } = node.type;
    return c.tensor(
      c.build((b) => {
        const apart = b.reshape(node, [...shape.slice(0, a + 1), 1, ...shape.slice(a + 1)]);
        const wide = b.expand(apart, [...shape.slice(0, a + 1), times, ...shape.slice(a + 1)]);
        return b.reshape(wide, [...shape.slice(0, a), mulDim(shape[a], times), ...shape.slice(a + 1)]);
      }),
    );
  },
);
shapes.add(
  "pad",
  "`front` and `back` positions more along an axis (the last if none is given), of the value `with`.",
  [
    { name: "x" },
    { name: "front", optional: true },
    { name: "back", optional: true },
    { name: "with", optional: true },
    { name: "axis", optional: true },
  ],
  (args, c) => {
    // a value that is the same everywhere on an axis of size 1 (a mask for all) stands for every position already
    const node = c.node(args.x!);
    const front = args.front === undefined ? 0 : c.dim(args.front, "front");
    const back = args.back === undefined ? 0 : c.dim(args.back, "back");
    const value = Number(args.with ?? 0);
    if (node.type.shape.length === 0) return c.tensor(node);
    const a = normal(args.axis === undefined ? -1 : c.int(args.axis, "axis"), node);
    return c.tensor(c.build((b) => b.padAxis(node, a, front, back, value)));
  },
);
shapes.add("flatten", "All axes from `start` on made one.", [{ name: "x" }, { name: "start", optional: true }], ({ x, start }, c) => {
  const node = c.node(x!);
  const a = normal(start === undefined ? 0 : c.int(start, "start"), node);
  return c.tensor(c.build((b) => b.reshape(node, [...node.type.shape.slice(0, a), node.type.shape.slice(a).reduce(mulDim, 1)])));
});
shapes.add(
  "unflatten",
  "One axis made several, of these sizes.",
  [{ name: "x" }, { name: "axis" }, { name: "sizes" }],
  ({ x, axis, sizes }, c) => {
    const node = c.node(x!);
    const a = normal(c.int(axis!, "axis"), node);
    return c.tensor(
      c.build((b) => b.reshape(node, [...node.type.shape.slice(0, a), ...c.dims(sizes, "sizes"), ...node.type.shape.slice(a + 1)])),
    );
  },
);
// x[..., i] for an index i that lacks the last axis: one element of each row
shapes.add(
  "pick",
  "x[..., i] for an index that lacks the last axis: one element of each row.",
  [{ name: "x" }, { name: "index" }],
  ({ x, index }, c) => {
    const node = c.node(x!);
    const at = c.node(index!);
    const { shape } = node.type;
    return c.tensor(
      c.build((b) => {
        const column = b.reshape(at, [...at.type.shape, 1]);
        const here = b.eq(b.iota(shape, shape.length - 1), column);
        return b.reduce("sum", b.where(here, node, 0), [shape.length - 1]);
      }),
    );
  },
);
// a tensor of `rows` rows: row r is the sum of the updates whose index is r
shapes.add(
  "scatter_add",
  "A tensor of `rows` rows: row r is the sum of the updates whose index is r.",
  [{ name: "index" }, { name: "updates" }, { name: "rows" }],
  ({ index, updates, rows }, c) =>
    c.tensor(c.build((b) => b.make("scatter_add", [c.node(index!), c.node(updates!)], { rows: c.dim(rows!, "rows") }))),
);
shapes.add(
  "one_hot",
  "1 at the place that x names along a new last axis of size n, else 0.",
  [{ name: "x" }, { name: "n" }],
  ({ x, n }, c) => {
    const node = c.node(x!);
    const shape = [...node.type.shape, c.dim(n!, "n")];
    return c.tensor(c.build((b) => b.cast(b.eq(b.iota(shape, shape.length - 1), b.reshape(node, [...node.type.shape, 1])), "f32")));
  },
);
shapes.add("kron", "The Kronecker product of two matrices.", [{ name: "a" }, { name: "b" }], ({ a, b }, c) => {
  const [p, q] = [tensorArg(a, c), tensorArg(b, c)];
  const [m, n] = p.type.shape;
  const [r, s] = q.type.shape;
  return c.tensor(
    c.build((bd) => bd.reshape(bd.mul(bd.reshape(p, [m, 1, n, 1]), bd.reshape(q, [1, r, 1, s])), [mulDim(m, r), mulDim(n, s)])),
  );
});
// the entries above the diagonal, row by row, of a square matrix that is zero elsewhere
shapes.add(
  "scatter_upper",
  "A square matrix with the entries of the last axis above its diagonal, row by row, and zero elsewhere.",
  [{ name: "v" }, { name: "size" }],
  ({ v, size }, c) => {
    const node = c.node(v!);
    const n = c.int(size!, "size");
    const lead = node.type.shape.slice(0, -1);
    const count = (n * (n - 1)) / 2;
    if (node.type.shape[node.type.shape.length - 1] !== count)
      c.fail("P0401", `${n} × ${n} has ${count} entries above its diagonal, the last axis here has ${node.type.shape.at(-1)}`);
    c.evaluator.work.constants(n * n, c.span);
    const rows: number[] = [];
    let k = 0;
    for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) rows.push(j > i ? k++ : count);
    return c.tensor(
      c.build((b) => {
        const rank = node.type.shape.length;
        const wide = b.padAxis(node, rank - 1, 0, 1);
        return b.reshape(b.take(wide, b.table(rows, [rows.length], "i32"), rank - 1), [...lead, n, n]);
      }),
    );
  },
);
shapes.add(
  "einsum",
  'A product of two tensors in letters: `einsum("ij, jk -> ik", a, b)`.',
  [{ name: "spec" }, { name: "a" }, { name: "b" }],
  ({ spec, a, b }, c) => {
    if (typeof spec !== "string") c.fail("P0205", 'the first argument of einsum is its letters, such as "ij, jk -> ik"');
    const [p, q] = [tensorArg(a, c), tensorArg(b, c)];
    const m = /^\s*(\S+)\s*,\s*(\S+)\s*->\s*(\S+)\s*$/.exec(spec as string);
    if (!m) c.fail("P0205", 'einsum takes two operands: "ij, jk -> ik"');
    const lead = (letters: string, rank: number) => {
      const extra = rank - letters.replace("...", "").length;
      return letters.replace("...", Array.from({ length: extra }, (_, i) => String.fromCharCode(0x3b1 + i)).join(""));
    };
    const x = lead(m![1], p.type.shape.length);
    const y = lead(m![2], q.type.shape.length);
    const greek = [...new Set([...x, ...y])].filter((l) => l >= "\u03b1").join("");
    const out = m![3].replace("...", greek);
    const shared = [...x].filter((l) => y.includes(l));
    const batch = shared.filter((l) => out.includes(l));
    const contract = shared.filter((l) => !out.includes(l));
    if ([...x, ...y].some((l) => !shared.includes(l) && !out.includes(l)))
      c.fail("P0205", "einsum: a letter of one operand alone must be in the result");
    return c.tensor(
      c.build((bd) => {
        const dot = bd.dot(p, q, {
          lhsBatch: batch.map((l) => x.indexOf(l)),
          rhsBatch: batch.map((l) => y.indexOf(l)),
          lhsContract: contract.map((l) => x.indexOf(l)),
          rhsContract: contract.map((l) => y.indexOf(l)),
        });
        const now = [...batch, ...[...x].filter((l) => !shared.includes(l)), ...[...y].filter((l) => !shared.includes(l))];
        return bd.permute(
          dot,
          [...out].map((l) => now.indexOf(l)),
        );
      }),
    );
  },
);

function normal(axis: number, node: Node): number {
  return axis < 0 ? axis + node.type.shape.length : axis;
}
function reshape(node: Node, shape: readonly Dim[], c: Call): Node {
  // one size may be −1: what is left
  const open = shape.indexOf(-1);
  if (open < 0) return c.build((b) => b.reshape(node, shape));
  const all = node.type.shape.reduce(mulDim, 1);
  const rest = divDim(
    all,
    shape.reduce((p, d, i) => (i === open ? p : mulDim(p, d)), 1 as Dim),
  );
  if (rest === undefined) c.fail("P0404", `[${node.type.shape.join(", ")}] does not divide into [${shape.join(", ")}]`);
  return c.build((b) =>
    b.reshape(
      node,
      shape.map((d, i) => (i === open ? rest : d)),
    ),
  );
}
