/* phlox.h: the stable C ABI of phlox. Everything above the library (the C++ headers, the command line, Python) is
 * built on this file alone.
 *
 * Rules. Append-only: a function, an enumerator or a struct field once here never changes; structs that may grow
 * begin with their own size. A program built against an older header runs on a newer library. Functions that can
 * fail return a phlox_status and leave results untouched when it is not PHLOX_OK; the text is in phlox_last_error().
 * No exception crosses. Handles are reference-counted and belong to whoever received them; arguments are borrowed.
 * All functions may be called from any thread; one tensor's metadata must not be changed by two threads at once.
 * Pointers to memory that the library owns are valid as long as the handle they were read from. */
#ifndef PHLOX_H_
#define PHLOX_H_
#include <stddef.h>
#include <stdint.h>

#if defined(PHLOX_BUILD)
#define PHLOX_API __attribute__((visibility("default")))
#else
#define PHLOX_API
#endif

#define PHLOX_ABI_MAJOR 1 /* changes never, or everything must be rebuilt */
#define PHLOX_ABI_MINOR 0 /* grows when something is appended */

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version ---- */

PHLOX_API uint32_t phlox_abi_version(void); /* of the library: major << 16 | minor */
PHLOX_API const char* phlox_version(void);  /* "0.1.0" */

/* ---- errors ---- */

typedef int32_t phlox_status;
enum {
  PHLOX_OK = 0,
  PHLOX_INVALID_ARGUMENT = 1,
  PHLOX_OUT_OF_RANGE = 2,
  PHLOX_NOT_IMPLEMENTED = 3,
  PHLOX_NOT_FOUND = 4,
  PHLOX_BAD_FILE = 5,
  PHLOX_IO = 6,
  PHLOX_OUT_OF_MEMORY = 7,
  PHLOX_AUTOGRAD = 8,
  PHLOX_TRACE = 9,
  PHLOX_DEVICE = 10,
  PHLOX_INTERNAL = 11, /* a bug in phlox */
  PHLOX_CALLBACK = 12  /* a function of the caller's failed; it knows more */
};
enum { PHLOX_ERROR_OP = 0, PHLOX_ERROR_FACT = 1, PHLOX_ERROR_GOT = 2, PHLOX_ERROR_EXPECTED = 3, PHLOX_ERROR_REMEDY = 4 };

typedef struct phlox_error phlox_error;
/* The last error of this thread; never null; valid until the next failing call on this thread. */
PHLOX_API const phlox_error* phlox_last_error(void);
PHLOX_API phlox_status phlox_error_status(const phlox_error* error);
PHLOX_API const char* phlox_error_message(const phlox_error* error);          /* "op: fact; got ...; expected ...; remedy" */
PHLOX_API const char* phlox_error_part(const phlox_error* error, int32_t part); /* "" when the part is absent */
/* For callbacks: makes this the thread's last error and returns `status`. Parts may be null. */
PHLOX_API phlox_status phlox_raise(phlox_status status, const char* op, const char* fact, const char* got,
                                   const char* expected, const char* remedy);

/* ---- text that the library made ---- */

typedef struct phlox_text phlox_text;
PHLOX_API const char* phlox_text_data(const phlox_text* text); /* ends in a zero byte */
PHLOX_API size_t phlox_text_size(const phlox_text* text);
PHLOX_API void phlox_text_free(phlox_text* text);

/* ---- types ---- */

enum {
  PHLOX_BOOL = 0, PHLOX_U8 = 1, PHLOX_I8 = 2, PHLOX_I16 = 3, PHLOX_I32 = 4, PHLOX_I64 = 5, PHLOX_F16 = 6, PHLOX_BF16 = 7,
  PHLOX_F32 = 8, PHLOX_F64 = 9, PHLOX_C64 = 10, PHLOX_C128 = 11, PHLOX_F8E4M3 = 12, PHLOX_F8E5M2 = 13, PHLOX_U16 = 14,
  PHLOX_U32 = 15, PHLOX_U64 = 16
};
PHLOX_API const char* phlox_dtype_name(int32_t dtype); /* "float32"; null for a number that is none */
PHLOX_API int32_t phlox_dtype_bytes(int32_t dtype);
PHLOX_API int32_t phlox_promote_types(int32_t a, int32_t b); /* -1: no type holds both */

