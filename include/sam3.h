/* sam3: Segment Anything 3 without Python. The whole public API.
 *
 *     decode an image ─► encode it once ─► segment it with any number of prompts ─► results
 *
 * Every function that can fail returns a sam3_status and, when `err` is not NULL, fills it with a
 * message that names the input and what was wrong. On failure the output pointers are set to NULL
 * and nothing is left to free. The library never prints, exits or aborts.
 *
 * Threads: a sam3_model may be shared by threads; every other object is used by one at a time.
 * Strings are UTF-8. Boxes are x0, y0, x1, y1 in pixels of the original image unless said otherwise.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAM3_H
#define SAM3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SAM3_API __attribute__((visibility("default")))
#else
#define SAM3_API
#endif

/* ------------------------------------------------------------------------------------- errors */

typedef enum sam3_status {
  SAM3_OK = 0,
  SAM3_ERR_ARGUMENT,    /* the caller passed something that no call accepts */
  SAM3_ERR_IO,          /* a file could not be opened, read, mapped or written */
  SAM3_ERR_FORMAT,      /* the bytes are not what they claim to be */
  SAM3_ERR_UNSUPPORTED, /* well-formed, but not something this program does */
  SAM3_ERR_LIMIT,       /* over a limit: pixels, prompts, boxes, bytes */
  SAM3_ERR_MEMORY,      /* the system gave no memory */
  SAM3_ERR_DEVICE,      /* a device is missing or failed */
  SAM3_ERR_CANCELLED,   /* the caller asked to stop */
  SAM3_ERR_BUSY,        /* the queue is full: try again later */
  SAM3_ERR_TIMEOUT,     /* not done before its deadline */
} sam3_status;

struct sam3_error {
  sam3_status status;
  char message[500];
};

/* A short constant name, for example "format". */
SAM3_API const char *sam3_status_name(sam3_status status);

/* "0.1.0" */
SAM3_API const char *sam3_version(void);

/* ------------------------------------------------------------------------------------- images */

/* An 8-bit RGB image, upright (EXIF orientation applied), alpha blended over white. */
typedef struct sam3_image sam3_image;

/* Decodes JPEG, PNG or WebP. `name` is used in messages only. An image of more than `max_pixels`
 * pixels (0: 100 million) is refused before memory for it is taken. Free with sam3_image_free. */
SAM3_API sam3_status sam3_image_decode(const void *bytes, size_t size, const char *name, uint64_t max_pixels,
                                       sam3_image **image, struct sam3_error *err);
/* The same from a file; the path "-" is standard input, and a pipe will do. */
SAM3_API sam3_status sam3_image_read(const char *path, uint64_t max_pixels, sam3_image **image, struct sam3_error *err);
/* Copies `pixels`, uint8 [height, width, 3]. */
SAM3_API sam3_status sam3_image_from_rgb(const uint8_t *pixels, int width, int height, sam3_image **image,
                                         struct sam3_error *err);
SAM3_API int sam3_image_width(const sam3_image *image);
SAM3_API int sam3_image_height(const sam3_image *image);
SAM3_API const uint8_t *sam3_image_pixels(const sam3_image *image); /* uint8 [height, width, 3] */
/* Another reference to the same pixels, from any thread; each is freed on its own. */
SAM3_API sam3_image *sam3_image_share(sam3_image *image);
SAM3_API void sam3_image_free(sam3_image *image);

/* ------------------------------------------------------------------------------------- models */

typedef enum sam3_dtype { SAM3_F32, SAM3_BF16, SAM3_F16 } sam3_dtype;

SAM3_API const char *sam3_dtype_name(sam3_dtype dtype);

/* A checkpoint, memory-mapped, with its configuration and tokenizer. */
typedef struct sam3_model sam3_model;

/* Opens a Hugging Face directory (config.json, safetensors in one file or shards, tokenizer files), a lone
 * .safetensors or Meta's sam3.pt. Free with sam3_model_close, after every session on it. */
SAM3_API sam3_status sam3_model_open(const char *path, sam3_model **model, struct sam3_error *err);
/* A model of the given config.json with random weights: for benchmarks, where values do not matter. */
SAM3_API sam3_status sam3_model_random(const char *config_path, uint64_t seed, sam3_model **model,
                                       struct sam3_error *err);
