/** Whole kernels in C; written by `scripts/kernel-texts.ts`, from the graphs of `support/texts.ts`. */
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
__attribute__((noinline)) void k_h_0_mlp_c_fc_add(const f32a *restrict in_x, const f32a *restrict c_fc_weight, const f32a *restrict c_fc_bias, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  f32a *restrict A = (f32a *)scratch + 0;
  f32a *restrict B = (f32a *)scratch + 16;
  f32a *restrict T = (f32a *)scratch + 64;
  ix held = -1;
  for (ix u = from; u < to; u += 1) {
    ix const m0 = 0;
    ix const group = u;
    ix const b = group;
    ix const n0 = 0;
    ix const n1 = least(n0 + 8, 5);
    ix const m1 = least(m0 + 3, 3);
    if (group != held) {
      held = group;
      for (ix n = n0; n < n1; n += 8) {
        f32a * const to_2 = B + (n - n0) * 4;
        for (ix k = 0; k < 4; k += 1) {
          f32a * const to_3 = to_2 + (k) * 8;
          vf8 const c_fc_weight_1 = *(const uf8 *)(c_fc_weight + (k * 5 + n));
          *(uf8 *)(to_3 + 0) = c_fc_weight_1;
        }
      }
    }
    for (ix n_2 = n0; n_2 < n1; n_2 += 8) {
      const f32a * const panel = B + (n_2 - n0) * 4;
      for (ix m = m0; m < m1; m += 3) {
        f32a * const t = T;
        const f32a *a[3];
        for (ix r = 0; r < 3; r++) {
          ix const m_2 = m + r;
          a[r] = in_x + (m_2 * 4);
        }
        tile_8_3_1(panel + (0) * 8, a, 1, 4, t, 0);
        for (ix r_2 = 0; r_2 < 3; r_2++) {
          ix const m_3 = m + r_2;
          vf8 const sum_2 = *(const uf8 *)(t + r_2 * 8 + 0);
          vf8 const c_fc_bias_3 = *(const uf8 *)(c_fc_bias + n_2);
          vf8 const add_4 = sum_2 + c_fc_bias_3;
          __builtin_memcpy(out_y0 + (n_2 + m_3 * 5), &add_4, 20);
        }
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
__attribute__((noinline)) void k_lora_h_0_attn_c_attn_add(const f32a *restrict in_x, const f32a *restrict c_attn_weight, const f32a *restrict lora_down, const f32a *restrict c_attn_lora_B, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  f32a *restrict A = (f32a *)scratch + 0;
  f32a *restrict B = (f32a *)scratch + 16;
  f32a *restrict T = (f32a *)scratch + 112;
  ix held = -1;
  for (ix u = from; u < to; u += 1) {
    ix const m0 = 0;
    ix const group = u;
    ix const b = group;
    ix const n0 = 0;
    ix const n1 = least(n0 + 8, 4);
    ix const m1 = least(m0 + 4, 4);
    if (group != held) {
      held = group;
      for (ix n = n0; n < n1; n += 8) {
        f32a * const to_2 = B + (n - n0) * 10;
        for (ix k = 0; k < 8; k += 1) {
          f32a * const to_3 = to_2 + (k) * 8;
          vf8 const c_attn_weight_1 = *(const uf8 *)(c_attn_weight + (k * 4 + n));
          *(uf8 *)(to_3 + 0) = c_attn_weight_1;
        }
        for (ix k_2 = 0; k_2 < 2; k_2 += 1) {
          f32a * const to_4 = to_2 + (k_2 + 8) * 8;
          vf8 const c_attn_lora_B_3 = *(const uf8 *)(c_attn_lora_B + (k_2 * 4 + n));
          *(uf8 *)(to_4 + 0) = c_attn_lora_B_3;
        }
      }
    }
    for (ix n_2 = n0; n_2 < n1; n_2 += 8) {
      const f32a * const panel = B + (n_2 - n0) * 10;
      for (ix m = m0; m < m1; m += 4) {
        f32a * const t = T;
        const f32a *a[4];
        for (ix r = 0; r < 4; r++) {
          ix const m_2 = m + r;
          a[r] = in_x + (m_2 * 8);
        }
        tile_8_4_1(panel + (0) * 8, a, 1, 8, t, 0);
        const f32a *a_2[4];
        for (ix r_2 = 0; r_2 < 4; r_2++) {
          ix const m_3 = m + r_2;
          a_2[r_2] = lora_down + (m_3 * 2);
        }
        tile_8_4_1(panel + (8) * 8, a_2, 1, 2, t, 1);
        for (ix r_3 = 0; r_3 < 4; r_3++) {
          ix const m_4 = m + r_3;
          vf8 const sum_4 = *(const uf8 *)(t + r_3 * 8 + 0);
          __builtin_memcpy(out_y0 + (n_2 + m_4 * 4), &sum_4, 16);
        }
      }
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
__attribute__((noinline)) void k_h_0_attn_div(const f32a *restrict in_scores, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix const a0 = u;
    vf8 acc = splat_f8((-INFINITE));
    ix x = 0;
    {
      ix const x_2 = 0;
      vf8 const in_scores_0 = *(const uf8 *)(in_scores + (x_2 + a0 * 7));
      acc = max_f8(acc, sel_f8((LANES8 < 7), in_scores_0, splat_f8((-INFINITE))));
    }
    vf8 const r = splat_f8(most_f8(acc));
    vf8 acc_2 = splat_f8(0.0f);
    ix x_3 = 0;
    {
      ix const x_4 = 0;
      vf8 const in_scores_0_2 = *(const uf8 *)(in_scores + (x_4 + a0 * 7));
      vf8 const sub_2 = in_scores_0_2 - r;
      vf8 const exp_3 = exp_f8(sub_2);
      *(uf8 *)(scratch + 0 + 4 * (x_4 + 0)) = exp_3;
      acc_2 = acc_2 + sel_f8((LANES8 < 7), exp_3, splat_f8(0.0f));
    }
    vf8 const r_2 = splat_f8(sum_f8(acc_2));
    ix x_5 = 0;
    {
      ix const x_6 = 0;
      vf8 const exp_3_2 = *(uf8 *)(scratch + 0 + 4 * (x_6 + 0));
      vf8 const div_5 = exp_3_2 / r_2;
      __builtin_memcpy(out_y0 + (x_6 + a0 * 7), &div_5, 28);
    }
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
__attribute__((noinline)) void k_h_0_ln_1_add(const f32a *restrict h_x, const f32a *restrict ln_1_weight, const f32a *restrict ln_1_bias, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix const a0 = u;
    vf8 const c_2 = splat_f8(8.0f);
    vf8 const c_8 = splat_f8(0.000009999999747378752f);
    vf8 acc = splat_f8(0.0f);
    ix x = 0;
    for (; x < 8; x += 8) {
      vf8 const h_x_0 = *(const uf8 *)(h_x + (x + a0 * 8));
      acc = acc + h_x_0;
    }
    vf8 const r = splat_f8(sum_f8(acc));
    vf8 const div_3 = r / c_2;
    vf8 acc_2 = splat_f8(0.0f);
    ix x_2 = 0;
    for (; x_2 < 8; x_2 += 8) {
      vf8 const h_x_0_2 = *(const uf8 *)(h_x + (x_2 + a0 * 8));
      vf8 const sub_4 = h_x_0_2 - div_3;
      vf8 const mul_5 = sub_4 * sub_4;
      acc_2 = acc_2 + mul_5;
    }
    vf8 const r_2 = splat_f8(sum_f8(acc_2));
    vf8 const div_7 = r_2 / c_2;
    vf8 const add_9 = div_7 + c_8;
    vf8 const sqrt_10 = sqrt_f8(add_9);
    ix x_3 = 0;
    for (; x_3 < 8; x_3 += 8) {
      vf8 const h_x_0_3 = *(const uf8 *)(h_x + (x_3 + a0 * 8));
      vf8 const sub_4_2 = h_x_0_3 - div_3;
      vf8 const div_11 = sub_4_2 / sqrt_10;
      vf8 const ln_1_weight_12 = *(const uf8 *)(ln_1_weight + x_3);
      vf8 const mul_13 = div_11 * ln_1_weight_12;
      vf8 const ln_1_bias_14 = *(const uf8 *)(ln_1_bias + x_3);
      vf8 const add_15 = mul_13 + ln_1_bias_14;
      __builtin_memcpy(out_y0 + (x_3 + a0 * 8), &add_15, 32);
    }
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
__attribute__((noinline)) void k_h_0_attn_div(const f32a *restrict attn_scores, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix const a0 = u;
    vi4 const at_0 = splat_i4((i32)(a0));
    vf4 const c_4 = splat_f4(0.5f);
    vf4 const c_6 = splat_f4((-1.0000000150474662e+30f));
    vf4 acc = splat_f4((-INFINITE));
    ix x = 0;
    for (; x < 4; x += 4) {
      vi4 const at_1 = splat_i4((i32)(0)) + (splat_i4((i32)(x)) + LANES4);
      vi4 const ge_2 = at_0 >= at_1;
      vf4 const attn_scores_3 = *(const uf4 *)(attn_scores + (x + a0 * 4));
      vf4 const mul_5 = attn_scores_3 * c_4;
      vf4 const where_7 = sel_f4(ge_2, mul_5, c_6);
      acc = max_f4(acc, where_7);
    }
    vf4 const r = splat_f4(most_f4(acc));
    vf4 acc_2 = splat_f4(0.0f);
    ix x_2 = 0;
    for (; x_2 < 4; x_2 += 4) {
      vi4 const at_1_2 = splat_i4((i32)(0)) + (splat_i4((i32)(x_2)) + LANES4);
      vi4 const ge_2_2 = at_0 >= at_1_2;
      vf4 const attn_scores_3_2 = *(const uf4 *)(attn_scores + (x_2 + a0 * 4));
      vf4 const mul_5_2 = attn_scores_3_2 * c_4;
      vf4 const where_7_2 = sel_f4(ge_2_2, mul_5_2, c_6);
      vf4 const sub_9 = where_7_2 - r;
      vf4 const exp_10 = exp_f4(sub_9);
      *(uf4 *)(scratch + 0 + 4 * (x_2 + 0)) = exp_10;
      acc_2 = acc_2 + exp_10;
    }
    vf4 const r_2 = splat_f4(sum_f4(acc_2));
    ix x_3 = 0;
    for (; x_3 < 4; x_3 += 4) {
      vf4 const exp_10_2 = *(uf4 *)(scratch + 0 + 4 * (x_3 + 0));
      vf4 const div_12 = exp_10_2 / r_2;
      __builtin_memcpy(out_y0 + (x_3 + a0 * 4), &div_12, 16);
    }
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
__attribute__((noinline)) void k_h_0_attn_mul(const f32a *restrict attn_p, const f32a *restrict attn_dp, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix const a0 = u;
    vf4 acc = splat_f4(0.0f);
    ix x = 0;
    for (; x < 4; x += 4) {
      vf4 const attn_p_0 = *(const uf4 *)(attn_p + (x + a0 * 4));
      vf4 const attn_dp_1 = *(const uf4 *)(attn_dp + (x + a0 * 4));
      vf4 const mul_2 = attn_p_0 * attn_dp_1;
      acc = acc + mul_2;
    }
    vf4 const r = splat_f4(sum_f4(acc));
    ix x_2 = 0;
    for (; x_2 < 4; x_2 += 4) {
      vf4 const attn_p_0_2 = *(const uf4 *)(attn_p + (x_2 + a0 * 4));
      vf4 const attn_dp_1_2 = *(const uf4 *)(attn_dp + (x_2 + a0 * 4));
      vf4 const sub_4 = attn_dp_1_2 - r;
      vf4 const mul_5 = attn_p_0_2 * sub_4;
      __builtin_memcpy(out_y0 + (x_2 + a0 * 4), &mul_5, 16);
    }
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
__attribute__((noinline)) void k_causal_lm_neg(const f32a *restrict lm_head_logits, const i32a *restrict in_labels, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix const a0 = u;
    vi8 const in_labels_7 = splat_i8(in_labels[a0]);
    vf8 const c_10 = splat_f8(0.0f);
    vf8 acc = splat_f8((-INFINITE));
    ix x = 0;
    for (; x < 8; x += 8) {
      vf8 const lm_head_logits_0 = *(const uf8 *)(lm_head_logits + (x + a0 * 8));
      acc = max_f8(acc, lm_head_logits_0);
    }
    vf8 const r = splat_f8(most_f8(acc));
    vf8 acc_2 = splat_f8(0.0f);
    ix x_2 = 0;
    for (; x_2 < 8; x_2 += 8) {
      vf8 const lm_head_logits_0_2 = *(const uf8 *)(lm_head_logits + (x_2 + a0 * 8));
      vf8 const sub_2 = lm_head_logits_0_2 - r;
      vf8 const exp_3 = exp_f8(sub_2);
      acc_2 = acc_2 + exp_3;
    }
    vf8 const r_2 = splat_f8(sum_f8(acc_2));
    vf8 const log_5 = log_f8(r_2);
    vf8 acc_3 = splat_f8(0.0f);
    ix x_3 = 0;
    for (; x_3 < 8; x_3 += 8) {
      vf8 const lm_head_logits_0_3 = *(const uf8 *)(lm_head_logits + (x_3 + a0 * 8));
      vf8 const sub_2_2 = lm_head_logits_0_3 - r;
      vi8 const at_6 = splat_i8((i32)(0)) + (splat_i8((i32)(x_3)) + LANES8);
      vi8 const eq_8 = at_6 == in_labels_7;
      vf8 const sub_9 = sub_2_2 - log_5;
      vf8 const where_11 = sel_f8(eq_8, sub_9, c_10);
      acc_3 = acc_3 + where_11;
    }
    vf8 const r_3 = splat_f8(sum_f8(acc_3));
    vf8 const neg_13 = -r_3;
    out_y0[a0] = neg_13[0];
  }
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
__attribute__((noinline)) void k_wte_gather(const i32a *restrict input_ids, const f32a *restrict wte_weight, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix const a0 = u;
    vi4 const input_ids_0 = splat_i4(input_ids[a0]);
    vi4 const c_1 = splat_i4(0);
    vi4 const max_2 = max_i4(input_ids_0, c_1);
    vi4 const c_3 = splat_i4(8);
    vi4 const min_4 = min_i4(max_2, c_3);
    ix x = 0;
    for (; x < 4; x += 4) {
      vf4 const wte_weight_5 = *(const uf4 *)(wte_weight + (min_4[0] * 4 + x));
      __builtin_memcpy(out_y0 + (x + a0 * 4), &wte_weight_5, 16);
    }
  }
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
__attribute__((noinline)) void k_adamw_h_0_attn_lora_A_sub(const f32a *restrict lora_A_m, const f32a *restrict grad_lora_A, const f32a *restrict lora_A_v, const f32a *restrict lora_A_weight, const f32a *restrict in_lr, f32a *restrict out_y1, f32a *restrict out_y2, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    vf8 const c_1 = splat_f8(0.8999999761581421f);
    vf8 const c_4 = splat_f8(0.10000000149011612f);
    vf8 const c_8 = splat_f8(0.9990000128746033f);
    vf8 const c_11 = splat_f8(0.0010000000474974513f);
    vf8 const c_16 = splat_f8(9.99999993922529e-9f);
    vf8 const in_lr_19 = splat_f8(in_lr[0]);
    ix x = 0;
    for (; x < 8; x += 8) {
      vf8 const lora_A_m_0 = *(const uf8 *)(lora_A_m + x);
      vf8 const mul_2 = lora_A_m_0 * c_1;
      vf8 const grad_lora_A_3 = *(const uf8 *)(grad_lora_A + x);
      vf8 const mul_5 = grad_lora_A_3 * c_4;
      vf8 const add_6 = mul_2 + mul_5;
      vf8 const lora_A_v_7 = *(const uf8 *)(lora_A_v + x);
      vf8 const mul_9 = lora_A_v_7 * c_8;
      vf8 const mul_10 = grad_lora_A_3 * grad_lora_A_3;
      vf8 const mul_12 = mul_10 * c_11;
      vf8 const add_13 = mul_9 + mul_12;
      vf8 const lora_A_weight_14 = *(const uf8 *)(lora_A_weight + x);
      vf8 const sqrt_15 = sqrt_f8(add_13);
      vf8 const add_17 = sqrt_15 + c_16;
      vf8 const div_18 = add_6 / add_17;
      vf8 const mul_20 = div_18 * in_lr_19;
      vf8 const sub_21 = lora_A_weight_14 - mul_20;
      __builtin_memcpy(out_y1 + x, &add_6, 32);
      __builtin_memcpy(out_y2 + x, &add_13, 32);
      __builtin_memcpy(out_y0 + x, &sub_21, 32);
    }
  }
}`,
  reduction: `// h.0.mlp.c_fc reduce_sum
// for a0 < 8; along a row of r0 < 3
//   mlp_grad  f32[3, 8]        h.0.mlp.grad
//   out_y0    f32[8], written  y0
// mlp_grad_0 = mlp_grad[a0 + 8·r0]
// sum_1 = sum of mlp_grad_0
// out_y0[a0] = sum_1
__attribute__((noinline)) void k_h_0_mlp_c_fc_reduce_sum(const f32a *restrict mlp_grad, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix x = 0;
    for (; x < 8; x += 8) {
      vf8 acc = splat_f8(0.0f);
      for (ix a1 = 0; a1 < 3; a1 += 1) {
        vf8 const mlp_grad_0 = *(const uf8 *)(mlp_grad + (a1 * 8 + x));
        acc = acc + mlp_grad_0;
      }
      __builtin_memcpy(out_y0 + x, &acc, 32);
    }
  }
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
__attribute__((noinline)) void k_h_0_mlp_act_mul(const f32a *restrict mlp_c_fc, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    vf8 const c_1 = splat_f8(0.5f);
    vf8 const c_5 = splat_f8(0.044714998453855515f);
    vf8 const c_8 = splat_f8(0.7978845834732056f);
    vf8 const c_11 = splat_f8(1.0f);
    ix x = 0;
    for (; x < 8; x += 8) {
      vf8 const mlp_c_fc_0 = *(const uf8 *)(mlp_c_fc + x);
      vf8 const mul_2 = mlp_c_fc_0 * c_1;
      vf8 const mul_3 = mlp_c_fc_0 * mlp_c_fc_0;
      vf8 const mul_4 = mul_3 * mlp_c_fc_0;
      vf8 const mul_6 = mul_4 * c_5;
      vf8 const add_7 = mlp_c_fc_0 + mul_6;
      vf8 const mul_9 = add_7 * c_8;
      vf8 const tanh_10 = tanh_f8(mul_9);
      vf8 const add_12 = tanh_10 + c_11;
      vf8 const mul_13 = mul_2 * add_12;
      __builtin_memcpy(out_y0 + x, &mul_13, 32);
    }
  }
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
__attribute__((noinline)) void k_h_0_mlp_c_fc_dot(const f32a *restrict in_x, const i32a *restrict c_fc_codes, const f32a *restrict x2, const f32a *restrict c_fc_scales, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  f32a *restrict A = (f32a *)scratch + 0;
  f32a *restrict B = (f32a *)scratch + 16;
  f32a *restrict T = (f32a *)scratch + 96;
  ix held = -1;
  for (ix u = from; u < to; u += 1) {
    ix const m0 = 0;
    ix const group = u;
    ix const b = group;
    ix const n0 = 0;
    ix const n1 = least(n0 + 8, 4);
    ix const m1 = least(m0 + 3, 3);
    if (group != held) {
      held = group;
      for (ix n = n0; n < n1; n += 8) {
        f32a * const to_2 = B + (n - n0) * 8;
        for (ix r = (ix)((u32)(0) / 2u); r < (ix)((u32)(8) / 2u); r += 1) {
          f32a * const to_3 = to_2 + (r * 2) * 8;
          vi8 const at_10 = splat_i8((i32)(28)) + (splat_i8((i32)(n)) + LANES8) * -4;
          vi8 const c_fc_codes_11 = splat_i8(c_fc_codes[r]);
          vi8 const shl_12 = c_fc_codes_11 << at_10;
          vi8 const c_13 = splat_i8(28);
          vi8 const shr_14 = (vi8)((vu8)shl_12 >> (vu8)c_13);
          vf8 const x2_15 = lookup8(x2, splat_i8((i32)(0)) + shr_14);
          vf8 const c_fc_scales_16 = splat_f8(c_fc_scales[r]);
          vf8 const mul_17 = x2_15 * c_fc_scales_16;
          *(uf8 *)(to_3 + 0) = mul_17;
          vi8 const at_18 = splat_i8((i32)(12)) + (splat_i8((i32)(n)) + LANES8) * -4;
          vi8 const shl_19 = c_fc_codes_11 << at_18;
          vi8 const shr_20 = (vi8)((vu8)shl_19 >> (vu8)c_13);
          vf8 const x2_21 = lookup8(x2, splat_i8((i32)(0)) + shr_20);
          vf8 const mul_22 = x2_21 * c_fc_scales_16;
          *(uf8 *)(to_3 + 8) = mul_22;
        }
      }
    }
    for (ix n_2 = n0; n_2 < n1; n_2 += 8) {
      const f32a * const panel = B + (n_2 - n0) * 8;
      for (ix m = m0; m < m1; m += 3) {
        f32a * const t = T;
        const f32a *a[3];
        for (ix r_2 = 0; r_2 < 3; r_2++) {
          ix const m_2 = m + r_2;
          a[r_2] = in_x + (m_2 * 8);
        }
        tile_8_3_1(panel + (0) * 8, a, 1, 8, t, 0);
        for (ix r_3 = 0; r_3 < 3; r_3++) {
          ix const m_3 = m + r_3;
          vf8 const sum_9 = *(const uf8 *)(t + r_3 * 8 + 0);
          __builtin_memcpy(out_y0 + (n_2 + m_3 * 4), &sum_9, 16);
        }
      }
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
__attribute__((noinline)) void k_layers_0_self_attn_add(const f32a *restrict self_attn_q, const f32a *restrict rope_cos, const f32a *restrict rope_sin, f32a *restrict out_y0, ix from, ix to, char *scratch) {
  for (ix u = from; u < to; u += 1) {
    ix const a0 = u;
    vi8 const c_4 = splat_i8(4);
    ix x = 0;
    for (; x < 8; x += 8) {
      vf8 const self_attn_q_0 = *(const uf8 *)(self_attn_q + (x + a0 * 8));
      vf8 const rope_cos_1 = *(const uf8 *)(rope_cos + (x + a0 * 8));
      vf8 const mul_2 = self_attn_q_0 * rope_cos_1;
      vi8 const at_3 = splat_i8((i32)(0)) + (splat_i8((i32)(x)) + LANES8);
      vi8 const lt_5 = at_3 < c_4;
      vf8 g;
      if (all8(lt_5)) {
        g = *(const uf8 *)(self_attn_q + (x + a0 * 8 + 4));
      }
      else {
        g = (vf8)((vi8)gather_f8(self_attn_q, (splat_i8((i32)(a0 * 8 + 4)) + (splat_i8((i32)(x)) + LANES8)) & lt_5) & lt_5);
      }
      vf8 const self_attn_q_6 = g;
      vf8 const neg_7 = -self_attn_q_6;
      vi8 const ge_8 = at_3 >= c_4;
      vf8 g_2;
      if (all8(ge_8)) {
        g_2 = *(const uf8 *)(self_attn_q + (x + a0 * 8 + (-4)));
      }
      else {
        g_2 = (vf8)((vi8)gather_f8(self_attn_q, (splat_i8((i32)(a0 * 8 + (-4))) + (splat_i8((i32)(x)) + LANES8)) & ge_8) & ge_8);
      }
      vf8 const self_attn_q_9 = g_2;
      vf8 const where_10 = sel_f8(lt_5, neg_7, self_attn_q_9);
      vf8 const rope_sin_11 = *(const uf8 *)(rope_sin + (x + a0 * 8));
      vf8 const mul_12 = where_10 * rope_sin_11;
      vf8 const add_13 = mul_2 + mul_12;
      __builtin_memcpy(out_y0 + (x + a0 * 8), &add_13, 32);
    }
  }
}`,
};

test.each(CASES)("%s", async (name) => {
  expect(await textOf("c", name)).toBe(TEXTS[name]);
});
