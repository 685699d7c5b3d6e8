// Optimizer: parameters in groups, each with options of its own, and the state that belongs to them.
//
// Invariant: everything that changes from step to step is a tensor which is made at construction (learning
// rate, step count, moments) and only changed in place. A compiled train step therefore never freezes any of
// it, and the learning rate may be set between steps without compiling again. The other options are numbers
// and do not change. A step passes over parameters without a gradient. The step count is the group's.
#pragma once
#include <memory>

#include "phlox/state_dict.hpp"

namespace phlox {
inline namespace v1 {
namespace optim {

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual void step() = 0;

  // Drops the gradients. Called after step(), a compiled train step need not keep them in memory at all.
  void zero_grad() {
    for (const Group& g : groups_)
      for (const Tensor& p : g.params) p.set_grad(Tensor());
  }
  size_t num_groups() const { return groups_.size(); }
  std::vector<Tensor> parameters() const {
    std::vector<Tensor> all;
    for (const Group& g : groups_) all.insert(all.end(), g.params.begin(), g.params.end());
    return all;
  }
  double lr(size_t group = 0) const { return groups_.at(group).lr.item<double>(); }
  double initial_lr(size_t group = 0) const { return groups_.at(group).initial_lr; }
  void set_lr(double lr) {
    for (size_t g = 0; g < groups_.size(); ++g) set_lr(g, lr);
  }
  void set_lr(size_t group, double lr) {
    const NoGrad guard;
    phlox_tensor* h = groups_.at(group).lr.handle();
    v1::detail::check(phlox_tensor_write(h, &lr, sizeof lr));
  }

  // "group0.lr", "group0.step", "group0.3.exp_avg": the state of the group's parameter number 3.
  StateDict state_dict() const {
    StateDict all;
    for (size_t i = 0; i < groups_.size(); ++i) {
      const std::string prefix = "group" + std::to_string(i) + ".";
      const Group& g = groups_[i];
      all.set(prefix + "lr", g.lr);
      all.set(prefix + "step", g.step);
      for (const auto& s : g.state)
        for (size_t k = 0; k < s.tensors.size(); ++k)
          all.set(prefix + std::to_string(k) + "." + s.name, s.tensors[k]);
    }
    return all;
  }
  void load_state_dict(const StateDict& source) {
    load_into(state_dict(), source, true, "optimizer load_state_dict");
  }

 protected:
  struct State {
    std::string name;
    std::vector<Tensor> tensors;  // by parameter
  };
  struct Group {
    std::vector<Tensor> params;
    double initial_lr = 0;
    Tensor lr, step;  // float64, no dimensions
    std::vector<State> state;
  };

  Optimizer() = default;
  Group& add_group(const std::vector<Tensor>& params, double lr) {
    if (params.empty()) throw Error(ErrorCode::invalid_argument, "optimizer", "a group has no parameters");
    if (!(lr >= 0))
      throw Error(ErrorCode::invalid_argument, "optimizer", "a learning rate is not negative",
                  std::to_string(lr));
    for (const Tensor& p : params) {
      if (!p.is_leaf() || !p.requires_grad())
        throw Error(ErrorCode::invalid_argument, "optimizer", "a parameter is a leaf that requires grad",
                    p.describe());
      for (const Group& g : groups_)
        for (const Tensor& other : g.params)
          if (other.is_same(p))
            throw Error(ErrorCode::invalid_argument, "optimizer", "a parameter is in two groups",
                        p.describe());
    }
    const TensorOptions o{.dtype = f64, .device = params[0].device()};
    Group g;
    g.params = params;
    g.initial_lr = lr;
    g.lr = scalar_tensor(lr, o);
    g.step = scalar_tensor(0.0, o);
    groups_.push_back(std::move(g));
    return groups_.back();
  }
  static void add_state(Group& g, std::string name) {
    State s{std::move(name), {}};
    for (const Tensor& p : g.params) s.tensors.push_back(zeros_like(p.detach()));
    g.state.push_back(std::move(s));
  }

  std::vector<Group> groups_;
};

// What the optimisers share: groups with options. `Derived::Options` has a member lr; `Derived` has
// make_state(Group&, const Options&) and update(Group&, const Options&).
template <class Derived, class Options>
class OptimizerOf : public Optimizer {
 public:
  struct ParamGroup {
    std::vector<Tensor> params;
    Options options;
  };
  void step() override {
    const NoGrad guard;
    for (size_t i = 0; i < groups_.size(); ++i) {
      groups_[i].step += 1;
      Derived::update(groups_[i], options_[i]);
    }
  }

 protected:
  explicit OptimizerOf(const std::vector<ParamGroup>& groups) {
    for (const ParamGroup& g : groups) {
      options_.push_back(g.options);
      Derived::make_state(add_group(g.params, g.options.lr), g.options);
    }
  }
  // f(parameter, gradient, its number in the group) for those that have a gradient.
  template <class F>
  static void each(const Group& g, const F& f) {
    for (size_t i = 0; i < g.params.size(); ++i)
      if (const Tensor grad = g.params[i].grad(); grad.defined()) f(g.params[i], grad, i);
  }
  std::vector<Options> options_;
};

// Scales all gradients by one factor so that the length of all of them together is at most max_norm. Returns
// the length before, a tensor without dimensions.
inline Tensor clip_grad_norm_(const std::vector<Tensor>& params, double max_norm) {
  const NoGrad guard;
  Tensor total;
  for (const Tensor& p : params) {
    const Tensor g = p.grad();
    if (!g.defined()) continue;
    const Tensor square = (g * g).sum();
    total = total.defined() ? total + square : square;
  }
  if (!total.defined()) return scalar_tensor(0.0);
  const Tensor norm = sqrt(total);
  const Tensor factor = clamp_max(max_norm / (norm + 1e-6), 1.0);
  for (const Tensor& p : params)
    if (const Tensor g = p.grad(); g.defined()) g *= factor;
  return norm;
}
// Limits every element of every gradient to [-limit, limit].
inline void clip_grad_value_(const std::vector<Tensor>& params, double limit) {
  const NoGrad guard;
  for (const Tensor& p : params)
    if (const Tensor g = p.grad(); g.defined()) g.copy_(clamp(g, -limit, limit));
}

}  // namespace optim
}  // namespace v1
}  // namespace phlox