/* The last component of the path the model was opened from, without a .pt or .safetensors ending. */
SAM3_API const char *sam3_model_name(const sam3_model *model);
/* A JSON document. Valid as long as the model:
 * {"name": s, "format": "safetensors" | "pytorch" | "random", "config": {...},
 *  "parts": [{"name": s, "parameters": n, "bytes": n}], "dtypes": [{"name": "BF16", "tensors": n, "bytes": n}],
 *  "tensors": [{"name": s, "dtype": s, "shape": [n, ...], "part": s, "used": b}]} */
SAM3_API const char *sam3_model_describe(const sam3_model *model);
/* The official token ids of `text`, start and end included, without padding. Writes at most `capacity`
 * ids and sets `count` to how many there are (at most the model's context length). Without a model (NULL): the
 * built-in vocabulary, context 32. */
SAM3_API sam3_status sam3_model_tokenize(const sam3_model *model, const char *text, int32_t *ids, size_t capacity,
                                         size_t *count, struct sam3_error *err);
SAM3_API void sam3_model_close(sam3_model *model);

/* Writes the checkpoint `in` (whatever sam3_model_open takes) as a Hugging Face directory `out`, which must not exist:
 * config.json, model.safetensors with the tensors that the image model uses as `dtype`, tokenizer files. A tensor at a
 * time, so memory stays small; `out` appears when it is whole. */
SAM3_API sam3_status sam3_model_convert(const char *in, const char *out, sam3_dtype dtype, struct sam3_error *err);

/* ----------------------------------------------------------------------------------- sessions */

/* A model on a device: its threads, its activation memory, its cache of encoded texts. */
typedef struct sam3_session sam3_session;

struct sam3_session_options {
  const char *device; /* "cpu" (NULL), "cpu:0", "cpu:0-3", "ref" (the slow plain-C specification) */
  sam3_dtype dtype;   /* SAM3_F32: the reference path */
};

/* What a session takes, in bytes, before it is taken. */
struct sam3_memory {
  uint64_t weights;     /* mapped checkpoint bytes that the image model reads; shared between processes */
  uint64_t prepared;    /* weights kept in another form */
  uint64_t activations; /* arena: the most that encoding or a prompt has alive at a time */
  uint64_t workspace;   /* the device's own buffers */
  uint64_t features;    /* one encoded image */
};

/* `options` may be NULL. Free with sam3_session_close. */
SAM3_API sam3_status sam3_session_open(sam3_model *model, const struct sam3_session_options *options,
                                       sam3_session **session, struct sam3_error *err);
SAM3_API struct sam3_memory sam3_session_memory(const sam3_session *session);
/* `progress` is called between the stages of every sam3_encode and sam3_segment, with the stage's name and how much
 * of that call is done, 0..1; a false answer ends the call with SAM3_ERR_CANCELLED. NULL: none. */
SAM3_API void sam3_session_on_progress(sam3_session *session,
                                       bool (*progress)(void *user, const char *stage, double fraction), void *user);
SAM3_API void sam3_session_close(sam3_session *session);

/* What there is to compute on, as JSON; free with free():
 * {"devices": [{"device": "cpu", "name": "AMD EPYC ...", "cores": [0, 1], "instructions": ["avx2", ...],
 *               "kernels": "avx2", "memory": bytes, "memory_available": bytes}]} */
SAM3_API sam3_status sam3_devices_describe(char **json, struct sam3_error *err);

/* An encoded image: one encode serves many prompts. Its memory is taken when it is created. */
typedef struct sam3_features sam3_features;

SAM3_API sam3_status sam3_features_create(sam3_session *session, sam3_features **features, struct sam3_error *err);
SAM3_API sam3_status sam3_encode(sam3_session *session, const sam3_image *image, sam3_features *features,
                                 struct sam3_error *err);
SAM3_API void sam3_features_free(sam3_features *features);

/* ------------------------------------------------------------------------------------ prompts */

struct sam3_box {
  float x0, y0, x1, y1; /* pixels of the original image */
  bool positive;        /* false: "not like this one" */
};

struct sam3_prompt {
  const char *text; /* NULL with boxes: the text "visual", as the original does; "" is real text */
  const struct sam3_box *boxes;
  size_t n_boxes;
};

struct sam3_segment_options {
  float threshold; /* 0..1: a detection is kept when score > threshold; 0 keeps every query */
};

