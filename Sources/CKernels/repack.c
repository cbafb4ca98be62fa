// Weight formats of the model file: to panels, to floats. Not speed-critical.
#pragma STDC FP_CONTRACT OFF
#include "kernel_table.h"

size_t ck_block_weights(ck_format format) {
  return format <= ck_format_bf16 ? 1 : ck_has_parts(format) ? 256 : 32;
}

/// Bytes of one block of the file.
static size_t file_block_bytes(ck_format format) {
  switch (format) {
    case ck_format_f32: return 4;
    case ck_format_f16:
    case ck_format_bf16: return 2;
    case ck_format_q8_0: return 2 + 32;
    case ck_format_q4_0:
    case ck_format_iq4_nl: return 2 + 16;
    case ck_format_q4_1: return 4 + 16;
    case ck_format_q5_0: return 2 + 4 + 16;
    case ck_format_q5_1: return 4 + 4 + 16;
    case ck_format_q2_k: return 16 + 64 + 4;
    case ck_format_q3_k: return 32 + 64 + 12 + 2;
    case ck_format_q4_k: return 4 + 12 + 128;
    case ck_format_q5_k: return 4 + 12 + 32 + 128;
    case ck_format_q6_k: return 128 + 64 + 16 + 2;
  }
  return 0;
}

size_t ck_row_bytes(ck_format format, size_t cols) {
  size_t weights = ck_block_weights(format);
  return cols % weights == 0 ? cols / weights * file_block_bytes(format) : 0;
}

static size_t whole_lines(size_t bytes) { return (bytes + 63) / 64 * 64; }

size_t ck_panel_bytes(ck_format format, size_t cols) {
  if (format == ck_format_f32) return cols * 64;
  if (format == ck_format_f16) return whole_lines(cols * 32);
  if (format == ck_format_bf16) return (cols + 1) / 2 * 64;
  size_t weights = ck_block_weights(format);
  if (cols % weights != 0) return 0;
  return whole_lines(cols / 32 * (ck_quant_bytes(format) + ck_side_bytes(format)) +
                     cols / weights * (ck_has_minimum(format) ? 64 : 32));
}

// Four weights of one row at a time, a byte each.
static uint32_t load_group(const uint8_t *q) {
  uint32_t group;
  memcpy(&group, q, 4);
  return group;
}
static void store_group(uint8_t *line, size_t row, uint32_t group) {
  memcpy(line + 4 * row, &group, 4);
}

/// 32 weights of one row into the lines of their block.
static void pack_quants(ck_format format, uint8_t *lines, size_t row, const uint8_t q[32]) {
  uint32_t groups[8], ones = 0x01010101u, bits = 0, pairs[2] = {0, 0}, tops[2] = {0, 0};
  for (size_t i = 0; i < 8; i++) groups[i] = load_group(q + 4 * i);
  if (format == ck_format_q8_0) {
    for (size_t i = 0; i < 8; i++) store_group(lines + 64 * i, row, groups[i]);
    return;
  }
  bool is_narrow = format == ck_format_q2_k || format == ck_format_q3_k;
  bool has_more = ck_quant_bytes(format) > 256;
  for (size_t i = 0; i < 8 && (is_narrow || has_more); i++) {
    bits |= (groups[i] >> (is_narrow ? 2 : 4) & ones) << i;
    pairs[i / 4] |= (groups[i] & 3 * ones) << 2 * (i % 4);
    tops[i / 4] |= (groups[i] >> 4 & 3 * ones) << 2 * (i % 4);
  }
  if (is_narrow) {
    store_group(lines, row, pairs[0]);
    store_group(lines + 64, row, pairs[1]);
    if (format == ck_format_q3_k) store_group(lines + 128, row, bits);
    return;
  }
  for (size_t i = 0; i < 4; i++) {
    uint32_t low = groups[i] & 15 * ones, high = groups[i + 4] & 15 * ones;
    store_group(lines + 64 * i, row, low | high << 4);
  }
  if (format == ck_format_q6_k) {
    store_group(lines + 256, row, tops[0]);
    store_group(lines + 320, row, tops[1]);
  } else if (has_more) {
    store_group(lines + 256, row, bits);
  }
}

/// The small scales of 32 weights of one row.
static void pack_side(ck_format format, uint8_t *side, size_t row, const ck_unpacked *parts,
                      size_t block) {
  if (!ck_has_halves(format)) {
    side[row] = parts->scales[block];
    side[16 + row] = parts->minima[block];
    return;
  }
  for (size_t half = 0; half < 2; half++) {
    uint8_t scale = parts->scales[2 * block + half], minimum = parts->minima[2 * block + half];
    side[16 * half + row] =
        format == ck_format_q2_k ? (uint8_t)(scale | minimum << 4) : scale;
  }
}

