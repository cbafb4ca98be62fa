// Matrix products.
#pragma STDC FP_CONTRACT OFF
#include "support.h"

/// A matrix as the file holds it and repacked.
typedef struct matrix {
  ck_format format;
  size_t rows, cols;
  uint8_t *file, *panels;
} matrix;

static void repack(matrix *m) {
  size_t row_bytes = ck_row_bytes(m->format, m->cols);
  for (size_t row = 0; row < m->rows; row += 16) {
    ck_repack_panel(m->format, m->panels + row / 16 * ck_panel_bytes(m->format, m->cols),
                    m->file + row * row_bytes, smaller(16, m->rows - row), m->cols);
  }
}

static matrix random_matrix(context *c, ck_format format, size_t rows, size_t cols) {
  size_t row_bytes = ck_row_bytes(format, cols), panels = (rows + 15) / 16;
  matrix m = {format, rows, cols, bytes(c, rows * row_bytes, 0),
              bytes(c, panels * ck_panel_bytes(format, cols), 0)};
  for (size_t row = 0; row < rows; row++) fill_row(c, format, m.file + row * row_bytes, cols);
  repack(&m);
  return m;
}

/// Memory of a tile for `count` columns: everything a float (q: a byte) off alignment.
static ck_tile new_tile(context *c, const matrix *m, size_t count) {
  size_t blocks = is_quantized(m->format) ? m->cols / 32 : 0;
  return (ck_tile){.q = bytes(c, blocks * count * 32, 3),
                   .d = floats(c, blocks * count, 1),
                   .s = floats(c, blocks * count, 3),
                   .sums = (int32_t *)floats(c, blocks * count * ck_sum_kind_count, 1),
                   .f = floats(c, blocks > 0 ? 0 : m->cols * count, 1),
                   .pairs = (uint32_t *)floats(c, (m->cols + 1) / 2 * count, 1),
                   .count = count,
                   .blocks = blocks};
}

/// x: [count][cols].
static void fill_tile(context *c, const matrix *m, const ck_tile *tile, const float *x) {
  if (is_quantized(m->format)) {
    c->scalar->quantize(x, m->cols, 0, m->cols / 32, tile);
    return;
  }
  c->scalar->interleave(x, m->cols, 0, m->cols, tile);
  c->scalar->interleave_pairs(x, m->cols, 0, m->cols, tile);
}

static void multiply(const ck_kernels *kernels, const matrix *m, float *out, size_t stride,
                     const ck_tile *tile) {
  ck_matmul(kernels, m->format)(out, stride, m->panels, 0, (m->rows + 15) / 16, m->rows, m->cols,
                                tile);
}

/// Activations with a block of zeros now and then, or one of equal magnitudes: the largest sums.
static void fill_activations(context *c, float *x, size_t count) {
  fill_random(c, x, count);
  for (size_t i = 0; i + 32 <= count; i += 32) {
    size_t kind = random_below(c, 8);
    for (size_t k = 0; k < 32 && kind < 3; k++)
      x[i + k] = kind == 0 ? 0.0f : kind == 1 ? 3.0f : -0.5f;
  }
}

// MARK: identity

/// A tile of `count` columns gives each column what it gets alone from the definition, whether the
/// panels run in one call or in two, and nothing else is written.
static void check_tile(context *c, const matrix *m, const float *x, const float *alone,
                       size_t count) {
  size_t kept = c->block_count, panels = (m->rows + 15) / 16, stride = m->rows + 5;
  set_case(c, "%s, %zu columns, %zu rows of %zu", format_name(m->format), count, m->rows, m->cols);
  ck_tile tile = new_tile(c, m, count);
  fill_tile(c, m, &tile, x);
  float *want = floats(c, stride * count, 0), *got = outputs(c, stride * count, 1);
  for (size_t i = 0; i < stride * count; i++) want[i] = unwritten;
  for (size_t j = 0; j < count; j++)
    memcpy(want + j * stride, alone + j * m->rows, m->rows * sizeof(float));
  multiply(c->kernels, m, got, stride, &tile);
  expect_same(c, "out", got, want, stride * count);
  guards_hold(c, got, stride * count);
  for (size_t split = 1; split < panels; split++) {
    for (size_t i = 0; i < stride * count; i++) got[i] = unwritten;
    ck_matmul_function run = ck_matmul(c->kernels, m->format);
    run(got, stride, m->panels, split, panels, m->rows, m->cols, &tile);
    run(got, stride, m->panels, 0, split, m->rows, m->cols, &tile);
    expect_same(c, "out in two parts", got, want, stride * count);
  }
  while (c->block_count > kept) free(c->blocks[--c->block_count]);
}

