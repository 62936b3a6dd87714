#include <stdlib.h>
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

#include "base/error.h"
#include "base/memory.h"
#include "image/codec.h"

static int orientation_of(const WebPDemuxer *demuxer) {
  WebPChunkIterator chunk;
  int orientation = 1;
  if (WebPDemuxGetChunk(demuxer, "EXIF", 1, &chunk))
    orientation = exif_orientation(chunk.chunk.bytes, chunk.chunk.size);
  WebPDemuxReleaseChunkIterator(&chunk);
  return orientation;
}

/* RGBA of a frame's bitstream; `rgba` holds width * height * 4 bytes. */
static sam3_status decode_frame(const WebPIterator *frame, uint8_t *rgba, const char *name, struct sam3_error *err) {
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config))
    return fail(err, SAM3_ERR_UNSUPPORTED, "%s: WebP: libwebp is older than the one this program was built with", name);
  config.output.colorspace = MODE_RGBA;
  config.output.is_external_memory = 1;
  config.output.u.RGBA = (WebPRGBABuffer){
      .rgba = rgba, .stride = frame->width * 4, .size = (size_t)frame->width * (size_t)frame->height * 4};
  VP8StatusCode code = WebPDecode(frame->fragment.bytes, frame->fragment.size, &config);
  switch (code) {
  case VP8_STATUS_OK:
    return SAM3_OK;
  case VP8_STATUS_OUT_OF_MEMORY:
    return fail(err, SAM3_ERR_MEMORY, "%s: WebP: out of memory", name);
  case VP8_STATUS_NOT_ENOUGH_DATA:
    return fail(err, SAM3_ERR_FORMAT, "%s: WebP: the file is truncated", name);
  default:
    return fail(err, SAM3_ERR_FORMAT, "%s: WebP: the image data are damaged", name);
  }
}

static sam3_status read_image(const WebPDemuxer *demuxer, const WebPIterator *frame, const struct source *source,
                              struct canvas *canvas, struct sam3_error *err) {
  size_t width = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_WIDTH), height = WebPDemuxGetI(demuxer, WEBP_FF_CANVAS_HEIGHT);
  size_t x = (size_t)frame->x_offset, y = (size_t)frame->y_offset;
  size_t w = (size_t)frame->width, h = (size_t)frame->height;
  if (x + w > width || y + h > height)
    return fail(err, SAM3_ERR_FORMAT, "%s: WebP: a frame reaches beyond the image", source->name);
  TRY(canvas_create(canvas, source, width, height, orientation_of(demuxer), err));
  if (w < width || h < height)
    memset(canvas->image->pixels, 255, width * height * 3);
  size_t bytes = w * h * 4;
  uint8_t *rgba = mem_alloc(bytes);
  if (!rgba)
    return fail_memory(err, bytes, source->name);
  sam3_status status = decode_frame(frame, rgba, source->name, err);
  if (status == SAM3_OK)
    for (size_t i = 0; i < h; i++)
      canvas_put_rgba(canvas, x, y + i, w, rgba + i * w * 4);
  free(rgba);
  return status;
}

sam3_status decode_webp(const struct source *source, sam3_image **image, struct sam3_error *err) {
  WebPDemuxer *demuxer = WebPDemux(&(WebPData){source->bytes, source->size});
  if (!demuxer)
    return fail(err, SAM3_ERR_FORMAT, "%s: WebP: the file is damaged or truncated", source->name);
  WebPIterator frame;
  struct canvas canvas = {0};
  sam3_status status = WebPDemuxGetFrame(demuxer, 1, &frame)
                           ? read_image(demuxer, &frame, source, &canvas, err)
                           : fail(err, SAM3_ERR_FORMAT, "%s: WebP: no image in the file", source->name);
  WebPDemuxReleaseIterator(&frame);
  WebPDemuxDelete(demuxer);
  if (status == SAM3_OK)
    *image = canvas.image;
  else
    sam3_image_free(canvas.image);
  return status;
}
