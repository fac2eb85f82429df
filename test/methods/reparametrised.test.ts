/**
 * Methods that change a layer's weight: how many parameters they have, that they start as the base where their papers say so, what they make of a layer (against their equations
 * written out with dense matrices), and that a LoRA at the same place trains along.
 */
import path from "node:path";
import { beforeAll, describe, expect, test } from "@jest/globals";
import type { Entry, Project, Stage } from "../../src/compiler/project.ts";
import { readMappings } from "../../src/formats/adapters/mapping.ts";
import { readAdapter } from "../../src/formats/adapters/read.ts";
import { MemoryFiles } from "../../src/formats/memory.ts";
import { interpret } from "../../src/ir/interpret.ts";
import { torchRandperm } from "../../src/ir/mt19937.ts";
import { tensor } from "../../src/ir/ops/index.ts";
import { svd } from "../../src/ir/ops/svd.ts";
import { compileGraph } from "../../src/ir/pipeline.ts";
import { drawInto, keyOf } from "../../src/ir/random.ts";
import { NodeFiles } from "../../src/node/files.ts";
import { artefactsFor } from "../../src/train/run/artefacts.ts";
import { ValueStore } from "../../src/train/values.ts";
import { compileText } from "../support/compile.ts";

const ROOT = path.resolve(import.meta.dirname, "../../specs");
const [IN, OUT] = [8, 12];

/** One layer, y = W x + b, and one convolution of 2 × 2 windows over 2 channels. */
const HEAD = `
import { Linear, Conv2d } from "std/nn"
import { LoRA } from "std/methods/lora"
import { sgd } from "std/training"
module Window() as Conv2d {
  param weight: f32[${OUT}, 2, 2, 2] = normal(1)
  param bias:   f32[${OUT}] = normal(1)
  forward(x: f32[B, ${IN}]) -> y: f32[B, ${OUT}] {
    windows = x
    y       = windows @ weight.flatten(1).T + bias
  }
}
module Net(conv: bool = false) {
  layer = if conv then Window() else Linear(${IN}, ${OUT}, weight: normal(1), bias: normal(1))
  forward(x: f32[B, ${IN}]) -> y: f32[B, ${OUT}] { y = layer(x) }
}
module near(net: Net) {
  forward(x: f32[B, ${IN}], target: f32[B, ${OUT}]) -> loss: f32[] { loss = mean((net(x).y - target) ** 2) }
}
`;

function project(body: string): Project {
  return compileText(HEAD + body);
}

type Values = (name: string, start: Float32Array) => ArrayLike<number>;
const asTheyStart: Values = (_name, start) => start;
/** Numbers of their own for everything that learns. */
const moved: Values = (name, start) => {
  if (!name.startsWith("a.") || name.endsWith("w_norm")) return start;
  const out = new Float64Array(start.length);
  drawInto(out, "normal", keyOf(5, name), 0);
  return Float32Array.from(out, (v) => v * 0.7);
};

/** Rows of the identity: the layer's answers are its weight and bias. */
function run(p: Project, entry: Entry, values: Values) {
  const store = new ValueStore(p, () => undefined);
  const params = new Map(
    [...p.params.values()].map((d) => [d.name, tensor("f32", d.shape, Float64Array.from(values(d.name, store.param(d.name))))]),
  );
  const states = new Map(
    [...p.states.values()].map((s) => [s.name, tensor(s.dtype, s.shape as number[], new Float64Array(count(s.shape as number[])))]),
  );
  const rows = IN + 1;
  const target = new Float64Array(rows * OUT);
  drawInto(target, "normal", keyOf(2, "target"), 0);
  const inputs = new Map([
    [
      "x",
      tensor(
        "f32",
        [rows, IN],
        Float64Array.from({ length: rows * IN }, (_, i) => (Math.floor(i / IN) === i % IN ? 1 : 0)),
      ),
    ],
    ["target", tensor("f32", [rows, OUT], target)],
    ["step", tensor("i32", [], [0])],
    ["steps", tensor("i32", [], [4])],
  ]);
  const { graph } = compileGraph(entry.graph, { sizes: new Map([["B", rows]]) });
  return interpret(graph, { params, states, inputs });
}
const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

function stages(body: string): { p: Project; all: Stage[] } {
  const p = project(body);
  expect(p.problems.map((x) => `${x.code} ${x.message}`)).toEqual([]);
  return { p, all: p.actions.flatMap((a) => (a.kind === "stage" ? [a.stage] : [])) };
}
const importOf = ({ from, make }: Pick<Row, "from" | "make">) => `import { ${/^\w+/.exec(make)![0]} } from "std/methods/${from}"`;
const look = `predict look { objective = near(m) data = jsonl("rows.jsonl") columns = ["net.y"] }`;
const model = (conv?: boolean) => `model m = Net(conv: ${conv === true})`;

/** The layer as a matrix: weight[out][in] and bias[out]. */
interface Dense {
  readonly w: number[][];
  readonly b: number[];
}
function dense(p: Project, entry: Entry, values: Values): Dense {
  const y = run(p, entry, values).get("output:net.y")!.data;
  const b = Array.from({ length: OUT }, (_, o) => y[IN * OUT + o]);
  return { w: b.map((at, o) => Array.from({ length: IN }, (_, i) => y[i * OUT + o] - at)), b };
}

// ── dense matrices ───────────────────────────────────────────────────────────────────────────────

