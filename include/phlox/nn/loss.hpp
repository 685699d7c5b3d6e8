// Losses as modules: loss.forward(input, target). See functional.hpp for what they take.
#pragma once
#include "phlox/nn/functional.hpp"

namespace phlox {
inline namespace v1 {
namespace nn {

struct CrossEntropyLoss : Module, Callable<CrossEntropyLoss> {
  functional::CrossEntropyOptions options;
  explicit CrossEntropyLoss(const functional::CrossEntropyOptions& o = {}) : options(o) {}
  Tensor forward(const Tensor& input, const Tensor& target) {
    return functional::cross_entropy(input, target, options);
  }
};
struct NLLLoss : Module, Callable<NLLLoss> {
  Tensor weight;
  Reduction reduction;
  explicit NLLLoss(const Tensor& weight = {}, Reduction r = Reduction::mean) : weight(weight), reduction(r) {}
  Tensor forward(const Tensor& input, const Tensor& target) {
    return functional::nll_loss(input, target, weight, reduction);
  }
};
struct MSELoss : Module, Callable<MSELoss> {
  Reduction reduction;
  explicit MSELoss(Reduction r = Reduction::mean) : reduction(r) {}
  Tensor forward(const Tensor& input, const Tensor& target) {
    return functional::mse_loss(input, target, reduction);
  }
};
struct L1Loss : Module, Callable<L1Loss> {
  Reduction reduction;
  explicit L1Loss(Reduction r = Reduction::mean) : reduction(r) {}
  Tensor forward(const Tensor& input, const Tensor& target) {
    return functional::l1_loss(input, target, reduction);
  }
};
struct SmoothL1Loss : Module, Callable<SmoothL1Loss> {
  Reduction reduction;
  double beta;
  explicit SmoothL1Loss(Reduction r = Reduction::mean, double beta = 1) : reduction(r), beta(beta) {}
  Tensor forward(const Tensor& input, const Tensor& target) {
    return functional::smooth_l1_loss(input, target, reduction, beta);
  }
};
struct HuberLoss : Module, Callable<HuberLoss> {
  Reduction reduction;
  double delta;
  explicit HuberLoss(Reduction r = Reduction::mean, double delta = 1) : reduction(r), delta(delta) {}
  Tensor forward(const Tensor& input, const Tensor& target) {
    return functional::huber_loss(input, target, reduction, delta);
  }
};
struct BCELoss : Module, Callable<BCELoss> {
  Tensor weight;
  Reduction reduction;
  explicit BCELoss(const Tensor& weight = {}, Reduction r = Reduction::mean) : weight(weight), reduction(r) {}
  Tensor forward(const Tensor& p, const Tensor& target) {
    return functional::binary_cross_entropy(p, target, weight, reduction);
  }
};
struct BCEWithLogitsLoss : Module, Callable<BCEWithLogitsLoss> {
  Tensor weight, pos_weight;
  Reduction reduction;
  explicit BCEWithLogitsLoss(const Tensor& weight = {}, const Tensor& pos_weight = {},
                             Reduction r = Reduction::mean)
      : weight(weight), pos_weight(pos_weight), reduction(r) {}
  Tensor forward(const Tensor& logits, const Tensor& target) {
    return functional::binary_cross_entropy_with_logits(logits, target, weight, pos_weight, reduction);
  }
};
struct KLDivLoss : Module, Callable<KLDivLoss> {
  Reduction reduction;
  bool log_target;
  explicit KLDivLoss(Reduction r = Reduction::mean, bool log_target = false)
      : reduction(r), log_target(log_target) {}
  Tensor forward(const Tensor& input, const Tensor& target) {
    return functional::kl_div(input, target, reduction, log_target);
  }
};

}  // namespace nn
}  // namespace v1
}  // namespace phlox
