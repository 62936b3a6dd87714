/* What every writer of results asks first. */
#ifndef SAM3_IMAGE_RESULTS_H
#define SAM3_IMAGE_RESULTS_H

#include "sam3.h"

/* The class of a result's detections: the prompt's text, or "visual" when it had none. */
const char *result_label(const struct sam3_result *result);

/* Numbers are finite, masks have the image's size and sound run lengths. SAM3_ERR_ARGUMENT names the detection. */
sam3_status results_check(const struct sam3_results *results, struct sam3_error *err);

#endif
