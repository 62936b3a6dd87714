#include "engine/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

#define NO_TEXT UINT64_MAX
#define MAX_MESSAGE ((uint64_t)1 << 32)
#define FIRST_PIECE ((size_t)16 << 20) /* bytes for which memory is taken before any of a message has come */

struct header {
  uint64_t kind, size;
};

void wire_begin(struct wire *wire, enum wire_kind kind) {
  *wire = (struct wire){.kind = kind};
}

void wire_free(struct wire *wire) {
  free(wire->data);
  *wire = (struct wire){0};
}

/* ---------------------------------------------------------------------------------------- values */

void wire_put(struct wire *wire, const void *bytes, size_t size) {
  if (wire->failed || !size)
    return;
  if (size > wire->capacity - wire->size) {
    size_t capacity = 2 * (wire->size + size) + 256;
    uint8_t *data = mem_resize(wire->data, capacity, 1);
    if (!data) {
      wire->failed = true;
      return;
    }
    wire->data = data;
    wire->capacity = capacity;
  }
  memcpy(wire->data + wire->size, bytes, size);
  wire->size += size;
}

void wire_put_u64(struct wire *wire, uint64_t value) {
  wire_put(wire, &value, sizeof value);
}

void wire_put_f64(struct wire *wire, double value) {
  wire_put(wire, &value, sizeof value);
}

void wire_put_text(struct wire *wire, const char *text) {
  wire_put_u64(wire, text ? strlen(text) : NO_TEXT);
  wire_put(wire, text, text ? strlen(text) : 0);
}

const void *wire_get(struct wire *wire, size_t size) {
  if (wire->failed || size > wire->size - wire->at) {
    wire->failed = true;
    return NULL;
  }
  wire->at += size;
  return wire->data + wire->at - size;
}

uint64_t wire_get_u64(struct wire *wire) {
  uint64_t value = 0;
  const void *bytes = wire_get(wire, sizeof value);
  if (bytes)
    memcpy(&value, bytes, sizeof value);
  return value;
}

double wire_get_f64(struct wire *wire) {
  double value = 0;
  const void *bytes = wire_get(wire, sizeof value);
  if (bytes)
    memcpy(&value, bytes, sizeof value);
  return value;
}

char *wire_get_text(struct wire *wire) {
  uint64_t size = wire_get_u64(wire);
  if (wire->failed || size == NO_TEXT)
    return NULL;
  const void *bytes = wire_get(wire, size);
  char *text = bytes || !size ? mem_alloc(size + 1) : NULL;
  if (!text) {
    wire->failed = true;
    return NULL;
  }
  if (size)
    memcpy(text, bytes, size);
  text[size] = '\0';
  return text;
}

size_t wire_get_count(struct wire *wire, size_t least) {
  uint64_t count = wire_get_u64(wire);
  if (count > (wire->size - wire->at) / least)
    wire->failed = true;
  return wire->failed ? 0 : count;
}

/* A list of plain structs, copied; NULL: none, or `failed`. */
static void *get_list(struct wire *wire, size_t element, size_t *count) {
  *count = wire_get_count(wire, element);
  if (!*count)
    return NULL;
  void *list = mem_alloc(*count * element);
  const void *bytes = wire_get(wire, *count * element);
  if (!list || !bytes) {
    free(list);
    wire->failed = true;
    *count = 0;
    return NULL;
  }
  return memcpy(list, bytes, *count * element);
}

static void put_list(struct wire *wire, const void *list, size_t element, size_t count) {
  wire_put_u64(wire, count);
  wire_put(wire, list, count * element);
}

/* ---------------------------------------------------------------------------- prompts and results */

void wire_put_prompts(struct wire *wire, const struct sam3_prompt *prompts, size_t n) {
  wire_put_u64(wire, n);
  for (size_t i = 0; i < n; i++) {
    wire_put_text(wire, prompts[i].text);
    put_list(wire, prompts[i].boxes, sizeof *prompts[i].boxes, prompts[i].n_boxes);
  }
}

