// cuda-peaks: the ceilings of a GPU that everything else is measured against, and what its driver alone takes.
//   copy          bytes a second, read and written, of a copy of 128 MiB to another place
//   bf16          operations a second of a product of bfloat16 matrices of 8192 x 8192, two a fused multiply-add
//   launch100     seconds of a hundred launches of a kernel of 1024 threads, one after another, by the driver's own call
#include <memory>

#include "bench/harness.h"
#include "device/cuda/cuda_device.h"
#include "eager/call.h"
#include "ops/registry.h"
#include "toolchain/nvrtc.h"

namespace phlox {
namespace {

constexpr const char* kernel = R"(struct WORDS { unsigned long long w[3]; };
extern "C" __global__ void k_1(const __grid_constant__ WORDS words) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  ((float*)words.w[0])[i] = ((const float*)words.w[1])[i] + ((const float*)words.w[2])[i];
}
)";

// Seconds of one call where calls follow each other; see per_call_cuda of bench/cuda.h.
template <class F>
double timed(CudaDevice& d, F&& f) {
  double start = bench::now(), each = 1;
  for (int64_t n = 1; bench::now() - start < 0.015; n *= 2) {
    const double from = bench::now();
    for (int64_t i = 0; i < n; ++i) f();
    d.synchronize(0);
    each = (bench::now() - from) / double(n);
  }
  double times[5];
  const int64_t calls = std::max<int64_t>(1, int64_t(0.006 / each));
  for (double& t : times) {
    const double from = bench::now();
    for (int64_t i = 0; i < calls; ++i) f();
    d.synchronize(0);
    t = (bench::now() - from) / double(calls);
  }
  std::nth_element(times, times + 2, times + 5);
  return times[2];
}

bench::Round copy_rate(CudaDevice& d) {
  constexpr int64_t bytes = 128 << 20, places = 3;
  auto blocks = std::make_shared<std::vector<void*>>();
  for (int64_t i = 0; i < 2 * places; ++i) blocks->push_back(d.alloc(bytes, 0));
  return [&d, blocks, i = size_t(0)]() mutable {
    return 2.0 * double(bytes) / timed(d, [&] {
      d.copy((*blocks)[i % places], (*blocks)[places + i % places], bytes, Device::CopyKind::on_device, 0);
      ++i;
    });
  };
}

bench::Round product_rate(CudaDevice& d) {
  constexpr int64_t n = 8192;
  const Arg shape[] = {Arg::of_dim(n), Arg::of_dim(n)};
  const Arg args[] = {Arg::of_list(shape), Arg::of_dtype(DType::f32)};
  const Tensor a = make_tensor(d, DType::bf16, {n, n});
  copy_into(a, call_op(*find_op("randn"), args, &d)[0]);
  return [&d, a] { return 2.0 * double(n) * n * n / timed(d, [&] { bench::keep(call1("mm", {tensor_arg(a), tensor_arg(a)})); }); };
}

bench::Round launches(CudaDevice& d) {
  std::string why;
  Nvrtc* compiler = Nvrtc::find(why);
  if (!compiler) fail(ErrorCode::not_found, {.op = "launch100", .fact = why});
  const std::vector<KernelText> batch = {{kernel, "k_1"}};
  const Ref<Module> m = d.load(compiler->compile(batch, d.target()));
  void* const memory = d.alloc(3 * 4096, 0);
  return [&d, m, memory] {
    const CudaDevice::Current current(d);
    const auto at = uint64_t(reinterpret_cast<uintptr_t>(memory));
    uint64_t words[3] = {at, at + 4096, at + 8192};
    void* parameters[] = {words};
    const auto function = static_cast<CudaEntry*>(m->entry("k_1"))->function;
    return timed(d, [&] {
      for (int i = 0; i < 100; ++i)
        d.driver().launch_kernel(function, 4, 1, 1, 256, 1, 1, 0, d.native_stream(0), parameters, nullptr);
    });
  };
}

}  // namespace
}  // namespace phlox

int main() {
  return bench::serve([](const std::string& line) -> bench::Round {
    phlox::CudaDevice& d = phlox::cuda_device(0);
    if (line == "copy") return phlox::copy_rate(d);
    if (line == "bf16") return phlox::product_rate(d);
    if (line == "launch100") return phlox::launches(d);
    return nullptr;
  });
}
