// Attention over keys and values kept as integers (ck_cache_i16), in terms of the lanes of
// simd_kernels.h.
//
// Elements of 16 bits are multiplied in pairs and summed to 32 bits: exact, in whatever order. Keys
// have one step for each position, queries one for each head; the weights of a block of 16
// positions, times the steps of its values, get one step for each query.

/// Rounds `count` floats to multiples of one step, the largest to `steps` of them; returns the step.
/// NaN where one is not finite. `q` has room for a multiple of 16.
INLINE float quantize_row(int16_t *q, const float *x, size_t count, float steps) {
  lanes magnitudes = lanes_zero();
  bool finite = true;
  for (size_t c = 0; c < count; c += 16) {
    lanes row = c + 16 <= count ? lanes_load(x + c) : lanes_load_part(x + c, count - c);
    finite = finite && lanes_are_finite(row, row);
    magnitudes = lanes_max(lanes_abs(row), magnitudes);
  }
  float largest = finite ? lanes_largest(magnitudes) : 0.0f;
  if (!(largest >= CK_QUANTIZE_TINY)) {
    memset(q, 0, (count + 15) / 16 * 16 * sizeof *q);
    return finite ? 0.0f : NAN;
  }
  lanes inverse = lanes_set1(steps / largest);
  for (size_t c = 0; c < count; c += 16) {
    lanes row = c + 16 <= count ? lanes_load(x + c) : lanes_load_part(x + c, count - c);
    lanes_store_rounded(q + c, lanes_mul(row, inverse));
  }
  return largest / steps;
}

static void store_key_i16(uint8_t *block, size_t position, const float *x, size_t head_length) {
  int16_t q[ck_head_length_max];
  float step = quantize_row(q, x, head_length, CK_KEY_STEPS);
  ck_place_key_i16(block, position, q, step, head_length);
}

static void store_value_i16(uint8_t *block, size_t position, const float *x, size_t head_length) {
  int16_t q[ck_head_length_max];
  float step = quantize_row(q, x, head_length, CK_VALUE_STEPS);
  ck_place_value_i16(block, position, q, step, head_length);
}

INLINE int32_t load_pair(const int16_t *p) {
  int32_t pair;
  memcpy(&pair, p, sizeof pair);
  return pair;
}

// MARK: scores

/// Queries side by side, so that one pointer reaches them all: [groups][pairs][group].
typedef struct integer_queries {
  int32_t pairs[QUERY_MAX * ck_head_length_max / 2];
  float steps[QUERY_MAX];  ///< Times the scale of the scores.
  size_t count;
} integer_queries;

static void pack_integer_queries(integer_queries *packed, const ck_attention *job, size_t query,
                                 size_t count) {
  packed->count = count;
  size_t groups = (count + QUERY_TILE - 1) / QUERY_TILE;
  size_t pairs = ck_key_pairs(job->head_length);
  int32_t *to = packed->pairs;
  for (size_t g = 0, begin = 0; g < groups; g++) {
    size_t end = group_end(g, groups, count);
    for (size_t q = begin; q < end; q++) {
      int16_t rounded[ck_head_length_max];
      const float *from = job->query + job->queries[query + q].query;
      packed->steps[q] =
          quantize_row(rounded, from, job->head_length, CK_QUERY_STEPS) * job->scale;
      CK_ONE_BY_ONE for (size_t c = 0; c < pairs; c++)
        to[c * (end - begin) + q - begin] = load_pair(rounded + 2 * c);
    }
    to += (end - begin) * pairs;
    begin = end;
  }
}

/// As score_tile, with `x`: [pairs][count]. Sums of more than 64 elements might not fit: they are
/// added as floats.
INLINE void integer_score_tile(const ck_attention *job, size_t query, const int32_t *x,
                               const float *steps, size_t at, const uint8_t *const *blocks,
                               const uint8_t *const *ahead, const size_t count, const size_t run) {
  size_t pairs = ck_key_pairs(job->head_length);
  for (size_t start = 0; start < pairs; start += CK_CHUNK_PAIRS) {
    size_t end = start + CK_CHUNK_PAIRS < pairs ? start + CK_CHUNK_PAIRS : pairs;
    sums dots[QUERY_TILE][key_run];
    UNROLL for (size_t q = 0; q < count; q++) {
      UNROLL for (size_t b = 0; b < run; b++) dots[q][b] = sums_zero();
    }
    for (size_t c = start; c < end; c++, x += count) {
      words keys[key_run];
      UNROLL for (size_t b = 0; b < run; b++) {
        __builtin_prefetch(ahead[b] + 64 * c);
        keys[b] = words_load(blocks[b] + 64 * c);
      }
      UNROLL for (size_t q = 0; q < count; q++) {
        UNROLL for (size_t b = 0; b < run; b++)
          dots[q][b] = sums_dot_pairs(dots[q][b], keys[b], x[q]);
      }
    }
    UNROLL for (size_t b = 0; b < run; b++) {
      const float *key_steps = (const float *)(blocks[b] + 64 * pairs);
      __builtin_prefetch(ahead[b] + 64 * pairs);
      UNROLL for (size_t q = 0; q < count; q++) {
        float *scores = job->scores + (query + q) * job->score_stride + at + 16 * b;
        lanes score = sums_to_lanes(dots[q][b]);
        if (start > 0) score = lanes_add(lanes_load(scores), score);
        if (end == pairs) {
          score = lanes_mul(score, lanes_mul(lanes_load(key_steps), lanes_set1(steps[q])));
          if (job->soft_cap > 0.0f) score = lanes_soft_cap(score, job->soft_cap);
        }
        lanes_store(scores, score);
      }
    }
  }
}

