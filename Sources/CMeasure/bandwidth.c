// Reads memory as fast as one thread can; see cmeasure.h.
#include "cmeasure.h"

#include <sys/mman.h>
#include <unistd.h>

void *cmeasure_map(size_t size) {
  void *bytes = mmap(
      NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes == MAP_FAILED) return NULL;
  madvise(bytes, size, MADV_HUGEPAGE);
  return bytes;
}

void cmeasure_unmap(void *bytes, size_t size) { munmap(bytes, size); }

typedef uint64_t line __attribute__((vector_size(64), may_alias));

// Eight loads are under way at a time, into sums of their own.
static inline __attribute__((always_inline)) uint64_t read_lines(const line *lines, size_t count) {
  line sum[8] = {0};
  for (size_t i = 0; i < count; i += 8)
    for (int k = 0; k < 8; k++) sum[k] ^= lines[i + k];
  line all = ((sum[0] ^ sum[1]) ^ (sum[2] ^ sum[3])) ^ ((sum[4] ^ sum[5]) ^ (sum[6] ^ sum[7]));
  uint64_t result = 0;
  for (int k = 0; k < 8; k++) result ^= all[k];
  return result;
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static uint64_t read_avx512(const line *lines, size_t count) {
  return read_lines(lines, count);
}

__attribute__((target("avx2"))) static uint64_t read_avx2(const line *lines, size_t count) {
  return read_lines(lines, count);
}
#endif

uint64_t cmeasure_read(const void *bytes, size_t count) {
  const line *lines = bytes;
  size_t line_count = count / sizeof(line) / 8 * 8;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return read_avx512(lines, line_count);
  if (__builtin_cpu_supports("avx2")) return read_avx2(lines, line_count);
#endif
  return read_lines(lines, line_count);
}

size_t cmeasure_cache_bytes(void) {
  long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
  return size > 0 ? (size_t)size : 0;
}
