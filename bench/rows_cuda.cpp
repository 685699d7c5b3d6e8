// Row, column and pointwise ops on a GPU, through the eager calls: microseconds, and the share of the device's copy rate
// that the bytes read once and written once come to. JSON lines.
//   rows_cuda [log2 of the elements]
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "device/cuda/cuda_device.h"
#include "eager/call.h"
#include "ops/registry.h"

using namespace phlox;

namespace {

double median_us(CudaDevice& d, int repeats, auto&& f) {
  for (int i = 0; i < 5; ++i) f(i);
  std::vector<double> all;
  for (int r = 0; r < 7; ++r) {
    CudaTimer timer(d);
    timer.start(0);
    for (int i = 0; i < repeats; ++i) f(i);
    timer.stop(0);
    all.push_back(timer.milliseconds() * 1000 / repeats);
  }
  std::sort(all.begin(), all.end());
  return all[all.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t total = int64_t(1) << (argc > 1 ? std::atoi(argv[1]) : 26);
  CudaDevice& d = cuda_device(0);
  const int64_t copy_bytes = int64_t(1) << 28;
  void *a = d.alloc(copy_bytes, 0), *b = d.alloc(copy_bytes, 0);
  const double copy_us = median_us(d, 20, [&](int) { d.copy(b, a, copy_bytes, Device::CopyKind::on_device, 0); });
  d.free(a, 0);
  d.free(b, 0);
  const double rate = 2.0 * double(copy_bytes) / copy_us / 1e6;  // TB/s
  std::printf("{\"device\": \"%s\", \"copy_tbps\": %.3f}\n", d.name().c_str(), rate);
  for (DType type : {DType::f32, DType::bf16})
    for (int64_t n : {1024, 4096, 8192}) {
      const Arg shape[] = {Arg::of_dim(n), Arg::of_dim(n)};
      const Arg args[] = {Arg::of_list(shape), Arg::of_dtype(DType::f32)};
      const Tensor r = call_op(*find_op("randn"), args, &d)[0];
      Tensor a = make_tensor(d, type, {n, n});
      copy_into(a, r);
      try {
        const double us = median_us(d, 5, [&](int) { call1("mm", {tensor_arg(a), tensor_arg(a)}); });
        std::printf("{\"op\": \"mm\", \"dtype\": \"%s\", \"n\": %ld, \"us\": %.1f, \"tflops\": %.1f}\n", type == DType::f32 ? "f32" : "bf16",
                    long(n), us, 2e-6 * double(n) * double(n) * double(n) / us);
      } catch (const std::exception& e) {
        std::printf("{\"op\": \"mm\", \"n\": %ld, \"error\": \"%s\"}\n", long(n), e.what());
      }
    }
  for (DType type : {DType::f32, DType::bf16})
    for (int64_t n : {256, 1024, 4096, 16384, 65536, 262144}) {
      const int64_t m = total / n, bytes = total * dtype_bytes(type);
      const Arg shape[] = {Arg::of_dim(m), Arg::of_dim(n)};
      std::vector<Tensor> x;
      for (int i = 0; i < 2; ++i) {
        const Arg args[] = {Arg::of_list(shape), Arg::of_dtype(DType::f32)};
        const Tensor r = call_op(*find_op("randn"), args, &d)[0];
        x.push_back(call1("mul.Scalar", {tensor_arg(r), Arg::of_real(1.5)}));
        if (type != DType::f32) {
          Tensor y = make_tensor(d, type, {m, n});
          copy_into(y, x.back());
          x.back() = y;
        }
      }
      const Tensor w = full_tensor(d, type, {n}, 1.5), bias = full_tensor(d, type, {n}, 0.5);
      const Arg last[] = {Arg::of_dim(-1)}, first[] = {Arg::of_dim(0)}, norm[] = {Arg::of_dim(n)};
      struct Case { const char* name; const char* op; int64_t bytes; std::vector<Arg> rest; };
      const Case cases[] = {
          {"softmax", "softmax.int", 2 * bytes, {Arg::of_dim(-1)}},
          {"layer_norm", "layer_norm", 2 * bytes, {Arg::of_list(norm), tensor_arg(w), tensor_arg(bias)}},
          {"gelu", "gelu", 2 * bytes, {}},
          {"sum_rows", "sum.dim_IntList", bytes, {Arg::of_list(last)}},
          {"sum_columns", "sum.dim_IntList", bytes, {Arg::of_list(first)}},
          {"add", "add.Tensor", 3 * bytes, {}},
          {"cumsum_last", "cumsum", 2 * bytes, {Arg::of_dim(1)}},
          {"cumsum_first", "cumsum", 2 * bytes, {Arg::of_dim(0)}},
      };
      for (const Case& c : cases) {
        try {
          const OpInfo* op = find_op(c.op);
          const double us = median_us(d, 20, [&](int i) {
            std::vector<Arg> args{tensor_arg(x[size_t(i % 2)])};
            if (std::string(c.name) == "add") args.push_back(tensor_arg(x[size_t(1 - i % 2)]));
            args.insert(args.end(), c.rest.begin(), c.rest.end());
            call_op(*op, args);
          });
          std::printf("{\"op\": \"%s\", \"dtype\": \"%s\", \"rows\": %ld, \"length\": %ld, \"us\": %.1f, \"of_copy\": %.3f}\n", c.name,
                      type == DType::f32 ? "f32" : "bf16", long(m), long(n), us, double(c.bytes) / us / 1e6 / rate);
        } catch (const std::exception& e) {
          std::printf("{\"op\": \"%s\", \"length\": %ld, \"error\": \"%s\"}\n", c.name, long(n), e.what());
        }
        std::fflush(stdout);
      }
    }
}
