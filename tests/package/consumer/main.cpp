#include <iostream>
#include <phlox/tensor.hpp>

int main() {
  const phlox::Tensor x = phlox::tensor({1.0, 2.0}).requires_grad_();
  (x * x).sum().backward();
  std::cout << x.grad() << "\n";
}
