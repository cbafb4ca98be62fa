// The kernels in terms of sixteen lanes. Each instruction set defines the lane operations below
// and includes this file, so they differ in instructions only.
//
// Wanted from the includer:
//   lanes            sixteen floats: lanes_zero, _set1, _load, _load_part, _store, _store_part,
//                    _load_half, _load_signed (int8), _store_half,
//                    _fma(a, b, c) = a * b + c, _add, _sub, _mul, _div,
//                    _max(a, b) (b where either is NaN), _abs, _sum (the fixed tree),
//                    _exp_select(x, y): y, but NaN -> NaN, x < LOW -> 0, x > HIGH -> infinity,
//                    _shift_exponent(p, shifted): p * 2^(integer in shifted's low bits),
//                    _are_finite(a, b): no NaN, no infinity in either,
//                    _store_rounded: to int16, to the nearest even,
//                    _largest_bits: of lanes >= +0, NaN where one is,
//                    _greater_mask(a, threshold): bit i set where lane i > threshold,
//                    _dot_pairs(sums, words, pointer to a pair): see pairs_matmul.h; leaves out
//                    subnormals only after flush_subnormals
//   words            64 bytes of weights: words_load, words_or,
//                    words_field(w, shift, mask) = bytes (w >> shift) & mask; shift < 0: left,
//                    words_signed(w): signed bytes, words_nonlinear(w): the table of IQ4_NL, both
//                    in the form that sums_dot_signed takes,
//                    words_scaled(w, sums): bytes times the number of their row, products below 256
//   sums             sixteen int32: sums_zero, sums_set1, sums_add, sums_load_u8, sums_load_s8,
//                    sums_low4(x) = x & 15, sums_high4(x) = x >> 4,
//                    sums_pair_dot(a, b, pair) = a * low half of pair + b * high half (int16 all),
//                    sums_dot_pairs(sums, words of 2 int16 each, 2 int16): their products added,
//                    sums_dot_small(sums, words of 0 ... 63, pointer to 4 int8),
//                    sums_dot_signed(sums, words, pointer to 4 int8),
//                    sums_start_signed(pointer to -128 * sum): what the latter starts from,
//                    sums_to_lanes, sums_keep(pointer): what changes it is not moved past that
//   with HAS_ACCUMULATE: lanes_accumulate(pointer to c, a, b): c = a * b + c, not moved past
//                    sums_keep; lanes_accumulate_each: b points to one float for all lanes
//   with HAS_LOAD_BETWEEN: lanes_load_between(p, begin, end): zero in all other lanes
//   quantize_block   32 floats to 32 int8 with the sums of both halves, or else HAS_QUANTIZE and
//                    quantize
//   interleave       only with HAS_INTERLEAVE, where lanes help
//   TILE_MAX         4 or 16
//   QUERY_TILE       queries that share a load of keys; EACH_QUERY_COUNT(F): F(1) ... F(QUERY_TILE)
//   SCORE_SUMS       sums over keys that there are registers for, at least QUERY_TILE
//   KEY_RUN          blocks of keys in flight for each query, at most 4
//   VALUE_TILE       queries that share a load of values; EACH_VALUE_COUNT likewise
//   VALUE_EXPAND     more queries than this get values that were converted before
//   VALUE_PARTS      vectors of values in flight for each query
//   COLUMN_GROUP     columns whose dot products take turns
//   PAIR_MIN         columns from which on 16-bit floats go by pairs of panels
//   SPLIT_MAX        up to so many columns take two chains of dot products
#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))

// Subnormals, as inputs and as results, count as zero until restored.
#if defined(__x86_64__)
typedef unsigned float_mode;
INLINE float_mode flush_subnormals(void) {
  enum { daz_and_ftz = 0x8040 };
  float_mode before = _mm_getcsr();
  _mm_setcsr(before | daz_and_ftz);
  return before;
}
INLINE void restore_subnormals(float_mode before) { _mm_setcsr(before); }
#else
typedef uint64_t float_mode;
INLINE void restore_subnormals(float_mode before) {
  __asm__ volatile("msr fpcr, %0" : : "r"(before) : "memory");
}
INLINE float_mode flush_subnormals(void) {
  const float_mode flush = (float_mode)1 << 24;
  float_mode before;
  __asm__ volatile("mrs %0, fpcr" : "=r"(before));
  restore_subnormals(before | flush);
  return before;
}
#endif

