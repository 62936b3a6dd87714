#include "image/polygons.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/rle.h"

/* A vertical span of mask pixels: column x, rows [y0, y1). It has a top edge, which rings follow to the right, and a
 * bottom edge, which they follow to the left: the mask is always on the right hand. The vertical edges between are
 * implied by the spans of the neighbouring columns. */
struct span {
  int x, y0, y1;
  uint32_t parent; /* union-find over spans that touch */
  bool traced;     /* its top edge is part of a ring */
};

struct tracer {
  struct span *spans; /* by column, then row */
  uint32_t n_spans;
  uint32_t *column; /* [width + 1]: spans column[x] .. column[x + 1] - 1 lie in column x */
  int width;
  struct polygons *out;
  size_t points_capacity, rings_capacity;
};

static sam3_status load_spans(struct tracer *tracer, const struct sam3_rle *rle, struct sam3_error *err) {
  size_t n = 0;
  for (struct rle_span span = {0}; rle_next(rle, &span);)
    n++;
  tracer->width = rle->width;
  if (n >= UINT32_MAX)
    return fail(err, SAM3_ERR_LIMIT, "a mask of %zu runs has no polygons", n);
  tracer->spans = mem_zeroed(n, sizeof *tracer->spans);
  tracer->column = mem_zeroed((size_t)rle->width + 1, sizeof *tracer->column);
  if (!tracer->spans || !tracer->column)
    return fail_memory(err, n * sizeof *tracer->spans, "the outlines of a mask");
  for (struct rle_span span = {0}; rle_next(rle, &span); tracer->n_spans++) {
    tracer->spans[tracer->n_spans] = (struct span){span.x, span.y0, span.y1, tracer->n_spans, false};
    tracer->column[span.x + 1]++;
  }
  for (int x = 0; x < rle->width; x++)
    tracer->column[x + 1] += tracer->column[x];
  return SAM3_OK;
}

static uint32_t root(struct span *spans, uint32_t i) {
  while (spans[i].parent != i)
    i = spans[i].parent = spans[spans[i].parent].parent;
  return i;
}

/* Joins spans of neighbouring columns that share pixel edges; a part's root is its first span. */
static void join_parts(struct tracer *tracer) {
  struct span *spans = tracer->spans;
  for (int x = 1; x < tracer->width; x++) {
    uint32_t a = tracer->column[x - 1], b = tracer->column[x];
    while (a < tracer->column[x] && b < tracer->column[x + 1]) {
      if (spans[a].y0 < spans[b].y1 && spans[b].y0 < spans[a].y1) {
        uint32_t i = root(spans, a), j = root(spans, b);
        spans[i > j ? i : j].parent = i < j ? i : j;
      }
      if (spans[a].y1 < spans[b].y1)
        a++;
      else
        b++;
    }
  }
}

/* The first span of column x that ends below y, or NULL. */
static struct span *first_below(const struct tracer *tracer, int x, int y) {
  if (x < 0 || x >= tracer->width)
    return NULL;
  uint32_t low = tracer->column[x], high = tracer->column[x + 1], end = high;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (tracer->spans[middle].y1 > y)
      high = middle;
    else
      low = middle + 1;
  }
  return low < end ? &tracer->spans[low] : NULL;
}

/* The last span of column x that begins above y, or NULL. */
static struct span *last_above(const struct tracer *tracer, int x, int y) {
  if (x < 0 || x >= tracer->width)
    return NULL;
  uint32_t begin = tracer->column[x], low = begin, high = tracer->column[x + 1];
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    if (tracer->spans[middle].y0 < y)
      low = middle + 1;
    else
      high = middle;
  }
  return low > begin ? &tracer->spans[low - 1] : NULL;
}

/* Where a ring is: on the top or the bottom edge of a span. */
struct edge {
  struct span *span;
  bool top;
};

/* The edge after this one. Where two mask pixels meet at a corner only, the ring turns right and stays with its own:
 * that makes parts 4-connected. */
