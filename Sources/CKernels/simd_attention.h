// Attention and the key/value cache, in terms of the lanes of simd_kernels.h.
//
// Sixteen positions of a block sit in sixteen lanes for the scores, sixteen elements of a value for
// the weighted sums; neither needs a sum over lanes. A load serves up to QUERY_TILE queries, or
// VALUE_TILE. Many more queries first get the blocks as floats, on the stack, so that halves and
// bytes are converted once for all of them.

static void store_key(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                      size_t head_length) {
  if (type == ck_cache_q8_0) {
    ck_store_key_q8_0(block, position, x, head_length);
    return;
  }
  if (type == ck_cache_i16) {
    store_key_i16(block, position, x, head_length);
    return;
  }
  if (type == ck_cache_f32) {
    float *keys = (float *)block + position;
    CK_ONE_BY_ONE for (size_t c = 0; c < head_length; c++) keys[c * 16] = x[c];
    return;
  }
  uint16_t *keys = (uint16_t *)block + position;
  size_t c = 0;
  for (; c + 16 <= head_length; c += 16) {
    uint16_t halves16[16];
    lanes_store_half(halves16, lanes_load(x + c));
    for (size_t i = 0; i < 16; i++) keys[(c + i) * 16] = halves16[i];
  }
  for (; c < head_length; c++) keys[c * 16] = ck_float_to_half(x[c]);
}

static void store_value(uint8_t *block, ck_cache_type type, size_t position, const float *x,
                        size_t head_length) {
  if (type == ck_cache_q8_0) {
    ck_store_value_q8_0(block, position, x, head_length);
    return;
  }
  if (type == ck_cache_i16) {
    store_value_i16(block, position, x, head_length);
    return;
  }
  size_t row = position * ck_value_length(head_length), c = 0;
  if (type == ck_cache_f32) {
    memcpy((float *)block + row, x, head_length * sizeof(float));
    return;
  }
  uint16_t *values = (uint16_t *)block + row;
  for (; c + 16 <= head_length; c += 16) lanes_store_half(values + c, lanes_load(x + c));
  for (; c < head_length; c++) values[c] = ck_float_to_half(x[c]);
}

// MARK: scores

INLINE lanes load_cached(const uint8_t *block, size_t at, const ck_cache_type type) {
  if (type == ck_cache_f32) return lanes_load((const float *)block + at);
  if (type == ck_cache_f16) return lanes_load_half((const uint16_t *)block + at);
  return lanes_load_signed((const int8_t *)block + at);
}

INLINE lanes load_cache_scales(const uint8_t *block, size_t offset, size_t c) {
  return lanes_load_half((const uint16_t *)(block + offset) + c / 32 * 16);
}

/// Asks for 16 elements of a block, if they begin a line of the cache. Floats are mostly blocks that
/// were converted just now.
INLINE void prefetch_cached(const uint8_t *block, size_t at, const ck_cache_type type) {
  const size_t bytes = at * (type == ck_cache_f16 ? 2 : 1);
  if (type != ck_cache_f32 && bytes % 64 == 0) __builtin_prefetch(block + bytes);
}

/// Queries side by side, so that one pointer reaches them all: [groups][head_length][group].
typedef struct packed_queries {
  float elements[QUERY_MAX * ck_head_length_max];
  size_t count;
} packed_queries;

static void pack_queries(packed_queries *packed, const ck_attention *job, size_t query,
                         size_t count) {
  packed->count = count;
  size_t groups = (count + QUERY_TILE - 1) / QUERY_TILE;
  float *to = packed->elements;
  for (size_t g = 0, begin = 0; g < groups; g++) {
    size_t end = group_end(g, groups, count);
    for (size_t q = begin; q < end; q++) {
      const float *from = job->query + job->queries[query + q].query;
      CK_ONE_BY_ONE for (size_t c = 0; c < job->head_length; c++)
        to[c * (end - begin) + q - begin] = from[c];
    }
    to += (end - begin) * job->head_length;
    begin = end;
  }
}

