#include "support.h"

#include <stdarg.h>
#include <stdio.h>

const char *format_name(ck_format format) {
  static const char *const names[ck_format_count] = {"f32",  "f16",  "bf16",
                                                     "q8_0", "q4_0", "q4_1"};
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
