// The plug-in's C face: runs each compile on a thread with a large stack, because the front end recurses with
// the text, and turns LLVM's fatal errors into a result: they would end the host program otherwise.
#include <pthread.h>

#include <csetjmp>
#include <cstdlib>
#include <cstring>

#include "clang/Basic/Stack.h"
#include "clang/Basic/Version.h"
#include "compile.h"
#include "llvm/Support/ErrorHandling.h"

// Static objects of LLVM are never destroyed: the host may exit while a background compile runs in here.
extern "C" int __cxa_atexit(void (*)(void*), void*, void*) { return 0; }

namespace phlox_plugin {

namespace {

constexpr size_t stack_bytes = 64 << 20;

struct Job {
  Compilation compilation;
  int status = 2;
  std::jmp_buf on_fatal;
};
thread_local Job* current_job = nullptr;

// Reached instead of abort(). What the compile had allocated is lost; LLVM's state is per compile, so later
// ones work.
void fatal_error(void*, const char* reason, bool) {
  if (!current_job) return;
  current_job->compilation.log += "fatal error: ";
  current_job->compilation.log += reason ? reason : "?";
  current_job->compilation.log += "\n";
  std::longjmp(current_job->on_fatal, 1);
}

void* run_job(void* argument) {
  Job& job = *static_cast<Job*>(argument);
  clang::noteBottomOfStack();
  current_job = &job;
  if (setjmp(job.on_fatal) == 0)
    job.status = compile(job.compilation) ? 0 : 1;
  else
    job.status = 2;
  current_job = nullptr;
  return nullptr;
}

void* copy_out(const void* data, size_t n, uint64_t& bytes) {
  bytes = n;
  if (n == 0) return nullptr;
  void* p = std::malloc(n);
  if (p)
    std::memcpy(p, data, n);
  else
    bytes = 0;
  return p;
}

int compile_entry(const phlox_plugin_request* request, phlox_plugin_result* result) {
  if (!request || !result || request->bytes < sizeof *request || result->bytes < sizeof *result) return 2;
  std::memset(&result->reserved, 0, sizeof *result - offsetof(phlox_plugin_result, reserved));
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  ::pthread_once(&once, [] {
    initialise_llvm();
    llvm::install_fatal_error_handler(fatal_error);
    llvm::install_bad_alloc_error_handler(fatal_error);
  });

  Job job;
  job.compilation.request = request;
  pthread_attr_t attributes;
  ::pthread_attr_init(&attributes);
  ::pthread_attr_setstacksize(&attributes, stack_bytes);
  pthread_t thread;
  const int error = ::pthread_create(&thread, &attributes, run_job, &job);
  ::pthread_attr_destroy(&attributes);
  if (error)
    job.compilation.log = "cannot start a thread with a 64 MiB stack";
  else
    ::pthread_join(thread, nullptr);

  const Compilation& c = job.compilation;
  if (job.status == 0) result->object = copy_out(c.object.data(), c.object.size(), result->object_bytes);
  result->log = static_cast<char*>(copy_out(c.log.data(), c.log.size(), result->log_bytes));
  result->parse_ns = c.parse_ns, result->passes_ns = c.passes_ns, result->code_ns = c.code_ns;
  return job.status == 0 && !result->object ? 2 : job.status;
}

void release_entry(phlox_plugin_result* result) {
  std::free(result->object);
  std::free(result->log);
  result->object = nullptr;
  result->log = nullptr;
}

constexpr phlox_plugin_api api = {PHLOX_PLUGIN_ABI, sizeof(phlox_plugin_api), "clang " CLANG_VERSION_STRING,
                                  compile_entry, release_entry};

}  // namespace

}  // namespace phlox_plugin

extern "C" __attribute__((visibility("default"))) const phlox_plugin_api* phlox_compiler_plugin(
    uint32_t version) {
  return version == PHLOX_PLUGIN_ABI ? &phlox_plugin::api : nullptr;
}
