/**
 * What each pass does, as text: a small graph before and after. Laws say what stays; these say what changes, to who reads them. Those of loops that run backwards
 * need graphs too large for that: `reverse.test.ts` counts what they do.
 */
import { describe, expect, test } from "@jest/globals";
import { hoist } from "../../src/backends/load.ts";
import { passes } from "../../src/backends/lowering.ts";
import { calls } from "../../src/backends/passes/calls.ts";
import { split } from "../../src/backends/passes/split.ts";
import { storable } from "../../src/backends/passes/storable.ts";
import { thin } from "../../src/backends/passes/thin.ts";
import { writeOutInner } from "../../src/backends/torch/inner.ts";
import { prepared } from "../../src/backends/torch/once.ts";
import { forOneRow } from "../../src/backends/torch/tables.ts";
import { single } from "../../src/backends/torch/update-names.ts";
import { accumulate } from "../../src/ir/accumulate.ts";
import { Builder } from "../../src/ir/build.ts";
import type { Graph } from "../../src/ir/graph.ts";
import { parse } from "../../src/ir/parse.ts";
import { halve } from "../../src/ir/passes/halve.ts";
import { type Pass, PassContext, type PassOptions } from "../../src/ir/passes/pass.ts";
import { pipeline } from "../../src/ir/pipeline.ts";
import { print } from "../../src/ir/print.ts";

interface Shown {
  readonly options?: PassOptions;
  readonly before: string;
  /** Several graphs with a line `--` between them. */
  readonly after: string;
}

