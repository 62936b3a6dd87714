#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "files.h"

#define ONE "\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}"

/* Two tensors and metadata; data are the bytes 0, 1, 2 ... */
static struct bytes sample(void) {
  struct bytes bytes = safetensors("{\"__metadata__\":{\"format\":\"pt\"},"
                                   "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[24,28]},"
                                   "\"none\":{\"dtype\":\"F16\",\"shape\":[3,0],\"data_offsets\":[28,28]},"
                                   "\"scalar\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[28,30]},"
                                   "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[30,38]}," ONE "}",
                                   38);
  for (size_t i = 0; i < 38; i++)
    bytes.data[bytes.size - 38 + i] = (unsigned char)i;
  return bytes;
}

static void reads_tensors_in_place(void **state) {
  (void)state;
  struct weights *w = open_bytes(sample());
  struct sam3_error err;
  struct tensor_view view;
  unsigned char expected[38];
  for (int i = 0; i < 38; i++)
    expected[i] = (unsigned char)i;
  assert_string_equal(weights_format(w), "safetensors");
  assert_null(weights_directory(w));
  assert_int_equal(weights_count(w), 5);

  assert_int_equal(weights_get(w, "a", 2, (int64_t[]){2, 3}, &view, &err), SAM3_OK);
  assert_int_equal(view.dtype, SAM3_F32);
  assert_int_equal(view.rank, 2);
  assert_int_equal(view.dims[0], 2);
  assert_int_equal(view.dims[1], 3);
  assert_int_equal((uintptr_t)view.data % 4, 0);
  assert_memory_equal(view.data, expected, 24);
  assert_int_equal(weights_get(w, "b", 1, (int64_t[]){2}, &view, &err), SAM3_OK);
  assert_int_equal(view.dtype, SAM3_BF16);
  assert_memory_equal(view.data, expected + 24, 4);
  assert_int_equal(weights_used_bytes(w), 28);
  assert_int_equal(weights_get(w, "a", 2, (int64_t[]){2, 3}, &view, &err), SAM3_OK);
  assert_int_equal(weights_used_bytes(w), 28);
  assert_int_equal(weights_get(w, "none", 2, (int64_t[]){3, 0}, &view, &err), SAM3_OK);
  assert_int_equal(weights_get(w, "scalar", 0, NULL, &view, &err), SAM3_OK);
  assert_int_equal(view.dtype, SAM3_F16);
  assert_memory_equal(view.data, expected + 28, 2);

  int rank = -1;
  int64_t dims[TENSOR_MAX_RANK] = {0};
  assert_int_equal(weights_shape(w, "a", &rank, dims, &err), SAM3_OK);
  assert_int_equal(rank, 2);
  assert_int_equal(dims[1], 3);
  struct tensor_info info = weights_info(w, 0);
  assert_string_equal(info.name, "a");
  assert_string_equal(info.dtype, "F32");
  assert_int_equal(info.bytes, 24);
  assert_true(info.used);
  assert_false(weights_info(w, 2).used);
  weights_close(w);
}

/* The header's length decides where data begin: every remainder must do, and what is aligned is not copied. */
static void copies_what_is_not_aligned(void **state) {
  (void)state;
  for (size_t pad = 0; pad < 4; pad++) {
    char header[200];
    struct tensor_view view, again;
    snprintf(header, sizeof header, "{" ONE "}%*s", (int)pad, "");
    struct bytes bytes = safetensors(header, 24);
    for (int i = 0; i < 6; i++)
      memcpy(bytes.data + bytes.size - 24 + 4 * i, &(float){i + 0.5f}, 4);
    struct weights *w = open_bytes(bytes);
    assert_int_equal(weights_get(w, "a", 2, (int64_t[]){2, 3}, &view, NULL), SAM3_OK);
    assert_int_equal((uintptr_t)view.data % 4, 0);
    for (int i = 0; i < 6; i++)
      assert_true(((const float *)view.data)[i] == i + 0.5f);
    assert_int_equal(weights_get(w, "a", 2, (int64_t[]){2, 3}, &again, NULL), SAM3_OK);
    assert_ptr_equal(view.data, again.data);
    weights_close(w);
  }
}

