// The kernels in terms of sixteen lanes. Each instruction set defines the lane operations below
// and includes this file, so they differ in instructions only.
//
// Wanted from the includer:
//   lanes            sixteen floats: lanes_zero, _set1, _load, _load_part, _store, _store_part,
//                    _load_half, _load_bfloat, _load_signed (int8), _store_half,
//                    _fma(a, b, c) = a * b + c, _add, _sub, _mul, _div,
//                    _max(a, b) (b where either is NaN), _abs, _sum (the fixed tree),
//                    _exp_select(x, y): y, but NaN -> NaN, x < LOW -> 0, x > HIGH -> infinity,
//                    _shift_exponent(p, shifted): p * 2^(integer in shifted's low bits),
//                    _greater_mask(a, threshold): bit i set where lane i > threshold
//   words            64 bytes of weights: words_load, words_low4, words_high4, words_signed
//   sums             sixteen int32: sums_zero, sums_add, sums_start_signed(total), sums_dot_nibbles,
//                    sums_dot_signed(sums, words, pointer to 4 int8), sums_to_lanes
//   quantize_block   32 floats to 32 int8 with their sum
//   TILE_MAX         4 or 16
//   QUERY_TILE       queries that share a load of keys or values, at most 4
//   KEY_RUN          blocks of keys in flight for each query, at most 4
//   VALUE_PARTS      vectors of values in flight for each query
//   SPLIT_MAX        up to so many columns take two chains of dot products
#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

INLINE lanes lanes_exp(lanes x) {
  lanes shifted = lanes_fma(x, lanes_set1(CK_LOG2_E), lanes_set1(CK_ROUND_MAGIC));
  lanes n = lanes_sub(shifted, lanes_set1(CK_ROUND_MAGIC));
  lanes r = lanes_fma(n, lanes_set1(-CK_LN2_HIGH), x);
  r = lanes_fma(n, lanes_set1(-CK_LN2_LOW), r);
  lanes p = lanes_set1(CK_EXP_P0);
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P1));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P2));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P3));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P4));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P5));
  p = lanes_fma(p, lanes_mul(r, r), lanes_add(r, lanes_set1(1.0f)));
  return lanes_exp_select(x, lanes_shift_exponent(p, shifted));
}

#include "simd_matmul.h"
#include "simd_vectors.h"
#include "simd_attention.h"

#define CK_TABLE(symbol, label)                                                                \
  const ck_kernels symbol = {                                                                  \
      .name = label,                                                                           \
      .tile_columns_max = TILE_MAX,                                                            \
      .quantize = quantize,                                                                    \
      .matmul = {matmul_f32, matmul_f16, matmul_bf16, matmul_q8_0, matmul_q4_0, matmul_q4_1},  \
      .rms_norm = rms_norm,                                                                    \
      .rope_adjacent = rope_adjacent,                                                          \
      .silu_multiply = silu_multiply,                                                          \
      .add = add,                                                                              \
      .store_key = store_key,                                                                  \
      .store_value = store_value,                                                              \
      .attention_scores = attention_scores,                                                    \
      .attention_weights = attention_weights,                                                  \
      .attention_values = attention_values,                                                    \
      .top_k = top_k,                                                                          \
      .exponentials = exponentials,                                                            \
  }