static void check_columns_of(context *c, ck_format format, size_t rows, size_t cols) {
  const size_t columns_max = c->kernels->tile_columns_max;
  matrix m = random_matrix(c, format, rows, cols);
  float *x = floats(c, columns_max * cols, 1), *alone = floats(c, columns_max * rows, 0);
  fill_activations(c, x, columns_max * cols);
  ck_tile one = new_tile(c, &m, 1);
  for (size_t j = 0; j < columns_max; j++) {
    fill_tile(c, &m, &one, x + j * cols);
    multiply(c->scalar, &m, alone + j * rows, rows, &one);
  }
  for (size_t count = 1; count <= columns_max; count++) {
    // The definition takes any count the same way: a few of its 64 will do.
    if (count > 17 && count != 33 && count != columns_max) continue;
    check_tile(c, &m, x, alone, count);
  }
  release(c);
}

static const size_t row_counts[] = {1, 15, 16, 17, 33, 70};
static const size_t block_cols[] = {32, 64, 96, 288};
static const size_t large_block_cols[] = {256, 512, 768};
static const size_t float_cols[] = {1, 2, 3, 31, 33, 100};

static size_t cols_at(ck_format format, size_t index) {
  if (ck_block_weights(format) == 256)
    return index < LENGTH(large_block_cols) ? large_block_cols[index] : 0;
  if (is_quantized(format)) return index < LENGTH(block_cols) ? block_cols[index] : 0;
  return index < LENGTH(float_cols) ? float_cols[index] : 0;
}

void check_matmul_columns(context *c) {
  for (ck_format format = 0; format < ck_format_count; format++) {
    if (!goes_through(c, format)) continue;
    for (size_t r = 0; r < LENGTH(row_counts); r++) {
      for (size_t k = 0; cols_at(format, k) > 0; k++) {
        if (!c->full && (r + k) % 2 != 0) continue;
        check_columns_of(c, format, row_counts[r], cols_at(format, k));
      }
    }
  }
}

// MARK: accuracy

/// The nearest number of eight binary digits, ties to the even one; for ordinary numbers.
static float rounded_to_bfloat(float x) {
  int exponent;
  float digits = frexpf(x, &exponent);
  return ldexpf(rintf(ldexpf(digits, 8)), exponent - 8);
}

/// One column against sums of products in double precision. The kernel sees the activations after
/// rounding to eight bits, or to BF16, so the sums do too; what is left are the roundings of the
/// additions, at most cols / 32 (or cols) of relative 2^-24 each: 1e-5 of the sum of magnitudes is
/// ample.
static void check_oracle_of(context *c, ck_format format, size_t rows, size_t cols) {
  set_case(c, "%s, %zu rows of %zu", format_name(format), rows, cols);
  matrix m = random_matrix(c, format, rows, cols);
  float *x = floats(c, cols, 1), *out = floats(c, rows, 1), *weights = floats(c, cols, 0);
  fill_activations(c, x, cols);
  ck_tile tile = new_tile(c, &m, 1);
  fill_tile(c, &m, &tile, x);
  multiply(c->kernels, &m, out, rows, &tile);
  for (size_t row = 0; row < rows; row++) {
    ck_dequantize_row(format, weights, m.file + row * ck_row_bytes(format, cols), cols);
    double sum = 0, magnitudes = 0;
    for (size_t k = 0; k < cols; k++) {
      double seen = is_quantized(format)       ? (double)tile.d[k / 32] * tile.q[k]
                    : format == ck_format_bf16 ? (double)rounded_to_bfloat(x[k])
                                               : (double)x[k];
      sum += (double)weights[k] * seen;
      magnitudes += fabs((double)weights[k] * seen);
    }
    expect_near(c, "out", row, (double)out[row], sum, 1e-5 * magnitudes);
  }
  release(c);
}

void check_matmul_oracle(context *c) {
  for (ck_format format = 0; format < ck_format_count; format++) {
    if (!goes_through(c, format)) continue;
    for (size_t r = 0; r < LENGTH(row_counts); r++) {
      for (size_t k = 0; cols_at(format, k) > 0; k++)
        check_oracle_of(c, format, row_counts[r], cols_at(format, k));
      check_oracle_of(c, format, row_counts[r], 2048);
    }
  }
}

// MARK: NaN and infinities

static const float not_finite[] = {NAN, INFINITY, -INFINITY};

/// An activation that is not a number spoils its own column, every row of it, and no other.
static void check_spoiled_activation(context *c, ck_format format, float value) {
  size_t rows = 33, cols = ck_block_weights(format) == 256 ? 512 : 64;
  size_t count = smaller(3, c->kernels->tile_columns_max), step = cols == 64 ? 7 : 37;
  matrix m = random_matrix(c, format, rows, cols);
  float *x = floats(c, count * cols, 1), *got = floats(c, count * rows, 1);
  float *want = floats(c, count * rows, 0);
  for (size_t spoiled = 0; spoiled < count; spoiled++) {
    for (size_t k = 0; k < cols; k += step) {
      set_case(c, "%s, activation %zu of column %zu is %g", format_name(format), k, spoiled,
               (double)value);
      size_t kept = c->block_count;
      fill_random(c, x, count * cols);
      x[spoiled * cols + k] = value;
      ck_tile tile = new_tile(c, &m, count);
      fill_tile(c, &m, &tile, x);
      multiply(c->kernels, &m, got, rows, &tile);
      multiply(c->scalar, &m, want, rows, &tile);
      expect_same(c, "out", got, want, count * rows);
      for (size_t i = 0; i < count * rows; i++) {
        bool is_nan = got[i] != got[i], is_finite = got[i] - got[i] == 0.0f;
        bool expected = i / rows != spoiled           ? is_finite
                        : is_quantized(format) ? is_nan
                                               : !is_finite;
        if (!expected) fail(c, "out[%zu] is %g", i, (double)got[i]);
      }
      while (c->block_count > kept) free(c->blocks[--c->block_count]);
    }
  }
  release(c);
}

