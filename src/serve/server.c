/* From start to end: opens everything, waits for signals, lets running requests end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "serve/server.h"

double now_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- what SIGHUP may change ---- */

#define KEY_MOST 256

bool key_allowed(struct server *server, const char *key) {
  char given[KEY_MOST] = "";
  size_t size = strnlen(key, KEY_MOST);
  memcpy(given, key, size < KEY_MOST ? size : 0);
  pthread_rwlock_rdlock(&server->changing);
  bool allowed = server->api_keys.count == 0;
  for (size_t i = 0; i < server->api_keys.count; i++) {
    char known[KEY_MOST] = "";
    snprintf(known, sizeof known, "%s", server->api_keys.items[i]);
    volatile unsigned char different = *known == '\0'; /* an empty key is none */
    for (size_t k = 0; k < KEY_MOST; k++)
      different = (unsigned char)(different | (given[k] ^ known[k]));
    allowed |= !different;
  }
  pthread_rwlock_unlock(&server->changing);
  return allowed;
}

float default_threshold(struct server *server) {
  pthread_rwlock_rdlock(&server->changing);
  float threshold = server->threshold;
  pthread_rwlock_unlock(&server->changing);
  return threshold;
}

/* From all sources. */
static sam3_status read_settings(const struct serve_options *options, struct settings *settings,
                                 struct sam3_error *err) {
  TRY(options->settings(options->user, settings, err));
  for (size_t i = 0; i < settings->api_keys.count; i++)
    if (strlen(settings->api_keys.items[i]) >= KEY_MOST) {
      settings_free(settings);
      return fail(err, SAM3_ERR_ARGUMENT, "api_keys: number %zu has more than %d bytes", i + 1, KEY_MOST - 1);
    }
  return SAM3_OK;
}

static void take_changes(struct server *server, struct settings *settings) {
  pthread_rwlock_wrlock(&server->changing);
  struct text_list old = server->api_keys;
  server->api_keys = settings->api_keys;
  settings->api_keys = old;
  server->threshold = (float)settings->threshold;
  pthread_rwlock_unlock(&server->changing);
}

static void reload(struct server *server) {
  struct settings settings;
  struct sam3_error err;
  log_reopen(server->log);
  if (read_settings(server->options, &settings, &err) != SAM3_OK) {
    log_event(server->log, "error", "settings not read again: %s", err.message);
    return;
  }
  take_changes(server, &settings);
  settings_free(&settings);
  log_event(server->log, "info", "settings read again: api_keys, threshold");
}

#define OTHER_DESCRIPTORS 512 /* of workers, files and the server itself */

/* ---- signals: each writes its number into a pipe ---- */

static int signal_pipe[2] = {-1, -1};

static void on_signal(int number) {
  int saved = errno;
  unsigned char byte = (unsigned char)number;
  (void)!write(signal_pipe[1], &byte, 1);
  errno = saved;
}

