/* sam3 worker FD: a worker process, started by the coordinator. */
#include <signal.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "cli/cli.h"

int worker_main(int argc, char **argv) {
  char *end = NULL;
  long fd = argc == 2 ? strtol(argv[1], &end, 10) : -1;
  if (fd < 3 || fd > 1 << 20 || *end) {
    complain("worker: sam3 starts its workers itself");
    return EXIT_USAGE;
  }
  struct sam3_error err;
  signal(SIGTERM, SIG_IGN); /* the coordinator ends first; then the socket does, and with it this process, */
#ifdef __linux__
  prctl(PR_SET_PDEATHSIG, SIGKILL); /* at once, even where it computes: the thread that started it waits for it */
#endif
  return sam3_worker_run((int)fd, &err) == SAM3_OK ? EXIT_DONE : EXIT_FAILED; /* the coordinator says what failed */
}
