// The definition of every kernel, as plain loops. Slow on purpose: it is the oracle.
#pragma STDC FP_CONTRACT OFF
#include "kernel_table.h"

static float tree_sum(const float lanes[16]) {
  float sums[16];
  memcpy(sums, lanes, sizeof sums);
  for (size_t half = 8; half > 0; half /= 2)
    for (size_t i = 0; i < half; i++) sums[i] = sums[i] + sums[i + half];
  return sums[0];
}

static float exponential(float x) {
  if (x != x) return x;
  if (x < CK_EXP_LOW) return 0.0f;
  if (x > CK_EXP_HIGH) return INFINITY;
  float shifted = fmaf(x, CK_LOG2_E, CK_ROUND_MAGIC);
  float n = shifted - CK_ROUND_MAGIC;
  float r = fmaf(n, -CK_LN2_HIGH, x);
  r = fmaf(n, -CK_LN2_LOW, r);
  float p = CK_EXP_P0;
  p = fmaf(p, r, CK_EXP_P1);
  p = fmaf(p, r, CK_EXP_P2);
  p = fmaf(p, r, CK_EXP_P3);
  p = fmaf(p, r, CK_EXP_P4);
  p = fmaf(p, r, CK_EXP_P5);
  p = fmaf(p, r * r, r + 1.0f);
  uint32_t exponent = (ck_float_bits(shifted) << 23);
  return ck_bits_float(ck_float_bits(p) + exponent);
}

/// 2^y for y <= 0; exactly 0 from CK_EXP2_LOW downwards.
static float exponential2_below(float y) {
  if (y < CK_EXP2_LOW) y = CK_EXP2_LOW;
  float shifted = y + CK_EXP2_MAGIC;
  float f = y - (shifted - CK_EXP2_MAGIC);
  float p = CK_EXP2_P0;
  p = fmaf(p, f, CK_EXP2_P1);
  p = fmaf(p, f, CK_EXP2_P2);
  p = fmaf(p, f, CK_EXP2_P3);
  p = fmaf(p, f, CK_EXP2_P4);
  p = fmaf(p, f, 1.0f);
  return p * ck_bits_float(ck_float_bits(shifted) << 23);
}

static float capped(float x, float cap) {
  // tanh(y) = 1 - 2 / (e^2y + 1)
  float y = x / cap;
  return cap * (1.0f - 2.0f / (exponential(y + y) + 1.0f));
}

static void quantize_block(const float *x, const ck_tile *tile, size_t at) {
  float largest = 0.0f;
  bool finite = true;
  for (size_t i = 0; i < 32; i++) {
    float magnitude = fabsf(x[i]);
    if (!(magnitude <= 3.4028234e38f)) finite = false;
    if (magnitude > largest) largest = magnitude;
  }
  int8_t *q = tile->q + at * 32;
  bool tiny = largest < CK_QUANTIZE_TINY;
  float inverse = finite && !tiny ? 127.0f / largest : 0.0f;
  int32_t sums[2] = {0, 0};
  for (size_t i = 0; i < 32; i++) {
    float scaled = finite ? x[i] * inverse : 0.0f;
    int32_t rounded = (int32_t)((scaled + CK_ROUND_MAGIC) - CK_ROUND_MAGIC);
    q[i] = (int8_t)rounded;
    sums[i / 16] += rounded;
  }
  float d = !finite ? NAN : tiny ? 0.0f : largest / 127.0f;
  tile->d[at] = d;
  ck_store_sums(tile, at, sums[0], sums[1]);
  tile->s[at] = d * (float)(sums[0] + sums[1]);
}

static void quantize(const float *x, size_t stride, size_t block_begin, size_t block_end,
                     const ck_tile *tile) {
  for (size_t block = block_begin; block < block_end; block++) {
    for (size_t j = 0; j < tile->count; j++)
      quantize_block(x + j * stride + block * 32, tile, block * tile->count + j);
  }
}

static void store_row(float *out, size_t out_stride, size_t row, size_t count,
                      const float *sums) {
  for (size_t j = 0; j < count; j++) out[j * out_stride + row] = sums[j];
}