static void expect_get(struct weights *w, const char *name, int rank, const int64_t *dims, sam3_status status,
                       const char *message) {
  struct sam3_error err = {0};
  struct tensor_view view;
  sam3_status got = weights_get(w, name, rank, dims, &view, &err);
  if (got != status || !strstr(err.message, message) ||
      (status != SAM3_ERR_ARGUMENT && !strstr(err.message, in_directory("good"))))
    fail_msg("%s: expected %s with '%s'; got %s: %s", name, sam3_status_name(status), message, sam3_status_name(got),
             err.message);
  assert_null(view.data);
}

static void names_what_does_not_fit(void **state) {
  (void)state;
  struct weights *w = open_bytes(sample());
  expect_get(w, "a", 2, (int64_t[]){3, 2}, SAM3_ERR_FORMAT,
             "tensor 'a' has shape [2, 3]; the configuration expects [3, 2]");
  expect_get(w, "a", 1, (int64_t[]){6}, SAM3_ERR_FORMAT, "expects [6]");
  expect_get(w, "scalar", 1, (int64_t[]){1}, SAM3_ERR_FORMAT, "has shape []");
  expect_get(w, "c", 1, (int64_t[]){6}, SAM3_ERR_FORMAT, "tensor 'c' is missing");
  expect_get(w, "i", 1, (int64_t[]){1}, SAM3_ERR_UNSUPPORTED, "'i' has dtype I64");
  expect_get(w, "a", 5, (int64_t[]){1, 1, 1, 1, 1}, SAM3_ERR_ARGUMENT, "rank 5");
  expect_get(w, "a", -1, NULL, SAM3_ERR_ARGUMENT, "rank -1");
  char longest[400];
  memset(longest, 'x', sizeof longest);
  longest[399] = '\0';
  expect_get(w, longest, 1, (int64_t[]){6}, SAM3_ERR_FORMAT, "is missing");
  int rank;
  int64_t dims[TENSOR_MAX_RANK];
  assert_int_equal(weights_shape(w, "c", &rank, dims, NULL), SAM3_ERR_FORMAT);
  assert_int_equal(weights_used_bytes(w), 0);
  weights_close(w);
}

/* --------------------------------------------------------------------------------- bad headers */

#define T(rest) "{\"a\":{" rest "}}"
#define F32 "\"dtype\":\"F32\","
#define OFF24 ",\"data_offsets\":[0,24]"

