/* The order in which waiting requests are served: foreground before background; among those, clients take turns (each
 * request has a round, and a client has one request a round); within a round, who came first. A pure data structure:
 * whoever uses it has a lock. */
#ifndef SAM3_ENGINE_QUEUE_H
#define SAM3_ENGINE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The place of a request; a member of it, found again with its address. */
struct queued {
  struct queued *next;
  uint64_t client, round, number; /* `number` counts arrivals */
  bool background;
};

/* Clients whose last round is remembered. */
#define QUEUE_CLIENTS 256

struct queue {
  struct queued *first;
  size_t count;
  uint64_t round, arrivals; /* the round being served */
  struct {
    uint64_t client, round; /* round + 1 of its last request; 0: none */
  } clients[QUEUE_CLIENTS];
};

/* Puts it where it belongs. */
void queue_add(struct queue *queue, struct queued *item, uint64_t client, bool background);
/* Puts back what was taken, before everything else. */
void queue_return(struct queue *queue, struct queued *item);
/* Takes it out; false: it was not there. */
bool queue_remove(struct queue *queue, struct queued *item);
/* How many are before it. */
size_t queue_position(const struct queue *queue, const struct queued *item);

#endif
