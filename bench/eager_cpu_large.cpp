// eager-cpu-large: whole-tensor ops, f32, rows of 1024, outputs made anew. Seconds.
//   OP-SIZE   OP: add, gelu, softmax, layer_norm, sum (of all elements); SIZE: bytes of each input, such as 16M
#include "bench/harness.h"
#include "phlox/autograd.hpp"
#include "phlox/tensor.hpp"

int main() {
  using phlox::Tensor;
  return bench::serve([](const std::string& line) -> bench::Round {
    const auto [op, bytes] = bench::sized_name(line);
    const int64_t columns = 1024, rows = bytes / 4 / columns;
    if (rows == 0) return nullptr;
    const Tensor x = phlox::randn({rows, columns});
    auto timed = [](auto f) -> bench::Round {
      return [=] { return bench::per_call([&] { bench::keep(f()); }); };
    };
    if (op == "add") return timed([x, y = phlox::randn({rows, columns})] { return x + y; });
    if (op == "gelu") return timed([x] { return phlox::gelu(x); });
    if (op == "softmax") return timed([x] { return phlox::softmax(x, -1); });
    if (op == "sum") return timed([x] { return phlox::sum(x); });
    if (op == "layer_norm")
      return timed([x, w = phlox::ones({1024}), b = phlox::zeros({1024})] { return phlox::layer_norm(x, {1024}, w, b); });
    return nullptr;
  });
}