/// Weight `i` of a block of 32: row `lane` of the lines described in kernel_table.h.
static int32_t panel_weight(ck_format format, const uint8_t *lines, size_t lane, size_t i) {
  static const int8_t nonlinear[16] = {CK_NONLINEAR_VALUES};
  size_t at = lane * 4 + i % 4, group = i / 4;
  if (format == ck_format_q8_0) return (int8_t)lines[group * 64 + at];
  int32_t q;
  if (format == ck_format_q2_k || format == ck_format_q3_k) {
    q = lines[group / 4 * 64 + at] >> 2 * (group % 4) & 3;
    if (format == ck_format_q3_k) q |= (lines[128 + at] >> group & 1) << 2;
  } else {
    q = lines[group % 4 * 64 + at] >> (group < 4 ? 0 : 4) & 15;
    if (format == ck_format_iq4_nl) return nonlinear[q];
    if (format == ck_format_q6_k) {
      q |= (lines[256 + group / 4 * 64 + at] >> 2 * (group % 4) & 3) << 4;
    } else if (ck_quant_bytes(format) > 256) {
      q |= (lines[256 + at] >> group & 1) << 4;
    }
  }
  return q - ck_offset(format);
}

/// 32 weights of one row with their scales, ready to meet the columns.
typedef struct row_block {
  int32_t w[32];
  float scale, minimum;          ///< Of the 32 weights, or of the 256 where these have parts of 16.
  int32_t scales[2], minima[2];  ///< Of 16 weights each, where there are such parts.
} row_block;

static row_block load_block(ck_format format, const uint8_t *panel, size_t blocks, size_t block,
                            size_t lane) {
  size_t quant_bytes = ck_quant_bytes(format), side_bytes = ck_side_bytes(format);
  size_t together = ck_blocks_per_scale(format), at = block / together * 16 + lane;
  const uint8_t *sides = panel + blocks * quant_bytes;
  const uint16_t *scales = (const uint16_t *)(sides + blocks * side_bytes);
  const uint16_t *minima = scales + blocks / together * 16;
  const uint8_t *side = sides + block * side_bytes;
  row_block r = {.scale = ck_half_to_float(scales[at])};
  if (ck_has_minimum(format)) r.minimum = ck_half_to_float(minima[at]);
  for (size_t i = 0; i < 32; i++)
    r.w[i] = panel_weight(format, panel + block * quant_bytes, lane, i);
  if (!ck_has_parts(format)) return r;
  if (!ck_has_halves(format)) {
    r.scale = r.scale * (float)side[lane];
    r.minimum = -r.minimum * (float)side[16 + lane];
    return r;
  }
  for (size_t half = 0; half < 2; half++) {
    uint8_t small = side[16 * half + lane];
    bool is_pair = format == ck_format_q2_k;
    r.scales[half] = is_pair ? small & 15 : (int8_t)small;
    r.minima[half] = is_pair ? small >> 4 : 0;
  }
  r.minimum = -r.minimum;
  return r;
}

// Integer sums are exact: of the 32 products where one scale serves all 32, else of the products of
// each half times the half's small scale. All of these stay below 2^24, so they are floats without
// rounding, in whatever order they are added: Q6_K has the largest, 32 * 127 * 16 * 128 * 2.
// Then, for each block in order, with d and s of the column:
//   acc = fma(float(integer), scale * d, acc)
// where `scale` is the half of the block, times the small scale if that serves all 32 weights. If
// there is a minimum, one of
//   acc = fma(minimum, s, acc)                      Q4_1, Q5_1: minimum is the half of the block;
//                                                   Q4_K, Q5_K: minus that times the small minimum
//   acc = fma(float(minima . sums), minimum * d, acc)   Q2_K: minimum is minus the half, `sums` are
//                                                   those of the activations of each 16
static float add_block(ck_format format, const row_block *r, const int8_t *x, float d, float s,
                       float acc) {
  int32_t dots[2] = {0, 0}, sums[2] = {0, 0};
  for (size_t i = 0; i < 32; i++) {
    dots[i / 16] += r->w[i] * x[i];
    sums[i / 16] += x[i];
  }
  bool has_halves = ck_has_halves(format);
  int32_t dot = has_halves ? r->scales[0] * dots[0] + r->scales[1] * dots[1] : dots[0] + dots[1];
  acc = fmaf((float)dot, r->scale * d, acc);
  if (!ck_has_minimum(format)) return acc;
  if (!has_halves) return fmaf(r->minimum, s, acc);
  int32_t subtracted = r->minima[0] * sums[0] + r->minima[1] * sums[1];
  return fmaf((float)subtracted, r->minimum * d, acc);
}