static const struct {
  const char *header;
  size_t data;
  sam3_status status;
  const char *message;
} bad_headers[] = {
    {"{" ONE "," ONE "}", 24, SAM3_ERR_FORMAT, "duplicate object key"},
    {"{" ONE "}x", 24, SAM3_ERR_FORMAT, "end of file expected"},
    {"{" ONE, 24, SAM3_ERR_FORMAT, "not JSON"},
    {"{\"a\":NaN}", 0, SAM3_ERR_FORMAT, "not JSON"},
    {"{\"a\\u0000b\":{}}", 0, SAM3_ERR_FORMAT, "not JSON"},
    {"{\"a\xff\":{}}", 0, SAM3_ERR_FORMAT, "not JSON"},
    {"{\"a\":3}", 0, SAM3_ERR_FORMAT, "tensor 'a' lacks"},
    {"{\"a\":[]}", 0, SAM3_ERR_FORMAT, "tensor 'a' lacks"},
    {T("\"dtype\":4,\"shape\":[2,3]" OFF24), 24, SAM3_ERR_FORMAT, "lacks"},
    {T("\"dtype\":\"F31\",\"shape\":[2,3]" OFF24), 24, SAM3_ERR_UNSUPPORTED, "dtype 'F31'"},
    {T(F32 "\"shape\":6" OFF24), 24, SAM3_ERR_FORMAT, "lacks"},
    {T(F32 "\"shape\":{}" OFF24), 24, SAM3_ERR_FORMAT, "lacks"},
    {T(F32 "\"shape\":[2,3]"), 24, SAM3_ERR_FORMAT, "lacks"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[24]"), 24, SAM3_ERR_FORMAT, "lacks"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[0,24,0]"), 24, SAM3_ERR_FORMAT, "lacks"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[0,24.0]"), 24, SAM3_ERR_FORMAT, "outside"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[\"0\",24]"), 24, SAM3_ERR_FORMAT, "outside"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[-24,0]"), 24, SAM3_ERR_FORMAT, "outside"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[24,0]"), 24, SAM3_ERR_FORMAT, "outside"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[4,28]"), 24, SAM3_ERR_FORMAT, "outside"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[4,28]"), 28, SAM3_ERR_FORMAT, "hole"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[0,9223372036854775807]"), 24, SAM3_ERR_FORMAT, "outside"},
    {T(F32 "\"shape\":[2,3],\"data_offsets\":[0,99999999999999999999]"), 24, SAM3_ERR_FORMAT, "too big"},
    {T(F32 "\"shape\":[2,4]" OFF24), 24, SAM3_ERR_FORMAT, "24 bytes of data; its shape needs 32"},
    {T("\"dtype\":\"F16\",\"shape\":[2,3]" OFF24), 24, SAM3_ERR_FORMAT, "its shape needs 12"},
    {T(F32 "\"shape\":[-2,-3]" OFF24), 24, SAM3_ERR_FORMAT, "impossible shape"},
    {T(F32 "\"shape\":[2.0,3]" OFF24), 24, SAM3_ERR_FORMAT, "impossible shape"},
    {T(F32 "\"shape\":[null,3]" OFF24), 24, SAM3_ERR_FORMAT, "impossible shape"},
    /* 2^62 × 4 bytes wraps to 0; 3 × 2^62 + 6 elements of 4 bytes wrap to 24 */
    {T(F32 "\"shape\":[4611686018427387904],\"data_offsets\":[0,0]"), 0, SAM3_ERR_FORMAT, "impossible shape"},
    {T(F32 "\"shape\":[2,6917529027641081859]" OFF24), 24, SAM3_ERR_FORMAT, "impossible shape"},
    {T(F32 "\"shape\":[4294967296,4294967296,0],\"data_offsets\":[0,0]"), 0, SAM3_ERR_FORMAT, "impossible shape"},
    {T(F32 "\"shape\":[1,1,1,1,1,1,1,1,6]" OFF24), 24, SAM3_ERR_LIMIT, "9 dimensions"},
    {"{" ONE "}", 25, SAM3_ERR_FORMAT, "1 bytes behind the last tensor"},
    {"{" ONE "}", 23, SAM3_ERR_FORMAT, "truncated"},
    {"{}", 5, SAM3_ERR_FORMAT, "5 bytes behind"},
    {"{" ONE ",\"b\":{" F32 "\"shape\":[2],\"data_offsets\":[20,28]}}", 28, SAM3_ERR_FORMAT, "'b' overlaps"},
    {"{" ONE ",\"b\":{" F32 "\"shape\":[6],\"data_offsets\":[0,24]}}", 24, SAM3_ERR_FORMAT, "overlaps"},
    {"{" ONE ",\"b\":{" F32 "\"shape\":[0],\"data_offsets\":[12,12]}}", 24, SAM3_ERR_FORMAT, "overlaps"},
    {"{" ONE ",\"b\":{" F32 "\"shape\":[1],\"data_offsets\":[28,32]}}", 32, SAM3_ERR_FORMAT, "'b' has a hole"},
    {"{\"__metadata__\":{\"a\":1}}", 0, SAM3_ERR_FORMAT, "__metadata__ 'a' is not a string"},
    {"{\"__metadata__\":\"a\"}", 0, SAM3_ERR_FORMAT, "__metadata__ is not"},
    {"{\"\":{" F32 "\"shape\":[0],\"data_offsets\":[0,0]}}", 0, SAM3_ERR_FORMAT, "unprintable name"},
    {"{\"\\u001b[2J\":{" F32 "\"shape\":[0],\"data_offsets\":[0,0]}}", 0, SAM3_ERR_FORMAT, "'?[2J'"},
};

