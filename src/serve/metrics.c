/* What the workers and the server have done: /v1/devices and /metrics. */
#include <stdlib.h>
#include <string.h>

#include "serve/server.h"

static const char *const states[] = {"starting", "idle", "busy", "dead"};

static json_t *worker_json(const struct sam3_worker_stats *w) {
  json_t *stages = json_array();
  for (size_t i = 0; i < SAM3_MAX_STAGES && w->stages[i].stage; i++)
    json_array_append_new(stages, json_pack("{s:s, s:I, s:f}", "stage", w->stages[i].stage, "count",
                                            (json_int_t)w->stages[i].count, "seconds", w->stages[i].seconds));
  return json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:o}", "device", w->device,
                   "state", states[w->state], "process", w->process, "requests", (json_int_t)w->requests, "failures",
                   (json_int_t)w->failures, "restarts", (json_int_t)w->restarts, "images", (json_int_t)w->images,
                   "cache_hits", (json_int_t)w->cache_hits, "cached", (json_int_t)w->cached, "memory",
                   (json_int_t)w->memory, "weights", (json_int_t)w->weights, "busy", w->busy, "age", w->age, "stages",
                   stages);
}

void get_devices(struct request *request) {
  static const char *const schedules[] = {"auto", "replicate", "split"};
  sam3_engine *engine = request->server->engine;
  struct sam3_engine_stats e = sam3_engine_stats(engine);
  json_t *workers = json_array();
  for (size_t i = 0; i < e.n_workers; i++) {
    struct sam3_worker_stats w = sam3_engine_worker_stats(engine, i);
    json_array_append_new(workers, worker_json(&w));
  }
  respond_json(request, 200,
               json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "parallel",
                         e.parallel == SAM3_PARALLEL_PROCESSES ? "processes" : "threads", "schedule",
                         schedules[e.schedule], "queued", (json_int_t)e.queued, "running", (json_int_t)e.running,
                         "accepted", (json_int_t)e.accepted, "rejected", (json_int_t)e.rejected, "done",
                         (json_int_t)e.done, "failed", (json_int_t)e.failed, "cancelled", (json_int_t)e.cancelled,
                         "workers", workers));
}

/* ---- Prometheus' text ---- */

static void head(FILE *out, const char *name, const char *type, const char *help) {
  fprintf(out, "# HELP sam3_%s %s\n# TYPE sam3_%s %s\n", name, help, name, type);
}

static void one(FILE *out, const char *name, const char *type, const char *help, double value) {
  head(out, name, type, help);
  fprintf(out, "sam3_%s %.17g\n", name, value);
}

static void put_engine(FILE *out, sam3_engine *engine) {
  struct sam3_engine_stats e = sam3_engine_stats(engine);
  one(out, "queued_requests", "gauge", "Requests that wait.", (double)e.queued);
  one(out, "queued_bytes", "gauge", "Bytes of the images of requests that wait.", (double)e.queued_bytes);
  one(out, "running_requests", "gauge", "Requests that run.", (double)e.running);
  head(out, "requests_total", "counter", "Requests to the engine by outcome.");
  fprintf(out,
          "sam3_requests_total{outcome=\"accepted\"} %llu\nsam3_requests_total{outcome=\"rejected\"} %llu\n"
          "sam3_requests_total{outcome=\"done\"} %llu\nsam3_requests_total{outcome=\"failed\"} %llu\n"
          "sam3_requests_total{outcome=\"cancelled\"} %llu\n",
          (unsigned long long)e.accepted, (unsigned long long)e.rejected, (unsigned long long)e.done,
          (unsigned long long)e.failed, (unsigned long long)e.cancelled);
  static const struct {
    const char *name, *type, *help;
  } kinds[] = {{"worker_up", "gauge", "1: idle or busy."},
               {"worker_requests_total", "counter", "Requests answered."},
               {"worker_failures_total", "counter", "Requests that ended with an error of the worker."},
               {"worker_restarts_total", "counter", "Times it was started again."},
               {"worker_images_total", "counter", "Images encoded."},
               {"worker_cache_hits_total", "counter", "Requests that found their image encoded."},
               {"worker_cached_images", "gauge", "Encoded images now."},
               {"worker_memory_bytes", "gauge", "Memory beyond the mapped weights."},
               {"worker_busy_seconds_total", "counter", "Time spent on requests."}};
  for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
    head(out, kinds[k].name, kinds[k].type, kinds[k].help);
    for (size_t i = 0; i < e.n_workers; i++) {
      struct sam3_worker_stats w = sam3_engine_worker_stats(engine, i);
      double values[] = {w.state == SAM3_WORKER_IDLE || w.state == SAM3_WORKER_BUSY,
                         (double)w.requests,
                         (double)w.failures,
                         (double)w.restarts,
                         (double)w.images,
                         (double)w.cache_hits,
                         (double)w.cached,
                         (double)w.memory,
                         w.busy};
      fprintf(out, "sam3_%s{device=\"%s\"} %.17g\n", kinds[k].name, w.device, values[k]);
    }
  }
  head(out, "stage_seconds_total", "counter", "Time spent in a stage of the network.");
  for (size_t i = 0; i < e.n_workers; i++) {
    struct sam3_worker_stats w = sam3_engine_worker_stats(engine, i);
    for (size_t k = 0; k < SAM3_MAX_STAGES && w.stages[k].stage; k++)
      fprintf(out, "sam3_stage_seconds_total{device=\"%s\",stage=\"%s\"} %.9g\n", w.device, w.stages[k].stage,
              w.stages[k].seconds);
  }
}

void get_metrics(struct request *request) {
  struct server *server = request->server;
  char *text = NULL;
  size_t size;
  FILE *out = open_memstream(&text, &size);
  if (!out) {
    respond_problem(request, PROBLEM_UNAVAILABLE, "no memory for the metrics");
    return;
  }
  one(out, "uptime_seconds", "gauge", "Since the server was started.", now_seconds() - server->began);
  head(out, "http_responses_total", "counter", "Answers by class of status.");
  for (int i = 1; i < STATUS_CLASSES; i++)
    fprintf(out, "sam3_http_responses_total{class=\"%dxx\"} %llu\n", i, (unsigned long long)server->answers[i]);
  const union MHD_DaemonInfo *info = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
  one(out, "http_connections", "gauge", "Connections now.", info ? info->num_connections : 0);
  one(out, "body_bytes", "gauge", "Of requests that arrive or wait.", (double)server->body_bytes);
  uint64_t bytes;
  one(out, "images", "gauge", "Images kept by their id.", (double)images_count(server->images, &bytes));
  one(out, "image_bytes", "gauge", "Of images kept by their id.", (double)bytes);
  one(out, "jobs", "gauge", "Jobs that have not ended.", (double)server->active);
  one(out, "decoding_waiting", "gauge", "Requests that wait for a decode thread.", (double)pool_waiting(server->pool));
  if (atomic_load(&server->engine))
    put_engine(out, server->engine);
  fclose(out);
  respond_text(request, 200, "text/plain; version=0.0.4; charset=utf-8", text);
}
