// Arithmetic of the engine: C11, libc only, no threads, no allocation, no state.
//
// The rules that make every result the same on every instruction set and in every batch:
//  - 16 output rows (or 16 positions of a reduction) sit in 16 lanes; k runs strictly in order;
//  - integer dot products are exact; floats are combined by fused multiply-adds written out here;
//  - a sum over lanes is the fixed tree 16 -> 8 -> 4 -> 2 -> 1 (lane i plus lane i + half).
// The plain loops of scalar.c define each result; every other table must equal them bit for bit.
// A NaN in an input gives NaN in every output that depends on it; which NaN is not defined. So does
// an infinity among activations that are quantised; elsewhere it gives what IEEE arithmetic gives.
#ifndef CKERNELS_H
#define CKERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

enum { ck_lane_count = 16, ck_block_length = 32 };

/// Storage of a weight matrix, before and after repacking.
typedef enum ck_format {
  ck_format_f32 = 0,
  ck_format_f16 = 1,
  ck_format_bf16 = 2,
  ck_format_q8_0 = 3,
  ck_format_q4_0 = 4,
  ck_format_q4_1 = 5,
  ck_format_q5_0 = 6,
  ck_format_q5_1 = 7,
  ck_format_q2_k = 8,
  ck_format_q3_k = 9,
  ck_format_q4_k = 10,
  ck_format_q5_k = 11,
  ck_format_q6_k = 12,
  ck_format_iq4_nl = 13,
} ck_format;

enum { ck_format_count = 14 };

/// What a tile keeps of the sums of a block's q: where the integer products of weights stored with
/// an offset start, and the sums of the two halves.
typedef enum ck_sum_kind {
  ck_sum_minus_8 = 0,          ///< -8 * (sum of the 32 q).
  ck_sum_minus_16 = 1,         ///< -16 * (sum of the 32 q).
  ck_sum_minus_128 = 2,        ///< -128 * (sum of the 32 q).
  ck_sum_first_minus_32 = 3,   ///< -32 * (sum of the first 16 q).
  ck_sum_second_minus_32 = 4,  ///< -32 * (sum of the last 16 q).
  ck_sum_halves = 5,           ///< Two int16: sum of the first 16 q (low half), of the last 16.
} ck_sum_kind;

enum { ck_sum_kind_count = 6 };

/// Up to `tile_columns_max` activation vectors ("columns"), interleaved for one kernel call.
///
/// Quantised formats read q, d, s and sums; BF16 reads pairs; F32 and F16 read f.
typedef struct ck_tile {
  int8_t *q;      ///< [cols / 32][count][32], each in -127...127.
  float *d;       ///< [cols / 32][count]: activation = d * q.
  float *s;       ///< [cols / 32][count]: d * (sum of the block's q).
  int32_t *sums;  ///< [ck_sum_kind_count][cols / 32][count]: see ck_sum_kind.
  float *f;       ///< [cols][count].
  /// [(cols + 1) / 2][count]: two elements rounded to bfloat16, the first in the low half; see
  /// ck_bfloat_pair. Past an odd last one stands zero.
  uint32_t *pairs;
  size_t count;
  size_t blocks;  ///< cols / 32.
} ck_tile;

/// Storage of cached keys and values.
typedef enum ck_cache_type {
  ck_cache_f32 = 0,
  ck_cache_f16 = 1,
  ck_cache_q8_0 = 2,  ///< int8 with one half-precision scale for each 32 elements of a head.
  ck_cache_i16 = 3,   ///< int16, multiples of one step for each position and head.
} ck_cache_type;

enum { ck_cache_type_count = 4, ck_head_length_max = 256 };

/// One query head of one node, and the logical positions it sees: first ..< end.
typedef struct ck_attention_query {
  size_t query;  ///< Where its head_length floats start in ck_attention.query.
  size_t out;    ///< Where its head_length floats start in ck_attention.out.
  size_t first;
  size_t end;  ///< At least first + 1.
} ck_attention_query;

/// Attention of several query heads, of any nodes, over one key/value head.
///
/// scores[q * score_stride + position - origin] belongs to query q; `origin` is a multiple of 16
/// and not above any `first`; score_stride is a multiple of 16 and reaches past every `end`.
typedef struct ck_attention {
  const float *query;
  float *out;
  const ck_attention_query *queries;
  float *scores;
  float *inverses;  ///< One for each query; attention_weights writes them.
  size_t score_stride;
  size_t origin;
  size_t head_length;  ///< 1 ... ck_head_length_max.
  ck_cache_type key_type;
  ck_cache_type value_type;
  float scale;
  float soft_cap;  ///< Scores become cap * tanh(score / cap); 0: they stay.
} ck_attention;

