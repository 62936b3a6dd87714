#include "engine/queue.h"

/* The client's memory; of those that collide, the last one counts: a client that is forgotten begins anew. */
static uint64_t *last_round(struct queue *queue, uint64_t client) {
  size_t at = (size_t)((client * 0x9e3779b97f4a7c15u) >> 32) % QUEUE_CLIENTS;
  if (queue->clients[at].client != client) {
    queue->clients[at].client = client;
    queue->clients[at].round = 0;
  }
  return &queue->clients[at].round;
}

static bool before(const struct queued *a, const struct queued *b) {
  if (a->background != b->background)
    return b->background;
  return a->round != b->round ? a->round < b->round : a->number < b->number;
}

void queue_add(struct queue *queue, struct queued *item, uint64_t client, bool background) {
  uint64_t *last = last_round(queue, 2 * client + background); /* background requests take no turns from the others */
  uint64_t round = *last > queue->round ? *last : queue->round;
  *item = (struct queued){.client = client, .round = round, .number = queue->arrivals++, .background = background};
  *last = round + 1;
  struct queued **at = &queue->first;
  while (*at && !before(item, *at))
    at = &(*at)->next;
  item->next = *at;
  *at = item;
  queue->count++;
}

void queue_return(struct queue *queue, struct queued *item) {
  item->background = false;
  item->round = item->number = 0;
  item->next = queue->first;
  queue->first = item;
  queue->count++;
}

bool queue_remove(struct queue *queue, struct queued *item) {
  for (struct queued **at = &queue->first; *at; at = &(*at)->next) {
    if (*at != item)
      continue;
    bool turn = at == &queue->first; /* otherwise it is cancelled or preferred, and its round is not there yet */
    *at = item->next;
    queue->count--;
    if (turn && !item->background && item->round > queue->round)
      queue->round = item->round;
    return true;
  }
  return false;
}

size_t queue_position(const struct queue *queue, const struct queued *item) {
  size_t position = 0;
  for (const struct queued *at = queue->first; at && at != item; at = at->next)
    position++;
  return position;
}