/// Scores of `run` blocks for `count` queries, `x`: [head_length][count]; asks for the blocks
/// `ahead` on the way, which the hardware does not find: they begin a new page every time.
INLINE void score_tile(const ck_attention *job, size_t query, const float *x, size_t at,
                       const uint8_t *const *blocks, const uint8_t *const *ahead,
                       const ck_cache_type type, const size_t count, const size_t run) {
  lanes sums16[QUERY_TILE][key_run], scales[key_run];
  size_t head_length = job->head_length;
  UNROLL for (size_t q = 0; q < count; q++) {
    UNROLL for (size_t b = 0; b < run; b++) sums16[q][b] = lanes_zero();
  }
  for (size_t start = 0; start < head_length; start += 32) {
    size_t end = start + 32 < head_length ? start + 32 : head_length;
    if (type == ck_cache_q8_0) {
      UNROLL for (size_t b = 0; b < run; b++)
        scales[b] = load_cache_scales(blocks[b], ck_key_scales(head_length), start);
    }
    for (size_t c = start; c < end; c++, x += count) {
      lanes keys[key_run];
      UNROLL for (size_t b = 0; b < run; b++) {
        prefetch_cached(ahead[b], 16 * c, type);
        keys[b] = load_cached(blocks[b], 16 * c, type);
        if (type == ck_cache_q8_0) keys[b] = lanes_mul(keys[b], scales[b]);
      }
      UNROLL for (size_t q = 0; q < count; q++) {
        lanes element = lanes_set1(x[q]);
        UNROLL for (size_t b = 0; b < run; b++)
          sums16[q][b] = lanes_fma(element, keys[b], sums16[q][b]);
      }
    }
  }
  lanes scale = lanes_set1(job->scale);
  UNROLL for (size_t q = 0; q < count; q++) {
    float *scores = job->scores + (query + q) * job->score_stride + at;
    UNROLL for (size_t b = 0; b < run; b++) {
      lanes score = lanes_mul(sums16[q][b], scale);
      if (job->soft_cap > 0.0f) score = lanes_soft_cap(score, job->soft_cap);
      lanes_store(scores + 16 * b, score);
    }
  }
}

/// As many blocks at once as there are registers for: four, two or one.
INLINE void score_count(const ck_attention *job, size_t query, const float *x, size_t at,
                        const uint8_t *const *blocks, const uint8_t *const *ahead,
                        const ck_cache_type type, const size_t count, size_t run) {
  const size_t most = SCORE_SUMS / count < 2 ? 1 : SCORE_SUMS / count < 4 || key_run < 4 ? 2 : 4;
  size_t b = 0;
  for (; b + most <= run; b += most)
    score_tile(job, query, x, at + 16 * b, blocks + b, ahead + b, type, count, most);
  for (; b < run; b++)
    score_tile(job, query, x, at + 16 * b, blocks + b, ahead + b, type, count, 1);
}

INLINE void score_run(const ck_attention *job, size_t query, const packed_queries *packed,
                      size_t at, const uint8_t *const *blocks, const uint8_t *const *ahead,
                      const ck_cache_type type, size_t run) {
  size_t groups = (packed->count + QUERY_TILE - 1) / QUERY_TILE;
  const float *x = packed->elements;
  for (size_t g = 0, begin = 0; g < groups; g++) {
    size_t end = group_end(g, groups, packed->count);
#define SCORES(count)                                                                          \
  case count: score_count(job, query + begin, x, at, blocks, ahead, type, count, run); break;
    switch (end - begin) { EACH_QUERY_COUNT(SCORES) }
#undef SCORES
    x += (end - begin) * job->head_length;
    begin = end;
  }
}

/// One block of keys as floats, [head_length][16].
INLINE void expand_keys(float *out, const uint8_t *block, const uint8_t *ahead,
                        const ck_cache_type type, size_t head_length) {
  for (size_t c = 0; c < head_length; c++) {
    prefetch_cached(ahead, 16 * c, type);
    lanes key = load_cached(block, 16 * c, type);
    if (type == ck_cache_q8_0)
      key = lanes_mul(key, load_cache_scales(block, ck_key_scales(head_length), c));
    lanes_store(out + 16 * c, key);
  }
}