#ifndef HAS_LOAD_BETWEEN
INLINE lanes lanes_load_between(const float *p, size_t begin, size_t end) {
  float seen[16] = {0};
  for (size_t i = begin; i < end; i++) seen[i] = p[i];
  return lanes_load(seen);
}
#endif

#ifndef HAS_ACCUMULATE
INLINE void lanes_accumulate(lanes *sum, lanes a, lanes b) { *sum = lanes_fma(a, b, *sum); }
INLINE void lanes_accumulate_each(lanes *sum, lanes a, const float *b) {
  lanes_accumulate(sum, a, lanes_set1(*b));
}
#endif

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

/// cap * tanh(x / cap), where tanh(y) = 1 - 2 / (e^2y + 1).
INLINE lanes lanes_soft_cap(lanes x, float cap) {
  lanes caps = lanes_set1(cap), one = lanes_set1(1.0f);
  lanes y = lanes_div(x, caps);
  lanes above = lanes_add(lanes_exp(lanes_add(y, y)), one);
  return lanes_mul(caps, lanes_sub(one, lanes_div(lanes_set1(2.0f), above)));
}

/// 2^y for y <= 0; exactly 0 from CK_EXP2_LOW downwards.
INLINE lanes lanes_exp2_below(lanes y) {
  y = lanes_max(lanes_set1(CK_EXP2_LOW), y);
  lanes shifted = lanes_add(y, lanes_set1(CK_EXP2_MAGIC));
  lanes f = lanes_sub(y, lanes_sub(shifted, lanes_set1(CK_EXP2_MAGIC)));
  lanes p = lanes_set1(CK_EXP2_P0);
  p = lanes_fma(p, f, lanes_set1(CK_EXP2_P1));
  p = lanes_fma(p, f, lanes_set1(CK_EXP2_P2));
  p = lanes_fma(p, f, lanes_set1(CK_EXP2_P3));
  p = lanes_fma(p, f, lanes_set1(CK_EXP2_P4));
  p = lanes_fma(p, f, lanes_set1(1.0f));
  return lanes_mul(p, lanes_shift_exponent(lanes_zero(), shifted));
}

/// Blocks of the cache taken at once. Converted keys are 16 KiB each at most.
enum { key_run = KEY_RUN, value_run = 4 };
/// Queries of one go over the keys.
#define QUERY_MAX 16

/// Queries are taken in as few groups as possible, all about equal; group `g` of `groups` ends
/// before this one.
INLINE size_t group_end(size_t g, size_t groups, size_t count) { return (g + 1) * count / groups; }

#include "simd_matmul.h"
#include "simd_vectors.h"
#include "simd_integers.h"
#include "simd_attention.h"

#define CK_TABLE(symbol, label, pairs, products)                                                     \
  const ck_kernels symbol = {                                                                  \
      .name = label,                                                                           \
      .tile_columns_max = TILE_MAX,                                                            \
      .quantize = quantize,                                                                    \
      .interleave = interleave,                                                                \
      .interleave_pairs = pairs,                                                               \
      .matmul = products,                                                                      \
      .rms_norm = rms_norm,                                                                    \
      .rope_adjacent = rope_adjacent,                                                          \
      .rope_halves = rope_halves,                                                              \
      .silu_multiply = silu_multiply,                                                          \
      .gelu_multiply = gelu_multiply,                                                          \
      .add = add,                                                                              \
      .scale = scale,                                                                          \
      .soft_cap = soft_cap,                                                                    \
      .store_key = store_key,                                                                  \
      .store_value = store_value,                                                              \
      .attention_scores = attention_scores,                                                    \
      .attention_weights = attention_weights,                                                  \
      .attention_values = attention_values,                                                    \
      .top_k = top_k,                                                                          \
      .exponentials = exponentials,                                                            \
  }
