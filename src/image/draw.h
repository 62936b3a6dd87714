/* Drawing on an image: blended pixels, lines, rounded boxes, text. Everything is antialiased and clipped. */
#ifndef SAM3_IMAGE_DRAW_H
#define SAM3_IMAGE_DRAW_H

#include "image/image.h"
#include "image/polygons.h"

struct color {
  uint8_t rgb[3];
};

/* One of many colours that are easily told apart; neighbours differ most. */
struct color color_of(size_t index);
/* Black or white, whichever reads better on `background`. */
struct color color_on(struct color background);

/* How much of each pixel of a part of the image a shape covers. */
struct coverage {
  int x, y, width, height; /* the part; may reach beyond the image */
  size_t stride;
  uint8_t *values; /* [height, stride], 255 is all */
};

void draw_coverage(sam3_image *image, const struct coverage *coverage, struct color color);
/* `opacity` 0 to 255 of `color` on each pixel of the mask. The mask has the image's size. */
void draw_mask(sam3_image *image, const struct sam3_rle *rle, struct color color, int opacity);
/* The edges of the mask as lines of `width` pixels, smoothed by up to a pixel. SAM3_ERR_MEMORY. */
sam3_status draw_outline(sam3_image *image, const struct sam3_rle *rle, struct color color, float width,
                         struct sam3_error *err);
void draw_rounded_box(sam3_image *image, int x, int y, int width, int height, float radius, struct color color);

/* The built-in font at one size. Characters that it lacks are boxes. */
struct typeface;
/* `pixels`: the size of the font. SAM3_ERR_MEMORY. Free with typeface_free. */
sam3_status typeface_create(struct typeface **typeface, int pixels, struct sam3_error *err);
void typeface_free(struct typeface *typeface);
int typeface_ascent(const struct typeface *typeface); /* above the base line, pixels */
int typeface_height(const struct typeface *typeface);

#define LINE_MAX_GLYPHS 64

struct line {
  uint32_t glyphs[LINE_MAX_GLYPHS];
  int advances[LINE_MAX_GLYPHS]; /* pixels to the next glyph */
  int n, width;                  /* pixels */
};

/* `text` and `suffix`, one behind the other, as glyphs; `text` ends early in an ellipsis where it would make the
 * line wider than `max_width`. SAM3_ERR_MEMORY. */
sam3_status line_fit(struct typeface *typeface, const char *text, const char *suffix, int max_width, struct line *line,
                     struct sam3_error *err);
/* From the left end `x` of the base line `y`. SAM3_ERR_MEMORY. */
sam3_status draw_line(sam3_image *image, struct typeface *typeface, const struct line *line, int x, int y,
                      struct color color, struct sam3_error *err);

#endif
