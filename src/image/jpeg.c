#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

#include <jerror.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/codec.h"

/* A progressive file of a few kilobytes may hold thousands of scans, each as dear as the whole image; encoders
 * write about ten. */
#define MAX_SCANS 500

/* libjpeg leaves through longjmp. It knows its caller by client_data. */
struct call {
  struct jpeg_error_mgr errors;
  jmp_buf jump;
  const char *name;
  struct sam3_error *err;
  sam3_status status;
};

struct reader {
  struct call call;
  struct jpeg_decompress_struct jpeg;
  struct jpeg_progress_mgr progress;
  const struct source *source;
  struct canvas canvas;
  uint8_t *row; /* as libjpeg gives it: RGB, or 4 bytes a pixel of CMYK */
};

struct writer {
  struct call call;
  struct jpeg_compress_struct jpeg;
  const struct picture *picture;
  FILE *stream;
};

static sam3_status status_of(int code) {
  switch (code) {
  case JERR_OUT_OF_MEMORY:
    return SAM3_ERR_MEMORY;
  case JERR_FILE_WRITE:
    return SAM3_ERR_IO;
#if JPEG_LIB_VERSION < 70 /* Ubuntu builds libjpeg-turbo with the API of version 8, which decodes it */
  case JERR_ARITH_NOTIMPL:
#endif
  case JERR_BAD_PRECISION:
  case JERR_COMPONENT_COUNT:
  case JERR_CONVERSION_NOTIMPL:
  case JERR_IMAGE_TOO_BIG:
  case JERR_SOF_UNSUPPORTED:
    return SAM3_ERR_UNSUPPORTED;
  default:
    return SAM3_ERR_FORMAT;
  }
}

static __attribute__((noreturn)) void on_error(j_common_ptr common) {
  struct call *call = common->client_data;
  char message[JMSG_LENGTH_MAX];
  common->err->format_message(common, message);
  call->status = fail(call->err, status_of(common->err->msg_code), "%s: JPEG: %s", call->name, message);
  longjmp(call->jump, 1);
}

/* libjpeg goes on after damage and leaves grey or shifted pixels behind: here that is an error. Its other warnings
 * are about bytes between segments, colour markers and unusual headers, where the pixels are sound. */
static void on_message(j_common_ptr common, int level) {
  int code = common->err->msg_code;
  if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE ||
                    code == JWRN_ARITH_BAD_CODE || code == JWRN_MUST_RESYNC))
    on_error(common);
}

static void on_progress(j_common_ptr common) {
  struct call *call = common->client_data;
  if (((j_decompress_ptr)common)->input_scan_number > MAX_SCANS) {
    call->status = fail(call->err, SAM3_ERR_LIMIT, "%s: JPEG: more than %d scans", call->name, MAX_SCANS);
    longjmp(call->jump, 1);
  }
}

static struct jpeg_error_mgr *begin_call(struct call *call, const char *name, struct sam3_error *err) {
  call->name = name;
  call->err = err;
  jpeg_std_error(&call->errors);
  call->errors.error_exit = on_error;
  call->errors.emit_message = on_message;
  return &call->errors;
}

/* Adobe's inverted CMYK (every CMYK JPEG is taken as such, as Pillow does) to RGB, in place. */
static void rgb_from_cmyk(uint8_t *row, size_t width) {
  for (size_t x = 0; x < width; x++) {
    int light = row[4 * x + 3]; /* 255 - K */
    for (int c = 0; c < 3; c++) {
      int ink = (255 - row[4 * x + c]) * light;
      row[3 * x + c] = (uint8_t)(light - (ink + 127) / 255);
    }
  }
}

static sam3_status read_image(struct reader *reader) {
  struct jpeg_decompress_struct *jpeg = &reader->jpeg;
  jpeg_create_decompress(jpeg);
  reader->progress.progress_monitor = on_progress;
  jpeg->progress = &reader->progress;
  jpeg_mem_src(jpeg, reader->source->bytes, reader->source->size);
  jpeg_save_markers(jpeg, JPEG_APP0 + 1, 0xffff);
  jpeg_read_header(jpeg, TRUE);
  int orientation = 1;
  for (jpeg_saved_marker_ptr marker = jpeg->marker_list; marker && orientation == 1; marker = marker->next)
    orientation = exif_orientation(marker->data, marker->data_length);
  TRY(canvas_create(&reader->canvas, reader->source, jpeg->image_width, jpeg->image_height, orientation,
                    reader->call.err));
  jpeg->out_color_space = jpeg->num_components == 4 ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(jpeg);
  size_t row_bytes = (size_t)jpeg->output_width * (size_t)jpeg->output_components;
  reader->row = mem_alloc(row_bytes);
  if (!reader->row)
    return fail_memory(reader->call.err, row_bytes, reader->source->name);
  while (jpeg->output_scanline < jpeg->output_height) {
    size_t y = jpeg->output_scanline;
    jpeg_read_scanlines(jpeg, &reader->row, 1);
    if (jpeg->out_color_space == JCS_CMYK)
      rgb_from_cmyk(reader->row, jpeg->output_width);
    canvas_put_rgb(&reader->canvas, 0, y, jpeg->output_width, reader->row);
  }
  jpeg_finish_decompress(jpeg); /* reads on to the end marker: a file without one is truncated */
  return SAM3_OK;
}

/* The functions that call setjmp change nothing of their own: all state is behind the pointer. */
static void run_reader(struct reader *reader) {
  if (!setjmp(reader->call.jump))
    reader->call.status = read_image(reader);
}

sam3_status decode_jpeg(const struct source *source, sam3_image **image, struct sam3_error *err) {
  struct reader reader = {.source = source};
  reader.jpeg.err = begin_call(&reader.call, source->name, err);
  reader.jpeg.client_data = &reader.call;
  run_reader(&reader);
  jpeg_destroy_decompress(&reader.jpeg);
  free(reader.row);
  if (reader.call.status == SAM3_OK)
    *image = reader.canvas.image;
  else
    sam3_image_free(reader.canvas.image);
  return reader.call.status;
}

static void write_image(struct writer *writer) {
  struct jpeg_compress_struct *jpeg = &writer->jpeg;
  const struct picture *picture = writer->picture;
  jpeg_create_compress(jpeg);
  jpeg_stdio_dest(jpeg, writer->stream);
  jpeg->image_width = (JDIMENSION)picture->width;
  jpeg->image_height = (JDIMENSION)picture->height;
  jpeg->input_components = picture->channels;
  jpeg->in_color_space = picture->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults(jpeg);
  jpeg_set_quality(jpeg, 92, TRUE);
  /* Colour at full resolution: thin coloured lines and text do not smear. */
  jpeg->comp_info[0].h_samp_factor = jpeg->comp_info[0].v_samp_factor = 1;
  jpeg_start_compress(jpeg, TRUE);
  for (int y = 0; y < picture->height; y++) {
    JSAMPROW row = (JSAMPROW)picture->row(picture->of, y); /* libjpeg only reads it */
    jpeg_write_scanlines(jpeg, &row, 1);
  }
  jpeg_finish_compress(jpeg);
}

static void run_writer(struct writer *writer) {
  if (!setjmp(writer->call.jump))
    write_image(writer);
}

sam3_status encode_jpeg(const struct picture *picture, FILE *stream, const char *name, struct sam3_error *err) {
  struct writer writer = {.picture = picture, .stream = stream};
  writer.jpeg.err = begin_call(&writer.call, name, err);
  writer.jpeg.client_data = &writer.call;
  run_writer(&writer);
  jpeg_destroy_compress(&writer.jpeg);
  return writer.call.status;
}
