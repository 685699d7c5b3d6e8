// eager-cpu-op: what one small op costs through the C++ API, with its result made and dropped. ns.
//   add8        a + b on 8 floats, no gradients asked for
//   add8-grad   the same where both want gradients: it is recorded
//   chain10     five times y * w, then + b, on 8 floats, then backward to y, w and b left alone: ten recorded ops and their
//               gradients
#include "bench/harness.h"
#include "phlox/autograd.hpp"
#include "phlox/tensor.hpp"

int main() {
  using phlox::Tensor;
  return bench::serve([](const std::string& line) -> bench::Round {
    const Tensor a = phlox::randn({8}), b = phlox::randn({8});
    if (line == "add8-grad") a.requires_grad_(), b.requires_grad_();
    if (line == "add8" || line == "add8-grad")
      return [=] { return 1e9 * bench::per_call([&] { bench::keep(a + b); }); };
    if (line != "chain10") return nullptr;
    a.requires_grad_();
    const Tensor w = phlox::randn({8}), ones = phlox::ones({8});
    return [=] {
      return 1e9 * bench::per_call([&] {
        Tensor y = a;
        for (int i = 0; i < 5; ++i) {
          y = y * w;
          y = y + b;
        }
        y.backward(ones);
        a.set_grad({});
      });
    };
  });
}
