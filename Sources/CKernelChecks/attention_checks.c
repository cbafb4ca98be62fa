// Attention and the choice of the largest.
#pragma STDC FP_CONTRACT OFF
#include "support.h"

/// One call of the attention kernel. The cache holds rows of several heads; rows and parts of rows
/// that do not belong to the call are NaN.
typedef struct call {
  size_t length, group, head_length, row_stride;
  float *query, *keys, *values;
  uint32_t *slots;
  float scale, soft_cap;
} call;

static call new_call(context *c, size_t length, size_t group, size_t head_length) {
  size_t rows = length * 2 + 1, row_stride = head_length + 3;
  size_t cache = (rows - 1) * row_stride + head_length;
  call a = {.length = length,
            .group = group,
            .head_length = head_length,
            .row_stride = row_stride,
            .query = floats(c, group * head_length, 1),
            .keys = floats(c, cache, 1),
            .values = floats(c, cache, 3),
            .slots = (uint32_t *)floats(c, length, 1),
            .scale = (float)(1 / sqrt((double)head_length))};
  for (size_t i = 0; i < group * head_length; i++) a.query[i] = 3.0f * random_unit(c);
  for (size_t i = 0; i < cache; i++) a.keys[i] = a.values[i] = NAN;
  // Distinct rows out of order: a random start and a stride prime to the number of rows.
  size_t at = random_below(c, rows), stride = rows > 7 && rows % 7 != 0 ? 7 : 1;
  for (size_t i = 0; i < length; i++, at = (at + stride) % rows) {
    a.slots[i] = (uint32_t)at;
    for (size_t k = 0; k < head_length; k++) {
      a.keys[at * row_stride + k] = 3.0f * random_unit(c);
      a.values[at * row_stride + k] = random_unit(c);
    }
  }
  return a;
}

static void attend(context *c, const ck_kernels *kernels, const call *a, float *out) {
  size_t scratch = a->group * rounded_up(a->length, 16);
  float *scores = outputs(c, scratch, 1);
  kernels->attention(out, a->query, a->keys, a->values, a->row_stride, a->slots, a->length,
                     a->group, a->head_length, a->scale, a->soft_cap, scores);
  guards_hold(c, scores, scratch);
}

/// Runs table and definition, compares them, and returns the table's output.
static const float *compare(context *c, const call *a) {
  size_t count = a->group * a->head_length;
  float *got = outputs(c, count, 1), *want = floats(c, count, 0);
  attend(c, c->kernels, a, got);
  attend(c, c->scalar, a, want);
  expect_same(c, "out", got, want, count);
  guards_hold(c, got, count);
  return got;
}

static double exact_score(const call *a, size_t head, size_t position) {
  double sum = 0;
  for (size_t k = 0; k < a->head_length; k++) {
    sum += (double)a->query[head * a->head_length + k] *
           (double)a->keys[a->slots[position] * a->row_stride + k];
  }
  sum *= (double)a->scale;
  double cap = (double)a->soft_cap;
  return cap > 0 ? cap * tanh(sum / cap) : sum;
}

/// Values are below one and scores below 9 * sqrt(128): a score is off by at most about 1e-5, and
/// so is its weight.
static void check_oracle(context *c, const call *a, const float *out) {
  for (size_t head = 0; head < a->group; head++) {
    double largest = -INFINITY, total = 0, sums[128] = {0};
    for (size_t i = 0; i < a->length; i++) largest = fmax(largest, exact_score(a, head, i));
    for (size_t i = 0; i < a->length; i++) {
      double weight = exp(exact_score(a, head, i) - largest);
      total += weight;
      for (size_t k = 0; k < a->head_length; k++)
        sums[k] += weight * (double)a->values[a->slots[i] * a->row_stride + k];
    }
    for (size_t k = 0; k < a->head_length; k++) {
      size_t at = head * a->head_length + k;
      expect_near(c, "out", at, (double)out[at], sums[k] / total, 2e-5);
    }
  }
}

static const size_t head_lengths[] = {8,  9,  16, 20, 24, 31, 32, 48,
                                      63, 64, 65, 72, 80, 96, 100, 128};

void check_attention(context *c) {
  for (size_t h = 0; h < LENGTH(head_lengths); h++) {
    for (size_t length = 1; length <= 100; length += c->full ? 1 : 1 + 3 * h % 11) {
      size_t group = 1 + (length + h) % 4;
      call a = new_call(c, length, group, head_lengths[h]);
      a.soft_cap = length % 3 == 1 ? 2.5f : 0.0f;
      set_case(c, "%zu positions, %zu heads of %zu, soft cap %g", length, group, head_lengths[h],
               (double)a.soft_cap);
      check_oracle(c, &a, compare(c, &a));
      release(c);
    }
  }
}

/// A NaN or an infinity in the key, value or query of one position.
static void check_spoiled(context *c, size_t length, size_t head_length, float value) {
  for (size_t position = 0; position < length; position += 1 + length / 5) {
    for (size_t place = 0; place < 3; place++) {
      static const char *const places[] = {"query", "key", "value"};
      call a = new_call(c, length, 2, head_length);
      size_t k = random_below(c, head_length);
      size_t at = a.slots[position] * a.row_stride + k;
      set_case(c, "%zu positions, 2 heads of %zu, %g at %zu of %s %zu", length, head_length,
               (double)value, k, places[place], position);
      if (place == 0) a.query[k] = value;
      if (place == 1) a.keys[at] = value;
      if (place == 2) a.values[at] = value;
      if (position % 2 == 1) a.soft_cap = 5.0f;
      const float *out = compare(c, &a);
      for (size_t i = 0; i < 2 * head_length && value != value; i++) {
        bool spoiled = place == 0 ? i < head_length : place == 1 || i % head_length == k;
        if ((out[i] != out[i]) != spoiled) fail(c, "out[%zu] is %g", i, (double)out[i]);
      }
      release(c);
    }
  }
}

void check_attention_not_finite(context *c) {
  static const size_t lengths[] = {1, 2, 15, 16, 17, 40}, sizes[] = {8, 20, 64, 72};
  for (size_t l = 0; l < LENGTH(lengths); l++) {
    for (size_t h = 0; h < LENGTH(sizes); h++) {
      check_spoiled(c, lengths[l], sizes[h], NAN);
      check_spoiled(c, lengths[l], sizes[h], INFINITY);
      check_spoiled(c, lengths[l], sizes[h], -INFINITY);
      set_case(c, "%zu positions, 2 heads of %zu, keys all NaN", lengths[l], sizes[h]);
      call a = new_call(c, lengths[l], 2, sizes[h]);
      for (size_t i = 0; i < lengths[l]; i++)
        for (size_t k = 0; k < sizes[h]; k++) a.keys[a.slots[i] * a.row_stride + k] = NAN;
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
