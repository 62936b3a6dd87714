#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "files.h"

/* ------------------------------------------------------------------- what torch itself has saved */

static void expect_floats(struct weights *w, const char *name, int rank, const int64_t *dims, int n,
                          const float *values) {
  struct tensor_view view;
  struct sam3_error err;
  if (weights_get(w, name, rank, dims, &view, &err) != SAM3_OK)
    fail_msg("%s", err.message);
  assert_int_equal(view.dtype, SAM3_F32);
  assert_memory_equal(view.data, values, (size_t)n * sizeof *values);
}

static void expect_refused(struct weights *w, const char *name, int rank, const int64_t *dims, const char *message) {
  struct tensor_view view;
  struct sam3_error err = {0};
  assert_int_equal(weights_get(w, name, rank, dims, &view, &err), SAM3_ERR_UNSUPPORTED);
  if (!strstr(err.message, message) || !strstr(err.message, name))
    fail_msg("expected '%s', got: %s", message, err.message);
}

/* features.pt and features4.pt of tools/make_weights_fixtures.py. */
static void reads_what_a_state_dict_may_hold(void **state) {
  (void)state;
  static const char *const fixtures[] = {"features.pt", "features4.pt"};
  for (int i = 0; i < 2; i++) {
    struct weights *w = open_path(fixture_path(fixtures[i]));
    struct tensor_view view, base;
    assert_int_equal(weights_count(w), 15);
    assert_string_equal(weights_format(w), "pytorch");
    expect_floats(w, "view", 2, (int64_t[]){2, 3}, 6, (float[]){4, 5, 6, 7, 8, 9});
    expect_floats(w, "row", 2, (int64_t[]){1, 8}, 8, (float[]){8, 9, 10, 11, 12, 13, 14, 15});
    expect_floats(w, "parameter", 1, (int64_t[]){2}, 2, (float[]){1.5f, -2});
    expect_floats(w, "scalar", 0, NULL, 1, (float[]){7});
    expect_refused(w, "transposed", 2, (int64_t[]){3, 2}, "not contiguous");
    expect_refused(w, "step", 1, (int64_t[]){12}, "not contiguous");
    expect_refused(w, "double", 1, (int64_t[]){1}, "dtype F64");
    expect_refused(w, "long", 1, (int64_t[]){1}, "dtype I64");
    expect_refused(w, "complex", 1, (int64_t[]){1}, "dtype C64");
    expect_refused(w, "flag", 1, (int64_t[]){1}, "dtype BOOL");
    assert_int_equal(weights_get(w, "empty", 2, (int64_t[]){0, 4}, &view, NULL), SAM3_OK);
    assert_int_equal(weights_get(w, "big", 2, (int64_t[]){1, 300}, &view, NULL), SAM3_OK);
    assert_int_equal(weights_get(w, "half", 1, (int64_t[]){2}, &view, NULL), SAM3_OK);
    assert_int_equal(view.dtype, SAM3_F16);
    assert_memory_equal(view.data, "\000\074\000\070", 4);
    assert_int_equal(weights_get(w, "bfloat", 1, (int64_t[]){2}, &view, NULL), SAM3_OK);
    assert_int_equal(view.dtype, SAM3_BF16);
    assert_memory_equal(view.data, "\200\077\100\100", 4);
    assert_int_equal(weights_get(w, "base", 1, (int64_t[]){24}, &base, NULL), SAM3_OK);
    assert_int_equal(weights_get(w, "view", 2, (int64_t[]){2, 3}, &view, NULL), SAM3_OK);
    assert_ptr_equal(view.data, (const float *)base.data + 4); /* one storage, in place */
    weights_close(w);
  }
}

/* ------------------------------------------------------------------------------------- pickles */

