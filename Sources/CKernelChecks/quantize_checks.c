// Activations in eight bits.
#pragma STDC FP_CONTRACT OFF
#include <float.h>

#include "support.h"

typedef void pattern(context *c, float x[32]);

static void zeros(context *c, float x[32]) {
  (void)c;
  for (size_t i = 0; i < 32; i++) x[i] = 0.0f;
}
static void signed_zeros(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = random_below(c, 2) ? -0.0f : 0.0f;
}
static void subnormals(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = float_of((uint32_t)random_bits(c) & 0x807fffff);
}
/// The largest magnitude is the last one stored as zero.
static void tiny(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = random_unit(c) * 1e-31f;
  x[random_below(c, 32)] = nextafterf(1e-30f, 0.0f);
}
/// The largest magnitude is the first one not stored as zero.
static void barely(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = random_unit(c) * 1e-30f;
  x[random_below(c, 32)] = -1e-30f;
}
static void largest(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = random_below(c, 2) ? FLT_MAX : -FLT_MAX;
}
static void all_largest(context *c, float x[32]) {
  (void)c;
  for (size_t i = 0; i < 32; i++) x[i] = FLT_MAX;
}
static void any_magnitude(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = ldexpf(random_unit(c), (int)random_below(c, 256) - 128);
}
/// Halves between integers, the scale being exactly one: rounding is to even.
static void ties(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = (float)random_below(c, 254) - 126.5f;
  x[random_below(c, 32)] = 127.0f;
}
static void ordinary(context *c, float x[32]) {
  for (size_t i = 0; i < 32; i++) x[i] = random_float(c);
}
static void ordinary_with(context *c, float x[32], float value) {
  ordinary(c, x);
  x[random_below(c, 32)] = value;
}
static void with_nan(context *c, float x[32]) { ordinary_with(c, x, NAN); }
static void with_infinity(context *c, float x[32]) { ordinary_with(c, x, INFINITY); }
static void with_minus_infinity(context *c, float x[32]) { ordinary_with(c, x, -INFINITY); }
static void with_both(context *c, float x[32]) {
  ordinary_with(c, x, INFINITY);
  x[random_below(c, 32)] = -INFINITY;
}

static pattern *const patterns[] = {
    zeros,         signed_zeros, subnormals, tiny,     barely,        largest,
    all_largest,   any_magnitude, ties,      ordinary, with_nan,      with_infinity,
    with_minus_infinity, with_both};

/// Where a tile keeps the sums of kind `kind` of block and column `at` = block * count + column.
static size_t sum_index(const ck_tile *tile, size_t at, size_t kind) {
  return (at / tile->count * ck_sum_kind_count + kind) * tile->count + at % tile->count;
}

/// What the header promises of one block, whatever the definition does.
static void check_promises(context *c, const float *x, const ck_tile *tile, size_t at) {
  const int8_t *q = tile->q + at * 32;
  float d = tile->d[at], s = tile->s[at];
  bool finite = true;
  int32_t halves[2] = {0, 0};
  for (size_t i = 0; i < 32; i++) {
    if (!(fabsf(x[i]) <= FLT_MAX)) finite = false;
    if (q[i] < -127) fail(c, "q[%zu] is %d", i, q[i]);
    halves[i / 16] += q[i];
  }
  int32_t sum = halves[0] + halves[1];
  int32_t want[ck_sum_kind_count] = {
      [ck_sum_minus_8] = -8 * sum,
      [ck_sum_minus_16] = -16 * sum,
      [ck_sum_minus_128] = -128 * sum,
      [ck_sum_first_minus_32] = -32 * halves[0],
      [ck_sum_second_minus_32] = -32 * halves[1],
      [ck_sum_halves] = halves[1] * 65536 + (halves[0] & 0xffff),
  };
  for (size_t kind = 0; kind < ck_sum_kind_count; kind++) {
    int32_t got = tile->sums[sum_index(tile, at, kind)];
    if (got != want[kind]) fail(c, "sum of kind %zu is %d, not %d", kind, got, want[kind]);
  }
  if (!finite) {
    for (size_t i = 0; i < 32; i++)
      if (q[i] != 0) fail(c, "q[%zu] is %d beside a NaN or an infinity", i, q[i]);
    if (d == d || s == s) fail(c, "d and s are %g and %g, not NaN", (double)d, (double)s);
    return;
  }
  if (!same(s, d * (float)sum)) fail(c, "s is %g, d * sum %g", (double)s, (double)(d * (float)sum));
  for (size_t i = 0; i < 32; i++) {
    // Half a step, and the rounding of 127 / largest; a block below 1e-30 is zero.
    double bound = d == 0.0f ? 1e-30 : 0.50002 * (double)d;
    expect_near(c, "d * q", i, (double)d * q[i], (double)x[i], bound);
  }
}