struct sam3_prompt *wire_get_prompts(struct wire *wire, size_t *n) {
  *n = wire_get_count(wire, 2 * sizeof(uint64_t));
  struct sam3_prompt *prompts = mem_zeroed(*n, sizeof *prompts);
  for (size_t i = 0; prompts && i < *n; i++) {
    prompts[i].text = wire_get_text(wire);
    prompts[i].boxes = get_list(wire, sizeof *prompts[i].boxes, &prompts[i].n_boxes);
  }
  if (prompts && wire->failed) {
    prompts_free(prompts, *n);
    prompts = NULL;
  }
  return prompts;
}

void wire_put_results(struct wire *wire, const struct sam3_results *results) {
  wire_put_u64(wire, (uint64_t)results->width);
  wire_put_u64(wire, (uint64_t)results->height);
  wire_put_u64(wire, results->n_items);
  for (size_t i = 0; i < results->n_items; i++) {
    const struct sam3_result *item = &results->items[i];
    wire_put_text(wire, item->text);
    put_list(wire, item->boxes, sizeof *item->boxes, item->n_boxes);
    wire_put_f64(wire, (double)item->presence);
    put_list(wire, item->detections, sizeof *item->detections, item->n_detections);
    for (size_t k = 0; k < item->n_detections; k++)
      put_list(wire, item->detections[k].mask.counts, sizeof(uint32_t), item->detections[k].mask.n_counts);
  }
}

/* True when the runs fill exactly a mask of the results' size, or there is none: of a split's ranks only the first has
 * masks. */
static bool mask_fits(const struct sam3_rle *mask, const struct sam3_results *results) {
  uint64_t pixels = 0;
  if (!mask->n_counts && !mask->width && !mask->height)
    return true;
  for (size_t i = 0; i < mask->n_counts; i++)
    pixels += mask->counts[i];
  return mask->width == results->width && mask->height == results->height &&
         pixels == (uint64_t)mask->width * (uint64_t)mask->height;
}

static void get_result(struct wire *wire, const struct sam3_results *results, struct sam3_result *item) {
  item->text = wire_get_text(wire);
  item->boxes = get_list(wire, sizeof *item->boxes, &item->n_boxes);
  item->presence = (float)wire_get_f64(wire);
  item->detections = get_list(wire, sizeof *item->detections, &item->n_detections);
  for (size_t k = 0; k < item->n_detections; k++) {
    struct sam3_rle *mask = &item->detections[k].mask;
    mask->counts = get_list(wire, sizeof *mask->counts, &mask->n_counts);
    wire->failed |= !mask_fits(mask, results);
  }
}

struct sam3_results *wire_get_results(struct wire *wire) {
  struct sam3_results *results = mem_zeroed(1, sizeof *results);
  if (!results)
    return NULL;
  results->width = (int)wire_get_u64(wire);
  results->height = (int)wire_get_u64(wire);
  wire->failed |= results->width < 1 || results->height < 1;
  size_t n = wire_get_count(wire, 3 * sizeof(uint64_t));
  results->items = mem_zeroed(n, sizeof *results->items);
  for (size_t i = 0; results->items && i < n; i++) {
    results->n_items = i + 1;
    get_result(wire, results, &results->items[i]);
  }
  if (results->items && !wire->failed)
    return results;
  sam3_results_free(results);
  return NULL;
}

void wire_put_report(struct wire *wire, const struct task_report *report) {
  wire_put_u64(wire, report->encoded);
  wire_put_u64(wire, report->memory);
  for (int i = 0; i < SAM3_MAX_STAGES; i++) {
    wire_put_text(wire, report->stages[i].stage);
    wire_put_u64(wire, report->stages[i].count);
    wire_put_f64(wire, report->stages[i].seconds);
  }
}

void wire_get_report(struct wire *wire, struct task_report *report) {
  *report = (struct task_report){.encoded = wire_get_u64(wire) != 0, .memory = wire_get_u64(wire)};
  for (int i = 0; i < SAM3_MAX_STAGES; i++) {
    char *stage = wire_get_text(wire);
    uint64_t count = wire_get_u64(wire);
    double seconds = wire_get_f64(wire);
    if (stage)
      stage_add(report->stages, stage_constant(stage), count, seconds);
    free(stage);
  }
}

