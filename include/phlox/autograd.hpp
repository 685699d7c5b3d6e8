// Gradient modes, gradients of values, and functions with gradients of the user's own.
#pragma once
#include <memory>

#include "phlox/tensor.hpp"

namespace phlox {
inline namespace v1 {

namespace detail {
template <int mode, bool value>
class ModeGuard {
 public:
  ModeGuard() : before_(phlox_get_mode(mode)) { phlox_set_mode(mode, value); }
  ModeGuard(const ModeGuard&) = delete;
  ~ModeGuard() { phlox_set_mode(mode, before_); }

 private:
  int32_t before_;
};
}  // namespace detail

// While one lives, this thread records no gradients.
struct [[nodiscard]] NoGrad : detail::ModeGuard<PHLOX_MODE_GRAD, false> {};
using NoGradGuard = NoGrad;
struct [[nodiscard]] EnableGrad : detail::ModeGuard<PHLOX_MODE_GRAD, true> {};
// Tensors made inside can never take part in gradients.
struct [[nodiscard]] InferenceMode : detail::ModeGuard<PHLOX_MODE_INFERENCE, true> {};
inline bool is_grad_enabled() { return phlox_get_mode(PHLOX_MODE_GRAD) && !phlox_get_mode(PHLOX_MODE_INFERENCE); }
inline void set_grad_enabled(bool on) { phlox_set_mode(PHLOX_MODE_GRAD, on); }
inline bool is_inference_mode_enabled() { return phlox_get_mode(PHLOX_MODE_INFERENCE) != 0; }

struct GradOptions {
  std::optional<bool> retain_graph{};  // create_graph when absent
  bool create_graph = false;
  bool allow_unused = false;
};
// The gradients of sum(outputs * grad_outputs) with respect to `inputs`. Undefined where there is none.
inline std::vector<Tensor> grad(TensorList outputs, TensorList inputs, TensorList grad_outputs = {}, const GradOptions& o = {}) {
  std::vector<phlox_tensor*> roots, wrt, seeds(outputs.size(), nullptr), out(inputs.size(), nullptr);
  for (const Tensor& t : outputs) roots.push_back(t.handle());
  for (const Tensor& t : inputs) wrt.push_back(t.handle());
  for (size_t i = 0; i < grad_outputs.size() && i < seeds.size(); ++i) seeds[i] = grad_outputs[i].handle();
  const uint32_t flags = (o.retain_graph.value_or(o.create_graph) ? PHLOX_RETAIN_GRAPH : 0) |
                         (o.create_graph ? PHLOX_CREATE_GRAPH : 0) | (o.allow_unused ? PHLOX_ALLOW_UNUSED : 0);
  detail::check(phlox_grad(roots.data(), seeds.data(), int32_t(roots.size()), wrt.data(), int32_t(wrt.size()), flags, out.data()));
  std::vector<Tensor> r;
  r.reserve(out.size());
  for (phlox_tensor* h : out) r.push_back(Tensor::adopt(h));
  return r;
}
inline void backward(TensorList roots, TensorList gradients = {}, bool retain_graph = false, bool create_graph = false) {
  std::vector<phlox_tensor*> r, g(roots.size(), nullptr);
  for (const Tensor& t : roots) r.push_back(t.handle());
  for (size_t i = 0; i < gradients.size() && i < g.size(); ++i) g[i] = gradients[i].handle();
  detail::check(phlox_backward(r.data(), g.data(), int32_t(r.size()),
                               (retain_graph || create_graph ? PHLOX_RETAIN_GRAPH : 0) | (create_graph ? PHLOX_CREATE_GRAPH : 0)));
}

// What forward leaves for backward. Tensors go through save_for_backward, which notices when they are changed in place
// meanwhile; other values may be kept in a struct of the user's (see Function::Context).
class FunctionContext {
 public:
  void save_for_backward(std::vector<Tensor> tensors) { saved_ = std::move(tensors); }
  const std::vector<Tensor>& saved() const { return saved_; }  // in backward
  bool needs_input_grad(size_t tensor_argument) const { return needs_[tensor_argument]; }
  void set_materialize_grads(bool on) { materialize_ = on; }   // on: missing gradients come as zeros

 private:
  template <class F>
  friend class Function;
  std::vector<Tensor> saved_;
  std::vector<bool> needs_;
  bool materialize_ = true;
};

// A function with a gradient of its own:
//
//   struct Square : phlox::Function<Square> {
//     static Tensor forward(Context& ctx, const Tensor& x) { ctx.save_for_backward({x}); return x * x; }
//     static std::vector<Tensor> backward(Context& ctx, const std::vector<Tensor>& grads) {
//       return {grads[0] * ctx.saved()[0] * 2};
//     }
//   };
//   Tensor y = Square::apply(x);
//
// forward takes any arguments and returns a Tensor or a std::vector<Tensor>; it runs in no-grad mode. backward returns
// one gradient (may be undefined) for each Tensor argument, in order; written with phlox ops, it can be differentiated
// again. A context type of the user's derives from FunctionContext and is named `Context` in the function.
template <class F>
class Function {
 public:
  using Context = FunctionContext;

  template <class... A>
  static auto apply(A&&... args) {
    using C = typename F::Context;
    auto context = std::make_unique<C>();
    FunctionContext& base = *context;
    std::vector<Tensor> inputs;
    (collect(inputs, args), ...);
    for (const Tensor& t : inputs) base.needs_.push_back(t.requires_grad());
    auto result = [&] {
      const NoGrad guard;
      return F::forward(*context, std::forward<A>(args)...);
    }();
    record(std::move(context), inputs, result);
    return result;
  }

 private:
  template <class T>
  static void collect(std::vector<Tensor>& to, const T& v) {
    if constexpr (std::is_same_v<T, Tensor>) to.push_back(v);
    else if constexpr (std::is_same_v<T, std::vector<Tensor>>) to.insert(to.end(), v.begin(), v.end());
  }

  template <class C, class R>
  static void record(std::unique_ptr<C> context, const std::vector<Tensor>& inputs, R& result) {
    std::vector<phlox_tensor*> in, out, saved;
    for (const Tensor& t : inputs) in.push_back(t.handle());
    auto add = [&](Tensor& t) {
      for (const Tensor& i : inputs)
        if (t.is_same(i)) {  // an input given back is a result of its own
          const NoGrad guard;
          t = t.detach();
          break;
        }
      out.push_back(t.handle());
    };
    if constexpr (std::is_same_v<R, Tensor>) add(result);
    else for (Tensor& t : result) add(t);
    FunctionContext& base = *context;
    const std::vector<Tensor> keep = std::exchange(base.saved_, {});  // the library keeps them from here
    for (const Tensor& t : keep) saved.push_back(t.handle());
    phlox_function f{};
    f.struct_size = sizeof f;
    f.name = function_name();
    f.inputs = in.data();
    f.n_inputs = int32_t(in.size());
    f.outputs = out.data();
    f.n_outputs = int32_t(out.size());
    f.saved = saved.data();
    f.n_saved = int32_t(saved.size());
    f.backward = [](void* c, phlox_tensor* const* saved, int32_t n_saved, phlox_tensor* const* grads, int32_t n_grads,
                    phlox_tensor** grad_inputs, int32_t n_inputs) -> phlox_status {
      return detail::shielded([&] { run_backward(*static_cast<C*>(c), saved, n_saved, grads, n_grads, grad_inputs, n_inputs); });
    };
    f.flags = base.materialize_ ? PHLOX_FUNCTION_ZERO_GRADS : 0;
    f.context = context.get();
    f.destroy = [](void* c) { delete static_cast<C*>(c); };
    detail::check(phlox_record_function(&f));
    context.release();
  }

  template <class C>
  static void run_backward(C& context, phlox_tensor* const* saved, int32_t n_saved, phlox_tensor* const* grads, int32_t n_grads,
                           phlox_tensor** grad_inputs, int32_t n_inputs) {
    FunctionContext& base = context;
    std::vector<Tensor> g;
    for (int32_t i = 0; i < n_saved; ++i) base.saved_.push_back(Tensor::share(saved[i]));
    struct Clear {
      FunctionContext& c;
      ~Clear() { c.saved_.clear(); }
    } clear{base};
    for (int32_t i = 0; i < n_grads; ++i) g.push_back(Tensor::share(grads[i]));
    std::vector<Tensor> r = F::backward(context, g);
    if (r.size() != size_t(n_inputs))
      throw Error(ErrorCode::autograd, "function", "backward returned another number of gradients", std::to_string(r.size()),
                  std::to_string(n_inputs) + ", one for each tensor argument");
    for (size_t i = 0; i < r.size(); ++i) grad_inputs[i] = r[i].release();
  }

  static const char* function_name() {
    if constexpr (requires { F::name; }) return F::name;
    else return "function";
  }
};

}  // namespace v1
}  // namespace phlox
