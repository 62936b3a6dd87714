#include "engine/hello.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "engine/wire.h"

/* Seconds: without a word on an idle connection before it is probed, and between probes. */
enum { IDLE = 5, PROBE = 3, PROBES = 3 };

static const char magic[8] = "sam3tcp";

struct prologue hello_prologue(void) {
  struct prologue p = {.order = 1, .version = SAM3_VERSION};
  memcpy(p.magic, magic, sizeof magic);
  p.layout = (uint32_t)(sizeof(void *) << 24 | sizeof(struct sam3_detection) << 12 | sizeof(struct sam3_box));
  return p;
}

bool hello_ours(const struct prologue *other) {
  return memcmp(other->magic, magic, sizeof magic) == 0;
}

const char *hello_problem(const struct prologue *other) {
  const struct prologue own = hello_prologue();
  if (other->order != own.order)
    return "byte order";
  if (memcmp(other->version, own.version, sizeof own.version) != 0)
    return "version";
  return other->layout == own.layout ? NULL : "data layout";
}

sam3_status hello_resolve(const struct sam3_launch *launch, struct addrinfo **list, struct sam3_error *err) {
  char port[16];
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  snprintf(port, sizeof port, "%d", launch->port);
  int problem = getaddrinfo(launch->address, port, &hints, list);
  if (problem == EAI_MEMORY)
    return fail_memory(err, 0, "the address of rank 0");
  return problem ? fail(err, SAM3_ERR_IO, "the address of rank 0, \"%s\" (MASTER_ADDR): %s", launch->address,
                        gai_strerror(problem))
                 : SAM3_OK;
}

void hello_address(const struct sockaddr *address, socklen_t size, char text[HELLO_ADDRESS]) {
  char host[64], port[8];
  if (getnameinfo(address, size, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    snprintf(text, HELLO_ADDRESS, "?");
  else
    snprintf(text, HELLO_ADDRESS, address->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

static void set(int socket, int level, int name, int value) {
  setsockopt(socket, level, name, &value, sizeof value);
}

void hello_done(int socket) {
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) & ~O_NONBLOCK);
  wire_limit(socket, WIRE_STALLED);
  set(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set(socket, IPPROTO_TCP, TCP_KEEPIDLE, IDLE);
  set(socket, IPPROTO_TCP, TCP_KEEPINTVL, PROBE);
  set(socket, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
  set(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 1000 * (IDLE + PROBE * PROBES));
}
