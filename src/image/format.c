#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/document.h"
#include "image/polygons.h"
#include "image/results.h"
#include "image/rle.h"

/* Every format is described in docs/formats.md. Documents are written as they are made, a detection at a time: one
 * tree of a hundred outlines would take hundreds of megabytes. */

struct writer {
  struct document document;
  const struct sam3_results *results;
  const char *model, *path;
  const int *classes; /* of each item: its label's place among the different labels, from 0 */
  size_t n_written;   /* annotations or shapes so far */
  struct sam3_error *err;
};

/* Between the elements of a JSON array. */
static void comma(struct writer *writer, size_t i) {
  if (i)
    document_print(&writer->document, ", ");
}

static json_t *image_json(const struct writer *writer) {
  return json_pack("{s:o, s:i, s:i}", "path", document_string(writer->path), "width", writer->results->width, "height",
                   writer->results->height);
}

static json_t *rle_json(const struct sam3_rle *rle) {
  char *counts;
  if (sam3_rle_to_string(rle, &counts, NULL) != SAM3_OK)
    return NULL;
  json_t *json = json_pack("{s:[i,i], s:s}", "size", rle->height, rle->width, "counts", counts);
  free(counts);
  return json;
}

static void put_ring(struct writer *writer, const struct polygons *polygons, const struct ring *ring) {
  const struct point *points = polygons->points + ring->first;
  document_print(&writer->document, "[");
  for (size_t i = 0; i < ring->n_points; i++) {
    comma(writer, i);
    document_print(&writer->document, "[%d, %d]", points[i].x, points[i].y);
  }
  document_print(&writer->document, "]");
}

/* `[{"outer": ring, "holes": [ring, ...]}, ...]` */
static void put_polygons(struct writer *writer, const struct polygons *polygons) {
  struct document *document = &writer->document;
  document_print(document, "[");
  for (size_t i = 0; i < polygons->n_rings;) {
    comma(writer, i);
    document_print(document, "{\"outer\": ");
    put_ring(writer, polygons, &polygons->rings[i++]);
    document_print(document, ", \"holes\": [");
    for (size_t hole = 0; i < polygons->n_rings && polygons->rings[i].hole; hole++) {
      comma(writer, hole);
      put_ring(writer, polygons, &polygons->rings[i++]);
    }
    document_print(document, "]}");
  }
  document_print(document, "]");
}

static sam3_status put_polygons_detection(struct writer *writer, const struct sam3_detection *detection) {
  struct polygons polygons;
  TRY(polygons_from_rle(&detection->mask, &polygons, writer->err));
  document_print(&writer->document, ", \"polygons\": ");
  put_polygons(writer, &polygons);
  polygons_free(&polygons);
  return SAM3_OK;
}

static void put_prompt(struct writer *writer, const struct sam3_result *item) {
  document_print(&writer->document, "{\"text\": ");
  document_json(&writer->document, document_string(item->text));
  document_print(&writer->document, ", \"boxes\": [");
  for (size_t i = 0; i < item->n_boxes; i++) {
    const struct sam3_box *box = &item->boxes[i];
    comma(writer, i);
    document_json(&writer->document, json_pack("{s:[f,f,f,f], s:i}", "box", box->x0, box->y0, box->x1, box->y1, "label",
                                               box->positive ? 1 : 0));
  }
  document_print(&writer->document, "]}");
}