void ck_repack_panel(ck_format format, uint8_t *panel, const uint8_t *rows, size_t row_count,
                     size_t cols) {
  size_t row_bytes = ck_row_bytes(format, cols);
  memset(panel, 0, ck_panel_bytes(format, cols));
  if (format <= ck_format_bf16) {
    size_t width = format == ck_format_f32 ? 4 : 2;
    // Of BF16, two weights of a row stand side by side.
    size_t run = format == ck_format_bf16 ? 2 : 1;
    for (size_t row = 0; row < row_count; row++)
      for (size_t k = 0; k < cols; k++)
        memcpy(panel + (k / run * 16 * run + row * run + k % run) * width,
               rows + row * row_bytes + k * width, width);
    return;
  }
  size_t together = ck_blocks_per_scale(format), count = cols / 32 / together;
  size_t quant_bytes = ck_quant_bytes(format), side_bytes = ck_side_bytes(format);
  uint8_t *sides = panel + cols / 32 * quant_bytes, *scales = sides + cols / 32 * side_bytes;
  uint8_t *minima = scales + count * 32;
  size_t block_bytes = file_block_bytes(format);
  for (size_t row = 0; row < row_count; row++) {
    for (size_t i = 0; i < count; i++) {
      ck_unpacked parts;
      ck_unpack_block(format, rows + row * row_bytes + i * block_bytes, &parts);
      memcpy(scales + (i * 16 + row) * 2, &parts.scale, 2);
      if (ck_has_minimum(format)) memcpy(minima + (i * 16 + row) * 2, &parts.minimum, 2);
      for (size_t block = 0; block < together; block++) {
        size_t at = i * together + block;
        pack_quants(format, panel + at * quant_bytes, row, parts.q + 32 * block);
        if (side_bytes > 0) pack_side(format, sides + at * side_bytes, row, &parts, block);
      }
    }
  }
}

static uint64_t mixed(uint64_t state, uint64_t word) {
  // An odd factor and a rotation lose nothing, so a changed word leaves a changed state. The
  // rotation brings the upper bits, which the factor does not spread, down to where it does.
  uint64_t product = (state ^ word) * 0x9e3779b97f4a7c15u;
  return product << 29 | product >> 35;
}

uint64_t ck_checksum(const uint8_t *bytes, size_t count) {
  // Eight states, because one multiplication takes as long as eight that do not wait for it.
  uint64_t states[8], words[8];
  for (size_t i = 0; i < 8; i++) states[i] = i + 1;
  for (size_t at = 0; at < count; at += 64) {
    memcpy(words, bytes + at, 64);
    for (size_t i = 0; i < 8; i++) states[i] = mixed(states[i], words[i]);
  }
  uint64_t result = count;
  for (size_t i = 0; i < 8; i++) result = mixed(result, states[i]);
  return result;
}

static uint16_t load16(const uint8_t *p) {
  uint16_t value;
  memcpy(&value, p, 2);
  return value;
}

static void dequantize_block(ck_format format, float *out, const uint8_t *block) {
  static const int8_t nonlinear[16] = {CK_NONLINEAR_VALUES};
  ck_unpacked parts;
  ck_unpack_block(format, block, &parts);
  float scale = ck_half_to_float(parts.scale), minimum = ck_half_to_float(parts.minimum);
  size_t part_length = ck_has_halves(format) ? 16 : 32;
  for (size_t i = 0; i < ck_block_weights(format); i++) {
    int32_t q = (int32_t)parts.q[i] - ck_offset(format);
    if (format == ck_format_q8_0) q = (int8_t)parts.q[i];
    if (format == ck_format_iq4_nl) q = nonlinear[parts.q[i]];
    if (!ck_has_parts(format)) {
      out[i] = ck_has_minimum(format) ? scale * (float)q + minimum : scale * (float)q;
      continue;
    }
    uint8_t small = parts.scales[i / part_length];
    bool is_signed = format == ck_format_q3_k || format == ck_format_q6_k;
    float part_scale = scale * (float)(is_signed ? (int8_t)small : (int32_t)small);
    float part_minimum = minimum * (float)parts.minima[i / part_length];
    out[i] = ck_has_minimum(format) ? part_scale * (float)q - part_minimum : part_scale * (float)q;
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
    default: break;
  }
  size_t weights = ck_block_weights(format), block_bytes = file_block_bytes(format);
  for (size_t i = 0; i < cols / weights; i++)
    dequantize_block(format, out + i * weights, row + i * block_bytes);
}
