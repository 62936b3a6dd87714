/* sam3 top: what the devices of a running server do. */
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "cli/http.h"

static const char doc[] = "Shows what the devices of a running server do, anew each second; q quits.\n"
                          "\v"
                          "URL is http://127.0.0.1:7860 unless given. Busy is the share of the last second, with "
                          "--once that of all time. When "
                          "the server asks for a key, it is taken from $SAM3_API_KEY.\n"
                          "\n"
                          "Examples:\n"
                          "  sam3 top\n"
                          "  sam3 top http://gpu-server:7860 --once";

struct top {
  const char *text;
  struct http_url url;
  bool once, json;
};

enum { KEY_ONCE = 256, KEY_JSON };

static error_t parse(int key, char *value, struct argp_state *state) {
  struct top *run = state->input;
  const char *problem;
  switch (key) {
  case KEY_ONCE:
    run->once = true;
    return 0;
  case KEY_JSON:
    run->json = true;
    return 0;
  case ARGP_KEY_ARG:
    if (run->text)
      argp_error(state, "unexpected argument %s", value);
    run->text = value;
    return 0;
  case ARGP_KEY_END:
    if (!run->text)
      run->text = "http://127.0.0.1:7860";
    if ((problem = http_parse(run->text, &run->url)))
      argp_error(state, "%s: %s", run->text, problem);
    return 0;
  default:
    return ARGP_ERR_UNKNOWN;
  }
}

/* ------------------------------------------------------------------------------------- the tables */

static double number_of(json_t *object, const char *key) {
  return json_number_value(json_object_get(object, key));
}

/* `text` (NULL: "?") so that it does nothing to a terminal; `room` holds it. */
static const char *plain(const char *text, char room[64]) {
  snprintf(room, 64, "%s", text ? text : "?");
  hide_controls(room);
  return room;
}

static const char *text_of(json_t *object, const char *key, char room[64]) {
  return plain(json_string_value(json_object_get(object, key)), room);
}

/* How much of the time between two looks (`before` may be NULL: since its start) the worker was busy, 0..1. */
static double busy_share(json_t *worker, json_t *before) {
  double busy = number_of(worker, "busy"), age = number_of(worker, "age");
  if (before && number_of(before, "age") < age && number_of(before, "busy") <= busy) {
    busy -= number_of(before, "busy");
    age -= number_of(before, "age");
  }
  double share = age > 0 ? busy / age : 0;
  return share < 1 ? share : 1;
}

static void print_workers(FILE *to, json_t *workers, json_t *before) {
  size_t i;
  json_t *w;
  fprintf(to, "%-12s %-9s %6s %9s %9s %9s %7s %9s %9s %8s\n", "DEVICE", "STATE", "BUSY", "REQUESTS", "FAILURES",
          "IMAGES", "HITS", "MEMORY", "WEIGHTS", "RESTARTS");
  json_array_foreach(workers, i, w) {
    char device[64], state[64], memory[64], weights[64];
    fprintf(to, "%-12s %-9s %4.0f %% %9.0f %9.0f %9.0f %7.0f %9s %9s %8.0f\n", text_of(w, "device", device),
            text_of(w, "state", state), 100 * busy_share(w, json_array_get(before, i)), number_of(w, "requests"),
            number_of(w, "failures"), number_of(w, "images"), number_of(w, "cache_hits"),
            human_bytes((uint64_t)number_of(w, "memory"), memory),
            human_bytes((uint64_t)number_of(w, "weights"), weights), number_of(w, "restarts"));
  }
}

static json_t *find_stage(json_t *worker, const char *name) {
  size_t i;
  json_t *stage;
  json_array_foreach(json_object_get(worker, "stages"), i, stage) {
    const char *own = json_string_value(json_object_get(stage, "stage"));
    if (own && strcmp(own, name) == 0)
      return stage;
  }
  return NULL;
}

/* A row a stage that any worker has run, a column a worker: means in ms. */
static void print_stages(FILE *to, json_t *workers) {
  size_t i, k;
  json_t *w, *stage;
  json_t *names = need(json_object());
  json_array_foreach(workers, i, w) {
    json_array_foreach(json_object_get(w, "stages"), k, stage) {
      const char *name = json_string_value(json_object_get(stage, "stage"));
      if (name)
        json_object_set_new(names, name, json_true());
    }
  }
  if (json_object_size(names)) {
    fprintf(to, "\n%-12s", "MEAN MS");
    json_array_foreach(workers, i, w) {
      char device[64];
      fprintf(to, " %9s", text_of(w, "device", device));
    }
    fputc('\n', to);
  }
  const char *name;
  json_t *unused;
  json_object_foreach(names, name, unused) {
    char shown[64];
    fprintf(to, "%-12s", plain(name, shown));
    json_array_foreach(workers, i, w) {
      stage = find_stage(w, name);
      if (stage && number_of(stage, "count") > 0)
        fprintf(to, " %9.1f", 1000 * number_of(stage, "seconds") / number_of(stage, "count"));
      else
        fprintf(to, " %9s", "-");
    }
    fputc('\n', to);
  }
  json_decref(names);
}

