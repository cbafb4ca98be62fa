// AVX-512 with VNNI: one register holds all sixteen lanes.
#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include <immintrin.h>

#include "kernel_table.h"

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma"))),         \
    apply_to = function)

#define TILE_MAX 16
#define COLUMN_GROUP 8
#define PAIR_MIN 13
#define SPLIT_MAX 6
#define KEY_RUN 4
#define SCORE_SUMS 24
#define QUERY_TILE 12
#define EACH_QUERY_COUNT(F) \
  F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11) F(12)
#define VALUE_TILE 6
#define EACH_VALUE_COUNT(F) F(1) F(2) F(3) F(4) F(5) F(6)
#define VALUE_EXPAND 12
#define VALUE_PARTS 4
#define OP static inline __attribute__((always_inline))

typedef __m512 lanes;
typedef __m512i words;
typedef __m512i sums;

OP lanes lanes_zero(void) { return _mm512_setzero_ps(); }
OP lanes lanes_set1(float x) { return _mm512_set1_ps(x); }
OP lanes lanes_load(const float *p) { return _mm512_loadu_ps(p); }
OP lanes lanes_load_part(const float *p, size_t n) {
  return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
OP void lanes_store(float *p, lanes x) { _mm512_storeu_ps(p, x); }
OP void lanes_store_part(float *p, lanes x, size_t n) {
  _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x);
}
OP lanes lanes_load_half(const uint16_t *p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
OP void lanes_store_half(uint16_t *p, lanes x) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
OP lanes lanes_load_signed(const int8_t *p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p)));
}
OP lanes lanes_load_bfloat(const uint16_t *p) {
  __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
OP lanes lanes_fma(lanes a, lanes b, lanes c) { return _mm512_fmadd_ps(a, b, c); }
OP lanes lanes_add(lanes a, lanes b) { return _mm512_add_ps(a, b); }
OP lanes lanes_sub(lanes a, lanes b) { return _mm512_sub_ps(a, b); }
OP lanes lanes_mul(lanes a, lanes b) { return _mm512_mul_ps(a, b); }
OP lanes lanes_div(lanes a, lanes b) { return _mm512_div_ps(a, b); }
OP lanes lanes_max(lanes a, lanes b) { return _mm512_max_ps(a, b); }
OP lanes lanes_abs(lanes a) { return _mm512_abs_ps(a); }
OP bool lanes_are_finite(lanes a, lanes b) {
  enum { nan_or_infinity = 0x99 };
  return (_mm512_fpclass_ps_mask(a, nan_or_infinity) |
          _mm512_fpclass_ps_mask(b, nan_or_infinity)) == 0;
}
OP float lanes_largest(lanes a) { return _mm512_reduce_max_ps(a); }

OP float lanes_sum(lanes a) {
  __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

OP float lanes_largest_bits(lanes a) {
  return ck_bits_float(_mm512_reduce_max_epu32(_mm512_castps_si512(a)));
}
OP void lanes_store_rounded(int16_t *p, lanes a) {
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(a)));
}
OP lanes lanes_shift_exponent(lanes p, lanes shifted) {
  __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
  return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(p), exponent));
}
OP lanes lanes_exp_select(lanes x, lanes y) {
  y = _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(CK_EXP_LOW), _CMP_NLT_UQ), y);
  y = _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, _mm512_set1_ps(CK_EXP_HIGH), _CMP_GT_OQ),
                         _mm512_set1_ps(INFINITY));
  return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), x);
}
OP uint32_t lanes_greater_mask(lanes a, float threshold) {
  return _mm512_cmp_ps_mask(a, _mm512_set1_ps(threshold), _CMP_GT_OQ);
}

OP words words_load(const uint8_t *p) { return _mm512_loadu_si512(p); }
OP words words_or(words a, words b) { return _mm512_or_si512(a, b); }
OP words words_field(words w, int shift, int mask) {
  words moved = shift >= 0 ? _mm512_srli_epi16(w, (unsigned)shift)
                           : _mm512_slli_epi16(w, (unsigned)-shift);
  return _mm512_and_si512(moved, _mm512_set1_epi8((char)mask));
}
/// The dot instruction takes unsigned weights: shifted by 128, undone in sums_start_signed.
OP words words_signed(words w) { return _mm512_xor_si512(w, _mm512_set1_epi8(-128)); }
OP words words_nonlinear(words w) {
  __m512i table = _mm512_broadcast_i32x4(_mm_setr_epi8(CK_NONLINEAR_VALUES));
  return _mm512_shuffle_epi8(words_signed(table), w);
}

OP sums sums_zero(void) { return _mm512_setzero_si512(); }
OP sums sums_set1(int32_t x) { return _mm512_set1_epi32(x); }
OP sums sums_add(sums a, sums b) { return _mm512_add_epi32(a, b); }
OP sums sums_load_u8(const uint8_t *p) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
}
OP sums sums_load_s8(const uint8_t *p) {
  return _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
}
OP sums sums_low4(sums x) { return _mm512_and_si512(x, _mm512_set1_epi32(15)); }
OP sums sums_high4(sums x) { return _mm512_srli_epi32(x, 4); }
/// Two numbers of 16 bits side by side.
OP sums join16(sums low, sums high) { return _mm512_or_si512(low, _mm512_slli_epi32(high, 16)); }
OP sums sums_pair_dot(sums a, sums b, int32_t pair) {
  return _mm512_madd_epi16(join16(a, b), _mm512_set1_epi32(pair));
}
/// Two bytes are multiplied at once: products below 256 do not carry.
OP words words_scaled(words w, sums x) { return _mm512_mullo_epi16(w, join16(x, x)); }
OP sums sums_dot_pairs(sums acc, words w, int32_t pair) {
  return _mm512_dpwssd_epi32(acc, w, _mm512_set1_epi32(pair));
}
OP sums sums_start_signed(const int32_t *minus_128) { return _mm512_set1_epi32(*minus_128); }
OP sums sums_dot_small(sums acc, words w, const int8_t *x) {
  int32_t four;
  memcpy(&four, x, 4);
  return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(four));
}
OP sums sums_dot_signed(sums acc, words w, const int8_t *x) { return sums_dot_small(acc, w, x); }
OP lanes sums_to_lanes(sums a) { return _mm512_cvtepi32_ps(a); }

OP void quantize_block(int8_t *q, lanes low, lanes high, int32_t sums[2]) {
  __m512i a = _mm512_cvtps_epi32(low), b = _mm512_cvtps_epi32(high);
  __m256i bytes = _mm256_set_m128i(_mm512_cvtepi32_epi8(b), _mm512_cvtepi32_epi8(a));
  _mm256_storeu_si256((__m256i *)q, bytes);
  // Sums of unsigned bytes: shifted by 128, undone after.
  __m256i eights = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8(-128)),
                                   _mm256_setzero_si256());
  __m256i halves = _mm256_add_epi32(eights, _mm256_shuffle_epi32(eights, 0x4e));
  sums[0] = _mm256_cvtsi256_si32(halves) - 16 * 128;
  sums[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(halves, 1)) - 16 * 128;
}

#include "simd_kernels.h"

CK_TABLE(ck_avx512, "avx512");
#pragma clang attribute pop
#endif
