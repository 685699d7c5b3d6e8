// Gradients, and gradients of gradients, of functions as users write them, against differences in float64.
#include <gtest/gtest.h>

#include <phlox/gradcheck.hpp>

using namespace phlox;
using Tensors = std::vector<Tensor>;

namespace {

Tensor input(IntList sizes) { return randn(sizes, {.dtype = f64}).requires_grad_(); }
Tensor positive(IntList sizes) { return (rand(sizes, {.dtype = f64}) + 0.5).requires_grad_(); }

struct Case {
  const char* name;
  Tensors inputs;
  Tensor (*f)(const Tensors& in);
  bool second = true;  // the gradient has a gradient
};

void check(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    try {
      gradcheck(c.f, c.inputs);
      if (c.second) gradgradcheck(c.f, c.inputs, {.atol = 1e-4});
    } catch (const std::exception& e) {
      ADD_FAILURE() << c.name << ": " << e.what();
    }
  }
}

}  // namespace

TEST(Gradgrad, elementwise) {
  manual_seed(3);
  check({
      {"exp", {input({3})}, [](const Tensors& i) { return i[0].exp(); }},
      {"log", {positive({3})}, [](const Tensors& i) { return i[0].log(); }},
      {"sqrt", {positive({3})}, [](const Tensors& i) { return i[0].sqrt(); }},
      {"tanh", {input({3})}, [](const Tensors& i) { return i[0].tanh(); }},
      {"gelu", {input({3})}, [](const Tensors& i) { return gelu(i[0]); }},
      {"silu", {input({3})}, [](const Tensors& i) { return silu(i[0]); }},
      {"softplus", {input({3})}, [](const Tensors& i) { return softplus(i[0]); }},
      {"sin", {input({3})}, [](const Tensors& i) { return i[0].sin() * i[0].cos(); }},
      {"pow", {positive({3}), input({3})}, [](const Tensors& i) { return i[0].pow(i[1]); }},
      {"pow_scalar", {positive({3})}, [](const Tensors& i) { return i[0].pow(2.5); }},
      {"div", {input({2, 3}), positive({3})}, [](const Tensors& i) { return i[0] / i[1]; }},
      {"where", {input({3}), input({3})}, [](const Tensors& i) { return where(i[0] > 0, i[0] * i[0], i[1] * i[0]); }},
      {"maximum", {input({3}), input({3})}, [](const Tensors& i) { return maximum(i[0], i[1]) * i[0]; }},
      {"atan2", {positive({3}), positive({3})}, [](const Tensors& i) { return atan2(i[0], i[1]); }},
      {"clamp", {input({4})}, [](const Tensors& i) { return clamp(i[0], -0.5, 0.5) * i[0]; }},
  });
}

TEST(Gradgrad, reductions) {
  manual_seed(4);
  check({
      {"sum", {input({2, 3})}, [](const Tensors& i) { return i[0].pow(2).sum(0); }},
      {"mean", {input({2, 3})}, [](const Tensors& i) { return i[0].exp().mean(1, true); }},
      {"prod", {positive({2, 3})}, [](const Tensors& i) { return i[0].prod(1); }},
      {"amax", {input({2, 3})}, [](const Tensors& i) { return i[0].amax(1).pow(2); }},
      {"logsumexp", {input({2, 3})}, [](const Tensors& i) { return i[0].logsumexp(1); }},
      {"softmax", {input({2, 3})}, [](const Tensors& i) { return softmax(i[0], 1); }},
      {"log_softmax", {input({2, 3})}, [](const Tensors& i) { return log_softmax(i[0], 1); }},
      {"var", {input({2, 4})}, [](const Tensors& i) { return i[0].var(1); }},
      {"cumsum", {input({2, 3})}, [](const Tensors& i) { return i[0].exp().cumsum(1); }},
      {"norm", {input({2, 3})}, [](const Tensors& i) { return linalg_vector_norm(i[0], 2, 1); }},
  });
}

