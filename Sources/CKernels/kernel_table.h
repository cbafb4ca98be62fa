// What the implementations share: tables, half precision, the polynomial of exp.
#ifndef KERNEL_TABLE_H
#define KERNEL_TABLE_H

#include <math.h>
#include <string.h>

#include "ckernels.h"

extern const ck_kernels ck_scalar;
#if defined(__x86_64__)
extern const ck_kernels ck_avx2;
extern const ck_kernels ck_avx512;
extern const ck_kernels ck_avx512bf16;
extern const ck_kernels ck_amx;
#elif defined(__aarch64__)
extern const ck_kernels ck_neon;
#endif

// A panel of a quantised matrix keeps the parts of all its blocks apart so that every 64-byte load
// is aligned. For 16 rows and blocks of 32 weights, in this order:
//   quants   [cols / 32][ck_quant_bytes]
//   side     [cols / 32][ck_side_bytes]: the small scales of formats with blocks of 256
//   scales   f16 [cols / block length][16]
//   minima   f16 [cols / block length][16], where ck_has_minimum
// Quants are lines of 64 bytes. Byte 4 * row + k % 4 of a line holds weights k of one row. Group i
// are the weights k = 4 i ... 4 i + 3, i < 8.
//   8 bits:  8 lines, line i = group i
//   4 bits:  4 lines, line i = group i in the low half, group i + 4 in the high half
//   2 bits:  2 lines, group i in line i / 4 at bit 2 (i % 4)
//   1 bit:   1 line, group i at bit i
// and weights of 3, 5 or 6 bits have the lines of their low 2, 4 or 4 bits first, then those of the
// 1, 1 or 2 bits above.
// Side of a block:
//   Q4_K, Q5_K  scale [16], minimum [16], six bits each
//   Q3_K, Q6_K  signed scale [2][16] of the first and of the last 16 weights
//   Q2_K        scale in the low half, minimum in the high half: [2][16]
static inline size_t ck_quant_bytes(ck_format format) {
  switch (format) {
    case ck_format_f32:
    case ck_format_f16:
    case ck_format_bf16: return 0;
    case ck_format_q8_0: return 512;
    case ck_format_q4_0:
    case ck_format_q4_1:
    case ck_format_q4_k:
    case ck_format_iq4_nl: return 256;
    case ck_format_q5_0:
    case ck_format_q5_1:
    case ck_format_q5_k: return 256 + 64;
    case ck_format_q6_k: return 256 + 128;
    case ck_format_q3_k: return 128 + 64;
    case ck_format_q2_k: return 128;
  }
  return 0;
}

/// Blocks of 256 weights, cut into parts with small scales of their own.
static inline bool ck_has_parts(ck_format format) {
  return format >= ck_format_q2_k && format <= ck_format_q6_k;
}

/// Parts of 16 weights rather than 32.
static inline bool ck_has_halves(ck_format format) {
  return format == ck_format_q2_k || format == ck_format_q3_k || format == ck_format_q6_k;
}

static inline bool ck_has_minimum(ck_format format) {
  return format == ck_format_q4_1 || format == ck_format_q5_1 || format == ck_format_q2_k ||
         format == ck_format_q4_k || format == ck_format_q5_k;
}

/// What is subtracted from a stored weight.
static inline int32_t ck_offset(ck_format format) {
  return format == ck_format_q4_0   ? 8
         : format == ck_format_q5_0 ? 16
         : format == ck_format_q3_k ? 4
         : format == ck_format_q6_k ? 32
                                    : 0;
}

static inline size_t ck_side_bytes(ck_format format) { return ck_has_parts(format) ? 32 : 0; }

/// Blocks of 32 that share a scale.
static inline size_t ck_blocks_per_scale(ck_format format) { return ck_has_parts(format) ? 8 : 1; }

/// The sixteen weights of IQ4_NL.
#define CK_NONLINEAR_VALUES \
  -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113

/// One block of a quantised row in parts.
typedef struct ck_unpacked {
  uint8_t q[256];        ///< As stored: before the offset, the table or the sign.
  uint8_t scales[16];    ///< Of each part; Q3_K and Q6_K: int8.
  uint8_t minima[16];    ///< Of each part.
  uint16_t scale, minimum;  ///< Halves.
} ck_unpacked;

