// Activations in eight bits, and as floats.
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
    int32_t got = tile->sums[kind * tile->blocks * tile->count + at];
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

/// All columns of a tile of `count`, the last blocks first: equal to the definition, and each call
/// writes what it was asked for only. x: [count][stride], stride >= 32 blocks.
static void check_tile(context *c, const float *x, size_t stride, size_t blocks, size_t count) {
  size_t kept = c->block_count, all = blocks * count, sums = all * ck_sum_kind_count;
  size_t skipped = blocks > 2 ? 1 : 0, half = (blocks + skipped) / 2;
  ck_tile got = {.q = bytes(c, all * 32, 3),
                 .d = floats(c, all, 1),
                 .s = floats(c, all, 1),
                 .sums = (int32_t *)floats(c, sums, 1),
                 .count = count,
                 .blocks = blocks};
  ck_tile want = {.q = bytes(c, all * 32, 0),
                  .d = floats(c, all, 0),
                  .s = floats(c, all, 0),
                  .sums = (int32_t *)floats(c, sums, 0),
                  .count = count,
                  .blocks = blocks};
  const ck_tile *both[] = {&got, &want};
  for (size_t t = 0; t < 2; t++) {
    memset(both[t]->q, 0x55, all * 32);
    memset(both[t]->d, 0x55, all * 4);
    memset(both[t]->s, 0x55, all * 4);
    memset(both[t]->sums, 0x55, sums * 4);
  }
  c->kernels->quantize(x, stride, half, blocks, &got);
  c->kernels->quantize(x, stride, skipped, half, &got);
  c->scalar->quantize(x, stride, skipped, blocks, &want);
  for (size_t i = 0; i < all * 32; i++) {
    if (got.q[i] == want.q[i]) continue;
    fail(c, "q[%zu] is %d, not %d", i, got.q[i], want.q[i]);
    break;
  }
  for (size_t i = 0; i < sums; i++) {
    if (got.sums[i] == want.sums[i]) continue;
    fail(c, "sums[%zu] is %d, not %d", i, got.sums[i], want.sums[i]);
    break;
  }
  expect_same(c, "d", got.d, want.d, all);
  expect_same(c, "s", got.s, want.s, all);
  for (size_t block = skipped; block < blocks; block++) {
    for (size_t j = 0; j < count; j++)
      check_promises(c, x + j * stride + block * 32, &got, block * count + j);
  }
  while (c->block_count > kept) free(c->blocks[--c->block_count]);
}

void check_quantize(context *c) {
  static const size_t counts[] = {1, 2, 3, 5, 8, 16, 64};
  size_t repeats = c->full ? 42 : 21;
  for (size_t p = 0; p < LENGTH(patterns); p++) {
    for (size_t repeat = 0; repeat < repeats; repeat++) {
      size_t blocks = 1 + repeat % 5, count = counts[repeat % LENGTH(counts)];
      if (count == 1) blocks += 15 * (p % 3);
      if (count > c->kernels->tile_columns_max) count = c->kernels->tile_columns_max;
      size_t stride = blocks * 32 + repeat % 3, chosen = random_below(c, blocks * count);
      set_case(c, "pattern %zu, repeat %zu, %zu blocks, %zu columns", p, repeat, blocks, count);
      float *x = floats(c, count * stride, 1 + repeat % 3);
      // The pattern in one block, ordinary values around it.
      for (size_t at = 0; at < blocks * count; at++) {
        float *block = x + at % count * stride + at / count * 32;
        (at == chosen ? patterns[p] : ordinary)(c, block);
      }
      check_tile(c, x, stride, blocks, count);
      release(c);
    }
  }
  // A NaN or an infinity in each place of a block, each time in another of a tile.
  for (size_t i = 0; i < 32; i++) {
    float *x = floats(c, 32 * 20, 1), *bad = x + 32 * (i % 20) + i;
    set_case(c, "not finite at %zu", i);
    for (size_t block = 0; block < 20; block++) ordinary(c, x + 32 * block);
    *bad = i % 2 == 0 ? NAN : -INFINITY;
    check_tile(c, x, 32 * 20, 20, 1);
    *bad = i % 2 == 0 ? INFINITY : -NAN;
    check_tile(c, x, 32 * 5, 5, 4);
    release(c);
  }
}

