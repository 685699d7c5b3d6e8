// nn::functional: the functions behind the layers. Those that need no more than their op are the op; the
// others give arguments names and PyTorch's defaults.
#pragma once
#include "phlox/nn/module.hpp"

namespace phlox {
inline namespace v1 {
namespace nn {

enum class Reduction : int64_t { none = 0, mean = 1, sum = 2 };

namespace functional {

using v1::gelu;
using v1::layer_norm;
using v1::linear;
using v1::log_softmax;
using v1::relu;
using v1::rms_norm;
using v1::sigmoid;
using v1::silu;
using v1::softmax;
using v1::tanh;

inline Tensor dropout(const Tensor& x, double p = 0.5, bool training = true) {
  return training && p > 0 ? v1::dropout(x, p, true) : x;
}
inline Tensor embedding(const Tensor& indices, const Tensor& weight, int64_t padding_idx = -1) {
  return v1::embedding(weight, indices, padding_idx);
}

struct AttentionOptions {
  Tensor mask{};  // bool: what takes part; float: added to the scores
  double dropout = 0;
  bool is_causal = false;
  std::optional<double> scale{};  // 1 / sqrt(E) when absent
  bool enable_gqa = false;
};
// softmax(q k^T * scale + mask) v, for q [..., L, E], k [..., S, E], v [..., S, Ev].
inline Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                           const AttentionOptions& o = {}) {
  return v1::scaled_dot_product_attention(q, k, v, o.mask, o.dropout, o.is_causal, o.scale, o.enable_gqa);
}

struct CrossEntropyOptions {
  Tensor weight{};  // by class
  Reduction reduction = Reduction::mean;
  int64_t ignore_index = -100;
  double label_smoothing = 0;
};
// input [N, C, ...] or [C]; target: class numbers [N, ...], or probabilities in the shape of input.
inline Tensor cross_entropy(const Tensor& input, const Tensor& target, const CrossEntropyOptions& o = {}) {
  return v1::cross_entropy_loss(input, target, o.weight, int64_t(o.reduction), o.ignore_index,
                                o.label_smoothing);
}
inline Tensor nll_loss(const Tensor& log_probs, const Tensor& target, const Tensor& weight = {},
                       Reduction reduction = Reduction::mean, int64_t ignore_index = -100) {
  return v1::nll_loss_nd(log_probs, target, weight, int64_t(reduction), ignore_index);
}
inline Tensor mse_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean) {
  return v1::mse_loss(input, target, int64_t(reduction));
}
inline Tensor l1_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean) {
  return v1::l1_loss(input, target, int64_t(reduction));
}
inline Tensor smooth_l1_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean,
                             double beta = 1) {
  return v1::smooth_l1_loss(input, target, int64_t(reduction), beta);
}
inline Tensor huber_loss(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean,
                         double delta = 1) {
  return v1::huber_loss(input, target, int64_t(reduction), delta);
}
inline Tensor binary_cross_entropy(const Tensor& p, const Tensor& target, const Tensor& weight = {},
                                   Reduction reduction = Reduction::mean) {
  return v1::binary_cross_entropy(p, target, weight, int64_t(reduction));
}
inline Tensor binary_cross_entropy_with_logits(const Tensor& logits, const Tensor& target,
                                               const Tensor& weight = {}, const Tensor& pos_weight = {},
                                               Reduction reduction = Reduction::mean) {
  return v1::binary_cross_entropy_with_logits(logits, target, weight, pos_weight, int64_t(reduction));
}
inline Tensor kl_div(const Tensor& input, const Tensor& target, Reduction reduction = Reduction::mean,
                     bool log_target = false) {
  return v1::kl_div(input, target, int64_t(reduction), log_target);
}

}  // namespace functional
}  // namespace nn
}  // namespace v1
}  // namespace phlox
