/* The opcodes are those of Python's Lib/pickletools.py, where each is documented. */
#include "weights/pickle.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"

/* A state dict of 1,500 tensors takes 250 kB, 6,000 memo entries, 10,000 containers and a stack of 3,000. */
#define MAX_PICKLE (16u << 20)
#define MAX_STACK (1u << 20)
#define MAX_MEMO (1u << 20)
#define MAX_NODES (1u << 20)
#define MAX_PROTOCOL 5

enum opcode {
  MARK = '(',
  STOP = '.',
  NONE = 'N',
  NEWTRUE = 0x88,
  NEWFALSE = 0x89,
  BININT = 'J',
  BININT1 = 'K',
  BININT2 = 'M',
  LONG1 = 0x8a,
  BINFLOAT = 'G',
  BINUNICODE = 'X',
  SHORT_BINUNICODE = 0x8c,
  BINUNICODE8 = 0x8d,
  EMPTY_TUPLE = ')',
  TUPLE = 't',
  TUPLE1 = 0x85,
  TUPLE2 = 0x86,
  TUPLE3 = 0x87,
  EMPTY_LIST = ']',
  APPEND = 'a',
  APPENDS = 'e',
  EMPTY_DICT = '}',
  SETITEM = 's',
  SETITEMS = 'u',
  BINPUT = 'q',
  LONG_BINPUT = 'r',
  MEMOIZE = 0x94,
  BINGET = 'h',
  LONG_BINGET = 'j',
  GLOBAL = 'c',
  STACK_GLOBAL = 0x93,
  REDUCE = 'R',
  BUILD = 'b',
  BINPERSID = 'Q',
  PROTO = 0x80,
  FRAME = 0x95,
};

enum kind {
  IS_MARK,
  IS_PLAIN, /* None, a bool, a float: carried, never looked at */
  IS_INTEGER,
  IS_STRING,
  IS_TUPLE,
  IS_LIST,
  IS_DICT,
  IS_ORDERED_DICT, /* the globals: collections.OrderedDict, */
  IS_REBUILD,      /* torch._utils._rebuild_tensor_v2, */
  IS_PARAMETER,    /* torch._utils._rebuild_parameter, */
  IS_TYPE,         /* torch.FloatStorage and its like */
  IS_STORAGE,      /* a persistent id: the node is its tuple */
  IS_TENSOR,       /* the node is the tuple of _rebuild_tensor_v2's arguments */
};

struct value {
  enum kind kind;
  uint32_t node; /* index of a tuple's, list's, dict's, storage's or tensor's node; a string's length */
  union {
    int64_t integer;
    const char *string; /* [node], in the pickle */
    const struct element_type *type;
  };
};

/* The values in a tuple or list; keys and values in turn in a dict. */
struct node {
  struct value *values;
  uint32_t n, capacity;
};

struct machine {
  const char *file;
  const unsigned char *start, *at, *end;
  struct value *stack, *memo;
  uint32_t n_stack, stack_capacity, n_memo, memo_capacity;
  struct node *nodes;
  uint32_t n_nodes, nodes_capacity;
  struct sam3_error *err;
};

/* -------------------------------------------------------------------------------------- parts */

static sam3_status damaged(const struct machine *m, const char *what) {
  return fail(m->err, SAM3_ERR_FORMAT, "%s: damaged pickle: %s at byte %zu", m->file, what, (size_t)(m->at - m->start));
}

/* Makes room for element `n` of an array that may have `most`. */
static sam3_status grow(struct machine *m, void **array, uint32_t *capacity, size_t n, size_t most, size_t size) {
  if (n < *capacity)
    return SAM3_OK;
  if (n >= most)
    return fail(m->err, SAM3_ERR_LIMIT, "%s: the pickle is larger than any state dict", m->file);
  size_t wanted = n < 8 ? 8 : 2 * n < most ? 2 * n : most;
  void *grown = mem_resize(*array, wanted, size);
  if (!grown)
    return fail_memory(m->err, wanted * size, "reading a pickle");
  *array = grown;
  *capacity = (uint32_t)wanted;
  return SAM3_OK;
}

static sam3_status push(struct machine *m, struct value value) {
  TRY(grow(m, (void **)&m->stack, &m->stack_capacity, m->n_stack, MAX_STACK, sizeof *m->stack));
  m->stack[m->n_stack++] = value;
  return SAM3_OK;
}

