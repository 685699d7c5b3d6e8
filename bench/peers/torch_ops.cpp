// The peers of eager-cpu-op and cpu-gemm in C++: PyTorch's own C++ library, and OpenBLAS called directly. Built by
// bench/run against the PyTorch that tools/peers installed. usage: torch_ops [openblas]
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <unistd.h>

#include "bench/harness.h"

namespace {

using at::Tensor;

bench::Round ops(const std::string& line) {
  const Tensor a = at::randn({8}), b = at::randn({8});
  if (line == "add8-grad") a.requires_grad_(), b.requires_grad_();
  if (line == "add8" || line == "add8-grad")
    return [=] { return 1e9 * bench::per_call([&] { bench::keep(a + b); }); };
  if (line != "chain10") return nullptr;
  a.requires_grad_();
  const Tensor w = at::randn({8}), ones = at::ones({8});
  return [=] {
    return 1e9 * bench::per_call([&] {
      Tensor y = a;
      for (int i = 0; i < 5; ++i) {
        y = y * w;
        y = y + b;
      }
      y.backward(ones);
      a.mutable_grad() = Tensor();
    });
  };
}

bench::Round product(int64_t n) {
  const double operations = 2.0 * double(n) * double(n) * double(n);
  const Tensor a = at::randn({n, n}), b = at::randn({n, n}), r = at::empty({n, n});
  return [=] {
    Tensor out = r;
    return operations / bench::per_call([&] { at::mm_out(out, a, b); });
  };
}

using Gemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
bench::Round openblas(Gemm gemm, int64_t n) {
  const double operations = 2.0 * double(n) * double(n) * double(n);
  const Tensor a = at::randn({n, n}), b = at::randn({n, n}), r = at::empty({n, n});
  return [=] {
    const int m = int(n);
    return operations / bench::per_call([&] {
      gemm(101, 111, 111, m, m, m, 1, a.const_data_ptr<float>(), m, b.const_data_ptr<float>(), m, 0,
           r.mutable_data_ptr<float>(), m);
    });
  };
}

}  // namespace

int main(int argc, char**) {
  Gemm gemm = nullptr;
  if (argc > 1) {
    void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library) gemm = reinterpret_cast<Gemm>(dlsym(library, "cblas_sgemm"));
    if (!gemm) return std::fputs("torch_ops: libopenblas.so.0 is not installed\n", stderr), 1;
  }
  const int status = bench::serve([&](std::string line) -> bench::Round {
    if (line.ends_with("-t1")) line.resize(line.size() - 3);
    const auto [what, n] = bench::sized_name(line);
    if (what == "f32" && n > 0) return gemm ? openblas(gemm, n) : product(n);
    return gemm ? nullptr : ops(line);
  });
  std::fflush(nullptr);
  _exit(status);  // OpenBLAS's threads may not end by themselves
}
