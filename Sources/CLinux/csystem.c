#include "csystem.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
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

int csystem_thread_move(int cpu) {
  if (sched_getcpu() == cpu) return 0;
  cpu_set_t before;
  int status = -pthread_getaffinity_np(pthread_self(), sizeof before, &before);
  if (status < 0) return status;
  if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &before)) return -EINVAL;
  status = csystem_thread_pin(cpu);
  if (status < 0) return status;
  return -pthread_setaffinity_np(pthread_self(), sizeof before, &before);
}

int csystem_cpu_limit(void) { return CPU_SETSIZE; }

int csystem_cpu_is_allowed(int cpu) {
  cpu_set_t set;
  if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof set, &set) < 0) return 0;
  return CPU_ISSET(cpu, &set) ? 1 : 0;
}

int csystem_name_claim(const char *name) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen(name);
  // A first byte of zero: the name stands in no file system.
  if (length == 0 || length > 100 || length + 1 > sizeof address.sun_path) return -EINVAL;
  memcpy(address.sun_path + 1, name, length);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
  if (bind(fd, (const struct sockaddr *)&address, size) == 0) return fd;
  int status = -errno;
  close(fd);
  return status;
}

int csystem_cpus_available(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) < 0 ? -errno : CPU_COUNT(&set);
}

int csystem_cpus_restrict(int first, int last) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) < 0) return -errno;
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (cpu < first || cpu > last) CPU_CLR(cpu, &set);
  if (CPU_COUNT(&set) == 0) return -EINVAL;
  DIR *tasks = opendir("/proc/self/task");
  if (tasks == NULL) return -errno;
  int status = 0;
  for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
    if (task->d_name[0] == '.') continue;
    // A thread may end meanwhile.
    pid_t thread = (pid_t)strtol(task->d_name, NULL, 10);
    if (sched_setaffinity(thread, sizeof set, &set) < 0 && errno != ESRCH) status = -errno;
  }
  closedir(tasks);
  return status < 0 ? status : CPU_COUNT(&set);
}
