#include "base/port.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LISTENS = 0x0a }; /* TCP_LISTEN in /proc/net/tcp */

/* The inode of the socket in `path` that listens on `port`; 0: none. */
static unsigned long listener(const char *path, int port) {
  char line[512];
  unsigned long found = 0;
  FILE *file = fopen(path, "re");
  while (file && !found && fgets(line, sizeof line, file)) {
    unsigned local, state;
    unsigned long inode;
    if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &local, &state, &inode) ==
            3 &&
        (int)local == port && state == LISTENS)
      found = inode;
  }
  if (file)
    fclose(file);
  return found;
}

/* True when the process whose directory in /proc is open as `process` has the file that `wanted` names. */
static bool has_file(int process, const char *wanted) {
  bool found = false;
  int fd = openat(process, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR *files = fd >= 0 ? fdopendir(fd) : NULL;
  if (!files && fd >= 0)
    close(fd);
  for (struct dirent *entry; files && !found && (entry = readdir(files));) {
    char target[64];
    ssize_t n = readlinkat(fd, entry->d_name, target, sizeof target - 1);
    target[n > 0 ? n : 0] = '\0';
    found = strcmp(target, wanted) == 0;
  }
  if (files)
    closedir(files);
  return found;
}

static void name_process(int process, const char *id, char holder[PORT_HOLDER]) {
  char name[32] = "";
  int fd = openat(process, "comm", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd >= 0 ? read(fd, name, sizeof name - 1) : 0;
  name[n > 0 ? n : 0] = '\0';
  name[strcspn(name, "\n")] = '\0';
  if (fd >= 0)
    close(fd);
  snprintf(holder, PORT_HOLDER, "process %.16s (%s)", id, name);
}

bool port_holder(int port, char holder[PORT_HOLDER]) {
  char wanted[64];
  bool found = false;
  unsigned long inode = listener("/proc/net/tcp", port);
  if (!inode)
    inode = listener("/proc/net/tcp6", port);
  DIR *processes = inode ? opendir("/proc") : NULL;
  snprintf(wanted, sizeof wanted, "socket:[%lu]", inode);
  for (struct dirent *entry; processes && !found && (entry = readdir(processes));) {
    if (strspn(entry->d_name, "0123456789") != strlen(entry->d_name))
      continue;
    int process = openat(dirfd(processes), entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    found = process >= 0 && has_file(process, wanted);
    if (found)
      name_process(process, entry->d_name, holder);
    if (process >= 0)
      close(process);
  }
  if (processes)
    closedir(processes);
  return found;
}