const SHOWN: Readonly<Record<string, Shown>> = {
  expand: {
    before: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = param {name: "v", shape: [2]} : f32[2]
%2 = mod(%0, %1) : f32[2]
output "y" = %2
`,
    after: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = param {name: "v", shape: [2]} : f32[2]
%2 = div(%0, %1) : f32[2]
%3 = floor(%2) : f32[2]
%4 = mul(%1, %3) : f32[2]
%5 = sub(%0, %4) : f32[2]
output "y" = %5
`,
  },
  halve: {
    options: { halves: "bf16", trained: ["lora"] },
    before: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = param {name: "w", shape: [3, 3]} : f32[3, 3]
%2 = param {name: "lora", shape: [3, 3]} : f32[3, 3]
%3 = add(%1, %2) : f32[3, 3]
%4 = dot(%0, %3) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2, 3]
output "y" = %4
`,
    after: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = param {name: "w", shape: [3, 3]} : f32[3, 3]
%2 = narrow(%1) {format: "bf16"} : i32[5]
%3 = widen(%2) {shape: [3, 3], format: "bf16"} : f32[3, 3]
%4 = param {name: "lora", shape: [3, 3]} : f32[3, 3]
%5 = add(%3, %4) : f32[3, 3]
%6 = dot(%0, %5) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2, 3]
output "y" = %6
`,
  },
  accumulate: {
    before: `
%0 = input {name: "x", shape: [B, 2], dtype: "f32"} : f32[B, 2]
%1 = param {name: "w", shape: [2]} : f32[2]
%2 = reshape(%1) {shape: [1, 2]} : f32[1, 2]
%3 = expand(%2) {shape: [B, 2]} : f32[B, 2]
%4 = mul(%0, %3) : f32[B, 2]
%5 = reduce_sum(%4) {axes: [0, 1]} : f32[]
%6 = const {shape: [], dtype: "i32", data: [B]} : i32[]
%7 = cast(%6) {dtype: "f32"} : f32[]
%8 = div(%5, %7) : f32[]
output "loss" = %8
`,
    after: `
%0 = state {name: "sum/0", shape: [], dtype: "f32"} : f32[] @ accumulate
%1 = input {name: "x", shape: [B, 2], dtype: "f32"} : f32[B, 2]
%2 = param {name: "w", shape: [2]} : f32[2]
%3 = reshape(%2) {shape: [1, 2]} : f32[1, 2]
%4 = expand(%3) {shape: [B, 2]} : f32[B, 2]
%5 = mul(%1, %4) : f32[B, 2]
%6 = reduce_sum(%5) {axes: [0, 1]} : f32[]
%7 = input {name: "update_rows", shape: [], dtype: "i32"} : i32[] @ accumulate
%8 = cast(%7) {dtype: "f32"} : f32[]
%9 = div(%6, %8) : f32[]
%10 = add(%0, %9) : f32[] @ accumulate
state "sum/0" = %10
--
%0 = state {name: "sum/0", shape: [], dtype: "f32"} : f32[] @ accumulate
%1 = const {shape: [], dtype: "f32", data: [0]} : f32[] @ accumulate
output "loss" = %0
state "sum/0" = %1
`,
  },
  canonical: {
    before: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = exp(%0) : f32[2, 3]
%2 = slice(%1) {start: [0, 0], stop: [1, 3], step: [1, 1]} : f32[1, 3]
output "y" = %2
`,
    after: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = slice(%0) {start: [0, 0], stop: [1, 3], step: [1, 1]} : f32[1, 3]
%2 = exp(%1) : f32[1, 3]
output "y" = %2
`,
  },
  roll: {
    before: `
%0 = param {name: "h", shape: [2]} : f32[2]
%1 = param {name: "h.0.w", shape: [2]} : f32[2] iteration("h" 0/2) @ h.0
%2 = mul(%0, %1) : f32[2] iteration("h" 0/2) @ h.0
%3 = tanh(%2) : f32[2] iteration("h" 0/2) @ h.0
%4 = param {name: "h.1.w", shape: [2]} : f32[2] iteration("h" 1/2) @ h.1
%5 = mul(%3, %4) : f32[2] iteration("h" 1/2) @ h.1
%6 = tanh(%5) : f32[2] iteration("h" 1/2) @ h.1
output "y" = %6
`,
    after: `
%0 = param {name: "h", shape: [2]} : f32[2]
%1 = param {name: "h.0.w", shape: [2]} : f32[2] iteration("h" 0/2) @ h.0
%2 = param {name: "h.1.w", shape: [2]} : f32[2] iteration("h" 1/2) @ h.1
%3 = loop carried(%0) given(%1, %2) {id: "h", of: 2, iterations: [0, 1], paths: ["h.0", "h.1"]} { @ h
  body 0 (%4: f32[2], %5: f32[2]) {
    %6 = mul(%4, %5) : f32[2] @ h.0
    %7 = tanh(%6) : f32[2] @ h.0
    carry(%7) export()
  }
  iterations 0(0) 0(1)
}
%8 = get(%3) {output: "carried", index: 0} : f32[2] @ h
output "y" = %8
`,
  },
  grad: {
    before: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = mul(%0, %0) : f32[2]
%2 = reduce_sum(%1) {axes: [0]} : f32[]
%3 = grad(%2, %0) : f32[2]
output "w" = %3
`,
    after: `
%0 = const {shape: [], dtype: "f32", data: [1]} : f32[] backward
%1 = reshape(%0) {shape: [1]} : f32[1] backward
%2 = expand(%1) {shape: [2]} : f32[2] backward
%3 = param {name: "w", shape: [2]} : f32[2]
%4 = mul(%2, %3) : f32[2] backward
%5 = mul(%2, %3) : f32[2] backward
%6 = add(%4, %5) : f32[2] backward
output "w" = %6
`,
  },
  unroll: {
    before: `
%0 = param {name: "h", shape: [2]} : f32[2]
%1 = param {name: "h.0.w", shape: [2]} : f32[2]
%2 = param {name: "h.1.w", shape: [2]} : f32[2]
%3 = loop carried(%0) given(%1, %2) { @ h
  body 0 (%4: f32[2], %5: f32[2]) {
    %6 = mul(%4, %5) : f32[2]
    carry(%6) export()
  }
  iterations 0(0) 0(1)
}
%7 = get(%3) {output: "carried", index: 0} : f32[2]
output "y" = %7
`,
    after: `
%0 = param {name: "h", shape: [2]} : f32[2]
%1 = param {name: "h.0.w", shape: [2]} : f32[2]
%2 = mul(%0, %1) : f32[2]
%3 = param {name: "h.1.w", shape: [2]} : f32[2]
%4 = mul(%2, %3) : f32[2]
output "y" = %4
`,
  },
  simplify: {
    before: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = const {shape: [2, 3], dtype: "f32", data: [1]} : f32[2, 3]
%2 = mul(%0, %1) : f32[2, 3]
%3 = reshape(%0) {shape: [6]} : f32[6]
%4 = reshape(%3) {shape: [2, 3]} : f32[2, 3]
%5 = add(%2, %4) : f32[2, 3]
output "y" = %5
`,
    after: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = const {shape: [2, 3], dtype: "f32", data: [2]} : f32[2, 3]
%2 = mul(%0, %1) : f32[2, 3]
output "y" = %2
`,
  },
  products: {
    before: `
%0 = input {name: "x", shape: [2, 64], dtype: "f32"} : f32[2, 64]
%1 = param {name: "A", shape: [64, 1]} : f32[64, 1]
%2 = param {name: "B", shape: [1, 64]} : f32[1, 64]
%3 = dot(%1, %2) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[64, 64]
%4 = dot(%0, %3) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2, 64]
output "y" = %4
`,
    after: `