/* Free with free(). `before`: the look before this one, or NULL. */
static char *make_table(const struct top *run, json_t *look, json_t *before) {
  char parallel[64], schedule[64], *text = NULL;
  size_t size;
  FILE *to = need(open_memstream(&text, &size));
  fprintf(to, "%s: %s, %s\n", run->text, text_of(look, "parallel", parallel), text_of(look, "schedule", schedule));
  fprintf(to,
          "queue %.0f, running %.0f; so far %.0f accepted: %.0f done, %.0f failed, %.0f cancelled; %.0f rejected\n\n",
          number_of(look, "queued"), number_of(look, "running"), number_of(look, "accepted"), number_of(look, "done"),
          number_of(look, "failed"), number_of(look, "cancelled"), number_of(look, "rejected"));
  print_workers(to, json_object_get(look, "workers"), json_object_get(before, "workers"));
  print_stages(to, json_object_get(look, "workers"));
  fclose(to);
  return text;
}

/* What the server says now; NULL with a message. With `raw`, that takes over its text. */
static json_t *look(const struct top *run, char **raw, char problem[400]) {
  char *text = http_get(&run->url, "/v1/devices", getenv("SAM3_API_KEY"), problem);
  json_error_t error;
  json_t *root = text ? json_loads(text, 0, &error) : NULL;
  if (text && !json_is_array(json_object_get(root, "workers"))) {
    snprintf(problem, 400, "%s/v1/devices: what answers there is not a sam3 server", run->text);
    json_decref(root);
    root = NULL;
  }
  if (root && raw)
    *raw = text;
  else
    free(text);
  return root;
}

/* -------------------------------------------------------------------------------------- live view */

static volatile sig_atomic_t ended;

static void end(int number) {
  ended = number;
}

/* Draws from the top left, and no more than fits. */
static void draw(const char *text) {
  struct winsize window = {.ws_row = 24};
  ioctl(STDOUT_FILENO, TIOCGWINSZ, &window);
  fputs("\033[H", stdout);
  for (int row = 1; *text && (row < window.ws_row || !window.ws_row); row++) {
    size_t length = strcspn(text, "\n");
    printf("%.*s\033[K\r\n", (int)length, text);
    text += length + (text[length] == '\n');
  }
  fputs("\033[J", stdout);
  if (fflush(stdout) != 0)
    ended = SIGTERM;
}

/* A second, or until q is typed: true. */
static bool pause_or_quit(void) {
  struct pollfd keys = {.fd = STDIN_FILENO, .events = POLLIN};
  for (double until = seconds_now() + 1, left; !ended && (left = until - seconds_now()) > 0;) {
    char key;
    if (poll(&keys, 1, (int)(left * 1000) + 1) <= 0)
      continue;
    if (read(STDIN_FILENO, &key, 1) != 1)
      keys.fd = -1; /* nobody types any more */
    else if (key == 'q' || key == 'Q' || key == 3)
      return true;
  }
  return ended;
}

static void show_live(const struct top *run, json_t *now) {
  struct termios before, raw;
  bool terminal = tcgetattr(STDIN_FILENO, &before) == 0;
  signal(SIGINT, end);
  signal(SIGTERM, end);
  if (terminal) {
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  fputs("\033[?1049h\033[?25l\033[?7l", stdout); /* another screen, no cursor, lines are cut */
  json_t *last = NULL;
  char problem[400] = "";
  for (;;) {
    if (now) {
      char *table = make_table(run, now, last);
      draw(table);
      free(table);
      json_decref(last);
      last = now;
    } else {
      draw(problem); /* it may come back */
    }
    if (pause_or_quit())
      break;
    now = look(run, NULL, problem);
  }
  json_decref(last);
  fputs("\033[?7h\033[?25h\033[?1049l", stdout);
  fflush(stdout);
  if (terminal)
    tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

int top_main(int argc, char **argv) {
  static const struct argp_option options[] = {{"once", KEY_ONCE, 0, 0, "print one table and end", 0},
                                               {"json", KEY_JSON, 0, 0, "print the server's document and end", 0},
                                               {0}};
  const struct argp_child children[] = {{&help_argp, 0, NULL, 0}, {0}};
  const struct argp argp = {options, parse, "[URL]", doc, children, NULL, NULL};
  struct top run = {0};
  argp_parse(&argp, argc, argv, ARGP_NO_HELP, NULL, &run);

  char problem[400], *raw;
  json_t *now = look(&run, &raw, problem);
  if (!now) {
    complain("%s", problem);
    return EXIT_FAILED;
  }
  if (run.json) {
    size_t length = strlen(raw);
    printf("%s%s", raw, length && raw[length - 1] == '\n' ? "" : "\n");
  } else if (run.once || !isatty(STDOUT_FILENO)) {
    char *table = make_table(&run, now, NULL);
    fputs(table, stdout);
    free(table);
  }
  free(raw);
  if (!run.json && !run.once && isatty(STDOUT_FILENO))
    show_live(&run, now);
  else
    json_decref(now);
  return EXIT_DONE;
}
