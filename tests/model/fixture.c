#include "fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The file `name` in the directory of `beside`, which must have exactly `size` bytes. */
static void *read_exactly(const char *beside, const char *name, size_t size) {
  char path[640];
  const char *slash = strrchr(beside, '/');
  snprintf(path, sizeof path, "%.*s%s", slash ? (int)(slash - beside + 1) : 0, beside, name);
  FILE *file = fopen(path, "rb");
  if (!file)
    fail_msg("%s: cannot be opened", path);
  void *data = malloc(size + 1);
  assert_non_null(data);
  if (fread(data, 1, size + 1, file) != size)
    fail_msg("%s: has not %zu bytes", path, size);
  fclose(file);
  return data;
}

static int64_t kept(int64_t n, int64_t step) {
  return (n + step - 1) / step;
}

static void read_tokens(struct fixture *f, const char *line) {
  int used = 0;
  if (sscanf(line, "tokens %d%n", &f->n_tokens, &used) != 1 || f->n_tokens < 1 || f->n_tokens > FIXTURE_MAX_TOKENS)
    fail_msg("%s: bad line: %s", f->path, line);
  for (int i = 0; i < f->n_tokens; i++) {
    int n;
    if (sscanf(line += used, "%d%n", &f->tokens[i], &n) != 1)
      fail_msg("%s: too few tokens", f->path);
    used = n;
  }
}

static void read_stage(struct fixture *f, const char *line) {
  assert_true(f->n_stages < FIXTURE_MAX_STAGES);
  struct fixture_stage *s = &f->stages[f->n_stages++];
  long rows, cols, row_step, col_step;
  if (sscanf(line, "stage %31s %ld %ld %ld %ld %lf", s->name, &rows, &cols, &row_step, &col_step, &s->largest) != 6 ||
      rows < 1 || cols < 1 || row_step < 1 || col_step < 1 || !(s->largest > 0))
    fail_msg("%s: bad line: %s", f->path, line);
  s->rows = rows, s->cols = cols, s->row_step = row_step, s->col_step = col_step;
}

static void read_line(struct fixture *f, const char *line) {
  char name[64];
  int label;
  long count;
  struct fixture_box box;
  if (sscanf(line, "image %d %63s", &f->size, name) == 2) {
    assert_true(f->size > 0 && f->size < 4096);
    f->pixels = read_exactly(f->path, name, (size_t)f->size * f->size * 3);
  } else if (sscanf(line, "original %d %d", &f->width, &f->height) == 2) {
    assert_true(f->width > 0 && f->height > 0);
  } else if (!strncmp(line, "tokens ", 7)) {
    read_tokens(f, line);
  } else if (sscanf(line, "box %d %f %f %f %f", &label, &box.x0, &box.y0, &box.x1, &box.y1) == 5) {
    assert_true(f->n_boxes < FIXTURE_MAX_BOXES);
    box.positive = label == 1;
    f->boxes[f->n_boxes++] = box;
  } else if (!strncmp(line, "stage ", 6)) {
    read_stage(f, line);
  } else if (sscanf(line, "values %ld %63s", &count, name) == 2) {
    int64_t sum = 0;
    for (int i = 0; i < f->n_stages; i++)
      sum += kept(f->stages[i].rows, f->stages[i].row_step) * kept(f->stages[i].cols, f->stages[i].col_step);
    assert_int_equal(sum, count);
    f->values = read_exactly(f->path, name, (size_t)count * sizeof *f->values);
  } else {
    fail_msg("%s: unknown line: %s", f->path, line);
  }
}

void fixture_read(struct fixture *f, const char *manifest) {
  char line[512];
  memset(f, 0, sizeof *f);
  snprintf(f->path, sizeof f->path, "%s", manifest);
  FILE *file = fopen(manifest, "r");
  if (!file)
    fail_msg("%s: cannot be opened", manifest);
  if (!fgets(line, sizeof line, file) || strcmp(line, "sam3-stages 1\n"))
    fail_msg("%s: not a stage fixture", manifest);
  while (fgets(line, sizeof line, file)) {
    assert_null(f->values); /* nothing behind "values" */
    read_line(f, line);
  }
  fclose(file);
  if (!f->pixels || !f->width || !f->n_tokens || !f->values)
    fail_msg("%s: incomplete", manifest);
  const float *next = f->values;
  for (int i = 0; i < f->n_stages; i++) {
    struct fixture_stage *s = &f->stages[i];
    s->values = next;
    next += kept(s->rows, s->row_step) * kept(s->cols, s->col_step);
  }
}

void fixture_free(struct fixture *f) {
  free(f->pixels);
  free(f->values);
  memset(f, 0, sizeof *f);
}

/* Prints the first value that differs; returns whether there is one. */
static bool differs(struct fixture *f, const struct fixture_stage *s, struct tensor value, const int32_t *order,
                    double tolerance) {
  int64_t n_cols = kept(s->cols, s->col_step);
  bool failed = false;
  for (int64_t i = 0; i < s->rows; i++) {
    int64_t row = order ? order[i] : i;
    if (row % s->row_step)
      continue;
    const float *got = (const float *)value.data + i * value.stride;
    const float *want = s->values + row / s->row_step * n_cols;
    for (int64_t j = 0; j < n_cols; j++) {
      double part = fabs((double)got[j * s->col_step] - want[j]) / s->largest;
      if (!(part <= f->worst)) {
        f->worst = part;
        snprintf(f->worst_stage, sizeof f->worst_stage, "%s", s->name);
      }
      if (!(part <= tolerance) && !failed) {
        print_error("%s: %s: row %ld, column %ld: %.9g, expected %.9g (largest %.3g, off by %.2g of it)\n", f->path,
                    s->name, (long)row, (long)(j * s->col_step), got[j * s->col_step], want[j], s->largest, part);
        failed = true;
      }
    }
  }
  return failed;
}

void fixture_compare(struct fixture *f, const char *stage, struct tensor value, const int32_t *order,
                     double tolerance) {
  for (int i = 0; i < f->n_stages; i++) {
    struct fixture_stage *s = &f->stages[i];
    if (strcmp(s->name, stage))
      continue;
    if (s->seen)
      fail_msg("%s: %s came twice", f->path, stage);
    s->seen = true;
    if (value.dtype != SAM3_F32 || value.rows != s->rows || value.cols != s->cols)
      fail_msg("%s: %s is [%ld, %ld], expected [%ld, %ld]", f->path, stage, (long)value.rows, (long)value.cols,
               (long)s->rows, (long)s->cols);
    f->n_failed += differs(f, s, value, order, tolerance);
  }
}

void fixture_finish(const struct fixture *f) {
  for (int i = 0; i < f->n_stages; i++)
    if (!f->stages[i].seen)
      fail_msg("%s: %s was never computed", f->path, f->stages[i].name);
  if (f->n_failed)
    fail_msg("%s: %d of %d stages differ, the most %s by %.2g", f->path, f->n_failed, f->n_stages, f->worst_stage,
             f->worst);
}
