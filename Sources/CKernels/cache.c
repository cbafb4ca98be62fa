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
  }
  return 0;
}

static size_t scale_bytes(ck_cache_type type, size_t head_length) {
  return type == ck_cache_q8_0 ? groups(head_length) * 16 * sizeof(uint16_t) : 0;
}

size_t ck_cache_key_bytes(ck_cache_type type, size_t head_length) {
  return lines(head_length * 16 * element_bytes(type) + scale_bytes(type, head_length));
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
  }
}

void ck_cache_copy_value(ck_cache_type type, uint8_t *to, size_t to_position,
                         const uint8_t *from, size_t from_position, size_t head_length) {
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
  const uint8_t *scales = block + ck_key_scales(head_length);
  for (size_t c = 0; c < head_length; c++)
    out[c] = element(type, block, c * 16 + position, scales, c / 32 * 16 + position);
}

void ck_cache_load_value(ck_cache_type type, float *out, const uint8_t *block, size_t position,
                         size_t head_length) {
  const uint8_t *scales = block + ck_value_scales(head_length);
  size_t row = position * ck_value_length(head_length);
  for (size_t c = 0; c < head_length; c++)
    out[c] = element(type, block, row + c, scales, c / 32 * 16 + position);
}