type Matrix = number[][];
const make = (n: number, m: number, at: (i: number, j: number) => number): Matrix =>
  Array.from({ length: n }, (_, i) => Array.from({ length: m }, (_, j) => at(i, j)));
const eye = (n: number) => make(n, n, (i, j) => (i === j ? 1 : 0));
const times = (a: Matrix, b: Matrix) => make(a.length, b[0].length, (i, j) => a[i].reduce((sum, v, k) => sum + v * b[k][j], 0));
const plus = (a: Matrix, b: Matrix, by = 1) => a.map((row, i) => row.map((v, j) => v + by * b[i][j]));
const turned = (a: Matrix) => make(a[0].length, a.length, (i, j) => a[j][i]);
const scaled = (a: Matrix, by: number) => a.map((row) => row.map((v) => v * by));
const hadamard = (a: Matrix, b: Matrix) => a.map((row, i) => row.map((v, j) => v * b[i][j]));
const kron = (a: Matrix, b: Matrix) =>
  make(
    a.length * b.length,
    a[0].length * b[0].length,
    (i, j) => a[Math.floor(i / b.length)][Math.floor(j / b[0].length)] * b[i % b.length][j % b[0].length],
  );
function inverse(a: Matrix): Matrix {
  const n = a.length;
  const m = a.map((row, i) => [...row, ...eye(n)[i]]);
  for (let j = 0; j < n; j++) {
    const p = m.slice(j).reduce((best, row, k) => (Math.abs(row[j]) > Math.abs(m[best][j]) ? j + k : best), j);
    [m[j], m[p]] = [m[p], m[j]];
    m[j] = m[j].map((v) => v / m[j][j]);
    for (let i = 0; i < n; i++) if (i !== j) m[i] = m[i].map((v, k) => v - m[i][j] * m[j][k]);
  }
  return m.map((row) => row.slice(n));
}
/** Rows of a flat list. */
const rows = (v: ArrayLike<number>, width: number): Matrix => make(v.length / width, width, (i, j) => v[i * width + j]);
const length = (v: readonly number[]) => Math.sqrt(v.reduce((sum, x) => sum + x * x, 0));

// ── the methods ──────────────────────────────────────────────────────────────────────────────────

type Params = Readonly<Record<string, Float64Array>>;
interface Row {
  readonly make: string;
  readonly from: string;
  readonly conv?: boolean;
  /** Trained numbers. */
  readonly params: number;
  /** Whether it starts as the base: exactly, up to rounding, or not. */
  readonly base: "exactly" | "nearly" | false;
  /** What it makes of a layer, from its parameters. */
  readonly means: (layer: Dense, p: Params, start: Params) => Dense;
}
const weight = (layer: Dense, w: Matrix): Dense => ({ w, b: layer.b });

/** PEFT's butterfly: blocks of n / b entries sorted so that pieces of r at even places come first. */
function butterfly(n: number, b: number, r: number): Matrix {
  const block = n / b;
  const step = block / r;
  const order = [
    ...Array.from({ length: step }, (_, i) => i).filter((i) => i % 2 === 0),
    ...Array.from({ length: step }, (_, i) => i).filter((i) => i % 2 === 1),
  ];
  const perm = Array.from({ length: n }, (_, i) => Math.floor(i / block) * block + order[Math.floor((i % block) / r)] * r + (i % r));
  return make(n, n, (i, j) => (perm[i] === j ? 1 : 0));
}
const boft =
  (size: number, factors: number) =>
  (layer: Dense, { boft_R, boft_s }: Params) => {
    const blocks = IN / size;
    let turn = eye(IN);
    for (let f = 0; f < factors; f++) {
      const diagonal = make(IN, IN, () => 0);
      for (let d = 0; d < blocks; d++) {
        const v = rows(boft_R.slice((f * blocks + d) * size * size, (f * blocks + d + 1) * size * size), size);
        const q = scaled(plus(v, turned(v), -1), 0.5);
        const r = times(plus(eye(size), q, -1), inverse(plus(eye(size), q)));
        for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) diagonal[d * size + i][d * size + j] = r[i][j];
      }
      const p = factors === 1 ? eye(IN) : butterfly(IN, blocks / 2 ** f, size / 2);
      turn = times(times(times(p, diagonal), turned(p)), turn);
    }
    return weight(
      layer,
      times(layer.w, turned(turn)).map((row, o) => row.map((v) => v * boft_s[o])),
    );
  };

const reflection = (u: readonly number[]) =>
  plus(
    eye(IN),
    make(IN, IN, (i, j) => (2 * u[i] * u[j]) / length(u) ** 2),
    -1,
  );
const hra =
  (rank: number) =>
  (layer: Dense, { hra_u }: Params) =>
    weight(
      layer,
      turned(rows(hra_u, rank)).reduce((w, u) => times(w, reflection(u)), layer.w),
    );
const gramSchmidt =
  (rank: number) =>
  (layer: Dense, { hra_u }: Params) => {
    const done: number[][] = [];
    for (let u of turned(rows(hra_u, rank))) {
      for (const v of done) {
        const along = u.reduce((sum, x, i) => sum + x * v[i], 0);
        u = u.map((x, i) => x - along * v[i]);
      }
      done.push(u.map((x) => x / length(u)));
    }
    return weight(
      layer,
      times(
        layer.w,
        done.reduce(
          (sum, u) =>
            plus(
              sum,
              make(IN, IN, (i, j) => u[i] * u[j]),
              -2,
            ),
          eye(IN),
        ),
      ),
    );
  };

