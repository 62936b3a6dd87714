/* What the coordinator and a worker process say to each other over their socket: messages of a kind and a size, between
 * ends of the same version and data layout (on one machine that is so; hello.h checks it over TCP). Receivers check
 * every length: a message that does not hold what it should is an error. */
#ifndef SAM3_ENGINE_WIRE_H
#define SAM3_ENGINE_WIRE_H

#include "engine/task.h"

enum wire_kind {
  WIRE_OPEN = 1, /* to the worker, once: model, device; with the file of shared pixels if there is one */
  WIRE_JOIN,     /* to the worker: its rank in a split, with the split's memory, in place of one before; not answered */
  WIRE_RUN,      /* to the worker: a task, followed by its pixels if there is no such file */
  WIRE_CANCEL,   /* to the worker, while it runs */
  WIRE_CLOSE,    /* to the worker, last: it is not needed any more */
  WIRE_READY,    /* from the worker, once: slots, memory */
  WIRE_PROGRESS, /* from the worker, while it runs */
  WIRE_DONE,     /* from the worker: report and results */
  WIRE_FAILED,   /* from the worker: report and error; also in place of WIRE_READY */
};

/* A message being written or read. */
struct wire {
  enum wire_kind kind;
  uint8_t *data;
  size_t size, capacity;
  const void *tail; /* sent after `data`: the caller's; received as a part of `data` */
  size_t tail_size;
  size_t at;   /* next byte to read */
  bool failed; /* no memory to write, or nothing left to read: everything after it does nothing and reads 0 */
};

void wire_begin(struct wire *wire, enum wire_kind kind);
void wire_free(struct wire *wire);

void wire_put(struct wire *wire, const void *bytes, size_t size);
void wire_put_u64(struct wire *wire, uint64_t value);
void wire_put_f64(struct wire *wire, double value);
void wire_put_text(struct wire *wire, const char *text); /* may be NULL */

const void *wire_get(struct wire *wire, size_t size); /* NULL: not there */
uint64_t wire_get_u64(struct wire *wire);
double wire_get_f64(struct wire *wire);
char *wire_get_text(struct wire *wire); /* NULL: none, or `failed`; free with free() */
/* The count of a list whose elements take at least `least` bytes each. */
size_t wire_get_count(struct wire *wire, size_t least);

void wire_put_prompts(struct wire *wire, const struct sam3_prompt *prompts, size_t n);
/* NULL: failed. Free with prompts_free. */
struct sam3_prompt *wire_get_prompts(struct wire *wire, size_t *n);
void wire_put_results(struct wire *wire, const struct sam3_results *results);
struct sam3_results *wire_get_results(struct wire *wire); /* NULL: failed */
void wire_put_report(struct wire *wire, const struct task_report *report);
void wire_get_report(struct wire *wire, struct task_report *report);

/* The other end is taken for gone when it stops in the middle of a message for so many seconds. */
#define WIRE_STALLED 60.0
void wire_limit(int socket, double seconds);
/* Sends it all, with a file descriptor unless that is -1. False: the other end is gone (or there was no memory). */
bool wire_send(int socket, const struct wire *wire, int file);
/* Waits up to `seconds` for a message and receives all of it; what `wire` held is freed. `file` (may be NULL) gets the
 * descriptor that came with it, or -1. */
enum wire_received { WIRE_RECEIVED, WIRE_NOTHING, WIRE_GONE };
enum wire_received wire_receive(int socket, struct wire *wire, double seconds, int *file);

#endif
