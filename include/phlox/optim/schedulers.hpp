// Schedules of the learning rate. A scheduler multiplies the rate that each group began with by a factor of
// the number of its step() calls; like PyTorch's, it sets the rate for step 0 when it is made. step() is
// called outside of compiled functions: it writes the optimiser's learning-rate tensors.
#pragma once
#include <cmath>

#include "phlox/optim/optimizer.hpp"

namespace phlox {
inline namespace v1 {
namespace optim {

class Scheduler {
 public:
  explicit Scheduler(Optimizer& optimizer) : optimizer_(optimizer) {}
  virtual ~Scheduler() = default;
  // The rate of a group that began with `initial`, after `count` steps.
  virtual double rate(double initial, int64_t count) const = 0;
  void step() { set(count_ + 1); }
  int64_t count() const { return count_; }
  void set(int64_t count) {
    count_ = count;
    for (size_t g = 0; g < optimizer_.num_groups(); ++g)
      optimizer_.set_lr(g, rate(optimizer_.initial_lr(g), count));
  }
  StateDict state_dict() const { return {{"count", scalar_tensor(count_, {.dtype = i64})}}; }
  void load_state_dict(const StateDict& source) { set(source.at("count").item<int64_t>()); }

 private:
  Optimizer& optimizer_;
  int64_t count_ = 0;
};

// The factor is f(count). Warm-up over 100 steps: LambdaLR(opt, [](int64_t k) { return std::min(1.0, (k + 1)
// / 100.0); }).
template <class F>
class LambdaLR : public Scheduler {
 public:
  LambdaLR(Optimizer& o, F f) : Scheduler(o), f_(std::move(f)) { set(0); }
  double rate(double initial, int64_t count) const override { return initial * double(f_(count)); }

 private:
  F f_;
};
// gamma times less every `every` steps.
class StepLR : public Scheduler {
 public:
  StepLR(Optimizer& o, int64_t every, double gamma = 0.1) : Scheduler(o), every_(every), gamma_(gamma) {
    if (every < 1)
      throw Error(ErrorCode::invalid_argument, "StepLR", "the interval is positive", std::to_string(every));
    set(0);
  }
  double rate(double initial, int64_t count) const override {
    return initial * std::pow(gamma_, double(count / every_));
  }

 private:
  int64_t every_;
  double gamma_;
};
class ExponentialLR : public Scheduler {
 public:
  ExponentialLR(Optimizer& o, double gamma) : Scheduler(o), gamma_(gamma) { set(0); }
  double rate(double initial, int64_t count) const override {
    return initial * std::pow(gamma_, double(count));
  }

 private:
  double gamma_;
};
// From start_factor to end_factor in equal steps over `steps` steps, then constant.
class LinearLR : public Scheduler {
 public:
  LinearLR(Optimizer& o, double start_factor = 1.0 / 3, double end_factor = 1, int64_t steps = 5)
      : Scheduler(o), start_(start_factor), end_(end_factor), steps_(steps) {
    set(0);
  }
  double rate(double initial, int64_t count) const override {
    const double at = count >= steps_ ? 1 : double(count) / double(steps_);
    return initial * (start_ + (end_ - start_) * at);
  }

 private:
  double start_, end_;
  int64_t steps_;
};
// Half a cosine from the initial rate down to min_lr over `steps` steps, after a linear warm-up of `warmup`
// more. It goes up again after that, with period 2 steps, as PyTorch's does.
class CosineAnnealingLR : public Scheduler {
 public:
  CosineAnnealingLR(Optimizer& o, int64_t steps, double min_lr = 0, int64_t warmup = 0)
      : Scheduler(o), steps_(steps), warmup_(warmup), min_lr_(min_lr) {
    if (steps < 1)
      throw Error(ErrorCode::invalid_argument, "CosineAnnealingLR", "the number of steps is positive",
                  std::to_string(steps));
    set(0);
  }
  double rate(double initial, int64_t count) const override {
    if (count < warmup_) return initial * double(count + 1) / double(warmup_);
    constexpr double pi = 3.14159265358979323846;
    return min_lr_ + (initial - min_lr_) * (1 + std::cos(pi * double(count - warmup_) / double(steps_))) / 2;
  }

 private:
  int64_t steps_, warmup_;
  double min_lr_;
};

}  // namespace optim
}  // namespace v1
}  // namespace phlox