static void matmul_quantized(ck_format format, float *out, size_t out_stride,
                             const uint8_t *panels, size_t panel_begin, size_t panel_end,
                             size_t row_count, size_t cols, const ck_tile *tile) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    const uint8_t *base = panels + panel * ck_panel_bytes(format, cols);
    for (size_t lane = 0; lane < 16 && panel * 16 + lane < row_count; lane++) {
      float sums[64] = {0};
      for (size_t block = 0; block < cols / 32; block++) {
        row_block r = load_block(format, base, cols / 32, block, lane);
        for (size_t j = 0; j < tile->count; j++) {
          size_t at = block * tile->count + j;
          sums[j] = add_block(format, &r, tile->q + at * 32, tile->d[at], tile->s[at], sums[j]);
        }
      }
      store_row(out, out_stride, panel * 16 + lane, tile->count, sums);
    }
  }
}

static void matmul_float(ck_format format, float *out, size_t out_stride, const uint8_t *panels,
                         size_t panel_begin, size_t panel_end, size_t row_count, size_t cols,
                         const ck_tile *tile) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    const uint8_t *base = panels + panel * ck_panel_bytes(format, cols);
    for (size_t lane = 0; lane < 16 && panel * 16 + lane < row_count; lane++) {
      float sums[64] = {0};
      for (size_t k = 0; k < cols; k++) {
        size_t at = k * 16 + lane;
        float w = format == ck_format_f32 ? ((const float *)base)[at]
                                          : ck_half_to_float(((const uint16_t *)base)[at]);
        for (size_t j = 0; j < tile->count; j++)
          sums[j] = fmaf(w, tile->f[k * tile->count + j], sums[j]);
      }
      store_row(out, out_stride, panel * 16 + lane, tile->count, sums);
    }
  }
}

/// One product of a pair added, as vdpbf16ps does it: no subnormals go in or out.
static float add_product(uint16_t w, uint16_t x, float sum) {
  sum = fmaf(ck_flushed(ck_bfloat_to_float(w)), ck_flushed(ck_bfloat_to_float(x)), sum);
  return ck_flushed(sum);
}

/// Activations are rounded to BF16, too; of each pair the second product is added first.
static void matmul_bf16(float *out, size_t out_stride, const uint8_t *panels, size_t panel_begin,
                        size_t panel_end, size_t row_count, size_t cols, const ck_tile *tile) {
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    const uint16_t *base =
        (const uint16_t *)(panels + panel * ck_panel_bytes(ck_format_bf16, cols));
    for (size_t lane = 0; lane < 16 && panel * 16 + lane < row_count; lane++) {
      float sums[64] = {0};
      for (size_t i = 0; i < (cols + 1) / 2; i++) {
        const uint16_t *w = base + (i * 16 + lane) * 2;
        for (size_t j = 0; j < tile->count; j++) {
          uint32_t x = tile->pairs[i * tile->count + j];
          sums[j] = add_product(w[1], (uint16_t)(x >> 16), sums[j]);
          sums[j] = add_product(w[0], (uint16_t)x, sums[j]);
        }
      }
      store_row(out, out_stride, panel * 16 + lane, tile->count, sums);
    }
  }
}

#define MATMUL(suffix, kind)                                                                    \
  static void matmul_##suffix(float *out, size_t out_stride, const uint8_t *panels,            \
                              size_t panel_begin, size_t panel_end, size_t row_count,          \
                              size_t cols, const ck_tile *tile) {                              \
    matmul_##kind(ck_format_##suffix, out, out_stride, panels, panel_begin, panel_end,         \
                  row_count, cols, tile);                                                      \
  }
