// Tables with planted faults: what proves that the checks can fail.
#include "support.h"

/// The smallest possible difference.
static void spoil(float *x) { *x = nextafterf(*x, INFINITY); }

static const ck_kernels *definition(void) { return ck_kernels_at(0); }

/// Wrong in the last column of the last block of a tile of three.
static void quantize(const float *x, size_t stride, size_t block_begin, size_t block_end,
                     const ck_tile *tile) {
  definition()->quantize(x, stride, block_begin, block_end, tile);
  if (block_begin < block_end && tile->count == 3) tile->q[block_end * 3 * 32 - 1] ^= 1;
}

/// One block more than asked for.
static void quantize_beyond(const float *x, size_t stride, size_t block_begin, size_t block_end,
                            const ck_tile *tile) {
  definition()->quantize(x, stride, block_begin, block_end, tile);
  if (block_begin < block_end && block_end < tile->blocks)
    tile->d[block_end * tile->count] = 0.0f;
}

/// Wrong in the last column of a tile of three.
static void interleave(const float *x, size_t stride, size_t begin, size_t end,
                       const ck_tile *tile) {
  definition()->interleave(x, stride, begin, end, tile);
  if (begin < end && tile->count == 3) spoil(tile->f + end * 3 - 1);
}

/// Rounded towards zero in the last column of a tile of three.
static void interleave_pairs(const float *x, size_t stride, size_t begin, size_t end,
                             const ck_tile *tile) {
  definition()->interleave_pairs(x, stride, begin, end, tile);
  if (begin < end && tile->count == 3)
    tile->pairs[begin / 2 * 3 + 2] =
        (tile->pairs[begin / 2 * 3 + 2] & 0xffff0000) | bits_of(x[2 * stride + begin]) >> 16;
}

/// The sums of the two halves trade places.
static void quantize_halves(const float *x, size_t stride, size_t block_begin, size_t block_end,
                            const ck_tile *tile) {
  definition()->quantize(x, stride, block_begin, block_end, tile);
  int32_t *first = tile->sums + ck_sum_first_minus_32 * tile->blocks * tile->count;
  int32_t *second = tile->sums + ck_sum_second_minus_32 * tile->blocks * tile->count;
  for (size_t i = block_begin * tile->count; i < block_end * tile->count; i++) {
    int32_t kept = first[i];
    first[i] = second[i];
    second[i] = kept;
  }
}

/// Wrong in the last row of the last column when a tile holds three.
#define MATMUL(suffix)                                                                         \
  static void matmul_##suffix(float *out, size_t out_stride, const uint8_t *panels,            \
                              size_t panel_begin, size_t panel_end, size_t row_count,          \
                              size_t cols, const ck_tile *tile) {                              \
    definition()->matmul[ck_format_##suffix](out, out_stride, panels, panel_begin, panel_end,  \
                                             row_count, cols, tile);                           \
    if (tile->count == 3) spoil(out + 2 * out_stride + smaller(row_count, panel_end * 16) - 1); \
  }
MATMUL(f32)
MATMUL(f16)
MATMUL(bf16)
MATMUL(q8_0)
MATMUL(q4_0)
MATMUL(q4_1)
MATMUL(q5_0)
MATMUL(q5_1)
MATMUL(q2_k)
MATMUL(q3_k)
MATMUL(q4_k)
MATMUL(q5_k)
MATMUL(q6_k)
MATMUL(iq4_nl)

/// With subnormals.
static void matmul_bf16_subnormal(float *out, size_t out_stride, const uint8_t *panels,
                                  size_t panel_begin, size_t panel_end, size_t row_count,
                                  size_t cols, const ck_tile *tile) {
  for (size_t row = panel_begin * 16; row < smaller(row_count, panel_end * 16); row++) {
    const uint32_t *w =
        (const uint32_t *)(panels + row / 16 * ck_panel_bytes(ck_format_bf16, cols)) + row % 16;
    for (size_t j = 0; j < tile->count; j++) {
      float sum = 0;
      for (size_t i = 0; i < (cols + 1) / 2; i++) {
        uint32_t a = w[16 * i], b = tile->pairs[i * tile->count + j];
        sum = fmaf(float_of(a & 0xffff0000), float_of(b & 0xffff0000), sum);
        sum = fmaf(float_of(a << 16), float_of(b << 16), sum);
      }
      out[j * out_stride + row] = sum;
    }
  }
}

