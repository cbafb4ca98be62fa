// The kernels in terms of sixteen lanes. Each instruction set defines the lane operations below
// and includes this file, so they differ in instructions only.
//
// Wanted from the includer:
//   lanes            sixteen floats: lanes_zero, _set1, _load, _load_part, _store, _store_part,
//                    _load_half, _load_bfloat, _fma(a, b, c) = a * b + c, _add, _sub, _mul, _div,
//                    _max(a, b) (b where either is NaN), _abs, _sum (the fixed tree),
//                    _sum16(lanes[16]) -> lane i = tree sum of vector i,
//                    _exp_select(x, y): y, but NaN -> NaN, x < LOW -> 0, x > HIGH -> infinity,
//                    _shift_exponent(p, shifted): p * 2^(integer in shifted's low bits),
//                    _greater_mask(a, threshold): bit i set where lane i > threshold
//   words            64 bytes of weights: words_load, words_low4, words_high4, words_signed
//   sums             sixteen int32: sums_zero, sums_add, sums_start_signed(total), sums_dot_nibbles,
//                    sums_dot_signed(sums, words, pointer to 4 int8), sums_to_lanes
//   quantize_block   32 floats to 32 int8 with their sum
//   TILE_MAX         4 or 16
//   SPLIT_MAX        up to so many columns take two chains of dot products
#pragma STDC FP_CONTRACT OFF

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("clang loop unroll(full)")

INLINE lanes lanes_exp(lanes x) {
  lanes shifted = lanes_fma(x, lanes_set1(CK_LOG2_E), lanes_set1(CK_ROUND_MAGIC));
  lanes n = lanes_sub(shifted, lanes_set1(CK_ROUND_MAGIC));
  lanes r = lanes_fma(n, lanes_set1(-CK_LN2_HIGH), x);
  r = lanes_fma(n, lanes_set1(-CK_LN2_LOW), r);
  lanes p = lanes_set1(CK_EXP_P0);
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P1));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P2));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P3));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P4));
  p = lanes_fma(p, r, lanes_set1(CK_EXP_P5));
  p = lanes_fma(p, lanes_mul(r, r), lanes_add(r, lanes_set1(1.0f)));
  return lanes_exp_select(x, lanes_shift_exponent(p, shifted));
}

// MARK: matrix products

// Hardware prefetching stops at every page of 4 KiB; weights are asked for well before that.
#define PREFETCH_BYTES 6144

#define DOT(format, acc, w, x) \
  (format == ck_format_q8_0 ? sums_dot_signed(acc, w, x) : sums_dot_nibbles(acc, w, x))

