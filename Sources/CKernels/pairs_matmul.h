// Products of BF16 matrices: two weights of a row and two activations at a time. Included once for
// every way to add them:
//   PAIRS(name)                  names of the functions
//   DOT_PAIRS(lanes, words, x)   adds to each lane the product of the second halves of its word and
//                                of *x (two bfloat16), then that of the first; rounded each time,
//                                without subnormals

/// `p` panels times `n` columns; see panels_float.
INLINE void PAIRS(panels)(float *out, size_t out_stride, const uint8_t *base, size_t panel_bytes,
                          size_t cols, size_t row_count, const ck_tile *tile, const size_t n,
                          const size_t p) {
  const uint32_t *x = tile->pairs;
  lanes acc[TILE_MAX];
  UNROLL for (size_t j = 0; j < n * p; j++) acc[j] = lanes_zero();
  for (size_t begin = 0; begin < cols; begin += FLOAT_RUN) {
    const size_t end = cols - begin < FLOAT_RUN ? cols : begin + FLOAT_RUN;
    const distances d = distances_at(32 * begin, panel_bytes, p);
    for (size_t k = begin; k < end; k += 2, x += n) {
      UNROLL for (size_t i = 0; i < p; i++) {
        const uint8_t *weights = base + i * panel_bytes + 32 * k;
        ask_ahead(weights, d);
        words w = words_load(weights);
        UNROLL for (size_t j = 0; j < n; j++)
          acc[i * n + j] = DOT_PAIRS(acc[i * n + j], w, x + j);
      }
    }
  }
  UNROLL for (size_t i = 0; i < p; i++) {
    UNROLL for (size_t j = 0; j < n; j++)
      store_rows(out + j * out_stride + 16 * i, acc[i * n + j], row_count - 16 * i);
  }
}

INLINE void PAIRS(run)(ck_format format, float *out, size_t out_stride, const uint8_t *panels,
                       size_t panel_begin, size_t panel_end, size_t row_count, size_t cols,
                       const ck_tile *tile, const size_t n) {
  size_t bytes = ck_panel_bytes(format, cols), panel = panel_begin;
  for (; 2 * n <= TILE_MAX && panel + 2 <= panel_end; panel += 2) {
    PAIRS(panels)(out + panel * 16, out_stride, panels + panel * bytes, bytes, cols,
                  row_count - panel * 16, tile, n, 2);
  }
  for (; panel < panel_end; panel++) {
    PAIRS(panels)(out + panel * 16, out_stride, panels + panel * bytes, bytes, cols,
                  row_count - panel * 16, tile, n, 1);
  }
}
