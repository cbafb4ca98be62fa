// Matrix products and the rounding of their inputs, in terms of the lanes of simd_kernels.h.

// Hardware prefetching stops at every page of 4 KiB; weights are asked for well before that: into
// the second cache while memory has time to answer, into the first before they are read.
#define PREFETCH_NEAR 6144
#define PREFETCH_FAR 49152

/// How far ahead of what is read to ask.
typedef struct distances {
  size_t far, near;
} distances;

/// Those for weights that are read one after the other.
static const distances straight_ahead = {PREFETCH_FAR, PREFETCH_NEAR};

/// Those where `together` panels of `bytes` are read side by side, of each `at` bytes so far: after
/// the end of one comes the panel that is next in its place.
INLINE distances distances_at(size_t at, size_t bytes, const size_t together) {
  const size_t skipped = (together - 1) * bytes;
  distances d = straight_ahead;
  if (at + d.far >= bytes) d.far += skipped;
  if (at + d.near >= bytes) d.near += skipped;
  return d;
}

/// Asks for the weights that will be read long after those at `weights`, and soon after.
INLINE void ask_ahead(const uint8_t *weights, distances d) {
  __builtin_prefetch(weights + d.far, 0, 2);
  __builtin_prefetch(weights + d.near, 0, 3);
}

/// Weights of eight bits go through sums_dot_signed.
INLINE bool is_signed(ck_format format) {
  return format == ck_format_q8_0 || format == ck_format_iq4_nl;
}

/// Each 16 weights have a small scale of their own that their integer products are multiplied by.
INLINE bool has_half_scales(ck_format format) {
  return format == ck_format_q3_k || format == ck_format_q6_k;
}

/// A block of 32 weights of 16 rows as bytes, one group of four k in each of `w`.
INLINE void load_block(ck_format format, const uint8_t *lines, words w[8]) {
  if (format == ck_format_q8_0) {
    UNROLL for (int i = 0; i < 8; i++) w[i] = words_signed(words_load(lines + 64 * i));
    return;
  }
  if (format == ck_format_q2_k || format == ck_format_q3_k) {
    words pairs[2] = {words_load(lines), words_load(lines + 64)};
    UNROLL for (int i = 0; i < 8; i++) w[i] = words_field(pairs[i / 4], 2 * (i % 4), 3);
  } else {
    UNROLL for (int i = 0; i < 4; i++) {
      words pairs = words_load(lines + 64 * i);
      w[i] = words_field(pairs, 0, 15);
      w[i + 4] = words_field(pairs, 4, 15);
    }
  }
  if (format == ck_format_iq4_nl) {
    UNROLL for (int i = 0; i < 8; i++) w[i] = words_nonlinear(w[i]);
  } else if (format == ck_format_q6_k) {
    words tops[2] = {words_load(lines + 256), words_load(lines + 320)};
    UNROLL for (int i = 0; i < 8; i++)
      w[i] = words_or(w[i], words_field(tops[i / 4], 2 * (i % 4) - 4, 48));
  } else if (format == ck_format_q3_k) {
    words bits = words_load(lines + 128);
    UNROLL for (int i = 0; i < 8; i++) w[i] = words_or(w[i], words_field(bits, i - 2, 4));
  } else if (ck_quant_bytes(format) > 256) {
    words bits = words_load(lines + 256);
    UNROLL for (int i = 0; i < 8; i++) w[i] = words_or(w[i], words_field(bits, i - 4, 16));
  }
}

/// The sums of a tile that the products of a format start from, or take besides.
INLINE ck_sum_kind first_sums(ck_format format) {
  return has_half_scales(format)    ? ck_sum_first_minus_32
         : format == ck_format_q2_k ? ck_sum_halves
         : format == ck_format_q4_0 ? ck_sum_minus_8
         : format == ck_format_q5_0 ? ck_sum_minus_16
                                    : ck_sum_minus_128;
}

