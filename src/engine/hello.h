/* What the two ends of a TCP connection tell each other before any message: structs of a fixed size, so that nothing is
 * taken or parsed on the word of a stranger. Prologue and size are the same in every version. */
#ifndef SAM3_ENGINE_HELLO_H
#define SAM3_ENGINE_HELLO_H

#include <netdb.h>

#include "sam3.h"

struct prologue {
  char magic[8];    /* "sam3tcp" */
  uint32_t order;   /* 1: byte order */
  uint32_t layout;  /* of the structs that messages hold */
  char version[32]; /* of sam3 */
};

/* From the worker. Texts end with zeros, all of them, so that they are compared whole. */
struct hello {
  struct prologue prologue;
  int32_t rank, size, process, unused;
  char host[64], device[64];
  char run[sizeof((struct sam3_launch *)0)->run];
  char secret[sizeof((struct sam3_launch *)0)->secret];
};

/* The answer. */
struct welcome {
  struct prologue prologue;
  int32_t status; /* SAM3_OK: messages follow; SAM3_ERR_BUSY: try again */
  char reason[204];
};

/* Seconds in which a hello, or its answer, must be there. */
#define HELLO_SECONDS 5.0

struct prologue hello_prologue(void);
/* What keeps the two from understanding each other; NULL: nothing. */
const char *hello_problem(const struct prologue *other);
/* False: a stranger's. */
bool hello_ours(const struct prologue *other);

/* What all ranks are asked for must be possible over TCP (launch.c). */
sam3_status launch_check(const struct sam3_engine_options *options, struct sam3_error *err);

/* The addresses of the meeting point; free with freeaddrinfo(). */
sam3_status hello_resolve(const struct sam3_launch *launch, struct addrinfo **list, struct sam3_error *err);
/* "10.0.0.1:29501", "[::1]:29501". */
#define HELLO_ADDRESS 80
void hello_address(const struct sockaddr *address, socklen_t size, char text[HELLO_ADDRESS]);
/* A connection for messages: without delay, blocking, and noticed when the other host is gone. */
void hello_done(int socket);

#endif