/// One panel of a quantised matrix times `n` columns, `n` known when compiled. Bytes moved: the
/// panel once; operations: 8 dot instructions per block and column.
INLINE void panel_quantized(ck_format format, float *out, size_t out_stride,
                            const uint8_t *quants, size_t blocks, size_t row_count,
                            const ck_tile *tile, const size_t n) {
  const uint16_t *scales = (const uint16_t *)(quants + blocks * ck_quant_bytes(format));
  const uint16_t *minima = scales + blocks * 16;
  const int8_t *q = tile->q;
  const float *d = tile->d, *s = tile->s;
  const int32_t *sum = tile->sum;
  lanes acc[TILE_MAX];
  UNROLL for (size_t j = 0; j < n; j++) acc[j] = lanes_zero();
  for (size_t block = 0; block < blocks; block++) {
    for (size_t line = 0; line < ck_quant_bytes(format); line += 64)
      __builtin_prefetch(quants + PREFETCH_BYTES + line);
    words w[8];
    if (format == ck_format_q8_0) {
      UNROLL for (size_t i = 0; i < 8; i++) w[i] = words_signed(words_load(quants + 64 * i));
      quants += 512;
    } else {
      UNROLL for (size_t i = 0; i < 4; i++) {
        words pairs = words_load(quants + 64 * i);
        w[i] = words_low4(pairs);
        w[i + 4] = words_high4(pairs);
      }
      quants += 256;
    }
    lanes scale = lanes_load_half(scales);
    scales += 16;
    lanes minimum = lanes_zero();
    if (format == ck_format_q4_1) {
      minimum = lanes_load_half(minima);
      minima += 16;
    }
    UNROLL for (size_t j = 0; j < n; j++) {
      sums dot = format == ck_format_q8_0   ? sums_start_signed(sum[j])
                 : format == ck_format_q4_0 ? sums_set1(-8 * sum[j])
                                            : sums_zero();
      // Few columns leave too little independent work: two chains of dot products halve the wait.
      const size_t half = n <= SPLIT_MAX ? 4 : 8;
      UNROLL for (size_t i = 0; i < half; i++) dot = DOT(format, dot, w[i], q + 32 * j + 4 * i);
      if (half < 8) {
        sums other = sums_zero();
        UNROLL for (size_t i = 4; i < 8; i++)
          other = DOT(format, other, w[i], q + 32 * j + 4 * i);
        dot = sums_add(dot, other);
      }
      acc[j] = lanes_fma(sums_to_lanes(dot), lanes_mul(scale, lanes_set1(d[j])), acc[j]);
      if (format == ck_format_q4_1) acc[j] = lanes_fma(minimum, lanes_set1(s[j]), acc[j]);
    }
    q += 32 * n;
    d += n;
    s += n;
    sum += n;
  }
  UNROLL for (size_t j = 0; j < n; j++) {
    if (row_count >= 16) {
      lanes_store(out + j * out_stride, acc[j]);
    } else {
      lanes_store_part(out + j * out_stride, acc[j], row_count);
    }
  }
}

INLINE lanes load_weights(ck_format format, const uint8_t *base, size_t k) {
  if (format == ck_format_f32) return lanes_load((const float *)base + 16 * k);
  if (format == ck_format_f16) return lanes_load_half((const uint16_t *)base + 16 * k);
  return lanes_load_bfloat((const uint16_t *)base + 16 * k);
}

/// `p` panels of a float matrix times `n` columns: several panels at once keep enough independent
/// additions in flight when there are few columns.
INLINE void panels_float(ck_format format, float *out, size_t out_stride, const uint8_t *base,
                         size_t panel_bytes, size_t cols, size_t row_count, const ck_tile *tile,
                         const size_t n, const size_t p) {
  const float *x = tile->f;
  lanes acc[TILE_MAX];
  UNROLL for (size_t j = 0; j < n * p; j++) acc[j] = lanes_zero();
  for (size_t k = 0; k < cols; k++) {
    UNROLL for (size_t i = 0; i < p; i++) {
      lanes w = load_weights(format, base + i * panel_bytes, k);
      UNROLL for (size_t j = 0; j < n; j++)
        acc[i * n + j] = lanes_fma(w, lanes_set1(x[j]), acc[i * n + j]);
    }
    x += n;
  }
  UNROLL for (size_t i = 0; i < p; i++) {
    size_t rows = row_count - 16 * i;
    UNROLL for (size_t j = 0; j < n; j++) {
      if (rows >= 16) {
        lanes_store(out + j * out_stride + 16 * i, acc[i * n + j]);
      } else {
        lanes_store_part(out + j * out_stride + 16 * i, acc[i * n + j], rows);
      }
    }
  }
}

INLINE void run_quantized(ck_format format, float *out, size_t out_stride, const uint8_t *panels,
                          size_t panel_begin, size_t panel_end, size_t row_count, size_t cols,
                          const ck_tile *tile, const size_t n) {
  size_t blocks = cols / 32, bytes = ck_panel_bytes(format, cols);
  for (size_t panel = panel_begin; panel < panel_end; panel++) {
    panel_quantized(format, out + panel * 16, out_stride, panels + panel * bytes, blocks,
                    row_count - panel * 16, tile, n);
  }
}

