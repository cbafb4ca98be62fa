// A long way between two hosts on one machine: a network namespace for each, and in place of a cable a
// loop that hands Ethernet frames from one to the other after a delay. See cmeasure.h.
#include "cmeasure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Frames on their way in one direction, and bytes of each: more are dropped, as a switch would.
enum { queue_max = 4096, frame_max = 2048 };

struct frame {
  uint64_t due;  // nanoseconds
  uint32_t size;
  uint8_t bytes[frame_max];
};

// All frames are delayed alike, so the first to come is the first to go.
struct queue {
  struct frame *frames;
  uint32_t first, count;
};

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static int here_fd(void) {
  int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

// Gives an interface an address in a network of 256, where there is one, and brings it up.
static int bring_up(const char *name, const char *address) {
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, name, IFNAMSIZ - 1);
  int status = 0;
  if (address != NULL) {
    struct sockaddr_in in = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, address, &in.sin_addr) != 1) status = -EINVAL;
    memcpy(&request.ifr_addr, &in, sizeof in);
    if (status == 0 && ioctl(fd, SIOCSIFADDR, &request) < 0) status = -errno;
    inet_pton(AF_INET, "255.255.255.0", &in.sin_addr);
    memcpy(&request.ifr_netmask, &in, sizeof in);
    if (status == 0 && ioctl(fd, SIOCSIFNETMASK, &request) < 0) status = -errno;
  }
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (status == 0 && ioctl(fd, SIOCSIFFLAGS, &request) < 0) status = -errno;
  close(fd);
  return status;
}

static int open_tap(void) {
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct ifreq request;
  memset(&request, 0, sizeof request);
  strncpy(request.ifr_name, "eth0", IFNAMSIZ - 1);
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  if (ioctl(fd, TUNSETIFF, &request) < 0) {
    int status = -errno;
    close(fd);
    return status;
  }
  return fd;
}

int cmeasure_host_create(const char *address, int *host, int *port) {
  int before = here_fd();
  if (before < 0) return before;
  int status = unshare(CLONE_NEWNET) < 0 ? -errno : 0;
  if (status < 0) {
    close(before);
    return status;
  }
  *host = here_fd();
  *port = open_tap();
  status = *host < 0 ? *host : *port < 0 ? *port : bring_up("lo", NULL);
  if (status == 0) status = bring_up("eth0", address);
  // Nothing else of this process may stay in there.
  if (setns(before, CLONE_NEWNET) < 0 && status == 0) status = -errno;
  close(before);
  if (status < 0) {
    if (*host >= 0) close(*host);
    if (*port >= 0) close(*port);
  }
  return status;
}

int cmeasure_host_enter(int host) {
  int before = here_fd();
  if (before < 0) return before;
  if (setns(host, CLONE_NEWNET) < 0) {
    int status = -errno;
    close(before);
    return status;
  }
  return before;
}

int cmeasure_host_leave(int before) {
  int status = setns(before, CLONE_NEWNET) < 0 ? -errno : 0;
  close(before);
  return status;
}

static void take(struct queue *queue, int fd, uint64_t delay) {
  for (int turn = 0; turn < 64; turn++) {
    static _Thread_local uint8_t spare[frame_max];
    int is_full = queue->count == queue_max;
    struct frame *frame = &queue->frames[(queue->first + queue->count) % queue_max];
    ssize_t size = read(fd, is_full ? spare : frame->bytes, frame_max);
    if (size <= 0) return;
    if (is_full) continue;
    frame->size = (uint32_t)size;
    frame->due = now_ns() + delay;
    queue->count++;
  }
}

static void give(struct queue *queue, int fd, struct cmeasure_link *link) {
  while (queue->count > 0 && queue->frames[queue->first].due <= now_ns()) {
    struct frame *frame = &queue->frames[queue->first];
    // A port that takes nothing drops the frame, as a cable would.
    ssize_t size = write(fd, frame->bytes, frame->size);
    if (size > 0) {
      __atomic_add_fetch(&link->frames, 1, __ATOMIC_RELAXED);
      __atomic_add_fetch(&link->bytes, (uint64_t)size, __ATOMIC_RELAXED);
    }
    queue->first = (queue->first + 1) % queue_max;
    queue->count--;
  }
}

int cmeasure_link_run(struct cmeasure_link *link) {
  struct queue queues[2];
  memset(queues, 0, sizeof queues);
  for (int side = 0; side < 2; side++) {
    queues[side].frames = calloc(queue_max, sizeof(struct frame));
    if (queues[side].frames == NULL) {
      free(queues[0].frames);
      return -ENOMEM;
    }
  }
  // Timers of a thread fire up to 50 microseconds late unless it says otherwise.
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  int status = 0;
  for (;;) {
    struct pollfd polled[3] = {{link->ports[0], POLLIN, 0},
                               {link->ports[1], POLLIN, 0},
                               {link->stop, POLLIN, 0}};
    uint64_t due = UINT64_MAX;
    for (int side = 0; side < 2; side++) {
      struct queue *queue = &queues[side];
      if (queue->count > 0 && queue->frames[queue->first].due < due)
        due = queue->frames[queue->first].due;
    }
    struct timespec wait = {0, 0};
    uint64_t now = now_ns();
    if (due != UINT64_MAX && due > now) {
      wait.tv_sec = (time_t)((due - now) / 1000000000u);
      wait.tv_nsec = (long)((due - now) % 1000000000u);
    }
    if (ppoll(polled, 3, due == UINT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR) {
      status = -errno;
      break;
    }
    if (polled[2].revents != 0) break;
    for (int side = 0; side < 2; side++) give(&queues[side], link->ports[1 - side], link);
    for (int side = 0; side < 2; side++)
      if (polled[side].revents & POLLIN) take(&queues[side], link->ports[side], link->delay_ns);
  }
  for (int side = 0; side < 2; side++) free(queues[side].frames);
  return status;
}
