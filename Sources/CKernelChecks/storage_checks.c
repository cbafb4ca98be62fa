// Weight formats and rotary tables: the same code for every table of kernels.
#pragma STDC FP_CONTRACT OFF
#include <float.h>

#include "support.h"

// MARK: half precision

/// The value of a finite half, from its definition.
static double half_value(uint32_t half) {
  int exponent = (int)(half >> 10 & 31), mantissa = (int)(half & 1023);
  double magnitude = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
  return half & 0x8000 ? -magnitude : magnitude;
}

static uint16_t to_half(float x) {
  uint16_t half;
  ck_quantize_row(ck_format_f16, (uint8_t *)&half, &x, 1);
  return half;
}

static float from_half(uint16_t half) {
  float x;
  ck_dequantize_row(ck_format_f16, &x, (const uint8_t *)&half, 1);
  return x;
}

static void expect_half(context *c, float x, uint32_t want) {
  uint32_t got = to_half(x);
  if (got != want) fail(c, "%a became %04x, not %04x", (double)x, got, want);
}

void check_halves(context *c) {
  set_case(c, "f16");
  for (uint32_t half = 0; half < 0x10000; half++) {
    float x = from_half((uint16_t)half);
    if ((half & 0x7fff) > 0x7c00) {
      if (x == x || (to_half(x) & 0x7fff) <= 0x7c00) fail(c, "NaN %04x did not stay NaN", half);
      continue;
    }
    bool infinite = (half & 0x7fff) == 0x7c00;
    float want = !infinite       ? (float)half_value(half)
                 : half & 0x8000 ? -INFINITY
                                 : INFINITY;
    if (!same(x, want)) fail(c, "%04x became %a, not %a", half, (double)x, (double)want);
    expect_half(c, x, half);
    if (infinite) continue;
    // Half way to the next magnitude goes to the even one, a little less or more to the nearer.
    // Past the largest half, the next is where 2^16 would be: infinity.
    uint32_t even = half % 2 == 0 ? half : half + 1;
    double next = (half & 0x7fff) == 0x7bff ? (half & 0x8000 ? -65536.0 : 65536.0)
                                            : half_value(half + 1);
    float middle = (float)((half_value(half) + next) / 2);
    expect_half(c, middle, even);
    expect_half(c, nextafterf(middle, 0.0f), half);
    expect_half(c, nextafterf(middle, half & 0x8000 ? -INFINITY : INFINITY), half + 1);
  }
  expect_half(c, FLT_MAX, 0x7c00);
  expect_half(c, -1e-45f, 0x8000);
}

// MARK: bfloat16

static uint16_t to_bfloat(float x) {
  uint16_t narrow;
  ck_quantize_row(ck_format_bf16, (uint8_t *)&narrow, &x, 1);
  return narrow;
}