INLINE void score_some(const ck_attention *job, size_t query, size_t count,
                       const ck_cache_blocks *blocks, const ck_cache_type type) {
  float floats[key_run][ck_head_length_max * 16] __attribute__((aligned(64)));
  packed_queries packed;
  pack_queries(&packed, job, query, count);
  bool expands = type != ck_cache_f32 && count > QUERY_TILE;
  size_t stride = ck_cache_key_bytes(type, job->head_length);
  for (size_t i = 0; i < blocks->count; i += key_run) {
    size_t run = blocks->count - i < key_run ? blocks->count - i : key_run;
    size_t at = (blocks->first_block + i) * 16 - job->origin;
    const uint8_t *parts[key_run], *ahead[key_run];
    for (size_t b = 0; b < run; b++) {
      size_t next = i + key_run + b < blocks->count ? i + key_run + b : i + b;
      parts[b] = blocks->keys + blocks->indices[i + b] * stride;
      ahead[b] = blocks->keys + blocks->indices[next] * stride;
      if (expands) {
        expand_keys(floats[b], parts[b], ahead[b], type, job->head_length);
        parts[b] = (const uint8_t *)floats[b];
      }
    }
    if (expands) score_run(job, query, &packed, at, parts, ahead, ck_cache_f32, run);
    else score_run(job, query, &packed, at, parts, ahead, type, run);
  }
}

INLINE void score_blocks(const ck_attention *job, size_t query_begin, size_t query_end,
                         const ck_cache_blocks *blocks, const ck_cache_type type) {
  for (size_t q = query_begin; q < query_end; q += QUERY_MAX) {
    size_t count = query_end - q < QUERY_MAX ? query_end - q : QUERY_MAX;
    score_some(job, q, count, blocks, type);
  }
}

static void attention_scores(const ck_attention *job, size_t query_begin, size_t query_end,
                             const ck_cache_blocks *blocks) {
  switch (job->key_type) {
    case ck_cache_f32: score_blocks(job, query_begin, query_end, blocks, ck_cache_f32); break;
    case ck_cache_f16: score_blocks(job, query_begin, query_end, blocks, ck_cache_f16); break;
    case ck_cache_q8_0: score_blocks(job, query_begin, query_end, blocks, ck_cache_q8_0); break;
    case ck_cache_i16: integer_scores(job, query_begin, query_end, blocks);
  }
}

// MARK: weights

static void attention_weights(const ck_attention *job, size_t query_begin, size_t query_end) {
  for (size_t q = query_begin; q < query_end; q++) {
    float *scores = job->scores + q * job->score_stride;
    size_t first = job->queries[q].first - job->origin, end = job->queries[q].end - job->origin;
    size_t from = first / 16 * 16, to = (end + 15) / 16 * 16;
    // Lanes outside hold -infinity: they never win and their exponential is zero.
    for (size_t i = from; i < first; i++) scores[i] = -INFINITY;
    for (size_t i = end; i < to; i++) scores[i] = -INFINITY;
    lanes best = lanes_set1(-INFINITY), other = best;
    size_t i = from;
    for (; i + 32 <= to; i += 32) {
      best = lanes_max(lanes_load(scores + i), best);
      other = lanes_max(lanes_load(scores + i + 16), other);
    }
    if (i < to) best = lanes_max(lanes_load(scores + i), best);
    lanes largest = lanes_set1(lanes_largest(lanes_max(other, best)));
    lanes total = lanes_zero();
    for (i = from; i < to; i += 16) {
      lanes below = lanes_sub(lanes_load(scores + i), largest);
      lanes e = lanes_exp2_below(lanes_mul(below, lanes_set1(CK_LOG2_E)));
      lanes_store(scores + i, e);
      total = lanes_add(total, e);
    }
    float inverse = 1.0f / lanes_sum(total);
    job->inverses[q] = inverse;
    if (job->value_type == ck_cache_i16) continue;
    lanes inverses = lanes_set1(inverse);
    for (i = from; i < to; i += 16)
      lanes_store(scores + i, lanes_mul(lanes_load(scores + i), inverses));
  }
}

// MARK: values

/// Up to value_run blocks of one chunk of values.
typedef struct value_blocks {
  const uint8_t *blocks[value_run];  ///< From the chunk's first element on.
  const uint8_t *ahead[value_run];    ///< Those that come next, likewise.
  const uint16_t *scales[value_run];  ///< q8_0: [16] halves for each 32 elements of the chunk.
  size_t row;                         ///< Elements from one position to the next.
  size_t position;                    ///< Logical, of the first block.
  size_t c;                           ///< The chunk's first element.
} value_blocks;

