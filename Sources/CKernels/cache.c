// Sizes of the blocks of cached keys and values, and moving single positions. Bytes only, so that
// every table of kernels shares it.
#pragma STDC FP_CONTRACT OFF
#include "kernel_table.h"

static size_t groups(size_t head_length) { return (head_length + 31) / 32; }

static size_t lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

static size_t element_bytes(ck_cache_type type) {
  switch (type) {
    case ck_cache_f32: return 4;
    case ck_cache_f16: return 2;
    case ck_cache_q8_0: return 1;
    case ck_cache_i16: return 2;
  }
  return 0;
}

static size_t scale_bytes(ck_cache_type type, size_t head_length) {
  if (type == ck_cache_i16) return 16 * sizeof(float);
  return type == ck_cache_q8_0 ? groups(head_length) * 16 * sizeof(uint16_t) : 0;
}

size_t ck_cache_key_bytes(ck_cache_type type, size_t head_length) {
  size_t length = type == ck_cache_i16 ? 2 * ck_key_pairs(head_length) : head_length;
  return lines(length * 16 * element_bytes(type) + scale_bytes(type, head_length));
}

size_t ck_cache_value_bytes(ck_cache_type type, size_t head_length) {
  return lines(ck_value_length(head_length) * 16 * element_bytes(type) +
               scale_bytes(type, head_length));
}

static void copy_scales(uint8_t *to, size_t to_position, const uint8_t *from,
                        size_t from_position, size_t head_length) {
  for (size_t group = 0; group < groups(head_length); group++)
    memcpy(to + 2 * (group * 16 + to_position), from + 2 * (group * 16 + from_position), 2);
}

void ck_cache_copy_key(ck_cache_type type, uint8_t *to, size_t to_position, const uint8_t *from,
                       size_t from_position, size_t head_length) {
  switch (type) {
    case ck_cache_f32:
      for (size_t c = 0; c < head_length; c++)
        ((float *)to)[c * 16 + to_position] = ((const float *)from)[c * 16 + from_position];
      break;
    case ck_cache_f16:
      for (size_t c = 0; c < head_length; c++)
        ((uint16_t *)to)[c * 16 + to_position] = ((const uint16_t *)from)[c * 16 + from_position];
      break;
    case ck_cache_q8_0:
      for (size_t c = 0; c < head_length; c++)
        to[c * 16 + to_position] = from[c * 16 + from_position];
      copy_scales(to + ck_key_scales(head_length), to_position,
                  from + ck_key_scales(head_length), from_position, head_length);
      break;
    case ck_cache_i16:
      // Pairs and the step are four bytes each, in lines of 16.
      for (size_t i = 0; i <= ck_key_pairs(head_length); i++)
        memcpy(to + 64 * i + 4 * to_position, from + 64 * i + 4 * from_position, 4);
  }
}

/// Element c of a position in i16 is at [2 * c].
static const int16_t *value_row(const uint8_t *block, size_t position, size_t head_length) {
  size_t pair = 2 * ck_value_length(head_length);
  return (const int16_t *)block + position / 2 * pair + position % 2;
}

static float step(const uint8_t *steps, size_t position) {
  return ((const float *)steps)[position];
}

void ck_cache_copy_value(ck_cache_type type, uint8_t *to, size_t to_position,
                         const uint8_t *from, size_t from_position, size_t head_length) {
  if (type == ck_cache_i16) {
    const int16_t *row = value_row(from, from_position, head_length);
    int16_t q[ck_head_length_max];
    for (size_t c = 0; c < head_length; c++) q[c] = row[2 * c];
    ck_place_value_i16(to, to_position, q,
                       step(from + ck_value_steps_i16(head_length), from_position), head_length);
    return;
  }
  size_t row = ck_value_length(head_length) * element_bytes(type);
  memcpy(to + to_position * row, from + from_position * row, row);
  if (type == ck_cache_q8_0)
    copy_scales(to + ck_value_scales(head_length), to_position,
                from + ck_value_scales(head_length), from_position, head_length);
}

/// One element; `scales` holds those of its block.
static float element(ck_cache_type type, const uint8_t *block, size_t at, const uint8_t *scales,
                     size_t scale) {
  if (type == ck_cache_f32) return ((const float *)block)[at];
  if (type == ck_cache_f16) return ck_half_to_float(((const uint16_t *)block)[at]);
  return (float)((const int8_t *)block)[at] * ck_half_to_float(((const uint16_t *)scales)[scale]);
}

void ck_cache_load_key(ck_cache_type type, float *out, const uint8_t *block, size_t position,
                       size_t head_length) {
  if (type == ck_cache_i16) {
    const int16_t *q = (const int16_t *)block;
    float of_key = step(block + 64 * ck_key_pairs(head_length), position);
    for (size_t c = 0; c < head_length; c++)
      out[c] = (float)q[c / 2 * 32 + 2 * position + c % 2] * of_key;
    return;
  }
  const uint8_t *scales = block + ck_key_scales(head_length);
  for (size_t c = 0; c < head_length; c++)
    out[c] = element(type, block, c * 16 + position, scales, c / 32 * 16 + position);
}

void ck_cache_load_value(ck_cache_type type, float *out, const uint8_t *block, size_t position,
                         size_t head_length) {
  if (type == ck_cache_i16) {
    const int16_t *q = value_row(block, position, head_length);
    float of_value = step(block + ck_value_steps_i16(head_length), position);
    for (size_t c = 0; c < head_length; c++) out[c] = (float)q[2 * c] * of_value;
    return;
  }
  const uint8_t *scales = block + ck_value_scales(head_length);
  size_t row = position * ck_value_length(head_length);
  for (size_t c = 0; c < head_length; c++)
    out[c] = element(type, block, row + c, scales, c / 32 * 16 + position);
}