INLINE void integer_score_count(const ck_attention *job, size_t query, const int32_t *x,
                                const float *steps, size_t at, const uint8_t *const *blocks,
                                const uint8_t *const *ahead, const size_t count, size_t run) {
  const size_t most = SCORE_SUMS / count < 2 ? 1 : SCORE_SUMS / count < 4 || key_run < 4 ? 2 : 4;
  size_t b = 0;
  for (; b + most <= run; b += most)
    integer_score_tile(job, query, x, steps, at + 16 * b, blocks + b, ahead + b, count, most);
  for (; b < run; b++)
    integer_score_tile(job, query, x, steps, at + 16 * b, blocks + b, ahead + b, count, 1);
}

static void integer_score_some(const ck_attention *job, size_t query, size_t count,
                               const ck_cache_blocks *blocks) {
  integer_queries packed;
  pack_integer_queries(&packed, job, query, count);
  size_t stride = ck_cache_key_bytes(ck_cache_i16, job->head_length);
  size_t groups = (count + QUERY_TILE - 1) / QUERY_TILE;
  for (size_t i = 0; i < blocks->count; i += key_run) {
    size_t run = blocks->count - i < key_run ? blocks->count - i : key_run;
    size_t at = (blocks->first_block + i) * 16 - job->origin;
    const uint8_t *parts[key_run], *ahead[key_run];
    for (size_t b = 0; b < run; b++) {
      size_t next = i + key_run + b < blocks->count ? i + key_run + b : i + b;
      parts[b] = blocks->keys + blocks->indices[i + b] * stride;
      ahead[b] = blocks->keys + blocks->indices[next] * stride;
    }
    const int32_t *x = packed.pairs;
    for (size_t g = 0, begin = 0; g < groups; g++) {
      size_t end = group_end(g, groups, count);
      const float *steps = packed.steps + begin;
#define SCORES(count)                                                                          \
  case count:                                                                                  \
    integer_score_count(job, query + begin, x, steps, at, parts, ahead, count, run);           \
    break;
      switch (end - begin) { EACH_QUERY_COUNT(SCORES) }
#undef SCORES
      x += (end - begin) * ck_key_pairs(job->head_length);
      begin = end;
    }
  }
}

static void integer_scores(const ck_attention *job, size_t query_begin, size_t query_end,
                           const ck_cache_blocks *blocks) {
  for (size_t q = query_begin; q < query_end; q += QUERY_MAX) {
    size_t count = query_end - q < QUERY_MAX ? query_end - q : QUERY_MAX;
    integer_score_some(job, q, count, blocks);
  }
}

// MARK: values

/// What queries that see a block of values do with it.
typedef struct block_weights {
  float products[QUERY_MAX][16];  ///< Weights times the steps of their values.
  int16_t weights[QUERY_MAX][16];
  float largest[QUERY_MAX];   ///< Of the products.
  float inverses[QUERY_MAX];  ///< Of the sums of all weights.
  float steps[QUERY_MAX];     ///< Of a weight times a value.
  float *out[QUERY_MAX];
  size_t count;
} block_weights;

/// The steps of a block's values, zero where the query sees nothing: such memory holds anything. It
/// sees some of the block.
INLINE lanes seen_steps(const ck_attention_query *query, size_t position,
                        const float *value_steps) {
  size_t begin = query->first > position ? query->first - position : 0;
  size_t end = query->end < position + 16 ? query->end - position : 16;
  return lanes_load_between(value_steps, begin, end);
}

/// Weighs the block that begins at `position` for those queries that see any of it.
INLINE void weigh_block(block_weights *block, const ck_attention *job, size_t query_begin,
                        size_t query_end, size_t position, const float *value_steps) {
  lanes all_steps = lanes_load(value_steps);
  size_t at = 0;
  for (size_t q = query_begin; q < query_end; q++) {
    const ck_attention_query *query = job->queries + q;
    if (query->first >= position + 16 || query->end <= position) continue;
    bool sees_all = query->first <= position && query->end >= position + 16;
    lanes steps = sees_all ? all_steps : seen_steps(query, position, value_steps);
    const float *scores = job->scores + q * job->score_stride + position - job->origin;
    lanes products = lanes_mul(lanes_load(scores), steps);
    lanes_store(block->products[at], products);
    block->largest[at] = lanes_largest_bits(products);
    block->inverses[at] = job->inverses[q];
    block->out[at] = job->out + query->out;
    at++;
  }
  block->count = at;
}