void check_bfloats(context *c) {
  for (uint32_t high = 0; high < 0x10000; high++) {
    set_case(c, "bf16 %04x", high);
    uint16_t narrow = (uint16_t)high;
    float x;
    ck_dequantize_row(ck_format_bf16, &x, (const uint8_t *)&narrow, 1);
    if (bits_of(x) != high << 16) fail(c, "became %08x", bits_of(x));
    // All values from here to the next: down, to even in the middle, up; NaN stays NaN.
    static const uint32_t lows[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    for (size_t i = 0; i < LENGTH(lows); i++) {
      float value = float_of(high << 16 | lows[i]);
      uint32_t got = to_bfloat(value), up = lows[i] > 0x8000 || (lows[i] == 0x8000 && high % 2);
      bool is_nan = (got & 0x7fff) > 0x7f80;
      if (value != value ? !is_nan : got != high + up)
        fail(c, "%08x became %04x", bits_of(value), got);
    }
  }
}

// MARK: rows

/// How far a value may move in a row whose block runs from `low` to `high`: half a step, the
/// rounding of scale and minimum to halves (relative 2^-11, absolute 2^-25), and float rounding.
static double row_bound(ck_format format, double x, double low, double high) {
  double extreme = fmax(fabs(low), fabs(high)), slack = 1e-6 * extreme;
  double half_error = 0x1p-11, half_least = 0x1p-25;
  switch (format) {
    case ck_format_f32: return 0;
    case ck_format_f16: return fmax(fabs(x) * half_error, half_least);
    case ck_format_bf16: return fabs(x) * 0x1p-8;
    case ck_format_q8_0: return extreme / 254 + extreme * half_error + 127 * half_least + slack;
    case ck_format_q4_0: {
      // Steps of extreme / 8 from -8 to 7 times: the far end is cut off by up to one step.
      double opposite = fabs(low) > fabs(high) ? x : -x;
      double cut = fmax(0, opposite - extreme * 7.5 / 8);
      return extreme / 16 + cut + extreme * half_error + 8 * half_least + slack;
    }
    case ck_format_q4_1:
      return (high - low) / 30 + (high - low) * half_error + fabs(low) * half_error +
             16 * half_least + slack;
    default: return 0;
  }
}

static void check_row(context *c, ck_format format, const float *x, size_t cols) {
  uint8_t *row = bytes(c, ck_row_bytes(format, cols), 1);
  float *back = outputs(c, cols, 1);
  ck_quantize_row(format, row, x, cols);
  ck_dequantize_row(format, back, row, cols);
  guards_hold(c, back, cols);
  for (size_t start = 0; start < cols; start += 32) {
    double low = (double)x[start], high = low;
    for (size_t i = start; i < start + 32; i++) {
      low = fmin(low, (double)x[i]);
      high = fmax(high, (double)x[i]);
    }
    for (size_t i = start; i < start + 32; i++)
      expect_near(c, "x", i, (double)back[i], (double)x[i],
                  row_bound(format, (double)x[i], low, high));
  }
}

void check_rows(context *c) {
  static const float magnitudes[] = {0.0f, 1e-9f, 1e-6f, 0.01f, 1.0f, 300.0f};
  for (ck_format format = 0; format <= ck_format_q4_1; format++) {
    for (size_t m = 0; m < LENGTH(magnitudes); m++) {
      for (size_t kind = 0; kind < 4; kind++) {
        set_case(c, "%s, magnitude %g, kind %zu", format_name(format), (double)magnitudes[m], kind);
        float *x = floats(c, 320, 1);
        for (size_t i = 0; i < 320; i++) {
          float unit = kind == 0 ? random_unit(c) : kind == 1 ? fabsf(random_unit(c))
                     : kind == 2 ? -fabsf(random_unit(c)) : 1.0f;
          x[i] = magnitudes[m] * unit;
        }
        check_row(c, format, x, 320);
        release(c);
      }
    }
  }
  // In the formats of blocks, NaN and infinities become zero and the others feel nothing.
  for (ck_format format = ck_format_q8_0; format <= ck_format_q4_1; format++) {
    set_case(c, "%s, not finite", format_name(format));
    float x[32], clean[32];
    uint8_t got[64], want[64];
    for (size_t i = 0; i < 32; i++) x[i] = clean[i] = random_unit(c);
    x[0] = NAN, x[9] = INFINITY, x[31] = -INFINITY;
    clean[0] = clean[9] = clean[31] = 0.0f;
    ck_quantize_row(format, got, x, 32);
    ck_quantize_row(format, want, clean, 32);
    if (memcmp(got, want, ck_row_bytes(format, 32)) != 0) fail(c, "differs from zeros");
  }
}

// MARK: panels

/// Column k of the matrix, by a product with the k-th unit vector, equals the row's floats but for
/// float rounding; rows that the matrix lacks are zero.
static void check_panel(context *c, ck_format format, size_t rows, size_t cols) {
  set_case(c, "%s, %zu rows of %zu", format_name(format), rows, cols);
  size_t row_bytes = ck_row_bytes(format, cols), blocks = (cols + 31) / 32;
  uint8_t *file = bytes(c, rows * row_bytes, 1), *panel = bytes(c, ck_panel_bytes(format, cols), 0);
  float *x = floats(c, blocks * 32, 0), *weights = floats(c, rows * cols, 0);
  float *out = outputs(c, 16, 0), *largest = floats(c, rows, 0);
  for (size_t row = 0; row < rows; row++) {
    fill_row(c, format, file + row * row_bytes, cols);
    ck_dequantize_row(format, weights + row * cols, file + row * row_bytes, cols);
    largest[row] = 0.0f;
    for (size_t k = 0; k < cols; k++)
      largest[row] = fmaxf(largest[row], fabsf(weights[row * cols + k]));
  }
  memset(panel, 0xff, ck_panel_bytes(format, cols));
  ck_repack_panel(format, panel, file, rows, cols);
  ck_tile tile = {bytes(c, blocks * 32, 0), floats(c, blocks, 0), floats(c, blocks, 0),
                  (int32_t *)floats(c, blocks * ck_sum_kind_count, 0), x,
                  (uint32_t *)floats(c, blocks * 16, 0), 1, blocks};
  for (size_t k = 0; k < cols; k++) {
    for (size_t i = 0; i < blocks * 32; i++) x[i] = i == k ? 1.0f : 0.0f;
    c->scalar->quantize(x, 0, 0, blocks, &tile);
    c->scalar->interleave_pairs(x, 0, 0, blocks * 32, &tile);
    ck_matmul(c->scalar, format)(out, 16, panel, 0, 1, 16, cols, &tile);
    for (size_t row = 0; row < 16; row++) {
      double want = row < rows ? (double)weights[row * cols + k] : 0;
      double bound = row < rows && is_quantized(format) ? 1e-6 * (double)largest[row] : 0;
      expect_near(c, "weight", row * cols + k, (double)out[row], want, bound);
    }
  }
  release(c);
}

void check_panels(context *c) {
  for (ck_format format = 0; format < ck_format_count; format++) {
    size_t length = ck_block_weights(format);
    for (size_t rows = 1; rows <= 16; rows += 5) {
      check_panel(c, format, rows, length < 32 ? 32 : length);
      check_panel(c, format, rows, length < 32 ? 96 : 3 * length);
      if (length == 1) check_panel(c, format, rows, 7);
    }
    set_case(c, "%s", format_name(format));
    for (size_t cols = 1; cols <= 1024; cols++) {
      bool whole = cols % length == 0;
      size_t panel = ck_panel_bytes(format, cols), row = ck_row_bytes(format, cols);
      if (panel % 64 != 0) fail(c, "panels of %zu columns are not whole cache lines", cols);
      if ((row > 0) != whole || (panel > 0) != whole || panel < 16 * row)
        fail(c, "%zu columns take %zu bytes a row, %zu a panel", cols, row, panel);
    }
  }
}

// MARK: rotary tables

void check_rope_table(context *c) {
  for (double x = 1e-6; x < 1e12; x *= 1.37) {
    set_case(c, "logarithm of %g", x);
    expect_near(c, "logarithm", 0, ck_log(x), log(x), 1e-15 * (1 + fabs(log(x))));
  }
  static const size_t dimension_counts[] = {2, 32, 64, 80, 128, 256};
  static const double bases[] = {1e4, 1e5, 5e5, 1e6};
  static const double magnitudes[] = {1, 1.19};
  for (size_t n = 0; n < LENGTH(dimension_counts); n++) {
    size_t dimensions = dimension_counts[n];
    double *frequencies = bytes(c, dimensions / 2 * sizeof *frequencies, 0);
    float *cosines = outputs(c, dimensions / 2, 1), *sines = outputs(c, dimensions / 2, 1);
    for (size_t b = 0; b < LENGTH(bases); b++) {
      size_t step = c->full ? 97 : 4099;
      double magnitude = magnitudes[b % 2];
      ck_rope_frequencies(frequencies, dimensions, bases[b]);
      for (size_t position = 0; position <= 131071; position += position < 64 ? 1 : step) {
        set_case(c, "position %zu, %zu dimensions, base %g", position, dimensions, bases[b]);
        ck_rope_row(cosines, sines, position, frequencies, dimensions / 2, magnitude);
        for (size_t i = 0; i < dimensions / 2; i++) {
          double angle = (double)position * pow(bases[b], -2.0 * (double)i / (double)dimensions);
          expect_near(c, "cosine", i, (double)cosines[i], magnitude * cos(angle), 8e-8);
          expect_near(c, "sine", i, (double)sines[i], magnitude * sin(angle), 8e-8);
        }
      }
    }
    guards_hold(c, cosines, dimensions / 2);
    guards_hold(c, sines, dimensions / 2);
    release(c);
  }
}
