// Rows of q4_k and q6_k: the same bytes on every machine, never worse than plain rounding.
#pragma STDC FP_CONTRACT OFF
#include "support.h"

static const ck_format formats[] = {ck_format_q4_k, ck_format_q6_k};

static const char *name_of(ck_format format) { return format == ck_format_q4_k ? "q4_k" : "q6_k"; }

/// Weights as models have them, and as they have not.
static void fill(context *c, float x[256], size_t kind) {
  float magnitude = ldexpf(1.0f, (int)random_below(c, 12) - 9);
  for (size_t i = 0; i < 256; i++) {
    float bell = random_unit(c) + random_unit(c) + random_unit(c);
    switch (kind) {
      case 0: x[i] = magnitude * bell; break;
      case 1: x[i] = magnitude * bell * bell * bell; break;
      case 2: x[i] = magnitude * fabsf(bell); break;
      case 3: x[i] = magnitude * -fabsf(bell); break;
      case 4: x[i] = random_float(c) * (i % 32 == 0 ? 8.0f : 0.125f); break;
      default: x[i] = random_below(c, 8) == 0 ? magnitude : 0.0f; break;
    }
  }
}

static double error_of(ck_format format, const float x[256], uint8_t *row) {
  float back[256];
  ck_quantize_row(format, row, x, 256);
  ck_dequantize_row(format, back, row, 256);
  double error = 0;
  for (size_t i = 0; i < 256; i++)
    error += ((double)back[i] - (double)x[i]) * ((double)back[i] - (double)x[i]);
  return error;
}

static double clamp(double x, double low, double high) { return fmin(fmax(x, low), high); }

/// The squared error of the plainest quantiser that the format allows, in double precision: ranges
/// as they are, the largest scale on the largest integer, everything to nearest.
static double plain_error(ck_format format, const float x[256]) {
  size_t length = format == ck_format_q4_k ? 32 : 16;
  double scales[16], minima[16], largest_scale = 0, largest_minimum = 0, error = 0;
  for (size_t j = 0; j < 256 / length; j++) {
    double low = 0, high = 0;
    for (size_t i = j * length; i < (j + 1) * length; i++) {
      low = fmin(low, (double)x[i]);
      high = fmax(high, (double)x[i]);
    }
    scales[j] = format == ck_format_q4_k ? (high - low) / 15 : fmax(-low, high) / 31;
    minima[j] = format == ck_format_q4_k ? -low : 0;
    largest_scale = fmax(largest_scale, scales[j]);
    largest_minimum = fmax(largest_minimum, minima[j]);
  }
  double top = format == ck_format_q4_k ? 63 : 127, q_low = format == ck_format_q4_k ? 0 : -32;
  double d = largest_scale / top, d_minimum = largest_minimum / 63;
  for (size_t i = 0; i < 256; i++) {
    double scale = d > 0 ? d * nearbyint(scales[i / length] / d) : 0;
    double minimum = d_minimum > 0 ? d_minimum * nearbyint(minima[i / length] / d_minimum) : 0;
    double q = scale > 0 ? nearbyint(((double)x[i] + minimum) / scale) : 0;
    double difference = scale * clamp(q, q_low, q_low + (q_low < 0 ? 63 : 15)) - minimum - x[i];
    error += difference * difference;
  }
  return error;
}

/// The halves of the plain quantiser are not rounded: a row may lose what that costs, 2^-11 of it,
/// or more where halves are subnormal.
static void check_error(context *c, ck_format format, const float x[256]) {
  uint8_t row[210];
  double got = error_of(format, x, row), plain = plain_error(format, x), squares = 0;
  for (size_t i = 0; i < 256; i++) squares += (double)x[i] * (double)x[i];
  if (!(got <= plain + 0x1p-22 * squares + 256 * 0x1p-29))
    fail(c, "the squared error is %g, that of plain rounding %g", got, plain);
}

/// 64-bit FNV-1a.
static uint64_t hashed(uint64_t hash, const uint8_t *data, size_t count) {
  for (size_t i = 0; i < count; i++) hash = (hash ^ data[i]) * 0x100000001b3u;
  return hash;
}

void check_searched_rows(context *c) {
  static const uint64_t expected[] = {0xee57d291a41b48a6u, 0x492879c70747c33bu};
  for (size_t f = 0; f < LENGTH(formats); f++) {
    ck_format format = formats[f];
    uint64_t hash = 0xcbf29ce484222325u;
    c->random = 1;
    for (size_t repeat = 0; repeat < 60; repeat++) {
      set_case(c, "%s, kind %zu, row %zu", name_of(format), repeat % 6, repeat);
      float x[256];
      uint8_t row[210];
      fill(c, x, repeat % 6);
      check_error(c, format, x);
      ck_quantize_row(format, row, x, 256);
      hash = hashed(hash, row, ck_row_bytes(format, 256));
    }
    set_case(c, "%s", name_of(format));
    if (hash != expected[f])
      fail(c, "the bytes hash to %llx, not %llx: they are not those of other machines",
           (unsigned long long)hash, (unsigned long long)expected[f]);

    // NaN and infinities become zero and the others feel nothing.
    float x[512], clean[512];
    uint8_t got[420], want[420];
    for (size_t i = 0; i < 512; i++) x[i] = clean[i] = random_unit(c);
    x[0] = NAN, x[9] = INFINITY, x[511] = -INFINITY;
    clean[0] = clean[9] = clean[511] = 0.0f;
    ck_quantize_row(format, got, x, 512);
    ck_quantize_row(format, want, clean, 512);
    if (memcmp(got, want, ck_row_bytes(format, 512)) != 0) fail(c, "NaN and infinities are felt");

    // Whatever the magnitude, what comes back is finite and near, or what lies nearest in range.
    for (int exponent = -149; exponent < 128; exponent++) {
      set_case(c, "%s, 2^%d", name_of(format), exponent);
      float back[256];
      for (size_t i = 0; i < 256; i++)
        x[i] = i % 3 == 0 ? 0.0f : ldexpf(random_unit(c) < 0 ? -1.0f : 1.0f, exponent);
      ck_quantize_row(format, got, x, 256);
      ck_dequantize_row(format, back, got, 256);
      for (size_t i = 0; i < 256; i++) {
        if (!(fabsf(back[i]) <= 1e9f)) fail(c, "%g became %g", (double)x[i], (double)back[i]);
        if (exponent < -35 && back[i] != 0.0f) fail(c, "%g is not zero", (double)back[i]);
        float least = fminf(fabsf(x[i]), 4e6f) * 0.75f;
        if (exponent >= -20 && x[i] != 0.0f && !(back[i] * (x[i] < 0 ? -1.0f : 1.0f) >= least))
          fail(c, "%g became %g", (double)x[i], (double)back[i]);
      }
    }
  }
}
