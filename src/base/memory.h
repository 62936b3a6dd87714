/* Every heap block of the library comes from here, so that tests can make any of them fail. */
#ifndef SAM3_BASE_MEMORY_H
#define SAM3_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* As malloc, calloc (`count` × `size`, zeroed) and realloc (overflow-checked `count` × `size`); NULL when there is
 * none. Free with free(). */
void *mem_alloc(size_t size);
void *mem_zeroed(size_t count, size_t size);
void *mem_resize(void *block, size_t count, size_t size);
char *mem_strdup(const char *text);

/* Page-aligned (64-byte lines never split), not zeroed, backed by huge pages where the system has them.
 * Free with mem_free_pages(). */
void *mem_pages(size_t size);
void mem_free_pages(void *block, size_t size);

/* Memory that processes share: a file without a name, of `size` zeros, which goes where its descriptor goes; -1 when
 * there is none. Map it with mem_map_shared(), unmap with mem_free_pages(); the descriptor is closed with close(). */
int mem_shared_file(size_t size);
void *mem_map_shared(int fd, size_t size);

/* Tests only: the `n`-th allocation from now fails (1 is the next one; 0 switches off), and every one after it when
 * `forever`. Returns how many allocations were asked for since the last call. */
size_t mem_fail_at(size_t n, bool forever);

#endif