#define SAM3_DEFAULT_THRESHOLD 0.5f

/* ------------------------------------------------------------------------------------ results */

/* A binary mask as COCO run lengths: column-major, runs of 0 and 1 in turn, the first of 0. */
struct sam3_rle {
  int width, height;
  uint32_t *counts;
  size_t n_counts;
};

struct sam3_detection {
  int query;     /* which of the decoder's queries */
  float score;   /* sigmoid(logit) * sigmoid(presence) */
  float box[4];  /* x0, y0, x1, y1, pixels of the original image, not clipped */
  uint64_t area; /* pixels of the mask */
  struct sam3_rle mask;
};

/* The answer to one prompt. */
struct sam3_result {
  char *text; /* NULL when the prompt had none */
  struct sam3_box *boxes;
  size_t n_boxes;
  float presence;                    /* sigmoid of the presence logit */
  struct sam3_detection *detections; /* by falling score */
  size_t n_detections;
};

struct sam3_results {
  int width, height; /* of the original image */
  struct sam3_result *items;
  size_t n_items;
};

/* Runs `n` prompts on an encoded image, one result a prompt and in their order. `options` may be NULL.
 * Free with sam3_results_free. */
SAM3_API sam3_status sam3_segment(sam3_session *session, const sam3_features *features,
                                  const struct sam3_prompt *prompts, size_t n,
                                  const struct sam3_segment_options *options, struct sam3_results **results,
                                  struct sam3_error *err);
SAM3_API void sam3_results_free(struct sam3_results *results);

typedef enum sam3_format {
  SAM3_FORMAT_JSON,     /* the document of docs/formats.md */
  SAM3_FORMAT_COCO,     /* a COCO dataset of one image, RLE segmentations */
  SAM3_FORMAT_YOLO,     /* a line a polygon: class x y x y ... in 0..1 */
  SAM3_FORMAT_LABELME,  /* Labelme JSON, polygons */
  SAM3_FORMAT_POLYGONS, /* JSON: outer rings and holes of each detection */
} sam3_format;

/* Results as text; free the string with free(). `image_path` and `model` are named in the document. A JSON document
 * is one line with its line feed, so that several make JSON Lines. */
SAM3_API sam3_status sam3_results_format(const struct sam3_results *results, sam3_format format, const char *model,
                                         const char *image_path, char **text, struct sam3_error *err);
/* The image with coloured masks, outlines, labels and scores; the ending of `path` chooses .png or .jpg. */
SAM3_API sam3_status sam3_results_overlay(const struct sam3_results *results, const sam3_image *image, const char *path,
                                          struct sam3_error *err);
/* Writes an 8-bit grey PNG a detection (0 and 255) into an existing directory, named
 * <stem>-<prompt>-<detection>.png. */
SAM3_API sam3_status sam3_results_write_masks(const struct sam3_results *results, const char *directory,
                                              const char *stem, struct sam3_error *err);
/* The mask as COCO's compressed string; free with free(). */
SAM3_API sam3_status sam3_rle_to_string(const struct sam3_rle *rle, char **text, struct sam3_error *err);

/* ---------------------------------------------------------------------------------- launchers */

/* torchrun, mpirun and srun start the same program once for each device, on one host or many, and tell each copy who
 * it is. Rank 0 then opens an engine to which the others come over TCP; docs/launchers.md. */
struct sam3_launch {
  int rank, size;             /* of all processes; size 1: no launcher, and the rest does not count */
  int local_rank, local_size; /* on this machine; local_size 0: not known */
  char launcher[16];          /* "torchrun", "mpirun", "srun", "environment" */
  char address[256];          /* host name or address of rank 0, and its port */
  int port;
  char run[128];    /* tells runs apart; "": not known */
  char secret[128]; /* "": none. Travels in the clear. */
  double seconds;   /* limit for all to meet */
};

typedef enum sam3_launcher {
  SAM3_LAUNCHER_AUTO,        /* where it is unmistakable that torchrun, mpirun or srun started this process */
  SAM3_LAUNCHER_NONE,        /* never */
  SAM3_LAUNCHER_ENVIRONMENT, /* RANK, WORLD_SIZE, ... whoever has set them; an error when nobody has */
} sam3_launcher;