INLINE void value_tile(const ck_attention *job, size_t query, const value_blocks *run,
                       size_t begin, size_t end, const ck_cache_type type, const size_t count,
                       const size_t parts) {
  lanes sums16[VALUE_TILE][4];
  float *out[VALUE_TILE];
  const float *weights[VALUE_TILE];
  size_t left = job->head_length - run->c;
  UNROLL for (size_t q = 0; q < count; q++) {
    out[q] = job->out + job->queries[query + q].out + run->c;
    weights[q] = job->scores + (query + q) * job->score_stride - job->origin;
    UNROLL for (size_t p = 0; p < parts; p++)
      sums16[q][p] = parts > 1 || left >= 16 ? lanes_load(out[q] + 16 * p)
                                             : lanes_load_part(out[q], left);
  }
  for (size_t i = begin; i < end;) {
    size_t block = (i - run->position) / 16, stop = run->position + 16 * (block + 1);
    if (stop > end) stop = end;
    float scales[2][16];
    if (type == ck_cache_q8_0) {
      UNROLL for (size_t g = 0; 2 * g < parts; g++)
        lanes_store(scales[g], lanes_load_half(run->scales[block] + 16 * g));
    }
    for (; i < stop; i++) {
      lanes values[4];
      UNROLL for (size_t p = 0; p < parts; p++) {
        prefetch_cached(run->ahead[block], i % 16 * run->row + 16 * p, type);
        values[p] = load_cached(run->blocks[block], i % 16 * run->row + 16 * p, type);
        if (type == ck_cache_q8_0)
          values[p] = lanes_mul(values[p], lanes_set1(scales[p / 2][i % 16]));
      }
      UNROLL for (size_t q = 0; q < count; q++) {
        lanes weight = lanes_set1(weights[q][i]);
        UNROLL for (size_t p = 0; p < parts; p++)
          sums16[q][p] = lanes_fma(weight, values[p], sums16[q][p]);
      }
    }
  }
  UNROLL for (size_t q = 0; q < count; q++) {
    UNROLL for (size_t p = 0; p < parts; p++) {
      if (parts > 1 || left >= 16) lanes_store(out[q] + 16 * p, sums16[q][p]);
      else lanes_store_part(out[q], sums16[q][p], left);
    }
  }
}

/// Queries that see different positions share those that all see.
INLINE void value_count(const ck_attention *job, size_t query, const value_blocks *run, size_t end,
                        const ck_cache_type type, const size_t count, const size_t parts) {
  size_t shared_begin = run->position, shared_end = end;
  for (size_t q = query; q < query + count; q++) {
    if (job->queries[q].first > shared_begin) shared_begin = job->queries[q].first;
    if (job->queries[q].end < shared_end) shared_end = job->queries[q].end;
  }
  if (shared_begin >= shared_end) shared_begin = shared_end = end;
  for (size_t q = query; q < query + count; q++) {
    size_t begin = job->queries[q].first, stop = job->queries[q].end;
    if (begin < run->position) begin = run->position;
    if (stop > shared_begin) stop = shared_begin;
    if (begin < stop) value_tile(job, q, run, begin, stop, type, 1, parts);
  }
  if (shared_begin < shared_end)
    value_tile(job, query, run, shared_begin, shared_end, type, count, parts);
  for (size_t q = query; q < query + count; q++) {
    size_t stop = job->queries[q].end < end ? job->queries[q].end : end;
    if (shared_end < stop) value_tile(job, q, run, shared_end, stop, type, 1, parts);
  }
}

INLINE void value_queries(const ck_attention *job, size_t query_begin, size_t query_end,
                          const value_blocks *run, size_t end, const ck_cache_type type,
                          const size_t parts) {
  size_t total = query_end - query_begin, groups = (total + VALUE_TILE - 1) / VALUE_TILE;
  for (size_t g = 0, first = 0; g < groups; g++) {
    size_t last = group_end(g, groups, total);
#define VALUES(count)                                                                          \
  case count: value_count(job, query_begin + first, run, end, type, count, parts); break;
    switch (last - first) { EACH_VALUE_COUNT(VALUES) }
#undef VALUES
    first = last;
  }
}

