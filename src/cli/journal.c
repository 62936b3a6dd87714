#include "cli/journal.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define APPLICATION 0x73616d33 /* "sam3" */
#define VERSION 1
#define STRING(x) STRING_OF(x)
#define STRING_OF(x) #x

struct journal {
  sqlite3 *db;
  char *path;
  pthread_mutex_t lock; /* of the statements */
  sqlite3_stmt *make_room, *add, *next, *finish;
  char *last; /* the name that was handed out last */
};

/* `again`: there may be results of an older version of the image, also of one that was never noted as done. */
static const char schema[] =
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE image ("
    "  name TEXT PRIMARY KEY, output TEXT NOT NULL UNIQUE,"
    "  size INTEGER NOT NULL, time INTEGER NOT NULL,"
    "  state TEXT NOT NULL CHECK (state IN ('waiting', 'again', 'done', 'failed')),"
    "  present INTEGER NOT NULL, message TEXT, document TEXT);"
    "PRAGMA application_id = " STRING(APPLICATION) ";"
                                                   "PRAGMA user_version = " STRING(VERSION) ";";

static bool refused(struct journal *j) {
  complain("%s: %s", j->path, sqlite3_errmsg(j->db));
  return false;
}

static bool execute(struct journal *j, const char *sql) {
  return sqlite3_exec(j->db, sql, NULL, NULL, NULL) == SQLITE_OK || refused(j);
}

/* Runs the statement, prepared when it is first used, with values by their types: t a text (or NULL), i an int64_t.
 * SQLITE_ROW (its columns can be read until the next run), SQLITE_DONE or what went wrong. */
static int run(struct journal *j, sqlite3_stmt **statement, const char *sql, const char *types, ...) {
  int result = *statement ? sqlite3_reset(*statement) : SQLITE_OK;
  if (!*statement)
    result = sqlite3_prepare_v3(j->db, sql, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
  if (!*statement)
    return result;
  va_list values;
  va_start(values, types);
  for (int i = 0; types[i]; i++)
    if (types[i] == 't')
      sqlite3_bind_text(*statement, i + 1, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
    else
      sqlite3_bind_int64(*statement, i + 1, va_arg(values, int64_t));
  va_end(values);
  return sqlite3_step(*statement);
}

static const char *text_of(sqlite3_stmt *statement, int column) {
  const char *text = (const char *)sqlite3_column_text(statement, column);
  return text ? text : "";
}

/* The number that a query yields. */
static bool number(struct journal *j, const char *sql, int64_t *value) {
  sqlite3_stmt *statement = NULL;
  bool good = run(j, &statement, sql, "") == SQLITE_ROW;
  *value = good ? sqlite3_column_int64(statement, 0) : 0;
  if (!good)
    refused(j);
  sqlite3_finalize(statement);
  return good;
}

/* ------------------------------------------------------------------------------------ open, close */

/* The first statement: takes the lock that the file is then kept under. */
static bool take_file(struct journal *j) {
  int result = sqlite3_exec(j->db,
                            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                            "BEGIN EXCLUSIVE; COMMIT;",
                            NULL, NULL, NULL);
  if (result == SQLITE_BUSY) {
    complain("%s: another sam3 batch works there", j->path);
    return false;
  }
  return result == SQLITE_OK || refused(j);
}

static bool prepare(struct journal *j, bool restart) {
  int64_t tables, application, version;
  if (!take_file(j) || !number(j, "SELECT count(*) FROM sqlite_schema", &tables) ||
      !number(j, "PRAGMA application_id", &application) || !number(j, "PRAGMA user_version", &version))
    return false;
  if (tables && (application != APPLICATION || version != VERSION)) {
    complain("%s: not a journal of this version of sam3 batch", j->path);
    return false;
  }
  if (!tables)
    return execute(j, "BEGIN") && execute(j, schema) && execute(j, "COMMIT");
  return !restart || execute(j, "BEGIN; DELETE FROM setting; DELETE FROM image; COMMIT; VACUUM");
}

bool journal_open(const char *path, bool restart, struct journal **journal) {
  struct journal *j = *journal = need(calloc(1, sizeof *j));
  j->path = need(strdup(path));
  pthread_mutex_init(&j->lock, NULL);
  bool good = sqlite3_open(path, &j->db) == SQLITE_OK ? prepare(j, restart) : refused(j);
  if (!good) {
    journal_close(j);
    *journal = NULL;
  }
  return good;
}

void journal_close(struct journal *j) {
  if (!j)
    return;
  sqlite3_finalize(j->make_room);
  sqlite3_finalize(j->add);
  sqlite3_finalize(j->next);
  sqlite3_finalize(j->finish);
  sqlite3_close(j->db);
  pthread_mutex_destroy(&j->lock);
  free(j->last);
  free(j->path);
  free(j);
}

/* --------------------------------------------------------------------------------------- settings */

static bool keep_settings(struct journal *j, const struct setting *settings, size_t n) {
  sqlite3_stmt *insert = NULL;
  bool good = execute(j, "BEGIN; DELETE FROM setting; DELETE FROM image");
  for (size_t i = 0; i < n && good; i++)
    good = run(j, &insert, "INSERT INTO setting VALUES (?1, ?2)", "tt", settings[i].name, settings[i].value) ==
               SQLITE_DONE ||
           refused(j);
  sqlite3_finalize(insert);
  return good && execute(j, "COMMIT");
}

int journal_settings(struct journal *j, const struct setting *settings, size_t n) {
  int64_t results;
  if (!number(j, "SELECT count(*) FROM image WHERE state <> 'waiting'", &results))
    return EXIT_FAILED;
  if (!results)
    return keep_settings(j, settings, n) ? EXIT_DONE : EXIT_FAILED;
  sqlite3_stmt *query = NULL;
  int code = EXIT_DONE;
  for (size_t i = 0; i < n; i++) {
    int result = run(j, &query, "SELECT value FROM setting WHERE name = ?1", "t", settings[i].name);
    const char *before = result == SQLITE_ROW ? text_of(query, 0) : "";
    if (strcmp(before, settings[i].value) == 0)
      continue;
    complain("%s: %s was %s, now it is %s", j->path, settings[i].name, before, settings[i].value);
    code = EXIT_USAGE;
  }
  sqlite3_finalize(query);
  if (code != EXIT_DONE)
    complain("the results there were made with other settings: use another -o, or --restart to make all anew");
  return code;
}

/* ----------------------------------------------------------------------------------------- images */

bool journal_begin_images(struct journal *j) {
  return execute(j, "BEGIN; UPDATE image SET present = 0");
}

/* Two images of this run have the same output. */
static bool collision(struct journal *j, const char *name, const char *output) {
  sqlite3_stmt *query = NULL;
  run(j, &query, "SELECT name FROM image WHERE output = ?1", "t", output);
  complain("%s and %s have the same name for their results, %s: --keep-ending keeps images apart that differ in their "
           "ending",
           text_of(query, 0), name, output);
  sqlite3_finalize(query);
  return false;
}

bool journal_add_image(struct journal *j, const char *name, const char *output, int64_t size, int64_t time) {
  int result =
      run(j, &j->make_room, "DELETE FROM image WHERE output = ?1 AND name <> ?2 AND NOT present", "tt", output, name);
  if (result == SQLITE_DONE)
    result = run(j, &j->add,
                 "INSERT INTO image (name, output, size, time, state, present) VALUES (?1, ?2, ?3, ?4, 'waiting', 1)"
                 " ON CONFLICT (name) DO UPDATE SET present = 1, size = excluded.size, time = excluded.time, state ="
                 " CASE WHEN size = excluded.size AND time = excluded.time THEN state ELSE 'again' END",
                 "ttii", name, output, size, time);
  if (result == SQLITE_CONSTRAINT)
    return collision(j, name, output);
  return result == SQLITE_DONE || refused(j);
}

bool journal_end_images(struct journal *j, bool retry_failed) {
  return (!retry_failed || execute(j, "UPDATE image SET state = 'waiting' WHERE state = 'failed' AND present")) &&
         execute(j, "COMMIT");
}

bool journal_count(struct journal *j, struct journal_counts *counts) {
  int64_t all = 0, done = 0, failed = 0;
  bool good = number(j, "SELECT count(*) FROM image WHERE present", &all) &&
              number(j, "SELECT count(*) FROM image WHERE present AND state = 'done'", &done) &&
              number(j, "SELECT count(*) FROM image WHERE present AND state = 'failed'", &failed);
  *counts = (struct journal_counts){(size_t)all, (size_t)done, (size_t)failed};
  return good;
}

bool journal_next(struct journal *j, struct journal_image *image) {
  pthread_mutex_lock(&j->lock);
  int result = run(j, &j->next,
                   "SELECT name, output, state = 'again' FROM image WHERE name > ?1 AND present AND"
                   " state IN ('waiting', 'again') ORDER BY name LIMIT 1",
                   "t", j->last ? j->last : "");
  if (result == SQLITE_ROW) {
    image->name = need(strdup(text_of(j->next, 0)));
    image->output = need(strdup(text_of(j->next, 1)));
    image->again = sqlite3_column_int(j->next, 2);
    free(j->last);
    j->last = need(strdup(image->name));
  } else if (result != SQLITE_DONE) {
    refused(j);
  }
  if (j->next)
    sqlite3_reset(j->next);
  pthread_mutex_unlock(&j->lock);
  return result == SQLITE_ROW;
}

void journal_image_free(struct journal_image *image) {
  free(image->name);
  free(image->output);
}

static bool finish(struct journal *j, const char *name, const char *state, const char *message, const char *document) {
  pthread_mutex_lock(&j->lock);
  bool good = run(j, &j->finish, "UPDATE image SET state = ?2, message = ?3, document = ?4 WHERE name = ?1", "tttt",
                  name, state, message, document) == SQLITE_DONE ||
              refused(j);
  pthread_mutex_unlock(&j->lock);
  return good;
}

bool journal_done(struct journal *j, const char *name, const char *document) {
  return finish(j, name, "done", NULL, document);
}

bool journal_failed(struct journal *j, const char *name, const char *message) {
  return finish(j, name, "failed", message, NULL);
}

static bool each(struct journal *j, const char *sql, bool (*take)(void *user, const char *name, const char *text),
                 void *user) {
  sqlite3_stmt *query = NULL;
  bool good = true;
  int result = run(j, &query, sql, "");
  for (; result == SQLITE_ROW && good; result = sqlite3_step(query))
    good = take(user, text_of(query, 0), text_of(query, 1));
  if (good && result != SQLITE_DONE)
    good = refused(j);
  sqlite3_finalize(query);
  return good;
}

bool journal_each_failed(struct journal *j, bool (*take)(void *user, const char *name, const char *text), void *user) {
  return each(j, "SELECT name, message FROM image WHERE present AND state = 'failed' ORDER BY name", take, user);
}

bool journal_each_document(struct journal *j, bool (*take)(void *user, const char *name, const char *text),
                           void *user) {
  return each(j, "SELECT name, document FROM image WHERE present AND state = 'done' ORDER BY name", take, user);
}
