/* opcheck [--device LIST] [--seed N] [--only OP] [--bench]: see opcheck.h. */
#include "opcheck.h"

#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "backend/ref/ref.h"
#include "base/half.h"

const char *dtype_name(sam3_dtype dtype) {
  static const char *const names[] = {"f32", "bf16", "f16"};
  return names[dtype];
}

/* ---- random numbers: splitmix64 ---- */

uint64_t random_bits(struct check *check) {
  uint64_t z = check->state += 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

int random_int(struct check *check, int low, int high) {
  return low + (int)(random_bits(check) % (uint64_t)(high - low + 1));
}

float random_normal(struct check *check) {
  double u = ((double)(random_bits(check) >> 11) + 0.5) * 0x1p-53, v = (double)(random_bits(check) >> 11) * 0x1p-53;
  return (float)(sqrt(-2 * log(u)) * cos(2 * M_PI * v));
}

/* ---- buffers ---- */

static void *must_alloc(size_t size) {
  void *block = malloc(size);
  if (!block) {
    fprintf(stderr, "opcheck: out of memory\n");
    exit(1);
  }
  return block;
}

struct buffer buffer_make(struct check *check, sam3_dtype dtype, int64_t rows, int64_t cols) {
  int64_t element = (int64_t)dtype_size(dtype), stride = cols + random_int(check, 0, 2) * random_int(check, 0, 9);
  struct buffer b = {.t = {.dtype = dtype, .rows = rows, .cols = cols, .stride = stride}};
  b.first = (size_t)(element * random_int(check, 16, 32));
  b.size = b.first + (size_t)(((rows - 1) * stride + cols + 16) * element);
  b.block = must_alloc(b.size);
  memset(b.block, 0xa5, b.size);
  b.t.data = b.block + b.first;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < cols; c++) {
      float v = random_normal(check);
      if (dtype == SAM3_F32)
        ((float *)b.t.data)[r * stride + c] = v;
      else
        ((uint16_t *)b.t.data)[r * stride + c] = dtype == SAM3_BF16 ? bf16_from_float(v) : f16_from_float(v);
    }
  }
  return b;
}

struct buffer buffer_copy(const struct buffer *from) {
  struct buffer b = *from;
  b.block = must_alloc(b.size);
  memcpy(b.block, from->block, b.size);
  b.t.data = b.block + b.first;
  return b;
}

void buffer_round(struct buffer *buffer, sam3_dtype dtype) {
  for (int64_t r = 0; r < buffer->t.rows; r++)
    for (int64_t c = 0; c < buffer->t.cols; c++)
      tensor_row(buffer->t, r)[c] = round_to_dtype(tensor_row(buffer->t, r)[c], dtype);
}

void buffer_free(struct buffer *buffer) {
  free(buffer->block);
  buffer->block = NULL;
}

float *floats_make(struct check *check, int64_t count) {
  float *f = must_alloc((size_t)count * sizeof *f + 1);
  for (int64_t i = 0; i < count; i++)
    f[i] = random_normal(check);
  return f;
}

/* ---- comparison ---- */

/* Whether byte i of the block belongs to an element. */
static bool inside(const struct buffer *b, size_t i) {
  if (i < b->first)
    return false;
  int64_t at = (int64_t)((i - b->first) / sizeof(float));
  return at / b->t.stride < b->t.rows && at % b->t.stride < b->t.cols;
}

static void report(struct check *check, const char *format, va_list args) {
  check->failures++;
  printf("FAILED %s %s seed %llu: ", check->device, check->op, (unsigned long long)check->seed);
  vprintf(format, args);
  printf(": ");
}

