/* The outlines of a mask as polygons along pixel edges. */
#ifndef SAM3_IMAGE_POLYGONS_H
#define SAM3_IMAGE_POLYGONS_H

#include "sam3.h"

struct point {
  int x, y; /* a corner between pixels: 0, 0 is the image's top left corner, width, height its bottom right one */
};

/* A closed ring; the last point is joined to the first. Successive edges are at right angles: no point lies on the
 * line of its neighbours. It begins at one of its leftmost corners. */
struct ring {
  size_t first, n_points; /* in points */
  uint32_t part;          /* rings of one part have the same number: its outer ring, followed by its holes */
  bool hole;
};

/* Every part of the mask that hangs together by pixel edges (4-connected) is one outer ring, clockwise as seen on
 * the screen, followed by its holes, counter-clockwise. Parts stand in the order of their leftmost, topmost pixel.
 * Filling the outer rings and clearing the holes, part by part, gives back the mask exactly. */
struct polygons {
  struct point *points;
  struct ring *rings;
  size_t n_points, n_rings;
};

/* Time and memory grow with the number of runs, not of pixels. Free with polygons_free; empty on failure.
 * SAM3_ERR_MEMORY, SAM3_ERR_LIMIT. */
sam3_status polygons_from_rle(const struct sam3_rle *rle, struct polygons *polygons, struct sam3_error *err);
void polygons_free(struct polygons *polygons);

#endif
