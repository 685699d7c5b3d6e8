// Normalisation: BatchNorm1d and 2d, LayerNorm, RMSNorm, GroupNorm.
#pragma once
#include "phlox/nn/functional.hpp"
#include "phlox/nn/init.hpp"

namespace phlox {
inline namespace v1 {
namespace nn {

struct BatchNormOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // of the newest batch in the running statistics
  bool affine = true;
  bool track_running_stats = true;
};

namespace nn_detail {
// Normalises each channel (dimension 1). In training by the batch's statistics, and the running ones follow;
// in evaluation by the running ones.
struct BatchNorm : Module {
  Tensor weight, bias, running_mean, running_var, num_batches_tracked;
  BatchNormOptions options;
  BatchNorm(int64_t channels, const BatchNormOptions& o) : options(o) {
    if (o.affine) {
      weight = register_parameter("weight", ones({channels}));
      bias = register_parameter("bias", zeros({channels}));
    }
    if (!o.track_running_stats) return;
    running_mean = register_buffer("running_mean", zeros({channels}));
    running_var = register_buffer("running_var", ones({channels}));
    num_batches_tracked = register_buffer("num_batches_tracked", scalar_tensor(0, {.dtype = i64}));
  }

 protected:
  Tensor normalise(const Tensor& x) {
    const bool by_batch = is_training() || !options.track_running_stats;
    if (!by_batch || !options.track_running_stats)
      return v1::batch_norm(x, weight, bias, running_mean, running_var, by_batch, options.momentum,
                            options.eps, false);
    auto [y, mean, invstd, new_mean, new_var] = v1::_native_batch_norm_legit_functional(
        x, weight, bias, running_mean, running_var, true, options.momentum, options.eps);
    const NoGrad guard;
    running_mean.copy_(new_mean.detach());
    running_var.copy_(new_var.detach());
    num_batches_tracked += 1;
    return y;
  }
  static void check_rank(const Tensor& x, int64_t a, int64_t b, const char* op) {
    if (x.dim() != a && x.dim() != b)
      throw Error(ErrorCode::invalid_argument, op, "the input has another number of dimensions", x.describe(),
                  a == b ? std::to_string(a) : std::to_string(a) + " or " + std::to_string(b));
  }
};
}  // namespace nn_detail

struct BatchNorm1d : nn_detail::BatchNorm, Callable<BatchNorm1d> {  // [N, C] or [N, C, L]
  explicit BatchNorm1d(int64_t channels, const BatchNormOptions& o = {}) : BatchNorm(channels, o) {}
  Tensor forward(const Tensor& x) {
    check_rank(x, 2, 3, "BatchNorm1d");
    return normalise(x);
  }
};
struct BatchNorm2d : nn_detail::BatchNorm, Callable<BatchNorm2d> {  // [N, C, H, W]
  explicit BatchNorm2d(int64_t channels, const BatchNormOptions& o = {}) : BatchNorm(channels, o) {}
  Tensor forward(const Tensor& x) {
    check_rank(x, 4, 4, "BatchNorm2d");
    return normalise(x);
  }
};

// Normalises over the last dimensions, which have the sizes `shape`.
struct LayerNorm : Module, Callable<LayerNorm> {
  Tensor weight, bias;
  std::vector<int64_t> shape;
  double eps;
  explicit LayerNorm(const IntList& shape, double eps = 1e-5, bool affine = true, bool with_bias = true)
      : shape(shape.vec()), eps(eps) {
    if (affine) weight = register_parameter("weight", ones(this->shape));
    if (affine && with_bias) bias = register_parameter("bias", zeros(this->shape));
  }
  Tensor forward(const Tensor& x) { return v1::layer_norm(x, shape, weight, bias, eps); }
};
// x / sqrt(mean(x^2) + eps) * weight; without eps the dtype's smallest step from 1.
struct RMSNorm : Module, Callable<RMSNorm> {
  Tensor weight;
  std::vector<int64_t> shape;
  std::optional<double> eps;
  explicit RMSNorm(const IntList& shape, std::optional<double> eps = {}, bool affine = true)
      : shape(shape.vec()), eps(eps) {
    if (affine) weight = register_parameter("weight", ones(this->shape));
  }
  Tensor forward(const Tensor& x) { return v1::rms_norm(x, shape, weight, eps); }
};
// Normalises each of `groups` groups of channels of each example.
struct GroupNorm : Module, Callable<GroupNorm> {
  Tensor weight, bias;
  int64_t groups;
  double eps;
  GroupNorm(int64_t groups, int64_t channels, double eps = 1e-5, bool affine = true)
      : groups(groups), eps(eps) {
    if (!affine) return;
    weight = register_parameter("weight", ones({channels}));
    bias = register_parameter("bias", zeros({channels}));
  }
  Tensor forward(const Tensor& x) { return v1::group_norm(x, groups, weight, bias, eps); }
};

}  // namespace nn
}  // namespace v1
}  // namespace phlox
