// What benchmarks measure about a process and its machine, and Swift cannot: allocations and the
// bandwidth of memory. No part of the daemons' work.
#ifndef CMEASURE_H
#define CMEASURE_H

#include <stddef.h>
#include <stdint.h>

#pragma clang assume_nonnull begin

// Counts every call of malloc, calloc, realloc, aligned_alloc, posix_memalign, memalign and mmap,
// of all threads, from now on until cmeasure_allocations_stop.
//
// The calls are redirected in the relocated addresses of the program and its libraries, as heap
// profilers do it, so that a process that does not count pays nothing and nothing need be loaded
// before it. Calls through an address that was taken before are not seen.
//
// Returns how many addresses were redirected; 0 where none was found, or a negative errno value. No
// library may be loaded or unloaded meanwhile.
int cmeasure_allocations_start(void);

// Calls since the latest start.
uint64_t cmeasure_allocations(void);

// Lets the calls go where they went before. Counts nothing any more.
void cmeasure_allocations_stop(void);

// Memory in large pages where there are any, not used by anybody else; NULL where there is none.
void *_Nullable cmeasure_map(size_t size);

// Gives memory of cmeasure_map back.
void cmeasure_unmap(void *bytes, size_t size);

// Reads `count` bytes from `bytes` in the order of their addresses, 64 at a time, and returns what
// the compiler needs to see of them. `count` is a multiple of 512.
uint64_t cmeasure_read(const void *bytes, size_t count);

// Computes products of int8 (of floats where `floats` is not 0) and adds them up, in registers only,
// with the instructions that the kernels of that set use ("avx512", "avx2", "neon"), which the
// processor must have. Returns how many products; 0 for other sets.
uint64_t cmeasure_products(const char *isa, int floats, uint64_t rounds);

// Bytes of the largest cache of this processor; 0 where the system does not say.
size_t cmeasure_cache_bytes(void);

#pragma clang assume_nonnull end

#endif
