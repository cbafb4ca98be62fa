// Weight formats of the model file: to panels, to floats, from floats. Not speed-critical.
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
  }
}

static void store16(uint8_t *p, uint16_t value) { memcpy(p, &value, 2); }

static int32_t rounded_within(float x, int32_t low, int32_t high) {
  if (x <= (float)low) return low;
  if (x >= (float)high) return high;
  return (int32_t)((x + CK_ROUND_MAGIC) - CK_ROUND_MAGIC);
}

static void quantize_block32(ck_format format, uint8_t *block, const float x[32]) {
  float smallest = x[0], largest = x[0], extreme = x[0];
  for (size_t i = 1; i < 32; i++) {
    if (x[i] < smallest) smallest = x[i];
    if (x[i] > largest) largest = x[i];
    if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
  }
  float scale = format == ck_format_q8_0   ? fabsf(extreme) / 127.0f
                : format == ck_format_q4_0 ? extreme / -8.0f
                                           : (largest - smallest) / 15.0f;
  float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  if (!(fabsf(inverse) <= 3.4028234e38f)) inverse = 0.0f;
  store16(block, ck_float_to_half(scale));
  if (format == ck_format_q8_0) {
    for (size_t i = 0; i < 32; i++)
      block[2 + i] = (uint8_t)(int8_t)rounded_within(x[i] * inverse, -127, 127);
    return;
  }
  bool has_minimum = format == ck_format_q4_1;
  if (has_minimum) store16(block + 2, ck_float_to_half(smallest));
  uint8_t *pairs = block + (has_minimum ? 4 : 2);
  for (size_t i = 0; i < 16; i++) {
    int32_t q[2];
    for (size_t half = 0; half < 2; half++) {
      float value = x[i + 16 * half];
      float scaled = has_minimum ? (value - smallest) * inverse : value * inverse + 8.0f;
      q[half] = rounded_within(scaled, 0, 15);
    }
    pairs[i] = (uint8_t)(q[0] | q[1] << 4);
  }
}

static uint16_t float_to_bfloat(float x) {
  uint32_t bits = ck_float_bits(x);
  if (x != x) return (uint16_t)(bits >> 16 | 0x40u);  // rounding could make it a number
  return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

void ck_quantize_row(ck_format format, uint8_t *row, const float *x, size_t cols) {
  if (format == ck_format_f32) {
    memcpy(row, x, cols * 4);
    return;
  }
  if (format == ck_format_f16 || format == ck_format_bf16) {
    for (size_t i = 0; i < cols; i++) {
      bool half = format == ck_format_f16;
      store16(row + 2 * i, half ? ck_float_to_half(x[i]) : float_to_bfloat(x[i]));
    }
    return;
  }
  size_t block_bytes = ck_row_bytes(format, 32);
  for (size_t block = 0; block < cols / 32; block++) {
    float finite[32];
    for (size_t i = 0; i < 32; i++) {
      float value = x[block * 32 + i];
      finite[i] = value - value == 0.0f ? value : 0.0f;
    }
    quantize_block32(format, row + block * block_bytes, finite);
  }
}

// MARK: rotary tables

// Plain polynomial versions of exp, log, sin and cos: libm may differ from machine to machine.
