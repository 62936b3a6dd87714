/* One oneDNN primitive for a slice of rows, run by each worker on its slice with oneDNN's own threads switched off. The
 * C interface differs between oneDNN 2 (Debian 12) and 3 (Ubuntu 24.04); compat_* hide it. */
#include "backend/cpu/onednn.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdatomic.h>

#include "backend/cpu/cpu.h"
#include "base/half.h"

enum {
  FEWEST_ROWS = 64, /* fewer: our own, which does not repack weights */
};

#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t compat_desc;
#define COMPAT_DESC(d) (d)
#else
typedef dnnl_memory_desc_t compat_desc;
#define COMPAT_DESC(d) (&(d))
#endif

/* The memory of one product: descriptors, then pointers at execution. */
struct matmul {
  compat_desc src, weights, bias, dst, residual;
  dnnl_primitive_t primitive;
  bool has_bias, has_residual;
};

struct onednn_job {
  struct cpu_device *cpu;
  struct tensor y, x, w; /* w in the type of the product */
  const float *b;
  const struct tensor *residual;
  enum activation act;
  bool accumulate; /* residual is y */
  int64_t slice;   /* rows of a slice */
  dnnl_engine_t engine;
  atomic_bool failed;
};

bool onednn_has_bf16(void) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

static bool describe(compat_desc *desc, dnnl_data_type_t type, int64_t rows, int64_t cols, int64_t row_stride,
                     int64_t col_stride) {
  dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_memory_desc_create_with_strides(desc, 2, dims, type, strides) == dnnl_success;
#else
  return dnnl_memory_desc_init_by_strides(desc, 2, dims, type, strides) == dnnl_success;
#endif
}

static void forget(compat_desc *desc) {
#if DNNL_VERSION_MAJOR >= 3
  if (*desc)
    dnnl_memory_desc_destroy(*desc);
#else
  (void)desc;
#endif
}

static bool append_post_ops(dnnl_post_ops_t ops, const struct onednn_job *job, const struct matmul *matmul) {
  bool ok = true;
  dnnl_alg_kind_t kind = job->act == ACT_RELU ? dnnl_eltwise_relu : dnnl_eltwise_gelu_erf;
#if DNNL_VERSION_MAJOR >= 3
  if (job->act != ACT_NONE)
    ok = dnnl_post_ops_append_eltwise(ops, kind, 0, 0) == dnnl_success;
  if (ok && job->accumulate)
    ok = dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef) == dnnl_success;
#else
  if (job->act != ACT_NONE)
    ok = dnnl_post_ops_append_eltwise(ops, 1, kind, 0, 0) == dnnl_success;
  if (ok && job->accumulate)
    ok = dnnl_post_ops_append_sum(ops, 1) == dnnl_success;
#endif
  if (ok && matmul->has_residual)
    ok = dnnl_post_ops_append_binary(ops, dnnl_binary_add, COMPAT_DESC(matmul->residual)) == dnnl_success;
  return ok;
}

static bool make_primitive(const struct onednn_job *job, struct matmul *matmul) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_post_ops_t ops = NULL;
  dnnl_primitive_desc_t desc = NULL;
  bool ok = dnnl_primitive_attr_create(&attr) == dnnl_success && dnnl_post_ops_create(&ops) == dnnl_success &&
            append_post_ops(ops, job, matmul) && dnnl_primitive_attr_set_post_ops(attr, ops) == dnnl_success;
#if DNNL_VERSION_MAJOR >= 3
  ok = ok &&
       dnnl_matmul_primitive_desc_create(&desc, job->engine, matmul->src, matmul->weights,
                                         matmul->has_bias ? matmul->bias : NULL, matmul->dst, attr) == dnnl_success;
#else
  dnnl_matmul_desc_t matmul_desc;
  ok = ok &&
       dnnl_matmul_desc_init(&matmul_desc, &matmul->src, &matmul->weights, matmul->has_bias ? &matmul->bias : NULL,
                             &matmul->dst) == dnnl_success &&
       dnnl_primitive_desc_create(&desc, &matmul_desc, attr, job->engine, NULL) == dnnl_success;
#endif
  ok = ok && dnnl_primitive_create(&matmul->primitive, desc) == dnnl_success;
  dnnl_primitive_desc_destroy(desc);
  dnnl_post_ops_destroy(ops);
  dnnl_primitive_attr_destroy(attr);
  return ok;
}

static void matmul_close(struct matmul *matmul) {
  forget(&matmul->src);
  forget(&matmul->weights);
  forget(&matmul->bias);
  forget(&matmul->dst);
  forget(&matmul->residual);
  if (matmul->primitive)
    dnnl_primitive_destroy(matmul->primitive);
}

/* The product for `rows` rows of x that stand `x_stride` apart. */
static bool matmul_open(const struct onednn_job *job, int64_t rows, int64_t x_stride, struct matmul *matmul) {
  *matmul = (struct matmul){.has_bias = job->b != NULL, .has_residual = job->residual && !job->accumulate};
  dnnl_data_type_t type = job->w.dtype == SAM3_BF16 ? dnnl_bf16 : dnnl_f32;
  int64_t n = job->y.cols, k = job->x.cols;
  bool ok = describe(&matmul->src, type, rows, k, x_stride, 1) &&
            describe(&matmul->weights, type, k, n, 1, job->w.stride) &&
            describe(&matmul->dst, dnnl_f32, rows, n, job->y.stride, 1) &&
            (!matmul->has_bias || describe(&matmul->bias, dnnl_f32, 1, n, n, 1)) &&
            (!matmul->has_residual || describe(&matmul->residual, dnnl_f32, rows, n, job->residual->stride, 1)) &&
            make_primitive(job, matmul);
  if (!ok)
    matmul_close(matmul);
  return ok;
}

