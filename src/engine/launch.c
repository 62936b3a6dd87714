/* What a launcher has told this process: who it is, where rank 0 is, and which device is its own. */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "engine/hello.h"

enum { DEFAULT_PORT = 29500, MAX_RANKS = 256, MAX_PORT = 65535 };
#define DEFAULT_SECONDS 120

/* How each launcher names it. */
static const struct names {
  const char *launcher, *mark; /* who has `mark` was started by it, beyond doubt */
  const char *rank, *size, *local_rank, *local_size, *run;
} known[] = {
    {"torchrun", "TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"},
    {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE", "PMIX_NAMESPACE"},
    /* SLURM_NTASKS and SLURM_PROCID are set in batch scripts, too; this mark is a step's alone. */
    {"srun", "SLURM_STEP_TASKS_PER_NODE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", NULL, "SLURM_JOB_ID"},
};
static const struct names anyone = {
    "environment", "RANK", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID"};
enum { N_KNOWN = sizeof known / sizeof *known };

/* An empty variable is as none. */
static const char *value_of(const char *name) {
  const char *value = name ? getenv(name) : NULL;
  return value && *value ? value : NULL;
}

static sam3_status read_number(const char *name, int least, int most, int fallback, int *number,
                               struct sam3_error *err) {
  const char *text = value_of(name);
  char *end;
  *number = fallback;
  if (!text)
    return SAM3_OK;
  long value = strtol(text, &end, 10);
  if (*end || value < least || value > most)
    return fail(err, SAM3_ERR_ARGUMENT, "%s is \"%.40s\": it must be a number of %d to %d", name, text, least, most);
  *number = (int)value;
  return SAM3_OK;
}

static sam3_status copy_value(const char *name, const char *value, char *copy, size_t size, struct sam3_error *err) {
  if (strlen(value) >= size)
    return fail(err, SAM3_ERR_LIMIT, "%s is longer than %zu characters", name, size - 1);
  memcpy(copy, value, strlen(value));
  return SAM3_OK;
}

static const struct names *find_launcher(sam3_launcher launcher) {
  if (launcher == SAM3_LAUNCHER_NONE)
    return NULL;
  for (int i = 0; i < N_KNOWN; i++)
    if (value_of(known[i].mark) && value_of(known[i].rank) && value_of(known[i].size))
      return &known[i];
  return launcher == SAM3_LAUNCHER_ENVIRONMENT ? &anyone : NULL;
}

/* Tasks on node `node` of a list as Slurm writes it: "4(x2),3" is 4, 4, 3. 0: it is not there. */
static int tasks_on_node(const char *list, int node) {
  for (const char *at = list; at && *at;) {
    int tasks = 0, times = 1, end = 0;
    if (sscanf(at, "%9d%n", &tasks, &end) != 1 || tasks < 1)
      return 0;
    at += end;
    if (sscanf(at, "(x%9d)%n", &times, &end) == 1)
      at += end;
    if (node < times)
      return tasks;
    node -= times;
    at += *at == ',';
  }
  return 0;
}

static sam3_status read_ranks(const struct names *names, struct sam3_launch *launch, struct sam3_error *err) {
  const bool asked = names == &anyone;
  if (asked && (!value_of(names->rank) || !value_of(names->size)))
    return fail(err, SAM3_ERR_ARGUMENT, "%s is not set: the launcher \"env\" needs RANK, WORLD_SIZE and MASTER_ADDR",
                value_of(names->rank) ? names->size : names->rank);
  int node;
  TRY(read_number(names->size, 1, MAX_RANKS, 1, &launch->size, err));
  TRY(read_number(names->rank, 0, launch->size - 1, 0, &launch->rank, err));
  TRY(read_number(names->local_rank, 0, launch->size - 1, 0, &launch->local_rank, err));
  if (names->local_size) /* one process on each machine needs neither */
    return read_number(names->local_size, launch->local_rank + 1, launch->size, value_of(names->local_rank) ? 0 : 1,
                       &launch->local_size, err);
  TRY(read_number("SLURM_NODEID", 0, 1 << 20, 0, &node, err));
  launch->local_size = tasks_on_node(value_of("SLURM_STEP_TASKS_PER_NODE"), node);
  return SAM3_OK;
}

static sam3_status read_address(const struct names *names, struct sam3_launch *launch, struct sam3_error *err) {
  const char *variable = "MASTER_ADDR", *address = value_of(variable);
  if (!address && strcmp(names->launcher, "srun") == 0)
    address = value_of(variable = "SLURM_LAUNCH_NODE_IPADDR");
  if (!address && launch->local_size == launch->size)
    address = "127.0.0.1";
  if (!address)
    return fail(err, SAM3_ERR_ARGUMENT,
                "MASTER_ADDR is not set: %d ranks on several machines need the address of "
                "rank 0",
                launch->size);
  TRY(copy_value(variable, address, launch->address, sizeof launch->address, err));
  /* The port above MASTER_PORT: torchrun's own store listens on that one. */
  int below;
  TRY(read_number("MASTER_PORT", 1, MAX_PORT - 1, DEFAULT_PORT - 1, &below, err));
  return read_number("SAM3_MASTER_PORT", 1, MAX_PORT, below + 1, &launch->port, err);
}

static sam3_status read_run(const struct names *names, struct sam3_launch *launch, struct sam3_error *err) {
  const char *run = value_of(names->run), *secret = value_of("SAM3_SECRET"), *step = value_of("SLURM_STEP_ID");
  char both[300];
  if (run && strcmp(names->launcher, "srun") == 0 && step) {
    snprintf(both, sizeof both, "%.140s.%.140s", run, step);
    run = both;
  }
  if (run)
    TRY(copy_value(names->run, run, launch->run, sizeof launch->run, err));
  if (secret)
    TRY(copy_value("SAM3_SECRET", secret, launch->secret, sizeof launch->secret, err));
  int seconds;
  TRY(read_number("SAM3_LAUNCH_SECONDS", 1, 86400, DEFAULT_SECONDS, &seconds, err));
  launch->seconds = seconds;
  return SAM3_OK;
}

static sam3_status read_all(const struct names *names, struct sam3_launch *launch, struct sam3_error *err) {
  TRY(copy_value("the launcher", names->launcher, launch->launcher, sizeof launch->launcher, err));
  TRY(read_ranks(names, launch, err));
  if (launch->size == 1)
    return SAM3_OK;
  TRY(read_address(names, launch, err));
  return read_run(names, launch, err);
}

sam3_status sam3_launch_from_environment(sam3_launcher launcher, struct sam3_launch *launch, struct sam3_error *err) {
  static const struct sam3_launch alone = {.size = 1, .local_size = 1};
  const struct names *names = find_launcher(launcher);
  *launch = alone;
  if (!names)
    return SAM3_OK;
  launch->local_size = 0;
  sam3_status status = read_all(names, launch, err);
  if (status != SAM3_OK || launch->size == 1)
    *launch = alone;
  return status;
}

sam3_status launch_check(const struct sam3_engine_options *options, struct sam3_error *err) {
  return options->schedule == SAM3_SCHEDULE_SPLIT
             ? fail(err, SAM3_ERR_UNSUPPORTED,
                    "schedule split: a launcher's processes share no memory, so that each request is one process's "
                    "alone: take replicate or auto, or one process with several devices")
             : SAM3_OK;
}

/* ----------------------------------------------------------------------------------------- device */

/* This rank's share of the cores that this process may use. */
static sam3_status share_cores(const struct sam3_launch *launch, char device[64], struct sam3_error *err) {
  cpu_set_t own, parent;
  static const char name[] = "cpu";
  memcpy(device, name, sizeof name);
  if (launch->local_size == 1 || sched_getaffinity(0, sizeof own, &own) != 0)
    return SAM3_OK;
  /* Fewer than its parent: the launcher has bound it to its share already. */
  if (sched_getaffinity(getppid(), sizeof parent, &parent) == 0 && CPU_COUNT(&own) < CPU_COUNT(&parent))
    return SAM3_OK;
  if (launch->local_size == 0)
    return fail(err, SAM3_ERR_ARGUMENT,
                "LOCAL_WORLD_SIZE is not set, so the cores cannot be divided: set it, or name "
                "the devices of this machine");
  int cores[CPU_SETSIZE], n = 0;
  for (int i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &own))
      cores[n++] = i;
  int begin = launch->local_rank * n / launch->local_size, end = (launch->local_rank + 1) * n / launch->local_size;
  if (n < launch->local_size) {
    begin = launch->local_rank % n;
    end = begin + 1;
  }
  int first = cores[begin], last = cores[end - 1];
  if (last - first != end - 1 - begin)
    return fail(err, SAM3_ERR_DEVICE,
                "the cores that this process may use have gaps, so they cannot be divided among "
                "%d ranks: name the devices of this machine",
                launch->local_size);
  snprintf(device, 64, last > first ? "cpu:%d-%d" : "cpu:%d", first, last);
  return SAM3_OK;
}

sam3_status sam3_launch_device(const struct sam3_launch *launch, const char *const *devices, size_t n, char device[64],
                               struct sam3_error *err) {
  *device = '\0';
  if (n == 0)
    return share_cores(launch, device, err);
  if ((size_t)launch->local_rank >= n)
    return fail(err, SAM3_ERR_DEVICE, "local rank %d has no device: the list names %zu (%.80s%s)", launch->local_rank,
                n, devices[0], n > 1 ? ", ..." : "");
  if (strlen(devices[launch->local_rank]) >= 64)
    return fail(err, SAM3_ERR_DEVICE, "bad device name \"%.100s\"", devices[launch->local_rank]);
  strcpy(device, devices[launch->local_rank]);
  return SAM3_OK;
}
