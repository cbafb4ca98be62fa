// Attention of one node, in terms of the lanes of simd_kernels.h.

/// Scores of 16 logical positions for one head, in one vector.
INLINE lanes scores16(const float *query, const float *keys, size_t row_stride,
                      const uint32_t *slots, size_t head_length) {
  lanes products[16];
  for (size_t i = 0; i < 16; i++) {
    const float *key = keys + slots[i] * row_stride;
    lanes acc = lanes_zero();
    size_t c = 0;
    for (; c + 16 <= head_length; c += 16)
      acc = lanes_fma(lanes_load(query + c), lanes_load(key + c), acc);
    if (c < head_length)
      acc = lanes_fma(lanes_load_part(query + c, head_length - c),
                      lanes_load_part(key + c, head_length - c), acc);
    products[i] = acc;
  }
  return lanes_sum16(products);
}

INLINE float score1(const float *query, const float *key, size_t head_length) {
  lanes acc = lanes_zero();
  size_t c = 0;
  for (; c + 16 <= head_length; c += 16)
    acc = lanes_fma(lanes_load(query + c), lanes_load(key + c), acc);
  if (c < head_length)
    acc = lanes_fma(lanes_load_part(query + c, head_length - c),
                    lanes_load_part(key + c, head_length - c), acc);
  return lanes_sum(acc);
}

/// out[16 * parts] of one head: values weighted by scores, positions in order.
INLINE void weigh_values(float *out, const float *scores, const float *values, size_t row_stride,
                         const uint32_t *slots, size_t length, lanes inverse,
                         const size_t parts) {
  lanes acc[8];
  UNROLL for (size_t c = 0; c < parts; c++) acc[c] = lanes_zero();
  for (size_t i = 0; i < length; i++) {
    const float *value = values + slots[i] * row_stride;
    lanes weight = lanes_set1(scores[i]);
    UNROLL for (size_t c = 0; c < parts; c++)
      acc[c] = lanes_fma(weight, lanes_load(value + 16 * c), acc[c]);
  }
  UNROLL for (size_t c = 0; c < parts; c++) lanes_store(out + 16 * c, lanes_mul(acc[c], inverse));
}

static void attention(float *out, const float *query, const float *keys, const float *values,
                      size_t row_stride, const uint32_t *slots, size_t length, size_t group,
                      size_t head_length, float scale, float soft_cap, float *scores) {
  size_t padded = (length + 15) / 16 * 16;
  size_t whole = length / 16 * 16;
  lanes scales = lanes_set1(scale);
  for (size_t i = 0; i < whole; i += 16) {
    for (size_t head = 0; head < group; head++) {
      lanes s = scores16(query + head * head_length, keys, row_stride, slots + i, head_length);
      lanes_store(scores + head * padded + i, lanes_mul(s, scales));
    }
  }
  for (size_t i = whole; i < length; i++) {
    for (size_t head = 0; head < group; head++)
      scores[head * padded + i] =
          score1(query + head * head_length, keys + slots[i] * row_stride, head_length) * scale;
  }
  for (size_t head = 0; head < group; head++, out += head_length, scores += padded) {
    if (soft_cap > 0.0f) {
      for (size_t i = length; i < padded; i++) scores[i] = 0.0f;
      for (size_t i = 0; i < padded; i += 16)
        lanes_store(scores + i, lanes_soft_cap(lanes_load(scores + i), soft_cap));
    }
    // Lanes past the end hold -infinity: they never win and their exponential is zero.
    for (size_t i = length; i < padded; i++) scores[i] = -INFINITY;
    lanes best = lanes_set1(-INFINITY);
    for (size_t i = 0; i < padded; i += 16) best = lanes_max(lanes_load(scores + i), best);
    lanes largest = lanes_set1(lanes_largest(best));
    lanes total = lanes_zero();
    for (size_t i = 0; i < padded; i += 16) {
      lanes e = lanes_exp(lanes_sub(lanes_load(scores + i), largest));
      lanes_store(scores + i, e);
      total = lanes_add(total, e);
    }
    lanes inverse = lanes_set1(1.0f / lanes_sum(total));
    size_t c = 0;
    for (; c + 64 <= head_length; c += 64)
      weigh_values(out + c, scores, values + c, row_stride, slots, length, inverse, 4);
    for (; c + 16 <= head_length; c += 16)
      weigh_values(out + c, scores, values + c, row_stride, slots, length, inverse, 1);
    if (c < head_length) {
      size_t rest = head_length - c;
      lanes acc = lanes_zero();
      for (size_t i = 0; i < length; i++)
        acc = lanes_fma(lanes_set1(scores[i]),
                        lanes_load_part(values + slots[i] * row_stride + c, rest), acc);
      lanes_store_part(out + c, lanes_mul(acc, inverse), rest);
    }
  }
}
