// Makes the disk fail, for one process: preload it, then call `edge_fault_arm` (through ctypes).
//
// Calls that change files below one folder are counted; from the `at`-th on, or that one alone,
// they fail as told. What is not below that folder is left alone.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum { NONE = 0, SHORT = -1 };  // else: an errno

static char folder[PATH_MAX];
static int fault = NONE;
static int lasting = 0;
static long at = 0;
static long count = 0;

void edge_fault_arm(const char* below, int what, int for_good, long number) {
  snprintf(folder, sizeof folder, "%s", below);
  fault = what;
  lasting = for_good;
  at = number;
  count = 0;
}

// How many calls there were since then; nothing fails from here on.
long edge_fault_disarm(void) {
  fault = NONE;
  at = 0;
  folder[0] = '\0';
  return count;
}

static int is_below(const char* path) {
  return folder[0] != '\0' && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_below_fd(int fd) {
  char link[64];
  char path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = '\0';
  return is_below(path);
}

// Whether this call is to fail.
static int hit(int is_ours) {
  if (!is_ours) return 0;
  ++count;
  return fault != NONE && (count == at || (lasting && count > at));
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// A call without a count to fall short of.
#define FAIL_CALL(ours)             \
  if (hit(ours) && fault != SHORT) { \
    errno = fault;                  \
    return -1;                      \
  }

#define WRITE_CALL(name, parameters, full, half)      \
  ssize_t name parameters {                           \
    if (hit(is_below_fd(fd))) {                       \
      if (fault == SHORT && size > 1) {               \
        size_t part = size / 2;                       \
        return REAL(name) half;                       \
      }                                               \
      if (fault != SHORT) {                           \
        errno = fault;                                \
        return -1;                                    \
      }                                               \
    }                                                 \
    return REAL(name) full;                           \
  }

WRITE_CALL(write, (int fd, const void* data, size_t size), (fd, data, size), (fd, data, part))
WRITE_CALL(pwrite, (int fd, const void* data, size_t size, off_t offset), (fd, data, size, offset),
           (fd, data, part, offset))
WRITE_CALL(pwrite64, (int fd, const void* data, size_t size, off64_t offset),
           (fd, data, size, offset), (fd, data, part, offset))

int fsync(int fd) {
  FAIL_CALL(is_below_fd(fd))
  return REAL(fsync)(fd);
}

int fdatasync(int fd) {
  FAIL_CALL(is_below_fd(fd))
  return REAL(fdatasync)(fd);
}

int ftruncate(int fd, off_t size) {
  FAIL_CALL(is_below_fd(fd))
  return REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) {
  FAIL_CALL(is_below_fd(fd))
  return REAL(ftruncate64)(fd, size);
}

int rename(const char* from, const char* to) {
  FAIL_CALL(is_below(to))
  return REAL(rename)(from, to);
}

int link(const char* from, const char* to) {
  FAIL_CALL(is_below(to))
  return REAL(link)(from, to);
}
