/* Opening and closing the CPU device; which cores, which kernels. */
#include "backend/cpu/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/memory.h"

enum { MAX_CORES = 1024 };

extern const struct cpu_variant cpu_variant_base;
#ifdef CPU_X86
extern const struct cpu_variant cpu_variant_avx2, cpu_variant_wide, cpu_variant_avx512;
#endif

int cpu_variants(const struct cpu_variant **list, int capacity) {
  const struct cpu_variant *have[4];
  int count = 0;
#ifdef CPU_X86
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    have[count++] = &cpu_variant_avx512;
  if (avx2) {
    have[count++] = &cpu_variant_avx2;
    have[count++] = &cpu_variant_wide;
  }
#endif
  have[count++] = &cpu_variant_base;
  if (count > capacity)
    count = capacity;
  memcpy(list, have, (size_t)count * sizeof *list);
  return count;
}

/* ---- cores ---- */

/* The cores that this process may use; returns how many. */
static int allowed_cores(int cores[MAX_CORES]) {
  int count = 0;
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    for (int core = 0; core < MAX_CORES && core < CPU_SETSIZE; core++)
      if (CPU_ISSET(core, &set))
        cores[count++] = core;
    return count;
  }
#endif
  long online = sysconf(_SC_NPROCESSORS_ONLN);
  for (int core = 0; core < online && core < MAX_CORES; core++)
    cores[count++] = core;
  return count;
}

/* "cpu", "cpu:N" or "cpu:A-B" to a list of cores. */
static sam3_status parse_cores(const char *name, int cores[MAX_CORES], int *count, struct sam3_error *err) {
  int allowed[MAX_CORES], allowed_count = allowed_cores(allowed);
  int first = 0, last = MAX_CORES - 1;
  if (strcmp(name, "cpu") != 0) {
    int end = 0;
    bool single = sscanf(name, "cpu:%4d%n", &first, &end) == 1 && name[end] == '\0';
    bool range = !single && sscanf(name, "cpu:%4d-%4d%n", &first, &last, &end) == 2 && name[end] == '\0';
    if (single)
      last = first;
    if (!(single || range) || first < 0 || last < first || last >= MAX_CORES)
      return fail(err, SAM3_ERR_DEVICE, "bad device name \"%s\": use cpu, cpu:0 or cpu:0-3", name);
  }
  *count = 0;
  for (int i = 0; i < allowed_count; i++)
    if (allowed[i] >= first && allowed[i] <= last)
      cores[(*count)++] = allowed[i];
  if (strcmp(name, "cpu") != 0 && *count != last - first + 1)
    return fail(err, SAM3_ERR_DEVICE, "device \"%s\": this process may use %d cores, and not all of these", name,
                allowed_count);
  return *count ? SAM3_OK : fail(err, SAM3_ERR_DEVICE, "device \"%s\": no core to run on", name);
}

/* ---- the device ---- */

static size_t workspace_size(int threads) {
  return (SHARED_FLOATS + (size_t)threads * SCRATCH_FLOATS) * sizeof(float);
}

static void cpu_close(struct device *dev) {
  struct cpu_device *cpu = cpu_of(dev);
  pool_close(cpu->pool);
  mem_free_pages(cpu->shared, workspace_size(dev->threads));
}

sam3_status cpu_open_variant(const char *name, sam3_dtype dtype, const struct cpu_variant *variant, struct device **dev,
                             struct sam3_error *err) {
  *dev = NULL;
  int cores[MAX_CORES], count = 0;
  TRY(parse_cores(name, cores, &count, err));
  struct cpu_device *cpu = mem_zeroed(1, sizeof *cpu);
  if (!cpu)
    return fail_memory(err, sizeof *cpu, "the CPU device");
  size_t workspace = workspace_size(count);
  cpu->device = (struct device){.ops = &cpu->ops, .dtype = dtype, .threads = count, .workspace = workspace};
  snprintf(cpu->device.name, sizeof cpu->device.name, "%s", name);
  cpu->ops = ref_ops;
  cpu->ops.name = "cpu";
  cpu->ops.close = cpu_close;
  variant->install(&cpu->ops);
  cpu->shared = mem_pages(workspace);
  sam3_status status = cpu->shared ? pool_open(cores, count, &cpu->pool, err)
                                   : fail_memory(err, workspace, "the CPU device's workspace");
  if (status != SAM3_OK) {
    cpu_close(&cpu->device);
    free(cpu);
    return status;
  }
  cpu->scratch = cpu->shared + SHARED_FLOATS;
  *dev = &cpu->device;
  return SAM3_OK;
}

sam3_status cpu_open(const char *name, sam3_dtype dtype, struct device **dev, struct sam3_error *err) {
  const struct cpu_variant *best;
  cpu_variants(&best, 1);
  return cpu_open_variant(name, dtype, best, dev, err);
}