%0 = input {name: "x", shape: [2, 64], dtype: "f32"} : f32[2, 64]
%1 = param {name: "A", shape: [64, 1]} : f32[64, 1]
%2 = reshape(%1) {shape: [64]} : f32[64]
%3 = dot(%0, %2) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2]
%4 = reshape(%3) {shape: [2, 1]} : f32[2, 1]
%5 = expand(%4) {shape: [2, 64]} : f32[2, 64]
%6 = param {name: "B", shape: [1, 64]} : f32[1, 64]
%7 = reshape(%6) {shape: [64]} : f32[64]
%8 = reshape(%7) {shape: [1, 64]} : f32[1, 64]
%9 = expand(%8) {shape: [2, 64]} : f32[2, 64]
%10 = mul(%5, %9) : f32[2, 64]
output "y" = %10
`,
  },
  scaled: {
    before: `
%0 = input {name: "x", shape: [64, 64], dtype: "f32"} : f32[64, 64]
%1 = param {name: "A", shape: [64, 1]} : f32[64, 1]
%2 = dot(%0, %1) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[64, 1]
%3 = param {name: "B", shape: [1, 64]} : f32[1, 64]
%4 = dot(%2, %3) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[64, 64]
%5 = const {shape: [64, 64], dtype: "f32", data: [2]} : f32[64, 64]
%6 = mul(%4, %5) : f32[64, 64]
output "y" = %6
`,
    after: `
%0 = input {name: "x", shape: [64, 64], dtype: "f32"} : f32[64, 64]
%1 = param {name: "A", shape: [64, 1]} : f32[64, 1]
%2 = dot(%0, %1) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[64, 1]
%3 = const {shape: [64, 1], dtype: "f32", data: [2]} : f32[64, 1]
%4 = mul(%2, %3) : f32[64, 1]
%5 = param {name: "B", shape: [1, 64]} : f32[1, 64]
%6 = dot(%4, %5) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[64, 64]
output "y" = %6
`,
  },
  chunk: {
    options: { slice: 4096 },
    before: `
%0 = input {name: "x", shape: [64, 2], dtype: "f32"} : f32[64, 2]
%1 = param {name: "w", shape: [2, 64]} : f32[2, 64]
%2 = dot(%0, %1) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[64, 64]
%3 = exp(%2) : f32[64, 64]
%4 = reduce_sum(%3) {axes: [1]} : f32[64]
output "y" = %4
`,
    after: `
%0 = input {name: "x", shape: [64, 2], dtype: "f32"} : f32[64, 2]
%1 = param {name: "w", shape: [2, 64]} : f32[2, 64]
%2 = loop carried() given(%0, %1) sliced(0) {
  body 0 (%3: f32[16, 2], %4: f32[2, 64]) {
    %5 = dot(%3, %4) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[16, 64]
    %6 = exp(%5) : f32[16, 64]
    %7 = reduce_sum(%6) {axes: [1]} : f32[16]
    carry() export(%7)
  }
  iterations 0(0, 1) 0(0, 1) 0(0, 1) 0(0, 1)
}
%8 = get(%2) {output: "joined", index: 0} : f32[64]
output "y" = %8
`,
  },
  cut: {
    before: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = param {name: "bias", shape: [3]} : f32[3]
%2 = reshape(%1) {shape: [1, 3]} : f32[1, 3]
%3 = expand(%2) {shape: [2, 3]} : f32[2, 3]
%4 = add(%0, %3) : f32[2, 3]
%5 = param {name: "w", shape: [3, 3]} : f32[3, 3]
%6 = dot(%4, %5) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2, 3]
%7 = reduce_sum(%6) {axes: [0, 1]} : f32[]
%8 = mul(%4, %0) : f32[2, 3] backward
output "y" = %7
output "g" = %8
`,
    after: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = param {name: "bias", shape: [3]} : f32[3]
