/* Who has a TCP port. */
#ifndef SAM3_BASE_PORT_H
#define SAM3_BASE_PORT_H

#include <stdbool.h>

#define PORT_HOLDER 64

/* The process that listens on `port` of this machine, "process 4711 (nginx)"; false: /proc does not tell us. */
bool port_holder(int port, char holder[PORT_HOLDER]);

#endif