#define STR(length, text) "X" length "\0\0\0" text
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n"
#define FLOATS "ctorch\nFloatStorage\n"
#define ID "(" STR("\7", "storage") FLOATS STR("\1", "0") STR("\3", "cpu") "K\20tQ"
#define TENSOR REBUILD "(" ID "K\0K\4\205K\1\205\211ccollections\nOrderedDict\n)RtR"
#define W STR("\1", "w")

#define PLAIN "\200\2}" W TENSOR "s."

#define PICKLE(text)                                                                                                   \
  { "" text, sizeof(text) - 1 }

static const struct pickle {
  const char *bytes;
  size_t size;
} good_pickles[] = {
    PICKLE(PLAIN),
    PICKLE("}" W TENSOR "s."),                                /* no protocol */
    PICKLE("\200\5\225\0\0\0\0\0\0\0\0}\214\1w" TENSOR "s."), /* frame, short string */
    PICKLE("}\215\1\0\0\0\0\0\0\0w" TENSOR "s."),             /* long string */
    PICKLE("}(" W TENSOR "u."),                               /* items to a mark */
    PICKLE("}" STR("\5", "model") "}" W TENSOR "ss."),        /* {"model": ...} */
    PICKLE("}" STR("\5", "model") "}" W TENSOR "s"
                                  "sK\0K\1s."),                              /* and another value beside it */
    PICKLE("ccollections\nOrderedDict\n)R" W TENSOR "s}b."),                 /* OrderedDict with attributes */
    PICKLE("\214\13collections\214\13OrderedDict\223)R" W TENSOR "s."),      /* a global from the stack */
    PICKLE("}" W "ctorch._utils\n_rebuild_parameter\n(" TENSOR "\210}tRs."), /* nn.Parameter */
};

static void reads_small_pickles(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof good_pickles / sizeof *good_pickles; i++) {
    struct tensor_view view;
    struct weights *w = open_bytes(torch_of(good_pickles[i].bytes, good_pickles[i].size));
    assert_int_equal(weights_count(w), 1);
    assert_int_equal(weights_get(w, "w", 1, (int64_t[]){4}, &view, NULL), SAM3_OK);
    weights_close(w);
  }
}