/* Reads what the launcher has told. SAM3_ERR_ARGUMENT names a variable that is missing or makes no sense. */
SAM3_API sam3_status sam3_launch_from_environment(sam3_launcher launcher, struct sam3_launch *launch,
                                                  struct sam3_error *err);
/* The device of this rank: the local_rank-th of the list; without a list (n 0) its share of this machine's cores, or
 * those that the launcher has bound it to. */
SAM3_API sam3_status sam3_launch_device(const struct sam3_launch *launch, const char *const *devices, size_t n,
                                        char device[64], struct sam3_error *err);
struct sam3_engine_options;
/* For ranks other than 0: goes to rank 0 and does what its engine asks, with the model at `model_path`, which must be
 * the same one, on the device of sam3_launch_device for the devices of `options` (may be NULL; of the
 * rest only a schedule that cannot be counts). Returns when rank 0 has closed its engine; SAM3_ERR_IO when it was not
 * found in time, or is gone. */
SAM3_API sam3_status sam3_launch_serve(const struct sam3_launch *launch, const char *model_path,
                                       const struct sam3_engine_options *options, struct sam3_error *err);

/* ------------------------------------------------------------------------------------ engines */

/* A model on several devices, which answers requests from any thread. Each device has a worker, a thread or a process
 * of its own; a request goes to one worker, or is split over all of them. Encoded images stay with the workers, so
 * that further requests on the same sam3_image (or a share of it) are not encoded again. */
typedef struct sam3_engine sam3_engine;

typedef enum sam3_parallel {
  SAM3_PARALLEL_AUTO, /* processes when there is more than one device */
  SAM3_PARALLEL_THREADS,
  SAM3_PARALLEL_PROCESSES,
} sam3_parallel;

typedef enum sam3_schedule {
  SAM3_SCHEDULE_AUTO,      /* split while fewer requests wait than there are workers; replicate with a launcher */
  SAM3_SCHEDULE_REPLICATE, /* each request to one worker */
  SAM3_SCHEDULE_SPLIT,     /* each request over all workers; SAM3_ERR_UNSUPPORTED with a launcher */
} sam3_schedule;

struct sam3_engine_options {
  const char *const *devices; /* names as in sam3_session_options; none: "cpu" */
  size_t n_devices;
  sam3_dtype dtype;
  sam3_parallel parallel;
  sam3_schedule schedule;
  size_t queue_requests; /* that may wait; 0: 256 */
  uint64_t queue_bytes;  /* of their images; 0: 1 GB */
  uint64_t cache_bytes;  /* of encoded images, for each worker; 0: 512 MB. One image is always kept. */
  size_t batch;          /* requests that a worker takes in a row on images it has, before it encodes another; 0: 1 */
  const char *worker;    /* program of a worker process, called as `worker worker FD`; NULL: this one */
  /* Of rank 0, NULL or of size 1: no launcher. The engine then has a worker for each rank: worker 0 is a thread on
   * the device of this rank, and the others call sam3_launch_serve. It opens when all have come. */
  const struct sam3_launch *launch;
};

/* Opens the model and starts the workers; returns when all are ready, or when one could not be started. `options` may
 * be NULL. Free with sam3_engine_close, which cancels what is left, after the last job was freed. */
SAM3_API sam3_status sam3_engine_open(const char *model_path, const struct sam3_engine_options *options,
                                      sam3_engine **engine, struct sam3_error *err);
/* The engine's model, for its name, description and tokenizer. */
SAM3_API const sam3_model *sam3_engine_model(const sam3_engine *engine);
SAM3_API void sam3_engine_close(sam3_engine *engine);

struct sam3_request {
  sam3_image *image;                 /* the engine shares it; free yours when you like */
  const struct sam3_prompt *prompts; /* copied */
  size_t n_prompts;
  float threshold;
  const char *client; /* who asks: clients take turns, and each is served in order; NULL is one of them */
  bool background;    /* waits until nothing else does */
  double seconds;     /* limit from now to the answer; 0: none */
  /* Called whenever the job's state has changed, from threads of the engine: must return soon, and may call
   * sam3_job_state, nothing else of the engine. NULL: none. */
  void (*changed)(void *user);
  void *user;
};

typedef struct sam3_job sam3_job;

typedef enum sam3_phase { SAM3_QUEUED, SAM3_RUNNING, SAM3_DONE } sam3_phase;

