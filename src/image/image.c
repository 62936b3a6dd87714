#include "image/image.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/codec.h"
#include "image/file.h"

sam3_status image_create(uint64_t width, uint64_t height, const char *name, uint64_t max_pixels, sam3_image **image,
                         struct sam3_error *err) {
  *image = NULL;
  if (!max_pixels)
    max_pixels = IMAGE_DEFAULT_MAX_PIXELS;
  if (!width || !height)
    return fail(err, SAM3_ERR_FORMAT, "%s: an image of %llu x %llu pixels", name, (unsigned long long)width,
                (unsigned long long)height);
  if (width > INT_MAX || height > INT_MAX || width * height > max_pixels)
    return fail(err, SAM3_ERR_LIMIT, "%s: %llu x %llu pixels are more than the limit of %llu", name,
                (unsigned long long)width, (unsigned long long)height, (unsigned long long)max_pixels);
  size_t bytes;
  if (__builtin_mul_overflow(width * height, 3, &bytes) || __builtin_add_overflow(bytes, IMAGE_PADDING, &bytes))
    return fail_memory(err, SIZE_MAX, name);
  sam3_image *made = mem_alloc(sizeof *made);
  uint8_t *pixels = made ? mem_alloc(bytes) : NULL;
  if (!pixels) {
    free(made);
    return fail_memory(err, bytes, name);
  }
  memset(pixels + bytes - IMAGE_PADDING, 0, IMAGE_PADDING);
  static atomic_ullong images;
  *made = (sam3_image){.width = (int)width, .height = (int)height, .pixels = pixels};
  made->id = atomic_fetch_add(&images, 1) + 1;
  atomic_init(&made->references, 1);
  *image = made;
  return SAM3_OK;
}

sam3_status sam3_image_from_rgb(const uint8_t *pixels, int width, int height, sam3_image **image,
                                struct sam3_error *err) {
  *image = NULL;
  if (!pixels || width < 1 || height < 1)
    return fail(err, SAM3_ERR_ARGUMENT, "an image of %d x %d pixels cannot be made", width, height);
  TRY(image_create((uint64_t)width, (uint64_t)height, "the given image", UINT64_MAX, image, err));
  memcpy((*image)->pixels, pixels, (size_t)width * (size_t)height * 3);
  return SAM3_OK;
}

int sam3_image_width(const sam3_image *image) {
  return image->width;
}

int sam3_image_height(const sam3_image *image) {
  return image->height;
}

const uint8_t *sam3_image_pixels(const sam3_image *image) {
  return image->pixels;
}

sam3_image *sam3_image_share(sam3_image *image) {
  atomic_fetch_add(&image->references, 1);
  return image;
}

void sam3_image_free(sam3_image *image) {
  if (!image || atomic_fetch_sub(&image->references, 1) > 1)
    return;
  free(image->pixels);
  free(image);
}

/* Files are told apart by how they begin, never by their names. */
struct signature {
  const char *what;
  size_t offset;
  const char *magic;
  size_t length;
};

static bool begins_with(const struct source *source, const struct signature *signature) {
  return source->size >= signature->offset + signature->length &&
         !memcmp(source->bytes + signature->offset, signature->magic, signature->length);
}

#define MAGIC(text) text, sizeof(text) - 1

/* What a file that is no JPEG, PNG or WebP seems to be. */
static const char *guess(const struct source *source) {
  static const struct signature others[] = {
      {"a GIF image", 0, MAGIC("GIF8")},
      {"a BMP image", 0, MAGIC("BM")},
      {"a TIFF image", 0, MAGIC("II*\0")},
      {"a TIFF image", 0, MAGIC("MM\0*")},
      {"an AVIF image", 4, MAGIC("ftypavif")},
      {"a HEIC image", 4, MAGIC("ftyphei")},
      {"a HEIC image", 4, MAGIC("ftypmif1")},
      {"an MP4 or QuickTime video", 4, MAGIC("ftyp")},
      {"a JPEG XL image", 0, MAGIC("\xff\x0a")},
      {"a JPEG XL image", 0, MAGIC("\0\0\0\x0cJXL ")},
      {"a JPEG 2000 image", 0, MAGIC("\0\0\0\x0cjP  ")},
      {"a Photoshop document", 0, MAGIC("8BPS")},
      {"an icon", 0, MAGIC("\0\0\1\0")},
      {"a PDF document", 0, MAGIC("%PDF")},
      {"an SVG, XML or HTML document", 0, MAGIC("<")},
      {"a zip archive", 0, MAGIC("PK\3\4")},
      {"a gzip archive", 0, MAGIC("\x1f\x8b")},
  };
  if (!source->size)
    return "empty";
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (begins_with(source, &others[i]))
      return others[i].what;
  for (size_t i = 0; i < source->size && i < 64; i++)
    if (source->bytes[i] < ' ' && !strchr("\t\r\n\f", source->bytes[i]))
      return "of an unknown format";
  return "text";
}

sam3_status sam3_image_decode(const void *bytes, size_t size, const char *name, uint64_t max_pixels, sam3_image **image,
                              struct sam3_error *err) {
  static const struct {
    struct signature begin;
    sam3_status (*decode)(const struct source *, sam3_image **, struct sam3_error *);
  } formats[] = {
      {{"JPEG", 0, MAGIC("\xff\xd8\xff")}, decode_jpeg},
      {{"PNG", 0, MAGIC("\x89PNG\r\n\x1a\n")}, decode_png},
      {{"WebP", 8, MAGIC("WEBP")}, decode_webp},
  };
  *image = NULL;
  const struct source source = {
      .bytes = bytes, .size = bytes ? size : 0, .name = name ? name : "the image", .max_pixels = max_pixels};
  for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
    if (begins_with(&source, &formats[i].begin))
      return formats[i].decode(&source, image, err);
  return fail(err, SAM3_ERR_FORMAT, "%s: is %s, not a JPEG, PNG or WebP image", source.name, guess(&source));
}

sam3_status sam3_image_read(const char *path, uint64_t max_pixels, sam3_image **image, struct sam3_error *err) {
  *image = NULL;
  uint8_t *bytes;
  size_t size;
  TRY(file_read(path, IMAGE_MAX_FILE_BYTES, &bytes, &size, err));
  const char *name = strcmp(path, "-") ? path : "standard input";
  sam3_status status = sam3_image_decode(bytes, size, name, max_pixels, image, err);
  free(bytes);
  return status;
}
