/* sam3_model_convert: any checkpoint as a Hugging Face directory. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/json.h"
#include "base/memory.h"
#include "engine/model.h"

#define MAX_PATH 4096
#define MAX_CONFIG (16u << 20)

static sam3_status join(char path[MAX_PATH], const char *directory, const char *name, struct sam3_error *err) {
  if (snprintf(path, MAX_PATH, "%s/%s", directory, name) >= MAX_PATH)
    return fail(err, SAM3_ERR_ARGUMENT, "%.300s...: the path is too long", directory);
  return SAM3_OK;
}

/* Copies a file that need not be there. */
static sam3_status copy_file(const char *from, const char *to, struct sam3_error *err) {
  FILE *in = fopen(from, "rb");
  if (!in)
    return errno == ENOENT ? SAM3_OK : fail(err, SAM3_ERR_IO, "%s: %s", from, strerror(errno));
  FILE *out = fopen(to, "wb");
  if (!out) {
    int why = errno;
    fclose(in);
    return fail(err, SAM3_ERR_IO, "%s: %s", to, strerror(why));
  }
  char buffer[65536];
  size_t size;
  while ((size = fread(buffer, 1, sizeof buffer, in)) > 0 && fwrite(buffer, 1, size, out) == size)
    continue;
  bool read = !ferror(in), written = !ferror(out);
  fclose(in);
  written = fclose(out) == 0 && written;
  if (!read)
    return fail(err, SAM3_ERR_IO, "%s: %s", from, strerror(errno));
  return written ? SAM3_OK : fail(err, SAM3_ERR_IO, "%s: cannot be written: %s", to, strerror(errno));
}

/* The configuration of the checkpoint, the image model's alone: of a "sam3_video" one, its "detector_config". Without
 * config.json every key has its default, and the type says all. */
static sam3_status read_config(const char *path, json_t **config, struct sam3_error *err) {
  json_t *whole = NULL;
  if (access(path, F_OK) != 0) {
    *config = json_pack("{s[s] ss}", "architectures", "Sam3Model", "model_type", "sam3");
    return *config ? SAM3_OK : fail_memory(err, 0, "config.json");
  }
  TRY(json_parse_file(path, MAX_CONFIG, &whole, err));
  json_t *detector = json_object_get(whole, "detector_config");
  *config = json_incref(detector ? detector : whole);
  json_decref(whole);
  return SAM3_OK;
}

static sam3_status write_config(const char *from, const char *to, sam3_dtype dtype, struct sam3_error *err) {
  static const char *const torch_names[] = {[SAM3_F32] = "float32", [SAM3_BF16] = "bfloat16", [SAM3_F16] = "float16"};
  json_t *config = NULL;
  TRY(read_config(from, &config, err));
  json_object_del(config, "torch_dtype"); /* the older name of dtype */
  sam3_status status = SAM3_OK;
  if (json_object_set_new(config, "dtype", json_string(torch_names[dtype])) != 0)
    status = fail_memory(err, 0, "config.json");
  else if (json_dump_file(config, to, JSON_INDENT(2)) != 0)
    status = fail(err, SAM3_ERR_IO, "%s: cannot be written: %s", to, strerror(errno));
  json_decref(config);
  return status;
}

/* The directory that holds the checkpoint `in`. */
static sam3_status directory_of(const char *in, const struct weights *weights, char path[MAX_PATH],
                                struct sam3_error *err) {
  const char *directory = weights_directory(weights), *slash = strrchr(in, '/');
  int length = directory ? (int)strlen(directory) : slash ? (int)(slash - in) : 1;
  if (length >= MAX_PATH)
    return fail(err, SAM3_ERR_ARGUMENT, "%.300s...: the path is too long", in);
  snprintf(path, MAX_PATH, "%.*s", length, directory ? directory : slash ? in : ".");
  return SAM3_OK;
}

static sam3_status write_files(const char *in, const sam3_model *model, const char *out, sam3_dtype dtype,
                               struct sam3_error *err) {
  static const char *const companions[] = {
      "tokenizer.json", "tokenizer_config.json",    "special_tokens_map.json", "vocab.json",
      "merges.txt",     "preprocessor_config.json", "processor_config.json"};
  char source[MAX_PATH], from[MAX_PATH], to[MAX_PATH];
  TRY(directory_of(in, model->weights, source, err));
  /* Beside a lone file only its config.json belongs to it. */
  for (size_t i = 0; weights_directory(model->weights) && i < sizeof companions / sizeof *companions; i++) {
    TRY(join(from, source, companions[i], err));
    TRY(join(to, out, companions[i], err));
    TRY(copy_file(from, to, err));
  }
  TRY(join(from, source, "config.json", err));
  TRY(join(to, out, "config.json", err));
  TRY(write_config(from, to, dtype, err));
  TRY(join(to, out, "model.safetensors", err));
  return weights_write(model->weights, to, dtype, err);
}

/* A directory of plain files. */
static void remove_directory(const char *path) {
  DIR *directory = opendir(path);
  for (struct dirent *entry; directory && (entry = readdir(directory));)
    unlinkat(dirfd(directory), entry->d_name, 0);
  if (directory)
    closedir(directory);
  rmdir(path);
}

static sam3_status write_directory(const char *in, const sam3_model *model, const char *out, sam3_dtype dtype,
                                   struct sam3_error *err) {
  char unfinished[MAX_PATH];
  int length = (int)strlen(out);
  while (length > 1 && out[length - 1] == '/')
    length--;
  if (snprintf(unfinished, sizeof unfinished, "%.*s.%ld.tmp", length, out, (long)getpid()) >= MAX_PATH)
    return fail(err, SAM3_ERR_ARGUMENT, "%.300s...: the path is too long", out);
  if (mkdir(unfinished, 0777) != 0)
    return fail(err, SAM3_ERR_IO, "%s: %s", unfinished, strerror(errno));
  sam3_status status = write_files(in, model, unfinished, dtype, err);
  if (status == SAM3_OK && rename(unfinished, out) != 0)
    status = fail(err, SAM3_ERR_IO, "%s: %s", out, strerror(errno));
  if (status != SAM3_OK)
    remove_directory(unfinished);
  return status;
}

sam3_status sam3_model_convert(const char *in, const char *out, sam3_dtype dtype, struct sam3_error *err) {
  sam3_model *model;
  if (access(out, F_OK) == 0)
    return fail(err, SAM3_ERR_IO, "%s: is there already", out);
  TRY(sam3_model_open(in, &model, err));
  sam3_status status = write_directory(in, model, out, dtype, err);
  sam3_model_close(model);
  return status;
}
