/* The reference device: host memory and the table of plain operators. */
#include "backend/ref/ref.h"

#include <string.h>

#include "base/memory.h"

static void *host_alloc(struct device *dev, size_t size) {
  (void)dev;
  return mem_pages(size);
}

static void host_free(struct device *dev, void *block, size_t size) {
  (void)dev;
  mem_free_pages(block, size);
}

static void host_upload(struct device *dev, void *to, const void *from, size_t size) {
  (void)dev;
  memcpy(to, from, size);
}

static sam3_status host_sync(struct device *dev, struct sam3_error *err) {
  (void)dev, (void)err;
  return SAM3_OK;
}

static void host_close(struct device *dev) {
  (void)dev;
}

static void bind_thread(struct device *dev) {
  (void)dev;
}

static double measure_peak(struct device *dev) {
  (void)dev;
  return 0;
}

static size_t prepared_size(const struct device *dev, int out, int in) {
  (void)dev, (void)out, (void)in;
  return 0;
}

static sam3_status prepare(struct device *dev, struct conv3x3 *conv, struct sam3_error *err) {
  (void)dev, (void)err;
  conv->prepared = NULL;
  return SAM3_OK;
}

static void release(struct device *dev, struct conv3x3 *conv) {
  (void)dev, (void)conv;
}

const struct device_ops ref_ops = {
    .name = "ref",
    .alloc = host_alloc,
    .free = host_free,
    .upload = host_upload,
    .download = host_upload,
    .sync = host_sync,
    .close = host_close,
    .bind_thread = bind_thread,
    .measure_peak = measure_peak,
    .conv3x3_prepared_size = prepared_size,
    .conv3x3_prepare = prepare,
    .conv3x3_release = release,
    .linear = ref_linear,
    .attention = ref_attention,
    .layer_norm = ref_layer_norm,
    .group_norm_relu = ref_group_norm_relu,
    .group_moments = ref_group_moments,
    .copy = ref_copy,
    .clear = ref_clear,
    .add = ref_add,
    .gather_rows = ref_gather_rows,
    .mean_rows = ref_mean_rows,
    .conv3x3 = ref_conv3x3,
    .deconv2x2 = ref_deconv2x2,
    .patchify = ref_patchify,
    .roi_align = ref_roi_align,
    .sine_boxes = ref_sine_boxes,
    .box_distances = ref_box_distances,
    .refine_boxes = ref_refine_boxes,
};