CK_EACH_FORMAT(MATMUL)

static void rms_norm(float *out, const float *x, const float *weight, size_t count,
                     float epsilon) {
  float lanes[16] = {0};
  for (size_t i = 0; i < count; i++) lanes[i % 16] = fmaf(x[i], x[i], lanes[i % 16]);
  float scale = 1.0f / sqrtf(tree_sum(lanes) / (float)count + epsilon);
  for (size_t i = 0; i < count; i++) out[i] = (x[i] * scale) * weight[i];
}

static void rope_adjacent(float *x, size_t head_count, size_t head_length, const float *cosines,
                          const float *sines, size_t pair_count) {
  for (size_t head = 0; head < head_count; head++, x += head_length) {
    for (size_t i = 0; i < pair_count; i++) {
      float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = fmaf(a, cosines[i], -(b * sines[i]));
      x[2 * i + 1] = fmaf(a, sines[i], b * cosines[i]);
    }
  }
}

static void rope_halves(float *x, size_t head_count, size_t head_length, const float *cosines,
                        const float *sines, size_t pair_count) {
  for (size_t head = 0; head < head_count; head++, x += head_length) {
    for (size_t i = 0; i < pair_count; i++) {
      float a = x[i], b = x[i + pair_count];
      x[i] = a * cosines[i] - b * sines[i];
      x[i + pair_count] = a * sines[i] + b * cosines[i];
    }
  }
}

static void silu_multiply(float *out, const float *gate, const float *up, size_t count) {
  for (size_t i = 0; i < count; i++)
    out[i] = (gate[i] / (1.0f + exponential(-gate[i]))) * up[i];
}

static void gelu_multiply(float *out, const float *gate, const float *up, size_t count) {
  for (size_t i = 0; i < count; i++) {
    float inner = gate[i] * fmaf(gate[i] * gate[i], CK_GELU_G1, CK_GELU_G0);
    out[i] = (gate[i] / (1.0f + exponential(-inner))) * up[i];
  }
}

static void add(float *x, const float *y, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = x[i] + y[i];
}

static void scale(float *x, float factor, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = x[i] * factor;
}

static void soft_cap(float *x, float cap, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = capped(x[i], cap);
}

static void store_key(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                      size_t head_length) {
  if (type == ck_cache_q8_0) {
    ck_store_key_q8_0(block, position, x, head_length);
    return;
  }
  if (type == ck_cache_i16) {
    int16_t q[ck_head_length_max];
    float step = ck_quantize_steps(q, x, head_length, CK_KEY_STEPS);
    ck_place_key_i16(block, position, q, step, head_length);
    return;
  }
  for (size_t c = 0; c < head_length; c++) {
    size_t at = c * 16 + position;
    if (type == ck_cache_f32) ((float *)block)[at] = x[c];
    else ((uint16_t *)block)[at] = ck_float_to_half(x[c]);
  }
}

static void store_value(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                        size_t head_length) {
  if (type == ck_cache_q8_0) {
    ck_store_value_q8_0(block, position, x, head_length);
    return;
  }
  if (type == ck_cache_i16) {
    int16_t q[ck_head_length_max];
    float step = ck_quantize_steps(q, x, head_length, CK_VALUE_STEPS);
    ck_place_value_i16(block, position, q, step, head_length);
    return;
  }
  for (size_t c = 0; c < head_length; c++) {
    size_t at = position * ck_value_length(head_length) + c;
    if (type == ck_cache_f32) ((float *)block)[at] = x[c];
    else ((uint16_t *)block)[at] = ck_float_to_half(x[c]);
  }
}

