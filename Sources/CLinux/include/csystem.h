// Calls of Linux and glibc that Swift cannot import: they need _GNU_SOURCE or are macros.
//
// Each returns 0 or a descriptor on success and a negative errno value on failure.
#ifndef CLINUX_H
#define CLINUX_H

#pragma clang assume_nonnull begin

// A counter that a thread can poll. Does not block, is closed on exec. The caller closes it.
int csystem_eventfd_create(void);

// Makes `fd` readable. A counter that is full already is readable, which is a success.
int csystem_eventfd_signal(int fd);

// Makes `fd` unreadable until the next signal. Nothing to read is a success.
int csystem_eventfd_drain(int fd);

// Names the calling thread; of a longer name the first 15 bytes are kept.
int csystem_thread_set_name(const char *name);

// Lets the calling thread run on one CPU only.
int csystem_thread_pin(int cpu);

// Moves the calling thread to a CPU that it may run on, if it runs on another one. It may be moved
// again at any time.
int csystem_thread_move(int cpu);

// One more than the largest CPU number that these functions know.
int csystem_cpu_limit(void);

// 1 where the calling thread may run on a CPU, else 0.
int csystem_cpu_is_allowed(int cpu);

// Takes a name of at most 100 bytes that one holder on this host can have at a time, until the
// returned descriptor is closed. -EADDRINUSE where somebody has it.
int csystem_name_claim(const char *name);

// Number of CPUs that the calling thread may run on.
int csystem_cpus_available(void);

// Lets all present threads of this process, and those they start, run on CPUs first ... last only, as
// far as they may now. Returns how many CPUs that are; -EINVAL where there is none.
int csystem_cpus_restrict(int first, int last);

#pragma clang assume_nonnull end

#endif
