#include "cli/coco.h"

#include <stdlib.h>
#include <string.h>

/* Moves the entries of `key`, numbered on from those that are there. */
static void append(json_t *to, json_t *from, const char *key, json_int_t image) {
  json_t *all = json_object_get(to, key), *entry;
  size_t i;
  json_array_foreach(json_object_get(from, key), i, entry) {
    json_object_set_new(entry, "id", json_integer((json_int_t)json_array_size(all) + 1));
    if (json_object_get(entry, "image_id"))
      json_object_set_new(entry, "image_id", json_integer(image));
    json_array_append(all, entry);
  }
}

json_t *coco_add(json_t *dataset, const char *text) {
  json_t *one = need(json_loads(text, 0, NULL));
  if (!dataset)
    return one;
  json_int_t image = (json_int_t)json_array_size(json_object_get(dataset, "images")) + 1;
  append(dataset, one, "images", image);
  append(dataset, one, "annotations", image);
  json_decref(one);
  return dataset;
}

char *coco_text(const json_t *dataset) {
  char *text = need(json_dumps(dataset, JSON_REAL_PRECISION(9))), *line = NULL;
  need(asprintf(&line, "%s\n", text) < 0 ? NULL : line);
  free(text);
  return line;
}

struct writer {
  struct output *out;
  json_t *categories;
  json_int_t images, annotations; /* written */
};

static bool put(struct writer *w, const char *text) {
  return output_write(w->out, text, strlen(text));
}

static bool put_json(struct writer *w, const json_t *value) {
  char *text = need(json_dumps(value, JSON_REAL_PRECISION(9)));
  bool good = put(w, text);
  free(text);
  return good;
}

static bool put_image(void *user, const char *text) {
  struct writer *w = user;
  json_t *one = need(json_loads(text, 0, NULL)), *image = json_array_get(json_object_get(one, "images"), 0);
  bool good = true;
  if (!w->categories) {
    w->categories = json_incref(json_object_get(one, "categories"));
    good = put(w, "{\"info\": ") && put_json(w, json_object_get(one, "info")) && put(w, ", \"images\": [");
  }
  json_object_set_new(image, "id", json_integer(++w->images));
  good = good && put(w, w->images > 1 ? ", " : "") && put_json(w, image);
  json_decref(one);
  return good;
}

static bool put_annotations(void *user, const char *text) {
  struct writer *w = user;
  json_t *one = need(json_loads(text, 0, NULL)), *annotation;
  bool good = true;
  size_t i;
  w->images++;
  json_array_foreach(json_object_get(one, "annotations"), i, annotation) {
    json_object_set_new(annotation, "id", json_integer(++w->annotations));
    json_object_set_new(annotation, "image_id", json_integer(w->images));
    good = good && put(w, w->annotations > 1 ? ", " : "") && put_json(w, annotation);
  }
  json_decref(one);
  return good;
}

bool coco_write(struct output *out,
                bool (*each)(void *user, bool (*take)(void *writer, const char *text), void *writer), void *user) {
  struct writer w = {.out = out};
  bool good = each(user, put_image, &w);
  if (w.categories && good) {
    w.images = 0;
    good = put(&w, "], \"categories\": ") && put_json(&w, w.categories) && put(&w, ", \"annotations\": [") &&
           each(user, put_annotations, &w) && put(&w, "]}\n");
  }
  json_decref(w.categories);
  return good;
}