/// In pairs: what the nearest BF16 is, told by candidates above and below.
static uint16_t nearest_bfloat(float x) {
  uint32_t bits = bits_of(x);
  uint16_t below = (uint16_t)(bits >> 16), above = (uint16_t)(below + 1);
  if (x != x) return below | 0x40;
  if ((bits & 0x7f800000) == 0) return below & 0x8000;
  if ((below & 0x7fff) >= 0x7f80) return below;
  // Past the largest number: the next one would be 2^128.
  bool is_last = (below & 0x7fff) == 0x7f7f;
  double low = (double)float_of((uint32_t)below << 16);
  double high = is_last ? copysign(0x1p128, low) : (double)float_of((uint32_t)above << 16);
  double to_low = fabs((double)x - low), to_high = fabs(high - (double)x);
  return to_low < to_high || (to_low == to_high && below % 2 == 0) ? below : above;
}

void check_interleave_pairs(context *c) {
  static const uint32_t special[] = {0x7fc01234, 0xff800001, 0x7f800000, 0xff800000, 0x00000001,
                                     0x807fffff, 0x00800000, 0x7f7fffff, 0x7f7f8000, 0xff7f7fff,
                                     0x3f808000, 0x3f818000, 0xbf80ffff, 0x80000000};
  size_t repeats = c->full ? 400 : 80;
  for (size_t repeat = 0; repeat < repeats; repeat++) {
    size_t cols = 1 + random_below(c, 150), count = 1 + repeat % c->kernels->tile_columns_max;
    size_t begin = random_below(c, cols) / 2 * 2, end = begin + random_below(c, cols - begin + 1);
    if (end < cols) end = end / 2 * 2;
    size_t stride = cols + repeat % 3, pairs = (cols + 1) / 2;
    set_case(c, "%zu ..< %zu of %zu, %zu columns", begin, end, cols, count);
    float *x = floats(c, count * stride, 1);
    uint32_t *got = (uint32_t *)floats(c, count * pairs, 3), untouched = 0x55555555;
    for (size_t i = 0; i < count * stride; i++) {
      bool is_special = random_below(c, 6) == 0;
      x[i] = is_special ? float_of(special[random_below(c, LENGTH(special))]) : random_float(c);
    }
    for (size_t i = 0; i < count * pairs; i++) got[i] = untouched;
    ck_tile tile = {.pairs = got, .count = count};
    c->kernels->interleave_pairs(x, stride, begin, end, &tile);
    for (size_t i = 0; i < count * pairs; i++) {
      size_t k = i / count * 2;
      const float *from = x + i % count * stride + k;
      uint32_t want = untouched;
      if (k >= begin && k < end)
        want = nearest_bfloat(from[0]) |
               (k + 1 < end ? (uint32_t)nearest_bfloat(from[1]) << 16 : 0);
      if (got[i] == want) continue;
      fail(c, "pair %zu is %08x, not %08x", i, got[i], want);
      break;
    }
    release(c);
  }
}

void check_interleave(context *c) {
  size_t repeats = c->full ? 400 : 80;
  for (size_t repeat = 0; repeat < repeats; repeat++) {
    size_t cols = 1 + random_below(c, 70), count = 1 + repeat % c->kernels->tile_columns_max;
    size_t begin = random_below(c, cols), end = begin + random_below(c, cols - begin + 1);
    size_t stride = cols + repeat % 3;
    set_case(c, "%zu ..< %zu of %zu, %zu columns", begin, end, cols, count);
    float *x = floats(c, count * stride, 1), *f = floats(c, count * cols, 3);
    for (size_t i = 0; i < count * stride; i++) x[i] = random_float(c);
    memset(f, 0x55, count * cols * 4);
    float untouched = f[0];
    ck_tile tile = {.f = f, .count = count};
    c->kernels->interleave(x, stride, begin, end, &tile);
    for (size_t i = 0; i < count * cols; i++) {
      size_t k = i / count;
      float want = k >= begin && k < end ? x[i % count * stride + k] : untouched;
      if (same(f[i], want)) continue;
      fail(c, "f[%zu] is %g, not %g", i, (double)f[i], (double)want);
      break;
    }
    release(c);
  }
}