/// Consecutive blocks of 16 logical positions; the first is position 16 * first_block.
///
/// The keys of block i start at keys + indices[i] * ck_cache_key_bytes, the values likewise.
/// Keys of a block: [head_length][16]; q8_0: the quants, then the scales as halves
/// [head_length / 32, rounded up][16].
/// Values of a block: [16][head_length rounded up to 16]; q8_0: the quants, then the scales as
/// halves [head_length / 32, rounded up][16].
/// i16: keys [head_length / 2, rounded up][16][2], values [8][head_length rounded up to 16][2], two
/// positions side by side; the steps of both follow as floats, [16].
typedef struct ck_cache_blocks {
  const uint8_t *keys;
  const uint8_t *values;
  const uint32_t *indices;
  size_t first_block;
  size_t count;
} ck_cache_blocks;

/// out[column * out_stride + row] = w[row, :] . tile[:, column] for the rows of panels
/// panel_begin ..< panel_end (16 rows each; rows >= row_count are not written).
/// `panels` is the base of the repacked matrix; cols is a multiple of the format's block length.
typedef void (*ck_matmul_function)(float *out, size_t out_stride, const uint8_t *panels,
                                   size_t panel_begin, size_t panel_end, size_t row_count,
                                   size_t cols, const ck_tile *tile);

/// One instruction set's implementation. All tables compute the same bits.
typedef struct ck_kernels {
  const char *name;
  /// Most columns one tile may hold.
  size_t tile_columns_max;

  /// Writes the blocks of 32 block_begin ..< block_end of all columns of a tile in quantised form;
  /// column j is the activation vector at x + j * stride. A block that holds a NaN or an infinity
  /// gets d = s = NaN and q = 0.
  void (*quantize)(const float *x, size_t stride, size_t block_begin, size_t block_end,
                   const ck_tile *tile);

  /// Writes elements begin ..< end of all columns of a tile as plain floats; column j is the
  /// activation vector at x + j * stride.
  void (*interleave)(const float *x, size_t stride, size_t begin, size_t end, const ck_tile *tile);

  /// Writes elements begin ..< end of all columns of a tile as pairs; begin is even, end even or
  /// cols.
  void (*interleave_pairs)(const float *x, size_t stride, size_t begin, size_t end,
                           const ck_tile *tile);

  /// One product per format.
  ck_matmul_function _Nonnull matmul[ck_format_count];

  /// out[i] = x[i] / rms(x) * weight[i]; out may be x.
  void (*rms_norm)(float *out, const float *x, const float *weight, size_t count, float epsilon);

  /// Rotates adjacent pairs of each of `head_count` heads: x[head_count][head_length].
  /// cosines and sines: [pair_count], pair_count <= head_length / 2; the rest stays.
  void (*rope_adjacent)(float *x, size_t head_count, size_t head_length, const float *cosines,
                        const float *sines, size_t pair_count);

  /// Rotates the pairs (i, i + pair_count) of each of `head_count` heads:
  /// x[head_count][head_length]. cosines and sines: [pair_count], pair_count <= head_length / 2;
  /// the rest stays.
  void (*rope_halves)(float *x, size_t head_count, size_t head_length, const float *cosines,
                      const float *sines, size_t pair_count);

  /// out[i] = gate[i] * sigmoid(gate[i]) * up[i]; out may be gate or up.
  void (*silu_multiply)(float *out, const float *gate, const float *up, size_t count);

  /// out[i] = gelu(gate[i]) * up[i], gelu(x) = x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)));
  /// out may be gate or up.
  void (*gelu_multiply)(float *out, const float *gate, const float *up, size_t count);

  /// x[i] += y[i].
  void (*add)(float *x, const float *y, size_t count);

  /// x[i] *= factor.
  void (*scale)(float *x, float factor, size_t count);

  /// x[i] = cap * tanh(x[i] / cap), off by at most 2^-22 cap; cap > 0.
  void (*soft_cap)(float *x, float cap, size_t count);

  /// Writes one key or value, x[head_length], at `position` (0 ... 15) of a block. Halves are
  /// rounded to nearest even. In q8_0 a group of 32 that holds a NaN, an infinity or a magnitude
  /// above 8 million is NaN when it is read. In i16 the largest element of a position becomes 4095
  /// steps of a key, 8191 of a value; a position that holds a NaN or an infinity is NaN when it is
  /// read, one below 1e-30 is zero.
  void (*store_key)(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                    size_t head_length);
  void (*store_value)(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                      size_t head_length);

  /// Scores of queries query_begin ..< query_end for every position of the blocks: products summed
  /// over the elements in order, times scale, capped. Positions that a query does not see get
  /// scores too; nobody may read them. Keys in i16 are multiplied with the query rounded to steps,
  /// 8191 the largest, and the exact sums of 64 elements added up in order.
  void (*attention_scores)(const ck_attention *job, size_t query_begin, size_t query_end,
                           const ck_cache_blocks *blocks);

  /// Turns the scores of each query's visible positions into weights that sum to one; with values
  /// in i16, that sum to 1 / inverses[query]. What stands beside them in their blocks of 16 is
  /// overwritten.
  void (*attention_weights)(const ck_attention *job, size_t query_begin, size_t query_end);

  /// Adds weight times value to elements part_begin * 16 ..< part_end * 16 of `out` for every
  /// visible position of the blocks, in order; the call that holds a query's first position starts
  /// from zero. part_end is at most head_length / 16 rounded up. With values in i16 weights times
  /// the values' steps are rounded to multiples of one step in each block of 16 positions, the
  /// largest to 16383 of them; exact sums of blocks are added up in order.
  void (*attention_values)(const ck_attention *job, size_t query_begin, size_t query_end,
                           const ck_cache_blocks *blocks, size_t part_begin, size_t part_end);

  /// The `k` largest of values[count], largest first, equal ones by index; NaN counts as
  /// -infinity. Returns how many were written: min(k, count).
  size_t (*top_k)(const float *values, size_t count, size_t k, uint32_t *indices, float *top);

  /// out[i] = e to the power of x[i]: 0 below -87, infinity above 88.7.
  void (*exponentials)(float *out, const float *x, size_t count);
} ck_kernels;

