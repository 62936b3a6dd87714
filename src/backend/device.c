#include "backend/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/cpu/cpu.h"
#include "base/error.h"
#include "base/memory.h"

static sam3_status ref_open(struct device **dev, struct sam3_error *err) {
  if (!(*dev = mem_zeroed(1, sizeof **dev)))
    return fail_memory(err, sizeof **dev, "the device ref");
  **dev = (struct device){.ops = &ref_ops, .name = "ref", .threads = 1};
  return SAM3_OK;
}

sam3_status device_open(const char *name, sam3_dtype dtype, struct device **dev, struct sam3_error *err) {
  *dev = NULL;
  if (strcmp(name, "ref") == 0)
    return ref_open(dev, err);
  if (strncmp(name, "cpu", 3) == 0 && (name[3] == '\0' || name[3] == ':'))
    return cpu_open(name, dtype, dev, err);
  if (strncmp(name, "cuda", 4) == 0)
    return fail(err, SAM3_ERR_DEVICE, "%s: this sam3 computes on CPUs only (docs/gpu.md)", name);
  return fail(err, SAM3_ERR_DEVICE, "unknown device \"%s\": use cpu, cpu:0, cpu:0-3 or ref", name);
}

void device_close(struct device *dev) {
  if (dev) {
    dev->ops->close(dev);
    free(dev);
  }
}