/// Takes one block of the file apart; `format` is quantised.
void ck_unpack_block(ck_format format, const uint8_t *block, ck_unpacked *parts);

/// The sums of one kind of a tile: [cols / 32][count].
static inline int32_t *ck_tile_sums(const ck_tile *tile, ck_sum_kind kind) {
  return tile->sums + kind * tile->blocks * tile->count;
}

/// Stores the sums of the halves of a block; `at` = block * count + column.
static inline void ck_store_sums(const ck_tile *tile, size_t at, int32_t first, int32_t last) {
  int32_t sum = first + last;
  ck_tile_sums(tile, ck_sum_minus_8)[at] = -8 * sum;
  ck_tile_sums(tile, ck_sum_minus_16)[at] = -16 * sum;
  ck_tile_sums(tile, ck_sum_minus_128)[at] = -128 * sum;
  ck_tile_sums(tile, ck_sum_first_minus_32)[at] = -32 * first;
  ck_tile_sums(tile, ck_sum_second_minus_32)[at] = -32 * last;
  ck_tile_sums(tile, ck_sum_halves)[at] =
      (int32_t)((uint32_t)last << 16 | ((uint32_t)first & 0xffffu));
}

static inline void ck_interleave(const float *x, size_t stride, size_t begin, size_t end,
                                 const ck_tile *tile) {
  for (size_t k = begin; k < end; k++) {
    for (size_t j = 0; j < tile->count; j++) tile->f[k * tile->count + j] = x[j * stride + k];
  }
}

// F(name, kind of product) for every format but BF16.
#define CK_EACH_FORMAT(F) \
  F(f32, float) F(f16, float) \
  F(q8_0, quantized) F(q4_0, quantized) F(q4_1, quantized) \
  F(q5_0, quantized) F(q5_1, quantized) F(q2_k, quantized) \
  F(q3_k, quantized) F(q4_k, quantized) F(q5_k, quantized) \
  F(q6_k, quantized) F(iq4_nl, quantized)

static inline float ck_bits_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static inline uint32_t ck_float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float ck_half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16;
  uint32_t exponent = (half >> 10) & 0x1fu;
  uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1f) return ck_bits_float(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0) return ck_bits_float(sign | ((exponent + 112) << 23) | (mantissa << 13));
  float magnitude = (float)mantissa * 0x1p-24f;
  return sign ? -magnitude : magnitude;
}

static inline uint16_t ck_float_to_half(float value) {
  uint32_t bits = ck_float_bits(value);
  uint16_t sign = (uint16_t)((bits >> 16) & 0x8000u);
  bits &= 0x7fffffffu;
  if (bits > 0x7f800000u) return sign | 0x7e00u;
  if (bits >= 0x477ff000u) return sign | 0x7c00u;  // rounds past 65504
  if (bits < 0x38800000u) {  // subnormal half: let the float unit round to a multiple of 2^-24
    float shifted = ck_bits_float(bits) + 0.5f;
    return sign | (uint16_t)(ck_float_bits(shifted) - 0x3f000000u);
  }
  uint32_t rounded = bits + 0xfffu + ((bits >> 13) & 1u);
  return sign | (uint16_t)((rounded - 0x38000000u) >> 13);
}

static inline float ck_bfloat_to_float(uint16_t value) {
  return ck_bits_float((uint32_t)value << 16);
}

