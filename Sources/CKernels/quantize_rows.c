// Floats to rows of the model file. Not speed-critical, but the same bytes on every machine: plain
// IEEE operations in a fixed order, no libm.
//
// q4_k and q6_k are searched for the least squared error, without weights. Both store small integer
// scales of sub-blocks and one or two halves per 256 weights, so the search has three parts: the
// best scale of each sub-block alone; the halves that make these scales integers; then integers and
// halves in turns, each the best for the other.
#pragma STDC FP_CONTRACT OFF
#include "kernel_table.h"

#define INLINE static inline __attribute__((always_inline))

static void store16(uint8_t *p, uint16_t value) { memcpy(p, &value, 2); }

// MARK: 32 weights a block

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

// MARK: searching scales

/// A block of 256 is cut to this magnitude first: squares stay finite, and it is beyond what the
/// largest half can scale to.
#define MAGNITUDE_MAX 1e9f

/// How often integers and halves are improved in turns.
enum { refinement_count = 2 };

/// Quants as floats, so that every loop is one of floats.
typedef struct quants {
  float q[32];
} quants;

INLINE float clamped(float x, float low, float high) {
  x = x < low ? low : x;
  return x > high ? high : x;
}

INLINE float nearest(float x) { return (x + CK_ROUND_MAGIC) - CK_ROUND_MAGIC; }