/// The dot product of a query in steps with the key of one position.
static float integer_dot(const int16_t *query, const uint8_t *block, size_t position,
                         size_t head_length) {
  const int16_t *keys = (const int16_t *)block;
  float sum = 0.0f;
  for (size_t start = 0; start < head_length; start += 2 * CK_CHUNK_PAIRS) {
    size_t end = start + 2 * CK_CHUNK_PAIRS;
    if (end > head_length) end = head_length;
    int64_t dot = 0;
    for (size_t c = start; c < end; c++)
      dot += query[c] * keys[c / 2 * 32 + 2 * position + c % 2];
    sum = start == 0 ? (float)dot : sum + (float)dot;
  }
  return sum;
}

static void integer_scores(const ck_attention *job, size_t query_begin, size_t query_end,
                           const ck_cache_blocks *blocks) {
  size_t stride = ck_cache_key_bytes(ck_cache_i16, job->head_length);
  for (size_t q = query_begin; q < query_end; q++) {
    int16_t query[ck_head_length_max];
    float query_step = ck_quantize_steps(query, job->query + job->queries[q].query,
                                         job->head_length, CK_QUERY_STEPS) *
                       job->scale;
    for (size_t i = 0; i < blocks->count * 16; i++) {
      const uint8_t *block = blocks->keys + blocks->indices[i / 16] * stride;
      const float *steps = (const float *)(block + 64 * ck_key_pairs(job->head_length));
      float dot = integer_dot(query, block, i % 16, job->head_length);
      float score = dot * (steps[i % 16] * query_step);
      job->scores[q * job->score_stride + blocks->first_block * 16 + i - job->origin] =
          job->soft_cap > 0.0f ? capped(score, job->soft_cap) : score;
    }
  }
}

static void attention_scores(const ck_attention *job, size_t query_begin, size_t query_end,
                             const ck_cache_blocks *blocks) {
  if (job->key_type == ck_cache_i16) {
    integer_scores(job, query_begin, query_end, blocks);
    return;
  }
  size_t stride = ck_cache_key_bytes(job->key_type, job->head_length);
  for (size_t i = 0; i < blocks->count; i++) {
    const uint8_t *block = blocks->keys + blocks->indices[i] * stride;
    for (size_t position = 0; position < 16; position++) {
      float key[ck_head_length_max];
      ck_cache_load_key(job->key_type, key, block, position, job->head_length);
      size_t at = (blocks->first_block + i) * 16 + position - job->origin;
      for (size_t q = query_begin; q < query_end; q++) {
        const float *query = job->query + job->queries[q].query;
        float sum = 0.0f;
        for (size_t c = 0; c < job->head_length; c++) sum = fmaf(query[c], key[c], sum);
        float score = sum * job->scale;
        job->scores[q * job->score_stride + at] =
            job->soft_cap > 0.0f ? capped(score, job->soft_cap) : score;
      }
    }
  }
}

static void attention_weights(const ck_attention *job, size_t query_begin, size_t query_end) {
  for (size_t q = query_begin; q < query_end; q++) {
    float *scores = job->scores + q * job->score_stride;
    size_t first = job->queries[q].first - job->origin, end = job->queries[q].end - job->origin;
    float largest = -INFINITY;
    for (size_t i = first; i < end; i++)
      if (scores[i] > largest) largest = scores[i];
    float lanes[16] = {0};
    for (size_t i = first; i < end; i++) {
      scores[i] = exponential2_below((scores[i] - largest) * CK_LOG2_E);
      lanes[i % 16] = lanes[i % 16] + scores[i];
    }
    float inverse = 1.0f / tree_sum(lanes);
    job->inverses[q] = inverse;
    if (job->value_type == ck_cache_i16) continue;
    for (size_t i = first; i < end; i++) scores[i] = scores[i] * inverse;
  }
}

