// Several threads in one library: eager calls that meet a signature for the first time together, tapes over shared
// tensors, one compiled function for all. The thread sanitizer's run is what these are for; the values are checked too.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "eager/trace.h"
#include "ops/registry.h"

namespace phlox {
namespace {

constexpr int n_threads = 8, n_rounds = 20;

Tensor filled(const Ints& sizes, double value) { return full_tensor(cpu_device(), DType::f32, sizes, value); }
Tensor call2(const char* op, const Tensor& a, const Tensor& b) { return call1(op, {tensor_arg(a), tensor_arg(b)}); }
Tensor total(const Tensor& a) { return call1("sum", {tensor_arg(a)}); }
float first(const Tensor& t) { return *reinterpret_cast<const float*>(contiguous(t)->bytes()); }

template <class F> void together(F f) {
  std::atomic<int> waiting{n_threads};
  std::vector<std::thread> threads;
  for (int i = 0; i < n_threads; ++i)
    threads.emplace_back([&, i] {
      for (waiting.fetch_sub(1); waiting.load() > 0;) std::this_thread::yield();
      f(i);
    });
  for (std::thread& t : threads) t.join();
}

TEST(Concurrent, first_calls_of_one_signature) {
  const Tensor a = filled({3, 41}, 2), b = filled({3, 41}, 5);
  std::vector<float> got(n_threads);
  together([&](int i) { got[size_t(i)] = first(call2("mul.Tensor", call2("sub.Tensor", a, b), a)); });
  for (float v : got) EXPECT_EQ(v, -6);
}

TEST(Concurrent, tapes_over_one_shared_operand) {
  const Tensor shared = filled({64}, 3);
  std::vector<float> got(n_threads);
  together([&](int i) {
    for (int r = 0; r < n_rounds; ++r) {
      Tensor leaf = filled({64}, i + 1);
      leaf->requires_grad = true;
      const Tensor y = total(call2("mul.Tensor", call2("mul.Tensor", leaf, leaf), shared));
      run_backward({y}, {filled({}, 1)}, false, false, nullptr);
      got[size_t(i)] = first(find_autograd_extra(*leaf)->grad);
    }
  });
  for (int i = 0; i < n_threads; ++i) EXPECT_EQ(got[size_t(i)], float(6 * (i + 1)));
}

TEST(Concurrent, gradients_of_one_leaf_add_up) {
  Tensor leaf = filled({16}, 2);
  leaf->requires_grad = true;
  together([&](int) {
    for (int r = 0; r < n_rounds; ++r)
      run_backward({total(call2("mul.Tensor", leaf, leaf))}, {filled({}, 1)}, false, false, nullptr);
  });
  EXPECT_EQ(first(find_autograd_extra(*leaf)->grad), float(4 * n_threads * n_rounds));
}

TEST(Concurrent, one_compiled_function_for_all) {
  const Tensor w = filled({8, 8}, 0.5);
  auto f = make_ref<CompiledFunction>([&](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{call2("add.Tensor", call2("matmul", in[0], w), in[0])};
  });
  std::vector<float> got(n_threads);
  together([&](int i) {
    for (int r = 0; r < n_rounds; ++r) got[size_t(i)] = first(f->call({filled({2 + i % 2, 8}, i)})[0]);
  });
  for (int i = 0; i < n_threads; ++i) EXPECT_EQ(got[size_t(i)], float(5 * i));
}

TEST(Concurrent, equal_graphs_compiled_at_once) {
  std::vector<float> got(n_threads);
  together([&](int i) {
    auto f = make_ref<CompiledFunction>([](const std::vector<Tensor>& in) {
      return std::vector<Tensor>{call2("mul.Tensor", call1("exp", {tensor_arg(in[0])}), in[0])};
    });
    got[size_t(i)] = first(f->call({filled({33}, 0)})[0]) + first(f->call({filled({33}, 1)})[0]);
  });
  for (float v : got) EXPECT_FLOAT_EQ(v, 2.7182818f);
}

}  // namespace
}  // namespace phlox