const miss =
  (rank: number, columns = OUT) =>
  (layer: Dense, { miss_block }: Params) =>
    weight(
      layer,
      layer.w.map((row, o) => row.map((v, i) => v + miss_block[(i % rank) * columns + (o % columns)])),
    );
const bat =
  (r: number) =>
  (layer: Dense, { miss_block: d }: Params) =>
    weight(
      layer,
      make(OUT, IN, (o, i) => {
        const [block, a, from, c] = [Math.floor(o / r), o % r, i - (i % r), i % r];
        const at = (x: number, y: number) => d[(block * r + x) * r + y];
        return layer.w[o][i] + at(a, c) + Array.from({ length: r }, (_, k) => layer.w[o][from + k] * at(k, c)).reduce((x, y) => x + y);
      }),
    );

const road =
  (variant: 1 | 2 | 4, group: number) =>
  (layer: Dense, { road_theta, road_alpha }: Params) => {
    const half = group / 2;
    const turn = make(OUT, OUT, () => 0);
    for (let o = 0; o < OUT; o++) {
      const [g, k] = [Math.floor(o / group), o % group];
      const at = variant === 1 ? g * half + (k % half) : variant === 2 ? o : 2 * g * group + k;
      const other = variant === 4 ? at + group : at;
      turn[o][o] = road_alpha[at] * Math.cos(road_theta[at]);
      const by = road_alpha[other] * Math.sin(road_theta[other]);
      if (k < half) turn[o][o + half] = -by;
      else turn[o][o - half] = by;
    }
    return {
      w: times(turn, layer.w),
      b: times(
        turn,
        layer.b.map((v) => [v]),
      ).map(([v]) => v),
    };
  };

const gralora = (rank: number, alpha: number, k: number, plain: number) => (layer: Dense, p: Params) => {
  const [r, n, m] = [rank / k, IN / k, OUT / k];
  const a = (block: number, i: number, c: number) => p.gralora_A[(block * n + i) * rank + c];
  const b = (block: number, c: number, o: number) => p.gralora_B[(block * rank + c) * m + o];
  const blocks = make(OUT, IN, (o, i) => {
    const [to, from] = [Math.floor(o / m), Math.floor(i / n)];
    return Array.from({ length: r }, (_, c) => a(from, i % n, to * r + c) * b(to, from * r + c, o % m)).reduce((x, y) => x + y);
  });
  const lora = plain > 0 ? times(rows(p["gralora_B_general.weight"], plain), rows(p["gralora_A_general.weight"], IN)) : scaled(blocks, 0);
  return weight(layer, plus(layer.w, plus(blocks, lora), alpha / (rank + plain)));
};

const delora = (rank: number) => (layer: Dense, p: Params) => {
  const [a, b] = [rows(p.delora_A, IN), rows(p.delora_B, rank)];
  const unit = make(rank, rank, (i, j) => (i === j ? p.delora_lambda[0] / rank / (length(a[i]) * length(turned(b)[i])) : 0));
  const norms = turned(layer.w).map(length);
  return weight(
    layer,
    plus(
      layer.w,
      times(times(b, unit), a).map((row) => row.map((v, i) => v * norms[i])),
    ),
  );
};
const c3a =
  (block: number) =>
  (layer: Dense, { c3a_kernel }: Params) =>
    weight(
      layer,
      make(OUT, IN, (o, i) => {
        const [m, n] = [Math.floor(o / block), Math.floor(i / block)];
        return layer.w[o][i] + c3a_kernel[(m * (IN / block) + n) * block + ((i - o + OUT * block) % block)] / IN;
      }),
    );
const fourier =
  (n: number, scaling: number, seed: number) =>
  (layer: Dense, { fourierft_spectrum }: Params) => {
    const places = torchRandperm(IN * OUT, seed, n);
    return weight(
      layer,
      make(OUT, IN, (o, i) => {
        const waves = fourierft_spectrum.map(
          (c, f) => c * Math.cos(2 * Math.PI * ((Math.floor(places[f] / IN) * o) / OUT + ((places[f] % IN) * i) / IN)),
        );
        return layer.w[o][i] + (scaling / (IN * OUT)) * waves.reduce((x, y) => x + y);
      }),
    );
  };