%2 = reshape(%1) {shape: [1, 3]} : f32[1, 3]
%3 = expand(%2) {shape: [2, 3]} : f32[2, 3]
%4 = add(%0, %3) : f32[2, 3]
%5 = param {name: "w", shape: [3, 3]} : f32[3, 3]
%6 = dot(%4, %5) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2, 3]
%7 = reduce_sum(%6) {axes: [0, 1]} : f32[]
%8 = add(%0, %3) : f32[2, 3] backward
%9 = mul(%8, %0) : f32[2, 3] backward
output "y" = %7
output "g" = %9
`,
  },
  sparse: {
    before: `
%0 = input {name: "x", shape: [256, 128], dtype: "f32"} : f32[256, 128]
%1 = const {shape: [256, 128], dtype: "f32", data: [0]} : f32[256, 128]
%2 = max(%0, %1) : f32[256, 128]
%3 = param {name: "w", shape: [128, 64]} : f32[128, 64]
%4 = dot(%2, %3) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[256, 64]
output "y" = %4
`,
    after: `
%0 = input {name: "x", shape: [256, 128], dtype: "f32"} : f32[256, 128]
%1 = const {shape: [256, 128], dtype: "f32", data: [0]} : f32[256, 128]
%2 = max(%0, %1) : f32[256, 128]
%3 = param {name: "w", shape: [128, 64]} : f32[128, 64]
%4 = abs(%3) : f32[128, 64]
%5 = reduce_sum(%4) {axes: [0, 1]} : f32[]
%6 = dot(%2, %3, %5) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0], zeros: "lhs"} : f32[256, 64]
output "y" = %6
`,
  },
  scalars: {
    before: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = const {shape: [], dtype: "f32", data: [1]} : f32[]
%2 = input {name: "step", shape: [], dtype: "i32"} : i32[]
%3 = cast(%2) {dtype: "f32"} : f32[]
%4 = div(%1, %3) : f32[]
%5 = reshape(%4) {shape: [1]} : f32[1]
%6 = expand(%5) {shape: [2]} : f32[2]
%7 = mul(%0, %6) : f32[2]
output "y" = %7
`,
    after: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = input {name: "scalar/0", shape: [], dtype: "f32"} : f32[]
%2 = reshape(%1) {shape: [1]} : f32[1]
%3 = expand(%2) {shape: [2]} : f32[2]
%4 = mul(%0, %3) : f32[2]
output "y" = %4
`,
  },
  hoist: {
    before: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = param {name: "w", shape: [3, 3]} : f32[3, 3]
%2 = dot(%1, %1) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[3, 3]
%3 = dot(%0, %2) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2, 3]
output "y" = %3
`,
    after: `
%0 = input {name: "x", shape: [2, 3], dtype: "f32"} : f32[2, 3]
%1 = param {name: "load/0", dtype: "f32", shape: [3, 3]} : f32[3, 3]
%2 = dot(%0, %1) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[2, 3]
output "y" = %2
--
%0 = input {name: "w", shape: [3, 3], dtype: "f32"} : f32[3, 3]
%1 = dot(%0, %0) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[3, 3]
param "load/0" = %1
`,
  },
  thin: {
    before: `
%0 = param {name: "w", shape: [1, 3]} : f32[1, 3]
%1 = param {name: "v", shape: [3, 2]} : f32[3, 2]
%2 = dot(%0, %1) {lhsBatch: [], rhsBatch: [], lhsContract: [1], rhsContract: [0]} : f32[1, 2]
output "y" = %2
`,
    after: `
%0 = param {name: "w", shape: [1, 3]} : f32[1, 3]
%1 = permute(%0) {order: [0, 1]} : f32[1, 3]
%2 = reshape(%1) {shape: [1, 1, 3]} : f32[1, 1, 3]
%3 = expand(%2) {shape: [1, 2, 3]} : f32[1, 2, 3]
%4 = param {name: "v", shape: [3, 2]} : f32[3, 2]
%5 = permute(%4) {order: [1, 0]} : f32[2, 3]
%6 = reshape(%5) {shape: [1, 2, 3]} : f32[1, 2, 3]
%7 = expand(%6) {shape: [1, 2, 3]} : f32[1, 2, 3]
%8 = mul(%3, %7) : f32[1, 2, 3]
%9 = reduce_sum(%8) {axes: [2]} : f32[1, 2]
output "y" = %9
`,
  },
  split: {
    before: `
%0 = param {name: "w", shape: [256, 256]} : f32[256, 256]
%1 = reduce_sum(%0) {axes: [0, 1]} : f32[]
output "y" = %1
`,
    after: `
%0 = param {name: "w", shape: [256, 256]} : f32[256, 256]
%1 = reduce_sum(%0) {axes: [1]} : f32[256]
%2 = reduce_sum(%1) {axes: [0]} : f32[]
output "y" = %2
`,
  },
  storable: {
    before: `
%0 = param {name: "w", shape: [2, 3]} : f32[2, 3]
%1 = exp(%0) : f32[2, 3]
%2 = reshape(%1) {shape: [6]} : f32[6]
output "y" = %2
state "s" = %1
`,
    after: `
%0 = param {name: "w", shape: [2, 3]} : f32[2, 3]
%1 = exp(%0) : f32[2, 3]
%2 = stop_gradient(%1) : f32[2, 3]
output "y" = %1
state "s" = %2
`,
  },
};