/// Column `column` of a tile of `count`: equal to the definition, the other columns untouched.
static void check_column(context *c, const float *x, size_t blocks, size_t count, size_t column) {
  size_t kept = c->block_count, all = blocks * count;
  ck_tile got = {bytes(c, all * 32, 3), floats(c, all, 1), floats(c, all, 1),
                 (int32_t *)floats(c, all * ck_sum_kind_count, 1), floats(c, 0, 0), count};
  ck_tile want = {bytes(c, all * 32, 0), floats(c, all, 0), floats(c, all, 0),
                  (int32_t *)floats(c, all * ck_sum_kind_count, 0), got.f, count};
  const ck_tile *both[] = {&got, &want};
  for (size_t t = 0; t < 2; t++) {
    memset(both[t]->q, 0x55, all * 32);
    memset(both[t]->d, 0x55, all * 4);
    memset(both[t]->s, 0x55, all * 4);
    memset(both[t]->sums, 0x55, all * ck_sum_kind_count * 4);
  }
  c->kernels->quantize(x, blocks / 2, blocks, &got, column);
  c->kernels->quantize(x, 0, blocks / 2, &got, column);
  c->scalar->quantize(x, 0, blocks, &want, column);
  for (size_t i = 0; i < all * 32; i++) {
    if (got.q[i] == want.q[i]) continue;
    fail(c, "q[%zu] is %d, not %d", i, got.q[i], want.q[i]);
    break;
  }
  for (size_t i = 0; i < all * ck_sum_kind_count; i++) {
    if (got.sums[i] != want.sums[i])
      fail(c, "sums[%zu] is %d, not %d", i, got.sums[i], want.sums[i]);
  }
  expect_same(c, "d", got.d, want.d, all);
  expect_same(c, "s", got.s, want.s, all);
  for (size_t block = 0; block < blocks; block++)
    check_promises(c, x + block * 32, &got, block * count + column);
  while (c->block_count > kept) free(c->blocks[--c->block_count]);
}

void check_quantize(context *c) {
  size_t repeats = c->full ? 200 : 20;
  for (size_t p = 0; p < LENGTH(patterns); p++) {
    for (size_t repeat = 0; repeat < repeats; repeat++) {
      size_t blocks = 1 + repeat % 5, count = 1 + repeat % 3, column = repeat % count;
      set_case(c, "pattern %zu, repeat %zu, %zu blocks, column %zu of %zu", p, repeat, blocks,
               column, count);
      float *x = floats(c, blocks * 32, 1 + repeat % 3);
      // The pattern in one block, ordinary values around it.
      for (size_t block = 0; block < blocks; block++)
        (block == repeat % blocks ? patterns[p] : ordinary)(c, x + block * 32);
      check_column(c, x, blocks, count, column);
      release(c);
    }
  }
  // A NaN or an infinity in each place of a block.
  for (size_t i = 0; i < 32; i++) {
    float *x = floats(c, 32, 1);
    set_case(c, "not finite at %zu", i);
    ordinary(c, x);
    x[i] = i % 2 == 0 ? NAN : -INFINITY;
    check_column(c, x, 1, 1, 0);
    x[i] = i % 2 == 0 ? INFINITY : -NAN;
    check_column(c, x, 1, 1, 0);
    release(c);
  }
}
