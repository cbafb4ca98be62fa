#include "support.h"

#include <stdarg.h>
#include <stdio.h>

const char *format_name(ck_format format) {
  static const char *const names[ck_format_count] = {
      "f32",  "f16",  "bf16", "q8_0", "q4_0", "q4_1", "q5_0",
      "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl"};
  return names[format];
}

void set_case(context *c, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(c->label, sizeof c->label, format, arguments);
  va_end(arguments);
}

void fail(context *c, const char *format, ...) {
  c->failures++;
  if (c->failures > 8) return;
  char line[240];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(line, sizeof line, format, arguments);
  va_end(arguments);
  char *end = c->text + c->length;
  size_t left = c->capacity - c->length;
  int wanted = snprintf(end, left, "%s: %s: %s\n", c->kernels->name, c->label, line);
  if (wanted > 0) c->length += smaller((size_t)wanted, left - 1);
}

// MARK: memory

static uint8_t *allocate(context *c, size_t count) {
  void *block = NULL;
  bool fits = c->block_count < LENGTH(c->blocks);
  if (!fits || posix_memalign(&block, 64, count > 0 ? count : 1) != 0) abort();
  c->blocks[c->block_count++] = block;
  return block;
}

void *bytes(context *c, size_t count, size_t offset) {
  return allocate(c, offset + count) + offset;
}

float *floats(context *c, size_t count, size_t offset) {
  return bytes(c, count * sizeof(float), offset * sizeof(float));
}

enum { guard = 16 };

float *outputs(context *c, size_t count, size_t offset) {
  float *whole = floats(c, count + 2 * guard, offset);
  for (size_t i = 0; i < count + 2 * guard; i++) whole[i] = unwritten;
  return whole + guard;
}

void guards_hold(context *c, const float *output, size_t count) {
  for (size_t i = 0; i < guard; i++) {
    if (output[(ptrdiff_t)i - guard] != unwritten) {
      fail(c, "wrote %d floats before the output", guard - (int)i);
      return;
    }
    if (output[count + i] != unwritten) {
      fail(c, "wrote %zu floats past the end of the output", i + 1);
      return;
    }
  }
}

void release(context *c) {
  while (c->block_count > 0) free(c->blocks[--c->block_count]);
}

// MARK: random values

/// SplitMix64 of Steele, Lea and Flood 2014.
uint64_t random_bits(context *c) {
  uint64_t z = c->random += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

size_t random_below(context *c, size_t bound) { return (size_t)(random_bits(c) >> 33) % bound; }

float random_unit(context *c) {
  return (float)((int32_t)(random_bits(c) >> 40) - (1 << 23)) * 0x1p-23f;
}

float random_float(context *c) {
  return ldexpf(random_unit(c), (int)random_below(c, 17) - 8);
}

void fill_random(context *c, float *x, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = random_float(c);
}

// MARK: rows of weights

bool is_quantized(ck_format format) { return format >= ck_format_q8_0; }

size_t half_offset(ck_format format, bool minimum) {
  switch (format) {
    case ck_format_q8_0:
    case ck_format_q4_0:
    case ck_format_q5_0:
    case ck_format_iq4_nl: return minimum ? SIZE_MAX : 0;
    case ck_format_q4_1:
    case ck_format_q5_1:
    case ck_format_q4_k:
    case ck_format_q5_k: return minimum ? 2 : 0;
    case ck_format_q2_k: return minimum ? 82 : 80;
    case ck_format_q3_k: return minimum ? SIZE_MAX : 108;
    case ck_format_q6_k: return minimum ? SIZE_MAX : 208;
    default: return SIZE_MAX;
  }
}

void store_half(uint8_t *p, uint16_t half) { memcpy(p, &half, 2); }

/// Subnormal to 1, either sign.
static uint16_t random_scale(context *c) {
  uint16_t exponent = (uint16_t)random_below(c, 16);
  return (uint16_t)((random_bits(c) & 0x83ff) | exponent << 10);
}

static void fill_quantized_row(context *c, ck_format format, uint8_t *row, size_t count) {
  static const uint8_t extremes[] = {0x00, 0xff, 0x80, 0x7f, 0x0f, 0xf0};
  size_t block_bytes = ck_row_bytes(format, ck_block_weights(format));
  for (size_t at = 0; at < count; at += block_bytes) {
    // Now and then the largest weights and small scales that a block can hold.
    bool is_extreme = random_below(c, 4) == 0;
    uint8_t byte = extremes[random_below(c, LENGTH(extremes))];
    uint8_t other = extremes[random_below(c, LENGTH(extremes))];
    for (size_t i = 0; i < block_bytes; i++) {
      row[at + i] = (uint8_t)random_bits(c);
      if (is_extreme) row[at + i] = random_below(c, 8) == 0 ? other : byte;
    }
    for (size_t minimum = 0; minimum < 2; minimum++) {
      size_t offset = half_offset(format, minimum);
      if (offset != SIZE_MAX) store_half(row + at + offset, random_scale(c));
    }
  }
}

void fill_row(context *c, ck_format format, uint8_t *row, size_t cols) {
  if (is_quantized(format)) {
    fill_quantized_row(c, format, row, ck_row_bytes(format, cols));
    return;
  }
  for (size_t k = 0; k < cols; k++) {
    if (format == ck_format_f16) {
      uint16_t half = (uint16_t)random_bits(c);
      store_half(row + 2 * k, (half & 0x7c00) == 0x7c00 ? half & 0xbfff : half);
    } else {
      uint32_t bits = bits_of(random_float(c));
      if (format == ck_format_f32) memcpy(row + 4 * k, &bits, 4);
      if (format == ck_format_bf16) store_half(row + 2 * k, (uint16_t)(bits >> 16));
    }
  }
}

// MARK: comparison

void expect_same(context *c, const char *what, const float *got, const float *want, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (same(got[i], want[i])) continue;
    fail(c, "%s[%zu] is %a (%08x), not %a (%08x)", what, i, (double)got[i], bits_of(got[i]),
         (double)want[i], bits_of(want[i]));
    return;
  }
}

void expect_near(context *c, const char *what, size_t index, double got, double want,
                 double bound) {
  if (fabs(got - want) <= bound) return;
  fail(c, "%s[%zu] is %.9g, not %.9g: off by %.3g, allowed %.3g", what, index, got, want,
       fabs(got - want), bound);
}
