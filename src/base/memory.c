#include "base/memory.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static atomic_size_t asked, fail_from;
static atomic_bool fail_forever;

size_t mem_fail_at(size_t n, bool forever) {
  atomic_store(&fail_forever, forever);
  atomic_store(&fail_from, n);
  return atomic_exchange(&asked, 0);
}

static bool refused(void) {
  size_t n = atomic_fetch_add(&asked, 1) + 1, from = atomic_load(&fail_from);
  return from && (n == from || (n > from && atomic_load(&fail_forever)));
}

void *mem_alloc(size_t size) {
  return refused() ? NULL : malloc(size ? size : 1);
}

void *mem_zeroed(size_t count, size_t size) {
  return refused() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *mem_resize(void *block, size_t count, size_t size) {
  if (size && count > SIZE_MAX / size)
    return NULL;
  size_t bytes = count * size;
  return refused() ? NULL : realloc(block, bytes ? bytes : 1);
}

char *mem_strdup(const char *text) {
  size_t size = strlen(text) + 1;
  char *copy = mem_alloc(size);
  return copy ? memcpy(copy, text, size) : NULL;
}

void *mem_pages(size_t size) {
  if (refused())
    return NULL;
  void *block = mmap(NULL, size ? size : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (block == MAP_FAILED)
    return NULL;
#ifdef MADV_HUGEPAGE
  if (size >= (4u << 20))
    madvise(block, size, MADV_HUGEPAGE);
#endif
  return block;
}

#ifdef __linux__
/* Sealed: whoever holds the descriptor cannot cut off memory that others have mapped. */
static int nameless_file(size_t size) {
  int fd = memfd_create("sam3", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd >= 0 && (ftruncate(fd, (off_t)size) != 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)) {
    close(fd);
    return -1;
  }
  return fd;
}
#else
static int nameless_file(size_t size) {
  char name[64];
  static atomic_uint count;
  snprintf(name, sizeof name, "/sam3-%ld-%u", (long)getpid(), atomic_fetch_add(&count, 1));
  int fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (fd < 0)
    return -1;
  shm_unlink(name);
  if (ftruncate(fd, (off_t)size) != 0) {
    close(fd);
    return -1;
  }
  return fd;
}
#endif

int mem_shared_file(size_t size) {
  return refused() ? -1 : nameless_file(size);
}

void *mem_map_shared(int fd, size_t size) {
  if (refused())
    return NULL;
  void *block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (block == MAP_FAILED)
    return NULL;
#ifdef MADV_HUGEPAGE
  madvise(block, size, MADV_HUGEPAGE);
#endif
  return block;
}

void mem_free_pages(void *block, size_t size) {
  if (block)
    munmap(block, size ? size : 1);
}
