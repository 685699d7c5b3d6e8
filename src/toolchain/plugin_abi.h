// The boundary between phlox and its compiler plug-in: one C function that hands out one versioned table.
// Plain data only: no C++ or LLVM type crosses it, buffers are malloc'd by the plug-in and given back through
// its own function, so that plug-in and library may be built by different compilers. Structs grow at the end;
// `bytes` says how far.
#ifndef PHLOX_TOOLCHAIN_PLUGIN_ABI_H
#define PHLOX_TOOLCHAIN_PLUGIN_ABI_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PHLOX_PLUGIN_ABI 1u
#define PHLOX_PLUGIN_SYMBOL "phlox_compiler_plugin"

typedef struct phlox_plugin_request {
  uint32_t bytes;      /* sizeof this struct at the caller */
  int32_t vector_bits; /* widest vectors to use without splitting */
  const char* source;  /* header-free C */
  uint64_t source_bytes;
  const char* cpu;             /* clang's name: "x86-64-v4" */
  const char* const* features; /* with sign: "+avx512bf16" */
  uint64_t feature_count;
} phlox_plugin_request;

typedef struct phlox_plugin_result {
  uint32_t bytes; /* set by the caller */
  uint32_t reserved;
  void* object; /* x86-64 ELF object, or null */
  uint64_t object_bytes;
  char* log; /* diagnostics as text, or null */
  uint64_t log_bytes;
  uint64_t parse_ns, passes_ns, code_ns; /* where the time went */
} phlox_plugin_result;

typedef struct phlox_plugin_api {
  uint32_t version; /* PHLOX_PLUGIN_ABI */
  uint32_t bytes;
  const char* compiler; /* "clang 19.1.7" */
  /* 0: there is an object. 1: the text was refused, see the log. 2: the compiler failed, see the log.
   * Thread-safe. */
  int (*compile)(const phlox_plugin_request* request, phlox_plugin_result* result);
  void (*release)(phlox_plugin_result* result); /* frees object and log */
} phlox_plugin_api;

/* Null when the plug-in does not speak this version. */
typedef const phlox_plugin_api* (*phlox_plugin_entry)(uint32_t version);

#ifdef __cplusplus
}
#endif
#endif