const product = (rank: number, p: Params) => times(rows(p["lora_B.weight"], rank), rows(p["lora_A.weight"], IN));
const loraConv = (rank: number, scale: number) => (layer: Dense, p: Params) => ({
  ...weight(layer, plus(layer.w, product(rank, p), scale)),
  b: layer.b.map((v, o) => v + scale * p["lora_B.bias"][o]),
});
const doraConv = (rank: number, scale: number) => (layer: Dense, p: Params) => {
  const v = plus(layer.w, product(rank, p), scale);
  return weight(
    layer,
    v.map((row, o) => row.map((x) => (x * p.lora_magnitude_vector[o]) / length(row))),
  );
};
/** A convolution by the filters (1, 1)/√2 and (1, −1)/√2 of each quarter, each number spread over four places. */
const wave = (n: number, scale: number, seed: number, haar: boolean) => (layer: Dense, p: Params) => {
  const c = make(OUT, IN, () => 0);
  torchRandperm(OUT * IN, seed, n).forEach((place, i) => {
    c[Math.floor(place / IN)][place % IN] = p.waveft_spectrum[i];
  });
  const [h, w] = [OUT / 2, IN / 2];
  const filters = [
    [Math.SQRT1_2, Math.SQRT1_2],
    [Math.SQRT1_2, -Math.SQRT1_2],
  ];
  const spread = make(OUT, IN, (o, i) => {
    const [y, x] = [Math.floor(o / 2), Math.floor(i / 2)];
    let sum = 0;
    // what is to the right is high in the rows, what is below in the columns
    for (const down of [0, 1])
      for (const right of [0, 1]) sum += c[y + down * h][x + right * w] * filters[right][o % 2] * filters[down][i % 2];
    return sum;
  });
  return weight(layer, plus(layer.w, haar ? spread : c, scale));
};
const peanut = (rank: number, depth: number, scale: number, f: (x: number) => number) => (layer: Dense, p: Params) => {
  const through = (x: Matrix, name: string, width: number) => times(x, turned(rows(p[`peanut_${name}.weight`], width)));
  const bent = (x: Matrix) => x.map((row) => row.map(f));
  let h = bent(through(turned(layer.w), "A", OUT));
  const kept: Matrix[] = [];
  for (let i = 0; i < depth; i++) {
    kept.push(h);
    h = bent(through(h, `encoders.${i}`, rank));
  }
  for (let i = 0; i < depth; i++) h = plus(bent(through(h, `decoders.${i}`, rank)), kept[depth - 1 - i]);
  return weight(layer, plus(layer.w, turned(through(h, "B", rank)), scale));
};
/** Columns made orthonormal one after the other, each with the sign that makes its part of the diagonal negative where LAPACK's is: as its reflections leave it. */
const orthonormal = (p: Matrix): Matrix => {
  let a = p;
  let q = make(p.length, p.length, (i, j) => Number(i === j));
  for (let j = 0; j < p[0].length; j++) {
    const below = a.map((row, i) => (i < j ? 0 : row[j]));
    const v = below.map((x, i) => (i === j ? x + Math.sign(x || 1) * length(below) : x));
    const square = v.reduce((sum, x) => sum + x * x, 0);
    const mirror = make(p.length, p.length, (i, k) => Number(i === k) - (2 * v[i] * v[k]) / square);
    a = times(mirror, a);
    q = times(q, mirror);
  }
  return q.map((row) => row.slice(0, p[0].length));
};
const deft =
  (rank: number, scale: number, qr = false) =>
  (layer: Dense, p: Params) => {
    const P = rows(p.deft_P, rank);
    const [q, right] = qr ? [orthonormal(P), orthonormal(P)] : [P, P.map((row) => row.map((v) => Math.max(v, 0)))];
    const left = plus(layer.w, times(q, times(turned(right), layer.w)), -1);
    return weight(layer, scale === 0 ? left : plus(left, times(q, rows(p.deft_R, IN)), scale));
  };
const glora = (layer: Dense, p: Params) => {
  const thin = (end: string, columns: number, shape: readonly [number, number]) => {
    const [d, u, x] = [p[`glora_${end}.Xd`], p[`glora_${end}.Xu`], p[`glora_${end}.X`]];
    if (d !== undefined) return times(rows(d, d.length / shape[0]), rows(u, columns));
    return make(...shape, (i) => (x === undefined ? 0 : x.length === 1 ? x[0] : x[i]));
  };
  const [a, b] = [thin("A", IN, [OUT, IN]), thin("B", IN, [OUT, IN])];
  const [c, d, e] = [thin("C", 1, [IN, 1]), thin("D", 1, [OUT, 1]), thin("E", 1, [OUT, 1])];
  const moved = times(layer.w, c);
  return {
    ...weight(layer, plus(plus(layer.w, hadamard(layer.w, a)), b)),
    b: layer.b.map((v, o) => v + v * d[o][0] + e[o][0] + moved[o][0]),
  };
};
const hira = (rank: number) => (layer: Dense, p: Params) =>
  weight(layer, plus(layer.w, hadamard(layer.w, times(rows(p.hira_B, rank), rows(p.hira_A, IN)))));
/** A convolution's channels, of 2 by 2 places each. */
const ia3 =
  (output: boolean) =>
  ({ w, b }: Dense, { ia3_l: l }: Params): Dense => ({
    w: w.map((row, o) => row.map((v, i) => v * (output ? l[o] : l[Math.floor(i / 4)]))),
    b: b.map((v, o) => (output ? v * l[o] : v)),
  });
const loha = (rank: number, alpha: number) => (layer: Dense, p: Params) => {
  const part = (k: number) => times(rows(p[`hada_w${k}_a`], rank), rows(p[`hada_w${k}_b`], IN));
  return weight(layer, plus(layer.w, hadamard(part(1), part(2)), alpha / rank));
};
/** t[i, j, k, l] · b[j, in] · a[i, out], as out × (in · k · l). */
const core = (t: Float64Array, a: Matrix, b: Matrix): Matrix => {
  const [r, area] = [a.length, 4];
  return make(a[0].length, b[0].length * area, (o, at) => {
    let sum = 0;
    for (let i = 0; i < r; i++)
      for (let j = 0; j < r; j++) sum += t[(i * r + j) * area + (at % area)] * a[i][o] * b[j][Math.floor(at / area)];
    return sum;
  });
};
const lohaCore = (alpha: number) => (layer: Dense, p: Params) => {
  const part = (k: number) => core(p[`hada_t${k}`], rows(p[`hada_w${k}_a`], OUT), rows(p[`hada_w${k}_b`], 2));
  return weight(layer, plus(layer.w, hadamard(part(1), part(2)), alpha / 3));
};

