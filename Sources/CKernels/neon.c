// NEON with the dot product instructions: four registers hold the sixteen lanes.
#if defined(__aarch64__)
#pragma STDC FP_CONTRACT OFF
#include <arm_neon.h>

#include "kernel_table.h"

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)

#define TILE_MAX 4
#define COLUMN_GROUP 1
#define PAIR_MIN (TILE_MAX + 1)
#define SPLIT_MAX 0
#define KEY_RUN 2
#define SCORE_SUMS 4
#define QUERY_TILE 2
#define EACH_QUERY_COUNT(F) F(1) F(2)
#define VALUE_TILE 2
#define EACH_VALUE_COUNT(F) F(1) F(2)
#define VALUE_EXPAND 2
#define VALUE_PARTS 2
#define OP static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")
#define EACH _Pragma("clang loop unroll(full)") for (int i = 0; i < 4; i++)

typedef struct { float32x4_t v[4]; } lanes;
typedef struct { int8x16_t v[4]; } words;
typedef struct { int32x4_t v[4]; } sums;

OP lanes lanes_set1(float x) {
  float32x4_t four = vdupq_n_f32(x);
  return (lanes){{four, four, four, four}};
}
OP lanes lanes_zero(void) { return lanes_set1(0.0f); }
OP lanes lanes_load(const float *p) {
  return (lanes){{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}};
}
OP lanes lanes_load_part(const float *p, size_t n) {
  float whole[16] = {0};
  memcpy(whole, p, n * sizeof(float));
  return lanes_load(whole);
}
OP void lanes_store(float *p, lanes x) { EACH vst1q_f32(p + 4 * i, x.v[i]); }
OP void lanes_store_part(float *p, lanes x, size_t n) {
  float whole[16];
  lanes_store(whole, x);
  memcpy(p, whole, n * sizeof(float));
}
OP lanes lanes_load_half(const uint16_t *p) {
  lanes r;
  EACH r.v[i] = vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i)));
  return r;
}
OP void lanes_store_half(uint16_t *p, lanes x) {
  EACH vst1_u16(p + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(x.v[i])));
}
OP lanes lanes_load_signed(const int8_t *p) {
  int8x16_t bytes = vld1q_s8(p);
  int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return (lanes){{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
                  vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
                  vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
                  vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
}
OP lanes lanes_dot_pairs(lanes acc, words w, const uint32_t *x) {
  uint32_t pair = *x;
  float32x4_t first = vdupq_n_f32(ck_bits_float(pair << 16));
  float32x4_t second = vdupq_n_f32(ck_bits_float(pair & 0xffff0000u));
  EACH {
    uint32x4_t both = vreinterpretq_u32_s8(w.v[i]);
    float32x4_t high = vreinterpretq_f32_u32(vandq_u32(both, vdupq_n_u32(0xffff0000u)));
    acc.v[i] = vfmaq_f32(acc.v[i], high, second);
    acc.v[i] = vfmaq_f32(acc.v[i], vreinterpretq_f32_u32(vshlq_n_u32(both, 16)), first);
  }
  return acc;
}
OP lanes lanes_fma(lanes a, lanes b, lanes c) {
  EACH c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
  return c;
}
/// vmaxq_f32 would answer NaN where either is; this answers b, as the other implementations do.
OP float32x4_t max4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
#define BINARY(name, op)                 \
  OP lanes name(lanes a, lanes b) {      \
    EACH a.v[i] = op(a.v[i], b.v[i]);    \
    return a;                            \
  }
BINARY(lanes_add, vaddq_f32)
BINARY(lanes_sub, vsubq_f32)
BINARY(lanes_mul, vmulq_f32)
BINARY(lanes_div, vdivq_f32)
BINARY(lanes_max, max4)
OP lanes lanes_abs(lanes x) {
  EACH x.v[i] = vabsq_f32(x.v[i]);
  return x;
}
/// The largest lane of a vector without NaN.
OP bool lanes_are_finite(lanes x, lanes y) {
  // The bits of a magnitude, as an integer, are below those of infinity.
  x = lanes_abs(x);
  y = lanes_abs(y);
  uint32x4_t largest = vdupq_n_u32(0);
  EACH {
    uint32x4_t both = vmaxq_u32(vreinterpretq_u32_f32(x.v[i]), vreinterpretq_u32_f32(y.v[i]));
    largest = vmaxq_u32(largest, both);
  }
  return vmaxvq_u32(largest) < 0x7f800000u;
}
OP float lanes_largest(lanes x) {
  return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.v[0], x.v[2]), vmaxq_f32(x.v[1], x.v[3])));
}
OP float lanes_largest_bits(lanes x) {
  uint32x4_t a = vmaxq_u32(vreinterpretq_u32_f32(x.v[0]), vreinterpretq_u32_f32(x.v[2]));
  uint32x4_t b = vmaxq_u32(vreinterpretq_u32_f32(x.v[1]), vreinterpretq_u32_f32(x.v[3]));
  return ck_bits_float(vmaxvq_u32(vmaxq_u32(a, b)));
}
OP void lanes_store_rounded(int16_t *p, lanes x) {
  EACH vst1_s16(p + 4 * i, vmovn_s32(vcvtnq_s32_f32(x.v[i])));
}
/// The tree's first two levels: 16 -> 8 -> 4.
OP float32x4_t fold4(lanes x) {
  return vaddq_f32(vaddq_f32(x.v[0], x.v[2]), vaddq_f32(x.v[1], x.v[3]));
}
OP float lanes_sum(lanes x) {
  float32x4_t four = fold4(x);
  float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
OP lanes lanes_shift_exponent(lanes p, lanes shifted) {
  EACH {
    int32x4_t exponent = vshlq_n_s32(vreinterpretq_s32_f32(shifted.v[i]), 23);
    p.v[i] = vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(p.v[i]), exponent));
  }
  return p;
}
OP lanes lanes_exp_select(lanes x, lanes y) {
  EACH {
    uint32x4_t low = vcltq_f32(x.v[i], vdupq_n_f32(CK_EXP_LOW));
    uint32x4_t high = vcgtq_f32(x.v[i], vdupq_n_f32(CK_EXP_HIGH));
    uint32x4_t number = vceqq_f32(x.v[i], x.v[i]);
    y.v[i] = vbslq_f32(low, vdupq_n_f32(0.0f), y.v[i]);
    y.v[i] = vbslq_f32(high, vdupq_n_f32(INFINITY), y.v[i]);
    y.v[i] = vbslq_f32(number, y.v[i], x.v[i]);
  }
  return y;
}
OP uint32_t lanes_greater_mask(lanes x, float threshold) {
  const uint32x4_t bits = {1, 2, 4, 8};
  uint32_t mask = 0;
  EACH mask |= vaddvq_u32(vandq_u32(vcgtq_f32(x.v[i], vdupq_n_f32(threshold)), bits)) << (4 * i);
  return mask;
}