static const struct {
  struct pickle pickle;
  sam3_status status;
  const char *message;
} bad_pickles[] = {
    {PICKLE("cos\nsystem\n(X\5\0\0\0rm -rtR."), SAM3_ERR_UNSUPPORTED, "asks for os.system"},
    {PICKLE("cposix\nsystem\n."), SAM3_ERR_UNSUPPORTED, "asks for posix.system"},
    {PICKLE("\214\10builtins\214\4eval\223."), SAM3_ERR_UNSUPPORTED, "asks for builtins.eval"},
    {PICKLE("ctorch\nload\n."), SAM3_ERR_UNSUPPORTED, "asks for torch.load"},
    {PICKLE("ctorch\nFloatStorag\n."), SAM3_ERR_UNSUPPORTED, "asks for torch.FloatStorag,"},
    {PICKLE("cos\nFloatStorage\n."), SAM3_ERR_UNSUPPORTED, "asks for os.FloatStorage"},
    {PICKLE("c\33[2J\nx\n."), SAM3_ERR_UNSUPPORTED, "asks for ?[2J.x"},
    {PICKLE("ctorch.storage\nUntypedStorage\n."), SAM3_ERR_UNSUPPORTED, "torch.storage.UntypedStorage"},
    {PICKLE("(i__main__\nX\n."), SAM3_ERR_UNSUPPORTED, "opcode 0x69 at byte 1"},
    {PICKLE("(cos\nsystem\no."), SAM3_ERR_UNSUPPORTED, "os.system"},
    {PICKLE("}}\201."), SAM3_ERR_UNSUPPORTED, "opcode 0x81 at byte 2"},
    {PICKLE("\202\1."), SAM3_ERR_UNSUPPORTED, "opcode 0x82"},
    {PICKLE("Pabc\n."), SAM3_ERR_UNSUPPORTED, "opcode 0x50"},
    {PICKLE("\0."), SAM3_ERR_UNSUPPORTED, "opcode 0x00"},
    {PICKLE("\200\6}."), SAM3_ERR_UNSUPPORTED, "protocol 6"},
    {PICKLE("\212\11\1\1\1\1\1\1\1\1\1."), SAM3_ERR_LIMIT, "integer of 9 bytes"},
    {PICKLE("."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("(."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("}"), SAM3_ERR_FORMAT, "the end comes too early"},
    {PICKLE("}.}"), SAM3_ERR_FORMAT, "something left over"},
    {PICKLE("}}."), SAM3_ERR_FORMAT, "something left over"},
    {PICKLE("K\1."), SAM3_ERR_FORMAT, "not a dict"},
    {PICKLE("]."), SAM3_ERR_FORMAT, "not a dict"},
    {PICKLE("}."), SAM3_ERR_FORMAT, "no tensors"},
    {PICKLE("}" STR("\5", "model") "}s."), SAM3_ERR_FORMAT, "no tensors"},
    {PICKLE("t."), SAM3_ERR_FORMAT, "mark is missing"},
    {PICKLE("u."), SAM3_ERR_FORMAT, "mark is missing"},
    {PICKLE("(u."), SAM3_ERR_FORMAT, "cannot have them"},
    {PICKLE("](K\1u."), SAM3_ERR_FORMAT, "cannot have them"},
    {PICKLE("}(K\1e."), SAM3_ERR_FORMAT, "cannot have them"},
    {PICKLE("}(K\1u."), SAM3_ERR_FORMAT, "cannot have them"},
    {PICKLE("}(s."), SAM3_ERR_FORMAT, "cannot have them"},
    {PICKLE("}K\1(s."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("](a."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("K\1s."), SAM3_ERR_FORMAT, "cannot have them"},
    {PICKLE("a."), SAM3_ERR_FORMAT, "cannot have them"},
    {PICKLE("\205."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("K\1\206."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("K\1(\206."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("R."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE(")R."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("K\1)R."), SAM3_ERR_FORMAT, "a call that we do not know"},
    {PICKLE("ccollections\nOrderedDict\nK\1R."), SAM3_ERR_FORMAT, "a call without arguments"},
    {PICKLE("ccollections\nOrderedDict\nK\1\205R."), SAM3_ERR_FORMAT, "a call that we do not know"},
    {PICKLE(FLOATS ")R."), SAM3_ERR_FORMAT, "a call that we do not know"},
    {PICKLE(REBUILD ")R."), SAM3_ERR_FORMAT, "a call that we do not know"},
    {PICKLE("ctorch._utils\n_rebuild_parameter\nK\1\205R."), SAM3_ERR_FORMAT, "a call that we do not know"},
    {PICKLE("K\1}b."), SAM3_ERR_FORMAT, "attributes for something"},
    {PICKLE("b."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("K\1Q."), SAM3_ERR_FORMAT, "persistent id that is no tuple"},
    {PICKLE("K\1K\2\223."), SAM3_ERR_FORMAT, "a global without a name"},
    {PICKLE("h\0."), SAM3_ERR_FORMAT, "memo number that was never given"},
    {PICKLE("}q\1."), SAM3_ERR_FORMAT, "memo number out of turn"},
    {PICKLE("}r\377\377\377\377."), SAM3_ERR_FORMAT, "memo number out of turn"},
    {PICKLE("}j\377\377\377\377."), SAM3_ERR_FORMAT, "never given"},
    {PICKLE("q\0."), SAM3_ERR_FORMAT, "a value is missing"},
    {PICKLE("X\377\377\377\377a."), SAM3_ERR_FORMAT, "the end comes too early"},
    {PICKLE("\215\377\377\377\377\377\377\377\377a."), SAM3_ERR_FORMAT, "the end comes too early"},
    {PICKLE("ctorch"), SAM3_ERR_FORMAT, "the end comes too early"},
    {PICKLE("}q\0" W TENSOR "sh\0."), SAM3_ERR_FORMAT, "something left over"},
    {PICKLE("}K\1" TENSOR "s."), SAM3_ERR_FORMAT, "a tensor without a name"},
    {PICKLE("}" W TENSOR "s" W TENSOR "s."), SAM3_ERR_FORMAT, "'w' occurs twice"},
    {PICKLE("}" W REBUILD "(K\1K\0))tRs."), SAM3_ERR_FORMAT, "'w' has an improper description"},
    {PICKLE("}" W REBUILD "(" ID "K\0K\4)tRs."), SAM3_ERR_FORMAT, "'w' has an improper description"},
    {PICKLE("}" W REBUILD "(" ID "K\0K\4\205)tRs."), SAM3_ERR_FORMAT, "'w' has an improper description"},
    {PICKLE("}" W REBUILD "(" ID "NK\4\205K\1\205tRs."), SAM3_ERR_FORMAT, "'w' has an improper description"},
    {PICKLE("}" W REBUILD "(" ID "K\0N\205K\1\205tRs."), SAM3_ERR_FORMAT, "'w' has an improper description"},
    {PICKLE("}" W REBUILD "()QK\0K\4\205K\1\205tRs."), SAM3_ERR_FORMAT, "'w' has an improper description"},
    {PICKLE("}" W REBUILD "((" STR("\7", "storagf") FLOATS STR("\1", "0") "NK\20tQK\0K\4\205K\1\205tRs."),
     SAM3_ERR_FORMAT, "'w' has an improper description"},
    {PICKLE("}" W REBUILD "((" STR("\7", "storage") "N" STR("\1", "0") "NK\20tQK\0K\4\205K\1\205tRs."), SAM3_ERR_FORMAT,
     "'w' has an improper description"},
    {PICKLE("}" W REBUILD "((" STR("\7", "storage") FLOATS STR("\1", "1") "NK\20tQK\0K\4\205K\1\205tRs."),
     SAM3_ERR_FORMAT, "the data of tensor 'w' is missing"},
    {PICKLE("}" W REBUILD "((" STR("\7", "storage") FLOATS STR("\1", "0") "NK\17tQK\0K\4\205K\1\205tRs."),
     SAM3_ERR_FORMAT, "has 64 bytes instead of 60"},
    {PICKLE("}" W REBUILD
            "((" STR("\7", "storage") "ctorch\nDoubleStorage\n" STR("\1", "0") "NK\20tQK\0K\4\205K\1\205tRs."),
     SAM3_ERR_FORMAT, "has 64 bytes instead of 128"},
    {PICKLE("}" STR("\2", "\n.") TENSOR "s."), SAM3_ERR_FORMAT, "'?.' has an empty, overlong or unprintable name"},
};

static void refuses_bad_pickles(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bad_pickles / sizeof *bad_pickles; i++)
    expect_bad(torch_of(bad_pickles[i].pickle.bytes, bad_pickles[i].pickle.size), bad_pickles[i].status,
               bad_pickles[i].message);
}

/* ------------------------------------------------------------------ numbers that do not add up */

static void put_integers(struct bytes *pickle, const int64_t *numbers, int n) {
  put(pickle, "(", 1);
  for (int i = 0; i < n; i++) {
    put(pickle, "\212\010", 2);
    put_number(pickle, (uint64_t)numbers[i], 8);
  }
  put(pickle, "t", 1);
}

/* A tensor in the 16 floats of storage "0"; the pickle says that the storage has `elements`. */
static struct bytes tensor_of(int64_t elements, int64_t offset, int rank, const int64_t *dims, const int64_t *strides) {
  static const char head[] = "}" W REBUILD "((" STR("\7", "storage") FLOATS STR("\1", "0") "N";
  struct bytes pickle = {0};
  put(&pickle, head, sizeof head - 1);
  put(&pickle, "\212\010", 2);
  put_number(&pickle, (uint64_t)elements, 8);
  put(&pickle, "tQ\212\010", 4);
  put_number(&pickle, (uint64_t)offset, 8);
  put_integers(&pickle, dims, rank);
  put_integers(&pickle, strides, rank);
  put(&pickle, "tRs.", 4);
  struct bytes file = torch_of(pickle.data, pickle.size);
  bytes_free(&pickle);
  return file;
}

static void checks_where_tensors_lie(void **state) {
  (void)state;
  static const struct {
    int64_t elements, offset;
    int rank;
    int64_t dims[9], strides[9];
    const char *message; /* NULL: fine */
  } cases[] = {
      {16, 0, 1, {16}, {1}, NULL},
      {16, 0, 2, {4, 4}, {4, 1}, NULL},
      {16, 15, 0, {0}, {0}, NULL},
      {16, 0, 2, {16, 0}, {99, 99}, NULL},
      {16, 0, 2, {3, 16}, {0, 1}, NULL}, /* expanded: inside, but of no use */
      {16, 13, 8, {1, 1, 1, 2, 1, 1, 1, 2}, {9, 9, 9, 2, 9, 9, 9, 1}, "w' reaches out"},
      {16, 0, 8, {1, 1, 1, 2, 1, 1, 1, 2}, {9, 9, 9, 2, 9, 9, 9, 1}, NULL},
      {16, 1, 1, {16}, {1}, "w' reaches out"},
      {16, 16, 0, {0}, {0}, "w' reaches out"},
      {16, -1, 1, {4}, {1}, "w' reaches out"},
      {16, 0, 2, {2, 2}, {15, 1}, "w' reaches out"},
      {16, 8, 1, {4}, {-1}, "w' reaches out"},
      {16, INT64_MAX, 1, {2}, {1}, "w' reaches out"},
      {16, 0, 1, {3}, {INT64_MAX}, "w' reaches out"},
      {16, 1, 2, {2, 2}, {INT64_MAX, 1}, "w' reaches out"},
      {16, 0, 1, {-4}, {1}, "w' has an impossible shape"},
      {16, 0, 2, {-4, -4}, {1, 1}, "w' has an impossible shape"},
      {16, 0, 1, {INT64_MAX}, {0}, "w' has an impossible shape"},
      {16, 0, 3, {1ll << 31, 1ll << 31, 4}, {0, 0, 0}, "w' has an impossible shape"},
      {-16, 0, 1, {4}, {1}, "w' has an impossible shape"},
      {INT64_MAX, 0, 1, {4}, {1}, "w' has an impossible shape"},
      {17, 0, 1, {4}, {1}, "has 64 bytes instead of 68"},
      {16, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {0}, "improper description"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bytes file = tensor_of(cases[i].elements, cases[i].offset, cases[i].rank, cases[i].dims, cases[i].strides);
    if (cases[i].message)
      expect_bad(file, SAM3_ERR_FORMAT, cases[i].message);
    else
      weights_close(open_bytes(file));
  }
  struct weights *w = open_bytes(tensor_of(16, 0, 2, (int64_t[]){3, 16}, (int64_t[]){0, 1}));
  expect_refused(w, "w", 2, (int64_t[]){3, 16}, "not contiguous");
  weights_close(w);
}

static void repeat(struct bytes *bytes, const char *text, size_t size, size_t n) {
  while (n--)
    put(bytes, text, size);
}

static void limits_what_a_pickle_takes(void **state) {
  (void)state;
  struct bytes pickle = {0};
  repeat(&pickle, "((((((((((((((((", 16, (1 << 16) + 1);
  expect_bad(torch_of(pickle.data, pickle.size), SAM3_ERR_LIMIT, "larger than any state dict");
  bytes_free(&pickle);
  put(&pickle, "]", 1); /* containers that are put into one list */
  repeat(&pickle, "]a]a]a]a]a]a]a]a", 16, (1 << 17) + 1);
  expect_bad(torch_of(pickle.data, pickle.size), SAM3_ERR_LIMIT, "larger than any state dict");
  bytes_free(&pickle);
  put(&pickle, "]", 1);
  repeat(&pickle, "\224\224\224\224\224\224\224\224", 8, (1 << 17) + 1);
  expect_bad(torch_of(pickle.data, pickle.size), SAM3_ERR_LIMIT, "larger than any state dict");
  bytes_free(&pickle);
  put(&pickle, "]q\0", 3); /* a list in itself: nobody walks into it */
  repeat(&pickle, "h\0a", 3, 100000);
  put(&pickle, ".", 1);
  expect_bad(torch_of(pickle.data, pickle.size), SAM3_ERR_FORMAT, "not a dict");
  bytes_free(&pickle);
  repeat(&pickle, "N", 1, (16 << 20) + 1);
  expect_bad(torch_of(pickle.data, pickle.size), SAM3_ERR_LIMIT, "a pickle of 16777217 bytes");
  bytes_free(&pickle);
}

/* ---------------------------------------------------------------------------------------- zip */

#define GOOD_PICKLE PLAIN, sizeof PLAIN - 1
static const unsigned char zeros[64];

static void reads_zip64(void **state) {
  (void)state;
  const struct part parts[] = {{"archive/data.pkl", GOOD_PICKLE, 0, 0}, {"archive/data/0", zeros, 64, 0, 0}};
  struct bytes zip = zip_of(parts, 2, true);
  weights_close(open_bytes(zip));
  for (int comment = 1; comment < 3; comment++) { /* a comment at the end, even one that looks like an end record */
    zip = zip_of(parts, 2, comment == 2);
    zip.data[zip.size - 2] = 22;
    put(&zip, "PK\5\6..................", 22);
    weights_close(open_bytes(zip));
  }
}

static void refuses_every_truncated_archive(void **state) {
  (void)state;
  for (int wide = 0; wide < 2; wide++) {
    const struct part parts[] = {{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"a/data/0", zeros, 64, 0, 0}};
    struct bytes zip = zip_of(parts, 2, wide);
    for (size_t size = 1; size < zip.size; size++) {
      struct weights *w;
      struct sam3_error err;
      write_file("cut", zip.data, size);
      assert_int_equal(weights_open(in_directory("cut"), &w, &err), SAM3_ERR_FORMAT);
      assert_null(w);
    }
    bytes_free(&zip);
  }
}

static void refuses_entries_it_cannot_use(void **state) {
  (void)state;
  static const struct {
    struct part parts[4];
    sam3_status status;
    const char *message;
  } cases[] = {
      {{{"a/data.pkl", GOOD_PICKLE, 8, 0}}, SAM3_ERR_UNSUPPORTED, "'a/data.pkl' is compressed (method 8)"},
      {{{"a/data.pkl", GOOD_PICKLE, 0, 1}}, SAM3_ERR_UNSUPPORTED, "'a/data.pkl' is encrypted"},
      {{{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"b/data.pkl", GOOD_PICKLE, 0, 0}},
       SAM3_ERR_FORMAT,
       "more than one data.pkl"},
      {{{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"a/data.pkl", GOOD_PICKLE, 0, 0}}, SAM3_ERR_FORMAT, "occurs twice"},
      {{{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"b/data/0", zeros, 64, 0, 0}},
       SAM3_ERR_FORMAT,
       "data of tensor 'w' is missing"},
      {{{"data.pkl", GOOD_PICKLE, 0, 0}}, SAM3_ERR_FORMAT, "without data.pkl"},
      {{{"a/b/data.pkl", GOOD_PICKLE, 0, 0}}, SAM3_ERR_FORMAT, "without data.pkl"},
      {{{"word/document.xml", "<x/>", 4, 0, 0}}, SAM3_ERR_FORMAT, "not from torch.save"},
      {{{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"a/byteorder", "big", 3, 0, 0}}, SAM3_ERR_UNSUPPORTED, "byte order 'big'"},
      {{{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"a/byteorder", "", 0, 0, 0}}, SAM3_ERR_UNSUPPORTED, "byte order ''"},
      {{{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"a/data/0", zeros, 63, 0, 0}}, SAM3_ERR_FORMAT, "63 bytes instead of 64"},
      {{{"a/data.pkl", "", 0, 0, 0}}, SAM3_ERR_FORMAT, "the end comes too early"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    size_t n = 0;
    while (n < 4 && cases[i].parts[n].name)
      n++;
    expect_bad(zip_of(cases[i].parts, n, i % 2), cases[i].status, cases[i].message);
  }
}

/* Where `text` lies, the `nth` time (0: the first). */
static unsigned char *find_bytes(const struct bytes *bytes, const char *text, size_t size, int nth) {
  for (size_t i = 0; i + size <= bytes->size; i++)
    if (!memcmp(bytes->data + i, text, size) && !nth--)
      return bytes->data + i;
  fail_msg("not in the file");
  return NULL;
}

static void refuses_headers_that_lie(void **state) {
  (void)state;
  static const struct {
    const char *at; /* a signature */
    int nth, offset, value;
    bool wide;
    const char *message;
    sam3_status status;
  } cases[] = {
      {"PK\5\6", 0, 4, 1, false, "in several parts", SAM3_ERR_UNSUPPORTED},
      {"PK\5\6", 0, 6, 1, false, "in several parts", SAM3_ERR_UNSUPPORTED},
      {"PK\5\6", 0, 8, 1, false, "in several parts", SAM3_ERR_UNSUPPORTED},
      {"PK\5\6", 0, 12, 1, false, "too short for its entries", SAM3_ERR_FORMAT},
      {"PK\5\6", 0, 16, 0, false, "no record where", SAM3_ERR_FORMAT},
      {"PK\5\6", 0, 19, 1, false, "outside the file", SAM3_ERR_FORMAT},
      {"PK\5\6", 0, 15, 1, false, "outside the file", SAM3_ERR_FORMAT},
      {"PK\1\2", 0, 1, 0, false, "no record where", SAM3_ERR_FORMAT},
      {"PK\1\2", 1, 1, 0, false, "no record where", SAM3_ERR_FORMAT},
      {"PK\1\2", 1, 29, 1, false, "runs over the end", SAM3_ERR_FORMAT},
      {"PK\1\2", 1, 33, 1, false, "runs over the end", SAM3_ERR_FORMAT},
      {"PK\1\2", 0, 20, 1, false, "two headers disagree", SAM3_ERR_FORMAT},
      {"PK\1\2", 0, 46, 'b', false, "two headers disagree", SAM3_ERR_FORMAT},
      {"PK\1\2", 0, 27, 1, false, "lies outside the file", SAM3_ERR_FORMAT},
      {"PK\1\2", 0, 45, 1, false, "no header of its own", SAM3_ERR_FORMAT},
      {"PK\1\2", 1, 42, 1, false, "no header of its own", SAM3_ERR_FORMAT},
      {"PK\3\4", 1, 8, 8, false, "two headers disagree", SAM3_ERR_FORMAT},
      {"PK\3\4", 1, 26, 1, false, "two headers disagree", SAM3_ERR_FORMAT},
      {"PK\3\4", 1, 29, 1, false, "lies outside the file", SAM3_ERR_FORMAT},
      {"PK\3\4", 1, 0, 0, false, "no header of its own", SAM3_ERR_FORMAT},
      {"PK\6\7", 0, 8, 1, true, "no zip64 end record", SAM3_ERR_FORMAT},
      {"PK\6\7", 0, 15, 255, true, "no zip64 end record", SAM3_ERR_FORMAT},
      {"PK\6\6", 0, 0, 0, true, "no zip64 end record", SAM3_ERR_FORMAT},
      {"PK\6\6", 0, 16, 1, true, "in several parts", SAM3_ERR_UNSUPPORTED},
      {"PK\6\6", 0, 24, 3, true, "in several parts", SAM3_ERR_UNSUPPORTED},
      {"PK\6\6", 0, 47, 255, true, "outside the file", SAM3_ERR_FORMAT},
      {"PK\6\6", 0, 55, 255, true, "outside the file", SAM3_ERR_FORMAT},
      {"PK\1\2", 0, 46 + 10 + 2, 255, true, "damaged zip64 field", SAM3_ERR_FORMAT}, /* first field too long */
      {"PK\1\2", 0, 46 + 10 + 6, 2, true, "damaged zip64 field", SAM3_ERR_FORMAT},   /* no field of id 1 */
      {"PK\1\2", 0, 46 + 10 + 8, 16, true, "damaged zip64 field", SAM3_ERR_FORMAT},  /* too short for three */
      {"PK\1\2", 0, 46 + 10 + 17, 255, true, "lies outside the file", SAM3_ERR_FORMAT},
      {"PK\1\2", 0, 46 + 10 + 33, 255, true, "no header of its own", SAM3_ERR_FORMAT},
  };
  const struct part parts[] = {{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"a/data/0", zeros, 64, 0, 0}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bytes zip = zip_of(parts, 2, cases[i].wide);
    unsigned char *at = find_bytes(&zip, cases[i].at, 4, cases[i].nth);
    at[cases[i].offset] = (unsigned char)cases[i].value;
    expect_bad(zip, cases[i].status, cases[i].message);
  }
}

/* The second entry's record points at the first one's header: data of two names would share bytes. */
static void refuses_overlapping_entries(void **state) {
  (void)state;
  const struct part parts[] = {{"a/data.pkl", GOOD_PICKLE, 0, 0}, {"a/data/0", zeros, 64, 0, 0}};
  struct bytes zip = zip_of(parts, 2, false);
  unsigned char *size = find_bytes(&zip, "PK\1\2", 4, 0) + 20;
  size[0] = size[4] = (unsigned char)(parts[0].size + 20); /* into the next header */
  size[1] = size[5] = (unsigned char)((parts[0].size + 20) >> 8);
  expect_bad(zip, SAM3_ERR_FORMAT, "'a/data/0' overlaps");
}

static void survives_failing_allocations(void **state) {
  (void)state;
  sam3_status status = SAM3_ERR_MEMORY;
  size_t n = 0;
  while (status == SAM3_ERR_MEMORY) {
    struct weights *w;
    struct sam3_error err = {0};
    mem_fail_at(++n, false);
    status = weights_open(fixture_path("features.pt"), &w, &err);
    mem_fail_at(0, false);
    assert_int_equal(err.status, status);
    if (status != SAM3_OK)
      assert_null(w);
    weights_close(w);
  }
  assert_int_equal(status, SAM3_OK);
  assert_true(n > 50);
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
      cmocka_unit_test(reads_what_a_state_dict_may_hold),
      cmocka_unit_test(reads_small_pickles),
      cmocka_unit_test(refuses_bad_pickles),
      cmocka_unit_test(checks_where_tensors_lie),
      cmocka_unit_test(limits_what_a_pickle_takes),
      cmocka_unit_test(reads_zip64),
      cmocka_unit_test(refuses_every_truncated_archive),
      cmocka_unit_test(refuses_entries_it_cannot_use),
      cmocka_unit_test(refuses_headers_that_lie),
      cmocka_unit_test(refuses_overlapping_entries),
      cmocka_unit_test(survives_failing_allocations),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