/// The columns of a block.
typedef struct block_columns {
  const int8_t *q;
  const float *d, *s;
  const int32_t *first;   ///< See first_sums.
  const int32_t *second;  ///< Q3_K, Q6_K: ck_sum_second_minus_32.
} block_columns;

/// Where the integer products of a block start with column `j`.
INLINE sums dot_start(ck_format format, const int32_t *columns, size_t j) {
  return is_signed(format) ? sums_start_signed(columns + j)
         : format == ck_format_q4_0 || format == ck_format_q5_0 ? sums_set1(columns[j])
                                                                : sums_zero();
}

/// Adds the products of groups begin ..< end with `count` columns. The columns take turns: a chain
/// of dot products waits for its last one, and the processor does not look far enough ahead for the
/// next chain. Compilers put the chains one after the other unless each turn is kept.
INLINE void dot_groups(ck_format format, sums *dots, const words w[8], const int8_t *q,
                       const size_t count, int begin, int end) {
  UNROLL for (int i = begin; i < end; i++) {
    UNROLL for (size_t c = 0; c < count; c++) {
      const int8_t *x = q + 32 * c + 4 * i;
      dots[c] = is_signed(format) ? sums_dot_signed(dots[c], w[i], x)
                                  : sums_dot_small(dots[c], w[i], x);
    }
    UNROLL for (size_t c = 0; c < count; c++) sums_keep(&dots[c]);
  }
}

/// Scales of a block, for each row.
typedef struct block_scales {
  lanes scale, minimum;  ///< Of the 32 weights; Q2_K, Q3_K, Q6_K: of the 256.
  lanes halves[2];       ///< Q3_K, Q6_K: small scale of each 16 weights.
  sums minima[2];        ///< Q2_K: small minimum of each 16 weights.
} block_scales;

/// The scales of a block from those of its 256 weights and its small ones at `side`. Those of Q2_K
/// go into the weights, which stay below 46.
INLINE block_scales load_scales(ck_format format, lanes scale, lanes minimum, const uint8_t *side,
                                words w[8]) {
  block_scales r = {.scale = scale, .minimum = minimum};
  if (format == ck_format_q2_k) {
    sums pairs[2] = {sums_load_u8(side), sums_load_u8(side + 16)};
    UNROLL for (int i = 0; i < 8; i++) w[i] = words_scaled(w[i], sums_low4(pairs[i / 4]));
    r.minima[0] = sums_high4(pairs[0]);
    r.minima[1] = sums_high4(pairs[1]);
  } else if (has_half_scales(format)) {
    r.halves[0] = sums_to_lanes(sums_load_s8(side));
    r.halves[1] = sums_to_lanes(sums_load_s8(side + 16));
  } else if (ck_has_parts(format)) {
    r.scale = lanes_mul(scale, sums_to_lanes(sums_load_u8(side)));
    r.minimum = lanes_mul(minimum, sums_to_lanes(sums_load_u8(side + 16)));
  }
  return r;
}

