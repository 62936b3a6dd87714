#include <stdlib.h>
#include <string.h>

#include <ft2build.h>
#include FT_FREETYPE_H
#include FT_MODULE_H

#include <unistr.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/draw.h"

/* data/label_font.ttf, from label_font.S */
extern const unsigned char label_font[];
extern const uint32_t label_font_size;

struct typeface {
  struct FT_MemoryRec_ memory;
  FT_Library library;
  FT_Face face;
};

static void *allocate(FT_Memory memory, long size) {
  (void)memory;
  return mem_alloc((size_t)size);
}

static void release(FT_Memory memory, void *block) {
  (void)memory;
  free(block);
}

static void *reallocate(FT_Memory memory, long old_size, long size, void *block) {
  (void)memory;
  (void)old_size;
  return mem_resize(block, (size_t)size, 1);
}

sam3_status typeface_create(struct typeface **typeface, int pixels, struct sam3_error *err) {
  *typeface = NULL;
  struct typeface *made = mem_zeroed(1, sizeof *made);
  if (!made)
    return fail_memory(err, sizeof *made, "the label font");
  made->memory = (struct FT_MemoryRec_){.alloc = allocate, .free = release, .realloc = reallocate};
  FT_Error error = FT_New_Library(&made->memory, &made->library);
  if (!error) {
    FT_Add_Default_Modules(made->library); /* does not say when memory ran out on the way */
    error = !FT_Get_Module(made->library, "smooth") || !FT_Get_Module(made->library, "autofitter");
  }
  if (!error)
    error = FT_New_Memory_Face(made->library, label_font, (FT_Long)label_font_size, 0, &made->face);
  if (!error)
    error = FT_Set_Pixel_Sizes(made->face, 0, (FT_UInt)pixels);
  if (error) { /* the font is ours and sound: only memory can be missing */
    typeface_free(made);
    return fail_memory(err, label_font_size, "the label font");
  }
  *typeface = made;
  return SAM3_OK;
}

void typeface_free(struct typeface *typeface) {
  if (!typeface)
    return;
  FT_Done_Face(typeface->face);
  FT_Done_Library(typeface->library);
  free(typeface);
}

int typeface_ascent(const struct typeface *typeface) {
  return (int)(typeface->face->size->metrics.ascender >> 6);
}

int typeface_height(const struct typeface *typeface) {
  const FT_Size_Metrics *metrics = &typeface->face->size->metrics;
  return (int)((metrics->ascender - metrics->descender + 63) >> 6);
}

/* Loads a glyph into face->glyph. The font is sound: only memory can be missing. */
static sam3_status load(struct typeface *typeface, uint32_t glyph, FT_Int32 flags, struct sam3_error *err) {
  if (FT_Load_Glyph(typeface->face, glyph, FT_LOAD_TARGET_LIGHT | flags))
    return fail_memory(err, sizeof(FT_GlyphSlotRec), "a letter of a label");
  return SAM3_OK;
}

/* Glyph 0, a box, where the font has none; controls are spaces. */
static uint32_t glyph_of(struct typeface *typeface, ucs4_t point) {
  return FT_Get_Char_Index(typeface->face, point < ' ' || point == 0x7f ? ' ' : point);
}

static sam3_status append(struct typeface *typeface, struct line *line, uint32_t glyph, struct sam3_error *err) {
  TRY(load(typeface, glyph, 0, err));
  line->advances[line->n] = (int)(typeface->face->glyph->advance.x >> 6);
  line->width += line->advances[line->n];
  line->glyphs[line->n++] = glyph;
  return SAM3_OK;
}

/* Appends up to `room` characters; `whole` tells whether that was all of them. */
static sam3_status append_text(struct typeface *typeface, struct line *line, const char *text, int room, bool *whole,
                               struct sam3_error *err) {
  const uint8_t *in = (const uint8_t *)text, *end = in + strlen(text);
  for (; in < end && room; room--) {
    ucs4_t point;
    in += u8_mbtouc(&point, in, (size_t)(end - in));
    TRY(append(typeface, line, glyph_of(typeface, point), err));
  }
  *whole = in == end;
  return SAM3_OK;
}

static void line_join(struct line *line, const struct line *more) {
  for (int i = 0; i < more->n; i++, line->n++) {
    line->glyphs[line->n] = more->glyphs[i];
    line->advances[line->n] = more->advances[i];
  }
  line->width += more->width;
}

sam3_status line_fit(struct typeface *typeface, const char *text, const char *suffix, int max_width, struct line *line,
                     struct sam3_error *err) {
  enum { ELLIPSIS = 0x2026, SUFFIX_GLYPHS = 15 };
  struct line tail = {0}, dots = {0};
  bool whole;
  *line = (struct line){0};
  TRY(append_text(typeface, &tail, suffix, SUFFIX_GLYPHS, &whole, err));
  TRY(append(typeface, &dots, glyph_of(typeface, ELLIPSIS), err));
  TRY(append_text(typeface, line, text, LINE_MAX_GLYPHS - SUFFIX_GLYPHS - dots.n, &whole, err));
  if (!whole || line->width + tail.width > max_width) {
    while (line->n && line->width + dots.width + tail.width > max_width)
      line->width -= line->advances[--line->n];
    line_join(line, &dots);
  }
  line_join(line, &tail);
  return SAM3_OK;
}

sam3_status draw_line(sam3_image *image, struct typeface *typeface, const struct line *line, int x, int y,
                      struct color color, struct sam3_error *err) {
  FT_GlyphSlot slot = typeface->face->glyph;
  for (int i = 0; i < line->n; i++) {
    TRY(load(typeface, line->glyphs[i], FT_LOAD_RENDER, err));
    draw_coverage(image,
                  &(struct coverage){
                      .x = x + slot->bitmap_left,
                      .y = y - slot->bitmap_top,
                      .width = (int)slot->bitmap.width,
                      .height = (int)slot->bitmap.rows,
                      .stride = (size_t)slot->bitmap.pitch,
                      .values = slot->bitmap.buffer,
                  },
                  color);
    x += line->advances[i];
  }
  return SAM3_OK;
}
