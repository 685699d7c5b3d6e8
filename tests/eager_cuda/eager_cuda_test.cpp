// Eager on a GPU: the same calls as on the CPU, the same results within rounding; skipped where there is no GPU.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "device/cuda/driver.h"
#include "eager/call.h"
#include "eager/trace.h"
#include "loop/loop.h"
#include "ops/registry.h"
#include "toolchain/nvrtc.h"

namespace phlox {
namespace {

#define NEED_GPU()                                                   \
  if (cuda::cuda_device_count() == 0) GTEST_SKIP() << "no GPU here"; \
  if (std::string why; !Nvrtc::find(why)) GTEST_SKIP() << why;       \
  Device& gpu = cuda_device(0)

Tensor random_tensor(const Ints& sizes, uint64_t seed, DType d = DType::f32) {
  Tensor t = make_tensor(cpu_device(), d, sizes);
  for (int64_t i = 0; i < t->numel(); ++i) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    const double v = double(seed >> 11) * 0x1p-53 * 4 - 2;
    const int64_t bits = is_float(d) ? constant_bits(d, v) : int64_t(seed >> 40) % 5;
    std::memcpy(t->bytes() + i * dtype_bytes(d), &bits, size_t(dtype_bytes(d)));
  }
  return t;
}
Tensor copy_to(const Tensor& t, Device& d) {
  const Tensor c = contiguous(t);
  Tensor r = make_tensor(d, c->dtype, c->sizes);
  Device& gpu = d.id().kind == DeviceKind::cuda ? d : c->device();
  if (c->numel())
    gpu.copy(r->bytes(), c->bytes(), c->numel() * dtype_bytes(c->dtype), &gpu == &d ? Device::CopyKind::to_device : Device::CopyKind::to_host, 0);
  gpu.synchronize(0);
  check_device_status(gpu);
  return r;
}
void expect_close(const Tensor& cpu, const Tensor& on_gpu, double tolerance, const char* what) {
  const Tensor a = contiguous(cpu), b = copy_to(on_gpu, cpu_device());
  ASSERT_EQ(a->sizes, b->sizes) << what;
  ASSERT_EQ(a->dtype, b->dtype) << what;
  double largest = 1e-30, worst = 0;
  for (int64_t i = 0; i < a->numel(); ++i) {
    int64_t x = 0, y = 0;
    std::memcpy(&x, a->bytes() + i * dtype_bytes(a->dtype), size_t(dtype_bytes(a->dtype)));
    std::memcpy(&y, b->bytes() + i * dtype_bytes(a->dtype), size_t(dtype_bytes(a->dtype)));
    const double p = constant_value({.op = Scalar::constant, .dtype = a->dtype, .imm = x}), q = constant_value({.op = Scalar::constant, .dtype = a->dtype, .imm = y});
    largest = std::max(largest, std::fabs(p));
    worst = std::max(worst, std::isnan(p) != std::isnan(q) ? 1e300 : std::isnan(p) ? 0 : std::fabs(p - q));
  }
  EXPECT_LE(worst, tolerance * largest) << what;
}
Arg dims(std::initializer_list<int64_t> d) {
  static thread_local std::vector<std::vector<Arg>> keep;
  std::vector<Arg> v;
  for (int64_t x : d) v.push_back(Arg::of_dim(x));
  keep.push_back(std::move(v));
  return Arg::of_list(keep.back());
}

// Runs on both devices.
void compare(const char* op, const std::vector<Tensor>& tensors, std::vector<Arg> rest, Device& gpu, double tolerance) {
  try {
    std::vector<Arg> here, there;
    std::vector<Tensor> moved;
    for (const Tensor& t : tensors) {
      here.push_back(tensor_arg(t));
      moved.push_back(copy_to(t, gpu));
    }
    for (const Tensor& t : moved) there.push_back(tensor_arg(t));
    here.insert(here.end(), rest.begin(), rest.end());
    there.insert(there.end(), rest.begin(), rest.end());
    const OpInfo* info = find_op(op);
    ASSERT_TRUE(info) << op;
    const Tensors a = call_op(*info, here), b = call_op(*info, there);
    for (size_t i = 0; i < a.size(); ++i) expect_close(a[i], b[i], tolerance, op);
  } catch (const std::exception& e) {
    FAIL() << op << ": " << e.what();
  }
}

TEST(EagerCuda, Ops) {
  NEED_GPU();
  for (DType d : {DType::f32, DType::bf16}) {
    const double t = d == DType::f32 ? 2e-5 : 2e-2;
    const Tensor x = random_tensor({37, 129}, 1, d), y = random_tensor({129}, 2, d), z = random_tensor({37, 1}, 3, d);
    compare("add.Tensor", {x, y}, {}, gpu, t);
    compare("mul.Tensor", {x, z}, {}, gpu, t);
    compare("gelu", {x}, {}, gpu, t);
    compare("silu", {x}, {}, gpu, t);
    compare("exp", {x}, {}, gpu, t);
    compare("softmax.int", {x}, {Arg::of_dim(-1)}, gpu, t);
    compare("softmax.int", {x}, {Arg::of_dim(0)}, gpu, t);
    compare("sum", {x}, {}, gpu, t);
    compare("sum.dim_IntList", {x}, {dims({0})}, gpu, t);
    compare("sum.dim_IntList", {x}, {dims({1})}, gpu, t);
    compare("amax", {x}, {dims({1})}, gpu, t);
    compare("argmax", {x}, {Arg::of_dim(1)}, gpu, t);
    compare("cumsum", {x}, {Arg::of_dim(1)}, gpu, t);
    compare("sort", {x}, {}, gpu, t);
    compare("matmul", {x, random_tensor({129, 50}, 4, d)}, {}, gpu, t);
  }
  for (DType d : {DType::f32, DType::f16, DType::bf16, DType::f64}) {
    const double t = d == DType::f64 ? 1e-12 : d == DType::f32 ? 2e-5 : 2e-2;
    compare("bmm", {random_tensor({3, 20, 33}, 1, d), random_tensor({3, 33, 17}, 2, d)}, {}, gpu, t);
    compare("matmul", {random_tensor({64, 128}, 1, d), random_tensor({128}, 2, d)}, {}, gpu, t);
    compare("matmul", {random_tensor({5, 64, 128}, 1, d), random_tensor({128, 256}, 2, d)}, {}, gpu, t);
    compare("linear", {random_tensor({7, 128}, 1, d), random_tensor({24, 128}, 2, d), random_tensor({24}, 3, d)}, {}, gpu, t);
  }
  const Tensor table = random_tensor({11, 16}, 5), index = random_tensor({7}, 6, DType::i64);
  compare("embedding", {table, index}, {}, gpu, 0);
  compare("layer_norm", {random_tensor({12, 768}, 7)}, {dims({768})}, gpu, 2e-5);
  compare("sum", {random_tensor({3, 700, 1000}, 8)}, {}, gpu, 1e-4);
  compare("sum.dim_IntList", {random_tensor({3000, 1000}, 9)}, {dims({0})}, gpu, 1e-4);
  compare("softmax.int", {random_tensor({2, 300000}, 10)}, {Arg::of_dim(-1)}, gpu, 1e-4);
}

TEST(EagerCuda, BadIndexIsMetAtTheNextRead) {
  NEED_GPU();
  const Tensor table = copy_to(random_tensor({11, 16}, 5), gpu), host = make_tensor(cpu_device(), DType::i64, {3});
  const int64_t bad[] = {1, 99, 2};
  std::memcpy(host->bytes(), bad, sizeof bad);
  const Tensor r = call1("embedding", {tensor_arg(table), tensor_arg(copy_to(host, gpu))});
  EXPECT_THROW(copy_to(r, cpu_device()), Error);
  EXPECT_NO_THROW(copy_to(r, cpu_device()));
}

Tensor loss_of(const Tensor& x, const Tensor& w, const Tensor& b) {
  const Tensor h = call1("gelu", {tensor_arg(call1("add.Tensor", {tensor_arg(call1("matmul", {tensor_arg(x), tensor_arg(w)})), tensor_arg(b)}))});
  const Tensor p = call1("softmax.int", {tensor_arg(h), Arg::of_dim(-1)});
  return call1("sum", {tensor_arg(call1("mul.Tensor", {tensor_arg(h), tensor_arg(p)}))});
}

TEST(EagerCuda, Gradients) {
  NEED_GPU();
  std::vector<Tensor> grads[2];
  for (int on = 0; on < 2; ++on) {
    Device& d = on ? gpu : cpu_device();
    Tensor x = random_tensor({20, 33}, 1), w = random_tensor({33, 48}, 2), b = random_tensor({48}, 3);
    if (on) { x = copy_to(x, d); w = copy_to(w, d); b = copy_to(b, d); }
    for (Tensor* t : {&x, &w, &b}) (*t)->requires_grad = true;
    const Tensor y = call1("mul.Tensor", {tensor_arg(loss_of(x, w, b)), tensor_arg(call1("sum", {tensor_arg(x)}))});
    run_backward({y}, {full_tensor(d, DType::f32, {}, 1)}, false, false, nullptr);
    for (Tensor* t : {&x, &w, &b}) grads[on].push_back(find_autograd_extra(**t)->grad);
  }
  for (size_t i = 0; i < 3; ++i) expect_close(grads[0][i], grads[1][i], 1e-3, "gradient");
}

TEST(EagerCuda, CreationViewsAndRandom) {
  NEED_GPU();
  const Tensor t = full_tensor(gpu, DType::f32, {4, 6}, 2.5);
  EXPECT_EQ(t->device().id().kind, DeviceKind::cuda);
  expect_close(full_tensor(cpu_device(), DType::f32, {4, 6}, 2.5), t, 0, "full");
  const Tensor host = random_tensor({4, 6}, 1), x = copy_to(host, gpu);
  expect_close(call1("transpose.int", {tensor_arg(host), Arg::of_dim(0), Arg::of_dim(1)}),
               call1("transpose.int", {tensor_arg(x), Arg::of_dim(0), Arg::of_dim(1)}), 0, "transpose");
  const Arg args[] = {tensor_arg(x), Arg::of_real(1)};
  call_in_place(*find_op("add.Scalar"), args);
  expect_close(call1("add.Scalar", {tensor_arg(host), Arg::of_real(1)}), x, 0, "in place");
  const Tensor number = full_tensor(cpu_device(), DType::f32, {}, 3);
  expect_close(call1("mul.Tensor", {tensor_arg(host), tensor_arg(number)}),
               call1("sub.Tensor", {tensor_arg(call1("mul.Tensor", {tensor_arg(x), tensor_arg(number)})), tensor_arg(number)}), 1e-6, "a number of the CPU");
  const Arg drop[] = {tensor_arg(x), Arg::of_real(0.5), Arg::of_bool(true)};
  set_random_state(gpu, {7, 0});
  const Tensor a = call_op(*find_op("dropout"), drop)[0];
  set_random_state(gpu, {7, 0});
  const Tensor back = copy_to(x, cpu_device());
  const Arg same[] = {tensor_arg(back), Arg::of_real(0.5), Arg::of_bool(true)};
  expect_close(call_op(*find_op("dropout"), same)[0], a, 0, "dropout");
}

TEST(EagerCuda, Compiled) {
  NEED_GPU();
  const Tensor x = random_tensor({64, 256}, 1);
  CompiledFunction f([](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{call1("softmax.int", {tensor_arg(call1("gelu", {tensor_arg(in[0])})), Arg::of_dim(-1)})};
  }, "f");
  const Tensor want = f.call({x})[0];
  const Tensor on_gpu = copy_to(x, gpu);
  for (int i = 0; i < 3; ++i) expect_close(want, f.call({on_gpu})[0], 1e-5, "compiled");
}

}  // namespace
}  // namespace phlox
