// Blocks of the model file taken apart, one function for each layout of ggml.
#include "kernel_table.h"

static uint16_t load16(const uint8_t *p) {
  uint16_t value;
  memcpy(&value, p, 2);
  return value;
}

/// 2 * stride weights: the low halves of `stride` bytes, then the high halves. Inlined, so that the
/// stride is known: models are loaded through here.
static inline __attribute__((always_inline)) void nibbles(uint8_t *q, const uint8_t *bytes,
                                                          size_t stride) {
  for (size_t i = 0; i < stride; i++) {
    q[i] = bytes[i] & 15;
    q[i + stride] = bytes[i] >> 4;
  }
}

/// 4 * 32 weights: bits 0 and 1 of 32 bytes, then bits 2 and 3, ...; put at bit `at`.
static void add_pairs(uint8_t *q, const uint8_t *bytes, uint32_t at) {
  for (size_t i = 0; i < 128; i++)
    q[i] |= (uint8_t)((bytes[i % 32] >> 2 * (i / 32) & 3) << at);
}

/// 8 * 32 weights: bit 0 of 32 bytes, then bit 1, ...; put at bit `at`.
static void add_bits(uint8_t *q, const uint8_t *bytes, uint32_t at) {
  for (size_t i = 0; i < 256; i++) q[i] |= (uint8_t)((bytes[i % 32] >> (i / 32) & 1) << at);
}

/// The fifth bits of 32 weights, from 32 bits in a row.
static void add_fifth_bits(uint8_t *q, const uint8_t *bits) {
  for (size_t i = 0; i < 32; i++) q[i] |= (uint8_t)((bits[i / 8] >> i % 8 & 1) << 4);
}

/// Eight scales and eight minima of six bits: four of each in the low six bits of bytes 0 ... 3 and
/// 4 ... 7; of the other four the low four bits are in bytes 8 ... 11 and the high two on top of
/// bytes 0 ... 7.
static void six_bit_scales(ck_unpacked *parts, const uint8_t *bytes) {
  for (size_t i = 0; i < 4; i++) {
    parts->scales[i] = bytes[i] & 63;
    parts->minima[i] = bytes[4 + i] & 63;
    parts->scales[4 + i] = (uint8_t)((bytes[8 + i] & 15) | bytes[i] >> 6 << 4);
    parts->minima[4 + i] = (uint8_t)(bytes[8 + i] >> 4 | bytes[4 + i] >> 6 << 4);
  }
}

/// Sixteen scales of six bits, 32 too large: low four bits in the halves of bytes 0 ... 7, high two
/// in bytes 8 ... 11.
static void offset_scales(ck_unpacked *parts, const uint8_t *bytes) {
  for (size_t i = 0; i < 16; i++) {
    uint32_t low = i < 8 ? bytes[i] & 15 : bytes[i - 8] >> 4;
    uint32_t high = bytes[8 + i % 4] >> 2 * (i / 4) & 3;
    parts->scales[i] = (uint8_t)((low | high << 4) - 32);
  }
}

void ck_unpack_block(ck_format format, const uint8_t *block, ck_unpacked *parts) {
  parts->scale = parts->minimum = 0;
  memset(parts->minima, 0, sizeof parts->minima);
  uint8_t *q = parts->q;
  switch (format) {
    case ck_format_f32:
    case ck_format_f16:
    case ck_format_bf16: return;
    case ck_format_q8_0:
      parts->scale = load16(block);
      memcpy(q, block + 2, 32);
      return;
    case ck_format_q4_0:
    case ck_format_iq4_nl:
      parts->scale = load16(block);
      nibbles(q, block + 2, 16);
      return;
    case ck_format_q4_1:
      parts->scale = load16(block);
      parts->minimum = load16(block + 2);
      nibbles(q, block + 4, 16);
      return;
    case ck_format_q5_0:
      parts->scale = load16(block);
      nibbles(q, block + 6, 16);
      add_fifth_bits(q, block + 2);
      return;
    case ck_format_q5_1:
      parts->scale = load16(block);
      parts->minimum = load16(block + 2);
      nibbles(q, block + 8, 16);
      add_fifth_bits(q, block + 4);
      return;
    case ck_format_q2_k:
      for (size_t i = 0; i < 16; i++) {
        parts->scales[i] = block[i] & 15;
        parts->minima[i] = block[i] >> 4;
      }
      memset(q, 0, 256);
      for (size_t i = 0; i < 2; i++) add_pairs(q + 128 * i, block + 16 + 32 * i, 0);
      parts->scale = load16(block + 80);
      parts->minimum = load16(block + 82);
      return;
    case ck_format_q3_k:
      memset(q, 0, 256);
      for (size_t i = 0; i < 2; i++) add_pairs(q + 128 * i, block + 32 + 32 * i, 0);
      add_bits(q, block, 2);
      offset_scales(parts, block + 96);
      parts->scale = load16(block + 108);
      return;
    case ck_format_q4_k:
    case ck_format_q5_k: {
      bool has_bits = format == ck_format_q5_k;
      parts->scale = load16(block);
      parts->minimum = load16(block + 2);
      six_bit_scales(parts, block + 4);
      for (size_t i = 0; i < 4; i++)
        nibbles(q + 64 * i, block + (has_bits ? 48 : 16) + 32 * i, 32);
      if (has_bits) add_bits(q, block + 16, 4);
      return;
    }
    case ck_format_q6_k:
      for (size_t i = 0; i < 2; i++) {
        nibbles(q + 128 * i, block + 64 * i, 64);
        add_pairs(q + 128 * i, block + 128 + 32 * i, 4);
      }
      memcpy(parts->scales, block + 192, 16);
      parts->scale = load16(block + 208);
      return;
  }
}
