// What the checks share: a random generator, buffers with guards, comparison, failure reports.
#ifndef SUPPORT_H
#define SUPPORT_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "ckernelchecks.h"

#pragma clang assume_nonnull begin

/// One run of one check.
typedef struct context {
  const ck_kernels *kernels;  ///< The table under test.
  const ck_kernels *scalar;   ///< The definition.
  bool full;
  uint32_t formats;  ///< Bit `format` set: checks of products go through it.
  uint64_t random;
  size_t failures;
  char *text;
  size_t capacity, length;
  char label[160];  ///< The case at hand.
  void *_Nullable blocks[48];
  size_t block_count;
} context;

const char *format_name(ck_format format);

static inline bool goes_through(const context *c, ck_format format) {
  return c->formats >> format & 1;
}

/// Names the case that later failures belong to.
__attribute__((format(printf, 2, 3))) void set_case(context *c, const char *format, ...);
/// Counts a failure; the first few are described in the text.
__attribute__((format(printf, 2, 3))) void fail(context *c, const char *format, ...);

// MARK: memory, freed by release

/// `count` bytes that start `offset` bytes past a 64-byte boundary and end where the allocation
/// ends, so that an address sanitizer sees reads past them.
void *bytes(context *c, size_t count, size_t offset);
/// Floats 4 * offset bytes past a 64-byte boundary.
float *floats(context *c, size_t count, size_t offset);
/// Floats to be written, all `unwritten`, with guards on both sides for guards_hold.
float *outputs(context *c, size_t count, size_t offset);
void guards_hold(context *c, const float *output, size_t count);
void release(context *c);

/// What an output holds before a kernel writes it.
#define unwritten 7654321.0f

// MARK: random values

uint64_t random_bits(context *c);
size_t random_below(context *c, size_t bound);
/// Uniform in [-1, 1).
float random_unit(context *c);
/// Magnitudes from 2^-8 to 2^8.
float random_float(context *c);
void fill_random(context *c, float *x, size_t count);

// MARK: rows of weights

bool is_quantized(ck_format format);
/// Where in a block of the file its scale or its minimum is, a half; SIZE_MAX where there is none.
size_t half_offset(ck_format format, bool minimum);
void store_half(uint8_t *p, uint16_t half);
/// A row of the file: any bits but NaN and infinities; scales of quantised formats up to 1.
void fill_row(context *c, ck_format format, uint8_t *row, size_t cols);

// MARK: comparison

static inline uint32_t bits_of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

static inline float float_of(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/// The same bits, or both NaN.
static inline bool same(float a, float b) {
  return bits_of(a) == bits_of(b) || (a != a && b != b);
}

/// Fails once, at the first difference in bits.
void expect_same(context *c, const char *what, const float *got, const float *want, size_t count);
/// Fails unless |got - want| <= bound.
void expect_near(context *c, const char *what, size_t index, double got, double want,
                 double bound);

static inline size_t rounded_up(size_t count, size_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

#define LENGTH(array) (sizeof(array) / sizeof((array)[0]))

// MARK: the checks

typedef void check_function(context *c);

check_function check_matmul_columns, check_matmul_oracle, check_matmul_not_finite, check_matmul_subnormal;
check_function check_quantize, check_interleave, check_interleave_pairs, check_rms_norm, check_silu_multiply;
check_function check_exponentials, check_rope_adjacent, check_rope_halves, check_gelu_multiply;
check_function check_add, check_scale, check_soft_cap;
check_function check_attention, check_attention_long, check_attention_extremes;
check_function check_attention_not_finite, check_cache_store;
check_function check_top_k, check_halves, check_bfloats, check_rows, check_panels;
check_function check_rope_table, check_mutations;
check_function check_searched_rows;

#pragma clang assume_nonnull end

#endif
