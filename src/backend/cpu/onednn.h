/* Products by oneDNN, where its kernels beat ours: bf16 on CPUs with such units. */
#ifndef SAM3_BACKEND_CPU_ONEDNN_H
#define SAM3_BACKEND_CPU_ONEDNN_H

#include "backend/device.h"

/* Whether this CPU multiplies bf16 in hardware. */
bool onednn_has_bf16(void);

/* As device_ops.linear; false when it did nothing, because oneDNN has no kernel for it or refused. An error after it
 * began to write goes to `*failed`. */
bool onednn_linear(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin, enum activation act,
                   const struct tensor *residual, bool *failed);

#endif
