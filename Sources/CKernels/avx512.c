// AVX-512 with VNNI: one register holds all sixteen lanes. Three tables: without more, with the
// products of BF16, and with AMX besides.
#if defined(__x86_64__)
#pragma STDC FP_CONTRACT OFF
#include <immintrin.h>

#include "kernel_table.h"

#pragma clang attribute push(                                                                  \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,f16c,fma"))),         \
    apply_to = function)

#define TILE_MAX 16
#define COLUMN_GROUP 4
#define PAIR_MIN 9
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
#define UNROLL _Pragma("clang loop unroll(full)")

typedef __m512 lanes;
typedef __m512i words;
typedef __m512i sums;

OP lanes lanes_zero(void) { return _mm512_setzero_ps(); }
OP lanes lanes_set1(float x) { return _mm512_set1_ps(x); }
OP lanes lanes_load(const float *p) { return _mm512_loadu_ps(p); }
OP lanes lanes_load_part(const float *p, size_t n) {
  return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
#define HAS_LOAD_BETWEEN
OP lanes lanes_load_between(const float *p, size_t begin, size_t end) {
  return _mm512_maskz_loadu_ps((__mmask16)((1u << end) - (1u << begin)), p);
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
OP lanes lanes_fma(lanes a, lanes b, lanes c) { return _mm512_fmadd_ps(a, b, c); }
// In place and in turn: left to themselves, compilers begin the next columns early, and with more
// than 32 values at a time an eighth of the loop over 16 columns was moves and spills.
#define HAS_ACCUMULATE
OP void lanes_accumulate(lanes *sum, lanes a, lanes b) {
  __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(a), "v"(b));
}
OP void lanes_accumulate_each(lanes *sum, lanes a, const float *b) {
  __asm__ volatile("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(a), "m"(*b));
}
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
OP __m512 first_of_pairs(__m512i w) { return _mm512_castsi512_ps(_mm512_slli_epi32(w, 16)); }
OP __m512 second_of_pairs(__m512i w) {
  return _mm512_castsi512_ps(_mm512_and_si512(w, _mm512_set1_epi32((int)0xffff0000)));
}
OP lanes lanes_dot_pairs(lanes acc, words w, const uint32_t *x) {
  __m512i pair = _mm512_set1_epi32((int)*x);
  acc = _mm512_fmadd_ps(second_of_pairs(w), second_of_pairs(pair), acc);
  return _mm512_fmadd_ps(first_of_pairs(w), first_of_pairs(pair), acc);
}

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
OP void sums_keep(sums *x) { __asm__ volatile("" : "+v"(*x)); }
OP lanes sums_to_lanes(sums a) { return _mm512_cvtepi32_ps(a); }

OP __m512i larger(__m512i a, __m512i b) { return _mm512_max_epu32(a, b); }

/// Lane i of the result: the largest lane of v[i], as unsigned integers.
OP __m512i largest_of_each(__m512i v[16]) {
  UNROLL for (int i = 0; i < 16; i++) {
    if (i % 8 < 4) v[i] = larger(_mm512_shuffle_i64x2(v[i], v[i + 4], 0x44),
                                 _mm512_shuffle_i64x2(v[i], v[i + 4], 0xee));
  }
  UNROLL for (int i = 0; i < 4; i++)
    v[i] = larger(_mm512_shuffle_i64x2(v[i], v[i + 8], 0x88),
                  _mm512_shuffle_i64x2(v[i], v[i + 8], 0xdd));
  UNROLL for (int i = 0; i < 4; i += 2)
    v[i] = larger(_mm512_unpacklo_epi64(v[i], v[i + 1]), _mm512_unpackhi_epi64(v[i], v[i + 1]));
  __m512 a = _mm512_castsi512_ps(v[0]), b = _mm512_castsi512_ps(v[2]);
  return larger(_mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88)),
                _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd)));
}

/// Sums of the 16 bytes of each half of 16 blocks; the bytes of blocks 2 i and 2 i + 1 are pairs[i].
OP void sum_halves(const __m512i pairs[8], __m512i *first, __m512i *second) {
  __m512i eights[8], fours[4];
  // Sums of unsigned bytes: shifted by 128, undone after.
  UNROLL for (int i = 0; i < 8; i++)
    eights[i] = _mm512_sad_epu8(_mm512_xor_si512(pairs[i], _mm512_set1_epi8(-128)),
                                _mm512_setzero_si512());
  UNROLL for (int i = 0; i < 4; i++)
    fours[i] = _mm512_or_si512(eights[i], _mm512_slli_epi64(eights[i + 4], 32));
  __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi64(fours[0], fours[1]),
                               _mm512_unpackhi_epi64(fours[0], fours[1]));
  __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi64(fours[2], fours[3]),
                               _mm512_unpackhi_epi64(fours[2], fours[3]));
  // Quarter k of a has half k of the pairs 0, 4, 1, 5; b of 2, 6, 3, 7.
  __m512i at = _mm512_setr_epi32(0, 8, 2, 10, 16, 24, 18, 26, 1, 9, 3, 11, 17, 25, 19, 27);
  __m512i shift = _mm512_set1_epi32(16 * 128);
  *first = _mm512_sub_epi32(_mm512_permutex2var_epi32(a, at, b), shift);
  at = _mm512_add_epi32(at, _mm512_set1_epi32(4));
  *second = _mm512_sub_epi32(_mm512_permutex2var_epi32(a, at, b), shift);
}