/* The top value, which must be there and no mark. */
static sam3_status pop(struct machine *m, struct value *value) {
  if (!m->n_stack || m->stack[m->n_stack - 1].kind == IS_MARK)
    return damaged(m, "a value is missing");
  *value = m->stack[--m->n_stack];
  return SAM3_OK;
}

/* `n` bytes of the opcode's argument. */
static sam3_status take(struct machine *m, uint64_t n, const unsigned char **bytes) {
  if (n > (uint64_t)(m->end - m->at))
    return damaged(m, "the end comes too early");
  *bytes = m->at;
  m->at += n;
  return SAM3_OK;
}

/* An unsigned little-endian argument of 1, 2, 4 or 8 bytes. */
static sam3_status take_number(struct machine *m, int size, uint64_t *number) {
  const unsigned char *p = NULL;
  TRY(take(m, (uint64_t)size, &p));
  *number = 0;
  for (int i = 0; i < size; i++)
    *number |= (uint64_t)p[i] << (8 * i);
  return SAM3_OK;
}

static sam3_status new_node(struct machine *m, uint32_t *index) {
  TRY(grow(m, (void **)&m->nodes, &m->nodes_capacity, m->n_nodes, MAX_NODES, sizeof *m->nodes));
  m->nodes[m->n_nodes] = (struct node){0};
  *index = m->n_nodes++;
  return SAM3_OK;
}

/* Moves the stack's top `n` values to the end of a node. */
static sam3_status move_to_node(struct machine *m, uint32_t n, uint32_t index) {
  struct node *node = &m->nodes[index];
  if (n) {
    TRY(grow(m, (void **)&node->values, &node->capacity, (size_t)node->n + n - 1, MAX_STACK, sizeof *node->values));
    memcpy(node->values + node->n, m->stack + m->n_stack - n, n * sizeof *node->values);
  }
  node->n += n;
  m->n_stack -= n;
  return SAM3_OK;
}

/* How many values lie above the topmost mark. */
static sam3_status count_to_mark(struct machine *m, uint32_t *n) {
  for (*n = 0; *n < m->n_stack; ++*n)
    if (m->stack[m->n_stack - 1 - *n].kind == IS_MARK)
      return SAM3_OK;
  return damaged(m, "a mark is missing");
}

/* ------------------------------------------------------------------------------------ opcodes */

static sam3_status push_string(struct machine *m, int size_bytes) {
  uint64_t length = 0;
  const unsigned char *text = NULL;
  TRY(take_number(m, size_bytes, &length));
  TRY(take(m, length, &text));
  return push(m, (struct value){.kind = IS_STRING, .string = (const char *)text, .node = (uint32_t)length});
}

static sam3_status push_integer(struct machine *m, int size_bytes) {
  uint64_t number = 0;
  TRY(take_number(m, size_bytes, &number));
  int64_t value = size_bytes == 4 ? (int32_t)(uint32_t)number : (int64_t)number; /* BININT alone is signed */
  return push(m, (struct value){.kind = IS_INTEGER, .integer = value});
}

/* A two's complement number of any length; we need those of up to 8 bytes. */
static sam3_status push_long(struct machine *m) {
  uint64_t size = 0, number = 0;
  const unsigned char *p = NULL;
  TRY(take_number(m, 1, &size));
  TRY(take(m, size, &p));
  if (size > 8)
    return fail(m->err, SAM3_ERR_LIMIT, "%s: the pickle has an integer of %d bytes", m->file, (int)size);
  for (uint64_t i = 0; i < 8; i++)
    number |= (uint64_t)(i < size ? p[i] : size && p[size - 1] & 0x80 ? 0xff : 0) << (8 * i);
  return push(m, (struct value){.kind = IS_INTEGER, .integer = (int64_t)number});
}

/* A container of the stack's top `n` values. */
static sam3_status push_container(struct machine *m, enum kind kind, uint32_t n) {
  struct value value = {.kind = kind};
  for (uint32_t i = 0; i < n; i++)
    if (i >= m->n_stack || m->stack[m->n_stack - 1 - i].kind == IS_MARK)
      return damaged(m, "a value is missing");
  TRY(new_node(m, &value.node));
  TRY(move_to_node(m, n, value.node));
  return push(m, value);
}