/** The weight without the part on which the LoRA starts, and that LoRA. */
const restarted = (rank: number, scale: number) => (layer: Dense, now: Params, start: Params) => {
  const product = (p: Params) => times(rows(p.lora_B, rank), rows(p.lora_A, IN));
  return weight(layer, plus(plus(layer.w, product(start), -scale), product(now), scale));
};

/** The parts of a weight, U diag(s) V, from one number of them up to another. */
function svdOf(w: Matrix, from: number, to: number) {
  const { u, s, v } = svd(tensor("f32", [OUT, IN], Float64Array.from(w.flat())));
  return { u: rows(u, IN).map((row) => row.slice(from, to)), s: Array.from(s).slice(from, to), v: rows(v, IN).slice(from, to) };
}
/** W + U diag(s) (R − I) V in the leading directions, R = diag(back) · rotation · diag(front); even: with the roots of s on both sides. */
const subspace =
  (rank: number, rotates: boolean, terms = 0, even = false) =>
  (layer: Dense, p: Params): Dense => {
    const { u, s, v } = svdOf(layer.w, 0, rank);
    let r = rotates ? eye(rank) : rows(p.matrix, rank);
    if (rotates) {
      let at = 0;
      const upper = make(rank, rank, (i, j) => (i < j ? p.entries[at++] : 0));
      const q = make(rank, rank, (i, j) => upper[i][j] - upper[j][i]);
      const power = (n: number): Matrix => (n === 0 ? eye(rank) : times(power(n - 1), q));
      r =
        terms === 0 ? times(plus(eye(rank), q), inverse(plus(eye(rank), q, -1))) : plus(plus(plus(eye(rank), q, 2), power(2), 2), power(3));
    }
    const turned = make(rank, rank, (i, j) => (p.back?.[i] ?? 1) * r[i][j] * (p.front?.[j] ?? 1) - Number(i === j));
    const values = (power: number) => make(rank, rank, (i, j) => (i === j ? s[i] ** power : 0));
    const [left, right] = even ? [values(0.5), values(0.5)] : [values(1), eye(rank)];
    return weight(layer, plus(layer.w, times(times(times(times(u, left), turned), right), v)));
  };
/** The leading directions as they were, the others as they are now. */
const directions = (preserved: number) => (layer: Dense, p: Params) => {
  const { u, s, v } = svdOf(layer.w, 0, preserved);
  const scaled = (left: Matrix, by: ArrayLike<number>) => left.map((row) => row.map((x, j) => x * by[j]));
  return weight(layer, plus(times(scaled(u, s), v), times(scaled(rows(p.U_low, IN - preserved), p.S_low), rows(p.V_low, IN))));
};