/// One block for one query, which sees lanes `from` ..< `to` of it.
static void integer_values(const ck_attention *job, size_t q, const uint8_t *block,
                           size_t position, size_t from, size_t to, size_t c_begin,
                           size_t c_end) {
  const int16_t *values = (const int16_t *)block;
  const float *steps = (const float *)(block + ck_value_steps_i16(job->head_length));
  const float *scores = job->scores + q * job->score_stride + position - job->origin;
  float weights[16], largest = CK_QUANTIZE_TINY;
  bool are_numbers = true;
  for (size_t i = from; i < to; i++) {
    weights[i] = scores[i] * steps[i];
    if (weights[i] != weights[i]) are_numbers = false;
    if (weights[i] > largest) largest = weights[i];
  }
  float inverse = CK_WEIGHT_STEPS / largest;
  float step = are_numbers ? (largest * (1.0f / CK_WEIGHT_STEPS)) * job->inverses[q] : NAN;
  float *out = job->out + job->queries[q].out;
  for (size_t c = c_begin; c < c_end; c++) {
    int64_t dot = 0;
    for (size_t i = from; i < to && are_numbers; i++) {
      float rounded = (weights[i] * inverse + CK_ROUND_MAGIC) - CK_ROUND_MAGIC;
      size_t row = i / 2 * ck_value_length(job->head_length);
      dot += (int64_t)rounded * values[(row + c) * 2 + i % 2];
    }
    out[c] = fmaf((float)dot, step, out[c]);
  }
}

static void attention_values(const ck_attention *job, size_t query_begin, size_t query_end,
                             const ck_cache_blocks *blocks, size_t part_begin, size_t part_end) {
  size_t stride = ck_cache_value_bytes(job->value_type, job->head_length);
  size_t c_end = part_end * 16 < job->head_length ? part_end * 16 : job->head_length;
  for (size_t q = query_begin; q < query_end; q++) {
    const ck_attention_query *query = job->queries + q;
    float *out = job->out + query->out;
    for (size_t i = 0; i < blocks->count && job->value_type == ck_cache_i16; i++) {
      size_t position = (blocks->first_block + i) * 16;
      if (position + 16 <= query->first || position >= query->end) continue;
      size_t from = query->first > position ? query->first - position : 0;
      size_t to = query->end - position < 16 ? query->end - position : 16;
      if (query->first >= position)
        for (size_t c = part_begin * 16; c < c_end; c++) out[c] = 0.0f;
      integer_values(job, q, blocks->values + blocks->indices[i] * stride, position, from, to,
                     part_begin * 16, c_end);
    }
    if (job->value_type == ck_cache_i16) continue;
    for (size_t i = 0; i < blocks->count * 16; i++) {
      size_t position = blocks->first_block * 16 + i;
      if (position < query->first || position >= query->end) continue;
      float weight = job->scores[q * job->score_stride + position - job->origin];
      float value[ck_head_length_max];
      ck_cache_load_value(job->value_type, value, blocks->values + blocks->indices[i / 16] * stride,
                          i % 16, job->head_length);
      for (size_t c = part_begin * 16; c < c_end; c++)
        out[c] = fmaf(weight, value[c], position == query->first ? 0.0f : out[c]);
    }
  }
}

static size_t top_k(const float *values, size_t count, size_t k, uint32_t *indices, float *top) {
  size_t filled = 0;
  for (size_t i = 0; i < count && k > 0; i++) {
    float value = values[i] == values[i] ? values[i] : -INFINITY;
    if (filled == k && !(value > top[k - 1])) continue;
    filled = ck_top_insert(indices, top, filled, k, (uint32_t)i, value);
  }
  return filled;
}

static void exponentials(float *out, const float *x, size_t count) {
  for (size_t i = 0; i < count; i++) out[i] = exponential(x[i]);
}

const ck_kernels ck_scalar = {
    .name = "scalar",
    .tile_columns_max = 64,
    .quantize = quantize,
    .interleave = ck_interleave,
    .interleave_pairs = ck_interleave_pairs,
    .matmul = CK_MATMULS(matmul_bf16, matmul_q8_0),
    .rms_norm = rms_norm,
    .rope_adjacent = rope_adjacent,
    .rope_halves = rope_halves,
    .silu_multiply = silu_multiply,
    .gelu_multiply = gelu_multiply,
    .add = add,
    .scale = scale,
    .soft_cap = soft_cap,
    .store_key = store_key,
    .store_value = store_value,
    .attention_scores = attention_scores,
    .attention_weights = attention_weights,
    .attention_values = attention_values,
    .top_k = top_k,
    .exponentials = exponentials,
};
