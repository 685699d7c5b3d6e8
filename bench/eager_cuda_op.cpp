// eager-cuda-op: what small ops cost the host on a GPU. Seconds.
//   chain100   fifty times y * w, then + b, on 1024 floats, where y wants gradients: a hundred recorded ops
#include "bench/cuda.h"

int main() {
  using phlox::Tensor;
  return bench::serve([](const std::string& line) -> bench::Round {
    if (line != "chain100") return nullptr;
    const Tensor a = bench::random_on_gpu({1024}, phlox::f32), w = bench::random_on_gpu({1024}, phlox::f32),
                 b = bench::random_on_gpu({1024}, phlox::f32);
    a.requires_grad_();
    return [=] {
      return bench::per_call_cuda([&] {
        Tensor y = a;
        for (int i = 0; i < 50; ++i) {
          y = y * w;
          y = y + b;
        }
        bench::keep(y);
      });
    };
  });
}
