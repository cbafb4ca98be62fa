// Storing keys and values in blocks, and moving them.
#pragma STDC FP_CONTRACT OFF
#include "support.h"

/// The functions for keys or those for values.
typedef struct side {
  const char *name;
  bool is_key;
} side;

static const side sides[] = {{"key", true}, {"value", false}};

static size_t block_bytes(const side *s, ck_cache_type type, size_t head_length) {
  return s->is_key ? ck_cache_key_bytes(type, head_length)
                   : ck_cache_value_bytes(type, head_length);
}

static void store(const ck_kernels *kernels, const side *s, uint8_t *block, ck_cache_type type,
                  size_t position, const float *x, size_t head_length) {
  (s->is_key ? kernels->store_key : kernels->store_value)(block, type, position, x, head_length);
}

static void load(const side *s, ck_cache_type type, float *out, const uint8_t *block,
                 size_t position, size_t head_length) {
  (s->is_key ? ck_cache_load_key : ck_cache_load_value)(type, out, block, position, head_length);
}

/// Every sort of magnitude a rounding can meet.
static float any_float(context *c, size_t kind) {
  switch (kind) {
    case 0: return random_unit(c);
    case 1: return ldexpf(random_unit(c), -14 - (int)random_below(c, 12));  // subnormal halves
    case 2: return random_below(c, 2) ? 0.0f : -0.0f;
    case 3: return 70000.0f * random_unit(c);  // past the largest half
    case 4: return ldexpf(random_unit(c), (int)random_below(c, 250) - 125);
    // Halfway between two halves: ties go to the even one.
    default: return ldexpf((float)(2 * random_below(c, 2048) + 1), -8);
  }
}

/// How far a stored element may be from `x` in a group whose largest magnitude is `largest`.
static double allowed(const side *s, ck_cache_type type, double x, double largest) {
  if (type == ck_cache_f32) return 0;
  if (type == ck_cache_f16) return fabs(x) * 0x1p-11 + 0x1p-25;
  // Half a step, and the float that it is.
  if (type == ck_cache_i16) return largest / (s->is_key ? 4095 : 8191) * 0.501 + 1e-30;
  // Half a step, a scale rounded to half precision, and scales that are no normal halves.
  return largest / 127 * 0.51 + 0x1p-24 * 127;
}

/// How many elements share a scale.
static size_t group_of(ck_cache_type type) {
  return type == ck_cache_i16 ? ck_head_length_max : type == ck_cache_q8_0 ? 32 : 1;
}

static void check_near(context *c, const side *s, ck_cache_type type, const float *got,
                       const float *x, size_t count) {
  size_t group = group_of(type);
  for (size_t i = 0; i < count; i++) {
    double largest = 0;
    for (size_t k = i / group * group; k < count && k < i / group * group + group; k++)
      largest = fmax(largest, fabs((double)x[k]));
    if (type == ck_cache_f16 && fabsf(x[i]) >= 65520.0f) {
      if (got[i] != copysignf(INFINITY, x[i]))
        fail(c, "[%zu] is %g, not infinite", i, (double)got[i]);
    } else if (type == ck_cache_q8_0 && largest >= 127 * 65520.0) {
      if (got[i] == got[i]) fail(c, "[%zu] is %g, not NaN", i, (double)got[i]);
    } else {
      expect_near(c, "element", i, (double)got[i], (double)x[i],
                  allowed(s, type, (double)x[i], largest));
    }
  }
}

static void check_copy(context *c, const side *s, ck_cache_type type, const uint8_t *from,
                       size_t position, size_t head_length) {
  size_t size = block_bytes(s, type, head_length), to = (position + 5) % 16;
  uint8_t *copy = bytes(c, size, 0), *before = bytes(c, size, 0);
  memset(copy, 0x3c, size);
  memcpy(before, copy, size);
  (s->is_key ? ck_cache_copy_key : ck_cache_copy_value)(type, copy, to, from, position,
                                                        head_length);
  float got[ck_head_length_max], want[ck_head_length_max];
  for (size_t i = 0; i < 16; i++) {
    load(s, type, got, copy, i, head_length);
    load(s, type, want, i == to ? from : before, i == to ? position : i, head_length);
    expect_same(c, i == to ? "copy" : "beside the copy", got, want, head_length);
  }
}

static void check_one(context *c, const side *s, ck_cache_type type, size_t head_length,
                      size_t kind) {
  size_t size = block_bytes(s, type, head_length);
  uint8_t *got = bytes(c, size, 0), *want = bytes(c, size, 0);
  memset(got, 0x55, size);
  memset(want, 0x55, size);
  float *x = floats(c, head_length, 1), loaded[ck_head_length_max];
  // All positions, so that the last store shows what it did to the others.
  for (size_t turn = 0; turn < 16; turn++) {
    size_t position = (turn * 7 + kind) % 16;
    for (size_t i = 0; i < head_length; i++)
      x[i] = any_float(c, random_below(c, 4) == 0 ? random_below(c, 6) : kind);
    store(c->kernels, s, got, type, position, x, head_length);
    store(c->scalar, s, want, type, position, x, head_length);
    if (memcmp(got, want, size) != 0) fail(c, "position %zu: blocks differ", position);
    load(s, type, loaded, got, position, head_length);
    check_near(c, s, type, loaded, x, head_length);
  }
  check_copy(c, s, type, got, random_below(c, 16), head_length);
  x[head_length - 1] = NAN;
  store(c->kernels, s, got, type, 2, x, head_length);
  load(s, type, loaded, got, 2, head_length);
  size_t group = group_of(type), first = (head_length - 1) / group * group;
  for (size_t i = first; i < head_length; i++)
    if (loaded[i] == loaded[i]) fail(c, "[%zu] beside a NaN is %g", i, (double)loaded[i]);
  release(c);
}

void check_cache_store(context *c) {
  static const size_t lengths[] = {1, 8, 15, 16, 17, 20, 32, 33, 64, 72, 80, 96, 128, 256};
  for (size_t i = 0; i < LENGTH(sides); i++) {
    for (size_t type = 0; type < ck_cache_type_count; type++) {
      for (size_t h = 0; h < LENGTH(lengths); h++) {
        for (size_t kind = 0; kind < 6; kind++) {
          set_case(c, "%s of %zu, type %zu, values of kind %zu", sides[i].name, lengths[h], type,
                   kind);
          check_one(c, &sides[i], (ck_cache_type)type, lengths[h], kind);
        }
      }
    }
  }
}
