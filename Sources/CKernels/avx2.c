// AVX2 with FMA: two registers hold the sixteen lanes.
#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include <immintrin.h>

#include "kernel_table.h"

#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)

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

typedef struct { __m256 a, b; } lanes;
typedef struct { __m256i a, b; } words;
typedef words sums;

OP lanes lanes_of(__m256 a, __m256 b) { return (lanes){a, b}; }
OP lanes lanes_zero(void) { return lanes_of(_mm256_setzero_ps(), _mm256_setzero_ps()); }
OP lanes lanes_set1(float x) { return lanes_of(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
OP lanes lanes_load(const float *p) { return lanes_of(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
OP lanes lanes_load_part(const float *p, size_t n) {
  float whole[16] = {0};
  memcpy(whole, p, n * sizeof(float));
  return lanes_load(whole);
}
OP void lanes_store(float *p, lanes x) {
  _mm256_storeu_ps(p, x.a);
  _mm256_storeu_ps(p + 8, x.b);
}
OP void lanes_store_part(float *p, lanes x, size_t n) {
  float whole[16];
  lanes_store(whole, x);
  memcpy(p, whole, n * sizeof(float));
}
OP lanes lanes_load_half(const uint16_t *p) {
  return lanes_of(_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)),
                  _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p + 8))));
}
OP void lanes_store_half(uint16_t *p, lanes x) {
  _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128((__m128i *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT));
}
OP __m256 signed8(const int8_t *p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
OP lanes lanes_load_signed(const int8_t *p) { return lanes_of(signed8(p), signed8(p + 8)); }
OP lanes lanes_fma(lanes a, lanes b, lanes c) {
  return lanes_of(_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b));
}
OP __m256 first_of_pairs(__m256i w) { return _mm256_castsi256_ps(_mm256_slli_epi32(w, 16)); }
OP __m256 second_of_pairs(__m256i w) {
  return _mm256_castsi256_ps(_mm256_and_si256(w, _mm256_set1_epi32((int)0xffff0000)));
}
OP lanes lanes_dot_pairs(lanes acc, words w, const uint32_t *x) {
  __m256i pair = _mm256_set1_epi32((int)*x);
  __m256 first = first_of_pairs(pair), second = second_of_pairs(pair);
  acc.a = _mm256_fmadd_ps(second_of_pairs(w.a), second, acc.a);
  acc.b = _mm256_fmadd_ps(second_of_pairs(w.b), second, acc.b);
  acc.a = _mm256_fmadd_ps(first_of_pairs(w.a), first, acc.a);
  acc.b = _mm256_fmadd_ps(first_of_pairs(w.b), first, acc.b);
  return acc;
}
#define BINARY(name, op) \
  OP lanes name(lanes a, lanes b) { return lanes_of(op(a.a, b.a), op(a.b, b.b)); }