/// Adds the products of a block with columns j ..< j + count of `n` to theirs in `acc`.
INLINE void add_block(ck_format format, lanes *acc, const words w[8], const block_scales *r,
                      const block_columns *at, size_t j, const size_t count, const size_t n) {
  const int8_t *q = at->q + 32 * j;
  // Few columns leave too little independent work: two chains of dot products halve the wait.
  const bool halves = has_half_scales(format), split = halves || n <= SPLIT_MAX;
  sums first[COLUMN_GROUP], second[COLUMN_GROUP];
  UNROLL for (size_t c = 0; c < count; c++) {
    if (halves) {
      // Q3_K's offset is 4, an eighth of 32.
      const int shift = format == ck_format_q3_k ? 3 : 0;
      first[c] = sums_set1(at->first[j + c] >> shift);
      second[c] = sums_set1(at->second[j + c] >> shift);
    } else {
      first[c] = dot_start(format, at->first, j + c);
      second[c] = sums_zero();
    }
  }
  dot_groups(format, first, w, q, count, 0, split ? 4 : 8);
  if (split) dot_groups(format, second, w, q, count, 4, 8);
  UNROLL for (size_t c = 0; c < count; c++) {
    lanes dot;
    if (halves) {
      // Each half times its small scale: integers below 2^24, so that the floats are exact.
      dot = lanes_mul(sums_to_lanes(first[c]), r->halves[0]);
      dot = lanes_fma(sums_to_lanes(second[c]), r->halves[1], dot);
    } else {
      dot = sums_to_lanes(split ? sums_add(first[c], second[c]) : first[c]);
    }
    lanes d = lanes_set1(at->d[j + c]);
    lanes_accumulate(&acc[j + c], dot, lanes_mul(r->scale, d));
    if (format == ck_format_q2_k) {
      sums halves_dot = sums_pair_dot(r->minima[0], r->minima[1], at->first[j + c]);
      lanes subtracted = sums_to_lanes(halves_dot);
      lanes_accumulate(&acc[j + c], subtracted, lanes_mul(r->minimum, d));
    } else if (ck_has_minimum(format)) {
      lanes_accumulate_each(&acc[j + c], r->minimum, at->s + j + c);
    }
  }
}

INLINE void store_rows(float *out, lanes x, size_t row_count) {
  if (row_count >= 16) {
    lanes_store(out, x);
  } else {
    lanes_store_part(out, x, row_count);
  }
}

/// One panel of a quantised matrix times `n` columns, `n` known when compiled. Bytes moved: the
/// panel once; operations: 8 dot instructions per block and column. The order of float operations
/// is written down in scalar.c.
INLINE void panel_quantized(ck_format format, float *out, size_t out_stride,
                            const uint8_t *quants, size_t blocks, size_t row_count,
                            const ck_tile *tile, const size_t n) {
  const size_t quant_bytes = ck_quant_bytes(format), together = ck_blocks_per_scale(format);
  const uint8_t *side = quants + blocks * quant_bytes;
  const uint16_t *scales = (const uint16_t *)(side + blocks * ck_side_bytes(format));
  const uint16_t *minima = scales + blocks / together * 16;
  block_columns at = {.q = tile->q,
                      .d = tile->d,
                      .s = tile->s,
                      .first = ck_tile_sums(tile, first_sums(format)),
                      .second = ck_tile_sums(tile, ck_sum_second_minus_32)};
  const size_t group_count = (n + COLUMN_GROUP - 1) / COLUMN_GROUP;
  const size_t group = (n + group_count - 1) / group_count;
  lanes acc[TILE_MAX], scale = lanes_zero(), minimum = lanes_zero();
  UNROLL for (size_t j = 0; j < n; j++) acc[j] = lanes_zero();
  // In the order of the addresses, scales included, whatever order they are read in.
  const uint8_t *passed = quants;
  const size_t step =
      quant_bytes + ck_side_bytes(format) + (ck_has_minimum(format) ? 64 : 32) / together;
  for (size_t block = 0; block < blocks; block++) {
    UNROLL for (size_t line = 0; line < step; line += 64) ask_ahead(passed + line, straight_ahead);
    passed += step;
    if (block % together == 0) {
      scale = lanes_load_half(scales);
      scales += 16;
      if (ck_has_minimum(format)) {
        minimum = lanes_load_half(minima);
        // Of blocks of 256, the minimum is subtracted.
        if (ck_has_parts(format)) minimum = lanes_sub(lanes_set1(-0.0f), minimum);
        minima += 16;
      }
    }
    words w[8];
    load_block(format, quants, w);
    block_scales r = load_scales(format, scale, minimum, side, w);
    UNROLL for (size_t j = 0; j < n; j += group)
      add_block(format, acc, w, &r, &at, j, n - j < group ? n - j : group, n);
    quants += quant_bytes;
    side += ck_side_bytes(format);
    at.q += 32 * n;
    at.d += n;
    at.s += n;
    at.first += n;
    at.second += n;
  }
  UNROLL for (size_t j = 0; j < n; j++) store_rows(out + j * out_stride, acc[j], row_count);
}

