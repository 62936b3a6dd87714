/* sam3: finds the sub-command and hands over. */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/pipeline.h"

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);

static const struct command {
  const char *name;
  int (*main)(int argc, char **argv);
  const char *about;
} commands[] = {
    {"segment", segment_main, "find every instance of a phrase in images, as masks"},
    {"serve", serve_main, "serve the web page and the HTTP API"},
    {"batch", batch_main, "the same for whole folders of images, resumable"},
    {"info", info_main, "what a model is, and the memory it will take"},
    {"devices", devices_main, "what there is to compute on"},
    {"bench", bench_main, "time every stage of the network"},
    {"top", top_main, "what the devices of a running server do"},
    {"tokenize", tokenize_main, "the token ids of texts"},
    {"convert", convert_main, "write a checkpoint as a Hugging Face directory, in another dtype"},
    {"help", help_main, "this text, or the help of a command"},
    {"version", version_main, "the version"},
    {"worker", worker_main, NULL}, /* how sam3 calls itself: not for people */
};
#define N_COMMANDS (sizeof commands / sizeof *commands)

static const struct command *find(const char *name) {
  for (size_t i = 0; i < N_COMMANDS; i++)
    if (strcmp(commands[i].name, name) == 0)
      return &commands[i];
  return NULL;
}

/* Edits (insert, remove, replace) from `a` to `b`, of which only the first 15 characters count. */
static int distance(const char *a, const char *b) {
  int row[16], n = (int)strnlen(b, 15);
  for (int j = 0; j <= n; j++)
    row[j] = j;
  for (int i = 0; i < 15 && a[i]; i++) {
    int diagonal = row[0];
    row[0] = i + 1;
    for (int j = 1; j <= n; j++) {
      int best = diagonal + (a[i] != b[j - 1]);
      diagonal = row[j];
      if (row[j] + 1 < best)
        best = row[j] + 1;
      if (row[j - 1] + 1 < best)
        best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[n];
}

static int no_such_command(const char *name) {
  if (access(name, F_OK) == 0) {
    complain("'%s' is a file, not a command: sam3 segment %s -p TEXT", name, name);
    return EXIT_USAGE;
  }
  const struct command *nearest = &commands[0];
  for (size_t i = 1; i < N_COMMANDS && commands[i].about; i++)
    if (distance(name, commands[i].name) < distance(name, nearest->name))
      nearest = &commands[i];
  if (distance(name, nearest->name) <= 3)
    complain("no command '%s'; did you mean '%s'? (sam3 --help lists all)", name, nearest->name);
  else
    complain("no command '%s' (sam3 --help lists all)", name);
  return EXIT_USAGE;
}

static void usage(FILE *to) {
  fprintf(to, "Usage: sam3 COMMAND [ARGUMENT...]\n"
              "Segment Anything 3: finds every instance of a phrase in an image.\n"
              "\n"
              "Commands:\n");
  for (size_t i = 0; i < N_COMMANDS && commands[i].about; i++)
    fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].about);
  fprintf(to, "\n"
              "Examples:\n"
              "  sam3 segment street.jpg -p \"red car\" --overlay cars.png\n"
              "  sam3 segment street.jpg -p dog -p cat > animals.json\n"
              "  sam3 info -m models/sam3\n"
              "\n"
              "Environment:\n"
              "  SAM3_MODEL  the model to use when -m does not name one\n"
              "\n"
              "Exit status: 0 done (nothing found is done, too), 1 failed, 2 wrong usage.\n"
              "The flags of a command: sam3 COMMAND --help. Everything: man sam3.\n");
}

static int run(const struct command *command, int argc, char **argv) {
  char name[32];
  snprintf(name, sizeof name, "sam3 %s", command->name);
  argv[0] = name; /* what argp calls the program */
  return command->main(argc, argv);
}

static int help_main(int argc, char **argv) {
  if (argc < 2) {
    usage(stdout);
    return EXIT_DONE;
  }
  const struct command *command = find(argv[1]);
  if (!command)
    return no_such_command(argv[1]);
  if (command->main == help_main || command->main == version_main) {
    printf("Usage: sam3 %s\n%s\n", command->name, command->about);
    return EXIT_DONE;
  }
  char flag[] = "--help";
  return run(command, 2, (char *[]){NULL, flag, NULL});
}

static int version_main(int argc, char **argv) {
  (void)argc, (void)argv;
  printf("sam3 %s\n", sam3_version());
  return EXIT_DONE;
}

static void interrupted(int number) {
  if (pipeline_interrupt(number))
    return;
  progress_wipe_raw();
  output_interrupt();
  _exit(exit_code_of_signal(number));
}

/* What was printed may still be in a buffer: a full disk or a closed pipe shows only now. */
static void close_stdout(void) {
  if (ferror(stdout) || fclose(stdout) != 0)
    stdout_failed();
}

/* A closed standard stream would be the next file opened, and results would go into it. */
static void occupy_standard_streams(void) {
  for (int fd = 0; fd <= 2; fd++)
    if (fcntl(fd, F_GETFD) < 0)
      open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY); /* the wrong way, so that using it fails */
}

int main(int argc, char **argv) {
  occupy_standard_streams();
  atexit(close_stdout);
  signal(SIGPIPE, SIG_IGN); /* the write fails and is reported */
  signal(SIGINT, interrupted);
  signal(SIGTERM, interrupted);
  argp_err_exit_status = EXIT_USAGE;
  setenv("ARGP_HELP_FMT", "no-dup-args-note", 0);

  if (argc < 2) {
    usage(stderr);
    return EXIT_USAGE;
  }
  const char *name = argv[1];
  if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
    name = "help";
  else if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)
    name = "version";
  const struct command *command = find(name);
  return command ? run(command, argc - 1, argv + 1) : no_such_command(name);
}