BINARY(lanes_add, _mm256_add_ps)
BINARY(lanes_sub, _mm256_sub_ps)
BINARY(lanes_mul, _mm256_mul_ps)
BINARY(lanes_div, _mm256_div_ps)
BINARY(lanes_max, _mm256_max_ps)
OP lanes lanes_abs(lanes x) {
  __m256 sign = _mm256_set1_ps(-0.0f);
  return lanes_of(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
OP __m128 halves(__m256 x, bool high) {
  return high ? _mm256_extractf128_ps(x, 1) : _mm256_castps256_ps128(x);
}
OP bool lanes_are_finite(lanes x, lanes y) {
  // The bits of a magnitude, as an integer, are below those of infinity.
  __m256i largest = _mm256_set1_epi32(0x7f7fffff);
  x = lanes_abs(x);
  y = lanes_abs(y);
  __m256i a = _mm256_max_epi32(_mm256_castps_si256(x.a), _mm256_castps_si256(x.b));
  __m256i b = _mm256_max_epi32(_mm256_castps_si256(y.a), _mm256_castps_si256(y.b));
  __m256i beyond = _mm256_cmpgt_epi32(_mm256_max_epi32(a, b), largest);
  return _mm256_testz_si256(beyond, beyond);
}
OP float lanes_largest(lanes x) {
  __m256 eight = _mm256_max_ps(x.a, x.b);
  __m128 four = _mm_max_ps(halves(eight, false), halves(eight, true));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
OP float lanes_sum(lanes x) {
  __m256 eight = _mm256_add_ps(x.a, x.b);
  __m128 four = _mm_add_ps(halves(eight, false), halves(eight, true));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
OP float lanes_largest_bits(lanes x) {
  __m256i eight = _mm256_max_epu32(_mm256_castps_si256(x.a), _mm256_castps_si256(x.b));
  __m128i four = _mm_max_epu32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  __m128i two = _mm_max_epu32(four, _mm_shuffle_epi32(four, 0x4e));
  __m128i one = _mm_max_epu32(two, _mm_shuffle_epi32(two, 0xb1));
  return ck_bits_float((uint32_t)_mm_cvtsi128_si32(one));
}
OP void lanes_store_rounded(int16_t *p, lanes x) {
  __m256i packed = _mm256_packs_epi32(_mm256_cvtps_epi32(x.a), _mm256_cvtps_epi32(x.b));
  // Packing works within 128 bits: the quarters come out as 0, 2, 1, 3.
  _mm256_storeu_si256((__m256i *)p, _mm256_permute4x64_epi64(packed, 0xd8));
}
OP __m256 shift_exponent8(__m256 p, __m256 shifted) {
  __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), exponent));
}
OP lanes lanes_shift_exponent(lanes p, lanes shifted) {
  return lanes_of(shift_exponent8(p.a, shifted.a), shift_exponent8(p.b, shifted.b));
}
OP __m256 exp_select8(__m256 x, __m256 y) {
  y = _mm256_and_ps(_mm256_cmp_ps(x, _mm256_set1_ps(CK_EXP_LOW), _CMP_NLT_UQ), y);
  __m256 large = _mm256_cmp_ps(x, _mm256_set1_ps(CK_EXP_HIGH), _CMP_GT_OQ);
  y = _mm256_blendv_ps(y, _mm256_set1_ps(INFINITY), large);
  return _mm256_blendv_ps(y, x, _mm256_cmp_ps(x, x, _CMP_UNORD_Q));
}
OP lanes lanes_exp_select(lanes x, lanes y) {
  return lanes_of(exp_select8(x.a, y.a), exp_select8(x.b, y.b));
}
OP uint32_t greater8(__m256 x, float threshold) {
  return (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_set1_ps(threshold), _CMP_GT_OQ));
}
OP uint32_t lanes_greater_mask(lanes x, float threshold) {
  return greater8(x.a, threshold) | greater8(x.b, threshold) << 8;
}

OP words words_of(__m256i a, __m256i b) { return (words){a, b}; }
OP words words_load(const uint8_t *p) {
  return words_of(_mm256_loadu_si256((const __m256i *)p),
                  _mm256_loadu_si256((const __m256i *)(p + 32)));
}
OP words words_or(words x, words y) {
  return words_of(_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b));
}
OP __m256i field8(__m256i w, int shift, int mask) {
  __m256i moved = shift >= 0 ? _mm256_srli_epi16(w, shift) : _mm256_slli_epi16(w, -shift);
  return _mm256_and_si256(moved, _mm256_set1_epi8((char)mask));
}
OP words words_field(words w, int shift, int mask) {
  return words_of(field8(w.a, shift, mask), field8(w.b, shift, mask));
}
OP words words_signed(words w) { return w; }
OP words words_nonlinear(words w) {
  __m256i table = _mm256_broadcastsi128_si256(_mm_setr_epi8(CK_NONLINEAR_VALUES));
  return words_of(_mm256_shuffle_epi8(table, w.a), _mm256_shuffle_epi8(table, w.b));
}