INLINE lanes load_weights(ck_format format, const uint8_t *base, size_t k) {
  return format == ck_format_f32 ? lanes_load((const float *)base + 16 * k)
                                 : lanes_load_half((const uint16_t *)base + 16 * k);
}

/// Elements of a row of floats after which the distances are looked at again: few enough for the
/// first cache.
#define FLOAT_RUN 128

/// `p` panels of a float matrix times `n` columns: two at once keep enough independent additions in
/// flight when there are few columns, and share the loads of theirs when there are more.
INLINE void panels_float(ck_format format, float *out, size_t out_stride, const uint8_t *base,
                         size_t panel_bytes, size_t cols, size_t row_count, const ck_tile *tile,
                         const size_t n, const size_t p) {
  const size_t width = format == ck_format_f32 ? 4 : 2;
  const float *x = tile->f;
  lanes acc[TILE_MAX];
  UNROLL for (size_t j = 0; j < n * p; j++) acc[j] = lanes_zero();
  for (size_t begin = 0; begin < cols; begin += FLOAT_RUN) {
    const size_t end = cols - begin < FLOAT_RUN ? cols : begin + FLOAT_RUN;
    const distances d = distances_at(begin * (16 * width), panel_bytes, p);
    for (size_t k = begin; k < end; k++, x += n) {
      UNROLL for (size_t i = 0; i < p; i++) {
        ask_ahead(base + i * panel_bytes + k * (16 * width), d);
        lanes w = load_weights(format, base + i * panel_bytes, k);
        UNROLL for (size_t j = 0; j < n; j++)
          acc[i * n + j] = lanes_fma(w, lanes_set1(x[j]), acc[i * n + j]);
      }
    }
  }
  UNROLL for (size_t i = 0; i < p; i++) {
    size_t rows = row_count - 16 * i;
    UNROLL for (size_t j = 0; j < n; j++)
      store_rows(out + j * out_stride + 16 * i, acc[i * n + j], rows);
  }
}

