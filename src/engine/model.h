/* An opened checkpoint with all that belongs to it. */
#ifndef SAM3_ENGINE_MODEL_H
#define SAM3_ENGINE_MODEL_H

#include "model/network.h"
#include "text/tokenizer.h"
#include "weights/weights.h"

struct sam3_model {
  char *name;
  char *description;       /* JSON, for sam3_model_describe */
  struct weights *weights; /* NULL: random */
  struct tokenizer *tokenizer;
  struct network network;
};

/* The JSON of sam3_model_describe; free with free(). */
sam3_status model_describe(const sam3_model *model, char **json, struct sam3_error *err);

#endif