OP void store_sums(const ck_tile *tile, ck_sum_kind kind, size_t at, __mmask16 live, __m512i x) {
  _mm512_mask_storeu_epi32(ck_tile_sums(tile, kind) + at, live, x);
}

/// Eight bits for each of the lowest two.
OP __mmask16 each_eight(unsigned bits) {
  return (__mmask16)((bits & 1 ? 0xffu : 0u) | (bits & 2 ? 0xff00u : 0u));
}

/// Sixteen blocks at a time, in the order of the tile: what one block needs of sums and quotients
/// is a lane of all.
#define HAS_QUANTIZE
static void quantize(const float *x, size_t stride, size_t block_begin, size_t block_end,
                     const ck_tile *tile) {
  const size_t n = tile->count, end = block_end * n;
  const float *next = x + block_begin * 32;
  size_t column = 0;
  for (size_t at = block_begin * n; at < end; at += 16) {
    const size_t left = end - at, count = left < 16 ? left : 16;
    const __mmask16 live = (__mmask16)((1u << count) - 1);
    const float *from[16];
    // What is left over repeats the last block and is not stored.
    UNROLL for (size_t i = 0; i < 16; i++) {
      from[i] = next;
      if (i + 1 >= left) continue;
      const bool wraps = ++column == n;
      next = wraps ? next + 32 - (n - 1) * stride : next + stride;
      if (wraps) column = 0;
    }
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    __m512i bits[16];
    UNROLL for (size_t i = 0; i < 16; i++) {
      __m512i low = _mm512_loadu_si512(from[i]), high = _mm512_loadu_si512(from[i] + 16);
      bits[i] = larger(_mm512_and_si512(low, magnitude), _mm512_and_si512(high, magnitude));
    }
    __m512i largest_bits = largest_of_each(bits);
    __m512 largest = _mm512_castsi512_ps(largest_bits), steps = _mm512_set1_ps(127.0f);
    // The bits of NaNs and infinities are those from 0x7f800000 on.
    __mmask16 finite = _mm512_cmplt_epu32_mask(largest_bits, _mm512_set1_epi32(0x7f800000));
    __mmask16 rounds =
        finite & _mm512_cmp_ps_mask(largest, _mm512_set1_ps(CK_QUANTIZE_TINY), _CMP_GE_OQ);
    float inverses[16];
    _mm512_storeu_ps(inverses, _mm512_maskz_div_ps(rounds, steps, largest));
    __m512i pairs[8];
    UNROLL for (size_t i = 0; i < 8; i++) {
      __m512i parts[4];
      UNROLL for (int k = 0; k < 4; k++) {
        const float *part = from[2 * i + k / 2] + 16 * (k % 2);
        __m512 inverse = _mm512_set1_ps(inverses[2 * i + k / 2]);
        parts[k] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(part), inverse));
      }
      // Packing works within quarters, which leaves fours of the parts side by side.
      const __m512i order =
          _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
      pairs[i] = _mm512_permutexvar_epi32(
          order, _mm512_packs_epi16(_mm512_packs_epi32(parts[0], parts[1]),
                                    _mm512_packs_epi32(parts[2], parts[3])));
    }
    if (finite != 0xffff) {
      // Products with a NaN or an infinity.
      UNROLL for (size_t i = 0; i < 8; i++)
        pairs[i] = _mm512_maskz_mov_epi32(each_eight(finite >> 2 * i), pairs[i]);
    }
    int8_t *q = tile->q + at * 32;
    if (count == 16) {
      UNROLL for (size_t i = 0; i < 8; i++) _mm512_storeu_si512(q + 64 * i, pairs[i]);
    } else {
      for (size_t i = 0; i < 8; i++)
        _mm512_mask_storeu_epi32(q + 64 * i, each_eight(live >> 2 * i), pairs[i]);
    }
    __m512i first, second;
    sum_halves(pairs, &first, &second);
    __m512i sum = _mm512_add_epi32(first, second), zero = _mm512_setzero_si512();
    __m512 d = _mm512_maskz_div_ps(rounds, largest, steps);
    d = _mm512_mask_mov_ps(_mm512_set1_ps(NAN), finite, d);
    _mm512_mask_storeu_ps(tile->d + at, live, d);
    _mm512_mask_storeu_ps(tile->s + at, live, _mm512_mul_ps(d, _mm512_cvtepi32_ps(sum)));
    __m512i minus = _mm512_sub_epi32(zero, sum);
    store_sums(tile, ck_sum_minus_8, at, live, _mm512_slli_epi32(minus, 3));
    store_sums(tile, ck_sum_minus_16, at, live, _mm512_slli_epi32(minus, 4));
    store_sums(tile, ck_sum_minus_128, at, live, _mm512_slli_epi32(minus, 7));
    store_sums(tile, ck_sum_first_minus_32, at, live,
               _mm512_slli_epi32(_mm512_sub_epi32(zero, first), 5));
    store_sums(tile, ck_sum_second_minus_32, at, live,
               _mm512_slli_epi32(_mm512_sub_epi32(zero, second), 5));
    __m512i low = _mm512_and_si512(first, _mm512_set1_epi32(0xffff));
    store_sums(tile, ck_sum_halves, at, live, join16(low, second));
  }
}