TEST(Gradgrad, views_and_indexing) {
  manual_seed(5);
  check({
      {"transpose", {input({2, 3})}, [](const Tensors& i) { return i[0].t().exp(); }},
      {"slice", {input({4, 3})}, [](const Tensors& i) { return i[0].index({Slice(1, 3), 0}).exp(); }},
      {"rows", {input({4, 2})}, [](const Tensors& i) { return i[0].index({tensor({0, 0, 3})}).pow(2); }},
      {"mask", {input({4})}, [](const Tensors& i) { return i[0].index({i[0] > 0}).pow(3); }},
      {"cat", {input({2, 2}), input({1, 2})}, [](const Tensors& i) { return cat({i[0], i[1]}, 0).pow(2); }},
      {"stack", {input({2}), input({2})}, [](const Tensors& i) { return stack({i[0] * i[1], i[1]}, 1).exp(); }},
      {"expand", {input({1, 2})}, [](const Tensors& i) { return i[0].expand({3, 2}).pow(2); }},
      {"gather", {input({2, 3})}, [](const Tensors& i) { return i[0].gather(1, tensor({{0, 2}, {1, 1}})).pow(2); }},
      {"in place", {input({3}), input({3})}, [](const Tensors& i) {
         const Tensor y = i[0] * i[1];
         y.mul_(i[0]).add_(i[1]);
         y.index({0}).exp_();
         return y;
       }},
      {"index_put", {input({3}), input({1})}, [](const Tensors& i) {
         const Tensor y = i[0] * 2;
         y.index_put_({tensor({1})}, i[1] * i[0].index({Slice(0, 1)}));
         return y * y;
       }},
  });
}

TEST(Gradgrad, layers) {
  manual_seed(6);
  check({
      {"matmul", {input({2, 3}), input({3, 2})}, [](const Tensors& i) { return i[0].matmul(i[1]).exp(); }},
      {"bmm", {input({2, 2, 3}), input({2, 3, 1})}, [](const Tensors& i) { return bmm(i[0], i[1]).pow(2); }},
      {"linear", {input({2, 3}), input({2, 3}), input({2})}, [](const Tensors& i) { return gelu(linear(i[0], i[1], i[2])); }},
      {"two layers", {input({2, 2}), input({2, 2}), input({2, 2})},
       [](const Tensors& i) { return linear(tanh(linear(i[0], i[1])), i[2]).pow(2).sum(); }},
      {"layer_norm", {input({2, 4}), input({4}), input({4})}, [](const Tensors& i) { return layer_norm(i[0], {4}, i[1], i[2]); }},
      {"conv2d", {input({1, 1, 4, 4}), input({1, 1, 3, 3})}, [](const Tensors& i) { return conv2d(i[0], i[1], {}, 1, 1).pow(2); }},
      {"avg_pool2d", {input({1, 1, 4, 4})}, [](const Tensors& i) { return avg_pool2d(i[0].exp(), 2); }},
      {"max_pool2d", {input({1, 1, 4, 4})}, [](const Tensors& i) { return max_pool2d(i[0], 2).pow(2); }},
      {"attention", {input({1, 1, 2, 2}), input({1, 1, 2, 2}), input({1, 1, 2, 2})},
       [](const Tensors& i) { return scaled_dot_product_attention(i[0], i[1], i[2]); }},
      {"embedding", {input({4, 2})}, [](const Tensors& i) { return embedding(i[0], tensor({1, 1, 3})).pow(2); }},
      {"mse", {input({3}), input({3})}, [](const Tensors& i) { return mse_loss(i[0], i[1]); }},
      {"cross_entropy", {input({2, 3})}, [](const Tensors& i) { return cross_entropy_loss(i[0], tensor({2, 0})); }},
      {"bce", {input({3})}, [](const Tensors& i) { return binary_cross_entropy_with_logits(i[0], tensor({0., 1., 1.}, {.dtype = f64})); }},
      {"batch_norm", {input({3, 2})}, [](const Tensors& i) { return batch_norm(i[0], {}, {}, {}, {}, true, 0.1, 1e-5, false); }},
  });
}
