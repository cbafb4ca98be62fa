// Kernels over plain vectors.
#pragma STDC FP_CONTRACT OFF
#include <float.h>

#include "support.h"

/// Values at which something special happens somewhere.
static const float specials[] = {
    0.0f,    -0.0f,    1.0f,  -1.0f,      FLT_MIN,          -FLT_MIN, 1e-45f,     -1e-45f,
    FLT_MAX, -FLT_MAX, NAN,   INFINITY,   -INFINITY,        -87.0f,   -87.00001f, -86.99999f,
    88.7f,   88.70001f, 88.69999f, 87.0f, -88.7f,           1e-30f,   1e10f,      -1e10f};

static void put_specials(context *c, float *x, size_t count) {
  for (size_t i = 0; i < count; i++)
    if (random_below(c, 4) == 0) x[i] = specials[random_below(c, LENGTH(specials))];
}

/// Counts 0 ... 70, each with ordinary values (false) and with specials (true).
#define FOR_COUNTS(c, count, special)                                  \
  for (size_t count = 0; count <= 70; count += (c)->full ? 1 : 5)      \
    for (int special = 0; special < 2; special++)

// MARK: norm

static void check_norm_of(context *c, const float *x, const float *weight, size_t count,
                          float epsilon) {
  float *got = outputs(c, count, 3), *want = floats(c, count, 0);
  c->kernels->rms_norm(got, x, weight, count, epsilon);
  c->scalar->rms_norm(want, x, weight, count, epsilon);
  expect_same(c, "out", got, want, count);
  guards_hold(c, got, count);
  memcpy(got, x, count * sizeof *x);
  c->kernels->rms_norm(got, got, weight, count, epsilon);
  expect_same(c, "out in place", got, want, count);
}

void check_rms_norm(context *c) {
  FOR_COUNTS(c, count, special) {
    set_case(c, "%zu floats, %s", count, special ? "special" : "ordinary");
    float *x = floats(c, count, 1), *weight = floats(c, count, 1);
    fill_random(c, x, count);
    fill_random(c, weight, count);
    if (special) put_specials(c, x, count);
    check_norm_of(c, x, weight, count, special ? 0.0f : 1e-5f);
    release(c);
  }
  for (size_t count = 576; count <= 4099; count = count * 2 + 1) {
    set_case(c, "%zu floats", count);
    float *x = floats(c, count, 1), *weight = floats(c, count, 1), *out = floats(c, count, 0);
    fill_random(c, x, count);
    fill_random(c, weight, count);
    check_norm_of(c, x, weight, count, 1e-6f);
    c->kernels->rms_norm(out, x, weight, count, 1e-6f);
    double squares = 0;
    for (size_t i = 0; i < count; i++) squares += (double)x[i] * (double)x[i];
    double scale = 1 / sqrt(squares / (double)count + 1e-6);
    for (size_t i = 0; i < count; i++) {
      double exact = (double)x[i] * scale * (double)weight[i];
      expect_near(c, "out", i, (double)out[i], exact, 1e-5 * fabs(exact));
    }
    set_case(c, "%zu floats, one NaN", count);
    x[random_below(c, count)] = NAN;
    check_norm_of(c, x, weight, count, 1e-6f);
    c->kernels->rms_norm(out, x, weight, count, 1e-6f);
    for (size_t i = 0; i < count; i++)
      if (out[i] == out[i]) fail(c, "out[%zu] is %g", i, (double)out[i]);
    release(c);
  }
}

// MARK: SiLU

void check_silu_multiply(context *c) {
  FOR_COUNTS(c, count, special) {
    set_case(c, "%zu floats, %s", count, special ? "special" : "ordinary");
    float *gate = floats(c, count, 1), *up = floats(c, count, 3);
    float *got = outputs(c, count, 1), *want = floats(c, count, 0);
    for (size_t i = 0; i < count; i++) gate[i] = random_unit(c) * 30.0f;
    fill_random(c, up, count);
    if (special) put_specials(c, gate, count);
    if (special) put_specials(c, up, count);
    c->scalar->silu_multiply(want, gate, up, count);
    c->kernels->silu_multiply(got, gate, up, count);
    expect_same(c, "out", got, want, count);
    guards_hold(c, got, count);
    for (size_t i = 0; i < count && !special; i++) {
      double exact = (double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i];
      expect_near(c, "out", i, (double)got[i], exact, 1e-6 * fabs(exact));
    }
    memcpy(got, gate, count * sizeof *gate);
    c->kernels->silu_multiply(got, got, up, count);
    expect_same(c, "out over gate", got, want, count);
    memcpy(got, up, count * sizeof *up);
    c->kernels->silu_multiply(got, gate, got, count);
    expect_same(c, "out over up", got, want, count);
    release(c);
  }
}