enum { PHLOX_CPU = 0, PHLOX_CUDA = 1 };
typedef struct { int32_t kind, index; } phlox_device;
PHLOX_API phlox_status phlox_parse_device(const char* text, phlox_device* out); /* "cpu", "cuda", "cuda:1" */
PHLOX_API int32_t phlox_device_count(int32_t kind);                             /* 0 where there is none */
PHLOX_API phlox_status phlox_synchronize(phlox_device device);
PHLOX_API phlox_status phlox_release_cached_memory(phlox_device device);

/* ---- tensors ---- */

typedef struct phlox_tensor phlox_tensor;
PHLOX_API phlox_tensor* phlox_tensor_retain(phlox_tensor* tensor); /* returns it; null stays null */
PHLOX_API void phlox_tensor_release(phlox_tensor* tensor);

/* Contiguous, contents undefined. */
PHLOX_API phlox_status phlox_tensor_empty(int32_t dtype, const int64_t* sizes, int32_t rank, phlox_device device,
                                          phlox_tensor** out);
/* A copy of row-major host data. */
PHLOX_API phlox_status phlox_tensor_from_data(const void* data, int32_t dtype, const int64_t* sizes, int32_t rank,
                                              phlox_device device, phlox_tensor** out);
/* Memory of the caller's, on `device`; strides in elements, null for row-major. `deleter` (may be null) is called
 * once, from any thread, when the last tensor on it is gone; not when this call fails. */
PHLOX_API phlox_status phlox_tensor_from_memory(void* data, int32_t dtype, const int64_t* sizes, const int64_t* strides,
                                                int32_t rank, phlox_device device, void (*deleter)(void* context, void* data),
                                                void* context, phlox_tensor** out);

PHLOX_API int32_t phlox_tensor_rank(const phlox_tensor* tensor);
PHLOX_API const int64_t* phlox_tensor_sizes(const phlox_tensor* tensor);
PHLOX_API const int64_t* phlox_tensor_strides(const phlox_tensor* tensor); /* in elements */
PHLOX_API int64_t phlox_tensor_offset(const phlox_tensor* tensor);         /* in elements, from the storage's start */
PHLOX_API int64_t phlox_tensor_numel(const phlox_tensor* tensor);
PHLOX_API int32_t phlox_tensor_dtype(const phlox_tensor* tensor);
PHLOX_API phlox_device phlox_tensor_device(const phlox_tensor* tensor);
PHLOX_API void* phlox_tensor_data(const phlox_tensor* tensor); /* of the first element; device memory on a GPU */
PHLOX_API int32_t phlox_tensor_shares_storage(const phlox_tensor* a, const phlox_tensor* b);
PHLOX_API uint32_t phlox_tensor_version(const phlox_tensor* tensor); /* counts changes in place, of all views together */
enum {
  PHLOX_FLAG_REQUIRES_GRAD = 1,
  PHLOX_FLAG_LEAF = 2,
  PHLOX_FLAG_CONTIGUOUS = 4,
  PHLOX_FLAG_INFERENCE = 8,
  PHLOX_FLAG_RETAINS_GRAD = 16,
  PHLOX_FLAG_VIEW = 32
};
PHLOX_API uint32_t phlox_tensor_flags(const phlox_tensor* tensor);

typedef struct { int32_t kind; int64_t integer; double real, imag; } phlox_number; /* kind: a PHLOX_SLOT_*: bool, int, real or complex */
PHLOX_API phlox_status phlox_tensor_item(const phlox_tensor* tensor, phlox_number* out); /* of one element */
/* All elements, row-major, whatever the strides. `bytes` must be their exact size. */
PHLOX_API phlox_status phlox_tensor_read(const phlox_tensor* tensor, void* data, size_t bytes);
PHLOX_API phlox_status phlox_tensor_write(phlox_tensor* tensor, const void* data, size_t bytes);
/* On another device; the same tensor when it is there already. Gradients flow back. */
PHLOX_API phlox_status phlox_tensor_to_device(phlox_tensor* tensor, phlox_device device, phlox_tensor** out);
/* The tensor takes the storage, shape and dtype of `source`; it stays the same leaf. */
PHLOX_API phlox_status phlox_tensor_set_data(phlox_tensor* tensor, const phlox_tensor* source);
/* As PyTorch prints it. */
PHLOX_API phlox_status phlox_tensor_print(const phlox_tensor* tensor, phlox_text** out);
PHLOX_API phlox_status phlox_tensor_describe(const phlox_tensor* tensor, phlox_text** out); /* "f32[2,3]" */

