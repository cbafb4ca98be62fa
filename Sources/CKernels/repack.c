// Weight formats of the model file: to panels, to floats. Not speed-critical.
#pragma STDC FP_CONTRACT OFF
#include "kernel_table.h"

size_t ck_row_bytes(ck_format format, size_t cols) {
  switch (format) {
    case ck_format_f32: return cols * 4;
    case ck_format_f16:
    case ck_format_bf16: return cols * 2;
    case ck_format_q8_0: return cols % 32 == 0 ? cols / 32 * 34 : 0;
    case ck_format_q4_0: return cols % 32 == 0 ? cols / 32 * 18 : 0;
    case ck_format_q4_1: return cols % 32 == 0 ? cols / 32 * 20 : 0;
    case ck_format_q4_k: return cols % 256 == 0 ? cols / 256 * 144 : 0;
    case ck_format_q6_k: return cols % 256 == 0 ? cols / 256 * 210 : 0;
  }
  return 0;
}

static size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t ck_panel_bytes(ck_format format, size_t cols) {
  switch (format) {
    case ck_format_f32: return cols * 64;
    case ck_format_f16:
    case ck_format_bf16: return whole_lines(cols * 32);
    case ck_format_q8_0: return cols % 32 == 0 ? whole_lines(cols / 32 * (512 + 32)) : 0;
    case ck_format_q4_0: return cols % 32 == 0 ? whole_lines(cols / 32 * (256 + 32)) : 0;
    case ck_format_q4_1: return cols % 32 == 0 ? whole_lines(cols / 32 * (256 + 64)) : 0;
    case ck_format_q4_k:
    case ck_format_q6_k: return 0;  // no product yet
  }
  return 0;
}

void ck_repack_panel(ck_format format, uint8_t *panel, const uint8_t *rows, size_t row_count,
                     size_t cols) {
  size_t row_bytes = ck_row_bytes(format, cols);
  memset(panel, 0, ck_panel_bytes(format, cols));
  if (format <= ck_format_bf16) {
    size_t width = format == ck_format_f32 ? 4 : 2;
    for (size_t row = 0; row < row_count; row++)
      for (size_t k = 0; k < cols; k++)
        memcpy(panel + (k * 16 + row) * width, rows + row * row_bytes + k * width, width);
    return;
  }
  size_t blocks = cols / 32, quant_bytes = ck_quant_bytes(format);
  size_t block_bytes = row_bytes / blocks;
  uint8_t *scales = panel + blocks * quant_bytes;
  uint8_t *minima = scales + blocks * 32;
  size_t head = format == ck_format_q4_1 ? 4 : 2;
  for (size_t row = 0; row < row_count; row++) {
    for (size_t block = 0; block < blocks; block++) {
      const uint8_t *source = rows + row * row_bytes + block * block_bytes;
      memcpy(scales + (block * 16 + row) * 2, source, 2);
      if (format == ck_format_q4_1) memcpy(minima + (block * 16 + row) * 2, source + 2, 2);
      for (size_t group = 0; group < quant_bytes / 64; group++)
        memcpy(panel + block * quant_bytes + group * 64 + row * 4, source + head + group * 4, 4);
    }
  }
}

static uint16_t load16(const uint8_t *p) {
  uint16_t value;
  memcpy(&value, p, 2);
  return value;
}

/// Sub-block i of q4_k: its six-bit scale and minimum. The high two bits of 4 to 7 lie above the
/// low six bits of 0 to 3.
static void scale_and_minimum(const uint8_t packed[12], size_t i, uint32_t *scale,
                              uint32_t *minimum) {
  if (i < 4) {
    *scale = packed[i] & 63u;
    *minimum = packed[i + 4] & 63u;
  } else {
    *scale = (packed[i + 4] & 15u) | (packed[i - 4] >> 6) << 4;
    *minimum = (uint32_t)(packed[i + 4] >> 4) | (packed[i] >> 6) << 4;
  }
}

static void dequantize_q4_k(float out[256], const uint8_t block[144]) {
  float d = ck_half_to_float(load16(block)), d_minimum = ck_half_to_float(load16(block + 2));
  for (size_t i = 0; i < 256; i++) {
    uint32_t scale, minimum;
    scale_and_minimum(block + 4, i / 32, &scale, &minimum);
    uint8_t pair = block[16 + i / 64 * 32 + i % 32];
    uint32_t q = i % 64 < 32 ? pair & 15u : pair >> 4;
    out[i] = d * (float)scale * (float)q - d_minimum * (float)minimum;
  }
}

