/** Whole kernels in WGSL; written by `scripts/kernel-texts.ts`, from the graphs of `support/texts.ts`. */
import { expect, test } from "@jest/globals";
import { CASES, textOf } from "./support/texts.ts";

const TEXTS: Readonly<Record<string, string>> = {
  matmul: `// h.0.mlp.c_fc add
// product for b < 1, m < 3, n < 5; summed along k < 4
//   in_x         f32[3, 4]           x
//   c_fc_weight  f32[4, 5]           h.0.mlp.c_fc.weight
//   c_fc_bias    f32[5]              h.0.mlp.c_fc.bias
//   out_y0       f32[3, 5], written  y0
// in_x_0 = in_x[4·m + k]
// c_fc_weight_1 = c_fc_weight[n + 5·k]
// sum += in_x_0·c_fc_weight_1
// c_fc_bias_3 = c_fc_bias[n]
// add_4 = add(sum, c_fc_bias_3)
// out_y0[5·m + n] = add_4
@group(0) @binding(0) var<storage, read_write> in_x: array<f32>;
@group(0) @binding(1) var<storage, read> c_fc_weight: array<f32>;
@group(0) @binding(2) var<storage, read> c_fc_bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 2) { return; }
  let m0 = 0;
  let n0 = at * 4;
  let m1 = m0 + 1;
  let m2 = m0 + 2;
  let n1 = min(n0 + 1, 4);
  let n2 = min(n0 + 2, 4);
  let n3 = min(n0 + 3, 4);
  var acc0 = vec4f(0.0);
  var acc1 = vec4f(0.0);
  var acc2 = vec4f(0.0);
  for (var k = 0; k < 4; k++) {
    let c_fc_weight_1_b0 = c_fc_weight[n0 + 5 * k];
    let c_fc_weight_1_b1 = c_fc_weight[n1 + 5 * k];
    let c_fc_weight_1_b2 = c_fc_weight[n2 + 5 * k];
    let c_fc_weight_1_b3 = c_fc_weight[n3 + 5 * k];
    let columns = vec4f(c_fc_weight_1_b0, c_fc_weight_1_b1, c_fc_weight_1_b2, c_fc_weight_1_b3);
    let in_x_0_a0 = in_x[4 * m0 + k];
    acc0 += in_x_0_a0 * columns;
    let in_x_0_a1 = in_x[4 * m1 + k];
    acc1 += in_x_0_a1 * columns;
    let in_x_0_a2 = in_x[4 * m2 + k];
    acc2 += in_x_0_a2 * columns;
  }
  var tile = array<vec4f, 3>(acc0, acc1, acc2);
  for (var i = 0; i < 3; i++) {
    let m = m0 + i;
    for (var j = 0; j < 4; j++) {
      let n = n0 + j;
      if (n < 5) {
        let c_fc_bias_3 = c_fc_bias[n];
        out_y0[5 * m + n] = (tile[i][j]) + c_fc_bias_3;
      }
    }
  }
}`,
  "thin product": `// lora.h.0.attn.c_attn add
// product for b < 1, m < 4, n < 4; summed along k < 8, then k2 < 2
//   in_x           f32[4, 8]           x
//   c_attn_weight  f32[8, 4]           h.0.attn.c_attn.weight
//   lora_down      f32[4, 2]           lora.down
//   c_attn_lora_B  f32[2, 4]           lora.h.0.attn.c_attn.lora_B
//   out_y0         f32[4, 4], written  y0
// in_x_0 = in_x[8·m + k]
// c_attn_weight_1 = c_attn_weight[n + 4·k]
// lora_down_2 = lora_down[2·m + k2]
// c_attn_lora_B_3 = c_attn_lora_B[n + 4·k2]
// sum += in_x_0·c_attn_weight_1, then lora_down_2·c_attn_lora_B_3
// out_y0[4·m + n] = sum
@group(0) @binding(0) var<storage, read_write> in_x: array<f32>;
@group(0) @binding(1) var<storage, read> c_attn_weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> lora_down: array<f32>;
@group(0) @binding(3) var<storage, read> c_attn_lora_B: array<f32>;
@group(0) @binding(4) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 1) { return; }
  let m0 = 0;
  let n0 = 0;
  let m1 = m0 + 1;
  let m2 = m0 + 2;
  let m3 = m0 + 3;
  let n1 = n0 + 1;
  let n2 = n0 + 2;
  let n3 = n0 + 3;
  var acc0 = vec4f(0.0);
  var acc1 = vec4f(0.0);
  var acc2 = vec4f(0.0);
  var acc3 = vec4f(0.0);
  for (var k = 0; k < 8; k++) {
    let c_attn_weight_1_b0 = c_attn_weight[n0 + 4 * k];
    let c_attn_weight_1_b1 = c_attn_weight[n1 + 4 * k];
    let c_attn_weight_1_b2 = c_attn_weight[n2 + 4 * k];
    let c_attn_weight_1_b3 = c_attn_weight[n3 + 4 * k];
    let columns = vec4f(c_attn_weight_1_b0, c_attn_weight_1_b1, c_attn_weight_1_b2, c_attn_weight_1_b3);
    let in_x_0_a0 = in_x[8 * m0 + k];
    acc0 += in_x_0_a0 * columns;
    let in_x_0_a1 = in_x[8 * m1 + k];
    acc1 += in_x_0_a1 * columns;
    let in_x_0_a2 = in_x[8 * m2 + k];
    acc2 += in_x_0_a2 * columns;
    let in_x_0_a3 = in_x[8 * m3 + k];
    acc3 += in_x_0_a3 * columns;
  }
  for (var k = 0; k < 2; k++) {
    let c_attn_lora_B_3_b0_k2 = c_attn_lora_B[n0 + 4 * k];
    let c_attn_lora_B_3_b1_k2 = c_attn_lora_B[n1 + 4 * k];
    let c_attn_lora_B_3_b2_k2 = c_attn_lora_B[n2 + 4 * k];
    let c_attn_lora_B_3_b3_k2 = c_attn_lora_B[n3 + 4 * k];
    let columns = vec4f(c_attn_lora_B_3_b0_k2, c_attn_lora_B_3_b1_k2, c_attn_lora_B_3_b2_k2, c_attn_lora_B_3_b3_k2);
    let lora_down_2_a0_k2 = lora_down[2 * m0 + k];
    acc0 += lora_down_2_a0_k2 * columns;
    let lora_down_2_a1_k2 = lora_down[2 * m1 + k];
    acc1 += lora_down_2_a1_k2 * columns;
    let lora_down_2_a2_k2 = lora_down[2 * m2 + k];
    acc2 += lora_down_2_a2_k2 * columns;
    let lora_down_2_a3_k2 = lora_down[2 * m3 + k];
    acc3 += lora_down_2_a3_k2 * columns;
  }
  var tile = array<vec4f, 4>(acc0, acc1, acc2, acc3);
  for (var i = 0; i < 4; i++) {
    let m = m0 + i;
    for (var j = 0; j < 4; j++) {
      let n = n0 + j;
      out_y0[4 * m + n] = tile[i][j];
    }
  }
}`,
  softmax: `// h.0.attn div
// for a0 < 5; along a row of r0 < 7
//   in_scores  f32[5, 7]           scores
//   out_y0     f32[5, 7], written  y0
// in_scores_0 = in_scores[7·a0 + r0]
// max_1 = max of in_scores_0
// sub_2 = sub(in_scores_0, max_1)
// exp_3 = exp(sub_2)
// sum_4 = sum of exp_3
// div_5 = div(exp_3, sum_4)
// out_y0[7·a0 + r0] = div_5
@group(0) @binding(0) var<storage, read_write> in_scores: array<f32>;
@group(0) @binding(1) var<storage, read_write> out_y0: array<f32>;
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn larger(x: f32, y: f32) -> f32 { return select(max(x, y), x + y, is_nan(x) || is_nan(y)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 5) { return; }

  var max_1 = -0x1.fffffep+127f;
  for (var r0 = 0; r0 < 7; r0++) {
    let in_scores_0 = in_scores[7 * at + r0];
    max_1 = larger(max_1, in_scores_0);
  }

  var sum_4 = 0.0;
  for (var r0 = 0; r0 < 7; r0++) {
    let in_scores_0 = in_scores[7 * at + r0];
    sum_4 = sum_4 + exp(in_scores_0 - max_1);
  }

  for (var r0 = 0; r0 < 7; r0++) {
    let in_scores_0 = in_scores[7 * at + r0];
    out_y0[7 * at + r0] = exp(in_scores_0 - max_1) / sum_4;
  }
}`,
  norm: `// h.0.ln_1 add
// for a0 < 4; along a row of r0 < 8
//   h_x          f32[4, 8]           h.0.x
//   ln_1_weight  f32[8]              h.0.ln_1.weight
//   ln_1_bias    f32[8]              h.0.ln_1.bias
//   out_y0       f32[4, 8], written  y0
// h_x_0 = h_x[8·a0 + r0]
// sum_1 = sum of h_x_0
// div_3 = div(sum_1, 8)
// sub_4 = sub(h_x_0, div_3)
// mul_5 = mul(sub_4, sub_4)
// sum_6 = sum of mul_5
// div_7 = div(sum_6, 8)
// add_9 = add(div_7, 0.00001)
// sqrt_10 = sqrt(add_9)
// div_11 = div(sub_4, sqrt_10)
// ln_1_weight_12 = ln_1_weight[r0]
// mul_13 = mul(div_11, ln_1_weight_12)
// ln_1_bias_14 = ln_1_bias[r0]
// add_15 = add(mul_13, ln_1_bias_14)
// out_y0[8·a0 + r0] = add_15
@group(0) @binding(0) var<storage, read_write> h_x: array<f32>;
@group(0) @binding(1) var<storage, read> ln_1_weight: array<f32>;
@group(0) @binding(2) var<storage, read> ln_1_bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 4) { return; }

  var sum_1 = 0.0;
  for (var r0 = 0; r0 < 8; r0++) {
    let h_x_0 = h_x[8 * at + r0];
    sum_1 = sum_1 + h_x_0;
  }

  let div_3 = sum_1 / 8.0;
  var sum_6 = 0.0;
  for (var r0 = 0; r0 < 8; r0++) {
    let h_x_0 = h_x[8 * at + r0];
    let sub_4 = h_x_0 - div_3;
    sum_6 = sum_6 + (sub_4 * sub_4);
  }

  let sqrt_10 = sqrt((sum_6 / 8.0) + 0.00001);
  for (var r0 = 0; r0 < 8; r0++) {
    let h_x_0 = h_x[8 * at + r0];
    let ln_1_weight_12 = ln_1_weight[r0];
    let ln_1_bias_14 = ln_1_bias[r0];
    out_y0[8 * at + r0] = (((h_x_0 - div_3) / sqrt_10) * ln_1_weight_12) + ln_1_bias_14;
  }
}`,
  "attention forward": `// h.0.attn div
// for a0 < 4; along a row of r0 < 4
//   attn_scores  f32[4, 4]           h.0.attn.scores
//   out_y0       f32[4, 4], written  y0
// at_0 = a0
// at_1 = r0
// ge_2 = ge(at_0, at_1)
// attn_scores_3 = attn_scores[4·a0 + r0]
// mul_5 = mul(attn_scores_3, 0.5)
// where_7 = where(ge_2, mul_5, -1e+30)
// max_8 = max of where_7
// sub_9 = sub(where_7, max_8)
// exp_10 = exp(sub_9)
// sum_11 = sum of exp_10
// div_12 = div(exp_10, sum_11)
// out_y0[4·a0 + r0] = div_12
@group(0) @binding(0) var<storage, read_write> attn_scores: array<f32>;
@group(0) @binding(1) var<storage, read_write> out_y0: array<f32>;
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn larger(x: f32, y: f32) -> f32 { return select(max(x, y), x + y, is_nan(x) || is_nan(y)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 4) { return; }

  var max_8 = -0x1.fffffep+127f;
  for (var r0 = 0; r0 < 4; r0++) {
    let attn_scores_3 = attn_scores[4 * at + r0];
    max_8 = larger(max_8, select(-1e+30f, attn_scores_3 * 0.5, at >= r0));
  }

  var sum_11 = 0.0;
  for (var r0 = 0; r0 < 4; r0++) {
    let attn_scores_3 = attn_scores[4 * at + r0];
    sum_11 = sum_11 + exp(select(-1e+30f, attn_scores_3 * 0.5, at >= r0) - max_8);
  }

  for (var r0 = 0; r0 < 4; r0++) {
    let attn_scores_3 = attn_scores[4 * at + r0];
    out_y0[4 * at + r0] = exp(select(-1e+30f, attn_scores_3 * 0.5, at >= r0) - max_8) / sum_11;
  }
}`,
  "attention backward": `// h.0.attn mul
// for a0 < 4; along a row of r0 < 4
//   attn_p   f32[4, 4]           h.0.attn.p
//   attn_dp  f32[4, 4]           h.0.attn.dp
//   out_y0   f32[4, 4], written  y0
// attn_p_0 = attn_p[4·a0 + r0]
// attn_dp_1 = attn_dp[4·a0 + r0]
// mul_2 = mul(attn_p_0, attn_dp_1)
// sum_3 = sum of mul_2
// sub_4 = sub(attn_dp_1, sum_3)
// mul_5 = mul(attn_p_0, sub_4)
// out_y0[4·a0 + r0] = mul_5
@group(0) @binding(0) var<storage, read_write> attn_p: array<f32>;
@group(0) @binding(1) var<storage, read_write> attn_dp: array<f32>;
@group(0) @binding(2) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 4) { return; }

  var sum_3 = 0.0;
  for (var r0 = 0; r0 < 4; r0++) {
    let attn_p_0 = attn_p[4 * at + r0];
    let attn_dp_1 = attn_dp[4 * at + r0];
    sum_3 = sum_3 + (attn_p_0 * attn_dp_1);
  }

  for (var r0 = 0; r0 < 4; r0++) {
    let attn_p_0 = attn_p[4 * at + r0];
    let attn_dp_1 = attn_dp[4 * at + r0];
    out_y0[4 * at + r0] = attn_p_0 * (attn_dp_1 - sum_3);
  }
}`,
  "cross-entropy head": `// causal_lm neg
// for a0 < 3; along a row of r0 < 8
//   lm_head_logits  f32[3, 8]        lm_head.logits
//   in_labels       i32[3]           labels
//   out_y0          f32[3], written  y0
// lm_head_logits_0 = lm_head_logits[8·a0 + r0]
// max_1 = max of lm_head_logits_0
// sub_2 = sub(lm_head_logits_0, max_1)
// exp_3 = exp(sub_2)
// sum_4 = sum of exp_3
// log_5 = log(sum_4)
// at_6 = r0
// in_labels_7 = in_labels[a0]
// eq_8 = eq(at_6, in_labels_7)
// sub_9 = sub(sub_2, log_5)
// where_11 = where(eq_8, sub_9, 0)
// sum_12 = sum of where_11
// neg_13 = neg(sum_12)
// out_y0[a0] = neg_13
@group(0) @binding(0) var<storage, read_write> lm_head_logits: array<f32>;
@group(0) @binding(1) var<storage, read_write> in_labels: array<i32>;
@group(0) @binding(2) var<storage, read_write> out_y0: array<f32>;
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u; }
fn larger(x: f32, y: f32) -> f32 { return select(max(x, y), x + y, is_nan(x) || is_nan(y)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 3) { return; }

  var max_1 = -0x1.fffffep+127f;
  for (var r0 = 0; r0 < 8; r0++) {
    let lm_head_logits_0 = lm_head_logits[8 * at + r0];
    max_1 = larger(max_1, lm_head_logits_0);
  }

  var sum_4 = 0.0;
  for (var r0 = 0; r0 < 8; r0++) {
    let lm_head_logits_0 = lm_head_logits[8 * at + r0];
    sum_4 = sum_4 + exp(lm_head_logits_0 - max_1);
  }

  let log_5 = log(sum_4);
  let in_labels_7 = in_labels[at];
  var sum_12 = 0.0;
  for (var r0 = 0; r0 < 8; r0++) {
    let lm_head_logits_0 = lm_head_logits[8 * at + r0];
    sum_12 = sum_12 + select(0.0, (lm_head_logits_0 - max_1) - log_5, r0 == in_labels_7);
  }

  out_y0[at] = -sum_12;
}`,
  gather: `// wte gather
// for a0 < 3, a1 < 4
//   input_ids   i32[3]              input_ids
//   wte_weight  f32[9, 4]           wte.weight
//   out_y0      f32[3, 4], written  y0
// input_ids_0 = input_ids[a0]
// max_2 = max(input_ids_0, 0)
// min_4 = min(max_2, 8)
// wte_weight_5 = wte_weight[a1 + 4·min_4]
// out_y0[4·a0 + a1] = wte_weight_5
@group(0) @binding(0) var<storage, read_write> input_ids: array<i32>;
@group(0) @binding(1) var<storage, read> wte_weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 12) { return; }
  let i1 = at % 4;
  let i0 = at / 4;
  let input_ids_0 = input_ids[i0];
  let min_4 = min(max(input_ids_0, 0), 8);
  let wte_weight_5 = wte_weight[i1 + 4 * min_4];
  out_y0[4 * i0 + i1] = wte_weight_5;
}`,
  "optimiser update": `// adamw.h.0.attn.lora_A sub
// for a0 < 8
//   lora_A_m       f32[8]           adamw.lora_A.m
//   grad_lora_A    f32[8]           grad.lora_A
//   lora_A_v       f32[8]           adamw.lora_A.v
//   lora_A_weight  f32[8]           lora_A.weight
//   in_lr          f32[]            lr
//   out_y1         f32[8], written  y1
//   out_y2         f32[8], written  y2
//   out_y0         f32[8], written  y0
// lora_A_m_0 = lora_A_m[a0]
// mul_2 = mul(lora_A_m_0, 0.9)
// grad_lora_A_3 = grad_lora_A[a0]
// mul_5 = mul(grad_lora_A_3, 0.1)
// add_6 = add(mul_2, mul_5)
// lora_A_v_7 = lora_A_v[a0]
// mul_9 = mul(lora_A_v_7, 0.999)
// mul_10 = mul(grad_lora_A_3, grad_lora_A_3)
// mul_12 = mul(mul_10, 0.001)
// add_13 = add(mul_9, mul_12)
// lora_A_weight_14 = lora_A_weight[a0]
// sqrt_15 = sqrt(add_13)
// add_17 = add(sqrt_15, 1e-8)
// div_18 = div(add_6, add_17)
// in_lr_19 = in_lr[0]
// mul_20 = mul(div_18, in_lr_19)
// sub_21 = sub(lora_A_weight_14, mul_20)
// out_y1[a0] = add_6
// out_y2[a0] = add_13
// out_y0[a0] = sub_21
@group(0) @binding(0) var<storage, read_write> lora_A_m: array<f32>;
@group(0) @binding(1) var<storage, read_write> grad_lora_A: array<f32>;
@group(0) @binding(2) var<storage, read_write> lora_A_v: array<f32>;
@group(0) @binding(3) var<storage, read> lora_A_weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> in_lr: array<f32>;
@group(0) @binding(5) var<storage, read_write> out_y1: array<f32>;
@group(0) @binding(6) var<storage, read_write> out_y2: array<f32>;
@group(0) @binding(7) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 8) { return; }
  let lora_A_m_0 = lora_A_m[at];
  let grad_lora_A_3 = grad_lora_A[at];
  let add_6 = (lora_A_m_0 * 0.9) + (grad_lora_A_3 * 0.1);
  let lora_A_v_7 = lora_A_v[at];
  let add_13 = (lora_A_v_7 * 0.999) + ((grad_lora_A_3 * grad_lora_A_3) * 0.001);
  let lora_A_weight_14 = lora_A_weight[at];
  let in_lr_19 = in_lr[0];
  out_y1[at] = add_6;
  out_y2[at] = add_13;
  out_y0[at] = lora_A_weight_14 - ((add_6 / (sqrt(add_13) + (1e-8f))) * in_lr_19);
}`,
  reduction: `// h.0.mlp.c_fc reduce_sum
// for a0 < 8; along a row of r0 < 3
//   mlp_grad  f32[3, 8]        h.0.mlp.grad
//   out_y0    f32[8], written  y0
// mlp_grad_0 = mlp_grad[a0 + 8·r0]
// sum_1 = sum of mlp_grad_0
// out_y0[a0] = sum_1
@group(0) @binding(0) var<storage, read_write> mlp_grad: array<f32>;
@group(0) @binding(1) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 8) { return; }

  var sum_1 = 0.0;
  for (var r0 = 0; r0 < 3; r0++) {
    let mlp_grad_0 = mlp_grad[at + 8 * r0];
    sum_1 = sum_1 + mlp_grad_0;
  }

  out_y0[at] = sum_1;
}`,
  "elementwise chain": `// h.0.mlp.act mul
// for a0 < 8
//   mlp_c_fc  f32[8]           h.0.mlp.c_fc
//   out_y0    f32[8], written  y0
// mlp_c_fc_0 = mlp_c_fc[a0]
// mul_2 = mul(mlp_c_fc_0, 0.5)
// mul_3 = mul(mlp_c_fc_0, mlp_c_fc_0)
// mul_4 = mul(mul_3, mlp_c_fc_0)
// mul_6 = mul(mul_4, 0.044715)
// add_7 = add(mlp_c_fc_0, mul_6)
// mul_9 = mul(add_7, 0.7978845608)
// tanh_10 = tanh(mul_9)
// add_12 = add(tanh_10, 1)
// mul_13 = mul(mul_2, add_12)
// out_y0[a0] = mul_13
@group(0) @binding(0) var<storage, read_write> mlp_c_fc: array<f32>;
@group(0) @binding(1) var<storage, read_write> out_y0: array<f32>;
fn stable_tanh(x: f32) -> f32 {
  let s = x * x;
  let near = x * (945.0 + s * (105.0 + s)) / (945.0 + s * (420.0 + s * 15.0));
  let t = exp(-2.0 * abs(x));
  let far = sign(x) * (1.0 - t) / (1.0 + t);
  return select(far, near, abs(x) < 0.6);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 8) { return; }
  let mlp_c_fc_0 = mlp_c_fc[at];
  let tanh_10 = stable_tanh((mlp_c_fc_0 + (((mlp_c_fc_0 * mlp_c_fc_0) * mlp_c_fc_0) * 0.044715)) * 0.7978846);
  out_y0[at] = (mlp_c_fc_0 * 0.5) * (tanh_10 + 1.0);
}`,
  "quantised product": `// h.0.mlp.c_fc dot
// product for b < 1, m < 3, n < 4; summed along k < 8
//   in_x         f32[3, 8]           x
//   c_fc_codes   i32[4]              c_fc.codes
//   x2           f32[16]
//   c_fc_scales  f32[4]              c_fc.scales
//   out_y0       f32[3, 4], written  y0
// in_x_0 = in_x[8·m + k]
// at_1 = -4·n - 16·(k % 2) + 28
// c_fc_codes_2 = c_fc_codes[k / 2]
// shl_3 = shl(c_fc_codes_2, at_1)
// shr_5 = shr(shl_3, 28)
// x2_6 = x2[shr_5]
// c_fc_scales_7 = c_fc_scales[k / 2]
// mul_8 = mul(x2_6, c_fc_scales_7)
// sum += in_x_0·mul_8
// out_y0[4·m + n] = sum
@group(0) @binding(0) var<storage, read_write> in_x: array<f32>;
@group(0) @binding(1) var<storage, read_write> c_fc_codes: array<i32>;
@group(0) @binding(2) var<storage, read> x2: array<f32>;
@group(0) @binding(3) var<storage, read_write> c_fc_scales: array<f32>;
@group(0) @binding(4) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 1) { return; }
  let m0 = 0;
  let n0 = 0;
  let m1 = m0 + 1;
  let m2 = m0 + 2;
  let n1 = n0 + 1;
  let n2 = n0 + 2;
  let n3 = n0 + 3;
  var acc0 = vec4f(0.0);
  var acc1 = vec4f(0.0);
  var acc2 = vec4f(0.0);
  for (var k = 0; k < 8; k++) {
    let c_fc_codes_2_b0 = c_fc_codes[(k / 2)];
    let shr_5_b0 = bitcast<i32>(bitcast<u32>(c_fc_codes_2_b0 << u32(-4 * n0 - 16 * (k % 2) + 28)) >> u32(28));
    let x2_6_b0 = x2[shr_5_b0];
    let c_fc_scales_7_b0 = c_fc_scales[(k / 2)];
    let c_fc_codes_2_b1 = c_fc_codes[(k / 2)];
    let shr_5_b1 = bitcast<i32>(bitcast<u32>(c_fc_codes_2_b1 << u32(-4 * n1 - 16 * (k % 2) + 28)) >> u32(28));
    let x2_6_b1 = x2[shr_5_b1];
    let c_fc_scales_7_b1 = c_fc_scales[(k / 2)];
    let c_fc_codes_2_b2 = c_fc_codes[(k / 2)];
    let shr_5_b2 = bitcast<i32>(bitcast<u32>(c_fc_codes_2_b2 << u32(-4 * n2 - 16 * (k % 2) + 28)) >> u32(28));
    let x2_6_b2 = x2[shr_5_b2];
    let c_fc_scales_7_b2 = c_fc_scales[(k / 2)];
    let c_fc_codes_2_b3 = c_fc_codes[(k / 2)];
    let shr_5_b3 = bitcast<i32>(bitcast<u32>(c_fc_codes_2_b3 << u32(-4 * n3 - 16 * (k % 2) + 28)) >> u32(28));
    let x2_6_b3 = x2[shr_5_b3];
    let c_fc_scales_7_b3 = c_fc_scales[(k / 2)];
    let columns = vec4f(x2_6_b0 * c_fc_scales_7_b0, x2_6_b1 * c_fc_scales_7_b1, x2_6_b2 * c_fc_scales_7_b2, x2_6_b3 * c_fc_scales_7_b3);
    let in_x_0_a0 = in_x[8 * m0 + k];
    acc0 += in_x_0_a0 * columns;
    let in_x_0_a1 = in_x[8 * m1 + k];
    acc1 += in_x_0_a1 * columns;
    let in_x_0_a2 = in_x[8 * m2 + k];
    acc2 += in_x_0_a2 * columns;
  }
  var tile = array<vec4f, 3>(acc0, acc1, acc2);
  for (var i = 0; i < 3; i++) {
    let m = m0 + i;
    for (var j = 0; j < 4; j++) {
      let n = n0 + j;
      out_y0[4 * m + n] = tile[i][j];
    }
  }
}`,
  rotary: `// layers.0.self_attn add
// for a0 < 3, a1 < 8
//   self_attn_q  f32[3, 8]           layers.0.self_attn.q
//   rope_cos     f32[3, 8]           rope.cos
//   rope_sin     f32[3, 8]           rope.sin
//   out_y0       f32[3, 8], written  y0
// self_attn_q_0 = self_attn_q[8·a0 + a1]
// rope_cos_1 = rope_cos[8·a0 + a1]
// mul_2 = mul(self_attn_q_0, rope_cos_1)
// at_3 = a1
// lt_5 = lt(at_3, 4)
// self_attn_q_6 = self_attn_q[8·a0 + a1 + 4] if lt_5
// neg_7 = neg(self_attn_q_6)
// ge_8 = ge(at_3, 4)
// self_attn_q_9 = self_attn_q[8·a0 + a1 - 4] if ge_8
// where_10 = where(lt_5, neg_7, self_attn_q_9)
// rope_sin_11 = rope_sin[8·a0 + a1]
// mul_12 = mul(where_10, rope_sin_11)
// add_13 = add(mul_2, mul_12)
// out_y0[8·a0 + a1] = add_13
@group(0) @binding(0) var<storage, read_write> self_attn_q: array<f32>;
@group(0) @binding(1) var<storage, read_write> rope_cos: array<f32>;
@group(0) @binding(2) var<storage, read_write> rope_sin: array<f32>;
@group(0) @binding(3) var<storage, read_write> out_y0: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
  let at = i32(group.x * 64u + lane);
  if (at >= 24) { return; }
  let i1 = at % 8;
  let i0 = at / 8;
  let self_attn_q_0 = self_attn_q[8 * i0 + i1];
  let rope_cos_1 = rope_cos[8 * i0 + i1];
  let lt_5 = i1 < 4;
  var self_attn_q_6: f32 = 0.0;
  if (lt_5) { self_attn_q_6 = self_attn_q[8 * i0 + i1 + 4]; }
  var self_attn_q_9: f32 = 0.0;
  if (i1 >= 4) { self_attn_q_9 = self_attn_q[8 * i0 + i1 - 4]; }
  let rope_sin_11 = rope_sin[8 * i0 + i1];
  out_y0[8 * i0 + i1] = (self_attn_q_0 * rope_cos_1) + (select(self_attn_q_9, -self_attn_q_6, lt_5) * rope_sin_11);
}`,
};

test.each(CASES)("%s", async (name) => {
  expect(await textOf("wgsl", name)).toBe(TEXTS[name]);
});