INLINE void run_float(ck_format format, float *out, size_t out_stride, const uint8_t *panels,
                      size_t panel_begin, size_t panel_end, size_t row_count, size_t cols,
                      const ck_tile *tile, const size_t n) {
  size_t bytes = ck_panel_bytes(format, cols), panel = panel_begin;
  const size_t together = TILE_MAX / n > 4 ? 4 : TILE_MAX / n;
  for (; panel + together <= panel_end; panel += together) {
    panels_float(format, out + panel * 16, out_stride, panels + panel * bytes, bytes, cols,
                 row_count - panel * 16, tile, n, together);
  }
  for (; panel < panel_end; panel++) {
    panels_float(format, out + panel * 16, out_stride, panels + panel * bytes, bytes, cols,
                 row_count - panel * 16, tile, n, 1);
  }
}

#define CASE(kind, format, count)                                                              \
  case count:                                                                                  \
    run_##kind(format, out, out_stride, panels, panel_begin, panel_end, row_count, cols, tile, \
               count);                                                                         \
    break;
#if TILE_MAX == 16
#define CASES(kind, format)                                                                    \
  CASE(kind, format, 1) CASE(kind, format, 2) CASE(kind, format, 3) CASE(kind, format, 4)      \
  CASE(kind, format, 5) CASE(kind, format, 6) CASE(kind, format, 7) CASE(kind, format, 8)      \
  CASE(kind, format, 9) CASE(kind, format, 10) CASE(kind, format, 11) CASE(kind, format, 12)   \
  CASE(kind, format, 13) CASE(kind, format, 14) CASE(kind, format, 15) CASE(kind, format, 16)
#else
#define CASES(kind, format)                                                                    \
  CASE(kind, format, 1) CASE(kind, format, 2) CASE(kind, format, 3) CASE(kind, format, 4)
#endif
#define MATMUL(suffix, kind)                                                                   \
  static void matmul_##suffix(float *out, size_t out_stride, const uint8_t *panels,            \
                              size_t panel_begin, size_t panel_end, size_t row_count,          \
                              size_t cols, const ck_tile *tile) {                              \
    switch (tile->count) { CASES(kind, ck_format_##suffix) }                                   \
  }
MATMUL(f32, float)
MATMUL(f16, float)
MATMUL(bf16, float)
MATMUL(q8_0, quantized)
MATMUL(q4_0, quantized)
MATMUL(q4_1, quantized)

static void quantize(const float *x, size_t cols, const ck_tile *tile, size_t column) {
  for (size_t block = 0; block < cols / 32; block++, x += 32) {
    size_t at = block * tile->count + column;
    lanes low = lanes_load(x), high = lanes_load(x + 16);
    lanes magnitudes = lanes_max(lanes_abs(low), lanes_abs(high));
    float largest = lanes_largest(magnitudes);
    // x - x is zero for finite x and NaN otherwise; a sum of zeros and NaN tells them apart.
    float probe = lanes_sum(lanes_add(lanes_sub(low, low), lanes_sub(high, high)));
    bool finite = probe == 0.0f, tiny = largest < CK_QUANTIZE_TINY;
    int32_t sum = 0;
    if (!finite || tiny) {
      memset(tile->q + at * 32, 0, 32);
    } else {
      lanes inverse = lanes_set1(127.0f / largest);
      sum = quantize_block(tile->q + at * 32, lanes_mul(low, inverse), lanes_mul(high, inverse));
    }
    float d = !finite ? NAN : tiny ? 0.0f : largest / 127.0f;
    tile->d[at] = d;
    tile->sum[at] = sum;
    tile->s[at] = d * (float)sum;
  }
}

// MARK: vectors

static void rms_norm(float *out, const float *x, const float *weight, size_t count,
                     float epsilon) {
  lanes squares = lanes_zero();
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    lanes v = lanes_load(x + i);
    squares = lanes_fma(v, v, squares);
  }
  if (i < count) {
    lanes v = lanes_load_part(x + i, count - i);
    squares = lanes_fma(v, v, squares);
  }
  float scale = 1.0f / sqrtf(lanes_sum(squares) / (float)count + epsilon);
  lanes scales = lanes_set1(scale);
  for (i = 0; i + 16 <= count; i += 16)
    lanes_store(out + i, lanes_mul(lanes_mul(lanes_load(x + i), scales), lanes_load(weight + i)));
  for (; i < count; i++) out[i] = (x[i] * scale) * weight[i];
}

static void rope_adjacent(float *x, size_t head_count, size_t head_length, const float *cosines,
                          const float *sines, size_t pair_count) {
  for (size_t head = 0; head < head_count; head++, x += head_length) {
    for (size_t i = 0; i < pair_count; i++) {
      float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = __builtin_fmaf(a, cosines[i], -(b * sines[i]));
      x[2 * i + 1] = __builtin_fmaf(a, sines[i], b * cosines[i]);
    }
  }
}

INLINE lanes silu_lanes(lanes gate, lanes up) {
  lanes minus = lanes_sub(lanes_zero(), gate);
  lanes one = lanes_set1(1.0f);
  return lanes_mul(lanes_div(gate, lanes_add(one, lanes_exp(minus))), up);
}

static void silu_multiply(float *out, const float *gate, const float *up, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16)
    lanes_store(out + i, silu_lanes(lanes_load(gate + i), lanes_load(up + i)));
  if (i < count) {
    size_t rest = count - i;
    lanes_store_part(out + i, silu_lanes(lanes_load_part(gate + i, rest),
                                         lanes_load_part(up + i, rest)), rest);
  }
}

