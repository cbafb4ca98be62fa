// Cosines and sines of the rotary embedding in double precision, without libm, so that every
// machine agrees. Computed once per engine: not speed-critical.
#pragma STDC FP_CONTRACT OFF
#include "kernel_table.h"

static double exp_double(double x) {
  double n = (x * 1.4426950408889634 + 0x1.8p52) - 0x1.8p52;
  double r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10;
  double term = 1.0, sum = 1.0;
  for (int i = 1; i < 18; i++) {
    term = term * r / i;
    sum += term;
  }
  union { uint64_t bits; double value; } scale = {(uint64_t)(int64_t)(1023 + n) << 52};
  return sum * scale.value;
}

double ck_log(double x) {
  union { double value; uint64_t bits; } u = {x};
  int exponent = (int)(u.bits >> 52) - 1023;
  u.bits = (u.bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
  if (u.value > 1.4142135623730951) {
    u.value *= 0.5;
    exponent++;
  }
  double t = (u.value - 1.0) / (u.value + 1.0), square = t * t, power = t, sum = 0.0;
  for (int i = 1; i < 40; i += 2) {
    sum += power / i;
    power *= square;
  }
  return 2.0 * sum + exponent * 0.69314718055994530942;
}

static void sine_cosine(double x, double *sine, double *cosine) {
  double n = (x * 0.63661977236758134308 + 0x1.8p52) - 0x1.8p52;
  // pi / 2 in three parts of 33 bits: n * part is exact for n below 2^20.
  double r = ((x - n * 1.57079632673412561417e+00) - n * 6.07710050630396597660e-11) -
             n * 2.02226624879595063154e-21;
  double square = r * r, s = r, c = 1.0, term_s = r, term_c = 1.0;
  for (int i = 1; i < 10; i++) {
    term_c = -term_c * square / ((2 * i - 1) * (2 * i));
    term_s = -term_s * square / ((2 * i) * (2 * i + 1));
    c += term_c;
    s += term_s;
  }
  switch ((int64_t)n & 3) {
    case 0: *sine = s, *cosine = c; break;
    case 1: *sine = c, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -c; break;
    default: *sine = -c, *cosine = s; break;
  }
}

void ck_rope_frequencies(double *frequencies, size_t dimension_count, double base) {
  double log_base = ck_log(base);
  for (size_t i = 0; i < dimension_count / 2; i++)
    frequencies[i] = exp_double(-2.0 * (double)i / (double)dimension_count * log_base);
}

void ck_rope_row(float *cosines, float *sines, size_t position, const double *frequencies,
                 size_t pair_count, double magnitude) {
  for (size_t i = 0; i < pair_count; i++) {
    double sine, cosine;
    sine_cosine((double)position * frequencies[i], &sine, &cosine);
    sines[i] = (float)(sine * magnitude);
    cosines[i] = (float)(cosine * magnitude);
  }
}