void expect_equal(struct check *check, struct buffer *want, struct buffer *got, double tolerance, const char *format,
                  ...) {
  const float *w = want->t.data, *g = got->t.data;
  double largest = 0, worst = 0;
  int64_t worst_row = 0, worst_col = 0;
  for (int64_t r = 0; r < want->t.rows; r++)
    for (int64_t c = 0; c < want->t.cols; c++)
      largest = fmax(largest, fabs((double)w[r * want->t.stride + c]));
  for (int64_t r = 0; r < want->t.rows; r++) {
    for (int64_t c = 0; c < want->t.cols; c++) {
      int64_t i = r * want->t.stride + c;
      double difference = fabs((double)w[i] - (double)g[i]);
      if (!(difference <= worst)) { /* a NaN comes in here, and stays */
        worst = difference;
        worst_row = r;
        worst_col = c;
        if (isnan(difference))
          goto judged;
      }
    }
  }
judged:;
  va_list args;
  check->cases++;
  if (!(worst <= tolerance * largest)) {
    int64_t i = worst_row * want->t.stride + worst_col;
    va_start(args, format);
    report(check, format, args);
    va_end(args);
    printf("row %lld column %lld is %.9g, not %.9g: off by %.3g of the largest, %.3g (allowed %.3g)\n",
           (long long)worst_row, (long long)worst_col, (double)g[i], (double)w[i], worst / largest, largest, tolerance);
  } else {
    for (size_t i = 0; i < got->size; i++) {
      if (got->block[i] != want->block[i] && !inside(got, i)) {
        va_start(args, format);
        report(check, format, args);
        va_end(args);
        printf("wrote outside, at byte %lld from the first element\n", (long long)i - (long long)got->first);
        break;
      }
    }
  }
  buffer_free(want);
  buffer_free(got);
}

static struct device *open_or_exit(const char *name, sam3_dtype dtype, const struct cpu_variant *variant) {
  struct device *dev;
  struct sam3_error err;
  sam3_status status =
      variant ? cpu_open_variant(name, dtype, variant, &dev, &err) : device_open(name, dtype, &dev, &err);
  if (status != SAM3_OK) {
    fprintf(stderr, "opcheck: %s\n", err.message);
    exit(1);
  }
  return dev;
}

/* All dtypes on one device and variant; dtypes other than the variant's own concern products alone. */
static void check_device(const char *name, const struct cpu_variant *variant, const char *only, uint64_t seed,
                         struct check *total) {
  static const sam3_dtype dtypes[] = {SAM3_F32, SAM3_BF16, SAM3_F16};
  for (int i = 0; i < 3; i++) {
    if (variant->dtype != SAM3_F32 && variant->dtype != dtypes[i])
      continue;
    char label[128];
    snprintf(label, sizeof label, "%s/%s/%s", name, variant->name, dtype_name(dtypes[i]));
    struct check check = {.ref = open_or_exit("ref", SAM3_F32, NULL), .device = label, .own_dtype = variant->dtype};
    check.dev = open_or_exit(name, dtypes[i], variant);
    check.ref->dtype = check.dev->dtype; /* rounds weights as the device does */
    if (dtypes[i] == variant->dtype || only) {
      check_all(&check, only, seed);
    } else {
      check_all(&check, "linear", seed);
      check_all(&check, "conv3x3", seed);
    }
    printf("%s: %d cases, %d failed\n", label, check.cases, check.failures);
    total->cases += check.cases;
    total->failures += check.failures;
    device_close(check.dev);
    device_close(check.ref);
  }
}

/* ---- program ---- */

int main(int argc, char **argv) {
  static const struct option options[] = {{"device", required_argument, 0, 'd'}, {"seed", required_argument, 0, 's'},
                                          {"only", required_argument, 0, 'o'},   {"variant", required_argument, 0, 'v'},
                                          {"bench", no_argument, 0, 'b'},        {0}};
  char devices[256] = "cpu";
  const char *only = NULL, *only_variant = NULL;
  uint64_t seed = 1;
  bool bench = false;
  for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
    switch (c) {
    case 'd':
      snprintf(devices, sizeof devices, "%s", optarg);
      break;
    case 's':
      seed = strtoull(optarg, NULL, 0);
      break;
    case 'o':
      only = optarg;
      break;
    case 'v':
      only_variant = optarg;
      break;
    case 'b':
      bench = true;
      break;
    default:
      fprintf(stderr, "usage: opcheck [--device cpu,cpu:0] [--variant V] [--seed N] [--only OP] [--bench]\n");
      return 2;
    }
  }
  struct check total = {0};
  const struct cpu_variant *variants[CPU_VARIANTS];
  int variant_count = cpu_variants(variants);
  for (char *name = strtok(devices, ","); name; name = strtok(NULL, ",")) {
    for (int v = 0; v < variant_count; v++) {
      if (only_variant ? strcmp(only_variant, variants[v]->name) != 0 : bench && v > 0)
        continue;
      if (bench) {
        struct device *dev = open_or_exit(name, variants[v]->dtype, variants[v]);
        bench_all(dev, only);
        device_close(dev);
      } else {
        check_device(name, variants[v], only, seed, &total);
      }
    }
  }
  if (!bench && total.cases == 0) {
    fprintf(stderr, "opcheck: nothing checked\n");
    return 1;
  }
  return total.failures ? 1 : 0;
}