static void add(float *x, const float *y, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = x[i] + y[i];
}

static void exponentials(float *out, const float *x, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) lanes_store(out + i, lanes_exp(lanes_load(x + i)));
  if (i < count) lanes_store_part(out + i, lanes_exp(lanes_load_part(x + i, count - i)), count - i);
}

// MARK: attention

/// Scores of 16 logical positions for one head, in one vector.
INLINE lanes scores16(const float *query, const float *keys, size_t row_stride,
                      const uint32_t *slots, size_t head_length) {
  lanes products[16];
  for (size_t i = 0; i < 16; i++) {
    const float *key = keys + slots[i] * row_stride;
    lanes acc = lanes_zero();
    size_t c = 0;
    for (; c + 16 <= head_length; c += 16)
      acc = lanes_fma(lanes_load(query + c), lanes_load(key + c), acc);
    if (c < head_length)
      acc = lanes_fma(lanes_load_part(query + c, head_length - c),
                      lanes_load_part(key + c, head_length - c), acc);
    products[i] = acc;
  }
  return lanes_sum16(products);
}

INLINE float score1(const float *query, const float *key, size_t head_length) {
  lanes acc = lanes_zero();
  size_t c = 0;
  for (; c + 16 <= head_length; c += 16)
    acc = lanes_fma(lanes_load(query + c), lanes_load(key + c), acc);
  if (c < head_length)
    acc = lanes_fma(lanes_load_part(query + c, head_length - c),
                    lanes_load_part(key + c, head_length - c), acc);
  return lanes_sum(acc);
}

/// out[16 * parts] of one head: values weighted by scores, positions in order.
INLINE void weigh_values(float *out, const float *scores, const float *values, size_t row_stride,
                         const uint32_t *slots, size_t length, lanes inverse,
                         const size_t parts) {
  lanes acc[8];
  UNROLL for (size_t c = 0; c < parts; c++) acc[c] = lanes_zero();
  for (size_t i = 0; i < length; i++) {
    const float *value = values + slots[i] * row_stride;
    lanes weight = lanes_set1(scores[i]);
    UNROLL for (size_t c = 0; c < parts; c++)
      acc[c] = lanes_fma(weight, lanes_load(value + 16 * c), acc[c]);
  }
  UNROLL for (size_t c = 0; c < parts; c++) lanes_store(out + 16 * c, lanes_mul(acc[c], inverse));
}

