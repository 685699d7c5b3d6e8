// Layers without windows or statistics: Linear, Embedding, Dropout, Flatten, Identity and the activations.
#pragma once
#include "phlox/nn/functional.hpp"
#include "phlox/nn/init.hpp"

namespace phlox {
inline namespace v1 {
namespace nn {

// y = x W^T + b, for x [..., in]; weight [out, in], bias [out] (undefined without).
struct Linear : Module, Callable<Linear> {
  Tensor weight, bias;
  Linear(int64_t in, int64_t out, bool with_bias = true) {
    weight = register_parameter("weight", empty({out, in}));
    if (with_bias) bias = register_parameter("bias", empty({out}));
    reset_parameters();
  }
  void reset_parameters() { init::default_(weight, bias); }
  Tensor forward(const Tensor& x) { return v1::linear(x, weight, bias); }
};

// Rows of a table by number: [...] of int64 to [..., dim]. The row padding_idx (when not negative) is zero
// and gets no gradient.
struct Embedding : Module, Callable<Embedding> {
  Tensor weight;
  int64_t padding_idx;
  Embedding(int64_t rows, int64_t dim, int64_t padding_idx = -1) : padding_idx(padding_idx) {
    weight = register_parameter("weight", empty({rows, dim}));
    reset_parameters();
  }
  void reset_parameters() {
    init::normal_(weight);
    if (padding_idx >= 0) {
      const NoGrad guard;
      weight.index_put_({padding_idx}, 0.0);
    }
  }
  Tensor forward(const Tensor& indices) { return v1::embedding(weight, indices, padding_idx); }
};

// In training each element becomes 0 with probability p and is divided by 1 - p otherwise.
struct Dropout : Module, Callable<Dropout> {
  double p;
  explicit Dropout(double p = 0.5) : p(p) {}
  Tensor forward(const Tensor& x) { return functional::dropout(x, p, is_training()); }
};

struct Identity : Module, Callable<Identity> {
  Tensor forward(const Tensor& x) { return x; }
};
struct Flatten : Module, Callable<Flatten> {
  int64_t start_dim, end_dim;
  explicit Flatten(int64_t start_dim = 1, int64_t end_dim = -1) : start_dim(start_dim), end_dim(end_dim) {}
  Tensor forward(const Tensor& x) { return x.flatten(start_dim, end_dim); }
};
struct Unflatten : Module, Callable<Unflatten> {
  int64_t dim;
  std::vector<int64_t> sizes;
  Unflatten(int64_t dim, std::vector<int64_t> sizes) : dim(dim), sizes(std::move(sizes)) {}
  Tensor forward(const Tensor& x) {
    std::vector<int64_t> shape;
    const int64_t at = dim < 0 ? dim + x.dim() : dim;
    for (int64_t d = 0; d < x.dim(); ++d) {
      if (d == at)
        shape.insert(shape.end(), sizes.begin(), sizes.end());
      else
        shape.push_back(x.size(d));
    }
    return x.reshape(shape);
  }
};

struct ReLU : Module, Callable<ReLU> {
  Tensor forward(const Tensor& x) { return v1::relu(x); }
};
struct GELU : Module, Callable<GELU> {
  std::string approximate;
  explicit GELU(std::string approximate = "none") : approximate(std::move(approximate)) {}
  Tensor forward(const Tensor& x) { return v1::gelu(x, approximate); }
};
struct SiLU : Module, Callable<SiLU> {
  Tensor forward(const Tensor& x) { return v1::silu(x); }
};
struct Tanh : Module, Callable<Tanh> {
  Tensor forward(const Tensor& x) { return v1::tanh(x); }
};
struct Sigmoid : Module, Callable<Sigmoid> {
  Tensor forward(const Tensor& x) { return v1::sigmoid(x); }
};
struct LeakyReLU : Module, Callable<LeakyReLU> {
  double slope;
  explicit LeakyReLU(double slope = 0.01) : slope(slope) {}
  Tensor forward(const Tensor& x) { return v1::leaky_relu(x, slope); }
};
struct ELU : Module, Callable<ELU> {
  double alpha;
  explicit ELU(double alpha = 1) : alpha(alpha) {}
  Tensor forward(const Tensor& x) { return v1::elu(x, alpha); }
};
struct Softplus : Module, Callable<Softplus> {
  Tensor forward(const Tensor& x) { return v1::softplus(x); }
};
struct Softmax : Module, Callable<Softmax> {
  int64_t dim;
  explicit Softmax(int64_t dim = -1) : dim(dim) {}
  Tensor forward(const Tensor& x) { return v1::softmax(x, dim); }
};
struct LogSoftmax : Module, Callable<LogSoftmax> {
  int64_t dim;
  explicit LogSoftmax(int64_t dim = -1) : dim(dim) {}
  Tensor forward(const Tensor& x) { return v1::log_softmax(x, dim); }
};

}  // namespace nn
}  // namespace v1
}  // namespace phlox