static sam3_status catch_signals(struct sam3_error *err) {
  if (pipe2(signal_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
    return fail(err, SAM3_ERR_IO, "signals: %s", strerror(errno));
  struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGHUP, &action, NULL);
  signal(SIGPIPE, SIG_IGN); /* whoever reads the log may leave */
  return SAM3_OK;
}

/* Every connection is a descriptor; shells give 1024 where more are allowed. */
static void allow_descriptors(rlim_t wanted) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
    limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

/* The next signal; 0 after `seconds` without one (negative: however long). 255 comes from the engine's thread. */
static int next_signal(double seconds) {
  struct pollfd fd = {.fd = signal_pipe[0], .events = POLLIN};
  unsigned char byte;
  int n = poll(&fd, 1, seconds < 0 ? -1 : (int)(1e3 * seconds));
  return n > 0 && read(signal_pipe[0], &byte, 1) == 1 ? byte : 0;
}

/* ---- the engine, opened while the server answers already ---- */

__attribute__((format(printf, 2, 3))) static void say(const struct server *server, const char *format, ...) {
  char text[600];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  server->options->say(text);
}

/* GET /v1/model */
static char *model_document(const struct server *server, const sam3_model *model) {
  json_t *all = json_loads(sam3_model_describe(model), 0, NULL), *part;
  json_t *vision = json_object_get(json_object_get(all, "config"), "vision");
  json_int_t parameters = 0;
  size_t i;
  json_array_foreach(json_object_get(all, "parts"), i, part) {
    parameters += json_integer_value(json_object_get(part, "parameters"));
  }
  const char *words = server->options->vocabulary;
  json_t *vocabulary = words ? json_loads(words, 0, NULL) : json_null();
  json_t *json = json_pack("{s:s, s:b, s:I, s:I, s:s, s:s, s:[s,s], s:o}", "name", sam3_model_name(model), "demo",
                           server->options->demo, "image_size", json_integer_value(json_object_get(vision, "image")),
                           "parameters", parameters, "dtype", sam3_dtype_name((sam3_dtype)server->settings.dtype),
                           "version", sam3_version(), "languages", "en", "zh", "vocabulary", vocabulary);
  char *text = json_dumps(json, 0);
  json_decref(json);
  json_decref(all);
  return text;
}

/* Numbers are GPUs where there are any, cores otherwise. */
static sam3_status device_names(const struct server *server, char names[][64], const char **list,
                                struct sam3_error *err) {
  const struct settings *settings = &server->settings;
  char *devices;
  TRY(sam3_devices_describe(&devices, err));
  bool gpu = strstr(devices, "\"cuda:") != NULL;
  free(devices);
  for (size_t i = 0; i < settings->device_ids.count; i++) {
    const char *id = settings->device_ids.items[i];
    bool number = *id && id[strspn(id, "0123456789")] == '\0';
    snprintf(names[i], 64, "%s%s", !number ? "" : gpu ? "cuda:" : "cpu:", id);
    list[i] = names[i];
    if (number && !gpu)
      say(server, "device_ids: %s is a core, %s: there is no GPU that this build can use", id, names[i]);
  }
  return SAM3_OK;
}

/* *engine stays NULL in a launcher's rank other than 0, which works for that one's engine until it is closed. */
static sam3_status open_engine(struct server *server, sam3_engine **engine, struct sam3_error *err) {
  const struct settings *s = &server->settings;
  struct sam3_launch launch = *server->options->launch;
  size_t n = s->device_ids.count;
  launch.port = (int)s->master_port;
  char(*names)[64] = mem_zeroed(n + 1, sizeof *names);
  const char **list = mem_zeroed(n + 1, sizeof *list);
  sam3_status status = names && list ? device_names(server, names, list, err) : fail_memory(err, n * 64, "device_ids");
  struct sam3_engine_options options = {.devices = list,
                                        .n_devices = n,
                                        .dtype = (sam3_dtype)s->dtype,
                                        .parallel = s->use_ddp ? SAM3_PARALLEL_AUTO : SAM3_PARALLEL_THREADS,
                                        .schedule = (sam3_schedule)s->schedule,
                                        .queue_requests = s->queue_requests,
                                        .queue_bytes = s->queue_bytes,
                                        .cache_bytes = s->cache_bytes,
                                        .batch = s->batch_size_per_gpu,
                                        .launch = &launch};
  *engine = NULL;
  if (status == SAM3_OK)
    status = launch.rank > 0 ? sam3_launch_serve(&launch, server->options->model, &options, err)
                             : sam3_engine_open(server->options->model, &options, engine, err);
  free(names);
  free(list);
  return status;
}

struct opener {
  struct server *server;
  sam3_status status;
  struct sam3_error err;
};

static void *open_in_background(void *user) {
  struct opener *opener = user;
  struct server *server = opener->server;
  sam3_engine *engine;
  opener->status = open_engine(server, &engine, &opener->err);
  if (engine) {
    server->model_json = model_document(server, sam3_engine_model(engine));
    atomic_store(&server->engine, engine);
    log_event(server->log, "info", "ready after %.3f s: model %s on %zu workers", now_seconds() - server->began,
              sam3_model_name(sam3_engine_model(engine)), sam3_engine_stats(engine).n_workers);
    say(server, "ready after %.2f s", now_seconds() - server->began);
  } else {
    on_signal(255);
  }
  return NULL;
}

/* ---- life ---- */

static void read_samples(struct server *server) {
  char path[4200];
  if (!server->options->samples)
    return;
  snprintf(path, sizeof path, "%s/samples.json", server->options->samples);
  struct sam3_error err;
  if (json_parse_file(path, 1 << 20, &server->samples, &err) != SAM3_OK)
    log_event(server->log, "warning", "%s", err.message);
}

/* New work is refused; what runs, the answers on their way, and those to be fetched have drain_seconds. Whoever comes
 * when nothing runs any more is not waited for, or a server that many ask would never end. */
static void drain(struct server *server) {
  double until = now_seconds() + server->settings.drain_seconds;
  uint64_t newest = UINT64_MAX;
  atomic_store(&server->draining, true);
  log_event(server->log, "info", "draining: %zu jobs run", (size_t)server->active);
  while (now_seconds() < until) {
    if (server->active || jobs_untold(server))
      newest = UINT64_MAX;
    else if (newest == UINT64_MAX)
      newest = keeper_newest(server->keeper);
    else if (keeper_idle(server->keeper, newest))
      break;
    if (next_signal(0.05) > 0) /* told twice: at once */
      break;
  }
}

static sam3_status run(struct server *server, struct sam3_error *err) {
  pthread_t thread;
  struct opener opener = {.server = server};
  if (pthread_create(&thread, NULL, open_in_background, &opener) != 0)
    return fail(err, SAM3_ERR_MEMORY, "the engine's thread could not be started");
  const char *host = server->settings.host;
  bool colon = strchr(host, ':');
  say(server, "serving on http://%s%s%s:%llu", colon ? "[" : "", host, colon ? "]" : "",
      (unsigned long long)server->port);
  int number;
  while ((number = next_signal(-1)) == SIGHUP || !number)
    if (number)
      reload(server);
  if (number != 255)
    drain(server);
  pthread_join(thread, NULL);
  if (opener.status != SAM3_OK)
    return fail(err, opener.err.status, "%s", opener.err.message);
  return SAM3_OK;
}

static void stop(struct server *server) {
  if (server->daemon) {
    http_release(server);
    jobs_cancel(server);
    http_stop(server);
  }
  /* Without connections nobody asks any more; the engine ends what is left, and each end passes the keeper. */
  for (double until = now_seconds() + 10; server->active && now_seconds() < until;)
    next_signal(0.01);
  keeper_close(server->keeper);
  pool_close(server->pool);
  jobs_close(server);
  sam3_engine_close(server->engine);
  images_close(server->images);
}

/* No server: the work of a launcher's rank other than 0. */
static sam3_status serve_rank_0(struct server *server, struct sam3_error *err) {
  sam3_engine *none;
  sam3_status status = open_engine(server, &none, err);
  settings_free(&server->settings);
  return status;
}

sam3_status serve_run(const struct serve_options *options, struct sam3_error *err) {
  struct server server = {.options = options, .began = now_seconds()};
  TRY(read_settings(options, &server.settings, err));
  if (options->launch->rank > 0)
    return serve_rank_0(&server, err);
  pthread_rwlock_init(&server.changing, NULL);
  pthread_mutex_init(&server.jobs_lock, NULL);
  const struct settings *s = &server.settings;
  struct settings changes;
  int listening = -1;
  server.port = s->port;
  sam3_status status = read_settings(options, &changes, err);
  if (status == SAM3_OK) {
    take_changes(&server, &changes);
    settings_free(&changes);
    status = port_listen(s->host, &server.port, &listening, err);
  }
  if (status == SAM3_OK)
    status = log_open(s->log_file, &server.log, err);
  if (status == SAM3_OK)
    status = catch_signals(err);
  allow_descriptors(s->max_connections + OTHER_DESCRIPTORS);
  if (status == SAM3_OK)
    status = images_open(s->image_bytes, s->max_pixels, &server.images, err);
  if (status == SAM3_OK)
    status = pool_open(s->num_workers, &server.pool, err);
  if (status == SAM3_OK)
    status = keeper_open(&server, &server.keeper, err);
  if (status == SAM3_OK) {
    read_samples(&server);
    status = http_start(&server, listening, err);
  }
  if (status == SAM3_OK)
    status = run(&server, err);
  if (server.daemon)
    listening = -1; /* is closed with it */
  stop(&server);
  if (listening >= 0)
    close(listening);
  if (status == SAM3_OK)
    log_event(server.log, "info", "ended");
  log_close(server.log);
  json_decref(server.samples);
  free(server.model_json);
  settings_free(&server.settings);
  settings_free(&(struct settings){.api_keys = server.api_keys});
  return status;
}
