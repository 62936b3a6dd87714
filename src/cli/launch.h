/* Started by torchrun, mpirun or srun, once for each device (docs/launchers.md). */
#ifndef SAM3_CLI_LAUNCH_H
#define SAM3_CLI_LAUNCH_H

#include "cli/cli.h"

/* --launcher, or $SAM3_LAUNCHER: a child of the argp of every command that opens an engine. Zeros to begin with. */
struct launch_flags {
  const char *name; /* NULL: "auto" */
  struct sam3_launch launch;
};
extern const struct argp launch_argp;

/* Before anything is written: reads what a launcher has told this process. True: go on, alone or as rank 0, and give
 * the engine `.launch = &flags->launch`. False: end with *code; this is another rank, which has done its work, or
 * something was wrong. `devices` is the value of -d, names separated by commas; NULL: none. */
bool launch_begin(struct launch_flags *flags, const char *model_path, const char *devices, int *code);

#endif
