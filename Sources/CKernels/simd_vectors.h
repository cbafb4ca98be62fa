// Element-wise kernels, norms, rotation and top-k, in terms of the lanes of simd_kernels.h.

static void rms_norm(float *out, const float *x, const float *weight, size_t count,
                     float epsilon) {
  lanes squares = lanes_zero();
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    lanes v = lanes_load(x + i);
    squares = lanes_fma(v, v, squares);
  }
  if (i < count) {
    lanes v = lanes_load_part(x + i, count - i);
    squares = lanes_fma(v, v, squares);
  }
  float scale = 1.0f / sqrtf(lanes_sum(squares) / (float)count + epsilon);
  lanes scales = lanes_set1(scale);
  for (i = 0; i + 16 <= count; i += 16)
    lanes_store(out + i, lanes_mul(lanes_mul(lanes_load(x + i), scales), lanes_load(weight + i)));
  for (; i < count; i++) out[i] = (x[i] * scale) * weight[i];
}

static void rope_adjacent(float *x, size_t head_count, size_t head_length, const float *cosines,
                          const float *sines, size_t pair_count) {
  for (size_t head = 0; head < head_count; head++, x += head_length) {
    for (size_t i = 0; i < pair_count; i++) {
      float a = x[2 * i], b = x[2 * i + 1];
      x[2 * i] = __builtin_fmaf(a, cosines[i], -(b * sines[i]));
      x[2 * i + 1] = __builtin_fmaf(a, sines[i], b * cosines[i]);
    }
  }
}

/// One part of the pairs of one head, in place.
INLINE void rotate_lanes(lanes a, lanes b, lanes cosines, lanes sines, lanes *first,
                         lanes *second) {
  *first = lanes_sub(lanes_mul(a, cosines), lanes_mul(b, sines));
  *second = lanes_add(lanes_mul(a, sines), lanes_mul(b, cosines));
}

static void rope_halves(float *x, size_t head_count, size_t head_length, const float *cosines,
                        const float *sines, size_t pair_count) {
  lanes first, second;
  for (size_t head = 0; head < head_count; head++, x += head_length) {
    float *y = x + pair_count;
    size_t i = 0;
    for (; i + 16 <= pair_count; i += 16) {
      rotate_lanes(lanes_load(x + i), lanes_load(y + i), lanes_load(cosines + i),
                   lanes_load(sines + i), &first, &second);
      lanes_store(x + i, first);
      lanes_store(y + i, second);
    }
    if (i < pair_count) {
      size_t rest = pair_count - i;
      rotate_lanes(lanes_load_part(x + i, rest), lanes_load_part(y + i, rest),
                   lanes_load_part(cosines + i, rest), lanes_load_part(sines + i, rest), &first,
                   &second);
      lanes_store_part(x + i, first, rest);
      lanes_store_part(y + i, second, rest);
    }
  }
}

INLINE lanes silu_lanes(lanes gate, lanes up) {
  lanes minus = lanes_sub(lanes_zero(), gate);
  lanes one = lanes_set1(1.0f);
  return lanes_mul(lanes_div(gate, lanes_add(one, lanes_exp(minus))), up);
}

static void silu_multiply(float *out, const float *gate, const float *up, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16)
    lanes_store(out + i, silu_lanes(lanes_load(gate + i), lanes_load(up + i)));
  if (i < count) {
    size_t rest = count - i;
    lanes_store_part(out + i, silu_lanes(lanes_load_part(gate + i, rest),
                                         lanes_load_part(up + i, rest)), rest);
  }
}

INLINE lanes gelu_lanes(lanes gate, lanes up) {
  lanes slope = lanes_fma(lanes_mul(gate, gate), lanes_set1(CK_GELU_G1), lanes_set1(CK_GELU_G0));
  lanes minus = lanes_sub(lanes_zero(), lanes_mul(gate, slope));
  lanes one = lanes_set1(1.0f);
  return lanes_mul(lanes_div(gate, lanes_add(one, lanes_exp(minus))), up);
}

static void gelu_multiply(float *out, const float *gate, const float *up, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16)
    lanes_store(out + i, gelu_lanes(lanes_load(gate + i), lanes_load(up + i)));
  if (i < count) {
    size_t rest = count - i;
    lanes_store_part(out + i, gelu_lanes(lanes_load_part(gate + i, rest),
                                         lanes_load_part(up + i, rest)), rest);
  }
}

static void add(float *x, const float *y, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = x[i] + y[i];
}

static void scale(float *x, float factor, size_t count) {
  for (size_t i = 0; i < count; i++) x[i] = x[i] * factor;
}

static void soft_cap(float *x, float cap, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) lanes_store(x + i, lanes_soft_cap(lanes_load(x + i), cap));
  if (i < count)
    lanes_store_part(x + i, lanes_soft_cap(lanes_load_part(x + i, count - i), cap), count - i);
}

static void exponentials(float *out, const float *x, size_t count) {
  size_t i = 0;
  for (; i + 16 <= count; i += 16) lanes_store(out + i, lanes_exp(lanes_load(x + i)));
  if (i < count) lanes_store_part(out + i, lanes_exp(lanes_load_part(x + i, count - i)), count - i);
}

static size_t top_k(const float *values, size_t count, size_t k, uint32_t *indices, float *top) {
  size_t filled = 0, i = 0;
  if (k == 0) return 0;
  for (; i < count && filled < k; i++) {
    float value = values[i] == values[i] ? values[i] : -INFINITY;
    filled = ck_top_insert(indices, top, filled, k, (uint32_t)i, value);
  }
  // NaN compares false, so it can never enter here.
  for (; i + 16 <= count; i += 16) {
    uint32_t larger = lanes_greater_mask(lanes_load(values + i), top[k - 1]);
    for (; larger != 0; larger &= larger - 1) {
      size_t at = i + (size_t)__builtin_ctz(larger);
      if (values[at] > top[k - 1])
        ck_top_insert(indices, top, filled, k, (uint32_t)at, values[at]);
    }
  }
  for (; i < count; i++)
    if (values[i] > top[k - 1]) ck_top_insert(indices, top, filled, k, (uint32_t)i, values[i]);
  return filled;
}