static void attention(float *out, const float *query, const float *keys, const float *values,
                      size_t row_stride, const uint32_t *slots, size_t length, size_t group,
                      size_t head_length, float scale, float *scores) {
  size_t padded = (length + 15) / 16 * 16;
  size_t whole = length / 16 * 16;
  lanes scales = lanes_set1(scale);
  for (size_t i = 0; i < whole; i += 16) {
    for (size_t head = 0; head < group; head++) {
      lanes s = scores16(query + head * head_length, keys, row_stride, slots + i, head_length);
      lanes_store(scores + head * padded + i, lanes_mul(s, scales));
    }
  }
  for (size_t i = whole; i < length; i++) {
    for (size_t head = 0; head < group; head++)
      scores[head * padded + i] =
          score1(query + head * head_length, keys + slots[i] * row_stride, head_length) * scale;
  }
  for (size_t head = 0; head < group; head++, out += head_length, scores += padded) {
    // Lanes past the end hold -infinity: they never win and their exponential is zero.
    for (size_t i = length; i < padded; i++) scores[i] = -INFINITY;
    lanes best = lanes_set1(-INFINITY);
    for (size_t i = 0; i < padded; i += 16) best = lanes_max(lanes_load(scores + i), best);
    lanes largest = lanes_set1(lanes_largest(best));
    lanes total = lanes_zero();
    for (size_t i = 0; i < padded; i += 16) {
      lanes e = lanes_exp(lanes_sub(lanes_load(scores + i), largest));
      lanes_store(scores + i, e);
      total = lanes_add(total, e);
    }
    lanes inverse = lanes_set1(1.0f / lanes_sum(total));
    size_t c = 0;
    for (; c + 64 <= head_length; c += 64)
      weigh_values(out + c, scores, values + c, row_stride, slots, length, inverse, 4);
    for (; c + 16 <= head_length; c += 16)
      weigh_values(out + c, scores, values + c, row_stride, slots, length, inverse, 1);
    if (c < head_length) {
      size_t rest = head_length - c;
      lanes acc = lanes_zero();
      for (size_t i = 0; i < length; i++)
        acc = lanes_fma(lanes_set1(scores[i]),
                        lanes_load_part(values + slots[i] * row_stride + c, rest), acc);
      lanes_store_part(out + c, lanes_mul(acc, inverse), rest);
    }
  }
}

static size_t top_k(const float *values, size_t count, size_t k, uint32_t *indices, float *top) {
  size_t filled = 0, i = 0;
  if (k == 0) return 0;
  for (; i < count && filled < k; i++) {
    float value = values[i] == values[i] ? values[i] : -INFINITY;
    filled = ck_top_insert(indices, top, filled, k, (uint32_t)i, value);
  }
  // NaN compares false, so it can never enter here.
  for (; i + 16 <= count; i += 16) {
    uint32_t larger = lanes_greater_mask(lanes_load(values + i), top[k - 1]);
    for (; larger != 0; larger &= larger - 1) {
      size_t at = i + (size_t)__builtin_ctz(larger);
      if (values[at] > top[k - 1])
        ck_top_insert(indices, top, filled, k, (uint32_t)at, values[at]);
    }
  }
  for (; i < count; i++)
    if (values[i] > top[k - 1]) ck_top_insert(indices, top, filled, k, (uint32_t)i, values[i]);
  return filled;
}

#define CK_TABLE(symbol, label)                                                                \
  const ck_kernels symbol = {                                                                  \
      .name = label,                                                                           \
      .tile_columns_max = TILE_MAX,                                                            \
      .quantize = quantize,                                                                    \
      .matmul = {matmul_f32, matmul_f16, matmul_bf16, matmul_q8_0, matmul_q4_0, matmul_q4_1},  \
      .rms_norm = rms_norm,                                                                    \
      .rope_adjacent = rope_adjacent,                                                          \
      .silu_multiply = silu_multiply,                                                          \
      .add = add,                                                                              \
      .attention = attention,                                                                  \
      .top_k = top_k,                                                                          \
      .exponentials = exponentials,                                                            \
  }