const ROWS: readonly Row[] = [
  { make: "PiSSA(rank: 3, alpha: 6)", from: "pissa", params: 3 * 20, base: "nearly", means: restarted(3, 2) },
  { make: "OLoRA(rank: 4, alpha: 6, rslora: true)", from: "pissa", params: 4 * 20, base: "nearly", means: restarted(4, 3) },
  { make: "PSOFT(rank: 3, alpha: 6)", from: "psoft", params: 3 + 6, base: "nearly", means: subspace(3, true) },
  { make: "PSOFT(rank: 3, even: true, scales: false)", from: "psoft", params: 3, base: "nearly", means: subspace(3, true, 0, true) },
  { make: "PSOFT(rank: 2, free: true)", from: "psoft", params: 4 + 4, base: "nearly", means: subspace(2, false) },
  { make: "PSOFT(rank: 3, terms: 3)", from: "psoft", params: 3 + 6, base: "nearly", means: subspace(3, true, 3) },
  { make: "OSF(preserved: 3)", from: "osf", params: 5 * (IN + OUT + 1), base: "nearly", means: directions(3) },
  {
    make: "DyLoRA(rank: 4, alpha: 6, keep: 3)",
    from: "dylora",
    params: 4 * 20,
    base: "exactly",
    means: (layer, p) =>
      weight(
        layer,
        plus(
          layer.w,
          times(
            rows(p.lora_B, 4).map((row) => row.slice(0, 3)),
            rows(p.lora_A, IN).slice(0, 3),
          ),
          2,
        ),
      ),
  },
  {
    make: "KronA(factor: 3, scale: 2)",
    from: "loha_lokr",
    params: 3 * 2 + 4 * 4,
    base: "exactly",
    means: (layer, p) => weight(layer, plus(layer.w, kron(rows(p.krona_A, 2), rows(p.krona_B, 4)), 2)),
  },
  { make: "BOFT(size: 4)", from: "boft", params: 2 * 16 + 12, base: "exactly", means: boft(4, 1) },
  { make: "BOFT(size: 0, blocks: 4)", from: "boft", params: 4 * 4 + 12, base: "exactly", means: boft(2, 1) },
  { make: "BOFT(size: 2, butterfly: 3)", from: "boft", params: 3 * 4 * 4 + 12, base: "exactly", means: boft(2, 3) },
  { make: "BOFT(size: 4, butterfly: 3, factors: 1)", from: "boft", params: 44, base: "exactly", means: boft(4, 1) },
  { make: "BOFTConv(size: 4, butterfly: 2)", from: "boft", conv: true, params: 2 * 2 * 16 + 12, base: "exactly", means: boft(4, 2) },
  { make: "HRA(rank: 4)", from: "hra", params: 8 * 4, base: "nearly", means: hra(4) },
  { make: "HRA(rank: 3)", from: "hra", params: 8 * 3, base: false, means: hra(3) },
  { make: "HRA(rank: 4, orthogonal: true)", from: "hra", params: 8 * 4, base: false, means: gramSchmidt(4) },
  { make: "HRAConv(rank: 2)", from: "hra", conv: true, params: 8 * 2, base: "nearly", means: hra(2) },
  { make: "MiSS(rank: 4)", from: "miss", params: 4 * 12, base: "exactly", means: miss(4) },
  { make: "MiSS(rank: 3)", from: "miss", params: 3 * 12, base: "exactly", means: miss(3) },
  { make: "MiSSMini(rank: 4, columns: 3)", from: "miss", params: 4 * 3, base: "exactly", means: miss(4, 3) },
  { make: "MiSSBat(rank: 4)", from: "miss", params: 12 * 4, base: "exactly", means: bat(4) },
  { make: 'RoAd(variant: "road_1", group: 4)', from: "road", params: 2 * 6, base: "exactly", means: road(1, 4) },
  { make: 'RoAd(variant: "road_2", group: 6)', from: "road", params: 2 * 12, base: "exactly", means: road(2, 6) },
  { make: 'RoAd(variant: "road_4", group: 12)', from: "road", params: 2 * 24, base: "exactly", means: road(4, 12) },
  { make: "GraLoRA(rank: 4, alpha: 8, blocks: 2)", from: "gralora", params: 4 * 20, base: "exactly", means: gralora(4, 8, 2, 0) },
  {
    make: "GraLoRA(rank: 8, alpha: 8, blocks: 4, plain: 2)",
    from: "gralora",
    params: 8 * 20 + 2 * 20,
    base: "exactly",
    means: gralora(8, 8, 4, 2),
  },
  {
    make: "LoRAConv(rank: 3, alpha: 6, bias: true)",
    from: "lora",
    conv: true,
    params: 3 * 20 + 12,
    base: "exactly",
    means: loraConv(3, 2),
  },
  { make: "DoRAConv(rank: 3, alpha: 6)", from: "dora", conv: true, params: 3 * 20 + 12, base: "nearly", means: doraConv(3, 2) },
  { make: "DEFT(rank: 3, alpha: 6)", from: "deft", params: 3 * 20, base: "nearly", means: deft(3, 2) },
  { make: 'DEFT(rank: 3, decomposition: "qr")', from: "deft", params: 3 * 20, base: "nearly", means: deft(3, 1, true) },
  { make: "DEFT(rank: 3, para: true)", from: "deft", params: 3 * 12, base: false, means: deft(3, 0) },
  { make: "GLoRA(rank: 3)", from: "glora", params: 2 * 3 * 20 + 3 * 9 + 2, base: "exactly", means: glora },
  { make: 'GLoRA(a_b: "vector", c: "vector", d_e: "vector")', from: "glora", params: 2 * 12 + 8 + 2 * 12, base: "exactly", means: glora },
  { make: 'GLoRA(a_b: "constant", c: "none", d_e: "none")', from: "glora", params: 2, base: "exactly", means: glora },
  { make: "IA3Conv()", from: "ia3", conv: true, params: 12, base: "exactly", means: ia3(true) },
  { make: "IA3ConvInput()", from: "ia3", conv: true, params: IN / 4, base: "exactly", means: ia3(false) },
  { make: "HiRA(rank: 3)", from: "hira", params: 3 * 20, base: "exactly", means: hira(3) },
  { make: "HiRAConv(rank: 3)", from: "hira", conv: true, params: 3 * 20, base: "exactly", means: hira(3) },
  { make: "DeLoRA(rank: 3, strength: 2)", from: "delora", params: 3 * 20 + 1, base: "exactly", means: delora(3) },
  { make: "C3A(block: 4)", from: "c3a", params: (8 * 12) / 4, base: false, means: c3a(4) },
  { make: "C3A(block: 2, as_peft: true)", from: "c3a", params: (8 * 12) / 2, base: false, means: c3a(2) },
  { make: "FourierFT(frequencies: 10, scaling: 20, seed: 3)", from: "fourierft", params: 10, base: false, means: fourier(10, 20, 3) },
  { make: "WaveFT(frequencies: 10, scaling: 3, seed: 5)", from: "waveft", params: 10, base: "exactly", means: wave(10, 3, 5, true) },
  { make: "WaveFT(frequencies: 10, scaling: 3, idwt: false)", from: "waveft", params: 10, base: "exactly", means: wave(10, 3, 777, false) },
  {
    make: "PEANuT(rank: 3, scaling: 2)",
    from: "peanut",
    params: 2 * 3 * 12,
    base: "exactly",
    means: peanut(3, 0, 2, (x) => Math.max(x, 0)),
  },
  {
    make: 'PEANuT(rank: 3, depth: 2, act: "tanh")',
    from: "peanut",
    params: 2 * 3 * 12 + 4 * 9,
    base: "exactly",
    means: peanut(3, 2, 1, Math.tanh),
  },
  { make: "LoHa(rank: 3, alpha: 5)", from: "loha_lokr", params: 2 * 3 * 20, base: "exactly", means: loha(3, 5) },
  { make: "LoHaConv(rank: 3, alpha: 5)", from: "loha_lokr", conv: true, params: 2 * 3 * 20, base: "exactly", means: loha(3, 5) },
  {
    make: "LoHaConv(rank: 3, alpha: 5, effective: true)",
    from: "loha_lokr",
    conv: true,
    params: 2 * (36 + 36 + 6),
    base: "exactly",
    means: lohaCore(5),
  },
  {
    make: "LoHaConv(rank: 3, alpha: 5, effective: true, as_peft: true)",
    from: "loha_lokr",
    conv: true,
    params: 156,
    base: "exactly",
    means: lohaCore(5),
  },
  {
    make: "LoKr(rank: 2, alpha: 3)",
    from: "loha_lokr",
    params: 6 + 16,
    base: "exactly",
    means: (layer, p) => weight(layer, plus(layer.w, kron(rows(p.lokr_w1, 2), rows(p.lokr_w2, 4)), 3 / 2)),
  },
  {
    make: "LoKr(rank: 1, alpha: 3, both: true)",
    from: "loha_lokr",
    params: 3 + 2 + 4 + 4,
    base: "exactly",
    means: (layer, p) =>
      weight(
        layer,
        plus(layer.w, kron(times(rows(p.lokr_w1_a, 1), rows(p.lokr_w1_b, 2)), times(rows(p.lokr_w2_a, 1), rows(p.lokr_w2_b, 4))), 3),
      ),
  },
  {
    make: "LoKrConv(rank: 1, alpha: 3, factor: 2, effective: true)",
    from: "loha_lokr",
    conv: true,
    params: 2 * 2 + 4 + 6 + 1,
    base: "exactly",
    means: (layer, p) =>
      weight(layer, plus(layer.w, kron(rows(p.lokr_w1, 2), core(p.lokr_t2, rows(p.lokr_w2_a, 6), rows(p.lokr_w2_b, 1))), 3)),
  },
  {
    make: "LoKrConv(rank: 9, alpha: 3, factor: 2)",
    from: "loha_lokr",
    conv: true,
    params: 2 * 2 + 6 * 4,
    base: "exactly",
    means: (layer, p) => weight(layer, plus(layer.w, kron(rows(p.lokr_w1, 2), rows(p.lokr_w2, 4)), 1 / 3)),
  },
];