/* ---- ops ---- */

/* An argument of an op: 16 bytes. Lists point to slots, which must outlive the call. */
enum {
  PHLOX_SLOT_NONE = 0, PHLOX_SLOT_TENSOR = 1, PHLOX_SLOT_BOOL = 2, PHLOX_SLOT_INT = 3, PHLOX_SLOT_REAL = 4,
  PHLOX_SLOT_COMPLEX = 5, PHLOX_SLOT_STRING = 6, PHLOX_SLOT_DTYPE = 7, PHLOX_SLOT_DEVICE = 8, PHLOX_SLOT_LAYOUT = 9,
  PHLOX_SLOT_MEMORY_FORMAT = 10, PHLOX_SLOT_GENERATOR = 11, PHLOX_SLOT_LIST = 12
};
typedef struct phlox_slot {
  uint8_t kind;
  uint8_t extra; /* device: its index */
  uint16_t reserved;
  uint32_t count; /* list and string: length */
  union {
    uint64_t bits; /* bool: 0 or 1; dtype, device kind, layout, memory format: the number */
    phlox_tensor* tensor;
    int64_t integer;
    double real;
    const double* complex; /* real and imaginary part */
    const char* string;    /* UTF-8, `count` bytes */
    const struct phlox_slot* list;
  } u;
} phlox_slot;

typedef struct phlox_op phlox_op; /* lives as long as the process */
/* By PyTorch's name and overload: "add.Tensor", "relu"; also the forms derived from an op: "add_.Tensor" (in place),
 * "add.out" (into given tensors). Look a name up once and keep the result. */
PHLOX_API phlox_status phlox_find_op(const char* name, const phlox_op** out);
PHLOX_API const char* phlox_op_name(const phlox_op* op);
PHLOX_API const char* phlox_op_schema(const phlox_op* op);
PHLOX_API const char* phlox_op_doc(const phlox_op* op);
/* Calls an op. Missing trailing arguments take the schema's defaults; an int may stand for a float and for a list of
 * fixed length. The in-place form changes and returns argument 0; the out form takes the tensors to fill as its last
 * arguments. `location` ("file:line", or null) is where messages and traces say the call was.
 * *n_outs: in, room in outs; out, the number of results. When there are more, outs is left alone and they wait for
 * phlox_take_results on this thread, until its next call. */
PHLOX_API phlox_status phlox_call(const phlox_op* op, const phlox_slot* args, int32_t n_args, phlox_tensor** outs,
                                  int32_t* n_outs, const char* location);
PHLOX_API int32_t phlox_take_results(phlox_tensor** outs, int32_t room); /* how many were written */

/* x[...] as Python writes it. */
enum { PHLOX_INDEX_NONE = 0, PHLOX_INDEX_ELLIPSIS = 1, PHLOX_INDEX_INT = 2, PHLOX_INDEX_SLICE = 3, PHLOX_INDEX_TENSOR = 4, PHLOX_INDEX_BOOL = 5 };
enum { PHLOX_SLICE_HAS_START = 1, PHLOX_SLICE_HAS_STOP = 2 };
typedef struct {
  int32_t kind, has;           /* has: which of start and stop a slice gives */
  int64_t start, stop, step;   /* int and bool: start */
  phlox_tensor* tensor;
} phlox_index_item;
PHLOX_API phlox_status phlox_index(phlox_tensor* tensor, const phlox_index_item* items, int32_t n, phlox_tensor** out);
PHLOX_API phlox_status phlox_index_put(phlox_tensor* tensor, const phlox_index_item* items, int32_t n, phlox_tensor* values,
                                       int32_t accumulate);

/* ---- gradients ---- */

/* Modes of this thread. */
enum { PHLOX_MODE_GRAD = 0, PHLOX_MODE_INFERENCE = 1, PHLOX_MODE_TRACE = 2 };
PHLOX_API int32_t phlox_get_mode(int32_t mode); /* grad: 1 at the start; trace: 1 inside a function that is traced */
PHLOX_API phlox_status phlox_set_mode(int32_t mode, int32_t value); /* not of trace */
/* Autocast of this thread for one kind of device: operands of matrix products are cast to `dtype` (bf16 or f16), those
 * of sums and losses to f32. */
