#include "cli/coco.h"

#include <stdlib.h>

#include "cli/cli.h"

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