static sam3_status push_tuple_to_mark(struct machine *m) {
  uint32_t n = 0;
  struct value value = {.kind = IS_TUPLE};
  TRY(count_to_mark(m, &n));
  TRY(new_node(m, &value.node));
  TRY(move_to_node(m, n, value.node));
  m->stack[m->n_stack - 1] = value; /* in the mark's place */
  return SAM3_OK;
}

/* Puts the values above the mark, or the top `n`, into the list or dict under them. */
static sam3_status add_items(struct machine *m, enum kind kind, uint32_t n, bool to_mark) {
  if (to_mark)
    TRY(count_to_mark(m, &n));
  uint32_t below = n + to_mark;
  if (m->n_stack <= below || m->stack[m->n_stack - 1 - below].kind != kind || (kind == IS_DICT && n % 2))
    return damaged(m, "items for something that cannot have them");
  for (uint32_t i = 0; i < n; i++)
    if (m->stack[m->n_stack - 1 - i].kind == IS_MARK)
      return damaged(m, "a value is missing");
  TRY(move_to_node(m, n, m->stack[m->n_stack - 1 - below].node));
  m->n_stack -= to_mark;
  return SAM3_OK;
}

static sam3_status memo_put(struct machine *m, uint64_t index) {
  if (!m->n_stack || m->stack[m->n_stack - 1].kind == IS_MARK)
    return damaged(m, "a value is missing");
  if (index > m->n_memo) /* pickles number them 0, 1, 2 ... */
    return damaged(m, "a memo number out of turn");
  TRY(grow(m, (void **)&m->memo, &m->memo_capacity, index, MAX_MEMO, sizeof *m->memo));
  m->memo[index] = m->stack[m->n_stack - 1];
  m->n_memo += index == m->n_memo;
  return SAM3_OK;
}

static sam3_status memo_get(struct machine *m, int size_bytes) {
  uint64_t index = 0;
  TRY(take_number(m, size_bytes, &index));
  return index < m->n_memo ? push(m, m->memo[index]) : damaged(m, "a memo number that was never given");
}

static bool equal(const char *text, size_t length, const char *want) {
  return length == strlen(want) && !memcmp(text, want, length);
}

static sam3_status push_global(struct machine *m, const char *module, size_t module_length, const char *name,
                               size_t name_length) {
  static const struct {
    const char *module, *name;
    enum kind kind;
  } known[] = {{"collections", "OrderedDict", IS_ORDERED_DICT},
               {"torch._utils", "_rebuild_tensor_v2", IS_REBUILD},
               {"torch._utils", "_rebuild_parameter", IS_PARAMETER}};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (equal(module, module_length, known[i].module) && equal(name, name_length, known[i].name))
      return push(m, (struct value){.kind = known[i].kind});
  struct value type = {.kind = IS_TYPE};
  if (equal(module, module_length, "torch") && (type.type = element_type_by_storage(name, name_length)))
    return push(m, type);
  return fail(m->err, SAM3_ERR_UNSUPPORTED, "%s: the pickle asks for %s.%s, which a state dict does not need: refused",
              m->file, show(module, module_length).text, show(name, name_length).text);
}

/* GLOBAL: two lines of text. */
static sam3_status push_global_lines(struct machine *m) {
  const char *line[2];
  size_t length[2];
  for (int i = 0; i < 2; i++) {
    const unsigned char *end = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (!end)
      return damaged(m, "the end comes too early");
    line[i] = (const char *)m->at;
    length[i] = (size_t)(end - m->at);
    m->at = end + 1;
  }
  return push_global(m, line[0], length[0], line[1], length[1]);
}

static sam3_status push_global_of_stack(struct machine *m) {
  struct value module = {0}, name = {0};
  TRY(pop(m, &name));
  TRY(pop(m, &module));
  if (module.kind != IS_STRING || name.kind != IS_STRING)
    return damaged(m, "a global without a name");
  return push_global(m, module.string, module.node, name.string, name.node);
}

/* Calls one of the known globals; what it would build is kept as its arguments. */
static sam3_status reduce(struct machine *m) {
  struct value arguments = {0}, callable = {0};
  TRY(pop(m, &arguments));
  TRY(pop(m, &callable));
  if (arguments.kind != IS_TUPLE)
    return damaged(m, "a call without arguments");
  const struct node *node = &m->nodes[arguments.node];
  if (callable.kind == IS_ORDERED_DICT && node->n == 0)
    return push_container(m, IS_DICT, 0);
  if (callable.kind == IS_PARAMETER && node->n >= 1 && node->values[0].kind == IS_TENSOR)
    return push(m, node->values[0]);
  if (callable.kind == IS_REBUILD && node->n >= 4)
    return push(m, (struct value){.kind = IS_TENSOR, .node = arguments.node});
  return damaged(m, "a call that we do not know");
}

