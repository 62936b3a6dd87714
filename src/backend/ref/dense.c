/* Products, attention, norms and row operators in plain C. */
#include <math.h>
#include <string.h>

#include "backend/ref/ref.h"

static float activate(float v, enum activation act) {
  switch (act) {
  case ACT_RELU:
    return v > 0 ? v : 0;
  case ACT_GELU:
    return 0.5f * v * (1.0f + erff(v * (float)M_SQRT1_2));
  default:
    return v;
  }
}

void ref_linear(struct device *dev, struct tensor y, struct tensor x, const struct linear *lin, enum activation act,
                const struct tensor *residual) {
  for (int64_t m = 0; m < y.rows; m++) {
    for (int64_t n = 0; n < y.cols; n++) {
      double sum = 0;
      for (int64_t k = 0; k < x.cols; k++)
        sum += (double)tensor_at(x, m, k) * round_to_dtype(tensor_at(lin->w, n, k), dev->dtype);
      float v = activate((float)(sum + (lin->b ? lin->b[n] : 0)), act);
      tensor_row(y, m)[n] = v + (residual ? tensor_at(*residual, m, n) : 0);
    }
  }
}

/* Column c of a head's row of q or k, rotated as row `place` of the table says. */
static float rotated(const struct attention *att, struct tensor t, int64_t batch_row, int64_t row, int64_t place,
                     int64_t first, int64_t c, int64_t dim) {
  float v = tensor_at(t, batch_row + row, first + c);
  if (!att->rope_cos)
    return v;
  int64_t pair = place * (dim / 2) + c / 2;
  float other = tensor_at(t, batch_row + row, first + (c ^ 1));
  return v * att->rope_cos[pair] + (c & 1 ? other : -other) * att->rope_sin[pair];
}

static float attention_bias(const struct attention *att, int64_t query, int64_t key, int64_t head) {
  if (!att->bias_y)
    return 0;
  int64_t y = key / att->grid_w, x = key % att->grid_w;
  return att->bias_y[(query * att->grid_h + y) * att->heads + head] +
         att->bias_x[(query * att->grid_w + x) * att->heads + head];
}

/* One query of one head: the running maximum, denominator and weighted sum of "online softmax" (Milakov and Gimelshein,
 * 2018), so that no row of scores is stored. */
static void attend(const struct attention *att, int64_t b, int64_t head, int64_t query) {
  int64_t nq = att->q.rows / att->batch, nk = att->k.rows / att->batch, dim = att->q.cols / att->heads;
  int64_t first = head * dim, q0 = b * nq, k0 = b * nk;
  float *out = tensor_row(att->out, q0 + query) + first, max = -INFINITY;
  double denominator = 0;
  for (int64_t c = 0; c < dim; c++)
    out[c] = 0;
  for (int64_t key = 0; key < nk && !(att->causal && key > query); key++) {
    double dot = 0;
    for (int64_t c = 0; c < dim; c++)
      dot += (double)rotated(att, att->q, q0, query, att->first_query + query, first, c, dim) *
             rotated(att, att->k, k0, key, key, first, c, dim);
    float score = (float)dot * att->scale + attention_bias(att, query, key, head);
    float new_max = score > max ? score : max;
    float keep = expf(max - new_max), weight = expf(score - new_max);
    max = new_max;
    denominator = denominator * keep + weight;
    for (int64_t c = 0; c < dim; c++)
      out[c] = out[c] * keep + weight * tensor_at(att->v, k0 + key, first + c);
  }
  for (int64_t c = 0; c < dim; c++)
    out[c] = (float)(out[c] / denominator);
}

void ref_attention(struct device *dev, const struct attention *att) {
  (void)dev;
  int64_t nq = att->q.rows / att->batch;
  for (int64_t b = 0; b < att->batch; b++)
    for (int64_t head = 0; head < att->heads; head++)
      for (int64_t query = 0; query < nq; query++)
        attend(att, b, head, query);
}

/* Mean and 1 / sqrt(variance + eps) of a block of rows and columns. */
static void moments(struct tensor x, int64_t first_col, int64_t cols, int64_t first_row, int64_t rows, float eps,
                    double *mean, double *scale) {
  double sum = 0, squares = 0, count = (double)rows * (double)cols;
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < cols; c++)
      sum += tensor_at(x, first_row + r, first_col + c);
  *mean = sum / count;
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t c = 0; c < cols; c++) {
      double d = tensor_at(x, first_row + r, first_col + c) - *mean;
      squares += d * d;
    }
  }
  *scale = 1 / sqrt(squares / count + eps);
}