const far = (a: Dense, b: Dense) =>
  Math.max(...a.w.flatMap((row, o) => row.map((v, i) => Math.abs(v - b.w[o][i]))), ...a.b.map((v, o) => Math.abs(v - b.b[o])));

const train = `train t { objective = near(m) params = PARAMS data = jsonl("rows.jsonl") steps = 1 optimizer = sgd(lr: 0.1) }`;
function parts(body: string) {
  const { p, all } = stages(body);
  const [seen] = all.flatMap((s) => (s.verb === "predict" ? [s] : []));
  const [trained] = all.flatMap((s) => (s.verb === "train" ? [s] : []));
  return { p, seen, trained };
}
const bases = new Map<boolean, Dense>();
function baseOf(conv: boolean): Dense {
  if (!bases.has(conv)) {
    const { p, seen } = parts(`${model(conv)} ${look}`);
    bases.set(conv, dense(p, seen.entry, asTheyStart));
  }
  return bases.get(conv)!;
}

describe.each(ROWS.map((row) => [row.make, row] as const))("%s", (_name, row) => {
  const attached = `${importOf(row)} ${model(row.conv)} attach a = ${row.make} to m.layer`;
  const base = () => baseOf(row.conv === true);
  let alone: ReturnType<typeof parts>;
  beforeAll(() => {
    alone = parts(`${attached} ${train.replace("PARAMS", "a")} ${look}`);
  });

  test("its parameters", () => {
    const { p, trained } = alone;
    expect(trained.trained.reduce((n, name) => n + count(p.params.get(name)!.shape), 0)).toBe(row.params);
  });
  test(row.base ? "at its start it is the base" : "it starts elsewhere than the base", () => {
    const gap = far(dense(alone.p, alone.seen.entry, asTheyStart), base());
    if (row.base === "exactly") expect(gap).toBe(0);
    else if (row.base === "nearly") expect(gap).toBeLessThan(1e-6);
    else expect(gap).toBeGreaterThan(1e-3);
  });
  test("what it makes of a layer", () => {
    const { p, seen } = alone;
    const store = new ValueStore(p, () => undefined);
    const params = (values: Values): Params =>
      Object.fromEntries(
        [...p.params.values()].map((d) => [d.name.replace("a.layer.", ""), Float64Array.from(values(d.name, store.param(d.name)))]),
      );
    const wanted = row.means(base(), params(moved), params(asTheyStart));
    expect(far(wanted, base())).toBeGreaterThan(1e-2);
    expect(far(dense(p, seen.entry, moved), wanted)).toBeLessThan(1e-6);
  });
  test("a LoRA at the same place trains along", () => {
    const lora = row.conv ? "" : "attach b = LoRA(rank: 2) to m.layer";
    const { p, trained } = parts(`${attached} ${lora} ${train.replace("PARAMS", row.conv ? "a" : "[a, b]")}`);
    const away: Values = (name, start) => (name.startsWith("b.") ? start.map((v, i) => v + 0.1 * Math.sin(i + 1)) : moved(name, start));
    const out = run(p, trained.step[0], away);
    expect(out.get("output:loss")!.data[0]).toBeGreaterThan(0);
    for (const name of trained.trained) {
      const next = Array.from(out.get(`param:${name}`)!.data);
      expect(next.every(Number.isFinite)).toBe(true);
      const before = away(name, new ValueStore(p, () => undefined).param(name));
      expect(next.some((v, i) => v !== before[i])).toBe(true);
    }
  });
});