/** Those of PyTorch; the batch is open. */
const FOR_TORCH: Readonly<Record<string, Shown & { readonly run: (graph: Graph) => readonly Graph[] }>> = {
  inner: {
    run: (graph) => [writeOutInner(graph)],
    before: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = mul(%0, %0) : f32[2]
%2 = reduce_sum(%1) {axes: [0]} : f32[]
%3 = grad(%2, %0) : f32[2]
%4 = reduce_sum(%3) {axes: [0]} : f32[]
%5 = grad(%4, %0) : f32[2]
output "g" = %5
`,
    after: `
%0 = const {shape: [], dtype: "f32", data: [1]} : f32[]
%1 = reshape(%0) {shape: [1]} : f32[1]
%2 = expand(%1) {shape: [2]} : f32[2]
%3 = param {name: "w", shape: [2]} : f32[2]
%4 = mul(%2, %3) : f32[2]
%5 = mul(%2, %3) : f32[2]
%6 = add(%4, %5) : f32[2]
%7 = reduce_sum(%6) {axes: [0]} : f32[]
%8 = grad(%7, %3) : f32[2]
output "g" = %8
`,
  },
  one_row: {
    run: (graph) => [forOneRow(graph, new Set())],
    before: `
%0 = iota {shape: [3], axis: 0} : i32[3]
%1 = cast(%0) {dtype: "f32"} : f32[3]
%2 = reshape(%1) {shape: [1, 3]} : f32[1, 3]
%3 = expand(%2) {shape: [B, 3]} : f32[B, 3]
%4 = cos(%3) : f32[B, 3]
%5 = input {name: "x", shape: [B, 3], dtype: "f32"} : f32[B, 3]
%6 = mul(%5, %4) : f32[B, 3]
output "y" = %6
`,
    after: `
%0 = input {name: "x", shape: [B, 3], dtype: "f32"} : f32[B, 3]
%1 = iota {shape: [3], axis: 0} : i32[3]
%2 = cast(%1) {dtype: "f32"} : f32[3]
%3 = reshape(%2) {shape: [1, 3]} : f32[1, 3]
%4 = cos(%3) : f32[1, 3]
%5 = expand(%4) {shape: [B, 3]} : f32[B, 3]
%6 = mul(%0, %5) : f32[B, 3]
output "y" = %6
`,
  },
  once: {
    run: (graph) => {
      const { graphs, tables, prepare } = prepared([graph], new Set());
      return [...graphs, tables, prepare].filter(({ results }) => results.length > 0);
    },
    before: `
%0 = input {name: "x", shape: [B, 3], dtype: "f32"} : f32[B, 3]
%1 = iota {shape: [3], axis: 0} : i32[3]
%2 = cast(%1) {dtype: "f32"} : f32[3]
%3 = cos(%2) : f32[3]
%4 = reshape(%3) {shape: [1, 3]} : f32[1, 3]
%5 = expand(%4) {shape: [B, 3]} : f32[B, 3]
%6 = mul(%0, %5) : f32[B, 3]
output "y" = %6
`,
    after: `
%0 = input {name: "x", shape: [B, 3], dtype: "f32"} : f32[B, 3]
%1 = state {name: "tables/cos", shape: [3], dtype: "f32"} : f32[3] @ cos
%2 = reshape(%1) {shape: [1, 3]} : f32[1, 3] @ cos
%3 = expand(%2) {shape: [B, 3]} : f32[B, 3] @ cos
%4 = mul(%0, %3) : f32[B, 3]
output "y" = %4
--
%0 = iota {shape: [3], axis: 0} : i32[3]
%1 = cast(%0) {dtype: "f32"} : f32[3]
%2 = cos(%1) : f32[3]
state "tables/cos" = %2
`,
  },
  single: {
    run: (graph) => [single(graph)],
    before: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = input {name: "lr", shape: [], dtype: "f32"} : f32[]
%2 = const {shape: [], dtype: "f32", data: [1]} : f32[]
%3 = mul(%1, %2) : f32[]
%4 = expand(%3) {shape: [2]} : f32[2]
%5 = mul(%0, %4) : f32[2]
%6 = expand(%1) {shape: [2]} : f32[2]
%7 = mul(%0, %6) : f32[2]
param "w" = %5
state "s" = %7
`,
    after: `
%0 = param {name: "w", shape: [2]} : f32[2]
%1 = input {name: "lr", shape: [], dtype: "f32"} : f32[]
%2 = expand(%1) {shape: [2]} : f32[2]
%3 = mul(%0, %2) : f32[2]
param "w" = %3
state "s" = %3
`,
  },
};

