// Compiled functions across the C ABI: a function of the caller's, traced and run as one program.
#include <memory>

#include "base/error.h"
#include "capi/op_handle.h"
#include "capi_rt/boundary.h"
#include "eager/trace.h"

struct phlox_results {
  std::vector<phlox::Tensor> tensors;
};

namespace phlox {
namespace {

struct Callback {
  phlox_traced_fn function;
  void* context;
  void (*destroy)(void*);
  ~Callback() {
    if (destroy) destroy(context);
  }
};

CompiledFunction& need_function(const phlox_compiled* f, const char* entry) {
  if (!f) null_handle(entry, "compiled function");
  return *reinterpret_cast<CompiledFunction*>(const_cast<phlox_compiled*>(f));
}

std::vector<Tensor> need_inputs(phlox_tensor* const* inputs, int32_t n, const char* entry) {
  if (n < 0 || (n > 0 && !inputs)) null_handle(entry, "list of tensors");
  std::vector<Tensor> r;
  for (int32_t i = 0; i < n; ++i) r.push_back(need_ref(inputs[i], entry));
  return r;
}

}  // namespace
}  // namespace phlox

using namespace phlox;

extern "C" {

phlox_status phlox_compile(phlox_traced_fn function, void* context, void (*destroy)(void*), const char* name,
                           phlox_compiled** out) {
  return guarded([&] {
    need_out(out, "compile");
    if (!function) null_handle("compile", "function");
    auto callback = std::make_shared<Callback>(Callback{function, context, nullptr});
    auto run = [callback](const std::vector<Tensor>& inputs) {
      std::vector<phlox_tensor*> handles;
      for (const Tensor& t : inputs) handles.push_back(reinterpret_cast<phlox_tensor*>(t.get()));
      phlox_results results;
      check_callback(
          callback->function(callback->context, handles.data(), int32_t(handles.size()), &results));
      return std::move(results.tensors);
    };
    Ref<CompiledFunction> f = make_ref<CompiledFunction>(std::move(run), name ? name : "function");
    callback->destroy = destroy;  // from here the context is ours
    *out = reinterpret_cast<phlox_compiled*>(f.take());
  });
}

phlox_status phlox_results_add(phlox_results* results, phlox_tensor* tensor) {
  return guarded([&] {
    if (!results) null_handle("results_add", "list of results");
    results->tensors.push_back(need_ref(tensor, "results_add"));
  });
}

phlox_status phlox_compiled_call(phlox_compiled* function, phlox_tensor* const* inputs, int32_t n,
                                 phlox_tensor** outs, int32_t* n_outs) {
  return guarded([&] {
    CompiledFunction& f = need_function(function, "compiled_call");
    need_out(n_outs, "compiled_call");
    forget_waiting_results();
    std::vector<Tensor> results = f.call(need_inputs(inputs, n, "compiled_call"));
    give_results(results, outs, n_outs);
  });
}

phlox_status phlox_compiled_prepare(phlox_compiled* function, phlox_tensor* const* inputs, int32_t n) {
  return guarded([&] {
    need_function(function, "compiled_prepare").prepare(need_inputs(inputs, n, "compiled_prepare"));
  });
}

phlox_status phlox_compiled_report(const phlox_compiled* function, phlox_text** out) {
  return guarded([&] {
    need_out(out, "compiled_report");
    *out = new phlox_text{need_function(function, "compiled_report").report()};
  });
}

void phlox_compiled_release(phlox_compiled* function) {
  Ref<CompiledFunction>::adopt(reinterpret_cast<CompiledFunction*>(function));
}

}  // extern "C"