/// One row too many.
static void matmul_overrun(float *out, size_t out_stride, const uint8_t *panels,
                           size_t panel_begin, size_t panel_end, size_t row_count, size_t cols,
                           const ck_tile *tile) {
  definition()->matmul[ck_format_f32](out, out_stride, panels, panel_begin, panel_end, row_count,
                                      cols, tile);
  out[row_count] = 0.0f;
}

static void rms_norm(float *out, const float *x, const float *weight, size_t count,
                     float epsilon) {
  definition()->rms_norm(out, x, weight, count, epsilon);
  if (count % 16 == 15) spoil(out + count - 1);
}

static void rope_adjacent(float *x, size_t head_count, size_t head_length, const float *cosines,
                          const float *sines, size_t pair_count) {
  definition()->rope_adjacent(x, head_count, head_length, cosines, sines, pair_count);
  if (pair_count > 0 && head_count == 3) spoil(x + 2 * head_length + 2 * pair_count - 1);
}

static void rope_halves(float *x, size_t head_count, size_t head_length, const float *cosines,
                        const float *sines, size_t pair_count) {
  definition()->rope_halves(x, head_count, head_length, cosines, sines, pair_count);
  if (pair_count > 0 && head_count == 3) spoil(x + 2 * head_length + 2 * pair_count - 1);
}

static void silu_multiply(float *out, const float *gate, const float *up, size_t count) {
  definition()->silu_multiply(out, gate, up, count);
  if (count == 20) spoil(out + 19);
}

static void gelu_multiply(float *out, const float *gate, const float *up, size_t count) {
  definition()->gelu_multiply(out, gate, up, count);
  if (count == 20) spoil(out + 19);
}

static void scale(float *x, float factor, size_t count) {
  definition()->scale(x, factor, count);
  if (count == 20) spoil(x + 19);
}

static void soft_cap(float *x, float cap, size_t count) {
  definition()->soft_cap(x, cap, count);
  if (count == 20) spoil(x + 19);
}

static void add(float *x, const float *y, size_t count) {
  definition()->add(x, y, count);
  if (count == 20) spoil(x + 19);
}

static void store_key(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                      size_t head_length) {
  definition()->store_key(block, type, position, x, head_length);
  if (position == 15) block[ck_cache_key_bytes(type, head_length) / 2 - 1] ^= 1;
}

/// Into the position after.
static void store_value(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                        size_t head_length) {
  definition()->store_value(block, type, position, x, head_length);
  if (position == 3) definition()->store_value(block, type, 4, x, head_length);
}

static void attention_scores(const ck_attention *job, size_t query_begin, size_t query_end,
                             const ck_cache_blocks *blocks) {
  definition()->attention_scores(job, query_begin, query_end, blocks);
  size_t last = (blocks->first_block + blocks->count) * 16 - job->origin;
  if (query_begin < query_end && blocks->count > 2)
    spoil(job->scores + (query_end - 1) * job->score_stride + last - 20);
}

/// Deaf to the cap.
static void attention_scores_uncapped(const ck_attention *job, size_t query_begin,
                                      size_t query_end, const ck_cache_blocks *blocks) {
  ck_attention one = *job;
  one.soft_cap = 0.0f;
  definition()->attention_scores(&one, query_begin, query_end, blocks);
}

/// The position before the first one gets a share.
static void attention_weights(const ck_attention *job, size_t query_begin, size_t query_end) {
  for (size_t q = query_begin; q < query_end; q++) {
    ck_attention_query wider = job->queries[q];
    if (wider.first % 16 > 0) wider.first--;
    ck_attention one = *job;
    one.queries = &wider;
    one.scores = job->scores + q * job->score_stride;
    one.inverses = job->inverses + q;
    definition()->attention_weights(&one, 0, 1);
  }
}

