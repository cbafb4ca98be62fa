// Products of Q8_0 with the tile registers of AMX, for a table of sixteen lanes in one register.
// Integer sums are exact: the bits are those of the dot instructions. Weights of fewer bits would
// have to be widened in memory first, which costs what the registers gain.

/// Shapes of the tile registers, as the processor reads them.
typedef struct tile_shapes {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
} tile_shapes;

// Registers 0 and 1: sums, a row for each column. 2 and 3: columns, 32 bytes of each. 4 and 5: a
// block of weights as it lies in its panel, eight groups of four k.
static void shape_tiles(size_t n) {
  tile_shapes shapes = {.palette = 1};
  for (int i = 0; i < 6; i++) {
    shapes.row_bytes[i] = i == 2 || i == 3 ? 32 : 64;
    shapes.rows[i] = i < 4 ? (uint8_t)n : 8;
  }
  _tile_loadconfig(&shapes);
}

/// The integer products of the block at `weights` with all columns, [n][16].
#define TILE_DOTS(sums, columns, block, dots, weights, q) \
  do {                                                    \
    _tile_zero(sums);                                     \
    _tile_loadd(block, weights, 64);                      \
    _tile_loadd(columns, q, 32);                          \
    _tile_dpbssd(sums, columns, block);                   \
    _tile_stored(sums, dots, 64);                         \
  } while (0)

/// One panel times `n` columns, in the order of panel_quantized. The registers work on the next two
/// blocks while the sums of these two are scaled.
INLINE void panel_tiles(float *out, size_t out_stride, const uint8_t *quants, size_t blocks,
                        size_t row_count, const ck_tile *tile, const size_t n) {
  enum { quant_bytes = 512, step = quant_bytes + 32 };
  int32_t dots[4][16 * TILE_MAX] __attribute__((aligned(64)));
  const uint16_t *scales = (const uint16_t *)(quants + blocks * quant_bytes);
  const uint8_t *passed = quants;
  const int8_t *q = tile->q;
  const float *d = tile->d;
  lanes acc[TILE_MAX];
  UNROLL for (size_t j = 0; j < n; j++) acc[j] = lanes_zero();
  TILE_DOTS(0, 2, 4, dots[0], quants, q);
  if (blocks > 1) TILE_DOTS(1, 3, 5, dots[1], quants + quant_bytes, q + 32 * n);
  for (size_t block = 0; block < blocks; block += 2) {
    const size_t next = block + 2;
    UNROLL for (size_t line = 0; line < 2 * step; line += 64)
      ask_ahead(passed + line, straight_ahead);
    passed += 2 * step;
    if (next < blocks)
      TILE_DOTS(0, 2, 4, dots[next % 4], quants + quant_bytes * next, q + 32 * n * next);
    if (next + 1 < blocks)
      TILE_DOTS(1, 3, 5, dots[next % 4 + 1], quants + quant_bytes * (next + 1),
                q + 32 * n * (next + 1));
    for (size_t i = block; i < next && i < blocks; i++, scales += 16, d += n) {
      const int32_t *from = dots[i % 4];
      lanes scale = lanes_load_half(scales);
      UNROLL for (size_t j = 0; j < n; j++) {
        lanes dot = sums_to_lanes(words_load((const uint8_t *)(from + 16 * j)));
        acc[j] = lanes_fma(dot, lanes_mul(scale, lanes_set1(d[j])), acc[j]);
      }
    }
  }
  UNROLL for (size_t j = 0; j < n; j++) store_rows(out + j * out_stride, acc[j], row_count);
}

#define TILES_CASE(count)                                                                      \
  case count:                                                                                  \
    for (size_t panel = panel_begin; panel < panel_end; panel++)                               \
      panel_tiles(out + panel * 16, out_stride, panels + panel * bytes, cols / 32,             \
                  row_count - panel * 16, tile, count);                                        \
    break;

static void matmul_tiles(float *out, size_t out_stride, const uint8_t *panels,
                         size_t panel_begin, size_t panel_end, size_t row_count, size_t cols,
                         const ck_tile *tile) {
  // Of fewer columns nothing is gained.
  if (tile->count < 5) {
    matmul_q8_0(out, out_stride, panels, panel_begin, panel_end, row_count, cols, tile);
    return;
  }
  const size_t bytes = ck_panel_bytes(ck_format_q8_0, cols);
  shape_tiles(tile->count);
  switch (tile->count) {
    TILES_CASE(5) TILES_CASE(6) TILES_CASE(7) TILES_CASE(8) TILES_CASE(9) TILES_CASE(10)
    TILES_CASE(11) TILES_CASE(12) TILES_CASE(13) TILES_CASE(14) TILES_CASE(15) TILES_CASE(16)
  }
  // Threads whose tile registers are in use take longer to be switched.
  _tile_release();
}
