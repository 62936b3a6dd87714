/* One HTTP/1.1 GET, enough for a server of our own. */
#ifndef SAM3_CLI_HTTP_H
#define SAM3_CLI_HTTP_H

#include "cli/cli.h"

struct http_url {
  char host[256], port[8], path[512]; /* `path` is the prefix before what is asked for, without a final slash */
};

/* "http://HOST[:PORT][/PATH]", where http:// may be missing; port 7860 when none is named. NULL, or what is wrong. */
const char *http_parse(const char *text, struct http_url *url);

/* The body of url/`path`, with NUL at its end; free with free(). `key`: of the API, or NULL. NULL with a message in
 * `problem` when nobody answers, or with another status than 200. */
char *http_get(const struct http_url *url, const char *path, const char *key, char problem[400]);

#endif
