// Attention over cached blocks, and the choice of the largest.
#pragma STDC FP_CONTRACT OFF
#include "support.h"

#include <stdio.h>

/// One sequence in blocks of random order and some queries over it. Blocks that do not belong to
/// it, and positions past its end, are NaN.
typedef struct call {
  ck_attention job;
  ck_cache_blocks blocks;
  ck_attention_query *queries;
  uint8_t *keys, *values;
  uint32_t *indices;
  size_t length, query_count, out_count;
} call;

typedef struct setting {
  size_t length, query_count, head_length;
  ck_cache_type key_type, value_type;
  float soft_cap;
  bool windows;  ///< Some queries do not see the first positions.
} setting;

static const char *const type_names[ck_cache_type_count] = {"f32", "f16", "q8_0", "i16"};

static void describe(context *c, const setting *s, const char *more) {
  set_case(c, "%zu positions, %zu heads of %zu, %s keys, %s values, cap %g%s%s", s->length,
           s->query_count, s->head_length, type_names[s->key_type], type_names[s->value_type],
           (double)s->soft_cap, s->windows ? ", windows" : "", more);
}

static uint8_t *key_block(const call *a, size_t position) {
  size_t size = ck_cache_key_bytes(a->job.key_type, a->job.head_length);
  return a->keys + a->indices[position / 16] * size;
}

static uint8_t *value_block(const call *a, size_t position) {
  size_t size = ck_cache_value_bytes(a->job.value_type, a->job.head_length);
  return a->values + a->indices[position / 16] * size;
}

static void store_random(context *c, const call *a, size_t position) {
  float row[ck_head_length_max];
  size_t head_length = a->job.head_length;
  for (size_t k = 0; k < head_length; k++) row[k] = 3.0f * random_unit(c);
  c->scalar->store_key(key_block(a, position), a->job.key_type, position % 16, row, head_length);
  for (size_t k = 0; k < head_length; k++) row[k] = random_unit(c);
  c->scalar->store_value(value_block(a, position), a->job.value_type, position % 16, row,
                         head_length);
}

static void add_queries(context *c, call *a, const setting *s) {
  a->job.origin = s->length;
  for (size_t q = 0; q < s->query_count; q++) {
    // Neighbours see nearly the same positions, as the nodes of a chain do; some see few.
    size_t end = s->length - smaller(s->length - 1, random_below(c, 4));
    if (random_below(c, 8) == 0) end = 1 + random_below(c, s->length);
    size_t first = s->windows && random_below(c, 3) > 0 ? random_below(c, end) : 0;
    a->queries[q] = (ck_attention_query){.query = q * (s->head_length + 1),
                                         .out = (s->query_count - 1 - q) * (s->head_length + 2),
                                         .first = first,
                                         .end = end};
    if (first < a->job.origin) a->job.origin = first / 16 * 16;
  }
}

static call new_call(context *c, const setting *s) {
  size_t blocks = rounded_up(s->length, 16) / 16, places = 2 * blocks + 1;
  size_t key_bytes = ck_cache_key_bytes(s->key_type, s->head_length) * places;
  size_t value_bytes = ck_cache_value_bytes(s->value_type, s->head_length) * places;
  size_t query_count = s->query_count * (s->head_length + 1);
  call a = {.keys = bytes(c, key_bytes, 0),
            .values = bytes(c, value_bytes, 0),
            .indices = (uint32_t *)floats(c, blocks, 1),
            .queries = bytes(c, s->query_count * sizeof(ck_attention_query), 0),
            .length = s->length,
            .query_count = s->query_count,
            .out_count = s->query_count * (s->head_length + 2)};
  float *query = floats(c, query_count, 1);
  for (size_t i = 0; i < query_count; i++) query[i] = 3.0f * random_unit(c);
  a.job = (ck_attention){.query = query,
                         .queries = a.queries,
                         .score_stride = rounded_up(s->length, 16) + 16,
                         .head_length = s->head_length,
                         .key_type = s->key_type,
                         .value_type = s->value_type,
                         .scale = (float)(1 / sqrt((double)s->head_length)),
                         .soft_cap = s->soft_cap};
  add_queries(c, &a, s);
  memset(a.keys, 0xff, key_bytes);
  memset(a.values, 0xff, value_bytes);
  // Distinct places out of order: a random start and a stride prime to their number.
  size_t at = random_below(c, places), stride = places > 7 && places % 7 != 0 ? 7 : 1;
  for (size_t i = 0; i < blocks; i++, at = (at + stride) % places) a.indices[i] = (uint32_t)at;
  for (size_t i = 0; i < s->length; i++) store_random(c, &a, i);
  return a;
}