/* BUILD sets an OrderedDict's attributes (torch's _metadata): nothing we need. */
static sam3_status build(struct machine *m) {
  struct value state;
  TRY(pop(m, &state));
  if (!m->n_stack || m->stack[m->n_stack - 1].kind != IS_DICT)
    return damaged(m, "attributes for something that cannot have them");
  return SAM3_OK;
}

static sam3_status push_storage(struct machine *m) {
  struct value id = {0};
  TRY(pop(m, &id));
  if (id.kind != IS_TUPLE)
    return damaged(m, "a persistent id that is no tuple");
  return push(m, (struct value){.kind = IS_STORAGE, .node = id.node});
}

static sam3_status check_protocol(struct machine *m) {
  uint64_t protocol = 0;
  TRY(take_number(m, 1, &protocol));
  if (protocol > MAX_PROTOCOL)
    return fail(m->err, SAM3_ERR_UNSUPPORTED, "%s: pickle protocol %d; we read those up to %d", m->file, (int)protocol,
                MAX_PROTOCOL);
  return SAM3_OK;
}

static sam3_status put(struct machine *m, int size_bytes) {
  uint64_t index = 0;
  TRY(take_number(m, size_bytes, &index));
  return memo_put(m, index);
}

static sam3_status skip(struct machine *m, int n) {
  const unsigned char *bytes;
  return take(m, (uint64_t)n, &bytes);
}

static sam3_status step(struct machine *m, unsigned opcode) {
  switch (opcode) {
  case PROTO:
    return check_protocol(m);
  case FRAME:
    return skip(m, 8);
  case MARK:
    return push(m, (struct value){.kind = IS_MARK});
  case NONE:
  case NEWTRUE:
  case NEWFALSE:
    return push(m, (struct value){.kind = IS_PLAIN});
  case BINFLOAT:
    TRY(skip(m, 8));
    return push(m, (struct value){.kind = IS_PLAIN});
  case BININT:
    return push_integer(m, 4);
  case BININT1:
    return push_integer(m, 1);
  case BININT2:
    return push_integer(m, 2);
  case LONG1:
    return push_long(m);
  case SHORT_BINUNICODE:
    return push_string(m, 1);
  case BINUNICODE:
    return push_string(m, 4);
  case BINUNICODE8:
    return push_string(m, 8);
  case EMPTY_TUPLE:
    return push_container(m, IS_TUPLE, 0);
  case TUPLE1:
  case TUPLE2:
  case TUPLE3:
    return push_container(m, IS_TUPLE, opcode - TUPLE1 + 1);
  case TUPLE:
    return push_tuple_to_mark(m);
  case EMPTY_LIST:
    return push_container(m, IS_LIST, 0);
  case APPEND:
    return add_items(m, IS_LIST, 1, false);
  case APPENDS:
    return add_items(m, IS_LIST, 0, true);
  case EMPTY_DICT:
    return push_container(m, IS_DICT, 0);
  case SETITEM:
    return add_items(m, IS_DICT, 2, false);
  case SETITEMS:
    return add_items(m, IS_DICT, 0, true);
  case BINPUT:
    return put(m, 1);
  case LONG_BINPUT:
    return put(m, 4);
  case MEMOIZE:
    return memo_put(m, m->n_memo);
  case BINGET:
    return memo_get(m, 1);
  case LONG_BINGET:
    return memo_get(m, 4);
  case GLOBAL:
    return push_global_lines(m);
  case STACK_GLOBAL:
    return push_global_of_stack(m);
  case REDUCE:
    return reduce(m);
  case BUILD:
    return build(m);
  case BINPERSID:
    return push_storage(m);
  default:
    return fail(m->err, SAM3_ERR_UNSUPPORTED,
                "%s: the pickle has opcode 0x%02x at byte %zu, which a state dict does not need: refused", m->file,
                opcode, (size_t)(m->at - m->start) - 1);
  }
}