/* ----------------------------------------------------------------------------------------- socket */

void wire_limit(int socket, double seconds) {
  const struct timeval stalled = {.tv_sec = (time_t)seconds,
                                  .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
  setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &stalled, sizeof stalled);
  setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &stalled, sizeof stalled);
}

/* Room for one descriptor beside a message. */
union control {
  char bytes[CMSG_SPACE(sizeof(int))];
  struct cmsghdr align;
};

/* Sends the parts one after the other; `message` may carry a descriptor, which goes with the first byte. */
static bool send_all(int socket, struct msghdr *message) {
  while (message->msg_iovlen) {
    ssize_t sent = sendmsg(socket, message, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent <= 0)
      return false;
    message->msg_control = NULL;
    message->msg_controllen = 0;
    while (message->msg_iovlen && (size_t)sent >= message->msg_iov->iov_len) {
      sent -= (ssize_t)message->msg_iov->iov_len;
      message->msg_iov++;
      message->msg_iovlen--;
    }
    if (message->msg_iovlen) {
      message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + sent;
      message->msg_iov->iov_len -= (size_t)sent;
    }
  }
  return true;
}

bool wire_send(int socket, const struct wire *wire, int file) {
  if (wire->failed)
    return false;
  struct header header = {wire->kind, wire->size + wire->tail_size};
  struct iovec parts[] = {{&header, sizeof header}, {wire->data, wire->size}, {(void *)wire->tail, wire->tail_size}};
  union control control = {0};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 3};
  if (file >= 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof file);
    memcpy(CMSG_DATA(c), &file, sizeof file);
  }
  return send_all(socket, &message);
}

static bool receive_all(int socket, void *bytes, size_t size) {
  char *at = bytes;
  while (size) {
    ssize_t got = recv(socket, at, size, MSG_WAITALL);
    if (got < 0 && errno == EINTR)
      continue;
    if (got <= 0)
      return false;
    at += got;
    size -= (size_t)got;
  }
  return true;
}

/* A size is a claim: memory is taken as the bytes come. */
static bool receive_data(int socket, struct wire *wire, size_t size) {
  while (wire->size < size) {
    size_t piece = wire->size ? wire->size : FIRST_PIECE;
    piece = piece < size - wire->size ? piece : size - wire->size;
    uint8_t *data = mem_resize(wire->data, wire->size + piece, 1);
    if (!data)
      return false;
    wire->data = data;
    wire->capacity = wire->size + piece;
    if (!receive_all(socket, data + wire->size, piece))
      return false;
    wire->size += piece;
  }
  return true;
}

static int descriptor_of(struct msghdr *message) {
  int file = -1;
  struct cmsghdr *c = CMSG_FIRSTHDR(message);
  if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof file))
    memcpy(&file, CMSG_DATA(c), sizeof file);
  return file;
}

enum wire_received wire_receive(int socket, struct wire *wire, double seconds, int *file) {
  wire_free(wire);
  struct pollfd poll_one = {.fd = socket, .events = POLLIN};
  int ready = poll(&poll_one, 1, (int)(seconds * 1000));
  if (ready == 0 || (ready < 0 && errno == EINTR))
    return WIRE_NOTHING;
  struct header header;
  struct iovec part = {&header, sizeof header};
  union control control;
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t got;
  while ((got = recvmsg(socket, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR)
    ;
  if (got != (ssize_t)sizeof header || header.size > MAX_MESSAGE)
    return WIRE_GONE;
  int came = descriptor_of(&message);
  if (file)
    *file = came;
  else if (came >= 0)
    close(came);
  wire->kind = (enum wire_kind)header.kind;
  if (receive_data(socket, wire, header.size))
    return WIRE_RECEIVED;
  wire_free(wire);
  return WIRE_GONE;
}
