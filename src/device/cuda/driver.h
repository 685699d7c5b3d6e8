// CUDA's driver API as a table of functions, filled from libcuda.so.1 on first use. The declarations are our
// own, so phlox builds without CUDA's toolkit and runs without its driver; tests/cuda compares them with
// cuda.h where there is one. Only what phlox calls is here. Handles stay opaque pointers: nobody else's
// header types leak into ours.
//
// Refuses: guessing. cuda_driver() is null unless the library, every required function and cuInit are there;
// cuda_driver_problem() says in words which of them was not.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/library.h"

namespace phlox::cuda {

using Result = int;  // a CUresult
inline constexpr Result success = 0, out_of_memory = 2, not_ready = 600, graph_update_failure = 910;

struct ContextHandle;
struct StreamHandle;
struct EventHandle;
struct ModuleHandle;
struct FunctionHandle;
struct GraphHandle;
struct GraphExecHandle;
struct GraphNodeHandle;
using Context = ContextHandle*;
using Stream = StreamHandle*;
using EventPtr = EventHandle*;
using ModulePtr = ModuleHandle*;
using Function = FunctionHandle*;
using Graph = GraphHandle*;
using GraphExecPtr = GraphExecHandle*;
using GraphNode = GraphNodeHandle*;
using DeviceNumber = int;
using DevicePtr = unsigned long long;

enum Attribute : int {
  max_threads_per_block = 1,
  multiprocessor_count = 16,
  l2_cache_size = 38,
  capability_major = 75,
  capability_minor = 76,
  shared_per_multiprocessor = 81,
  shared_per_block_optin = 97,
};
enum FunctionAttribute : int {
  function_static_shared = 1,
  function_registers = 4,
  function_max_dynamic_shared = 8
};
inline constexpr unsigned stream_non_blocking = 1, event_default = 0, event_no_timing = 2;
inline constexpr int pointer_memory_type = 2;
inline constexpr unsigned memory_type_host = 1;
enum CaptureMode : int { capture_global = 0, capture_thread_local = 1, capture_relaxed = 2 };

struct LaunchAttribute {  // a CUlaunchAttribute
  int id;
  int padding;
  union {
    int allowed;
    unsigned char bytes[64];
  };
};
inline constexpr int attribute_early_start = 6;  // CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
struct LaunchConfig {  // a CUlaunchConfig
  unsigned grid[3], block[3], shared_bytes;
  Stream stream;
  LaunchAttribute* attributes;
  unsigned count;
};

struct GraphUpdateInfo {  // a CUgraphExecUpdateResultInfo
  int result;
  GraphNode error_node, error_from_node;
};

// X(member, symbol, parameters). The symbol carries the ABI version that our prototype has.
#define PHLOX_CUDA_DRIVER_FUNCTIONS(X)                                                                   \
  X(init, cuInit, (unsigned flags))                                                                      \
  X(driver_version, cuDriverGetVersion, (int* version))                                                  \
  X(error_name, cuGetErrorName, (Result error, const char** text))                                       \
  X(error_string, cuGetErrorString, (Result error, const char** text))                                   \
  X(device_count, cuDeviceGetCount, (int* count))                                                        \
  X(device_get, cuDeviceGet, (DeviceNumber * device, int ordinal))                                       \
  X(device_name, cuDeviceGetName, (char* name, int length, DeviceNumber device))                         \
  X(device_total_memory, cuDeviceTotalMem_v2, (size_t* bytes, DeviceNumber device))                      \
  X(device_attribute, cuDeviceGetAttribute, (int* value, int attribute, DeviceNumber device))            \
  X(primary_retain, cuDevicePrimaryCtxRetain, (Context * context, DeviceNumber device))                  \
  X(context_current, cuCtxGetCurrent, (Context * context))                                               \
  X(context_push, cuCtxPushCurrent_v2, (Context context))                                                \
  X(context_pop, cuCtxPopCurrent_v2, (Context * context))                                                \
  X(context_synchronize, cuCtxSynchronize, ())                                                           \
  X(memory_info, cuMemGetInfo_v2, (size_t* free, size_t* total))                                         \
  X(memory_alloc, cuMemAlloc_v2, (DevicePtr * pointer, size_t bytes))                                    \
  X(memory_free, cuMemFree_v2, (DevicePtr pointer))                                                      \
  X(host_alloc, cuMemHostAlloc, (void** pointer, size_t bytes, unsigned flags))                          \
  X(host_free, cuMemFreeHost, (void* pointer))                                                           \
  X(pointer_attributes, cuPointerGetAttributes,                                                          \
    (unsigned count, int* attributes, void** values, DevicePtr pointer))                                 \
  X(copy_to_device, cuMemcpyHtoDAsync_v2, (DevicePtr to, const void* from, size_t bytes, Stream stream)) \
  X(copy_to_host, cuMemcpyDtoHAsync_v2, (void* to, DevicePtr from, size_t bytes, Stream stream))         \
  X(copy_on_device, cuMemcpyDtoDAsync_v2, (DevicePtr to, DevicePtr from, size_t bytes, Stream stream))   \
  X(fill_bytes, cuMemsetD8Async, (DevicePtr to, unsigned char value, size_t bytes, Stream stream))       \
  X(stream_create, cuStreamCreate, (Stream * stream, unsigned flags))                                    \
  X(stream_destroy, cuStreamDestroy_v2, (Stream stream))                                                 \
  X(stream_synchronize, cuStreamSynchronize, (Stream stream))                                            \
  X(stream_wait_event, cuStreamWaitEvent, (Stream stream, EventPtr event, unsigned flags))               \
  X(event_create, cuEventCreate, (EventPtr * event, unsigned flags))                                     \
  X(event_destroy, cuEventDestroy_v2, (EventPtr event))                                                  \
  X(event_record, cuEventRecord, (EventPtr event, Stream stream))                                        \
  X(event_query, cuEventQuery, (EventPtr event))                                                         \
  X(event_synchronize, cuEventSynchronize, (EventPtr event))                                             \
  X(event_elapsed, cuEventElapsedTime, (float* milliseconds, EventPtr start, EventPtr end))              \
  X(module_load, cuModuleLoadData, (ModulePtr * module, const void* image))                              \
  X(module_unload, cuModuleUnload, (ModulePtr module))                                                   \
  X(module_function, cuModuleGetFunction, (Function * function, ModulePtr module, const char* name))     \
  X(function_attribute, cuFuncGetAttribute, (int* value, int attribute, Function function))              \
  X(function_set_attribute, cuFuncSetAttribute, (Function function, int attribute, int value))           \
  X(launch_kernel, cuLaunchKernel,                                                                       \
    (Function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,             \
     unsigned block_y, unsigned block_z, unsigned shared_bytes, Stream stream, void** parameters,        \
     void** extra))                                                                                      \
  X(launch_kernel_with, cuLaunchKernelEx,                                                                \
    (const LaunchConfig* config, Function function, void** parameters, void** extra))                    \
  X(begin_capture, cuStreamBeginCapture_v2, (Stream stream, int mode))                                   \
  X(end_capture, cuStreamEndCapture, (Stream stream, Graph * graph))                                     \
  X(graph_nodes, cuGraphGetNodes, (Graph graph, GraphNode * nodes, size_t* count))                       \
  X(graph_destroy, cuGraphDestroy, (Graph graph))                                                        \
  X(graph_instantiate, cuGraphInstantiateWithFlags,                                                      \
    (GraphExecPtr * exec, Graph graph, unsigned long long flags))                                        \
  X(graph_update, cuGraphExecUpdate_v2, (GraphExecPtr exec, Graph graph, GraphUpdateInfo * info))        \
  X(graph_upload, cuGraphUpload, (GraphExecPtr exec, Stream stream))                                     \
  X(graph_launch, cuGraphLaunch, (GraphExecPtr exec, Stream stream))                                     \
  X(graph_exec_destroy, cuGraphExecDestroy, (GraphExecPtr exec))

struct Driver {
#define PHLOX_CUDA_MEMBER(member, symbol, parameters) Result(*member) parameters = nullptr;
  PHLOX_CUDA_DRIVER_FUNCTIONS(PHLOX_CUDA_MEMBER)
#undef PHLOX_CUDA_MEMBER
  // Newer than the oldest driver we accept (12.0); null on such a one.
  Result (*function_param)(Function function, size_t index, size_t* offset, size_t* bytes) = nullptr;
  int version = 0;  // 13000 for 13.0
};

const Driver* cuda_driver();
const std::string& cuda_driver_problem();  // empty when there is a driver and at least one device
int cuda_device_count();                   // 0 without a driver; never throws

// Throws Error(device) with CUDA's name and words for `result`, and what can be done after it.
[[noreturn]] void driver_failed(const char* op, Result result);
inline void driver_check(const char* op, Result result) {
  if (result != success) [[unlikely]]
    driver_failed(op, result);
}

struct LibraryInfo {
  std::string name;     // "libcuda"
  std::string path;     // empty when not found
  std::string version;  // "13.0", "9.12.0"; of a library that was not opened what its file name tells, "13"
  std::string problem;  // why it cannot be used; empty when it can
};

// libcuda, nvrtc, cublasLt and cudnn: found or not, and why. Opens them (cublasLt only where there is a device); for
// `doctor`, not for a hot path.
std::vector<LibraryInfo> library_report();
std::string library_report_text();

}  // namespace phlox::cuda
