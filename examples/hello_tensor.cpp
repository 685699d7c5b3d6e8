// Tensors, gradients, and a compiled function.
#include <cstdio>

#include "phlox/compile.hpp"

int main() {
  phlox::Tensor x = phlox::tensor({1.0, 2.0, 3.0}).requires_grad_();
  phlox::Tensor y = (x * x).sum();
  y.backward();
  std::printf("y = %s, dy/dx = %s\n", y.str().c_str(), x.grad().str().c_str());
  auto f = phlox::compile([](phlox::Tensor a) { return phlox::gelu(a * 2 + 1); });
  std::printf("compiled: %s\n", f(x.detach()).str().c_str());
}
