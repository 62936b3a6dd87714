/* Opening and closing the CPU device; which cores, which kernels. */
#include "backend/cpu/cpu.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef CPU_AMX
#include <cpuid.h>
#include <sys/syscall.h>
#endif

#include "base/error.h"
#include "base/memory.h"

enum { MAX_CORES = 1024 };

extern const struct cpu_variant cpu_variant_base;
#ifdef CPU_X86
extern const struct cpu_variant cpu_variant_avx2, cpu_variant_wide, cpu_variant_avx512;

static bool has_avx2(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
static bool has_avx512(void) {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif
#ifdef CPU_BF16
extern const struct cpu_variant cpu_variant_avx512bf16;
#endif
#ifdef CPU_AMX
extern const struct cpu_variant cpu_variant_amx, cpu_variant_amxbf16;

/* Linux gives a process the tile registers when it asks for them: Documentation/arch/x86/xstate.rst. */
static bool has_amx(void) {
  enum { AMX_BF16 = 1 << 22, AMX_TILE = 1 << 24, ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
  unsigned a, b, c, d;
  return has_avx512() && __get_cpuid_count(7, 0, &a, &b, &c, &d) && d & AMX_BF16 && d & AMX_TILE &&
         syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif

int cpu_variants(const struct cpu_variant *have[CPU_VARIANTS]) {
  int count = 0;
#ifdef CPU_X86
  __builtin_cpu_init();
#ifdef CPU_AMX
  bool amx = has_amx();
  if (amx)
    have[count++] = &cpu_variant_amx;
#endif
  if (has_avx512())
    have[count++] = &cpu_variant_avx512;
  if (has_avx2())
    have[count++] = &cpu_variant_avx2;
#endif
  have[count++] = &cpu_variant_base;
#ifdef CPU_X86
  if (has_avx2())
    have[count++] = &cpu_variant_wide;
#endif
#ifdef CPU_AMX
  if (amx)
    have[count++] = &cpu_variant_amxbf16;
#endif
#ifdef CPU_BF16
  if (has_avx512() && __builtin_cpu_supports("avx512bf16"))
    have[count++] = &cpu_variant_avx512bf16;
#endif
  return count;
}

/* AVX512-BF16 multiplies twice as fast as float on AMD's CPUs, and half as fast on Intel's, which have tiles for that.
 */
static bool pays(const struct cpu_variant *variant) {
#ifdef CPU_BF16
  return variant != &cpu_variant_avx512bf16 || __builtin_cpu_is("amd");
#else
  (void)variant;
  return true;
#endif
}

const struct cpu_variant *cpu_variant_for(sam3_dtype dtype) {
  const struct cpu_variant *have[CPU_VARIANTS];
  int count = cpu_variants(have);
  for (int i = 0; i < count; i++)
    if (have[i]->dtype == dtype && pays(have[i]))
      return have[i];
  return have[0];
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

static void cpu_bind_thread(struct device *dev) {
  pool_bind_caller(cpu_of(dev)->pool);
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
  cpu->ops.bind_thread = cpu_bind_thread;
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
  const struct cpu_variant *best = cpu_variant_for(dtype);
  return cpu_open_variant(name, best->dtype, best, dev, err);
}