struct sam3_job_state {
  sam3_phase phase;
  sam3_status status;     /* when done */
  size_t position;        /* when queued: requests to be served before it */
  const char *stage;      /* when running: constant name */
  double fraction;        /* when running: 0..1 of all */
  double queued, running; /* seconds so far */
  bool encoded;           /* the image was encoded for this request: not found with a worker */
  char device[64];        /* that runs or ran it; joined by + when split */
};

/* Checks the prompts and queues the request. SAM3_ERR_BUSY: the queue is full. Free with sam3_job_free. */
SAM3_API sam3_status sam3_engine_submit(sam3_engine *engine, const struct sam3_request *request, sam3_job **job,
                                        struct sam3_error *err);
SAM3_API struct sam3_job_state sam3_job_state(sam3_job *job);
/* Waits for the end and hands over the results, once; their owner is then the caller (sam3_results_free). */
SAM3_API sam3_status sam3_job_wait(sam3_job *job, struct sam3_results **results, struct sam3_error *err);
/* Takes it out of the queue, or stops it at the next stage; it then ends with SAM3_ERR_CANCELLED. */
SAM3_API void sam3_job_cancel(sam3_job *job);
/* A job that is not done is cancelled. After this, `changed` is not called any more. */
SAM3_API void sam3_job_free(sam3_job *job);

typedef enum sam3_worker_state {
  SAM3_WORKER_STARTING,
  SAM3_WORKER_IDLE,
  SAM3_WORKER_BUSY,
  SAM3_WORKER_DEAD, /* failed too often in a row; the others go on. A launcher's may come back. */
} sam3_worker_state;

#define SAM3_MAX_STAGES 16

/* What a worker has done since the engine was opened. */
struct sam3_worker_stats {
  char device[64]; /* "cpu:0"; on another host "cpu:0@host" */
  sam3_worker_state state;
  int process;       /* its id, on its host; 0: a thread */
  uint64_t requests; /* answered, splits included */
  uint64_t failures; /* requests that ended with an error of the worker */
  uint64_t restarts;
  uint64_t images;     /* encoded */
  uint64_t cache_hits; /* requests that found their image encoded */
  uint64_t cached;     /* encoded images now */
  uint64_t memory;     /* bytes it has taken beyond the mapped weights, cached images included */
  uint64_t weights;    /* mapped bytes */
  double busy;         /* seconds */
  double age;          /* seconds since it was first started */
  struct sam3_stage_time {
    const char *stage; /* NULL: no more */
    uint64_t count;
    double seconds;
  } stages[SAM3_MAX_STAGES];
};

struct sam3_engine_stats {
  sam3_parallel parallel;
  sam3_schedule schedule;
  size_t n_workers;
  size_t queued, running; /* requests now */
  uint64_t queued_bytes;
  uint64_t accepted, rejected, done, failed, cancelled; /* requests so far; rejected: the queue was full */
};

SAM3_API struct sam3_engine_stats sam3_engine_stats(sam3_engine *engine);
/* Of worker `index` < n_workers. */
SAM3_API struct sam3_worker_stats sam3_engine_worker_stats(sam3_engine *engine, size_t index);

/* The loop of a worker process, on the socket that the engine gave it; returns when the engine is gone. */
SAM3_API sam3_status sam3_worker_run(int fd, struct sam3_error *err);

/* --------------------------------------------------------------------------------- benchmarks */

struct sam3_bench_options {
  const sam3_image *image; /* NULL: noise of the model's own size */
  const char *text;        /* NULL: "dog" */
  int runs;                /* 0: 3 */
};

/* Encodes and segments, stage by stage, beside the peak that the device reaches in a loop of multiply-adds. `options`
 * may be NULL. As JSON; free with free(); times are medians over the runs, after one that does not count:
 * {"device": s, "threads": n, "dtype": s, "peak_gflops": x,
 *  "stages": [{"name": s, "ms": x, "gflop": x, "gflops": x, "share": x}],
 *  "runs": [{"encode_ms": x, "first_prompt_ms": x, "further_prompt_ms": x}],
 *  "encode_ms": x, "first_prompt_ms": x, "further_prompt_ms": x} */
SAM3_API sam3_status sam3_bench(sam3_session *session, const struct sam3_bench_options *options, char **json,
                                struct sam3_error *err);

#ifdef __cplusplus
}
#endif
#endif
