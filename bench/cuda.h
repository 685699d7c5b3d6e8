// What the benchmarks of a GPU share: the time of calls that the host only hands over, and inputs that take turns, so that
// no call finds what it reads in the cache.
#pragma once
#include "bench/harness.h"
#include "phlox/autograd.hpp"
#include "phlox/tensor.hpp"

namespace bench {

// Seconds that one call of f takes when calls follow each other: the median of batches that end with the device at rest.
// The first ones, half as long, are not timed.
template <class F>
double per_call_cuda(F&& f, double seconds = 0.03) {
  static const phlox::Device gpu("cuda");
  f();
  phlox::synchronize(gpu);
  double start = now(), each = 0;
  for (int64_t n = 1; now() - start < seconds / 2; n *= 2) {
    const double from = now();
    for (int64_t i = 0; i < n; ++i) f();
    phlox::synchronize(gpu);
    each = (now() - from) / double(n);
  }
  constexpr int batches = 5;
  const int64_t calls = std::max<int64_t>(1, int64_t(seconds / batches / std::max(each, 1e-9)));
  double times[batches];
  for (double& t : times) {
    const double from = now();
    for (int64_t i = 0; i < calls; ++i) f();
    phlox::synchronize(gpu);
    t = (now() - from) / double(calls);
  }
  std::nth_element(times, times + batches / 2, times + batches);
  return times[batches / 2];
}

inline phlox::Tensor random_on_gpu(std::initializer_list<int64_t> sizes, phlox::DType dtype) {
  return phlox::randn(std::vector<int64_t>(sizes), {.dtype = phlox::f32, .device = "cuda"}).to(dtype);
}

}  // namespace bench