/* The program's own document: with masks as run lengths, or as polygons. */
static sam3_status put_json(struct writer *writer, bool as_polygons) {
  struct document *document = &writer->document;
  document_print(document, "{\"model\": ");
  document_json(document, document_string(writer->model));
  document_print(document, ", \"image\": ");
  document_json(document, image_json(writer));
  document_print(document, ", \"results\": [");
  for (size_t i = 0; i < writer->results->n_items; i++) {
    const struct sam3_result *item = &writer->results->items[i];
    comma(writer, i);
    document_print(document, "{\"prompt\": ");
    put_prompt(writer, item);
    document_print(document, ", \"presence\": ");
    document_json(document, json_real(item->presence));
    document_print(document, ", \"detections\": [");
    for (size_t k = 0; k < item->n_detections; k++) {
      const struct sam3_detection *detection = &item->detections[k];
      comma(writer, k);
      document_print(document, "{\"id\": %zu, \"label\": ", k);
      document_json(document, document_string(result_label(item)));
      document_print(document, ", \"score\": ");
      document_json(document, json_real(detection->score));
      document_print(document, ", \"box\": ");
      document_json(document,
                    json_pack("[f,f,f,f]", detection->box[0], detection->box[1], detection->box[2], detection->box[3]));
      document_print(document, ", \"area\": %llu", (unsigned long long)detection->area);
      if (as_polygons) {
        TRY(put_polygons_detection(writer, detection));
      } else {
        document_print(document, ", \"mask\": ");
        document_json(document, rle_json(&detection->mask));
      }
      document_print(document, "}");
    }
    document_print(document, "]}");
  }
  document_print(document, "]}\n");
  return SAM3_OK;
}

static void put_coco_annotation(struct writer *writer, const struct sam3_detection *detection, int category) {
  struct rle_box box = rle_bounds(&detection->mask);
  comma(writer, writer->n_written);
  document_json(&writer->document,
                json_pack("{s:I, s:i, s:i, s:o, s:[i,i,i,i], s:I, s:i, s:f}", "id", (json_int_t)++writer->n_written,
                          "image_id", 1, "category_id", category, "segmentation", rle_json(&detection->mask), "bbox",
                          box.x, box.y, box.width, box.height, "area", (json_int_t)detection->area, "iscrowd", 0,
                          "score", detection->score));
}

static sam3_status put_coco(struct writer *writer) {
  struct document *document = &writer->document;
  const struct sam3_results *results = writer->results;
  document_print(document, "{\"info\": ");
  document_json(document, json_pack("{s:s, s:o}", "description", "sam3", "model", document_string(writer->model)));
  document_print(document, ", \"images\": [");
  document_json(document, json_pack("{s:i, s:o, s:i, s:i}", "id", 1, "file_name", document_string(writer->path),
                                    "width", results->width, "height", results->height));
  document_print(document, "], \"categories\": [");
  int n_categories = 0;
  for (size_t i = 0; i < results->n_items; i++)
    if (writer->classes[i] == n_categories) {
      comma(writer, (size_t)n_categories++);
      document_json(document, json_pack("{s:i, s:o, s:s}", "id", n_categories, "name",
                                        document_string(result_label(&results->items[i])), "supercategory", ""));
    }
  document_print(document, "], \"annotations\": [");
  for (size_t i = 0; i < results->n_items; i++)
    for (size_t k = 0; k < results->items[i].n_detections; k++)
      put_coco_annotation(writer, &results->items[i].detections[k], writer->classes[i] + 1);
  document_print(document, "]}\n");
  return SAM3_OK;
}

/* `part` / `whole` with 6 decimals, whatever the locale. */
static void put_fraction(struct writer *writer, int part, int whole) {
  uint64_t millionths = ((uint64_t)part * 2000000 + (uint64_t)whole) / (2 * (uint64_t)whole);
  document_print(&writer->document, " %u.%06u", (unsigned)(millionths / 1000000), (unsigned)(millionths % 1000000));
}

static void put_yolo_ring(struct writer *writer, const struct polygons *polygons, const struct ring *ring,
                          size_t item) {
  document_print(&writer->document, "%d", writer->classes[item]);
  for (size_t i = 0; i < ring->n_points; i++) {
    put_fraction(writer, polygons->points[ring->first + i].x, writer->results->width);
    put_fraction(writer, polygons->points[ring->first + i].y, writer->results->height);
  }
  document_print(&writer->document, "\n");
}

