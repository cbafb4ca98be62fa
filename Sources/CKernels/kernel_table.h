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
#elif defined(__aarch64__)
extern const ck_kernels ck_neon;
#endif

// A panel keeps the parts of all its blocks apart so that every 64-byte load is aligned:
// quants [blocks][...], then scales f16 [blocks][16], then minima f16 [blocks][16].
static inline size_t ck_quant_bytes(ck_format format) {
  return format == ck_format_q8_0 ? 512 : 256;
}

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

// Blocks whose largest magnitude is below this are stored as zero: 127 / it would overflow.
#define CK_QUANTIZE_TINY 1e-30f

/// Where the scales of a q8_0 block of the cache start, in bytes.
static inline size_t ck_key_scales(size_t head_length) { return head_length * 16; }
static inline size_t ck_value_length(size_t head_length) { return (head_length + 15) / 16 * 16; }
static inline size_t ck_value_scales(size_t head_length) {
  return 16 * ck_value_length(head_length);
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