/// Blocks first ..< end of the call's sequence.
static ck_cache_blocks part_of(const call *a, size_t first, size_t end) {
  return (ck_cache_blocks){.keys = a->keys,
                           .values = a->values,
                           .indices = a->indices + first,
                           .first_block = first,
                           .count = end - first};
}

/// Runs attention with the blocks, the queries and the elements cut in two at random places.
static void attend(context *c, const ck_kernels *kernels, const call *a, bool cuts, float *out) {
  size_t scratch = a->query_count * a->job.score_stride;
  ck_attention job = a->job;
  job.out = out;
  job.scores = outputs(c, scratch, 0);
  job.inverses = outputs(c, a->query_count, 1);
  size_t first = job.origin / 16, end = rounded_up(a->length, 16) / 16;
  size_t parts = rounded_up(job.head_length, 16) / 16, count = a->query_count;
  size_t cut = cuts ? first + random_below(c, end - first + 1) : end;
  size_t query_cut = cuts ? random_below(c, count + 1) : count;
  size_t part_cut = cuts ? random_below(c, parts + 1) : parts;
  ck_cache_blocks head = part_of(a, first, cut), tail = part_of(a, cut, end);
  kernels->attention_scores(&job, 0, count, &tail);
  kernels->attention_scores(&job, 0, query_cut, &head);
  kernels->attention_scores(&job, query_cut, count, &head);
  kernels->attention_weights(&job, 0, query_cut);
  kernels->attention_weights(&job, query_cut, count);
  kernels->attention_values(&job, query_cut, count, &head, 0, parts);
  kernels->attention_values(&job, query_cut, count, &tail, 0, parts);
  kernels->attention_values(&job, 0, query_cut, &head, part_cut, parts);
  kernels->attention_values(&job, 0, query_cut, &head, 0, part_cut);
  kernels->attention_values(&job, 0, query_cut, &tail, 0, part_cut);
  kernels->attention_values(&job, 0, query_cut, &tail, part_cut, parts);
  guards_hold(c, job.scores, scratch);
  guards_hold(c, job.inverses, a->query_count);
}

/// Runs table and definition, compares them, and returns the table's output.
static const float *compare(context *c, const call *a) {
  float *got = outputs(c, a->out_count, 1), *want = outputs(c, a->out_count, 0);
  attend(c, c->kernels, a, true, got);
  attend(c, c->scalar, a, false, want);
  expect_same(c, "out", got, want, a->out_count);
  guards_hold(c, got, a->out_count);
  return got;
}

static double exact_score(const call *a, size_t q, size_t position) {
  float key[ck_head_length_max];
  ck_cache_load_key(a->job.key_type, key, key_block(a, position), position % 16,
                    a->job.head_length);
  double sum = 0;
  for (size_t k = 0; k < a->job.head_length; k++)
    sum += (double)a->job.query[a->queries[q].query + k] * (double)key[k];
  sum *= (double)a->job.scale;
  double cap = (double)a->job.soft_cap;
  return cap > 0 ? cap * tanh(sum / cap) : sum;
}