static struct edge next_edge(const struct tracer *tracer, struct edge edge) {
  struct span *span = edge.span;
  if (edge.top) { /* heading right to the corner (x + 1, y0) */
    struct span *right = first_below(tracer, span->x + 1, span->y0);
    if (!right || right->y0 >= span->y1) /* down along the span to its end */
      return (struct edge){span, false};
    if (right->y0 >= span->y0) /* straight on, or down until the right column begins */
      return (struct edge){right, true};
    /* Up along the right column, to its beginning or to the end of a span above this one. */
    struct span *above = last_above(tracer, span->x, span->y0);
    return above && above->y1 > right->y0 ? (struct edge){above, false} : (struct edge){right, true};
  }
  struct span *left = last_above(tracer, span->x - 1, span->y1); /* the mirror image, heading left to (x, y1) */
  if (!left || left->y1 <= span->y0)
    return (struct edge){span, true};
  if (left->y1 <= span->y1)
    return (struct edge){left, false};
  struct span *below = first_below(tracer, span->x, span->y1);
  return below && below->y0 < left->y1 ? (struct edge){below, true} : (struct edge){left, false};
}

static sam3_status add_point(struct tracer *tracer, int x, int y, struct sam3_error *err) {
  struct polygons *out = tracer->out;
  if (out->n_points == tracer->points_capacity) {
    size_t capacity = tracer->points_capacity ? tracer->points_capacity * 2 : 256;
    struct point *points = mem_resize(out->points, capacity, sizeof *points);
    if (!points)
      return fail_memory(err, capacity * sizeof *points, "the outlines of a mask");
    out->points = points;
    tracer->points_capacity = capacity;
  }
  out->points[out->n_points++] = (struct point){x, y};
  return SAM3_OK;
}

static sam3_status add_ring(struct tracer *tracer, struct ring ring, struct sam3_error *err) {
  struct polygons *out = tracer->out;
  if (out->n_rings == tracer->rings_capacity) {
    size_t capacity = tracer->rings_capacity ? tracer->rings_capacity * 2 : 16;
    struct ring *rings = mem_resize(out->rings, capacity, sizeof *rings);
    if (!rings)
      return fail_memory(err, capacity * sizeof *rings, "the outlines of a mask");
    out->rings = rings;
    tracer->rings_capacity = capacity;
  }
  out->rings[out->n_rings++] = ring;
  return SAM3_OK;
}

/* The ring that begins with the top edge of `start`, the first of it in the order of spans: a corner, as nothing of
 * the ring lies further left. */
static sam3_status trace_ring(struct tracer *tracer, struct span *start, struct sam3_error *err) {
  struct ring ring = {.first = tracer->out->n_points, .part = root(tracer->spans, (uint32_t)(start - tracer->spans))};
  int64_t area = 0; /* of an outer ring; minus that of a hole */
  TRY(add_point(tracer, start->x, start->y0, err));
  for (struct edge edge = {start, true};;) {
    struct span *span = edge.span;
    int y = edge.top ? span->y0 : span->y1;
    area += edge.top ? -y : y;
    span->traced |= edge.top;
    struct edge next = next_edge(tracer, edge);
    int next_y = next.top ? next.span->y0 : next.span->y1;
    if (next.top != edge.top || next_y != y) {
      int x = edge.top ? span->x + 1 : span->x;
      TRY(add_point(tracer, x, y, err));
      if (next.top && next.span == start)
        break;
      TRY(add_point(tracer, x, next_y, err));
    }
    edge = next;
  }
  ring.n_points = tracer->out->n_points - ring.first;
  ring.hole = area < 0;
  return add_ring(tracer, ring, err);
}

/* By part; within it the outer ring, which was found first, and the holes as they were found. */
static int compare_rings(const void *left, const void *right) {
  const struct ring *a = left, *b = right;
  if (a->part != b->part)
    return a->part < b->part ? -1 : 1;
  return a->first < b->first ? -1 : a->first > b->first;
}

static sam3_status trace(struct tracer *tracer, const struct sam3_rle *rle, struct sam3_error *err) {
  TRY(load_spans(tracer, rle, err));
  join_parts(tracer);
  for (uint32_t i = 0; i < tracer->n_spans; i++)
    if (!tracer->spans[i].traced)
      TRY(trace_ring(tracer, &tracer->spans[i], err));
  if (tracer->out->n_rings)
    qsort(tracer->out->rings, tracer->out->n_rings, sizeof *tracer->out->rings, compare_rings);
  return SAM3_OK;
}

sam3_status polygons_from_rle(const struct sam3_rle *rle, struct polygons *polygons, struct sam3_error *err) {
  *polygons = (struct polygons){0};
  struct tracer tracer = {.out = polygons};
  sam3_status status = trace(&tracer, rle, err);
  free(tracer.spans);
  free(tracer.column);
  if (status != SAM3_OK)
    polygons_free(polygons);
  return status;
}

void polygons_free(struct polygons *polygons) {
  free(polygons->points);
  free(polygons->rings);
  *polygons = (struct polygons){0};
}