/// Only values in i16 read them.
static void attention_weights_inverses(const ck_attention *job, size_t query_begin,
                                       size_t query_end) {
  definition()->attention_weights(job, query_begin, query_end);
  if (job->value_type == ck_cache_i16 && query_begin < query_end) spoil(job->inverses + query_begin);
}

static void attention_values(const ck_attention *job, size_t query_begin, size_t query_end,
                             const ck_cache_blocks *blocks, size_t part_begin, size_t part_end) {
  definition()->attention_values(job, query_begin, query_end, blocks, part_begin, part_end);
  if (query_begin < query_end && job->head_length == 20 && part_end == 2)
    spoil(job->out + job->queries[query_begin].out + 19);
}

/// A NaN that vanishes.
static void attention_values_hiding(const ck_attention *job, size_t query_begin, size_t query_end,
                                    const ck_cache_blocks *blocks, size_t part_begin,
                                    size_t part_end) {
  definition()->attention_values(job, query_begin, query_end, blocks, part_begin, part_end);
  for (size_t q = query_begin; q < query_end; q++) {
    float *out = job->out + job->queries[q].out;
    for (size_t i = 0; i < job->head_length; i++)
      if (out[i] != out[i]) out[i] = 0.0f;
  }
}

/// The later of two equal values.
static size_t top_k(const float *values, size_t count, size_t k, uint32_t *indices, float *top) {
  size_t filled = definition()->top_k(values, count, k, indices, top);
  if (filled == 2 && top[0] == top[1]) {
    uint32_t first = indices[0];
    indices[0] = indices[1];
    indices[1] = first;
  }
  return filled;
}

static void exponentials(float *out, const float *x, size_t count) {
  definition()->exponentials(out, x, count);
  for (size_t i = 0; i < count; i++)
    if (x[i] > 88.0f && x[i] < 88.7f) spoil(out + i);
}

/// One fault and the check that must find it.
typedef struct mutation {
  const char *name;
  check_function *finder;
  ck_kernels faults;  ///< NULL where the definition stays.
} mutation;

static const mutation mutations[] = {
    {"quantize", check_quantize, {.quantize = quantize}},
    {"f32", check_matmul_columns, {.matmul = {[ck_format_f32] = matmul_f32}}},
    {"f16", check_matmul_columns, {.matmul = {[ck_format_f16] = matmul_f16}}},
    {"bf16", check_matmul_columns, {.matmul = {[ck_format_bf16] = matmul_bf16}}},
    {"q8_0", check_matmul_columns, {.matmul = {[ck_format_q8_0] = matmul_q8_0}}},
    {"q4_0", check_matmul_columns, {.matmul = {[ck_format_q4_0] = matmul_q4_0}}},
    {"q4_1", check_matmul_columns, {.matmul = {[ck_format_q4_1] = matmul_q4_1}}},
    {"q5_0", check_matmul_columns, {.matmul = {[ck_format_q5_0] = matmul_q5_0}}},
    {"q5_1", check_matmul_columns, {.matmul = {[ck_format_q5_1] = matmul_q5_1}}},
    {"q2_k", check_matmul_columns, {.matmul = {[ck_format_q2_k] = matmul_q2_k}}},
    {"q3_k", check_matmul_columns, {.matmul = {[ck_format_q3_k] = matmul_q3_k}}},
    {"q4_k", check_matmul_columns, {.matmul = {[ck_format_q4_k] = matmul_q4_k}}},
    {"q5_k", check_matmul_columns, {.matmul = {[ck_format_q5_k] = matmul_q5_k}}},
    {"q6_k", check_matmul_columns, {.matmul = {[ck_format_q6_k] = matmul_q6_k}}},
    {"iq4_nl", check_matmul_columns, {.matmul = {[ck_format_iq4_nl] = matmul_iq4_nl}}},
    {"sums of halves", check_quantize, {.quantize = quantize_halves}},
    {"blocks not asked for", check_quantize, {.quantize = quantize_beyond}},
    {"interleave", check_interleave, {.interleave = interleave}},
    {"pairs", check_interleave_pairs, {.interleave_pairs = interleave_pairs}},
    {"subnormals",
     check_matmul_subnormal,
     {.matmul = {[ck_format_bf16] = matmul_bf16_subnormal}}},
    {"overrun", check_matmul_columns, {.matmul = {[ck_format_f32] = matmul_overrun}}},
    {"rms_norm", check_rms_norm, {.rms_norm = rms_norm}},
    {"rope_adjacent", check_rope_adjacent, {.rope_adjacent = rope_adjacent}},
    {"rope_halves", check_rope_halves, {.rope_halves = rope_halves}},
    {"silu_multiply", check_silu_multiply, {.silu_multiply = silu_multiply}},
    {"gelu_multiply", check_gelu_multiply, {.gelu_multiply = gelu_multiply}},
    {"add", check_add, {.add = add}},
    {"scale", check_scale, {.scale = scale}},
    {"soft_cap", check_soft_cap, {.soft_cap = soft_cap}},
    {"store_key", check_cache_store, {.store_key = store_key}},
    {"store_value", check_cache_store, {.store_value = store_value}},
    {"attention_scores", check_attention, {.attention_scores = attention_scores}},
    {"inverses", check_attention, {.attention_weights = attention_weights_inverses}},
    {"missing cap", check_attention, {.attention_scores = attention_scores_uncapped}},
    {"attention_weights", check_attention, {.attention_weights = attention_weights}},
    {"attention_values", check_attention, {.attention_values = attention_values}},
    {"hidden NaN", check_attention_not_finite, {.attention_values = attention_values_hiding}},
    {"top_k", check_top_k, {.top_k = top_k}},
    {"exponentials", check_exponentials, {.exponentials = exponentials}},
};