// MARK: GELU

void check_gelu_multiply(context *c) {
  FOR_COUNTS(c, count, special) {
    set_case(c, "%zu floats, %s", count, special ? "special" : "ordinary");
    float *gate = floats(c, count, 1), *up = floats(c, count, 3);
    float *got = outputs(c, count, 1), *want = floats(c, count, 0);
    for (size_t i = 0; i < count; i++) gate[i] = random_unit(c) * (i % 2 ? 12.0f : 3.0f);
    fill_random(c, up, count);
    if (special) put_specials(c, gate, count);
    if (special) put_specials(c, up, count);
    c->scalar->gelu_multiply(want, gate, up, count);
    c->kernels->gelu_multiply(got, gate, up, count);
    expect_same(c, "out", got, want, count);
    guards_hold(c, got, count);
    for (size_t i = 0; i < count && !special; i++) {
      double x = (double)gate[i], y = (double)up[i];
      double gelu = 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      // tanh near -1 hides the tiny values that the kernel still tells apart.
      expect_near(c, "out", i, (double)got[i], gelu * y, (1e-6 * fabs(gelu) + 1e-9) * fabs(y));
    }
    memcpy(got, gate, count * sizeof *gate);
    c->kernels->gelu_multiply(got, got, up, count);
    expect_same(c, "out over gate", got, want, count);
    memcpy(got, up, count * sizeof *up);
    c->kernels->gelu_multiply(got, gate, got, count);
    expect_same(c, "out over up", got, want, count);
    release(c);
  }
}

// MARK: exponentials

static void check_exponentials_of(context *c, const float *x, size_t count) {
  size_t kept = c->block_count;
  float *got = outputs(c, count, 1), *want = floats(c, count, 0);
  c->kernels->exponentials(got, x, count);
  c->scalar->exponentials(want, x, count);
  expect_same(c, "out", got, want, count);
  guards_hold(c, got, count);
  for (size_t i = 0; i < count; i++) {
    if (x[i] != x[i]) {
      if (got[i] == got[i]) fail(c, "out[%zu] is %g for NaN", i, (double)got[i]);
    } else if (x[i] < -87.0f || x[i] > 88.7f) {
      float edge = x[i] < 0.0f ? 0.0f : INFINITY;
      if (got[i] != edge) fail(c, "e ^ %a is %g", (double)x[i], (double)got[i]);
    } else {
      double exact = exp((double)x[i]);
      expect_near(c, "out", i, (double)got[i], exact, 2e-7 * exact);
    }
  }
  while (c->block_count > kept) free(c->blocks[--c->block_count]);
}

void check_exponentials(context *c) {
  FOR_COUNTS(c, count, special) {
    set_case(c, "%zu floats, %s", count, special ? "special" : "ordinary");
    float *x = floats(c, count, 1);
    for (size_t i = 0; i < count; i++) x[i] = random_unit(c) * 90.0f;
    if (special) put_specials(c, x, count);
    check_exponentials_of(c, x, count);
    release(c);
  }
  float *x = floats(c, 1000, 1);
  // The whole range evenly, then every pattern of bits in strides.
  size_t steps = c->full ? 200000 : 10000;
  for (size_t step = 0; step < steps; step += 1000) {
    set_case(c, "from %zu of %zu steps on", step, steps);
    for (size_t i = 0; i < 1000; i++)
      x[i] = (float)(-87.5 + 176.5 * (double)(step + i) / (double)steps);
    check_exponentials_of(c, x, 1000);
  }
  uint32_t stride = c->full ? 9973 : 199999, bits = 0;
  for (size_t batch = 0; batch < (((size_t)1 << 32) - 1) / stride / 1000; batch++) {
    set_case(c, "bits from %08x on", bits);
    for (size_t i = 0; i < 1000; i++, bits += stride) x[i] = float_of(bits);
    check_exponentials_of(c, x, 1000);
  }
}

// MARK: rotation

typedef struct rotation {
  bool halves;  ///< Pairs (i, i + pairs), not (2 i, 2 i + 1).
  size_t heads, length, pairs;
  bool special;
} rotation;

static void rotate(const ck_kernels *kernels, rotation r, float *x, const float *cosines,
                   const float *sines) {
  if (r.halves)
    kernels->rope_halves(x, r.heads, r.length, cosines, sines, r.pairs);
  else
    kernels->rope_adjacent(x, r.heads, r.length, cosines, sines, r.pairs);
}