/// Tells the core that it waits in a loop.
static inline void ck_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static inline ck_matmul_function ck_matmul(const ck_kernels *kernels, ck_format format) {
  return kernels->matmul[format];
}

/// The fastest table that this processor runs.
const ck_kernels *ck_kernels_best(void);

/// The table of that name ("scalar", "avx2", "avx512", "avx512bf16", "amx", "neon"), or NULL where
/// this processor or this build lacks it.
const ck_kernels *_Nullable ck_kernels_named(const char *name);

/// The tables this processor runs, slowest first; NULL past the last.
const ck_kernels *_Nullable ck_kernels_at(size_t index);

/// Weights of one block of the model file: 1, 32 or 256.
size_t ck_block_weights(ck_format format);

/// Number of the layout that ck_repack_panel writes, the same for all instruction sets. Panels are
/// kept in files: whoever changes a byte of any format's panels, or a number of ck_format, takes the
/// next number.
enum { ck_panel_layout_version = 2 };

/// Bytes of one repacked panel (16 rows); 0 when cols is not a multiple of the block length.
size_t ck_panel_bytes(ck_format format, size_t cols);

/// Bytes of one row in the model file; 0 when cols is not a multiple of the block length.
size_t ck_row_bytes(ck_format format, size_t cols);

/// Rewrites `row_count` (at most 16) consecutive file rows as one panel; missing rows become zero.
void ck_repack_panel(ck_format format, uint8_t *panel, const uint8_t *rows, size_t row_count,
                     size_t cols);

/// A number that changes with the bytes, for finding damage, not forgery: every change within one
/// group of 8 bytes changes it. `count` is a multiple of 64. About as fast as memory is read.
uint64_t ck_checksum(const uint8_t *bytes, size_t count);

/// out[cols] = one file row as floats.
void ck_dequantize_row(ck_format format, float *out, const uint8_t *row, size_t cols);

/// One row of floats as a file row: rounded to nearest, in q4_k and q6_k to scales searched for the
/// least squared error. NaN and infinities stay what they are in the float formats and become 0 in
/// the quantised ones. The same bytes on every machine.
void ck_quantize_row(ck_format format, uint8_t *row, const float *x, size_t cols);

/// Bytes that the keys or values of one block of 16 positions take, a multiple of 64.
size_t ck_cache_key_bytes(ck_cache_type type, size_t head_length);
size_t ck_cache_value_bytes(ck_cache_type type, size_t head_length);

/// Copies one position, bit for bit, from one block to another of the same type.
void ck_cache_copy_key(ck_cache_type type, uint8_t *to, size_t to_position, const uint8_t *from,
                       size_t from_position, size_t head_length);
void ck_cache_copy_value(ck_cache_type type, uint8_t *to, size_t to_position,
                         const uint8_t *from, size_t from_position, size_t head_length);

/// out[head_length] = one position of a block as floats, exactly what attention multiplies with.
void ck_cache_load_key(ck_cache_type type, float *out, const uint8_t *block, size_t position,
                       size_t head_length);
void ck_cache_load_value(ck_cache_type type, float *out, const uint8_t *block, size_t position,
                         size_t head_length);

/// Natural logarithm of a positive, finite and normal number, the same on every machine.
double ck_log(double x);

/// Radians per position of each pair: base^(-2 i / dimension_count) for i < dimension_count / 2;
/// base > 1. The same on every machine.
void ck_rope_frequencies(double *frequencies, size_t dimension_count, double base);

/// Cosines and sines of position * frequencies[i] for i < pair_count, times magnitude. The same on
/// every machine.
void ck_rope_row(float *cosines, float *sines, size_t position, const double *frequencies,
                 size_t pair_count, double magnitude);

#pragma clang assume_nonnull end

#endif
