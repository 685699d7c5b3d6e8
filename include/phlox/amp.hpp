// Mixed precision, as in PyTorch.
//
//   amp::GradScaler scaler(device);                        // float16 only: bfloat16 needs no scaling
//   Tensor loss;
//   {
//     amp::Autocast guard(device, f16);
//     loss = cross_entropy(net(x), y);
//   }
//   scaler.scale(loss).backward();
//   scaler.step(optimizer);
//   scaler.update();
//
// Both work eager, inside a compiled function, and around one.
#pragma once
#include "phlox/autograd.hpp"
#include "phlox/optim/optimizer.hpp"

namespace phlox {
inline namespace v1 {
namespace amp {

// While it lives, matrix products, convolutions and attention on tensors of that kind of device run in `dtype`, and
// norms, softmax and losses in float32; everything else takes what it is given. Tensors of float64 stay as they are.
class [[nodiscard]] Autocast {
 public:
  explicit Autocast(const Device& device, DType dtype, bool enabled = true) : kind_(device.raw().kind) {
    on_before_ = phlox_get_autocast(kind_, &before_);
    v1::detail::check(phlox_set_autocast(kind_, enabled, int32_t(dtype)));
  }
  // bfloat16 on the CPU, float16 on CUDA.
  explicit Autocast(const Device& device, bool enabled = true) : Autocast(device, device.is_cpu() ? bf16 : f16, enabled) {}
  Autocast(const Autocast&) = delete;
  ~Autocast() { phlox_set_autocast(kind_, on_before_, before_); }

 private:
  int32_t kind_, on_before_ = 0, before_ = PHLOX_BF16;
};
inline bool is_autocast_enabled(const Device& device) { return phlox_get_autocast(device.raw().kind, nullptr) != 0; }

struct GradScalerOptions {
  double init_scale = 65536, growth_factor = 2, backoff_factor = 0.5;
  int64_t growth_interval = 2000;
  bool enabled = true;
};

// Multiplies the loss so that gradients do not vanish in float16, divides the gradients again before the optimiser's
// step, and leaves the step out when one of them is not finite. The scale grows every `growth_interval` good steps and
// shrinks after a bad one. Its state is tensors on the device. Outside of a compiled function step() reads one number
// from the device, as PyTorch does; inside, it chooses between the old and the new values instead.
class GradScaler {
 public:
  explicit GradScaler(const Device& device, GradScalerOptions o = {})
      : options_(o),
        scale_(full({}, o.init_scale, {.dtype = f32, .device = device})),
        good_steps_(full({}, 0.0, {.dtype = f32, .device = device})),
        found_(full({}, 0.0, {.dtype = f32, .device = device})) {}

  Tensor scale(const Tensor& loss) const { return options_.enabled ? loss * scale_.to(loss.dtype()) : loss; }

  // Divides the gradients by the scale. For what looks at gradients before the step, as clipping does; step() does it
  // otherwise.
  void unscale_(const optim::Optimizer& optimizer) {
    if (!options_.enabled) return;
    if (unscaled_)
      throw Error(ErrorCode::invalid_argument, "GradScaler", "the gradients were unscaled since the last update", "",
                  "one unscale_ a step");
    unscaled_ = true;
    const NoGrad guard;
    const Tensor inverse = 1.0 / scale_;
    Tensor bad;
    for (const Tensor& p : optimizer.parameters()) {
      const Tensor g = p.grad();
      if (!g.defined()) continue;
      const Tensor here = logical_not(isfinite(g)).any();
      bad = bad.defined() ? logical_or(bad, here) : here;
      g.copy_(g * inverse.to(g.dtype()));
    }
    if (bad.defined()) found_.copy_(maximum(found_, bad.to(f32)));
  }

  void step(optim::Optimizer& optimizer) {
    if (!options_.enabled) return optimizer.step();
    if (!unscaled_) unscale_(optimizer);
    const NoGrad guard;
    if (!phlox_get_mode(PHLOX_MODE_TRACE)) {
      if (found_.item<float>() == 0) optimizer.step();
      return;
    }
    std::vector<Tensor> all = optimizer.parameters(), before;
    for (const auto& [name, t] : optimizer.state_dict()) all.push_back(t);
    for (const Tensor& t : all) before.push_back(t.detach().clone());
    optimizer.step();
    const Tensor keep = found_ > 0.0;
    for (size_t i = 0; i < all.size(); ++i) all[i].copy_(where(keep, before[i], all[i].detach()));
  }

  // The scale for the next step.
  void update() {
    if (!options_.enabled) return;
    const NoGrad guard;
    const Tensor bad = found_ > 0.0, good = good_steps_ + 1.0;
    const Tensor grows = logical_and(logical_not(bad), good >= double(options_.growth_interval));
    scale_.copy_(where(bad, scale_ * options_.backoff_factor, where(grows, scale_ * options_.growth_factor, scale_)));
    good_steps_.copy_(where(logical_or(bad, grows), zeros_like(good), good));
    found_.zero_();
    unscaled_ = false;
  }

  double get_scale() const { return scale_.item<float>(); }
  StateDict state_dict() const { return {{"scale", scale_}, {"growth_tracker", good_steps_}}; }
  void load_state_dict(const StateDict& source) { load_into(state_dict(), source, true, "GradScaler load_state_dict"); }

 private:
  GradScalerOptions options_;
  Tensor scale_, good_steps_, found_;
  bool unscaled_ = false;
};

}  // namespace amp
}  // namespace v1
}  // namespace phlox