void ref_layer_norm(struct device *dev, struct tensor y, struct tensor x, const struct norm *norm) {
  (void)dev;
  for (int64_t r = 0; r < x.rows; r++) {
    double mean, scale;
    moments(x, 0, x.cols, r, 1, norm->eps, &mean, &scale);
    for (int64_t c = 0; c < x.cols; c++)
      tensor_row(y, r)[c] = (float)((tensor_at(x, r, c) - mean) * scale) * norm->gain[c] + norm->bias[c];
  }
}

void ref_group_moments(struct device *dev, struct tensor y, struct tensor x, int groups) {
  float *to = tensor_row(y, 0);
  ref_clear(dev, y);
  to[0] = (float)x.rows;
  for (int64_t g = 0; x.rows && g < groups; g++) {
    double mean, scale;
    moments(x, g * (x.cols / groups), x.cols / groups, 0, x.rows, 0, &mean, &scale);
    to[1 + g] = (float)mean;
    to[1 + groups + g] = (float)(1 / (scale * scale)); /* of a constant: 1 / infinity */
  }
}

/* The mean and scale of group g of all blocks of rows, of which each row of `t` has the moments. */
static void joined_moments(struct tensor t, int64_t g, int64_t groups, float eps, double *mean, double *scale) {
  double rows = 0, sum = 0, variance = 0;
  for (int64_t i = 0; i < t.rows; i++) {
    rows += tensor_at(t, i, 0);
    sum += (double)tensor_at(t, i, 0) * tensor_at(t, i, 1 + g);
  }
  *mean = sum / rows;
  for (int64_t i = 0; i < t.rows; i++) {
    double off = tensor_at(t, i, 1 + g) - *mean;
    variance += tensor_at(t, i, 0) * (tensor_at(t, i, 1 + groups + g) + off * off);
  }
  *scale = 1 / sqrt(variance / rows + eps);
}

void ref_group_norm_relu(struct device *dev, struct tensor y, struct tensor x, int groups, const struct norm *norm,
                         const struct tensor *given) {
  (void)dev;
  int64_t width = x.cols / groups;
  for (int64_t g = 0; g < groups; g++) {
    double mean, scale;
    if (given)
      joined_moments(*given, g, groups, norm->eps, &mean, &scale);
    else
      moments(x, g * width, width, 0, x.rows, norm->eps, &mean, &scale);
    for (int64_t r = 0; r < x.rows; r++) {
      for (int64_t c = g * width; c < (g + 1) * width; c++) {
        float v = (float)((tensor_at(x, r, c) - mean) * scale) * norm->gain[c] + norm->bias[c];
        tensor_row(y, r)[c] = activate(v, ACT_RELU);
      }
    }
  }
}

void ref_copy(struct device *dev, struct tensor y, struct tensor x) {
  (void)dev;
  for (int64_t r = 0; r < y.rows; r++)
    memcpy(tensor_row(y, r), tensor_row(x, r), (size_t)y.cols * sizeof(float));
}

void ref_clear(struct device *dev, struct tensor y) {
  (void)dev;
  for (int64_t r = 0; r < y.rows; r++)
    memset(tensor_row(y, r), 0, (size_t)y.cols * sizeof(float));
}

void ref_add(struct device *dev, struct tensor y, struct tensor a, struct tensor b) {
  (void)dev;
  for (int64_t r = 0; r < y.rows; r++)
    for (int64_t c = 0; c < y.cols; c++)
      tensor_row(y, r)[c] = tensor_at(a, r, c) + tensor_at(b, b.rows == 1 ? 0 : r, c);
}

void ref_gather_rows(struct device *dev, struct tensor y, struct tensor x, const int32_t *index, const float *fill) {
  (void)dev;
  for (int64_t r = 0; r < y.rows; r++)
    for (int64_t c = 0; c < y.cols; c++)
      tensor_row(y, r)[c] = index[r] >= 0 ? tensor_at(x, index[r], c) : fill ? fill[c] : 0;
}

void ref_mean_rows(struct device *dev, struct tensor y, struct tensor x) {
  (void)dev;
  for (int64_t c = 0; c < x.cols; c++) {
    double sum = 0;
    for (int64_t r = 0; r < x.rows; r++)
      sum += tensor_at(x, r, c);
    tensor_row(y, 0)[c] = (float)(sum / (double)x.rows);
  }
}