/// Two panels of 16-bit floats times `n` columns, more than half of TILE_MAX: one half of them after
/// the other, for as many elements as stay in the first cache. That many columns of one panel
/// would need a load for each multiplication.
INLINE void pair_halves(ck_format format, float *out, size_t out_stride, const uint8_t *base,
                        size_t panel_bytes, size_t cols, size_t row_count, const ck_tile *tile,
                        const size_t n) {
  const size_t halves[2] = {(n + 1) / 2, n / 2};
  lanes sums[2][TILE_MAX];
  UNROLL for (size_t j = 0; j < n; j++) sums[0][j] = sums[1][j] = lanes_zero();
  for (size_t begin = 0; begin < cols; begin += FLOAT_RUN) {
    size_t end = cols - begin < FLOAT_RUN ? cols : begin + FLOAT_RUN;
    const distances d = distances_at(32 * begin, panel_bytes, 2);
    UNROLL for (size_t h = 0; h < 2; h++) {
      const size_t first = h ? halves[0] : 0, c = halves[h];
      const float *x = tile->f + begin * n + first;
      const uint8_t *panel = base + h * panel_bytes;
      lanes acc[TILE_MAX];
      UNROLL for (size_t j = 0; j < 2 * c; j++) acc[j] = sums[j / c][first + j % c];
      // Unrolled, the sums would not stay in registers.
      _Pragma("clang loop unroll(disable)") for (size_t k = begin; k < end; k++, x += n) {
        ask_ahead(panel + 32 * k, d);
        UNROLL for (size_t i = 0; i < 2; i++) {
          lanes w = load_weights(format, base + i * panel_bytes, k);
          UNROLL for (size_t j = 0; j < c; j++)
            acc[i * c + j] = lanes_fma(w, lanes_set1(x[j]), acc[i * c + j]);
        }
      }
      UNROLL for (size_t j = 0; j < 2 * c; j++) sums[j / c][first + j % c] = acc[j];
    }
  }
  UNROLL for (size_t i = 0; i < 2; i++) {
    size_t rows = row_count - 16 * i;
    UNROLL for (size_t j = 0; j < n; j++)
      store_rows(out + j * out_stride + 16 * i, sums[i][j], rows);
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
  const size_t together = 2 * n <= TILE_MAX ? 2 : 1;
  if (format != ck_format_f32 && n >= PAIR_MIN) {
    for (; panel + 2 <= panel_end; panel += 2) {
      pair_halves(format, out + panel * 16, out_stride, panels + panel * bytes, bytes, cols,
                  row_count - panel * 16, tile, n);
    }
  }
  for (; panel + together <= panel_end; panel += together) {
    panels_float(format, out + panel * 16, out_stride, panels + panel * bytes, bytes, cols,
                 row_count - panel * 16, tile, n, together);
  }
  for (; panel < panel_end; panel++) {
    panels_float(format, out + panel * 16, out_stride, panels + panel * bytes, bytes, cols,
                 row_count - panel * 16, tile, n, 1);
  }
}

#define PAIRS(name) name##_pairs
#define DOT_PAIRS lanes_dot_pairs
#include "pairs_matmul.h"
#undef PAIRS
#undef DOT_PAIRS

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
#define PRODUCT(name, kind, format)                                                            \
  static void name(float *out, size_t out_stride, const uint8_t *panels, size_t panel_begin,   \
                   size_t panel_end, size_t row_count, size_t cols, const ck_tile *tile) {     \
    switch (tile->count) { CASES(kind, format) }                                               \
  }
#define MATMUL(suffix, kind) PRODUCT(matmul_##suffix, kind, ck_format_##suffix)
CK_EACH_FORMAT(MATMUL)

/// Not inlined, so that no product is computed before subnormals are left out.
__attribute__((noinline)) PRODUCT(multiply_pairs, pairs, ck_format_bf16)

static void matmul_bf16(float *out, size_t out_stride, const uint8_t *panels, size_t panel_begin,
                        size_t panel_end, size_t row_count, size_t cols, const ck_tile *tile) {
  const float_mode before = flush_subnormals();
  multiply_pairs(out, out_stride, panels, panel_begin, panel_end, row_count, cols, tile);
  restore_subnormals(before);
}

#ifndef HAS_QUANTIZE
static void quantize(const float *x, size_t stride, size_t block_begin, size_t block_end,
                     const ck_tile *tile) {
  for (size_t block = block_begin; block < block_end; block++) {
    for (size_t column = 0; column < tile->count; column++) {
      const float *from = x + column * stride + block * 32;
      size_t at = block * tile->count + column;
      lanes low = lanes_load(from), high = lanes_load(from + 16);
      float largest = lanes_largest(lanes_max(lanes_abs(low), lanes_abs(high)));
      bool finite = lanes_are_finite(low, high), tiny = largest < CK_QUANTIZE_TINY;
      int32_t sums[2] = {0, 0};
      if (!finite || tiny) {
        memset(tile->q + at * 32, 0, 32);
      } else {
        lanes inverse = lanes_set1(127.0f / largest);
        quantize_block(tile->q + at * 32, lanes_mul(low, inverse), lanes_mul(high, inverse), sums);
      }
      float d = !finite ? NAN : tiny ? 0.0f : largest / 127.0f;
      tile->d[at] = d;
      ck_store_sums(tile, at, sums[0], sums[1]);
      tile->s[at] = d * (float)(sums[0] + sums[1]);
    }
  }
}
#endif

#ifndef HAS_INTERLEAVE
static void interleave(const float *x, size_t stride, size_t begin, size_t end,
                       const ck_tile *tile) {
  ck_interleave(x, stride, begin, end, tile);
}
#endif
