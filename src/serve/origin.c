/* Who may drive this server from a browser. A page of evil.example can send requests to any address that its visitor's
 * machine reaches, and can make its own name point there (DNS rebinding). The names in Host and Origin give both away.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "serve/server.h"

/* "name:80" and "[::1]:80" without port and brackets; false: neither. */
static bool split_host(const char *host, char name[HOST_SIZE]) {
  const char *end = *host == '[' ? strchr(host, ']') : host + strcspn(host, ":");
  if (!end)
    return false;
  const char *begin = host + (*host == '['), *port = end + (*host == '[');
  if (end == begin || end - begin >= HOST_SIZE || (*port && *port != ':') ||
      (*port && port[1 + strspn(port + 1, "0123456789")]))
    return false;
  snprintf(name, HOST_SIZE, "%.*s", (int)(end - begin), begin);
  return true;
}

bool host_allowed(const struct text_list *allowed, const char *host) {
  char name[HOST_SIZE];
  struct in6_addr address;
  for (size_t i = 0; i < allowed->count; i++)
    if (strcmp(allowed->items[i], "*") == 0)
      return true;
  if (!split_host(host, name))
    return false;
  if (inet_pton(*host == '[' ? AF_INET6 : AF_INET, name, &address) == 1 || strcasecmp(name, "localhost") == 0)
    return true;
  for (size_t i = 0; i < allowed->count; i++)
    if (strcasecmp(allowed->items[i], name) == 0)
      return true;
  return false;
}

bool origin_in(const struct text_list *origins, const char *origin) {
  for (size_t i = 0; i < origins->count; i++)
    if (strcmp(origins->items[i], origin) == 0)
      return true;
  return false;
}

bool origin_is_host(const char *origin, const char *host) {
  const char *name = strstr(origin, "://"); /* a proxy may speak https where this server speaks http */
  return name && host && strcasecmp(name + 3, host) == 0;
}
