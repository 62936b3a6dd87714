/* The listening socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/port.h"
#include "serve/server.h"

sam3_status port_listen(const char *host, uint64_t *port, int *out, struct sam3_error *err) {
  char service[12], holder[PORT_HOLDER];
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV},
                  *address;
  *out = -1;
  snprintf(service, sizeof service, "%u", (unsigned)*port);
  if (getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, service, &hints, &address) != 0)
    return fail(err, SAM3_ERR_ARGUMENT, "host: '%s' is not an address of this machine, as 127.0.0.1 or 0.0.0.0", host);
  int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;
  bool good = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) == 0 &&
              bind(fd, address->ai_addr, address->ai_addrlen) == 0 && listen(fd, 1024) == 0;
  int error = errno;
  freeaddrinfo(address);
  if (!good) {
    if (fd >= 0)
      close(fd);
    bool known = error == EADDRINUSE && port_holder((int)*port, holder);
    if (error == EADDRINUSE)
      return fail(err, SAM3_ERR_IO,
                  "port %u is in use%s%s; choose another with --port, $SAM3_PORT or port: in the file", (unsigned)*port,
                  known ? " by " : "", known ? holder : "");
    return fail(err, SAM3_ERR_IO, "cannot listen on %s port %u: %s", host, (unsigned)*port, strerror(error));
  }
  struct sockaddr_storage bound;
  socklen_t size = sizeof bound;
  if (getsockname(fd, (struct sockaddr *)&bound, &size) == 0)
    *port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                              : ((struct sockaddr_in *)&bound)->sin_port);
  *out = fd;
  return SAM3_OK;
}
