/* What tensors are called: by transformers (HF), which is what the model asks for, and by Meta (official). */
#ifndef SAM3_WEIGHTS_NAMES_H
#define SAM3_WEIGHTS_NAMES_H

#include <stdbool.h>

#define NAME_SIZE 256

/* How a file names the detector's tensors. */
struct scheme {
  const char *prefix; /* before each of the detector's tensors */
  bool official;
  bool short_text; /* HF names whose text encoder lacks "text_model." */
};

/* Where in a file a tensor of the model is. */
struct place {
  char name[NAME_SIZE]; /* of the stored tensor, prefix included */
  int third;            /* 0, 1, 2: the q, k or v rows of a tensor that holds all three; -1: all of it */
  bool class_row;       /* the first entry of dimension 1 belongs to a class token that is not used */
};

/* False when the model has no tensor of that HF name. */
bool names_place(const struct scheme *scheme, const char *hf_name, struct place *place);

/* What a file's tensor is for. */
struct role {
  const char *part; /* "vision", "neck", "text", "geometry", "fusion", "decoder", "scoring", "mask head", "other" */
  bool ignored;     /* not of the detector, or of no use for images */
};
struct role names_role(const struct scheme *scheme, const char *file_name);

#endif
