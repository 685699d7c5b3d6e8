// SGD, Adam, AdamW and RMSprop, with PyTorch's arithmetic.
//
//   optim::AdamW opt(net.parameters(), {.lr = 3e-4, .weight_decay = 0.1});
//   optim::SGD opt({{net.body.parameters(), {.lr = 0.1}}, {net.head.parameters(), {.lr = 0.01}}});
#pragma once
#include "phlox/optim/optimizer.hpp"

namespace phlox {
inline namespace v1 {
namespace optim {

struct SGDOptions {
  double lr = 1e-3;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};
class SGD : public OptimizerOf<SGD, SGDOptions> {
 public:
  explicit SGD(const std::vector<Tensor>& params, SGDOptions o = {}) : OptimizerOf({{params, o}}) {}
  explicit SGD(const std::vector<ParamGroup>& groups) : OptimizerOf(groups) {}

 private:
  friend OptimizerOf;
  static void make_state(Group& g, const SGDOptions& o) {
    if (o.nesterov && (o.momentum <= 0 || o.dampening != 0))
      throw Error(ErrorCode::invalid_argument, "SGD", "nesterov needs a momentum and no dampening");
    if (o.momentum != 0) add_state(g, "momentum_buffer");
  }
  static void update(const Group& g, const SGDOptions& o) {
    // The first step takes the gradient whole: 1 - dampening from the second on.
    const Tensor keep = o.dampening != 0 ? 1.0 - o.dampening * (g.step > 1.0).to(f64) : Tensor();
    each(g, [&](const Tensor& p, const Tensor& grad, size_t i) {
      Tensor d = o.weight_decay != 0 ? grad + p * o.weight_decay : grad;
      if (o.momentum != 0) {
        const Tensor& m = g.state[0].tensors[i];
        m.copy_(m * o.momentum + (keep.defined() ? d * keep : d));
        d = o.nesterov ? d + m * o.momentum : m;
      }
      p -= d * g.lr;
    });
  }
};

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;  // times the parameter, added to the gradient
};
struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  // times the learning rate, taken from the parameter
};

// The moments of the gradient, corrected for having begun at zero.
template <class Derived, class Options, bool decoupled>
class AdamOf : public OptimizerOf<Derived, Options> {
  using Base = OptimizerOf<Derived, Options>;

 public:
  explicit AdamOf(const std::vector<Tensor>& params, Options o) : Base({{params, o}}) {}
  explicit AdamOf(const std::vector<typename Base::ParamGroup>& groups) : Base(groups) {}

 private:
  friend Base;
  using Group = typename Base::Group;
  static void make_state(Group& g, const Options& o) {
    if (!(o.beta1 >= 0 && o.beta1 < 1 && o.beta2 >= 0 && o.beta2 < 1))
      throw Error(ErrorCode::invalid_argument, "Adam", "betas lie in [0, 1)",
                  std::to_string(o.beta1) + " and " + std::to_string(o.beta2));
    Base::add_state(g, "exp_avg");
    Base::add_state(g, "exp_avg_sq");
  }
  static void update(const Group& g, const Options& o) {
    const Tensor step_size = g.lr / (1.0 - pow(Scalar(o.beta1), g.step));
    const Tensor correction = sqrt(1.0 - pow(Scalar(o.beta2), g.step));
    const Tensor shrink = decoupled && o.weight_decay != 0 ? 1.0 - g.lr * o.weight_decay : Tensor();
    Base::each(g, [&](const Tensor& p, const Tensor& grad, size_t i) {
      const Tensor d = !decoupled && o.weight_decay != 0 ? grad + p * o.weight_decay : grad;
      const Tensor &m = g.state[0].tensors[i], &v = g.state[1].tensors[i];
      m.copy_(m + (d - m) * (1 - o.beta1));
      v.copy_(v * o.beta2 + d * d * (1 - o.beta2));
      const Tensor change = m / (sqrt(v) / correction + o.eps) * step_size;
      p.copy_((shrink.defined() ? p * shrink : p) - change);
    });
  }
};
class Adam : public AdamOf<Adam, AdamOptions, false> {
 public:
  explicit Adam(const std::vector<Tensor>& params, AdamOptions o = {}) : AdamOf(params, o) {}
  explicit Adam(const std::vector<ParamGroup>& groups) : AdamOf(groups) {}
};
class AdamW : public AdamOf<AdamW, AdamWOptions, true> {
 public:
  explicit AdamW(const std::vector<Tensor>& params, AdamWOptions o = {}) : AdamOf(params, o) {}
  explicit AdamW(const std::vector<ParamGroup>& groups) : AdamOf(groups) {}
};

struct RMSpropOptions {
  double lr = 1e-2;
  double alpha = 0.99;
  double eps = 1e-8;
  double weight_decay = 0;
  double momentum = 0;
};
class RMSprop : public OptimizerOf<RMSprop, RMSpropOptions> {
 public:
  explicit RMSprop(const std::vector<Tensor>& params, RMSpropOptions o = {}) : OptimizerOf({{params, o}}) {}
  explicit RMSprop(const std::vector<ParamGroup>& groups) : OptimizerOf(groups) {}

 private:
  friend OptimizerOf;
  static void make_state(Group& g, const RMSpropOptions& o) {
    add_state(g, "square_avg");
    if (o.momentum != 0) add_state(g, "momentum_buffer");
  }
  static void update(const Group& g, const RMSpropOptions& o) {
    each(g, [&](const Tensor& p, const Tensor& grad, size_t i) {
      const Tensor d = o.weight_decay != 0 ? grad + p * o.weight_decay : grad;
      const Tensor& v = g.state[0].tensors[i];
      v.copy_(v * o.alpha + d * d * (1 - o.alpha));
      Tensor change = d / (sqrt(v) + o.eps);
      if (o.momentum != 0) {
        const Tensor& m = g.state[1].tensors[i];
        m.copy_(m * o.momentum + change);
        change = m;
      }
      p -= change * g.lr;
    });
  }
};

}  // namespace optim
}  // namespace v1
}  // namespace phlox