/// To the nearest bfloat16, ties to the even one; NaN stays NaN.
static inline uint16_t ck_float_to_bfloat(float value) {
  uint32_t bits = ck_float_bits(value);
  if (value != value) return (uint16_t)(bits >> 16 | 0x40u);  // rounding could make it a number
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/// Zero for subnormals.
static inline float ck_flushed(float x) {
  uint32_t bits = ck_float_bits(x);
  return (bits & 0x7f800000u) == 0 ? ck_bits_float(bits & 0x80000000u) : x;
}

/// Two elements, the first in the low half, as the processors' own instruction rounds them.
static inline uint32_t ck_bfloat_pair(float first, float second) {
  return ck_float_to_bfloat(ck_flushed(first)) |
         (uint32_t)ck_float_to_bfloat(ck_flushed(second)) << 16;
}

static inline void ck_interleave_pairs(const float *x, size_t stride, size_t begin, size_t end,
                                       const ck_tile *tile) {
  for (size_t k = begin; k < end; k += 2) {
    for (size_t j = 0; j < tile->count; j++) {
      const float *from = x + j * stride + k;
      tile->pairs[k / 2 * tile->count + j] =
          ck_bfloat_pair(from[0], k + 1 < end ? from[1] : 0.0f);
    }
  }
}

/// The products of a table, in the order of ck_format, with these for BF16 and Q8_0.
#define CK_MATMULS(product_bf16, product_q8_0)                                                 \
  {matmul_f32,  matmul_f16,  product_bf16, product_q8_0, matmul_q4_0, matmul_q4_1,             \
   matmul_q5_0, matmul_q5_1, matmul_q2_k,  matmul_q3_k,  matmul_q4_k, matmul_q5_k,             \
   matmul_q6_k, matmul_iq4_nl}

// exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= 0.347. The remainder uses ln 2 in two parts;
// the polynomial is a minimax fit of degree 6 on that interval (relative error below 2^-23).
#define CK_EXP_LOW (-87.0f)
#define CK_EXP_HIGH 88.7f
#define CK_LOG2_E 1.44269504f
#define CK_ROUND_MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to the nearest integer */
#define CK_LN2_HIGH 0.693359375f
#define CK_LN2_LOW (-2.12194440e-4f)
#define CK_EXP_P0 1.9875691500e-4f
#define CK_EXP_P1 1.3981999507e-3f
#define CK_EXP_P2 8.3334519073e-3f
#define CK_EXP_P3 4.1665795894e-2f
#define CK_EXP_P4 1.6666665459e-1f
#define CK_EXP_P5 5.0000001201e-1f

// The weights of attention: 2^y for y <= 0, as 2^n * 2^f, n = round(y): a minimax fit of degree 5
// (relative error below 2^-23). Adding MAGIC leaves n + 127, the exponent of 2^n, in the low bits;
// from LOW downwards that is 0, and so is the result.
#define CK_EXP2_LOW (-127.0f)
#define CK_EXP2_MAGIC 12583039.0f
#define CK_EXP2_P0 1.32647273e-3f
#define CK_EXP2_P1 9.67151299e-3f
#define CK_EXP2_P2 5.55073358e-2f
#define CK_EXP2_P3 2.40222424e-1f
#define CK_EXP2_P4 6.93147004e-1f

// gelu(x) = x sigmoid(x (G0 + G1 x^2)): 2 sqrt(2 / pi), and that times 0.044715.
#define CK_GELU_G0 1.59576912f
#define CK_GELU_G1 0.0713548163f

// Blocks whose largest magnitude is below this are stored as zero: 127 / it would overflow.
#define CK_QUANTIZE_TINY 1e-30f

/// Where the scales of a q8_0 block of the cache start, in bytes.
static inline size_t ck_key_scales(size_t head_length) { return head_length * 16; }
static inline size_t ck_value_length(size_t head_length) { return (head_length + 15) / 16 * 16; }
static inline size_t ck_value_scales(size_t head_length) {
  return 16 * ck_value_length(head_length);
}

// Integers of ck_cache_i16: the largest becomes so many steps. Products of 64 elements of a key, and
// of 16 weights and values, sum to less than 2^31.
#define CK_QUERY_STEPS 8191.0f
#define CK_KEY_STEPS 4095.0f
#define CK_VALUE_STEPS 8191.0f
#define CK_WEIGHT_STEPS 16383.0f
enum { CK_CHUNK_PAIRS = 32 };

/// Keys of a block in i16: [pairs of elements][16][2], then the steps, [16] floats.
static inline size_t ck_key_pairs(size_t head_length) { return (head_length + 1) / 2; }
/// Values of a block in i16: [8 pairs of positions][ck_value_length][2], then the steps.
static inline size_t ck_value_steps_i16(size_t head_length) {
  return 32 * ck_value_length(head_length);
}

/// Rounds a row to multiples of one step; returns the step.
static inline float ck_quantize_steps(int16_t *q, const float *x, size_t count, float steps) {
  float largest = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < count; i++) {
    float magnitude = fabsf(x[i]);
    if (!(magnitude <= 3.4028234e38f)) finite = false;
    if (magnitude > largest) largest = magnitude;
  }
  bool rounds = finite && largest >= CK_QUANTIZE_TINY;
  float inverse = rounds ? steps / largest : 0.0f;
  for (size_t i = 0; i < count; i++)
    q[i] = rounds ? (int16_t)((x[i] * inverse + CK_ROUND_MAGIC) - CK_ROUND_MAGIC) : 0;
  return rounds ? largest / steps : finite ? 0.0f : NAN;
}

