/* The listening socket, and who holds a port that is taken. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "serve/server.h"

/* The inode of the socket that listens on `port`; 0: not told. */
static unsigned long listener_inode(unsigned port) {
  static const char *const tables[] = {"/proc/net/tcp", "/proc/net/tcp6"};
  unsigned long found = 0;
  for (size_t i = 0; i < 2 && !found; i++) {
    char line[400];
    FILE *file = fopen(tables[i], "re");
    while (file && !found && fgets(line, sizeof line, file)) {
      unsigned local, state;
      unsigned long inode;
      if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*x:%*x %*x:%*x %*x %*u %*d %lu", &local, &state,
                 &inode) == 3 &&
          local == port && state == 0x0a)
        found = inode;
    }
    if (file)
      fclose(file);
  }
  return found;
}

/* Whether the process has the socket open. */
static bool has_socket(const char *process, const char *socket) {
  char path[300], link[64];
  snprintf(path, sizeof path, "/proc/%.20s/fd", process);
  DIR *folder = opendir(path);
  bool found = false;
  for (struct dirent *entry; folder && !found && (entry = readdir(folder));) {
    snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", process, entry->d_name);
    ssize_t size = readlink(path, link, sizeof link - 1);
    if (size > 0) {
      link[size] = '\0';
      found = strcmp(link, socket) == 0;
    }
  }
  if (folder)
    closedir(folder);
  return found;
}

/* " by process 12 (nginx)", or "" when /proc does not tell. */
static void name_holder(unsigned port, char text[100]) {
  char socket[64], path[64], name[32] = "?";
  unsigned long inode = listener_inode(port);
  text[0] = '\0';
  DIR *processes = inode ? opendir("/proc") : NULL;
  snprintf(socket, sizeof socket, "socket:[%lu]", inode);
  for (struct dirent *entry; processes && !*text && (entry = readdir(processes));) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || !has_socket(entry->d_name, socket))
      continue;
    snprintf(path, sizeof path, "/proc/%.20s/comm", entry->d_name);
    FILE *file = fopen(path, "re");
    if (file && fgets(name, sizeof name, file))
      name[strcspn(name, "\n")] = '\0';
    if (file)
      fclose(file);
    snprintf(text, 100, " by process %.20s (%s)", entry->d_name, name);
  }
  if (processes)
    closedir(processes);
}

sam3_status port_listen(const char *host, uint64_t *port, int *out, struct sam3_error *err) {
  char service[12], holder[100];
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
    name_holder((unsigned)*port, holder);
    if (error == EADDRINUSE)
      return fail(err, SAM3_ERR_IO, "port %u is in use%s; choose another with --port, $SAM3_PORT or port: in the file",
                  (unsigned)*port, holder);
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