/// Lane i of row k becomes lane k of row i.
OP void transpose(lanes rows[16]) {
  lanes pairs[16], fours[16];
  UNROLL for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
  // fours[i + c]: of each quarter, lane c of the rows i ..< i + 4.
  UNROLL for (int i = 0; i < 16; i++) {
    __m512d a = _mm512_castps_pd(pairs[i / 4 * 4 + i % 4 / 2]);
    __m512d b = _mm512_castps_pd(pairs[i / 4 * 4 + i % 4 / 2 + 2]);
    fours[i] = _mm512_castpd_ps(i % 2 ? _mm512_unpackhi_pd(a, b) : _mm512_unpacklo_pd(a, b));
  }
  UNROLL for (int c = 0; c < 4; c++) {
    lanes even[2], odd[2];
    UNROLL for (int i = 0; i < 2; i++) {
      even[i] = _mm512_shuffle_f32x4(fours[8 * i + c], fours[8 * i + 4 + c], 0x88);
      odd[i] = _mm512_shuffle_f32x4(fours[8 * i + c], fours[8 * i + 4 + c], 0xdd);
    }
    rows[c] = _mm512_shuffle_f32x4(even[0], even[1], 0x88);
    rows[c + 4] = _mm512_shuffle_f32x4(odd[0], odd[1], 0x88);
    rows[c + 8] = _mm512_shuffle_f32x4(even[0], even[1], 0xdd);
    rows[c + 12] = _mm512_shuffle_f32x4(odd[0], odd[1], 0xdd);
  }
}

#define HAS_INTERLEAVE
static void interleave(const float *x, size_t stride, size_t begin, size_t end,
                       const ck_tile *tile) {
  const size_t n = tile->count;
  size_t k = begin;
  // Of few columns little is gained.
  for (; n >= 4 && k + 16 <= end; k += 16) {
    lanes rows[16];
    UNROLL for (size_t j = 0; j < 16; j++)
      rows[j] = lanes_load(x + (j < n ? j : n - 1) * stride + k);
    transpose(rows);
    const __mmask16 live = (__mmask16)((1u << n) - 1);
    UNROLL for (size_t i = 0; i < 16; i++)
      _mm512_mask_storeu_ps(tile->f + (k + i) * n, live, rows[i]);
  }
  ck_interleave(x, stride, k, end, tile);
}

#include "simd_kernels.h"

CK_TABLE(ck_avx512, "avx512", ck_interleave_pairs, CK_MATMULS(matmul_bf16, matmul_q8_0));
#pragma clang attribute pop

#define WITH_BF16 "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,f16c,fma"
#pragma clang attribute push(__attribute__((target(WITH_BF16))), apply_to = function)

OP lanes lanes_dot_bf16(lanes acc, words w, const uint32_t *x) {
  return _mm512_dpbf16_ps(acc, (__m512bh)w, (__m512bh)_mm512_set1_epi32((int)*x));
}

#define PAIRS(name) name##_bf16
#define DOT_PAIRS lanes_dot_bf16
#include "pairs_matmul.h"
PRODUCT(matmul_bf16_dot, bf16, ck_format_bf16)

/// Sixteen pairs of each column at a time.
static void interleave_pairs(const float *x, size_t stride, size_t begin, size_t end,
                             const ck_tile *tile) {
  const size_t n = tile->count;
  const __mmask16 live = (__mmask16)((1u << n) - 1);
  size_t k = begin;
  for (; k + 32 <= end; k += 32) {
    lanes rows[16];
    UNROLL for (size_t j = 0; j < 16; j++) {
      const float *from = x + (j < n ? j : n - 1) * stride + k;
      // The first operand is the upper half.
      rows[j] = (__m512)_mm512_cvtne2ps_pbh(lanes_load(from + 16), lanes_load(from));
    }
    transpose(rows);
    UNROLL for (size_t i = 0; i < 16; i++)
      _mm512_mask_storeu_ps(tile->pairs + (k / 2 + i) * n, live, rows[i]);
  }
  ck_interleave_pairs(x, stride, k, end, tile);
}

CK_TABLE(ck_avx512bf16, "avx512bf16", interleave_pairs, CK_MATMULS(matmul_bf16_dot, matmul_q8_0));
#pragma clang attribute pop

#define WITH_AMX WITH_BF16 ",amx-tile,amx-int8"
#pragma clang attribute push(__attribute__((target(WITH_AMX))), apply_to = function)
#include "amx_matmul.h"

CK_TABLE(ck_amx, "amx", interleave_pairs, CK_MATMULS(matmul_bf16_dot, matmul_tiles));
#pragma clang attribute pop
#endif
