// Gradients across the C ABI: modes, .grad, backward, hooks, functions with gradients of the caller's own.
#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "capi_rt/boundary.h"
#include "eager/autocast.h"
#include "eager/autograd.h"
#include "eager/call.h"
#include "eager/trace.h"

namespace phlox {

// A callback's context: destroyed once, when nobody can call it any more.
class CallbackContext {
 public:
  CallbackContext(void* context, void (*destroy)(void*)) : context_(context), destroy_(destroy) {}
  CallbackContext(const CallbackContext&) = delete;
  ~CallbackContext() {
    if (destroy_) destroy_(context_);
  }
  void* get() const { return context_; }

 private:
  void* context_;
  void (*destroy_)(void*);
};

struct HookState {
  HookState(void* context, void (*destroy)(void*)) : context(context, destroy) {}
  CallbackContext context;
  std::atomic<bool> active{true};
};

namespace {

class FunctionNode final : public GradNode {
 public:
  explicit FunctionNode(const phlox_function& f) : name_(f.name ? f.name : "function"), backward_(f.backward), context_(f.context, f.destroy) {
    sequence = next_sequence();
    for (int32_t i = 0; i < f.n_inputs; ++i) {
      const TensorImpl& t = *to_impl(f.inputs[i]);
      inputs.push_back(has_gradient(t.dtype) ? gradient_edge(Tensor::share(to_impl(f.inputs[i]))) : Edge{});
      input_sizes_.push_back(t.sizes);
    }
    for (int32_t i = 0; i < f.n_outputs; ++i)
      result_types_.push_back({to_impl(f.outputs[i])->dtype, to_impl(f.outputs[i])->sizes});
    results = uint32_t(f.n_outputs);
    zero_grads_ = f.flags & PHLOX_FUNCTION_ZERO_GRADS;
    if (f.n_outputs > 0) device_ = &to_impl(f.outputs[0])->device();
    for (int32_t i = 0; i < f.n_saved; ++i) save(f, to_impl(f.saved[i]));
  }

  const char* name() const override { return name_.c_str(); }

  SmallVector<Tensor, 3> apply(std::span<const Tensor> given, bool) override {
    if (released_)
      fail(ErrorCode::autograd, {.op = "backward", .fact = cat("the saved values of ", name_, " were freed by an earlier backward"),
                                 .remedy = "pass retain_graph = true to the first backward"});
    std::vector<Tensor> saved;
    std::vector<phlox_tensor*> saved_handles, grad_handles, out(inputs.size(), nullptr);
    for (size_t i = 0; i < saved_.size(); ++i) saved.push_back(unpack(i));
    std::vector<Tensor> grads(given.begin(), given.end());
    for (size_t i = 0; i < grads.size() && zero_grads_; ++i)
      if (!grads[i]) grads[i] = full_tensor(*device_, result_types_[i].first, result_types_[i].second, 0);
    for (const Tensor& t : saved) saved_handles.push_back(reinterpret_cast<phlox_tensor*>(t.get()));
    for (const Tensor& g : grads) grad_handles.push_back(reinterpret_cast<phlox_tensor*>(g.get()));
    const phlox_status status =
        backward_(context_.get(), saved_handles.data(), int32_t(saved.size()), grad_handles.data(), int32_t(grads.size()),
                  out.data(), int32_t(out.size()));
    SmallVector<Tensor, 3> result;
    for (phlox_tensor* t : out) result.push_back(Tensor::adopt(to_impl(t)));
    check_callback(status);
    for (size_t i = 0; i < result.size(); ++i) {
      if (result[i] && result[i]->sizes != input_sizes_[i])
        fail(ErrorCode::autograd, {.op = name_, .fact = cat("the gradient of input ", i, " does not have the input's shape"),
                                   .got = tensor_text(*result[i]), .expected = cat("[", join(input_sizes_[i], ","), "]")});
    }
    return result;
  }

  void free_saved() override {
    released_ = !saved_.empty();
    saved_.clear();
  }