/* Runs the pickle to its STOP, which must leave one value and be the last byte. */
static sam3_status run(struct machine *m, struct value *result) {
  while (m->at < m->end) {
    unsigned opcode = *m->at++;
    if (opcode != STOP) {
      TRY(step(m, opcode));
      continue;
    }
    TRY(pop(m, result));
    return m->n_stack || m->at != m->end ? damaged(m, "something left over") : SAM3_OK;
  }
  return damaged(m, "the end comes too early");
}

/* ------------------------------------------------------------------------------------ results */

/* A tuple of at most STORED_MAX_RANK integers. */
static bool read_integers(const struct machine *m, const struct value *tuple, int64_t *out, int *n) {
  if (tuple->kind != IS_TUPLE || m->nodes[tuple->node].n > STORED_MAX_RANK)
    return false;
  const struct node *node = &m->nodes[tuple->node];
  for (uint32_t i = 0; i < node->n; i++) {
    if (node->values[i].kind != IS_INTEGER)
      return false;
    out[i] = node->values[i].integer;
  }
  *n = (int)node->n;
  return true;
}

/* _rebuild_tensor_v2(storage, offset, size, stride, ...) on ("storage", type, key, location, elements). */
static bool read_tensor(const struct machine *m, const struct value *value, struct pickled_tensor *tensor) {
  const struct value *argument = m->nodes[value->node].values;
  int n_strides;
  if (argument[0].kind != IS_STORAGE || argument[1].kind != IS_INTEGER || m->nodes[argument[0].node].n != 5 ||
      !read_integers(m, &argument[2], tensor->dims, &tensor->rank) ||
      !read_integers(m, &argument[3], tensor->strides, &n_strides) || n_strides != tensor->rank)
    return false;
  const struct value *id = m->nodes[argument[0].node].values;
  if (id[0].kind != IS_STRING || !equal(id[0].string, id[0].node, "storage") || id[1].kind != IS_TYPE ||
      id[2].kind != IS_STRING || id[4].kind != IS_INTEGER)
    return false;
  tensor->type = id[1].type;
  tensor->storage = id[2].string;
  tensor->storage_length = id[2].node;
  tensor->storage_elements = id[4].integer;
  tensor->offset = argument[1].integer;
  return true;
}

static sam3_status deliver(struct machine *m, struct value top, pickle_sink *sink, void *user) {
  if (top.kind != IS_DICT)
    return fail(m->err, SAM3_ERR_FORMAT, "%s: the pickle is not a dict of tensors", m->file);
  const struct node *dict = &m->nodes[top.node];
  for (uint32_t i = 0; i + 1 < dict->n; i += 2)
    if (dict->values[i].kind == IS_STRING && equal(dict->values[i].string, dict->values[i].node, "model") &&
        dict->values[i + 1].kind == IS_DICT) {
      dict = &m->nodes[dict->values[i + 1].node];
      break;
    }
  for (uint32_t i = 0; i + 1 < dict->n; i += 2) {
    const struct value *key = &dict->values[i];
    if (dict->values[i + 1].kind != IS_TENSOR)
      continue;
    struct pickled_tensor tensor = {0};
    if (key->kind != IS_STRING)
      return fail(m->err, SAM3_ERR_FORMAT, "%s: a tensor without a name", m->file);
    tensor.name = key->string;
    tensor.name_length = key->node;
    if (!read_tensor(m, &dict->values[i + 1], &tensor))
      return fail(m->err, SAM3_ERR_FORMAT, "%s: tensor '%s' has an improper description", m->file,
                  show(key->string, key->node).text);
    TRY(sink(user, &tensor, m->err));
  }
  return SAM3_OK;
}

sam3_status pickle_read_state_dict(const unsigned char *data, size_t size, const char *file, pickle_sink *sink,
                                   void *user, struct sam3_error *err) {
  if (size > MAX_PICKLE)
    return fail(err, SAM3_ERR_LIMIT, "%s: a pickle of %zu bytes, more than %u", file, size, MAX_PICKLE);
  struct machine m = {.file = file, .start = data, .at = data, .end = data + size, .err = err};
  struct value top = {.kind = IS_PLAIN};
  sam3_status status = run(&m, &top);
  if (status == SAM3_OK)
    status = deliver(&m, top, sink, user);
  for (uint32_t i = 0; i < m.n_nodes; i++)
    free(m.nodes[i].values);
  free(m.nodes);
  free(m.stack);
  free(m.memo);
  return status;
}
