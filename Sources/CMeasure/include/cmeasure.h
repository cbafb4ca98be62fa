// What benchmarks measure about a process and its machine, and Swift cannot: allocations, the
// bandwidth of memory, and what distance does. No part of the daemons' work.
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

// What is multiplied: int8, floats, pairs of BF16.
typedef enum cmeasure_kind { cmeasure_integers, cmeasure_floats, cmeasure_pairs } cmeasure_kind;

// Computes products of one kind and adds them up, in registers only, with the instructions that the
// kernels of that set use ("amx", "avx512bf16", "avx512", "avx2", "neon"), which the processor must
// have, and for "amx" the process must have asked for. Returns how many products; 0 for sets without
// instructions of that kind.
uint64_t cmeasure_products(const char *isa, cmeasure_kind kind, uint64_t rounds);

// Bytes of the largest cache of this processor; 0 where the system does not say.
size_t cmeasure_cache_bytes(void);

// Makes a network namespace with one interface, eth0, of this address ("10.0.0.1") in a network of 256;
// the calling thread stays where it is. Gone when the last process in it and `*host` are.
//
// `*host` is for cmeasure_host_enter, `*port` gives and takes the Ethernet frames of eth0; both are
// closed on exec, and by the caller. Returns 0 or a negative errno value: -EPERM where this is not
// permitted, -ENOENT where there is no /dev/net/tun.
int cmeasure_host_create(const char *address, int *host, int *port);

// Moves the calling thread into a namespace of cmeasure_host_create: what it starts lives there. Returns
// what cmeasure_host_leave needs to go back, or a negative errno value.
int cmeasure_host_enter(int host);
int cmeasure_host_leave(int before);

// The way between two hosts.
struct cmeasure_link {
  // Of the hosts' eth0.
  int ports[2];
  // The loop ends when this is readable.
  int stop;
  // Of each frame, in either direction.
  uint64_t delay_ns;
  // Frames that went through and their bytes, Ethernet headers included: read them atomically.
  uint64_t frames;
  uint64_t bytes;
};

// Carries frames until told to stop; at most 4096 are on their way in a direction, more are lost.
// Returns 0 or a negative errno value.
int cmeasure_link_run(struct cmeasure_link *link);

#pragma clang assume_nonnull end

#endif