OP sums sums_set1(int32_t x) { return words_of(_mm256_set1_epi32(x), _mm256_set1_epi32(x)); }
OP sums sums_zero(void) { return sums_set1(0); }
OP sums sums_add(sums x, sums y) {
  return words_of(_mm256_add_epi32(x.a, y.a), _mm256_add_epi32(x.b, y.b));
}
OP sums sums_load_u8(const uint8_t *p) {
  return words_of(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p)),
                  _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8))));
}
OP sums sums_load_s8(const uint8_t *p) {
  return words_of(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)),
                  _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(p + 8))));
}
OP sums sums_low4(sums x) {
  __m256i mask = _mm256_set1_epi32(15);
  return words_of(_mm256_and_si256(x.a, mask), _mm256_and_si256(x.b, mask));
}
OP sums sums_high4(sums x) {
  return words_of(_mm256_srli_epi32(x.a, 4), _mm256_srli_epi32(x.b, 4));
}
/// Two numbers of 16 bits side by side.
OP __m256i join16(__m256i low, __m256i high) {
  return _mm256_or_si256(low, _mm256_slli_epi32(high, 16));
}
OP sums sums_pair_dot(sums x, sums y, int32_t pair) {
  __m256i both = _mm256_set1_epi32(pair);
  return words_of(_mm256_madd_epi16(join16(x.a, y.a), both),
                  _mm256_madd_epi16(join16(x.b, y.b), both));
}
/// Two bytes are multiplied at once: products below 256 do not carry.
OP words words_scaled(words w, sums x) {
  return words_of(_mm256_mullo_epi16(w.a, join16(x.a, x.a)),
                  _mm256_mullo_epi16(w.b, join16(x.b, x.b)));
}
OP sums sums_dot_pairs(sums acc, words w, int32_t pair) {
  __m256i both = _mm256_set1_epi32(pair);
  return words_of(_mm256_add_epi32(acc.a, _mm256_madd_epi16(w.a, both)),
                  _mm256_add_epi32(acc.b, _mm256_madd_epi16(w.b, both)));
}
OP sums sums_start_signed(const int32_t *minus_128) {
  (void)minus_128;
  return sums_zero();
}
/// Pairs of products fit 16 bits: 63 * 127 * 2 for small weights, 128 * 127 * 2 for signed bytes.
OP __m256i dot8(__m256i acc, __m256i magnitudes, __m256i x) {
  __m256i pairs = _mm256_maddubs_epi16(magnitudes, x);
  return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}
OP __m256i broadcast4(const int8_t *x) {
  int32_t four;
  memcpy(&four, x, 4);
  return _mm256_set1_epi32(four);
}
OP sums sums_dot_small(sums acc, words w, const int8_t *x) {
  __m256i four = broadcast4(x);
  return words_of(dot8(acc.a, w.a, four), dot8(acc.b, w.b, four));
}
OP __m256i dot8_signed(__m256i acc, __m256i w, __m256i x) {
  return dot8(acc, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}
OP sums sums_dot_signed(sums acc, words w, const int8_t *x) {
  __m256i four = broadcast4(x);
  return words_of(dot8_signed(acc.a, w.a, four), dot8_signed(acc.b, w.b, four));
}
OP void sums_keep(sums *x) { __asm__ volatile("" : "+x"(x->a), "+x"(x->b)); }
OP lanes sums_to_lanes(sums x) {
  return lanes_of(_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b));
}

OP void quantize_block(int8_t *q, lanes low, lanes high, int32_t sums[2]) {
  __m256i first = _mm256_packs_epi32(_mm256_cvtps_epi32(low.a), _mm256_cvtps_epi32(low.b));
  __m256i last = _mm256_packs_epi32(_mm256_cvtps_epi32(high.a), _mm256_cvtps_epi32(high.b));
  // Packing works within 128 bits: fours of the even quarters come first.
  __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first, last),
                                              _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  _mm256_storeu_si256((__m256i *)q, bytes);
  // Sums of unsigned bytes: shifted by 128, undone after.
  __m256i eights = _mm256_sad_epu8(_mm256_xor_si256(bytes, _mm256_set1_epi8(-128)),
                                   _mm256_setzero_si256());
  __m256i halves = _mm256_add_epi32(eights, _mm256_shuffle_epi32(eights, 0x4e));
  sums[0] = _mm256_cvtsi256_si32(halves) - 16 * 128;
  sums[1] = _mm_cvtsi128_si32(_mm256_extracti128_si256(halves, 1)) - 16 * 128;
}

#include "simd_kernels.h"

CK_TABLE(ck_avx2, "avx2", ck_interleave_pairs, CK_MATMULS(matmul_bf16, matmul_q8_0));
#pragma clang attribute pop
#endif
