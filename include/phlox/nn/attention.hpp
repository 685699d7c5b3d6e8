// MultiheadAttention, with PyTorch's parameter names and batch-first tensors.
#pragma once
#include "phlox/nn/layers.hpp"

namespace phlox {
inline namespace v1 {
namespace nn {

// query [N, L, dim], key and value [N, S, dim] to [N, L, dim]. in_proj_weight is query, key and value
// stacked: [3 dim, dim].
struct MultiheadAttention : Module, Callable<MultiheadAttention> {
  int64_t dim, heads;
  double dropout;
  Tensor in_proj_weight, in_proj_bias;
  Linear out_proj;
  MultiheadAttention(int64_t dim, int64_t heads, double dropout = 0, bool bias = true)
      : dim(dim), heads(heads), dropout(dropout), out_proj(dim, dim, bias) {
    if (heads < 1 || dim % heads)
      throw Error(ErrorCode::invalid_argument, "MultiheadAttention",
                  "the number of heads divides the dimension",
                  std::to_string(heads) + " heads of " + std::to_string(dim));
    in_proj_weight = register_parameter("in_proj_weight", empty({3 * dim, dim}));
    if (bias) in_proj_bias = register_parameter("in_proj_bias", zeros({3 * dim}));
    link("out_proj", out_proj);
    init::xavier_uniform_(in_proj_weight);
    if (bias) init::zeros_(out_proj.bias);
  }
  Tensor forward(const Tensor& query, const Tensor& key, const Tensor& value,
                 const functional::AttentionOptions& o = {}) {
    auto split = [this](const Tensor& t) {  // [N, T, dim] to [N, heads, T, dim / heads]
      return t.reshape({t.size(0), t.size(1), heads, dim / heads}).transpose(1, 2);
    };
    Tensor q, k, v;
    if (query.is_same(key) && key.is_same(value)) {
      const std::vector<Tensor> parts = v1::chunk(v1::linear(query, in_proj_weight, in_proj_bias), 3, -1);
      q = parts[0], k = parts[1], v = parts[2];
    } else {
      q = v1::linear(query, part(in_proj_weight, 0), part(in_proj_bias, 0));
      k = v1::linear(key, part(in_proj_weight, 1), part(in_proj_bias, 1));
      v = v1::linear(value, part(in_proj_weight, 2), part(in_proj_bias, 2));
    }
    functional::AttentionOptions options = o;
    if (!is_training())
      options.dropout = 0;
    else if (options.dropout == 0)
      options.dropout = dropout;
    const Tensor y = functional::scaled_dot_product_attention(split(q), split(k), split(v), options);
    return out_proj.forward(y.transpose(1, 2).reshape({query.size(0), query.size(1), dim}));
  }
  Tensor forward(const Tensor& x, const functional::AttentionOptions& o = {}) { return forward(x, x, x, o); }

 private:
  Tensor part(const Tensor& t, int64_t i) const {
    return t.defined() ? t.index({Slice(i * dim, (i + 1) * dim)}) : Tensor();
  }
};

}  // namespace nn
}  // namespace v1
}  // namespace phlox
