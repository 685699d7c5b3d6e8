// nn::init: first values of parameters, named and computed as in torch.nn.init. All of them fill in place,
// outside of any gradient, from the generator that manual_seed() sets.
#pragma once
#include <cmath>

#include "phlox/nn/module.hpp"

namespace phlox {
inline namespace v1 {
namespace nn::init {

struct Fans {
  int64_t in, out;
};
// Of a weight [out, in, window...].
inline Fans fans(const Tensor& w) {
  if (w.dim() < 2)
    throw Error(ErrorCode::invalid_argument, "init", "fan in and fan out need two dimensions at least",
                w.describe());
  int64_t window = 1;
  for (int64_t d = 2; d < w.dim(); ++d) window *= w.size(d);
  return {w.size(1) * window, w.size(0) * window};
}

enum class Nonlinearity { linear, sigmoid, tanh, relu, leaky_relu, selu };
inline double gain(Nonlinearity f, double slope = 0.01) {
  switch (f) {
    case Nonlinearity::tanh: return 5.0 / 3;
    case Nonlinearity::relu: return std::sqrt(2.0);
    case Nonlinearity::leaky_relu: return std::sqrt(2.0 / (1 + slope * slope));
    case Nonlinearity::selu: return 0.75;
    default: return 1;
  }
}

inline const Tensor& uniform_(const Tensor& t, double low = 0, double high = 1) {
  const NoGrad guard;
  return t.copy_(v1::uniform(t, low, high));
}
inline const Tensor& normal_(const Tensor& t, double mean = 0, double std = 1) {
  const NoGrad guard;
  return t.copy_(v1::normal(t, mean, std));
}
// Normal, with what lies outside [low, high] moved to the bounds' quantiles: the inverse distribution
// function of a uniform number between them.
inline const Tensor& trunc_normal_(const Tensor& t, double mean = 0, double std = 1, double low = -2,
                                   double high = 2) {
  const NoGrad guard;
  auto cdf = [&](double x) { return 0.5 * std::erfc(-(x - mean) / (std * std::sqrt(2.0))); };
  const Tensor u = v1::uniform(t, 2 * cdf(low) - 1, 2 * cdf(high) - 1);
  return t.copy_(v1::clamp(v1::erfinv(u) * (std * std::sqrt(2.0)) + mean, low, high));
}
inline const Tensor& constant_(const Tensor& t, double value) {
  const NoGrad guard;
  return t.fill_(value);
}
inline const Tensor& zeros_(const Tensor& t) { return init::constant_(t, 0); }
inline const Tensor& ones_(const Tensor& t) { return init::constant_(t, 1); }

inline const Tensor& xavier_uniform_(const Tensor& w, double gain = 1) {
  const Fans f = fans(w);
  const double bound = gain * std::sqrt(6.0 / double(f.in + f.out));
  return init::uniform_(w, -bound, bound);
}
inline const Tensor& xavier_normal_(const Tensor& w, double gain = 1) {
  const Fans f = fans(w);
  return init::normal_(w, 0, gain * std::sqrt(2.0 / double(f.in + f.out)));
}
inline const Tensor& kaiming_uniform_(const Tensor& w, double a = 0,
                                      Nonlinearity f = Nonlinearity::leaky_relu) {
  const double bound = gain(f, a) * std::sqrt(3.0 / double(fans(w).in));
  return init::uniform_(w, -bound, bound);
}
inline const Tensor& kaiming_normal_(const Tensor& w, double a = 0,
                                     Nonlinearity f = Nonlinearity::leaky_relu) {
  return init::normal_(w, 0, gain(f, a) / std::sqrt(double(fans(w).in)));
}

// What PyTorch's Linear and Conv layers begin with: weight and bias uniform within 1 / sqrt(fan in).
inline void default_(const Tensor& weight, const Tensor& bias) {
  init::kaiming_uniform_(weight, std::sqrt(5.0));
  if (!bias.defined()) return;
  const double bound = 1 / std::sqrt(double(fans(weight).in));
  init::uniform_(bias, -bound, bound);
}

}  // namespace nn::init
}  // namespace v1
}  // namespace phlox
