// cpu-gemm: f32 products of N x N matrices through the C++ API, results made anew. Operations a second.
//   f32-N, f32-N-t1        a b; -t1: bench/run gives one thread
//   f32-bias-gelu-N        gelu(a b + bias), compiled
#include <cmath>

#include "bench/harness.h"
#include "phlox/autograd.hpp"
#include "phlox/compile.hpp"

int main() {
  using phlox::Tensor;
  return bench::serve([](std::string line) -> bench::Round {
    if (line.ends_with("-t1")) line.resize(line.size() - 3);
    const auto [what, n] = bench::sized_name(line);
    if (n <= 0) return nullptr;
    const double operations = 2.0 * double(n) * double(n) * double(n);
    // Results of about unit size, as activations are: far out in its tails an activation may compute with subnormals.
    const Tensor a = phlox::randn({n, n}), b = phlox::randn({n, n}) / std::sqrt(double(n)), bias = phlox::randn({n});
    if (what == "f32")
      return [=] { return operations / bench::per_call([&] { bench::keep(phlox::matmul(a, b)); }); };
    if (what != "f32-bias-gelu") return nullptr;
    auto f = phlox::compile([](Tensor a, Tensor b, Tensor bias) { return phlox::gelu(phlox::matmul(a, b) + bias); });
    return [=]() mutable { return operations / bench::per_call([&] { bench::keep(f(a, b, bias)); }); };
  });
}