/// Values are below one and scores below 9 * sqrt(256): a score is off by at most about 3e-5, and
/// so is its weight. A query rounded to steps of 3 / 8191 moves a score by up to
/// 3 sqrt(256) * 3 / 16382 = 9e-3, were all roundings of one sign, and by 2e-4 where they are
/// independent. Weights are rounded to steps of the largest of their block of 16, times the values'
/// steps: each is off by half a step at most.
static double allowed_error(const ck_attention *job, const ck_attention_query *query,
                            const double *weights, double total) {
  double error = 4e-5, half_steps = 0;
  if (job->key_type == ck_cache_i16) error += 3e-3;
  if (job->value_type != ck_cache_i16) return error;
  for (size_t i = query->first; i < query->end;) {
    size_t start = i, end = smaller(query->end, i / 16 * 16 + 16);
    double largest = 0;
    for (; i < end; i++) largest = fmax(largest, weights[i]);
    half_steps += largest * (double)(end - start) / (2 * 16383);
  }
  return error + half_steps / total;
}

static void check_oracle(context *c, const call *a, const float *out) {
  size_t head_length = a->job.head_length;
  for (size_t q = 0; q < a->query_count; q++) {
    const ck_attention_query *query = a->queries + q;
    double largest = -INFINITY, total = 0, sums[ck_head_length_max] = {0};
    double *scores = bytes(c, a->length * sizeof(double), 0);  // later the weights
    for (size_t i = query->first; i < query->end; i++)
      largest = fmax(largest, scores[i] = exact_score(a, q, i));
    for (size_t i = query->first; i < query->end; i++) {
      float value[ck_head_length_max];
      ck_cache_load_value(a->job.value_type, value, value_block(a, i), i % 16, head_length);
      double weight = scores[i] = exp(scores[i] - largest);
      total += weight;
      for (size_t k = 0; k < head_length; k++) sums[k] += weight * (double)value[k];
    }
    double allowed = allowed_error(&a->job, query, scores, total);
    for (size_t k = 0; k < head_length; k++) {
      size_t at = query->out + k;
      expect_near(c, "out", at, (double)out[at], sums[k] / total, allowed);
    }
    free(c->blocks[--c->block_count]);
  }
}

static const size_t head_lengths[] = {8,  9,  16, 20, 24, 31, 32, 40, 48,  63,
                                      64, 65, 72, 80, 96, 100, 128, 176, 192, 256};

static void check_setting(context *c, const setting *s) {
  describe(c, s, "");
  call a = new_call(c, s);
  check_oracle(c, &a, compare(c, &a));
  release(c);
}

void check_attention(context *c) {
  for (size_t h = 0; h < LENGTH(head_lengths); h++) {
    size_t step = (c->full ? 7 : 29) + head_lengths[h] / 16;
    for (size_t length = 1 + h % 3; length <= 150; length += step) {
      for (size_t types = 0; types < 16; types += c->full ? 1 : 3) {
        setting s = {.length = length,
                     .query_count = 1 + random_below(c, 9),
                     .head_length = head_lengths[h],
                     .key_type = (ck_cache_type)(types / 4),
                     .value_type = (ck_cache_type)(types % 4),
                     .soft_cap = random_below(c, 4) == 0 ? 5.0f : 0.0f,
                     .windows = random_below(c, 2)};
        check_setting(c, &s);
      }
    }
  }
}

/// Contexts as long as a model has, and more queries than any tile.
void check_attention_long(context *c) {
  for (size_t types = 0; types < ck_cache_type_count; types++) {
    setting s = {.length = c->full ? 8000 : 1003,
                 .query_count = 19,
                 .head_length = 64,
                 .key_type = (ck_cache_type)types,
                 .value_type = (ck_cache_type)types,
                 .windows = types % 2 == 1};
    check_setting(c, &s);
  }
}

/// A row of one sort: all equal to the largest, which fills every sum of integers; magnitudes from
/// the smallest to the largest floats; zeros; magnitudes that are rounded to zero.
static void fill_extreme(context *c, float *row, size_t count, size_t kind) {
  float sign = random_below(c, 2) ? 1.0f : -1.0f;
  for (size_t i = 0; i < count; i++) {
    switch (kind) {
      case 0: row[i] = 3.0f * sign; break;
      case 1: row[i] = ldexpf(random_unit(c), (int)random_below(c, 250) - 125); break;
      case 2: row[i] = random_below(c, 2) ? 0.0f : -0.0f; break;
      default: row[i] = ldexpf(random_unit(c), -100 - (int)random_below(c, 40));
    }
  }
}