// Before loops with strided elements: compilers would gather and scatter, which takes processors
// several cycles for each element.
#define CK_ONE_BY_ONE _Pragma("clang loop vectorize(disable)")

static inline void ck_place_key_i16(uint8_t *block, size_t position, const int16_t *q, float step,
                                    size_t head_length) {
  uint8_t *at = block + 4 * position;
  CK_ONE_BY_ONE for (size_t i = 0; i < head_length / 2; i++, at += 64) memcpy(at, q + 2 * i, 4);
  if (head_length % 2 == 1) {
    int16_t last[2] = {q[head_length - 1], 0};
    memcpy(at, last, 4);
    at += 64;
  }
  memcpy(at, &step, 4);
}

static inline void ck_place_value_i16(uint8_t *block, size_t position, const int16_t *q,
                                      float step, size_t head_length) {
  // Nothing but its own elements: another thread may store the other position of the pair.
  int16_t *row = (int16_t *)block + position / 2 * 2 * ck_value_length(head_length) + position % 2;
  CK_ONE_BY_ONE for (size_t i = 0; i < head_length; i++) row[2 * i] = q[i];
  memcpy(block + ck_value_steps_i16(head_length) + 4 * position, &step, 4);
}

/// Rounds up to 32 cached elements to int8; returns their scale.
static inline uint16_t ck_quantize_cached(int8_t *q, const float *x, size_t count) {
  float largest = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < count; i++) {
    float magnitude = fabsf(x[i]);
    if (!(magnitude <= 3.4028234e38f)) finite = false;
    if (magnitude > largest) largest = magnitude;
  }
  uint16_t scale = finite ? ck_float_to_half(largest / 127.0f) : 0x7e00u;
  float d = ck_half_to_float(scale);
  // An infinite scale times zero is NaN, as the header promises.
  float inverse = finite && d > 0.0f ? 1.0f / d : 0.0f;
  for (size_t i = 0; i < count; i++) {
    float scaled = finite ? x[i] * inverse : 0.0f;
    // Scales below the normal halves are coarse: the largest may lie past 127 of them.
    scaled = scaled > 127.0f ? 127.0f : scaled < -127.0f ? -127.0f : scaled;
    q[i] = (int8_t)(int32_t)((scaled + CK_ROUND_MAGIC) - CK_ROUND_MAGIC);
  }
  return scale;
}

static inline void ck_store_key_q8_0(uint8_t *block, size_t position, const float *x,
                                     size_t head_length) {
  int8_t *quants = (int8_t *)block;
  uint16_t *scales = (uint16_t *)(block + ck_key_scales(head_length));
  for (size_t c = 0; c < head_length; c += 32) {
    int8_t q[32];
    size_t count = head_length - c < 32 ? head_length - c : 32;
    scales[c / 32 * 16 + position] = ck_quantize_cached(q, x + c, count);
    for (size_t i = 0; i < count; i++) quants[(c + i) * 16 + position] = q[i];
  }
}

static inline void ck_store_value_q8_0(uint8_t *block, size_t position, const float *x,
                                       size_t head_length) {
  int8_t *quants = (int8_t *)block + position * ck_value_length(head_length);
  uint16_t *scales = (uint16_t *)(block + ck_value_scales(head_length));
  for (size_t c = 0; c < head_length; c += 32) {
    size_t count = head_length - c < 32 ? head_length - c : 32;
    scales[c / 32 * 16 + position] = ck_quantize_cached(quants + c, x + c, count);
  }
}

/// Keeps the k largest seen so far, sorted. `filled` is how many there are.
static inline size_t ck_top_insert(uint32_t *indices, float *top, size_t filled, size_t k,
                                   uint32_t index, float value) {
  size_t at = filled < k ? filled++ : k - 1;
  // Equal values keep their order of arrival, which is the order of indices.
  while (at > 0 && top[at - 1] < value) {
    top[at] = top[at - 1];
    indices[at] = indices[at - 1];
    at--;
  }
  top[at] = value;
  indices[at] = index;
  return filled;
}

#endif
