/* The way to a worker process, however it was started: as a child of this process, or by a launcher, here or
 * on another host, from where it came to the meeting (meeting.c). */
#ifndef SAM3_ENGINE_ENDPOINT_H
#define SAM3_ENGINE_ENDPOINT_H

#include "engine/task.h"

struct endpoint {
  int socket;
  int file;        /* in memory, where the pixels lie for both ends; -1: they travel in the messages */
  int process;     /* its id, on its host */
  bool child;      /* of this process, and ended by it */
  char name[160];  /* for messages: "worker process 4711", "rank 2 (process 4711 on node7)" */
  char device[64]; /* that it has chosen itself; "": it is told */
};

/* Starts `program worker FD`; NULL: this program. It ends when its socket does. */
sam3_status endpoint_spawn(const char *program, struct endpoint *end, struct sam3_error *err);
void endpoint_close(struct endpoint *end);

/* Takes the endpoint over, also on failure. */
sam3_status remote_open(const struct endpoint *end, const struct runner_options *options, struct runner **runner,
                        struct sam3_error *err);

#endif
