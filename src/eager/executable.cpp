// From a program to callable code: kernels from the store, host functions for extern ops.
#include <mutex>

#include "base/event.h"
#include "eager/interpret_kernels.h"
#include "eager/signature.h"
#include "eager/tuned.h"
#include "native/cuda/cublaslt.h"
#include "ops/registry.h"
#include "toolchain/compiler.h"
#include "toolchain/kernel_store.h"

namespace phlox {

// Extern ops that have no faster native entry run by their reference.
static void register_references() {
  static std::once_flag once;
  std::call_once(once, [] {
    lend_tune_store();
    register_device_native(DeviceKind::cuda, "cublaslt.matmul", cublaslt_matmul);
    for (const OpInfo* op : all_ops()) {
      const OpRecord& r = op->op->record;
      const std::string name = r.native ? r.native : op->schema.full_name();
      if (r.reference && !find_native(name)) register_native(name, r.reference);
    }
  });
}

static thread_local int interpreting = 0;
InterpretKernels::InterpretKernels() { ++interpreting; }
InterpretKernels::~InterpretKernels() { --interpreting; }

bool makes_code(Device& device) {
  return device.id().kind != DeviceKind::cpu || (!interpreting && find_compiler(device.target()) != nullptr);
}

Ref<Executable> make_executable(Ref<Program> program, Device& device) {
  register_references();
  std::vector<KernelText> texts;
  for (const Program::Kernel& k : program->kernels) texts.push_back({k.source, k.entry});
  std::vector<void*> entries(texts.size());
  if (device.id().kind != DeviceKind::cpu) {
    std::vector<Ref<Module>> modules;
    const auto images = kernel_store().images(texts, device.target());
    for (size_t i = 0; i < images.size(); ++i) {
      modules.push_back(device.load(*images[i]));
      entries[i] = modules.back()->entry(texts[i].entry);
    }
    return make_ref<Executable>(std::move(program), device, std::move(entries), std::move(modules));
  }
  if (!texts.empty() && !interpreting) {
    try {
      const std::vector<KernelFn> fns = kernel_store().get(texts, device.target());
      for (size_t i = 0; i < fns.size(); ++i) entries[i] = reinterpret_cast<void*>(fns[i]);
    } catch (const Error& e) {
      if (e.code() != ErrorCode::not_found) throw;
      emit_event(EventKind::fallback, program->kernels[0].entry, cat("no compiler: kernels run in the interpreter (", e.what(), ")"));
    }
  }
  return make_ref<Executable>(std::move(program), device, std::move(entries));
}

}  // namespace phlox
