// Matrix products and the rounding of their inputs, in terms of the lanes of simd_kernels.h.

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