#define REPLACE(table, faults, member) \
  if ((faults)->member != NULL) (table)->member = (faults)->member

static ck_kernels with_faults(const ck_kernels *faults) {
  ck_kernels table = *definition();
  table.name = "mutation";
  table.tile_columns_max = 4;
  REPLACE(&table, faults, quantize);
  REPLACE(&table, faults, interleave);
  REPLACE(&table, faults, interleave_pairs);
  for (size_t format = 0; format < ck_format_count; format++)
    REPLACE(&table, faults, matmul[format]);
  REPLACE(&table, faults, rms_norm);
  REPLACE(&table, faults, rope_adjacent);
  REPLACE(&table, faults, rope_halves);
  REPLACE(&table, faults, silu_multiply);
  REPLACE(&table, faults, gelu_multiply);
  REPLACE(&table, faults, add);
  REPLACE(&table, faults, scale);
  REPLACE(&table, faults, soft_cap);
  REPLACE(&table, faults, store_key);
  REPLACE(&table, faults, store_value);
  REPLACE(&table, faults, attention_scores);
  REPLACE(&table, faults, attention_weights);
  REPLACE(&table, faults, attention_values);
  REPLACE(&table, faults, top_k);
  REPLACE(&table, faults, exponentials);
  return table;
}

/// The formats whose products are wrong: going through the others would only take time.
static uint32_t faulty_formats(const ck_kernels *faults) {
  uint32_t formats = 0;
  for (size_t format = 0; format < ck_format_count; format++)
    if (faults->matmul[format] != NULL) formats |= 1u << format;
  return formats;
}

void check_mutations(context *c) {
  for (size_t i = 0; i < LENGTH(mutations); i++) {
    char text[2000] = "";
    ck_kernels table = with_faults(&mutations[i].faults);
    context inner = {.kernels = &table,
                     .scalar = c->scalar,
                     .formats = faulty_formats(&mutations[i].faults),
                     .random = i + 1,
                     .text = text,
                     .capacity = sizeof text};
    mutations[i].finder(&inner);
    release(&inner);
    set_case(c, "fault in %s", mutations[i].name);
    if (inner.failures == 0) fail(c, "not found");
    if (strstr(text, "mutation: ") != text) fail(c, "reported as \"%.60s\"", text);
  }
}