 private:
  void save(const phlox_function& f, TensorImpl* t) {
    SavedTensor s;
    result_of_.push_back(-1);
    for (int32_t k = 0; k < f.n_outputs; ++k)
      if (to_impl(f.outputs[k]) == t) result_of_.back() = k;
    s.is_result = result_of_.back() >= 0;
    s.tensor = s.is_result ? detach(Tensor::share(t)) : Tensor::share(t);  // the tape must not own what owns it
    s.version = t->storage->version.load(std::memory_order_relaxed);
    saved_.push_back(std::move(s));
  }

  Tensor unpack(size_t i) {
    const SavedTensor& s = saved_[i];
    const uint32_t now = s.tensor->storage->version.load(std::memory_order_relaxed);
    if (now != s.version)
      fail(ErrorCode::autograd, {.op = "backward", .fact = cat("a value that ", name_, " needs for its gradient was changed in place"),
                                 .got = cat(tensor_text(*s.tensor), " at version ", now), .expected = cat("version ", s.version),
                                 .remedy = "clone it before changing it"});
    if (!s.is_result) return s.tensor;
    Tensor t = detach(s.tensor);
    if (has_gradient(t->dtype)) set_edge(t, Ref<GradNode>::share(this), uint32_t(result_of_[i]));
    return t;
  }

  std::string name_;
  decltype(phlox_function::backward) backward_;
  CallbackContext context_;
  std::vector<Ints> input_sizes_;
  std::vector<std::pair<DType, Ints>> result_types_;
  std::vector<SavedTensor> saved_;
  std::vector<int32_t> result_of_;  // by saved value: which result it is, or -1
  Device* device_ = nullptr;
  bool zero_grads_ = false, released_ = false;
};

std::vector<Tensor> tensor_list(phlox_tensor* const* handles, int32_t n, const char* entry, bool may_be_null) {
  std::vector<Tensor> r;
  if (n < 0 || (n > 0 && !handles && !may_be_null)) null_handle(entry, "list of tensors");
  for (int32_t i = 0; i < n && handles; ++i)
    r.push_back(may_be_null ? Tensor::share(to_impl(handles[i])) : need_ref(handles[i], entry));
  return r;
}

Edge hook_edge(const Tensor& t, const char* entry) {
  const Edge e = gradient_edge(t);
  if (!e.node)
    fail(ErrorCode::autograd, {.op = entry, .fact = "this tensor does not require grad", .got = tensor_text(*t),
                               .remedy = "call requires_grad_() first"});
  return e;
}

void record(const phlox_function& call) {
  const char* entry = "record_function";
  // The fields of the first version must be there; what later ones append counts as zero for callers that do not know it.
  constexpr size_t first_version = offsetof(phlox_function, flags) + sizeof(uint32_t);
  if (call.struct_size < first_version)
    fail(ErrorCode::invalid_argument, {.op = entry, .fact = "struct_size is not set", .got = cat(call.struct_size),
                                       .expected = cat("at least ", first_version)});
  phlox_function given{};
  std::memcpy(&given, &call, std::min(call.struct_size, sizeof given));
  if (!given.backward) null_handle(entry, "backward function");
  const std::vector<Tensor> in = tensor_list(given.inputs, given.n_inputs, entry, false);
  const std::vector<Tensor> out = tensor_list(given.outputs, given.n_outputs, entry, false);
  tensor_list(given.saved, given.n_saved, entry, false);
  bool wanted = false;
  for (const Tensor& t : in) wanted |= t->requires_grad && has_gradient(t->dtype);
  if (!wanted || !grad_enabled()) {
    if (given.destroy) given.destroy(given.context);
    return;
  }
  for (const Tensor& o : out) {
    for (const Tensor& i : in)
      if (o == i) fail(ErrorCode::autograd, {.op = entry, .fact = "an output is an input itself", .remedy = "return its detach()"});
    if (o->requires_grad)
      fail(ErrorCode::autograd, {.op = entry, .fact = "an output has a gradient already", .got = tensor_text(*o),
                                 .remedy = "compute the outputs in no-grad mode"});
  }
  const Ref<FunctionNode> node = make_ref<FunctionNode>(given);
  for (uint32_t i = 0; i < out.size(); ++i) {
    if (!has_gradient(out[i]->dtype)) continue;
    autograd_extra(*out[i]).view = nullptr;  // also a view of an input is a result of its own
    set_edge(out[i], node, i);
  }
}

void set_requires_grad(const Tensor& t, bool on) {
  if (on && !has_gradient(t->dtype))
    fail(ErrorCode::autograd, {.op = "requires_grad_", .fact = "only floating-point tensors have gradients", .got = tensor_text(*t),
                               .remedy = "cast it first"});
  if (on && t->inference && !inference_enabled())
    fail(ErrorCode::autograd, {.op = "requires_grad_", .fact = "a tensor made in inference mode has no gradients outside it",
                               .got = tensor_text(*t), .remedy = "clone it outside inference mode"});
  if (!on && !is_leaf(*t))
    fail(ErrorCode::autograd, {.op = "requires_grad_", .fact = "this tensor was computed from ones that require grad",
                               .got = tensor_text(*t), .remedy = "use detach()"});
  t->requires_grad = on;
}

// Where retain_grad keeps the gradient; null when it does not.
Tensor* retained_grad(const AutogradExtra* e) { return e && e->watchers ? e->watchers->retained.get() : nullptr; }

void check_and_set_grad(const Tensor& t, const Tensor& g) {
  if (g && (g->sizes != t->sizes || g->dtype != t->dtype || g->device().id() != t->device().id()))
    fail(ErrorCode::autograd, {.op = "set_grad", .fact = "the gradient does not fit the tensor", .got = tensor_text(*g),
                               .expected = tensor_text(*t)});
  if (g == t) fail(ErrorCode::autograd, {.op = "set_grad", .fact = "a tensor cannot be its own gradient"});
  if (!g && !find_autograd_extra(*t)) return;
  set_grad(*t, g);
  if (AutogradExtra& e = autograd_extra(*t); !g && retained_grad(&e)) *e.watchers->retained = nullptr;
}

}  // namespace
}  // namespace phlox

