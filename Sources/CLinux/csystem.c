#include "csystem.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

int csystem_eventfd_create(void) {
  int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int csystem_eventfd_signal(int fd) {
  uint64_t one = 1;
  ssize_t written;
  do {
    written = write(fd, &one, sizeof one);
  } while (written < 0 && errno == EINTR);
  return written < 0 && errno != EAGAIN ? -errno : 0;
}

int csystem_eventfd_drain(int fd) {
  uint64_t count;
  ssize_t taken;
  do {
    taken = read(fd, &count, sizeof count);
  } while (taken < 0 && errno == EINTR);
  return taken < 0 && errno != EAGAIN ? -errno : 0;
}

int csystem_thread_set_name(const char *name) {
  char kept[16] = {0};
  strncpy(kept, name, sizeof kept - 1);
  return -pthread_setname_np(pthread_self(), kept);
}

int csystem_thread_pin(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE) {
    return -EINVAL;
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return -pthread_setaffinity_np(pthread_self(), sizeof set, &set);
}