static void refuses_bad_headers(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bad_headers / sizeof *bad_headers; i++)
    expect_bad(safetensors(bad_headers[i].header, bad_headers[i].data), bad_headers[i].status, bad_headers[i].message);
}

static void refuses_deep_and_long_headers(void **state) {
  (void)state;
  struct bytes header = {0};
  put(&header, "{\"a\":", 5);
  for (int i = 0; i < 100000; i++)
    put(&header, "[", 1);
  put(&header, "", 1);
  expect_bad(safetensors((char *)header.data, 0), SAM3_ERR_FORMAT, "depth");
  bytes_free(&header);

  put(&header, "{\"", 2);
  for (int i = 0; i < 241; i++)
    put(&header, "n", 1);
  static const char rest[] = "\":{" F32 "\"shape\":[0],\"data_offsets\":[0,0]}}";
  put(&header, rest, sizeof rest);
  expect_bad(safetensors((char *)header.data, 0), SAM3_ERR_FORMAT, "overlong");
  bytes_free(&header);

  struct bytes bytes = {0}; /* a header that is larger than any real one: refused before it is parsed */
  put_number(&bytes, (4 << 20) + 1, 8);
  put(&bytes, "{", 1);
  bytes.data = realloc(bytes.data, bytes.capacity = (4 << 20) + 100);
  memset(bytes.data + 9, ' ', (4 << 20) + 91);
  bytes.size = (4 << 20) + 100;
  expect_bad(bytes, SAM3_ERR_LIMIT, "a header of 4194305 bytes");

  bytes = safetensors("{}", 0);
  memset(bytes.data, 0xff, 8);
  expect_bad(bytes, SAM3_ERR_FORMAT, "shorter than its header says");
}

/* No shorter file may open, whatever byte it ends at. */
static void refuses_every_truncation(void **state) {
  (void)state;
  struct bytes whole = sample();
  for (size_t size = 0; size < whole.size; size++) {
    struct weights *w;
    struct sam3_error err = {0};
    write_file("cut", whole.data, size);
    assert_int_equal(weights_open(in_directory("cut"), &w, &err), SAM3_ERR_FORMAT);
    assert_non_null(strstr(err.message, in_directory("cut")));
    assert_null(w);
  }
  bytes_free(&whole);
}

static void refuses_what_is_no_checkpoint(void **state) {
  (void)state;
  static const char lfs[] = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n";
  expect_failure(in_directory("nowhere"), SAM3_ERR_IO, "cannot open", "nowhere");
  expect_failure("/dev/zero", SAM3_ERR_IO, "not a regular file", NULL);
  expect_bad((struct bytes){0}, SAM3_ERR_FORMAT, "empty");
  struct bytes bytes = {0};
  put(&bytes, lfs, sizeof lfs - 1);
  expect_bad(bytes, SAM3_ERR_FORMAT, "Git LFS pointer");
  bytes = (struct bytes){0};
  put(&bytes, "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.", 16);
  expect_bad(bytes, SAM3_ERR_UNSUPPORTED, "PyTorch before 1.6");
  bytes = (struct bytes){0};
  put(&bytes, "GGUF and so on", 14);
  expect_bad(bytes, SAM3_ERR_FORMAT, "neither safetensors nor");
}

/* ----------------------------------------------------------------------------------- sharding */

static const char shard_a[] = "{" ONE "}";
static const char shard_b[] = "{\"b\":{" F32 "\"shape\":[1],\"data_offsets\":[0,4]}}";