/// A weight that is not a number spoils its own row; all else stays equal to the definition.
static void check_spoiled_weight(context *c, ck_format format, uint32_t bits) {
  size_t rows = 33, cols = ck_block_weights(format) == 256 ? 512 : 64;
  size_t count = c->kernels->tile_columns_max;
  float *x = floats(c, count * cols, 1), *got = floats(c, count * rows, 1);
  float *want = floats(c, count * rows, 0);
  matrix m = random_matrix(c, format, rows, cols);
  ck_tile tile = new_tile(c, &m, count);
  fill_random(c, x, count * cols);
  fill_tile(c, &m, &tile, x);
  for (size_t row = 0; row < rows; row += 4) {
    set_case(c, "%s, %zu columns, weight %08x in row %zu", format_name(format), count, bits, row);
    // The first weight, or the first block's scale; in row 4, 12, ... the minimum where there is
    // one.
    uint8_t *place = m.file + row * ck_row_bytes(format, cols);
    bool in_minimum = row % 8 == 4 && half_offset(format, true) != SIZE_MAX;
    if (is_quantized(format)) place += half_offset(format, in_minimum);
    if (format == ck_format_f32) memcpy(place, &bits, 4);
    if (format == ck_format_bf16) store_half(place, (uint16_t)(bits >> 16));
    if (format == ck_format_f16 || is_quantized(format))
      store_half(place, (uint16_t)((bits >> 16 & 0x8000) | 0x7c00 | (bits >> 13 & 0x3ff)));
    repack(&m);
    multiply(c->kernels, &m, got, rows, &tile);
    multiply(c->scalar, &m, want, rows, &tile);
    expect_same(c, "out", got, want, count * rows);
    for (size_t j = 0; j < count; j++) {
      float value = got[j * rows + row];
      if (value - value == 0.0f) fail(c, "column %zu of the row is %g", j, (double)value);
      if (row + 1 == rows) continue;
      value = got[j * rows + row + 1];
      if (value - value != 0.0f) fail(c, "column %zu of the next row is %g", j, (double)value);
    }
  }
  release(c);
}

void check_matmul_not_finite(context *c) {
  for (ck_format format = 0; format < ck_format_count; format++) {
    if (!goes_through(c, format)) continue;
    for (size_t i = 0; i < LENGTH(not_finite); i++) {
      check_spoiled_activation(c, format, not_finite[i]);
      check_spoiled_weight(c, format, bits_of(not_finite[i]));
    }
  }
}

// MARK: subnormals

/// A BF16 whose products with its like are subnormal about as often as not; now and then it is
/// subnormal itself.
static uint32_t small_bfloat(context *c) {
  uint32_t exponent = random_below(c, 8) == 0 ? 0 : 54 + (uint32_t)random_below(c, 20);
  return ((uint32_t)random_bits(c) & 0x807f0000) | exponent << 23;
}

/// Products of BF16 take subnormals for zero, as weights, activations, products and sums.
void check_matmul_subnormal(context *c) {
  if (!goes_through(c, ck_format_bf16)) return;
  size_t rows = 33, count = c->kernels->tile_columns_max;
  for (size_t cols = 1; cols <= 64; cols += 7) {
    set_case(c, "%zu columns, %zu rows of %zu", count, rows, cols);
    matrix m = random_matrix(c, ck_format_bf16, rows, cols);
    float *x = floats(c, count * cols, 1), *got = floats(c, count * rows, 1);
    float *want = floats(c, count * rows, 0);
    for (size_t i = 0; i < rows * cols; i++)
      store_half(m.file + 2 * i, (uint16_t)(small_bfloat(c) >> 16));
    for (size_t i = 0; i < count * cols; i++) x[i] = float_of(small_bfloat(c));
    repack(&m);
    ck_tile tile = new_tile(c, &m, count);
    fill_tile(c, &m, &tile, x);
    multiply(c->kernels, &m, got, rows, &tile);
    multiply(c->scalar, &m, want, rows, &tile);
    expect_same(c, "out", got, want, count * rows);
    for (size_t i = 0; i < count * rows; i++)
      if (fpclassify(got[i]) == FP_SUBNORMAL) fail(c, "out[%zu] is %a", i, (double)got[i]);
    // Nothing of it is left behind for the floats of others.
    volatile float smallest = 0x1p-126f;
    if (smallest / 2 == 0) fail(c, "subnormals are still taken for zero");
    release(c);
  }
}