/// One chunk of one block of values as floats, [16][16 * parts].
INLINE void expand_values(float *out, const uint8_t *block, const uint8_t *ahead,
                          const uint16_t *scales, size_t row, const ck_cache_type type,
                          const size_t parts) {
  float factors[2][16];
  if (type == ck_cache_q8_0) {
    UNROLL for (size_t g = 0; 2 * g < parts; g++)
      lanes_store(factors[g], lanes_load_half(scales + 16 * g));
  }
  for (size_t i = 0; i < 16; i++) {
    UNROLL for (size_t p = 0; p < parts; p++) {
      prefetch_cached(ahead, i * row + 16 * p, type);
      lanes value = load_cached(block, i * row + 16 * p, type);
      if (type == ck_cache_q8_0) value = lanes_mul(value, lanes_set1(factors[p / 2][i]));
      lanes_store(out + (i * parts + p) * 16, value);
    }
  }
}

INLINE void value_chunk(const ck_attention *job, size_t query_begin, size_t query_end,
                        const ck_cache_blocks *blocks, size_t c, const ck_cache_type type,
                        const size_t parts) {
  float floats[value_run][16 * 16 * VALUE_PARTS] __attribute__((aligned(64)));
  bool expands = type != ck_cache_f32 && query_end - query_begin > VALUE_EXPAND;
  size_t stride = ck_cache_value_bytes(type, job->head_length);
  size_t width = type == ck_cache_f32 ? 4 : type == ck_cache_f16 ? 2 : 1;
  for (size_t i = 0; i < blocks->count; i += value_run) {
    size_t count = blocks->count - i < value_run ? blocks->count - i : value_run;
    value_blocks run = {.row = expands ? 16 * parts : ck_value_length(job->head_length),
                        .position = (blocks->first_block + i) * 16,
                        .c = c};
    for (size_t b = 0; b < count; b++) {
      const uint8_t *block = blocks->values + blocks->indices[i + b] * stride;
      size_t next = i + value_run + b < blocks->count ? i + value_run + b : i + b;
      run.blocks[b] = block + c * width;
      run.ahead[b] = blocks->values + blocks->indices[next] * stride + c * width;
      run.scales[b] =
          (const uint16_t *)(block + ck_value_scales(job->head_length)) + c / 32 * 16;
      if (expands) {
        expand_values(floats[b], run.blocks[b], run.ahead[b], run.scales[b],
                      ck_value_length(job->head_length), type, parts);
        run.blocks[b] = (const uint8_t *)floats[b];
      }
    }
    size_t end = run.position + 16 * count;
    if (expands) value_queries(job, query_begin, query_end, &run, end, ck_cache_f32, parts);
    else value_queries(job, query_begin, query_end, &run, end, type, parts);
  }
}

INLINE void value_type(const ck_attention *job, size_t query_begin, size_t query_end,
                       const ck_cache_blocks *blocks, size_t part_begin, size_t part_end,
                       const ck_cache_type type) {
  size_t part = part_begin, whole = job->head_length / 16;
  if (whole > part_end) whole = part_end;
  // Chunks start at even parts: in q8_0 two parts share a scale.
  if (part % 2 == 1 && part < part_end) {
    value_chunk(job, query_begin, query_end, blocks, part * 16, type, 1);
    part++;
  }
  for (; part + VALUE_PARTS <= whole; part += VALUE_PARTS)
    value_chunk(job, query_begin, query_end, blocks, part * 16, type, VALUE_PARTS);
  for (; part < part_end; part++)
    value_chunk(job, query_begin, query_end, blocks, part * 16, type, 1);
}

static void attention_values(const ck_attention *job, size_t query_begin, size_t query_end,
                             const ck_cache_blocks *blocks, size_t part_begin, size_t part_end) {
  size_t begin = blocks->first_block * 16, end = begin + blocks->count * 16;
  size_t from = part_begin * 16, to = part_end * 16;
  if (to > job->head_length) to = job->head_length;
  for (size_t q = query_begin; q < query_end; q++) {
    const ck_attention_query *query = job->queries + q;
    if (query->first < begin || query->first >= end) continue;
    for (size_t c = from; c < to; c++) job->out[query->out + c] = 0.0f;
  }
  switch (job->value_type) {
    case ck_cache_f32:
      value_type(job, query_begin, query_end, blocks, part_begin, part_end, ck_cache_f32);
      break;
    case ck_cache_f16:
      value_type(job, query_begin, query_end, blocks, part_begin, part_end, ck_cache_f16);
      break;
    case ck_cache_q8_0:
      value_type(job, query_begin, query_end, blocks, part_begin, part_end, ck_cache_q8_0);
      break;
    case ck_cache_i16:
      integer_values(job, query_begin, query_end, blocks, part_begin, part_end);
  }
}
