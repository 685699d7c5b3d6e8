// Everyday eager calls in a process that has no disk cache: their kernels come from the packs that were made by the build.
#include <gtest/gtest.h>

#include <cstdlib>

#include "phlox/nn.hpp"
#include "phlox/tensor.hpp"

namespace {

using namespace phlox;

long long counter(const std::string& name) {
  const std::string report = phlox::report("kernels"), key = "\"" + name + "\":";
  const size_t at = report.find(key);
  return at == std::string::npos ? -1 : std::atoll(report.c_str() + at + key.size());
}

TEST(KernelPack, the_first_use_of_everyday_ops_compiles_nothing) {
  const Tensor x = rand({33, 70}) + 0.5, y = rand({33, 70}) + 0.5, bias = rand({70});
  const long long compiled = counter("compiled");
  ASSERT_GE(compiled, 0) << report("kernels");
  Tensor z = x * y + bias;
  z = z - x / y;
  z = relu(z) + gelu(z) + silu(z) + tanh(z) + sigmoid(z) + exp(z * 0.1) + sqrt(abs(z));
  z = softmax(z, -1) + log_softmax(z, -1);
  const Tensor total = z.sum() + z.mean() + z.sum(-1).sum() + z.amax({-1}).sum();
  const Tensor where_large = where(z > 0.0, z, x);
  const Tensor narrow = where_large.to(bf16), wide = narrow.to(f32);
  const Tensor turned = wide.transpose(0, 1).contiguous();
  Tensor w = rand({33, 70});
  w.set_requires_grad(true);
  const long long before_backward = counter("compiled");
  EXPECT_EQ(before_backward, compiled) << report("kernels");
  (w * 2.0).relu().sum().backward();
  EXPECT_EQ(counter("compiled"), compiled) << report("kernels");
  EXPECT_GT(counter("pack_hits"), 10) << report("kernels");
}

}  // namespace
