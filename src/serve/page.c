/* The page, its files, the API's description and the sample images. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "serve/assets.h"
#include "serve/server.h"

static void respond_asset(struct request *request, const char *name) {
  const struct asset *asset = asset_find(name);
  if (!asset) {
    respond_problem(request, PROBLEM_NOT_FOUND, "nothing is at %s", request->path);
    return;
  }
  const char *seen = MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, "If-None-Match");
  bool same = seen && strstr(seen, asset->tag);
  struct MHD_Response *response =
      MHD_create_response_from_buffer(same ? 0 : asset->size, (void *)asset->bytes, MHD_RESPMEM_PERSISTENT);
  if (response) {
    MHD_add_response_header(response, "Content-Type", asset->type);
    MHD_add_response_header(response, "ETag", asset->tag);
    MHD_add_response_header(response, "Cache-Control", "no-cache"); /* ask each time; the tag makes it cheap */
    add_headers(request, response);
  }
  request_answer(request, same ? 304 : 200, response);
}

void get_page(struct request *request) {
  const char *path = request->path;
  if (strcmp(path, "/") == 0)
    respond_asset(request, "web/index.html");
  else if (strcmp(path, "/favicon.ico") == 0)
    respond_asset(request, "web/icon.svg");
  else
    respond_asset(request, path + 1);
}

void get_openapi(struct request *request) {
  respond_asset(request, "openapi.json");
}

void get_samples(struct request *request) {
  json_t *list = json_array(), *sample;
  size_t i;
  json_array_foreach(request->server->samples, i, sample) {
    const char *file = json_string_value(json_object_get(sample, "image"));
    json_t *phrases = json_object_get(sample, "phrases");
    if (file && json_is_array(phrases))
      json_array_append_new(list, json_pack("{s:s%, s:s++, s:O}", "name", file, strcspn(file, "."), "url", "/samples/",
                                            file, "", "phrases", phrases));
  }
  respond_json(request, 200, list);
}

/* Only names of the list are opened. */
void get_sample(struct request *request) {
  const char *wanted = request->path + strlen("/samples/");
  json_t *sample;
  size_t i;
  json_array_foreach(request->server->samples, i, sample) {
    const char *file = json_string_value(json_object_get(sample, "image"));
    if (!file || strcmp(file, wanted) != 0 || strchr(file, '/'))
      continue;
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", request->server->options->samples, file);
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct MHD_Response *response =
        fd >= 0 && fstat(fd, &info) == 0 ? MHD_create_response_from_fd((size_t)info.st_size, fd) : NULL;
    if (!response) {
      if (fd >= 0)
        close(fd);
      break;
    }
    MHD_add_response_header(response, "Content-Type", "image/jpeg");
    MHD_add_response_header(response, "Cache-Control", "max-age=3600");
    add_headers(request, response);
    request_answer(request, 200, response);
    return;
  }
  respond_problem(request, PROBLEM_NOT_FOUND, "no sample %s", wanted);
}
