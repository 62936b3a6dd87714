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
    FT_Add_Default_Modules(made->library);
    error = FT_New_Memory_Face(made->library, label_font, (FT_Long)label_font_size, 0, &made->face);
  }
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

static int advance(struct typeface *typeface, uint32_t glyph) {
  return FT_Load_Glyph(typeface->face, glyph, FT_LOAD_TARGET_LIGHT) ? 0 : (int)(typeface->face->glyph->advance.x >> 6);
}

/* Glyph 0, a box, where the font has none; controls are spaces. */
static uint32_t glyph_of(struct typeface *typeface, ucs4_t point) {
  return FT_Get_Char_Index(typeface->face, point < ' ' || point == 0x7f ? ' ' : point);
}

/* Appends up to `room` characters; tells whether that was all of them. */
static bool append(struct typeface *typeface, struct line *line, const char *text, int room) {
  const uint8_t *in = (const uint8_t *)text, *end = in + strlen(text);
  for (; in < end && room; room--) {
    ucs4_t point;
    in += u8_mbtouc(&point, in, (size_t)(end - in));
    uint32_t glyph = glyph_of(typeface, point);
    line->glyphs[line->n++] = glyph;
    line->width += advance(typeface, glyph);
  }
  return in == end;
}

struct line line_fit(struct typeface *typeface, const char *text, const char *suffix, int max_width) {
  enum { ELLIPSIS = 0x2026, SUFFIX_GLYPHS = 15 };
  struct line line = {0}, tail = {0};
  append(typeface, &tail, suffix, SUFFIX_GLYPHS);
  bool whole = append(typeface, &line, text, LINE_MAX_GLYPHS - SUFFIX_GLYPHS - 1);
  if (!whole || line.width + tail.width > max_width) {
    uint32_t dots = glyph_of(typeface, ELLIPSIS);
    int dots_width = advance(typeface, dots);
    while (line.n && line.width + dots_width + tail.width > max_width)
      line.width -= advance(typeface, line.glyphs[--line.n]);
    line.glyphs[line.n++] = dots;
    line.width += dots_width;
  }
  memcpy(line.glyphs + line.n, tail.glyphs, (size_t)tail.n * sizeof *tail.glyphs);
  line.n += tail.n;
  line.width += tail.width;
  return line;
}

void draw_line(sam3_image *image, struct typeface *typeface, const struct line *line, int x, int y,
               struct color color) {
  FT_GlyphSlot slot = typeface->face->glyph;
  for (int i = 0; i < line->n; i++) {
    if (FT_Load_Glyph(typeface->face, line->glyphs[i], FT_LOAD_TARGET_LIGHT | FT_LOAD_RENDER))
      continue;
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
    x += (int)(slot->advance.x >> 6);
  }
}