static void put_labelme_ring(struct writer *writer, const struct polygons *polygons, const struct ring *ring,
                             size_t item, size_t group) {
  struct document *document = &writer->document;
  comma(writer, writer->n_written++);
  document_print(document, "{\"label\": ");
  document_json(document, document_string(result_label(&writer->results->items[item])));
  document_print(document, ", \"points\": ");
  put_ring(writer, polygons, ring);
  document_print(document,
                 ", \"group_id\": %zu, \"description\": \"\", \"shape_type\": \"polygon\", \"flags\": {}, "
                 "\"mask\": null}",
                 group);
}

/* These two formats have no holes: every outer ring, as a line or a shape. */
static sam3_status put_outer_rings(struct writer *writer, sam3_format format) {
  size_t group = 0;
  for (size_t i = 0; i < writer->results->n_items; i++) {
    const struct sam3_result *item = &writer->results->items[i];
    for (size_t k = 0; k < item->n_detections; k++, group++) {
      struct polygons polygons;
      TRY(polygons_from_rle(&item->detections[k].mask, &polygons, writer->err));
      for (size_t r = 0; r < polygons.n_rings; r++)
        if (polygons.rings[r].hole)
          continue;
        else if (format == SAM3_FORMAT_YOLO)
          put_yolo_ring(writer, &polygons, &polygons.rings[r], i);
        else
          put_labelme_ring(writer, &polygons, &polygons.rings[r], i, group);
      polygons_free(&polygons);
    }
  }
  return SAM3_OK;
}

static sam3_status put_labelme(struct writer *writer) {
  struct document *document = &writer->document;
  document_print(document, "{\"version\": \"5.5.0\", \"flags\": {}, \"shapes\": [");
  TRY(put_outer_rings(writer, SAM3_FORMAT_LABELME));
  document_print(document, "], \"imagePath\": ");
  document_json(document, document_string(writer->path));
  document_print(document, ", \"imageData\": null, \"imageHeight\": %d, \"imageWidth\": %d}\n", writer->results->height,
                 writer->results->width);
  return SAM3_OK;
}

static sam3_status put_format(struct writer *writer, sam3_format format) {
  switch (format) {
  case SAM3_FORMAT_JSON:
    return put_json(writer, false);
  case SAM3_FORMAT_COCO:
    return put_coco(writer);
  case SAM3_FORMAT_YOLO:
    return put_outer_rings(writer, format);
  case SAM3_FORMAT_LABELME:
    return put_labelme(writer);
  case SAM3_FORMAT_POLYGONS:
    return put_json(writer, true);
  }
  return fail(writer->err, SAM3_ERR_ARGUMENT, "there is no result format %d", (int)format);
}

/* Numbers the different labels in the order in which they come; all prompts count, also those that found nothing, so
 * that the numbers are the same for every image of a run. */
static void number_labels(const struct sam3_results *results, int *classes) {
  int n = 0;
  for (size_t i = 0; i < results->n_items; i++) {
    size_t same = 0;
    while (same < i && strcmp(result_label(&results->items[same]), result_label(&results->items[i])))
      same++;
    classes[i] = same < i ? classes[same] : n++;
  }
}

sam3_status sam3_results_format(const struct sam3_results *results, sam3_format format, const char *model,
                                const char *image_path, char **text, struct sam3_error *err) {
  *text = NULL;
  TRY(results_check(results, err));
  int *classes = mem_zeroed(results->n_items, sizeof *classes);
  if (!classes)
    return fail_memory(err, results->n_items * sizeof *classes, "labels");
  number_labels(results, classes);
  struct writer writer = {.results = results, .model = model, .path = image_path, .classes = classes, .err = err};
  sam3_status status = put_format(&writer, format);
  free(classes);
  if (status == SAM3_OK)
    return document_finish(&writer.document, text, err);
  free(writer.document.text);
  return status;
}
