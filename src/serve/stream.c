/* Server-sent events of a job. What a client reads late is not queued: it gets the newest state. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "serve/server.h"

struct stream {
  struct job *job;
  bool told;            /* anything */
  enum job_phase phase; /* last told */
  size_t position;
  const char *stage;
  double fraction;
  bool decoding;
  char *text; /* being sent */
  size_t size, sent;
};

void stream_free(struct stream *stream) {
  if (!stream)
    return;
  job_free(stream->job);
  free(stream->text);
  free(stream);
}

/* Whether it is a stage of the network; a job that has just been taken is in none. */
static bool works(const char *stage) {
  return strcmp(stage, "queued") != 0 && strcmp(stage, "starting") != 0;
}

/* Whether a stage looks at a prompt. Encoding an image has a geometry stage too (what prompts without boxes share), so
 * that one and "begin" go on with what was `before`. */
static bool decodes(const char *stage, bool before) {
  static const char *const encoding[] = {"resize", "vision", "neck"}, *const both[] = {"geometry", "begin"};
  for (size_t i = 0; i < sizeof encoding / sizeof *encoding; i++)
    if (strcmp(stage, encoding[i]) == 0)
      return false;
  for (size_t i = 0; i < sizeof both / sizeof *both; i++)
    if (strcmp(stage, both[i]) == 0)
      return before;
  return true;
}

/* The next event of the job, if there is one; its lock is held. */
static void make_event(struct stream *stream) {
  struct job *job = stream->job;
  const struct sam3_job_state *s = &job->state;
  char *text = NULL;
  int size = 0;
  if (!stream->told) { /* every stream begins so */
    size = asprintf(&text, "event: queued\ndata: {\"position\": %zu}\n\n", job->phase == JOB_QUEUED ? s->position : 0);
    stream->told = true;
    stream->position = s->position;
  } else if (job->phase == JOB_QUEUED && s->position != stream->position) {
    size = asprintf(&text, "event: queued\ndata: {\"position\": %zu}\n\n", s->position);
    stream->position = s->position;
  } else if (job->phase == JOB_RUNNING && s->stage && works(s->stage) &&
             (s->stage != stream->stage || s->fraction > stream->fraction)) {
    stream->stage = s->stage;
    stream->fraction = s->fraction;
    stream->decoding = decodes(s->stage, stream->decoding);
    size = asprintf(&text, "event: %s\ndata: {\"stage\": \"%s\", \"fraction\": %.4f}\n\n",
                    stream->decoding ? "decoding" : "encoding", s->stage, s->fraction);
  } else if (job_ended(job) && !job_ended(&(struct job){.phase = stream->phase})) {
    const char *name = job->phase == JOB_DONE ? "done" : job->phase == JOB_FAILED ? "failed" : "cancelled";
    const char *data = job->phase == JOB_CANCELLED || !job->text ? "{}" : job->text;
    size = asprintf(&text, "event: %s\ndata: %.*s\n\n", name, (int)strcspn(data, "\n"), data);
    stream->phase = job->phase;
    job->told = true;
  }
  stream->text = size > 0 ? text : NULL;
  stream->size = size > 0 ? (size_t)size : 0;
  stream->sent = 0;
}

static ssize_t read_stream(void *user, uint64_t position, char *room, size_t most) {
  (void)position;
  struct request *request = user;
  struct stream *stream = request->stream;
  if (!stream->text) {
    pthread_mutex_lock(&stream->job->lock); /* held until it is suspended, so that no change is missed */
    bool ended = job_ended(&(struct job){.phase = stream->phase});
    if (!ended)
      make_event(stream);
    pthread_mutex_lock(&request->lock);
    bool gone = request->gone || atomic_load(&request->server->stopping), waits = false;
    if (!gone && !ended && !stream->text) {
      if (request->ping) {
        stream->text = mem_strdup(": still here\n\n");
        stream->size = stream->text ? strlen(stream->text) : 0;
        stream->sent = 0;
      } else {
        waits = request_suspend(request);
      }
    }
    request->ping = false;
    pthread_mutex_unlock(&request->lock);
    pthread_mutex_unlock(&stream->job->lock);
    if (ended || (gone && !stream->text))
      return MHD_CONTENT_READER_END_OF_STREAM;
    if (waits)
      return 0;
    if (!stream->text)
      return MHD_CONTENT_READER_END_WITH_ERROR;
  }
  size_t size = stream->size - stream->sent < most ? stream->size - stream->sent : most;
  memcpy(room, stream->text + stream->sent, size);
  stream->sent += size;
  if (stream->sent == stream->size) {
    free(stream->text);
    stream->text = NULL;
  }
  return (ssize_t)size;
}

static void release(void *request) {
  request_free(request);
}

void get_job_events(struct request *request) {
  struct job *job = jobs_find(request->server, request->id);
  if (!job) {
    respond_problem(request, PROBLEM_NOT_FOUND, "no job %s; a finished job is kept for 5 minutes", request->id);
    return;
  }
  struct stream *stream = mem_zeroed(1, sizeof *stream);
  struct MHD_Response *response = NULL;
  if (stream) {
    stream->job = job; /* the reference that was found */
    request->stream = stream;
    request_share(request);
    response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, request, release);
    if (!response)
      request_free(request);
  } else {
    job_free(job);
  }
  if (response) {
    request_listen(request, job);
    MHD_add_response_header(response, "Content-Type", "text/event-stream");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "X-Accel-Buffering", "no"); /* a proxy must pass events on at once */
    add_headers(request, response);
  }
  request_answer(request, 200, response);
}