OP words words_load(const uint8_t *p) {
  words w;
  EACH w.v[i] = vreinterpretq_s8_u8(vld1q_u8(p + 16 * i));
  return w;
}
OP words words_or(words x, words y) {
  EACH x.v[i] = vorrq_s8(x.v[i], y.v[i]);
  return x;
}
OP words words_field(words w, int shift, int mask) {
  int8x16_t moved = vdupq_n_s8((int8_t)-shift);
  uint8x16_t bits = vdupq_n_u8((uint8_t)mask);
  EACH w.v[i] = vreinterpretq_s8_u8(
      vandq_u8(vshlq_u8(vreinterpretq_u8_s8(w.v[i]), moved), bits));
  return w;
}
OP words words_signed(words w) { return w; }
OP words words_nonlinear(words w) {
  const int8x16_t table = {CK_NONLINEAR_VALUES};
  EACH w.v[i] = vqtbl1q_s8(table, vreinterpretq_u8_s8(w.v[i]));
  return w;
}

OP sums sums_set1(int32_t x) {
  int32x4_t four = vdupq_n_s32(x);
  return (sums){{four, four, four, four}};
}
OP sums sums_zero(void) { return sums_set1(0); }
OP sums sums_add(sums x, sums y) {
  for (int i = 0; i < 4; i++) x.v[i] = vaddq_s32(x.v[i], y.v[i]);
  return x;
}
OP sums sums_load_u8(const uint8_t *p) {
  uint8x16_t bytes = vld1q_u8(p);
  uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
  return (sums){{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))}};
}
OP sums sums_load_s8(const uint8_t *p) {
  int8x16_t bytes = vreinterpretq_s8_u8(vld1q_u8(p));
  int16x8_t low = vmovl_s8(vget_low_s8(bytes)), high = vmovl_s8(vget_high_s8(bytes));
  return (sums){{vmovl_s16(vget_low_s16(low)), vmovl_s16(vget_high_s16(low)),
                 vmovl_s16(vget_low_s16(high)), vmovl_s16(vget_high_s16(high))}};
}
OP sums sums_low4(sums x) {
  EACH x.v[i] = vandq_s32(x.v[i], vdupq_n_s32(15));
  return x;
}
OP sums sums_high4(sums x) {
  EACH x.v[i] = vshrq_n_s32(x.v[i], 4);
  return x;
}
OP sums sums_pair_dot(sums x, sums y, int32_t pair) {
  int32_t low = (int16_t)pair, high = pair >> 16;
  EACH x.v[i] = vmlaq_n_s32(vmulq_n_s32(x.v[i], low), y.v[i], high);
  return x;
}
OP words words_scaled(words w, sums x) {
  EACH {
    int8x16_t four_times = vreinterpretq_s8_s32(vmulq_n_s32(x.v[i], 0x01010101));
    w.v[i] = vmulq_s8(w.v[i], four_times);
  }
  return w;
}
/// Two registers of pairs come apart into the first and the second of eight pairs.
OP sums sums_dot_pairs(sums acc, words w, int32_t pair) {
  int16_t first = (int16_t)pair, second = (int16_t)(pair >> 16);
  for (int i = 0; i < 4; i += 2) {
    int16x8_t a = vreinterpretq_s16_s8(w.v[i]), b = vreinterpretq_s16_s8(w.v[i + 1]);
    int16x8_t firsts = vuzp1q_s16(a, b), seconds = vuzp2q_s16(a, b);
    acc.v[i] = vmlal_n_s16(acc.v[i], vget_low_s16(firsts), first);
    acc.v[i] = vmlal_n_s16(acc.v[i], vget_low_s16(seconds), second);
    acc.v[i + 1] = vmlal_n_s16(acc.v[i + 1], vget_high_s16(firsts), first);
    acc.v[i + 1] = vmlal_n_s16(acc.v[i + 1], vget_high_s16(seconds), second);
  }
  return acc;
}
OP sums sums_start_signed(const int32_t *minus_128) {
  (void)minus_128;
  return sums_zero();
}
OP sums sums_dot_signed(sums acc, words w, const int8_t *x) {
  int32_t four;
  memcpy(&four, x, 4);
  int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(four));
  EACH acc.v[i] = vdotq_s32(acc.v[i], w.v[i], all);
  return acc;
}
/// A small weight is the same as a signed byte.
OP sums sums_dot_small(sums acc, words w, const int8_t *x) { return sums_dot_signed(acc, w, x); }
OP void sums_keep(sums *x) { EACH __asm__ volatile("" : "+w"(x->v[i])); }
OP lanes sums_to_lanes(sums x) {
  lanes r;
  EACH r.v[i] = vcvtq_f32_s32(x.v[i]);
  return r;
}

OP int8x16_t narrow16(const int32x4_t v[4]) {
  int16x8_t low = vcombine_s16(vmovn_s32(v[0]), vmovn_s32(v[1]));
  int16x8_t high = vcombine_s16(vmovn_s32(v[2]), vmovn_s32(v[3]));
  return vcombine_s8(vmovn_s16(low), vmovn_s16(high));
}
OP void quantize_block(int8_t *q, lanes low, lanes high, int32_t sums[2]) {
  int32x4_t a[4], b[4];
  EACH {
    a[i] = vcvtnq_s32_f32(low.v[i]);
    b[i] = vcvtnq_s32_f32(high.v[i]);
  }
  vst1q_s8(q, narrow16(a));
  vst1q_s8(q + 16, narrow16(b));
  sums[0] = vaddvq_s32(vaddq_s32(vaddq_s32(a[0], a[1]), vaddq_s32(a[2], a[3])));
  sums[1] = vaddvq_s32(vaddq_s32(vaddq_s32(b[0], b[1]), vaddq_s32(b[2], b[3])));
}

#include "simd_kernels.h"

CK_TABLE(ck_neon, "neon", ck_interleave_pairs, CK_MATMULS(matmul_bf16, matmul_q8_0));
#pragma clang attribute pop
#endif
