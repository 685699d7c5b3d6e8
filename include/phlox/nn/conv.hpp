// Layers over windows: convolutions and pooling. Sizes of windows are one number for all dimensions, or one
// for each.
#pragma once
#include "phlox/nn/functional.hpp"
#include "phlox/nn/init.hpp"

namespace phlox {
inline namespace v1 {
namespace nn {

// One number for each of n dimensions.
template <int n>
struct Window {
  int64_t at[n];
  Window(int64_t all) {
    for (int64_t& a : at) a = all;
  }
  template <class... I>
    requires(sizeof...(I) == n && n > 1)
  Window(I... each) : at{int64_t(each)...} {}
  const int64_t* data() const { return at; }
  size_t size() const { return n; }
};

template <int n>
struct ConvOptions {
  Window<n> stride = 1, padding = 0, dilation = 1;
  int64_t groups = 1;
  bool bias = true;
};

namespace nn_detail {
// weight [out, in / groups, window...], bias [out].
template <int n>
struct Conv : Module {
  Tensor weight, bias;
  ConvOptions<n> options;
  Conv(int64_t in, int64_t out, const Window<n>& kernel, const ConvOptions<n>& o) : options(o) {
    if (o.groups < 1 || in % o.groups || out % o.groups)
      throw Error(ErrorCode::invalid_argument, "Conv", "groups divides both numbers of channels",
                  std::to_string(in) + " to " + std::to_string(out) + " channels, " +
                      std::to_string(o.groups) + " groups");
    std::vector<int64_t> sizes{out, in / o.groups};
    for (int64_t k : kernel.at) sizes.push_back(k);
    weight = register_parameter("weight", v1::empty(sizes));
    if (o.bias) bias = register_parameter("bias", empty({out}));
    reset_parameters();
  }
  void reset_parameters() { init::default_(weight, bias); }
};
}  // namespace nn_detail

// Conv2d(in, out, 3, {.padding = 1}): x [N, in, H, W] to [N, out, H', W'].
struct Conv1d : nn_detail::Conv<1>, Callable<Conv1d> {
  Conv1d(int64_t in, int64_t out, Window<1> kernel, const ConvOptions<1>& o = {})
      : Conv(in, out, kernel, o) {}
  Tensor forward(const Tensor& x) {
    return v1::conv1d(x, weight, bias, options.stride, options.padding, options.dilation, options.groups);
  }
};
struct Conv2d : nn_detail::Conv<2>, Callable<Conv2d> {
  Conv2d(int64_t in, int64_t out, Window<2> kernel, const ConvOptions<2>& o = {})
      : Conv(in, out, kernel, o) {}
  Tensor forward(const Tensor& x) {
    return v1::conv2d(x, weight, bias, options.stride, options.padding, options.dilation, options.groups);
  }
};

struct PoolOptions {
  std::optional<Window<2>> stride{};  // the window's size when absent
  Window<2> padding = 0, dilation = 1;
  bool ceil_mode = false;
  bool count_include_pad = true;
};
struct MaxPool2d : Module, Callable<MaxPool2d> {
  Window<2> kernel;
  PoolOptions options;
  explicit MaxPool2d(Window<2> kernel, const PoolOptions& o = {}) : kernel(kernel), options(o) {}
  Tensor forward(const Tensor& x) {
    return v1::max_pool2d(x, kernel, options.stride.value_or(kernel), options.padding, options.dilation,
                          options.ceil_mode);
  }
};
struct AvgPool2d : Module, Callable<AvgPool2d> {
  Window<2> kernel;
  PoolOptions options;
  explicit AvgPool2d(Window<2> kernel, const PoolOptions& o = {}) : kernel(kernel), options(o) {}
  Tensor forward(const Tensor& x) {
    return v1::avg_pool2d(x, kernel, options.stride.value_or(kernel), options.padding, options.ceil_mode,
                          options.count_include_pad);
  }
};
// The mean of each of size[0] x size[1] cells. Cells may overlap where the size does not divide, as in
// PyTorch.
struct AdaptiveAvgPool2d : Module, Callable<AdaptiveAvgPool2d> {
  Window<2> size;
  explicit AdaptiveAvgPool2d(Window<2> size) : size(size) {}
  Tensor forward(const Tensor& x) { return v1::adaptive_avg_pool2d(x, size); }
};

}  // namespace nn
}  // namespace v1
}  // namespace phlox
