// The only probe of the processor. Built without any instruction set attribute, so that it runs
// everywhere.
#include "kernel_table.h"

#if defined(__x86_64__)
static bool runs_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

static bool runs_avx512(void) {
  return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

static bool runs_avx512bf16(void) {
  return runs_avx512() && __builtin_cpu_supports("avx512bf16");
}

#if defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/// Linux lends the tile registers to a process, for all its threads, when it asks.
static bool runs_amx(void) {
  enum { request_permission = 0x1023, tile_data = 18, amx_tile = 1 << 24, amx_int8 = 1 << 25 };
  unsigned a, b, c, d;
  if (!runs_avx512bf16() || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  return (d & amx_tile) != 0 && (d & amx_int8) != 0 &&
         syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
static bool runs_amx(void) { return false; }
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
static bool runs_dotprod(void) { return (getauxval(AT_HWCAP) >> 20) & 1; }  // HWCAP_ASIMDDP
#endif

enum { TABLES_MAX = 5 };

static size_t tables(const ck_kernels *found[TABLES_MAX]) {
  size_t count = 0;
  found[count++] = &ck_scalar;
#if defined(__x86_64__)
  if (runs_avx2()) found[count++] = &ck_avx2;
  if (runs_avx512()) found[count++] = &ck_avx512;
  if (runs_avx512bf16()) found[count++] = &ck_avx512bf16;
  if (runs_amx()) found[count++] = &ck_amx;
#elif defined(__aarch64__) && defined(__linux__)
  if (runs_dotprod()) found[count++] = &ck_neon;
#endif
  return count;
}

const ck_kernels *ck_kernels_best(void) {
  const ck_kernels *found[TABLES_MAX];
  return found[tables(found) - 1];
}

const ck_kernels *ck_kernels_at(size_t index) {
  const ck_kernels *found[TABLES_MAX];
  return index < tables(found) ? found[index] : NULL;
}

const ck_kernels *ck_kernels_named(const char *name) {
  const ck_kernels *found[TABLES_MAX];
  size_t count = tables(found);
  for (size_t i = 0; i < count; i++)
    if (strcmp(found[i]->name, name) == 0) return found[i];
  return NULL;
}