describe("what acts as a LoRA on the weight as it was is saved as that; one that started on a part of it has twice the rank", () => {
  test.each([
    ["PSOFT(rank: 3, alpha: 6)", { r: 3, lora_alpha: 6, use_rslora: false }, "psoft"],
    ["PiSSA(rank: 3, alpha: 6)", { r: 6, lora_alpha: 12, use_rslora: false }, "pissa"],
    ["OLoRA(rank: 2, alpha: 6, rslora: true)", { r: 4, lora_alpha: 6 * Math.SQRT2, use_rslora: true }, "pissa"],
  ])("%s", (made, fields, from) => {
    const { p, seen, trained } = parts(
      `${importOf({ make: made, from })} ${model()} attach a = ${made} to m.layer ${train.replace("PARAMS", "a")} ${look}`,
    );
    const store = new ValueStore(p, () => undefined);
    const mappings = readMappings(new NodeFiles(), path.join(ROOT, "std/methods"));
    const memory = new MemoryFiles();
    const [folder] = artefactsFor(p, memory, mappings).adapter("out", trained, (name) => Float32Array.from(moved(name, store.param(name))));
    const back = readAdapter(memory, folder, mappings)!;
    const {
      config,
      parts: [part],
    } = back;
    expect(config).toMatchObject({ peft_type: "LORA", init_lora_weights: true, ...fields });
    const [a, b] = ["lora_A.weight", "lora_B.weight"].map((param) => back.read(part.sites[0].params[param]));
    const scale = fields.lora_alpha / (fields.use_rslora ? Math.sqrt(fields.r) : fields.r);
    const base = baseOf(false);
    const plain = weight(base, plus(base.w, times(rows(b, fields.r), rows(a, IN)), scale));
    expect(far(dense(p, seen.entry, moved), plain)).toBeLessThan(1e-5);
  });
});

test("LoRA+: B learns at a multiple of A's rate", () => {
  const both = (plus: string) =>
    parts(
      `import { LoRAPlus } from "std/methods/lora" ${model()} attach a = LoRA(rank: 2) to m.layer ${plus} ${train.replace("PARAMS", "a")}`,
    );
  const step = ({ p, trained }: ReturnType<typeof parts>) => {
    const out = run(p, trained.step[0], moved);
    const store = new ValueStore(p, () => undefined);
    return ["A", "B"].map((end) => {
      const name = trained.trained.find((n) => n.endsWith(`lora_${end}.weight`))!;
      const before = moved(name, store.param(name));
      return Array.from(out.get(`param:${name}`)!.data, (v, i) => v - before[i]);
    });
  };
  const [[a, b], [a2, b2]] = [step(both("")), step(both("attach plus = LoRAPlus(ratio: 16) to a.**.lora_B.weight"))];
  a.forEach((v, i) => expect(a2[i]).toBeCloseTo(v, 6));
  b.forEach((v, i) => expect(b2[i]).toBeCloseTo(16 * v, 5));
});

describe("options that do not fit are said at once", () => {
  test.each([
    ["BOFT(size: 3)", "boft", /divides the inputs/],
    ["BOFT(size: 4, blocks: 2)", "boft", /the other is 0/],
    ["BOFT(size: 4, butterfly: 3)", "boft", /butterflies need blocks of even size/],
    ["RoAd(group: 5)", "road", /even number of outputs/],
    ["RoAd(group: 8)", "road", /divide into groups/],
    ['RoAd(variant: "road_3", group: 4)', "road", /road_1, road_2 or road_4/],
    ["GraLoRA(rank: 3, blocks: 2)", "gralora", /multiple of the number of blocks/],
    ["MiSSBat(rank: 3)", "miss", /blocks of rank/],
    ["C3A(block: 3)", "c3a", /divides inputs and outputs/],
    ["FourierFT(frequencies: 97)", "fourierft", /in · out frequencies/],
  ])("%s", (made, from, says) => {
    const p = project(`${importOf({ make: made, from })} ${model()} attach a = ${made} to m.layer ${look}`);
    expect(p.problems.map((x) => x.message).join("\n")).toMatch(says);
  });
});

describe("PyTorch's permutations, drawn by PyTorch 2.13", () => {
  test.each([
    [10, 3, [6, 0, 3, 7, 8, 5, 1, 9, 2, 4]],
    [700, 777, [635, 135, 223, 351, 267, 32, 691, 359, 555, 62]],
    [5, -1, [1, 3, 4, 2, 0]],
    [7, 2 ** 40 + 5, [1, 0, 4, 2, 6, 5, 3]],
  ])("of %d numbers with the seed %d", (n, seed, first) => {
    expect([...torchRandperm(n, seed, first.length)]).toEqual(first);
  });
});