/// Eight partial sums in a fixed order, which compilers may keep in lanes.
INLINE float lane_sum(const float lanes[8]) {
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

/// q[i] = the nearest of low ... high to (x[i] + minimum) / scale, given 1 / scale.
INLINE void assign(quants *out, const float *x, size_t n, float inverse, float minimum, float low,
                   float high) {
  for (size_t i = 0; i < n; i++)
    out->q[i] = nearest(clamped((x[i] + minimum) * inverse, low, high));
}

/// The sum of (scale * q - minimum - x)^2.
INLINE float squared_error(const quants *quants, const float *x, size_t n, float scale,
                           float minimum) {
  float lanes[8] = {0};
  for (size_t i = 0; i < n; i += 8) {
    for (size_t l = 0; l < 8; l++) {
      float difference = scale * quants->q[i + l] - minimum - x[i + l];
      lanes[l] += difference * difference;
    }
  }
  return lane_sum(lanes);
}

INLINE float sum(const float *x, size_t n) {
  float lanes[8] = {0};
  for (size_t i = 0; i < n; i += 8)
    for (size_t l = 0; l < 8; l++) lanes[l] += x[i + l];
  return lane_sum(lanes);
}

INLINE float dot(const float *x, const float *y, size_t n) {
  float lanes[8] = {0};
  for (size_t i = 0; i < n; i += 8)
    for (size_t l = 0; l < 8; l++) lanes[l] += x[i + l] * y[i + l];
  return lane_sum(lanes);
}

/// 1 / x, or 0 where that is not a number to multiply with.
INLINE float inverse_or_zero(float x) {
  float inverse = x != 0.0f ? 1.0f / x : 0.0f;
  return fabsf(inverse) <= 3.4028234e38f ? inverse : 0.0f;
}

/// The nearest half that is finite and, where `value` is not zero, not zero either.
static uint16_t usable_half(double value) {
  float magnitude = (float)(value < 0 ? -value : value);
  uint16_t half = magnitude >= 65504.0f ? 0x7bffu : ck_float_to_half(magnitude);
  if (half == 0 && magnitude > 0.0f) half = 1;
  return value < 0 ? half | 0x8000u : half;
}

// MARK: q4_k

/// Eight sub-blocks of 32: weight = d * scale * q - d_minimum * minimum, q in 0 ... 15, the integers
/// in 0 ... 63.
typedef struct affine_block {
  uint16_t d, d_minimum;
  uint8_t scales[8], minima[8];
  quants quants[8];
  double error;
} affine_block;

/// The scale and minimum that suit 32 weights best, neither negative: from several ranges about
/// that of the weights, each improved by least squares in turns with new quants.
static void fit_affine(const float x[32], float *best_scale, float *best_minimum) {
  float low = 0.0f, high = x[0], sum_x = sum(x, 32);
  for (size_t i = 0; i < 32; i++) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  *best_scale = 0.0f;
  *best_minimum = -low;
  if (!(high > low)) return;
  float best_error = 3.4028234e38f;
  for (int step = 0; step <= 8; step++) {
    float inverse = (12.75f + 0.5f * (float)step) / (high - low), minimum = -low;
    for (int turn = 0; turn < 3; turn++) {
      quants quants;
      assign(&quants, x, 32, inverse, minimum, 0.0f, 15.0f);
      float q = sum(quants.q, 32), qq = dot(quants.q, quants.q, 32), qx = dot(quants.q, x, 32);
      float determinant = 32.0f * qq - q * q;
      if (!(determinant > 0.0f)) break;
      float scale = (32.0f * qx - q * sum_x) / determinant;
      minimum = (q * qx - qq * sum_x) / determinant;
      if (minimum < 0.0f) {
        minimum = 0.0f;
        scale = qx / qq;
      }
      if (!(scale > 0.0f)) break;
      float error = squared_error(&quants, x, 32, scale, minimum);
      if (error < best_error) {
        best_error = error;
        *best_scale = scale;
        *best_minimum = minimum;
      }
      inverse = inverse_or_zero(scale);
    }
  }
}

/// The integers and quants of one sub-block, given the halves: the best of those next to `scale`
/// and `minimum`. Returns the squared error.
static float choose_affine(affine_block *block, size_t index, const float x[32], float scale,
                           float minimum) {
  float d = ck_half_to_float(block->d), d_minimum = ck_half_to_float(block->d_minimum);
  float scale_near = nearest(clamped(scale * inverse_or_zero(d), 0.0f, 63.0f));
  float minimum_near = nearest(clamped(minimum * inverse_or_zero(d_minimum), 0.0f, 63.0f));
  float best_error = INFINITY;
  for (int i = -1; i <= 1; i++) {
    float integer_scale = scale_near + (float)i;
    if (integer_scale < 0.0f || integer_scale > 63.0f) continue;
    for (int j = -1; j <= 1; j++) {
      float integer_minimum = minimum_near + (float)j;
      if (integer_minimum < 0.0f || integer_minimum > 63.0f) continue;
      quants quants;
      float s = d * integer_scale, m = d_minimum * integer_minimum;
      assign(&quants, x, 32, inverse_or_zero(s), m, 0.0f, 15.0f);
      float error = squared_error(&quants, x, 32, s, m);
      if (!(error < best_error)) continue;
      best_error = error;
      block->scales[index] = (uint8_t)integer_scale;
      block->minima[index] = (uint8_t)integer_minimum;
      block->quants[index] = quants;
    }
  }
  return best_error;
}

/// The halves that suit a block's integers best: least squares over all 256 weights.
static void refit_affine(affine_block *block, const float x[256]) {
  double aa = 0, ab = 0, bb = 0, ax = 0, bx = 0;
  for (size_t j = 0; j < 8; j++) {
    const float *q = block->quants[j].q, *values = x + 32 * j;
    double scale = block->scales[j], minimum = block->minima[j];
    double sum_q = (double)sum(q, 32);
    aa += scale * scale * (double)dot(q, q, 32);
    ab += scale * minimum * sum_q;
    bb += minimum * minimum * 32.0;
    ax += scale * (double)dot(q, values, 32);
    bx += minimum * (double)sum(values, 32);
  }
  // weight = d * a - d_minimum * b
  double determinant = aa * bb - ab * ab;
  double d = aa > 0 ? ax / aa : 0, d_minimum = 0;
  if (determinant > 0) {
    double both = (ax * bb - ab * bx) / determinant;
    double minimum = (ab * ax - aa * bx) / determinant;
    if (minimum > 0) d = both, d_minimum = minimum;
  } else if (bb > 0 && !(aa > 0)) {
    d_minimum = -bx / bb;
  }
  if (d > 0) block->d = usable_half(d);
  if (d_minimum > 0) block->d_minimum = usable_half(d_minimum);
}

static void quantize_q4_k(uint8_t out[144], const float x[256]) {
  float scales[8], minima[8], scale_max = 0.0f, minimum_max = 0.0f;
  for (size_t j = 0; j < 8; j++) {
    fit_affine(x + 32 * j, &scales[j], &minima[j]);
    scale_max = scales[j] > scale_max ? scales[j] : scale_max;
    minimum_max = minima[j] > minimum_max ? minima[j] : minimum_max;
  }
  affine_block block, best;
  block.d = usable_half((double)scale_max / 63.0);
  block.d_minimum = usable_half((double)minimum_max / 63.0);
  for (int turn = 0; turn <= refinement_count; turn++) {
    if (turn > 0) refit_affine(&block, x);
    block.error = 0.0;
    for (size_t j = 0; j < 8; j++)
      block.error += (double)choose_affine(&block, j, x + 32 * j, scales[j], minima[j]);
    if (turn == 0 || block.error < best.error) best = block;
  }
  store16(out, best.d);
  store16(out + 2, best.d_minimum);
  memset(out + 4, 0, 12);
  for (size_t j = 0; j < 4; j++) {
    out[4 + j] = (uint8_t)(best.scales[j] | best.scales[j + 4] >> 4 << 6);
    out[8 + j] = (uint8_t)(best.minima[j] | best.minima[j + 4] >> 4 << 6);
    out[12 + j] = (uint8_t)((best.scales[j + 4] & 15) | (best.minima[j + 4] & 15) << 4);
  }
  for (size_t i = 0; i < 128; i++) {
    const float *low = best.quants[i / 32 * 2].q, *high = best.quants[i / 32 * 2 + 1].q;
    out[16 + i] = (uint8_t)((uint8_t)low[i % 32] | (uint8_t)high[i % 32] << 4);
  }
}

// MARK: q6_k

/// Sixteen sub-blocks of 16: weight = d * scale * q, q in -32 ... 31, scales in -128 ... 127.
typedef struct linear_block {
  uint16_t d;
  int8_t scales[16];
  quants quants[16];  // of 16
  double error;
} linear_block;

/// The scale, of either sign, that suits 16 weights best.
static float fit_linear(const float x[16]) {
  float extreme = x[0], best_scale = 0.0f, best_explained = 0.0f;
  for (size_t i = 1; i < 16; i++)
    if (fabsf(x[i]) > fabsf(extreme)) extreme = x[i];
  float inverse_extreme = inverse_or_zero(extreme);
  if (inverse_extreme == 0.0f) return 0.0f;
  for (int step = 0; step <= 9; step++) {
    float inverse = -(30.0f + 0.375f * (float)step) * inverse_extreme;
    for (int turn = 0; turn < 2; turn++) {
      quants quants;
      assign(&quants, x, 16, inverse, 0.0f, -32.0f, 31.0f);
      float qq = dot(quants.q, quants.q, 16), qx = dot(quants.q, x, 16);
      if (!(qq > 0.0f)) break;
      // The squared error is the sum of x^2 less this.
      float explained = qx * (qx / qq);
      if (explained > best_explained) {
        best_explained = explained;
        best_scale = qx / qq;
      }
      inverse = inverse_or_zero(qx / qq);
    }
  }
  return best_scale;
}

static float choose_linear(linear_block *block, size_t index, const float x[16], float scale) {
  float d = ck_half_to_float(block->d), best_error = INFINITY;
  float near = nearest(clamped(scale * inverse_or_zero(d), -128.0f, 127.0f));
  for (int i = -2; i <= 2; i++) {
    float integer_scale = near + (float)i;
    if (integer_scale < -128.0f || integer_scale > 127.0f) continue;
    quants quants;
    float s = d * integer_scale;
    assign(&quants, x, 16, inverse_or_zero(s), 0.0f, -32.0f, 31.0f);
    float error = squared_error(&quants, x, 16, s, 0.0f);
    if (!(error < best_error)) continue;
    best_error = error;
    block->scales[index] = (int8_t)integer_scale;
    block->quants[index] = quants;
  }
  return best_error;
}

static void refit_linear(linear_block *block, const float x[256]) {
  double aa = 0, ax = 0;
  for (size_t j = 0; j < 16; j++) {
    double scale = block->scales[j];
    aa += scale * scale * (double)dot(block->quants[j].q, block->quants[j].q, 16);
    ax += scale * (double)dot(block->quants[j].q, x + 16 * j, 16);
  }
  if (aa > 0) block->d = usable_half(ax / aa);
}

static void quantize_q6_k(uint8_t out[210], const float x[256]) {
  float scales[16], scale_extreme = 0.0f;
  for (size_t j = 0; j < 16; j++) {
    scales[j] = fit_linear(x + 16 * j);
    if (fabsf(scales[j]) > fabsf(scale_extreme)) scale_extreme = scales[j];
  }
  // Below 2^-14 halves are coarse, and that is where d usually lies: its neighbours get a chance.
  uint16_t half = usable_half((double)scale_extreme / -128.0);
  bool has_smaller = (half & 0x7fffu) > 0, has_larger = (half & 0x7fffu) < 0x7bffu;
  const uint16_t starts[3] = {half, has_smaller ? half - 1 : half, has_larger ? half + 1 : half};
  linear_block block, best;
  for (int turn = 0; turn < 3 + refinement_count; turn++) {
    if (turn < 3) {
      block.d = starts[turn];
    } else {
      block = best;
      refit_linear(&block, x);
    }
    block.error = 0.0;
    for (size_t j = 0; j < 16; j++)
      block.error += (double)choose_linear(&block, j, x + 16 * j, scales[j]);
    if (turn == 0 || block.error < best.error) best = block;
  }
  memset(out, 0, 192);
  for (size_t i = 0; i < 256; i++) {
    uint32_t q = (uint32_t)((int32_t)best.quants[i / 16].q[i % 16] + 32);
    size_t half = i / 128, quarter = i % 128 / 32, at = i % 32;
    out[half * 64 + quarter % 2 * 32 + at] |= (uint8_t)((q & 15u) << (quarter < 2 ? 0 : 4));
    out[128 + half * 32 + at] |= (uint8_t)(q >> 4 << (2 * quarter));
  }
  memcpy(out + 192, best.scales, 16);
  store16(out + 208, best.d);
}

// MARK: rows

/// The values of a block, those that are not finite as 0.
static void copy_finite(float *out, const float *x, size_t count) {
  for (size_t i = 0; i < count; i++) out[i] = x[i] - x[i] == 0.0f ? x[i] : 0.0f;
}

static void quantize_rows_of_256(ck_format format, uint8_t *row, const float *x, size_t cols) {
  size_t block_bytes = ck_row_bytes(format, 256);
  for (size_t block = 0; block < cols / 256; block++) {
    float finite[256];
    copy_finite(finite, x + block * 256, 256);
    for (size_t i = 0; i < 256; i++) finite[i] = clamped(finite[i], -MAGNITUDE_MAX, MAGNITUDE_MAX);
    if (format == ck_format_q4_k)
      quantize_q4_k(row + block * block_bytes, finite);
    else
      quantize_q6_k(row + block * block_bytes, finite);
  }
}

void ck_quantize_row(ck_format format, uint8_t *row, const float *x, size_t cols) {
  if (format == ck_format_f32) {
    memcpy(row, x, cols * 4);
    return;
  }
  if (format == ck_format_f16 || format == ck_format_bf16) {
    for (size_t i = 0; i < cols; i++) {
      bool half = format == ck_format_f16;
      store16(row + 2 * i, half ? ck_float_to_half(x[i]) : ck_float_to_bfloat(x[i]));
    }
    return;
  }
  if (format == ck_format_q4_k || format == ck_format_q6_k) {
    quantize_rows_of_256(format, row, x, cols);
    return;
  }
  size_t block_bytes = ck_row_bytes(format, 32);
  for (size_t block = 0; block < cols / 32; block++) {
    float finite[32];
    copy_finite(finite, x + block * 32, 32);
    quantize_block32(format, row + block * block_bytes, finite);
  }
}