PHLOX_API int32_t phlox_get_autocast(int32_t device_kind, int32_t* dtype); /* is it on; dtype may be null */
PHLOX_API phlox_status phlox_set_autocast(int32_t device_kind, int32_t on, int32_t dtype);

PHLOX_API phlox_status phlox_tensor_set_requires_grad(phlox_tensor* tensor, int32_t value);
PHLOX_API phlox_status phlox_tensor_retain_grad(phlox_tensor* tensor); /* .grad also of a tensor that is no leaf */
PHLOX_API phlox_status phlox_tensor_grad(const phlox_tensor* tensor, phlox_tensor** out); /* null when there is none */
PHLOX_API phlox_status phlox_tensor_set_grad(phlox_tensor* tensor, phlox_tensor* grad);   /* null clears it */
PHLOX_API phlox_status phlox_tensor_detach(const phlox_tensor* tensor, phlox_tensor** out);
PHLOX_API phlox_status phlox_tensor_grad_fn_name(const phlox_tensor* tensor, phlox_text** out); /* null for leaves */

enum { PHLOX_RETAIN_GRAPH = 1, PHLOX_CREATE_GRAPH = 2, PHLOX_ALLOW_UNUSED = 4 };
/* Adds to the .grad of all leaves. grads may be null, or have null entries for roots of one element. */
PHLOX_API phlox_status phlox_backward(phlox_tensor* const* roots, phlox_tensor* const* grads, int32_t n, uint32_t flags);
/* The gradients of the roots' sum with respect to `inputs`, which nothing else sees. Null where there is none, which
 * needs PHLOX_ALLOW_UNUSED. */
PHLOX_API phlox_status phlox_grad(phlox_tensor* const* roots, phlox_tensor* const* grads, int32_t n_roots,
                                  phlox_tensor* const* inputs, int32_t n_inputs, uint32_t flags, phlox_tensor** out);

/* Runs on the gradient of a tensor. It may set *replacement to a new tensor, which the caller takes over. */
typedef phlox_status (*phlox_hook_fn)(void* context, phlox_tensor* grad, phlox_tensor** replacement);
typedef struct phlox_hook phlox_hook;
/* `destroy` (may be null) is called once with the context when the hook is no longer needed. */
PHLOX_API phlox_status phlox_tensor_add_hook(phlox_tensor* tensor, phlox_hook_fn hook, void* context,
                                             void (*destroy)(void* context), phlox_hook** out);
/* Runs after .grad of a leaf has been added to; it sees the tensor itself. Optimisers that step during backward. */
typedef phlox_status (*phlox_accumulated_fn)(void* context, phlox_tensor* leaf);
PHLOX_API phlox_status phlox_tensor_add_accumulated_hook(phlox_tensor* tensor, phlox_accumulated_fn hook, void* context,
                                                         void (*destroy)(void* context), phlox_hook** out);
PHLOX_API void phlox_hook_remove(phlox_hook* hook);  /* it does not run again */
PHLOX_API void phlox_hook_release(phlox_hook* hook); /* gives up the handle only */

/* A function with a gradient of the caller's own. */
typedef struct {
  size_t struct_size; /* sizeof(phlox_function) */
  const char* name;
  phlox_tensor* const* inputs;
  int32_t n_inputs;
  phlox_tensor* const* outputs; /* computed in no-grad mode; each becomes the function's result */
  int32_t n_outputs;
  phlox_tensor* const* saved; /* what backward needs: inputs, outputs or others; versions are checked */
  int32_t n_saved;
  /* grads: by output, null where none came. Sets grad_inputs: by input, null where there is none, handles that the
   * caller takes over. Runs with gradients on when the caller of backward asked for create_graph. */
  phlox_status (*backward)(void* context, phlox_tensor* const* saved, int32_t n_saved, phlox_tensor* const* grads,
                           int32_t n_grads, phlox_tensor** grad_inputs, int32_t n_inputs);
  void* context;
  void (*destroy)(void* context);
  uint32_t flags;
} phlox_function;
enum { PHLOX_FUNCTION_ZERO_GRADS = 1 }; /* gradients that did not come are zeros instead of null */
/* Puts it on the tape if gradients are on and an input requires one; else destroys the context at once. */
PHLOX_API phlox_status phlox_record_function(const phlox_function* function);