static void write_shard(const char *name, const char *header, size_t data) {
  struct bytes bytes = safetensors(header, data);
  write_file(name, bytes.data, bytes.size);
  bytes_free(&bytes);
}

static void write_index(const char *weight_map) {
  char text[400];
  int n = snprintf(text, sizeof text, "{\"metadata\":{\"total_size\":28},\"weight_map\":%s}", weight_map);
  write_file("model.safetensors.index.json", text, (size_t)n);
}

static void reads_shards(void **state) {
  (void)state;
  struct tensor_view view;
  write_shard("s1.safetensors", shard_a, 24);
  write_shard("s2.safetensors", shard_b, 4);
  write_index("{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}");
  struct weights *w = open_path(in_directory(""));
  assert_string_equal(weights_directory(w), in_directory(""));
  assert_string_equal(weights_format(w), "safetensors");
  assert_int_equal(weights_count(w), 2);
  assert_int_equal(weights_get(w, "a", 2, (int64_t[]){2, 3}, &view, NULL), SAM3_OK);
  assert_int_equal(weights_get(w, "b", 1, (int64_t[]){1}, &view, NULL), SAM3_OK);
  struct sam3_error err;
  assert_int_equal(weights_get(w, "b", 1, (int64_t[]){2}, &view, &err), SAM3_ERR_FORMAT);
  assert_non_null(strstr(err.message, in_directory("s2.safetensors")));
  assert_int_equal(weights_get(w, "c", 1, (int64_t[]){2}, &view, &err), SAM3_ERR_FORMAT);
  assert_non_null(strstr(err.message, in_directory("")));
  weights_close(w);
}

static void refuses_bad_shards(void **state) {
  (void)state;
  static const struct {
    const char *map;
    sam3_status status;
    const char *message;
  } cases[] = {
      {"{\"a\":\"s1.safetensors\",\"b\":\"s3.safetensors\"}", SAM3_ERR_IO, "s3.safetensors: cannot open"},
      {"{\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\"}", SAM3_ERR_FORMAT, "tensor 'b' is not in s1.safetensors"},
      {"{\"a\":\"s2.safetensors\",\"b\":\"s1.safetensors\"}", SAM3_ERR_FORMAT, "is not in"},
      {"{\"a\":\"s1.safetensors\",\"x\":\"s2.safetensors\"}", SAM3_ERR_FORMAT, "tensor 'x' is not in s2.safetensors"},
      {"{\"a\":\"../s1.safetensors\"}", SAM3_ERR_FORMAT, "beside the index, not '../s1.safetensors'"},
      {"{\"a\":\"/etc/passwd\"}", SAM3_ERR_FORMAT, "beside the index"},
      {"{\"a\":\"..\"}", SAM3_ERR_FORMAT, "beside the index"},
      {"{\"a\":\"\"}", SAM3_ERR_FORMAT, "beside the index"},
      {"{\"a\":\"s1\\n.safetensors\"}", SAM3_ERR_FORMAT, "beside the index"},
      {"{\"a\":5}", SAM3_ERR_FORMAT, "beside the index"},
      {"{}", SAM3_ERR_FORMAT, "no weight_map"},
      {"[\"s1.safetensors\"]", SAM3_ERR_FORMAT, "no weight_map"},
      {"{\"a\":\"s1.safetensors\",\"a\":\"s2.safetensors\"}", SAM3_ERR_FORMAT, "duplicate"},
      {"{\"b\":\"s2.safetensors\",\"a\":\"copy.safetensors\"}", SAM3_ERR_FORMAT, "occurs twice"},
  };
  write_shard("s1.safetensors", shard_a, 24);
  write_shard("s2.safetensors", shard_b, 4);
  write_shard("copy.safetensors", "{" ONE ",\"b\":{" F32 "\"shape\":[1],\"data_offsets\":[24,28]}}", 28);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    write_index(cases[i].map);
    expect_failure(in_directory(""), cases[i].status, cases[i].message, in_directory(""));
  }
  /* a tensor that the index does not know */
  write_shard(
      "s2.safetensors",
      "{\"b\":{" F32 "\"shape\":[1],\"data_offsets\":[0,4]},\"c\":{" F32 "\"shape\":[0],\"data_offsets\":[4,4]}}", 4);
  write_index("{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}");
  expect_failure(in_directory(""), SAM3_ERR_FORMAT, "'c' of s2.safetensors is not in the index", NULL);
  write_shard("s2.safetensors", shard_b, 3);
  expect_failure(in_directory(""), SAM3_ERR_FORMAT, "truncated", in_directory("s2.safetensors"));
  write_file("model.safetensors.index.json", "{", 1);
  expect_failure(in_directory(""), SAM3_ERR_FORMAT, "not JSON", "index.json");
  remove_file("model.safetensors.index.json");
  expect_failure(in_directory(""), SAM3_ERR_IO, "neither model.safetensors nor", in_directory(""));
}

