/* Where the processes of a launcher meet: rank 0 listens, and each other rank comes with a hello. Strangers are let go
 * without a word, and nobody is waited for. */
#ifndef SAM3_ENGINE_MEETING_H
#define SAM3_ENGINE_MEETING_H

#include "engine/endpoint.h"

struct meeting;

/* Listens on the address of rank 0, or on all of this machine's when that is none of its own. */
sam3_status meeting_open(const struct sam3_launch *launch, struct meeting **meeting, struct sam3_error *err);
/* Waits until all ranks are there; an error names who is not. */
sam3_status meeting_gather(struct meeting *meeting, struct sam3_error *err);
/* Waits until `rank` is there, for the first time or again, and gives its connection away; false: the meeting ends.
 * From its own thread for each rank. */
bool meeting_take(struct meeting *meeting, int rank, struct endpoint *end);
/* Nobody waits in meeting_take() any more. */
void meeting_end(struct meeting *meeting);
void meeting_close(struct meeting *meeting);

#endif
