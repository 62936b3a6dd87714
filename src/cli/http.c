#include "cli/http.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define DEFAULT_PORT "7860"
#define MAX_ANSWER ((size_t)16 << 20)
#define PATIENCE 5 /* seconds without a byte */

const char *http_parse(const char *text, struct http_url *url) {
  *url = (struct http_url){.port = DEFAULT_PORT};
  if (strncasecmp(text, "https://", 8) == 0)
    return "only http:// is spoken here";
  const char *at = strncasecmp(text, "http://", 7) == 0 ? text + 7 : text;
  bool bracketed = *at == '['; /* [::1] */
  size_t host = bracketed ? strcspn(at, "]") : strcspn(at, ":/");
  if (bracketed && at[host] != ']')
    return "a [ without ]";
  if (host - bracketed == 0 || host >= sizeof url->host)
    return "no host in it";
  memcpy(url->host, at + bracketed, host - bracketed);
  at += host + bracketed;
  if (*at == ':') {
    size_t digits = strspn(++at, "0123456789");
    if (digits == 0 || digits > 5 || atoi(at) < 1 || atoi(at) > 65535)
      return "its port is not a number from 1 to 65535";
    memset(url->port, 0, sizeof url->port);
    memcpy(url->port, at, digits);
    at += digits;
  }
  size_t length = strlen(at);
  while (length && at[length - 1] == '/')
    length--;
  if ((*at && *at != '/') || strpbrk(text, " \r\n\t?#") || length >= sizeof url->path)
    return "not an address http://HOST:PORT";
  memcpy(url->path, at, length);
  return NULL;
}

/* A connected socket; -1 with errno, or with a message in `problem`. */
static int open_socket(const struct http_url *url, char problem[400]) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *all = NULL;
  int failure = getaddrinfo(url->host, url->port, &hints, &all), fd = -1;
  if (failure) {
    snprintf(problem, 400, "%s: %s", url->host, gai_strerror(failure));
    return -1;
  }
  struct timeval patience = {.tv_sec = PATIENCE};
  for (struct addrinfo *one = all; one && fd < 0; one = one->ai_next) {
    fd = socket(one->ai_family, one->ai_socktype | SOCK_CLOEXEC, one->ai_protocol);
    if (fd < 0)
      continue;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* of connect, too */
    if (connect(fd, one->ai_addr, one->ai_addrlen) != 0) {
      int number = errno;
      close(fd);
      errno = number;
      fd = -1;
    }
  }
  int number = errno;
  freeaddrinfo(all);
  if (fd < 0)
    snprintf(problem, 400, "http://%s:%s: %s", url->host, url->port,
             number == ECONNREFUSED                      ? "nobody listens there; is sam3 serve running?"
             : number == EINPROGRESS || number == EAGAIN ? "no answer"
                                                         : strerror(number));
  return fd;
}

static bool send_all(int fd, const char *bytes, size_t size) {
  while (size) {
    ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent <= 0)
      return false;
    bytes += sent;
    size -= (size_t)sent;
  }
  return true;
}

/* Everything until the other end closes, with NUL; NULL with errno. */
static char *receive_all(int fd) {
  char *text = NULL;
  size_t size = 0, capacity = 0;
  for (;;) {
    if (size + 1 >= capacity)
      text = need(realloc(text, capacity = capacity ? 2 * capacity : 16384));
    ssize_t got = recv(fd, text + size, capacity - size - 1, 0);
    if (got < 0 && errno == EINTR)
      continue;
    if (got == 0) {
      text[size] = '\0';
      return text;
    }
    size += got > 0 ? (size_t)got : 0;
    if (got < 0 || size > MAX_ANSWER) {
      free(text);
      errno = got < 0 ? errno : EMSGSIZE;
      return NULL;
    }
  }
}

/* The value of a header, up to its line's end; NULL: there is none. `head` ends at the empty line. */
static const char *header(const char *head, const char *name) {
  size_t length = strlen(name);
  for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n')) {
    line++;
    if (strncasecmp(line, name, length) == 0 && line[length] == ':')
      return line + length + 1 + strspn(line + length + 1, " \t");
  }
  return NULL;
}

/* Joins the chunks of a chunked body in place; false when they are broken. */
static bool join_chunks(char *body) {
  size_t left = strlen(body);
  char *to = body, *at = body;
  for (;;) {
    char *end;
    unsigned long size = strtoul(at, &end, 16);
    char *line = strchr(at, '\n');
    if (end == at || !line || size > left)
      return false;
    at = line + 1;
    if (size == 0)
      break;
    if (strnlen(at, size + 2) < size + 2)
      return false;
    memmove(to, at, size);
    to += size;
    at += size + 2;
  }
  *to = '\0';
  return true;
}

/* Cuts the answer down to its body. */
static bool take_body(char *answer, const char *what, char problem[400]) {
  int status = 0;
  char *body = strstr(answer, "\r\n\r\n");
  if (!body || sscanf(answer, "HTTP/1.%*1[01] %3d", &status) != 1) {
    snprintf(problem, 400, "%s: what answers there does not speak HTTP", what);
    return false;
  }
  *body = '\0';
  body += 4;
  if (status != 200) {
    snprintf(problem, 400, "%s: status %d%s", what, status,
             status == 401   ? " (the server asks for a key: set SAM3_API_KEY)"
             : status == 404 ? " (is this a sam3 server?)"
                             : "");
    return false;
  }
  const char *coding = header(answer, "Transfer-Encoding"), *length = header(answer, "Content-Length");
  bool whole = coding && strncasecmp(coding, "chunked", 7) == 0 ? join_chunks(body)
                                                                : !length || strtoul(length, NULL, 10) == strlen(body);
  if (!whole)
    snprintf(problem, 400, "%s: the answer is incomplete", what);
  memmove(answer, body, strlen(body) + 1);
  return whole;
}

char *http_get(const struct http_url *url, const char *path, const char *key, char problem[400]) {
  int fd = open_socket(url, problem);
  if (fd < 0)
    return NULL;
  bool six = strchr(url->host, ':');
  char *what = make_text("http://%s:%s%s%s", url->host, url->port, url->path, path);
  char *request =
      make_text("GET %s%s HTTP/1.1\r\nHost: %s%s%s:%s\r\nUser-Agent: sam3/%s\r\nAccept: application/json\r\n"
                "%s%s%sConnection: close\r\n\r\n",
                url->path, path, six ? "[" : "", url->host, six ? "]" : "", url->port, sam3_version(),
                key ? "Authorization: Bearer " : "", key ? key : "", key ? "\r\n" : "");
  char *answer = send_all(fd, request, strlen(request)) ? receive_all(fd) : NULL;
  if (!answer)
    snprintf(problem, 400, "%s: %s", what, errno == EAGAIN ? "no answer" : strerror(errno));
  if (answer && !take_body(answer, what, problem)) {
    free(answer);
    answer = NULL;
  }
  close(fd);
  free(request);
  free(what);
  return answer;
}