struct phlox_hook {
  std::shared_ptr<phlox::HookState> state;
};

using namespace phlox;

extern "C" {

int32_t phlox_get_mode(int32_t mode) {
  return mode == PHLOX_MODE_GRAD        ? grad_mode()
         : mode == PHLOX_MODE_INFERENCE ? inference_enabled()
         : mode == PHLOX_MODE_TRACE     ? Tracer::current() != nullptr
                                        : 0;
}
phlox_status phlox_set_mode(int32_t mode, int32_t value) {
  return guarded([&] {
    if (mode == PHLOX_MODE_GRAD) set_grad_enabled(value != 0);
    else if (mode == PHLOX_MODE_INFERENCE) set_inference_enabled(value != 0);
    else fail(ErrorCode::invalid_argument, {.op = "set_mode", .fact = "there is no such mode", .got = cat(mode)});
  });
}

int32_t phlox_get_autocast(int32_t kind, int32_t* dtype) {
  if (kind != PHLOX_CPU && kind != PHLOX_CUDA) return 0;
  const AutocastState s = autocast_state(DeviceKind(kind));
  if (dtype) *dtype = int32_t(s.dtype);
  return s.on;
}
phlox_status phlox_set_autocast(int32_t kind, int32_t on, int32_t dtype) {
  return guarded([&] {
    if (kind != PHLOX_CPU && kind != PHLOX_CUDA)
      fail(ErrorCode::invalid_argument, {.op = "autocast", .fact = "there is no such kind of device", .got = cat(kind)});
    if (dtype != PHLOX_BF16 && dtype != PHLOX_F16)
      fail(ErrorCode::invalid_argument, {.op = "autocast", .fact = "this dtype is not lower than float32", .got = cat(dtype),
                                         .expected = "bfloat16 or float16"});
    set_autocast_state(DeviceKind(kind), {on != 0, DType(dtype)});
  });
}

uint32_t phlox_tensor_flags(const phlox_tensor* handle) {
  const TensorImpl& t = *to_impl(handle);
  const AutogradExtra* e = find_autograd_extra(t);
  uint32_t f = 0;
  if (t.requires_grad) f |= PHLOX_FLAG_REQUIRES_GRAD;
  if (is_leaf(t)) f |= PHLOX_FLAG_LEAF;
  if (t.contiguous) f |= PHLOX_FLAG_CONTIGUOUS;
  if (t.inference) f |= PHLOX_FLAG_INFERENCE;
  if (retained_grad(e)) f |= PHLOX_FLAG_RETAINS_GRAD;
  if (e && e->view) f |= PHLOX_FLAG_VIEW;
  return f;
}

phlox_status phlox_tensor_set_requires_grad(phlox_tensor* t, int32_t value) {
  return guarded([&] { set_requires_grad(need_ref(t, "requires_grad_"), value != 0); });
}

phlox_status phlox_tensor_retain_grad(phlox_tensor* handle) {
  return guarded([&] {
    const Tensor t = need_ref(handle, "retain_grad");
    const Edge e = hook_edge(t, "retain_grad");
    if (is_leaf(*t) || retained_grad(&autograd_extra(*t))) return;
    auto cell = std::make_shared<Tensor>();
    autograd_extra(*t).watched().retained = cell;
    e.node->hooks.push_back({e.index, [cell](const Tensor& g) -> Tensor {
      *cell = *cell ? call1("add.Tensor", {tensor_arg(*cell), tensor_arg(g)}) : g;
      return nullptr;
    }});
  });
}

phlox_status phlox_tensor_grad(const phlox_tensor* t, phlox_tensor** out) {
  return guarded([&] {
    need_out(out, "grad");
    const AutogradExtra* e = find_autograd_extra(need(t, "grad"));
    const Tensor* retained = retained_grad(e);
    *out = e ? to_handle(retained ? *retained : e->grad) : nullptr;
  });
}
phlox_status phlox_tensor_set_grad(phlox_tensor* t, phlox_tensor* grad) {
  return guarded([&] { check_and_set_grad(need_ref(t, "set_grad"), Tensor::share(to_impl(grad))); });
}
phlox_status phlox_tensor_detach(const phlox_tensor* t, phlox_tensor** out) {
  return guarded([&] {
    need_out(out, "detach");
    *out = to_handle(detach(need_ref(t, "detach")));
  });
}
phlox_status phlox_tensor_grad_fn_name(const phlox_tensor* handle, phlox_text** out) {
  return guarded([&] {
    need_out(out, "grad_fn");
    const Tensor t = need_ref(handle, "grad_fn");
    *out = is_leaf(*t) ? nullptr : new phlox_text{gradient_edge(t).node->name()};
  });
}

phlox_status phlox_backward(phlox_tensor* const* roots, phlox_tensor* const* grads, int32_t n, uint32_t flags) {
  return guarded([&] {
    run_backward(tensor_list(roots, n, "backward", false), tensor_list(grads, n, "backward", true),
                 flags & PHLOX_RETAIN_GRAPH, flags & PHLOX_CREATE_GRAPH, nullptr);
  });
}

phlox_status phlox_grad(phlox_tensor* const* roots, phlox_tensor* const* grads, int32_t n_roots, phlox_tensor* const* inputs,
                        int32_t n_inputs, uint32_t flags, phlox_tensor** out) {
  return guarded([&] {
    need_out(out, "grad");
    const std::vector<Tensor> wrt = tensor_list(inputs, n_inputs, "grad", false);
    for (size_t i = 0; i < wrt.size(); ++i)
      if (!wrt[i]->requires_grad)
        fail(ErrorCode::autograd, {.op = "grad", .fact = cat("input ", i, " does not require grad"), .got = tensor_text(*wrt[i]),
                                   .remedy = "call requires_grad_() before it is used"});
    std::vector<Tensor> r = run_backward(tensor_list(roots, n_roots, "grad", false), tensor_list(grads, n_roots, "grad", true),
                                         flags & PHLOX_RETAIN_GRAPH, flags & PHLOX_CREATE_GRAPH, &wrt);
    for (size_t i = 0; i < r.size(); ++i)
      if (!r[i] && !(flags & PHLOX_ALLOW_UNUSED))
        fail(ErrorCode::autograd, {.op = "grad", .fact = cat("the outputs do not depend on input ", i), .got = tensor_text(*wrt[i]),
                                   .remedy = "pass allow_unused = true to get no gradient for it"});
    for (size_t i = 0; i < r.size(); ++i) out[i] = to_handle(std::move(r[i]));
  });
}

phlox_status phlox_tensor_add_hook(phlox_tensor* handle, phlox_hook_fn hook, void* context, void (*destroy)(void*),
                                   phlox_hook** out) {
  return guarded([&] {
    need_out(out, "register_hook");
    if (!hook) null_handle("register_hook", "function");
    const Edge e = hook_edge(need_ref(handle, "register_hook"), "register_hook");
    auto handle_out = std::make_unique<phlox_hook>();
    auto state = std::make_shared<HookState>(context, destroy);
    handle_out->state = state;
    e.node->hooks.push_back({e.index, [state, hook](const Tensor& g) -> Tensor {
      if (!state->active) return nullptr;
      phlox_tensor* replacement = nullptr;
      const phlox_status status = hook(state->context.get(), reinterpret_cast<phlox_tensor*>(g.get()), &replacement);
      Tensor r = Tensor::adopt(to_impl(replacement));
      check_callback(status);
      if (r && r->sizes != g->sizes)
        fail(ErrorCode::autograd, {.op = "hook", .fact = "the replacement does not have the gradient's shape", .got = tensor_text(*r),
                                   .expected = tensor_text(*g)});
      return r;
    }});
    *out = handle_out.release();
  });
}

phlox_status phlox_tensor_add_accumulated_hook(phlox_tensor* handle, phlox_accumulated_fn hook, void* context,
                                               void (*destroy)(void*), phlox_hook** out) {
  return guarded([&] {
    const char* entry = "register_post_accumulate_grad_hook";
    need_out(out, entry);
    if (!hook) null_handle(entry, "function");
    const Tensor t = need_ref(handle, entry);
    hook_edge(t, entry);
    if (!is_leaf(*t))
      fail(ErrorCode::autograd, {.op = entry, .fact = "only leaves accumulate a gradient", .got = tensor_text(*t)});
    auto handle_out = std::make_unique<phlox_hook>();
    auto state = std::make_shared<HookState>(context, destroy);
    handle_out->state = state;
    autograd_extra(*t).watched().accumulated.push_back([state, hook](const Tensor& leaf) {
      if (state->active) check_callback(hook(state->context.get(), reinterpret_cast<phlox_tensor*>(leaf.get())));
    });
    *out = handle_out.release();
  });
}

void phlox_hook_remove(phlox_hook* hook) {
  if (hook) hook->state->active = false;
}
void phlox_hook_release(phlox_hook* hook) { delete hook; }

phlox_status phlox_record_function(const phlox_function* function) {
  return guarded([&] {
    if (!function) null_handle("record_function", "function");
    record(*function);
  });
}

phlox_status phlox_manual_seed(uint64_t seed) {
  return guarded([&] {
    set_random_state(cpu_device(), {seed, 0});  // one generator serves all devices
  });
}
phlox_status phlox_get_rng_state(phlox_device device, uint64_t state[2]) {
  return guarded([&] {
    need_out(state, "get_rng_state");
    const RandomState s = random_state(need_device(device));
    state[0] = s.seed;
    state[1] = s.offset;
  });
}
phlox_status phlox_set_rng_state(phlox_device device, const uint64_t state[2]) {
  return guarded([&] {
    need_out(state, "set_rng_state");
    set_random_state(need_device(device), {state[0], state[1]});
  });
}

}  // extern "C"