/* Adds an argument to the list of an execution. */
static bool bind(const struct onednn_job *job, dnnl_exec_arg_t *args, int *count, int which, compat_desc *desc,
                 const void *data) {
  args[*count].arg = which;
  if (dnnl_memory_create(&args[*count].memory, COMPAT_DESC(*desc), job->engine, (void *)data) != dnnl_success)
    return false;
  (*count)++;
  return true;
}

static bool matmul_run(const struct onednn_job *job, struct matmul *matmul, int64_t row, const void *x) {
  dnnl_exec_arg_t args[5];
  int count = 0;
  dnnl_stream_t stream = NULL;
  bool ok = bind(job, args, &count, DNNL_ARG_SRC, &matmul->src, x) &&
            bind(job, args, &count, DNNL_ARG_WEIGHTS, &matmul->weights, job->w.data) &&
            bind(job, args, &count, DNNL_ARG_DST, &matmul->dst, (float *)job->y.data + row * job->y.stride) &&
            (!matmul->has_bias || bind(job, args, &count, DNNL_ARG_BIAS, &matmul->bias, job->b)) &&
            (!matmul->has_residual ||
             bind(job, args, &count, DNNL_ARG_ATTR_MULTIPLE_POST_OP(job->act != ACT_NONE) | DNNL_ARG_SRC_1,
                  &matmul->residual, (float *)job->residual->data + row * job->residual->stride)) &&
            dnnl_stream_create(&stream, job->engine, dnnl_stream_default_flags) == dnnl_success &&
            dnnl_primitive_execute(matmul->primitive, stream, count, args) == dnnl_success &&
            dnnl_stream_wait(stream) == dnnl_success;
  for (int i = 0; i < count; i++)
    dnnl_memory_destroy(args[i].memory);
  if (stream)
    dnnl_stream_destroy(stream);
  return ok;
}

static void to_bf16(uint16_t *to, const float *from, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    to[i] = bf16_from_float(from[i]);
}

static void slice_items(void *arg, int64_t begin, int64_t end, int worker) {
  struct onednn_job *job = arg;
  omp_set_num_threads(1); /* a setting of this thread alone */
  for (int64_t i = begin; i < end; i++) {
    int64_t row = i * job->slice, rows = job->y.rows - row < job->slice ? job->y.rows - row : job->slice;
    const float *x = (const float *)job->x.data + row * job->x.stride;
    int64_t x_stride = job->x.stride, k = job->x.cols;
    void *from = (void *)x;
    if (job->w.dtype == SAM3_BF16) {
      from = cpu_scratch(job->cpu, worker);
      for (int64_t r = 0; r < rows; r++)
        to_bf16((uint16_t *)from + r * k, x + r * x_stride, k);
      x_stride = k;
    }
    struct matmul matmul;
    bool ok = matmul_open(job, rows, x_stride, &matmul);
    if (ok) {
      ok = matmul_run(job, &matmul, row, from);
      matmul_close(&matmul);
    }
    if (!ok)
      atomic_store(&job->failed, true);
  }
}

/* Weights that are not stored as bf16, turned into it. */
struct conversion {
  struct tensor from;
  uint16_t *to;
};

static void convert_items(void *arg, int64_t begin, int64_t end, int worker) {
  const struct conversion *job = arg;
  (void)worker;
  for (int64_t r = begin; r < end; r++)
    to_bf16(job->to + r * job->from.cols, (const float *)job->from.data + r * job->from.stride, job->from.cols);
}

bool onednn_linear(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin, enum activation act,
                   const struct tensor *residual, bool *failed) {
  struct onednn_job job = {.cpu = cpu_of(dev),
                           .y = y,
                           .x = x,
                           .w = lin->w,
                           .b = lin->b,
                           .residual = residual,
                           .act = act,
                           .accumulate = residual && residual->data == y.data};
  bool bf16 = dev->dtype == SAM3_BF16 && onednn_has_bf16();
  int64_t threads = dev->threads;
  if (y.rows < FEWEST_ROWS || (!bf16 && (dev->dtype != SAM3_F32 || lin->w.dtype != SAM3_F32)) ||
      lin->w.dtype == SAM3_F16)
    return false;
  job.slice = (y.rows + threads - 1) / threads;
  if (bf16) { /* x fits the scratch, and converted weights the shared buffer */
    int64_t room = SCRATCH_FLOATS * 2 / x.cols;
    job.slice = job.slice < room ? job.slice : room;
    if (job.slice == 0)
      return false;
  }
  if (bf16 && lin->w.dtype == SAM3_F32) {
    if (lin->w.rows * lin->w.cols > 2 * (int64_t)SHARED_FLOATS)
      return false;
    struct conversion conversion = {lin->w, (uint16_t *)job.cpu->shared};
    pool_for(job.cpu->pool, lin->w.rows, 16, convert_items, &conversion);
    job.w = (struct tensor){conversion.to, SAM3_BF16, lin->w.rows, lin->w.cols, lin->w.cols};
  }
  if (dnnl_engine_create(&job.engine, dnnl_cpu, 0) != dnnl_success)
    return false;
  struct matmul probe; /* whether there is such a kernel: nothing is written yet */
  bool can = matmul_open(&job, job.slice, bf16 ? x.cols : x.stride, &probe);
  if (can) {
    matmul_close(&probe);
    pool_for(job.cpu->pool, (y.rows + job.slice - 1) / job.slice, 1, slice_items, &job);
    *failed = *failed || atomic_load(&job.failed);
  }
  dnnl_engine_destroy(job.engine);
  return can;
}