/* ---- compiled functions ---- */

/* A function that is traced: every op that it calls, backward passes and changes in place included, becomes part of one
 * program. Tensors that it touches besides its inputs are captured. It adds its results to `results`. */
typedef struct phlox_results phlox_results;
typedef phlox_status (*phlox_traced_fn)(void* context, phlox_tensor* const* inputs, int32_t n, phlox_results* results);
PHLOX_API phlox_status phlox_results_add(phlox_results* results, phlox_tensor* tensor);
typedef struct phlox_compiled phlox_compiled;
/* `destroy` (may be null) is called once with the context when the function is gone; not when this call fails. */
PHLOX_API phlox_status phlox_compile(phlox_traced_fn function, void* context, void (*destroy)(void* context), const char* name,
                                     phlox_compiled** out);
/* Traces and compiles when it meets new dtypes, sizes or modes. Results as with phlox_call. */
PHLOX_API phlox_status phlox_compiled_call(phlox_compiled* function, phlox_tensor* const* inputs, int32_t n,
                                           phlox_tensor** outs, int32_t* n_outs);
PHLOX_API phlox_status phlox_compiled_prepare(phlox_compiled* function, phlox_tensor* const* inputs, int32_t n); /* runs nothing */
PHLOX_API phlox_status phlox_compiled_report(const phlox_compiled* function, phlox_text** out); /* JSON: programs, kernels, times */
PHLOX_API void phlox_compiled_release(phlox_compiled* function);

/* ---- random numbers, threads ---- */

PHLOX_API phlox_status phlox_manual_seed(uint64_t seed);
PHLOX_API phlox_status phlox_get_rng_state(phlox_device device, uint64_t state[2]); /* seed, offset */
PHLOX_API phlox_status phlox_set_rng_state(phlox_device device, const uint64_t state[2]);
PHLOX_API int32_t phlox_num_threads(void);
PHLOX_API phlox_status phlox_set_num_threads(int32_t n);

/* ---- files ---- */

/* Named tensors and text entries, in order. */
typedef struct phlox_tensor_map phlox_tensor_map;
PHLOX_API int64_t phlox_tensor_map_size(const phlox_tensor_map* map);
PHLOX_API const char* phlox_tensor_map_name(const phlox_tensor_map* map, int64_t i);     /* null out of range */
PHLOX_API phlox_tensor* phlox_tensor_map_tensor(const phlox_tensor_map* map, int64_t i); /* borrowed */
PHLOX_API int64_t phlox_tensor_map_metadata_size(const phlox_tensor_map* map);
PHLOX_API const char* phlox_tensor_map_metadata_key(const phlox_tensor_map* map, int64_t i);
PHLOX_API const char* phlox_tensor_map_metadata_value(const phlox_tensor_map* map, int64_t i);
PHLOX_API void phlox_tensor_map_free(phlox_tensor_map* map);
/* On the CPU the tensors are the pages of the file: read from disk when they are used, copied page by page when they are
 * changed (the file never is). Replace such a file, do not rewrite it while its tensors live. */
PHLOX_API phlox_status phlox_load_safetensors(const char* path, phlox_device device, phlox_tensor_map** out);
/* Replaces the file in one step. Metadata: n_metadata keys and values, may be null. */
PHLOX_API phlox_status phlox_save_safetensors(const char* path, const char* const* names, phlox_tensor* const* tensors,
                                              int64_t n, const char* const* keys, const char* const* values,
                                              int64_t n_metadata);
PHLOX_API phlox_status phlox_inspect_file(const char* path, phlox_text** out); /* what is in it, for people */

/* ---- reports ---- */

/* JSON. Kinds: "doctor" "events" "kernels" "ops" "memory"; and "doctor_text", for people. */
PHLOX_API phlox_status phlox_report(const char* kind, phlox_text** out);
/* Records what runs when, as trace-event JSON. */
PHLOX_API phlox_status phlox_trace_start(int64_t max_events); /* 0: about a million */
PHLOX_API phlox_status phlox_trace_stop(const char* path);

#ifdef __cplusplus
}
#endif
#endif