/** Passes that give several graphs for one. */
const SEVERAL: Readonly<Record<string, (graph: Graph) => readonly Graph[]>> = {
  accumulate: (graph) => {
    const { count, gradients, update } = accumulate(graph, "B");
    return [...(count ? [count] : []), gradients, update];
  },
  hoist: (graph) => {
    const { graphs, loads } = hoist([graph]);
    return [...graphs, ...loads.map((l) => l.graph)];
  },
};
const ONE = new Map<string, Pass>([halve, ...pipeline, thin, split, storable].map((p) => [p.name, p]));

describe("a pass, before and after", () => {
  test.each(Object.entries(SHOWN))("%s", (name, { options, before, after }) => {
    const graph = parse(before.trim());
    const made = SEVERAL[name]?.(graph) ?? [ONE.get(name)!.run(graph, new PassContext(new Map(), options))];
    expect(made.map((g) => print(g)).join("--\n")).toBe(after.slice(1));
    expect(after).not.toBe(before);
  });

  test.each(Object.entries(FOR_TORCH))("%s", (_name, { run, before, after }) => {
    expect(
      run(parse(before.trim()))
        .map((g) => print(g))
        .join("--\n"),
    ).toBe(after.slice(1));
    expect(after).not.toBe(before);
  });

  test("calls: what is computed twice is a body that both halves run", () => {
    const part = (copy: boolean) => {
      const from = { path: "h.0", recompute: { part: "h.0", index: 0, copy }, ...(copy && { half: "backward" as const }) };
      return new Builder(from).unary("exp", new Builder({ path: "" }).input("x", { dtype: "f32", shape: [2] }));
    };
    const results = [false, true].map((copy) => ({ role: "output" as const, name: copy ? "z" : "y", node: part(copy) }));
    expect(print(calls.run({ results }, new PassContext()))).toBe(CALLS.slice(1));
  });

  test("every pass is shown", () => {
    const elsewhere = ["calls", "reverse", "restore"];
    expect([...Object.keys(SHOWN), ...Object.keys(FOR_TORCH), ...elsewhere].sort()).toEqual([...new Set(passes.map((p) => p.name))].sort());
  });
});

const CALLS = `
%0 = input {name: "x", shape: [2], dtype: "f32"} : f32[2]
%1 = loop carried() given(%0) { @ h.0
  body 0 (%2: f32[2]) {
    %3 = exp(%2) : f32[2] @ h.0
    carry() export(%3)
  }
  iterations 0(0)
}
%4 = get(%1) {output: "export", iteration: 0, index: 0} : f32[2] @ h.0
%5 = input {name: "x", shape: [2], dtype: "f32"} : f32[2]
%6 = loop carried() given(%5) { backward @ h.0
  body 0 (%7: f32[2]) {
    %8 = exp(%7) : f32[2] @ h.0
    carry() export(%8)
  }
  iterations 0(0)
}
%9 = get(%6) {output: "export", iteration: 0, index: 0} : f32[2] backward @ h.0
output "y" = %4
output "z" = %9
`;