/// Every table does the same with what no model computes.
void check_attention_extremes(context *c) {
  static const size_t sizes[] = {8, 63, 64, 65, 128, 256};
  for (size_t type = 0; type < ck_cache_type_count; type++) {
    for (size_t h = 0; h < LENGTH(sizes); h++) {
      for (size_t kinds = 0; kinds < 64; kinds += c->full ? 1 : 5) {
        setting s = {.length = 1 + random_below(c, 70),
                     .query_count = 1 + random_below(c, 7),
                     .head_length = sizes[h],
                     .key_type = (ck_cache_type)type,
                     .value_type = (ck_cache_type)type,
                     .windows = random_below(c, 2)};
        describe(c, &s, ", extremes");
        call a = new_call(c, &s);
        for (size_t i = 0; i < s.length; i++) {
          float row[ck_head_length_max];
          fill_extreme(c, row, s.head_length, kinds % 4);
          c->scalar->store_key(key_block(&a, i), s.key_type, i % 16, row, s.head_length);
          fill_extreme(c, row, s.head_length, kinds / 4 % 4);
          c->scalar->store_value(value_block(&a, i), s.value_type, i % 16, row, s.head_length);
        }
        for (size_t q = 0; q < s.query_count; q++)
          fill_extreme(c, (float *)a.job.query + a.queries[q].query, s.head_length, kinds / 16);
        compare(c, &a);
        release(c);
      }
    }
  }
}

/// A NaN or an infinity in the key, value or query of one position.
static void check_spoiled(context *c, setting s, float value) {
  for (size_t position = 0; position < s.length; position += 1 + s.length / 5) {
    for (size_t place = 0; place < 3; place++) {
      static const char *const places[] = {"query", "key", "value"};
      char more[80];
      call a = new_call(c, &s);
      size_t k = random_below(c, s.head_length);
      snprintf(more, sizeof more, ", %g at %zu of %s %zu", (double)value, k, places[place],
               position);
      describe(c, &s, more);
      float row[ck_head_length_max];
      for (size_t i = 0; i < s.head_length; i++) row[i] = i == k ? value : random_unit(c);
      if (place == 0) ((float *)a.job.query)[a.queries[0].query + k] = value;
      if (place == 1)
        c->scalar->store_key(key_block(&a, position), s.key_type, position % 16, row,
                             s.head_length);
      if (place == 2)
        c->scalar->store_value(value_block(&a, position), s.value_type, position % 16, row,
                               s.head_length);
      const float *out = compare(c, &a);
      // Elements that share a scale.
      size_t width = s.value_type == ck_cache_q8_0 ? 32 : s.value_type == ck_cache_i16 ? 256 : 1;
      for (size_t q = 0; q < s.query_count && value != value; q++) {
        bool sees = position >= a.queries[q].first && position < a.queries[q].end;
        for (size_t i = 0; i < s.head_length; i++) {
          bool spoiled = place == 0 ? q == 0 : sees && (place == 1 || i / width == k / width);
          float found = out[a.queries[q].out + i];
          if ((found != found) != spoiled) fail(c, "head %zu: [%zu] is %g", q, i, (double)found);
        }
      }
      release(c);
    }
  }
}