static void dequantize_q6_k(float out[256], const uint8_t block[210]) {
  float d = ck_half_to_float(load16(block + 208));
  for (size_t i = 0; i < 256; i++) {
    size_t half = i / 128, quarter = i % 128 / 32, at = i % 32;
    uint32_t low = block[half * 64 + quarter % 2 * 32 + at] >> (quarter < 2 ? 0 : 4) & 15u;
    uint32_t high = block[128 + half * 32 + at] >> (2 * quarter) & 3u;
    float scale = (float)(int8_t)block[192 + i / 16];
    out[i] = d * scale * (float)((int32_t)(low | high << 4) - 32);
  }
}

void ck_dequantize_row(ck_format format, float *out, const uint8_t *row, size_t cols) {
  switch (format) {
    case ck_format_f32: memcpy(out, row, cols * 4); return;
    case ck_format_f16:
      for (size_t i = 0; i < cols; i++) out[i] = ck_half_to_float(load16(row + 2 * i));
      return;
    case ck_format_bf16:
      for (size_t i = 0; i < cols; i++) out[i] = ck_bfloat_to_float(load16(row + 2 * i));
      return;
    case ck_format_q8_0:
      for (size_t i = 0; i < cols; i++) {
        const uint8_t *block = row + i / 32 * 34;
        out[i] = ck_half_to_float(load16(block)) * (float)(int8_t)block[2 + i % 32];
      }
      return;
    case ck_format_q4_0:
    case ck_format_q4_1:
      for (size_t i = 0; i < cols; i++) {
        bool has_minimum = format == ck_format_q4_1;
        const uint8_t *block = row + i / 32 * (has_minimum ? 20 : 18);
        uint8_t pair = block[(has_minimum ? 4 : 2) + i % 16];
        int32_t q = i % 32 < 16 ? pair & 15 : pair >> 4;
        float scale = ck_half_to_float(load16(block));
        out[i] = has_minimum ? scale * (float)q + ck_half_to_float(load16(block + 2))
                             : scale * (float)(q - 8);
      }
      return;
    case ck_format_q4_k:
      for (size_t i = 0; i < cols / 256; i++) dequantize_q4_k(out + i * 256, row + i * 144);
      return;
    case ck_format_q6_k:
      for (size_t i = 0; i < cols / 256; i++) dequantize_q6_k(out + i * 256, row + i * 210);
      return;
  }
}

// MARK: rotary tables

// Plain polynomial versions of exp, log, sin and cos: libm may differ from machine to machine.

static double exp_double(double x) {
  double n = (x * 1.4426950408889634 + 0x1.8p52) - 0x1.8p52;
  double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double term = 1.0, sum = 1.0;
  for (int i = 1; i < 18; i++) {
    term = term * r / i;
    sum += term;
  }
  union { uint64_t bits; double value; } scale = {(uint64_t)(int64_t)(1023 + n) << 52};
  return sum * scale.value;
}

static double log_double(double x) {
  union { double value; uint64_t bits; } u = {x};
  int exponent = (int)(u.bits >> 52) - 1023;
  u.bits = (u.bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
  if (u.value > 1.4142135623730951) {
    u.value *= 0.5;
    exponent++;
  }
  double t = (u.value - 1.0) / (u.value + 1.0), square = t * t, power = t, sum = 0.0;
  for (int i = 1; i < 40; i += 2) {
    sum += power / i;
    power *= square;
  }
  return 2.0 * sum + exponent * 0.69314718055994530942;
}

static void sine_cosine(double x, double *sine, double *cosine) {
  double n = (x * 0.63661977236758134308 + 0x1.8p52) - 0x1.8p52;
  // pi / 2 in three parts of 33 bits: n * part is exact for n below 2^20.
  double r = ((x - n * 1.57079632673412561417e+00) - n * 6.07710050630396597660e-11) -
             n * 2.02226624879595063154e-21;
  double square = r * r, s = r, c = 1.0, term_s = r, term_c = 1.0;
  for (int i = 1; i < 10; i++) {
    term_c = -term_c * square / ((2 * i - 1) * (2 * i));
    term_s = -term_s * square / ((2 * i) * (2 * i + 1));
    c += term_c;
    s += term_s;
  }
  switch ((int64_t)n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
  }
}

void ck_rope_table(float *cosines, float *sines, size_t position, size_t dimension_count,
                   double base) {
  double log_base = log_double(base);
  for (size_t i = 0; i < dimension_count / 2; i++) {
    double frequency = exp_double(-2.0 * (double)i / (double)dimension_count * log_base);
    double sine, cosine;
    sine_cosine((double)position * frequency, &sine, &cosine);
    sines[i] = (float)sine;
    cosines[i] = (float)cosine;
  }
}
