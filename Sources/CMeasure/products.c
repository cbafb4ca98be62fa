// How many products of weights and activations one core computes at best; see cmeasure.h.
#include "cmeasure.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

// Twelve independent chains hide the latency of an instruction, and nothing else is done.
enum { chain_count = 12 };
#define ALL_CHAINS(F) F(0) F(1) F(2) F(3) F(4) F(5) F(6) F(7) F(8) F(9) F(10) F(11)

#if defined(__x86_64__)
#define LOOP(name, isa, type, zero, factor, instruction)                                       \
  __attribute__((target(isa))) static void name(uint64_t rounds) {                             \
    type chain[chain_count], x = factor;                                                       \
    for (int i = 0; i < chain_count; i++) chain[i] = zero;                                     \
    for (uint64_t round = 0; round < rounds; round++) { ALL_CHAINS(instruction) }              \
  }
#define DOT(i) __asm__ volatile("vpdpbusd %1, %1, %0" : "+v"(chain[i]) : "v"(x));
#define FMA(i) __asm__ volatile("vfmadd231ps %1, %1, %0" : "+v"(chain[i]) : "v"(x));
#define PAIRS(i) __asm__ volatile("vdpbf16ps %1, %1, %0" : "+v"(chain[i]) : "v"(x));
// Without the dot instruction: products of bytes in pairs, in fours, added up.
#define DOT_AVX2(i)                                                                            \
  {                                                                                            \
    __m256i pairs;                                                                             \
    __asm__ volatile("vpmaddubsw %1, %1, %0" : "=x"(pairs) : "x"(x));                          \
    __asm__ volatile("vpmaddwd %1, %0, %0" : "+x"(pairs) : "x"(x));                            \
    __asm__ volatile("vpaddd %1, %0, %0" : "+x"(chain[i]) : "x"(pairs));                       \
  }
LOOP(dot_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_set1_epi8(1), DOT)
LOOP(fma_avx512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(1), FMA)
LOOP(pairs_avx512, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), _mm512_set1_ps(1), PAIRS)
LOOP(dot_avx2, "avx2", __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1), DOT_AVX2)
LOOP(fma_avx2, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(1), FMA)

// Six chains of whole tiles, 16 x 16 sums of 64 products each.
__attribute__((target("amx-tile,amx-int8"))) static void dot_amx(uint64_t rounds) {
  struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  } shapes = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    shapes.row_bytes[i] = 64;
    shapes.rows[i] = 16;
  }
  _tile_loadconfig(&shapes);
  _tile_zero(6);
  _tile_zero(7);
  for (uint64_t round = 0; round < rounds; round++) {
    _tile_dpbssd(0, 6, 7);
    _tile_dpbssd(1, 6, 7);
    _tile_dpbssd(2, 6, 7);
    _tile_dpbssd(3, 6, 7);
    _tile_dpbssd(4, 6, 7);
    _tile_dpbssd(5, 6, 7);
  }
  _tile_release();
}
#elif defined(__aarch64__)
#define LOOP(name, isa, type, zero, factor, instruction)                                       \
  __attribute__((target(isa))) static void name(uint64_t rounds) {                             \
    type chain[chain_count], x = factor;                                                       \
    for (int i = 0; i < chain_count; i++) chain[i] = zero;                                     \
    for (uint64_t round = 0; round < rounds; round++) { ALL_CHAINS(instruction) }              \
  }
#define DOT(i) __asm__ volatile("sdot %0.4s, %1.16b, %1.16b" : "+w"(chain[i]) : "w"(x));
#define FMA(i) __asm__ volatile("fmla %0.4s, %1.4s, %1.4s" : "+w"(chain[i]) : "w"(x));
LOOP(dot_neon, "dotprod", int32x4_t, vdupq_n_s32(0), vdupq_n_s32(1), DOT)
LOOP(fma_neon, "neon", float32x4_t, vdupq_n_f32(0), vdupq_n_f32(1), FMA)
#endif

uint64_t cmeasure_products(const char *isa, cmeasure_kind kind, uint64_t rounds) {
  const int floats = kind == cmeasure_floats;
#if defined(__x86_64__)
  if (isa[0] == 'a' && isa[1] == 'm') {
    if (kind != cmeasure_integers) return cmeasure_products("avx512bf16", kind, rounds);
    dot_amx(rounds / 32);
    return rounds / 32 * 6 * 16 * 16 * 64;
  }
  if (kind == cmeasure_pairs) {
    // The only name so long.
    if (strlen(isa) != 10) return 0;
    pairs_avx512(rounds);
    return rounds * chain_count * 32;
  }
  if (isa[0] == 'a' && isa[3] == '5') {
    (floats ? fma_avx512 : dot_avx512)(rounds);
    return rounds * chain_count * (floats ? 16 : 64);
  }
  if (isa[0] == 'a') {
    (floats ? fma_avx2 : dot_avx2)(rounds);
    return rounds * chain_count * (floats ? 8 : 32);
  }
#elif defined(__aarch64__)
  if (isa[0] == 'n' && kind != cmeasure_pairs) {
    (floats ? fma_neon : dot_neon)(rounds);
    return rounds * chain_count * (floats ? 4 : 16);
  }
#endif
  (void)isa, (void)kind, (void)floats, (void)rounds;
  return 0;
}