INLINE void round_weights(block_weights *block) {
  lanes largest = lanes_max(lanes_set1(CK_QUANTIZE_TINY), lanes_load(block->largest));
  float inverses[16];
  lanes_store(inverses, lanes_div(lanes_set1(CK_WEIGHT_STEPS), largest));
  lanes_store(block->steps, lanes_mul(lanes_mul(largest, lanes_set1(1.0f / CK_WEIGHT_STEPS)),
                                      lanes_load(block->inverses)));
  for (size_t q = 0; q < block->count; q++)
    lanes_store_rounded(block->weights[q],
                        lanes_mul(lanes_load(block->products[q]), lanes_set1(inverses[q])));
}

INLINE void integer_value_tile(const block_weights *block, size_t first, const uint8_t *values,
                               const uint8_t *ahead, size_t row, size_t c, size_t left,
                               const size_t count, const size_t parts) {
  sums dots[VALUE_TILE][4];
  UNROLL for (size_t q = 0; q < count; q++) {
    UNROLL for (size_t p = 0; p < parts; p++) dots[q][p] = sums_zero();
  }
  for (size_t i = 0; i < 8; i++) {
    words pairs[4];
    UNROLL for (size_t p = 0; p < parts; p++) {
      size_t at = (i * row + c + 16 * p) * 4;
      __builtin_prefetch(ahead + at);
      pairs[p] = words_load(values + at);
    }
    UNROLL for (size_t q = 0; q < count; q++) {
      int32_t weights = load_pair(block->weights[first + q] + 2 * i);
      UNROLL for (size_t p = 0; p < parts; p++)
        dots[q][p] = sums_dot_pairs(dots[q][p], pairs[p], weights);
    }
  }
  UNROLL for (size_t q = 0; q < count; q++) {
    lanes step = lanes_set1(block->steps[first + q]);
    float *out = block->out[first + q] + c;
    UNROLL for (size_t p = 0; p < parts; p++) {
      lanes added = sums_to_lanes(dots[q][p]);
      if (parts > 1 || left >= 16)
        lanes_store(out + 16 * p, lanes_fma(added, step, lanes_load(out + 16 * p)));
      else lanes_store_part(out, lanes_fma(added, step, lanes_load_part(out, left)), left);
    }
  }
}

INLINE void integer_value_part(const block_weights *block, const uint8_t *values,
                               const uint8_t *ahead, size_t head_length, size_t c,
                               const size_t parts) {
  size_t groups = (block->count + VALUE_TILE - 1) / VALUE_TILE, row = ck_value_length(head_length);
  for (size_t g = 0, first = 0; g < groups; g++) {
    size_t last = group_end(g, groups, block->count);
#define VALUES(count)                                                                          \
  case count:                                                                                  \
    integer_value_tile(block, first, values, ahead, row, c, head_length - c, count, parts);    \
    break;
    switch (last - first) { EACH_VALUE_COUNT(VALUES) }
#undef VALUES
    first = last;
  }
}

static void integer_values(const ck_attention *job, size_t query_begin, size_t query_end,
                           const ck_cache_blocks *blocks, size_t part_begin, size_t part_end) {
  size_t stride = ck_cache_value_bytes(ck_cache_i16, job->head_length);
  size_t steps = ck_value_steps_i16(job->head_length);
  size_t whole = job->head_length / 16 < part_end ? job->head_length / 16 : part_end;
  for (size_t i = 0; i < blocks->count; i += value_run) {
    size_t run = blocks->count - i < value_run ? blocks->count - i : value_run;
    const uint8_t *values[value_run], *ahead[value_run];
    for (size_t b = 0; b < run; b++) {
      size_t next = i + value_run + b < blocks->count ? i + value_run + b : i + b;
      values[b] = blocks->values + blocks->indices[i + b] * stride;
      ahead[b] = blocks->values + blocks->indices[next] * stride;
      __builtin_prefetch(ahead[b] + steps);
    }
    for (size_t q = query_begin; q < query_end; q += QUERY_MAX) {
      size_t end = q + QUERY_MAX < query_end ? q + QUERY_MAX : query_end;
      // All blocks first: each is a long chain of instructions that wait for one another.
      block_weights weights[value_run];
      for (size_t b = 0; b < run; b++)
        weigh_block(&weights[b], job, q, end, (blocks->first_block + i + b) * 16,
                    (const float *)(values[b] + steps));
      for (size_t b = 0; b < run; b++) round_weights(&weights[b]);
      for (size_t b = 0; b < run; b++) {
        size_t part = part_begin;
        for (; part + VALUE_PARTS <= whole; part += VALUE_PARTS)
          integer_value_part(&weights[b], values[b], ahead[b], job->head_length, part * 16,
                             VALUE_PARTS);
        for (; part < part_end; part++)
          integer_value_part(&weights[b], values[b], ahead[b], job->head_length, part * 16, 1);
      }
    }
  }
}