void check_attention_not_finite(context *c) {
  static const size_t lengths[] = {1, 2, 15, 16, 17, 40}, sizes[] = {8, 20, 64, 72};
  for (size_t l = 0; l < LENGTH(lengths); l++) {
    for (size_t h = 0; h < LENGTH(sizes); h++) {
      setting s = {.length = lengths[l],
                   .query_count = 2 + 4 * (h % 2),
                   .head_length = sizes[h],
                   .key_type = (ck_cache_type)((l + h / 2) % 4),
                   .value_type = (ck_cache_type)((h + l / 3) % 4),
                   .soft_cap = h == 2 ? 20.0f : 0.0f};
      check_spoiled(c, s, NAN);
      check_spoiled(c, s, INFINITY);
      check_spoiled(c, s, -INFINITY);
      describe(c, &s, ", keys all NaN");
      call a = new_call(c, &s);
      for (size_t i = 0; i < s.length; i++)
        memset(key_block(&a, i), 0xff, ck_cache_key_bytes(s.key_type, s.head_length));
      compare(c, &a);
      release(c);
    }
  }
}

// MARK: top k

typedef float value_source(context *c, size_t index);

static float any_value(context *c, size_t index) {
  (void)index;
  return random_float(c);
}
static float few_values(context *c, size_t index) {
  (void)index;
  return (float)random_below(c, 3);
}
static float equal_values(context *c, size_t index) {
  (void)c, (void)index;
  return 4.5f;
}
static float rising(context *c, size_t index) {
  (void)c;
  return (float)index;
}
static float falling(context *c, size_t index) {
  (void)c;
  return -(float)index;
}
static float zeros_of_both_signs(context *c, size_t index) {
  (void)index;
  return random_below(c, 2) ? 0.0f : -0.0f;
}
static float not_numbers(context *c, size_t index) {
  (void)c, (void)index;
  return NAN;
}
static float anything(context *c, size_t index) {
  (void)index;
  switch (random_below(c, 6)) {
    case 0: return NAN;
    case 1: return INFINITY;
    case 2: return -INFINITY;
    case 3: return -NAN;
    default: return random_float(c);
  }
}

static value_source *const sources[] = {any_value, few_values, equal_values, rising, falling,
                                        zeros_of_both_signs, not_numbers, anything};

static float rank_of(float value) { return value == value ? value : -INFINITY; }

/// Rank r of the answer is the first index that `r` others come before.
static void check_top_of(context *c, const float *values, size_t count, size_t k) {
  size_t kept = c->block_count, expected = smaller(k, count);
  float *top = outputs(c, expected, 1), *places = outputs(c, expected, 3);
  size_t filled = c->kernels->top_k(values, count, k, (uint32_t *)places, top);
  guards_hold(c, top, expected);
  guards_hold(c, places, expected);
  if (filled != expected) fail(c, "%zu found, not %zu", filled, expected);
  bool *used = bytes(c, count, 0);
  memset(used, 0, count);
  for (size_t r = 0; r < smaller(filled, expected); r++) {
    size_t best = count;
    for (size_t i = 0; i < count; i++)
      if (!used[i] && (best == count || rank_of(values[i]) > rank_of(values[best]))) best = i;
    used[best] = true;
    uint32_t index;
    memcpy(&index, places + r, 4);
    if (index == best && same(top[r], rank_of(values[best]))) continue;
    fail(c, "rank %zu is index %u (%g), not %zu (%g)", r, index, (double)top[r], best,
         (double)rank_of(values[best]));
    break;
  }
  while (c->block_count > kept) free(c->blocks[--c->block_count]);
}

void check_top_k(context *c) {
  static const size_t counts[] = {0, 1, 2, 15, 16, 17, 31, 32, 33, 47, 70, 1000};
  for (size_t s = 0; s < LENGTH(sources); s++) {
    for (size_t n = 0; n < LENGTH(counts); n++) {
      size_t count = counts[n];
      const size_t ks[] = {0, 1, 2, 3, 15, 16, 17, 40, count, count + 5};
      float *values = floats(c, count, 1);
      for (size_t i = 0; i < count; i++) values[i] = sources[s](c, i);
      for (size_t i = 0; i < LENGTH(ks); i++) {
        set_case(c, "source %zu, %zu of %zu", s, ks[i], count);
        if (count < 1000 || ks[i] < 100 || c->full) check_top_of(c, values, count, ks[i]);
      }
      release(c);
    }
  }
}