static void check_rotation(context *c, rotation r) {
  size_t heads = r.heads, length = r.length, pairs = r.pairs;
  size_t count = heads * length;
  float *x = floats(c, count, 0), *got = outputs(c, count, 1), *want = floats(c, count, 0);
  float *cosines = floats(c, pairs, 1), *sines = floats(c, pairs, 3);
  set_case(c, "%zu heads of %zu, %zu pairs%s", heads, length, pairs,
           r.special ? ", special" : "");
  fill_random(c, x, count);
  if (r.special) put_specials(c, x, count);
  for (size_t i = 0; i < pairs; i++) {
    double angle = (double)random_unit(c) * 4;
    cosines[i] = (float)cos(angle);
    sines[i] = (float)sin(angle);
  }
  memcpy(got, x, count * sizeof *x);
  memcpy(want, x, count * sizeof *x);
  rotate(c->kernels, r, got, cosines, sines);
  rotate(c->scalar, r, want, cosines, sines);
  expect_same(c, "x", got, want, count);
  guards_hold(c, got, count);
  for (size_t head = 0; head < heads; head++) {
    const float *before = x + head * length, *after = got + head * length;
    expect_same(c, "the rest", after + 2 * pairs, before + 2 * pairs, length - 2 * pairs);
    for (size_t i = 0; i < pairs && !r.special; i++) {
      size_t first = r.halves ? i : 2 * i, second = r.halves ? i + pairs : 2 * i + 1;
      double a = (double)before[first], b = (double)before[second];
      double cosine = (double)cosines[i], sine = (double)sines[i];
      double bound = 2e-7 * (fabs(a) + fabs(b));
      expect_near(c, "first x", i, (double)after[first], a * cosine - b * sine, bound);
      expect_near(c, "second x", i, (double)after[second], a * sine + b * cosine, bound);
    }
  }
  release(c);
}

static void check_rotations(context *c, bool halves) {
  for (size_t heads = 1; heads <= 3; heads++) {
    for (size_t length = 1; length <= 130; length += c->full ? 1 : 13) {
      for (int special = 0; special < 2; special++) {
        check_rotation(c, (rotation){halves, heads, length, length / 2, special});
        check_rotation(c, (rotation){halves, heads, length, length / 4, special});
      }
    }
  }
}

void check_rope_adjacent(context *c) { check_rotations(c, false); }
void check_rope_halves(context *c) { check_rotations(c, true); }

// MARK: addition, scaling, caps

void check_add(context *c) {
  FOR_COUNTS(c, count, special) {
    set_case(c, "%zu floats, %s", count, special ? "special" : "ordinary");
    float *x = floats(c, count, 0), *y = floats(c, count, 3), *got = outputs(c, count, 1);
    fill_random(c, x, count);
    fill_random(c, y, count);
    if (special) put_specials(c, x, count);
    if (special) put_specials(c, y, count);
    memcpy(got, x, count * sizeof *x);
    c->kernels->add(got, y, count);
    for (size_t i = 0; i < count; i++) x[i] = x[i] + y[i];
    expect_same(c, "x", got, x, count);
    guards_hold(c, got, count);
    release(c);
  }
}

void check_scale(context *c) {
  FOR_COUNTS(c, count, special) {
    set_case(c, "%zu floats, %s", count, special ? "special" : "ordinary");
    float *x = floats(c, count, 0), *got = outputs(c, count, 1), factor = random_float(c);
    fill_random(c, x, count);
    if (special) put_specials(c, x, count);
    memcpy(got, x, count * sizeof *x);
    c->kernels->scale(got, factor, count);
    for (size_t i = 0; i < count; i++) x[i] = x[i] * factor;
    expect_same(c, "x", got, x, count);
    guards_hold(c, got, count);
    release(c);
  }
}

void check_soft_cap(context *c) {
  static const float caps[] = {30.0f, 50.0f, 2.5f, 1e-3f};
  FOR_COUNTS(c, count, special) {
    float cap = caps[count / 5 % LENGTH(caps)];
    set_case(c, "%zu floats, cap %g, %s", count, (double)cap, special ? "special" : "ordinary");
    float *x = floats(c, count, 0), *got = outputs(c, count, 1), *want = floats(c, count, 0);
    for (size_t i = 0; i < count; i++) x[i] = random_unit(c) * cap * (i % 2 ? 20.0f : 2.0f);
    if (special) put_specials(c, x, count);
    memcpy(got, x, count * sizeof *x);
    memcpy(want, x, count * sizeof *x);
    c->kernels->soft_cap(got, cap, count);
    c->scalar->soft_cap(want, cap, count);
    expect_same(c, "x", got, want, count);
    guards_hold(c, got, count);
    for (size_t i = 0; i < count; i++) {
      if (x[i] != x[i]) {
        if (got[i] == got[i]) fail(c, "x[%zu] is %g for NaN", i, (double)got[i]);
      } else {
        double exact = (double)cap * tanh((double)x[i] / (double)cap);
        expect_near(c, "x", i, (double)got[i], exact, 0x1p-22 * (double)cap);
      }
    }
    release(c);
  }
}