static void prefers_the_single_file(void **state) {
  (void)state;
  write_index("{\"a\":\"missing.safetensors\"}");
  write_shard("model.safetensors", shard_b, 4);
  struct weights *w = open_path(in_directory(""));
  assert_int_equal(weights_count(w), 1);
  weights_close(w);
  remove_file("model.safetensors");
  remove_file("model.safetensors.index.json");
}

/* -------------------------------------------------------------------------------------- memory */

/* Lets one allocation after the other fail until opening and fetching succeed. */
static void fails_cleanly_without_memory(const char *path) {
  sam3_status status = SAM3_ERR_MEMORY;
  size_t n = 0;
  while (status == SAM3_ERR_MEMORY) {
    struct weights *w = (struct weights *)1;
    struct sam3_error err = {0};
    struct tensor_view view;
    mem_fail_at(++n, false);
    status = weights_open(path, &w, &err);
    if (status == SAM3_OK)
      status = weights_get(w, "a", 2, (int64_t[]){2, 3}, &view, &err);
    mem_fail_at(0, false);
    if (status != SAM3_OK) {
      if (status != SAM3_ERR_MEMORY)
        fail_msg("allocation %zu: %s: %s", n, sam3_status_name(status), err.message);
      assert_int_equal(err.status, SAM3_ERR_MEMORY);
    }
    weights_close(status == SAM3_OK || w ? w : NULL);
    assert_true(n < 10000);
  }
  assert_int_equal(status, SAM3_OK);
  assert_true(n > 5);
}

static void survives_failing_allocations(void **state) {
  (void)state;
  char header[200]; /* its length makes the data unaligned: the tensor is copied */
  int n = snprintf(header, sizeof header, "{" ONE "}");
  snprintf(header + n, sizeof header - (size_t)n, "%*s", n % 2 ? 2 : 1, "");
  struct bytes bytes = safetensors(header, 24);
  assert_int_equal(bytes.size % 2, 1);
  write_file("good", bytes.data, bytes.size);
  bytes_free(&bytes);
  fails_cleanly_without_memory(in_directory("good"));
  write_shard("s1.safetensors", shard_a, 24);
  write_shard("s2.safetensors", shard_b, 4);
  write_index("{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}");
  fails_cleanly_without_memory(in_directory(""));
}

static int set_up(void **state) {
  (void)state;
  make_directory();
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  remove_directory();
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(reads_tensors_in_place),
      cmocka_unit_test(copies_what_is_not_aligned),
      cmocka_unit_test(names_what_does_not_fit),
      cmocka_unit_test(refuses_bad_headers),
      cmocka_unit_test(refuses_deep_and_long_headers),
      cmocka_unit_test(refuses_every_truncation),
      cmocka_unit_test(refuses_what_is_no_checkpoint),
      cmocka_unit_test(reads_shards),
      cmocka_unit_test(refuses_bad_shards),
      cmocka_unit_test(prefers_the_single_file),
      cmocka_unit_test(survives_failing_allocations),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
