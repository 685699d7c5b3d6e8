#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <complex>

#include "base/event.h"
#include "eager/call.h"
#include "eager/interpret_kernels.h"
#include "ops/registry.h"

namespace phlox {
namespace {

Tensor make(const Ints& sizes, std::initializer_list<float> v) {
  Tensor t = make_tensor(cpu_device(), DType::f32, sizes);
  std::copy(v.begin(), v.end(), reinterpret_cast<float*>(t->bytes()));
  return t;
}
std::vector<float> values(const Tensor& t) {
  const Tensor c = contiguous(t);
  const float* p = reinterpret_cast<const float*>(c->bytes());
  return {p, p + c->numel()};
}
Tensor add(const Tensor& a, const Tensor& b) { return call1("add.Tensor", {tensor_arg(a), tensor_arg(b)}); }
Tensor mul(const Tensor& a, const Tensor& b) { return call1("mul.Tensor", {tensor_arg(a), tensor_arg(b)}); }

TEST(Eager, add_broadcasts_and_takes_numbers) {
  const Tensor a = make({2, 3}, {1, 2, 3, 4, 5, 6}), b = make({3}, {10, 20, 30});
  EXPECT_EQ(values(add(a, b)), (std::vector<float>{11, 22, 33, 14, 25, 36}));
  EXPECT_EQ(values(call1("add.Scalar", {tensor_arg(a), Arg::of_real(0.5)})), (std::vector<float>{1.5, 2.5, 3.5, 4.5, 5.5, 6.5}));
  EXPECT_EQ(values(call1("add.Scalar", {tensor_arg(a), Arg::of_real(1.5)})), (std::vector<float>{2.5, 3.5, 4.5, 5.5, 6.5, 7.5}));
}

TEST(Eager, gradients_flow_through_views_and_products) {
  Tensor a = make({2, 3}, {1, 2, 3, 4, 5, 6}), b = make({3}, {10, 20, 30});
  a->requires_grad = b->requires_grad = true;
  const Tensor y = mul(a, b);
  run_backward({y}, {make({2, 3}, {1, 1, 1, 1, 1, 2})}, false, false, nullptr);
  EXPECT_EQ(values(find_autograd_extra(*a)->grad), (std::vector<float>{10, 20, 30, 10, 20, 60}));
  EXPECT_EQ(values(find_autograd_extra(*b)->grad), (std::vector<float>{5, 7, 15}));
  EXPECT_THROW(run_backward({y}, {make({2, 3}, {1, 1, 1, 1, 1, 2})}, false, false, nullptr), Error);
}

TEST(Eager, a_saved_value_that_changed_is_an_error) {
  Tensor a = make({2}, {1, 2}), b = make({2}, {3, 4});
  a->requires_grad = true;
  const Tensor y = mul(a, b);
  const Arg args[] = {tensor_arg(b), Arg::of_real(1)};
  call_in_place(*find_op("add.Scalar"), args);
  EXPECT_EQ(values(b), (std::vector<float>{4, 5}));
  EXPECT_THROW(run_backward({y}, {make({2}, {1, 1})}, false, false, nullptr), Error);
}

TEST(Eager, second_derivative) {
  Tensor x = make({2}, {2, 3});
  x->requires_grad = true;
  const Tensor y = mul(mul(x, x), x);
  const std::vector<Tensor> wrt{x};
  const Tensor ones = make({2}, {1, 1});
  const Tensor g = run_backward({y}, {ones}, true, true, &wrt)[0];
  EXPECT_EQ(values(g), (std::vector<float>{12, 27}));
  const Tensor h = run_backward({g}, {ones}, false, false, &wrt)[0];
  EXPECT_EQ(values(h), (std::vector<float>{12, 18}));
}

// One kernel for all sizes: several row tiles, a last partial vector, several batches.
TEST(Eager, products_of_doubles_at_many_sizes) {
  for (auto [batch, m, k, n] : {std::array{3, 20, 33, 17}, {2, 16, 16, 17}, {1, 40, 300, 40}, {2, 4, 4, 4}}) {
    Tensor a = make_tensor(cpu_device(), DType::f64, {batch, m, k}), b = make_tensor(cpu_device(), DType::f64, {batch, k, n});
    double *pa = reinterpret_cast<double*>(a->bytes()), *pb = reinterpret_cast<double*>(b->bytes());
    for (int64_t i = 0; i < a->numel(); ++i) pa[i] = std::sin(double(i));
    for (int64_t i = 0; i < b->numel(); ++i) pb[i] = std::cos(0.7 * double(i));
    const Tensor c = call1("bmm", {tensor_arg(a), tensor_arg(b)});
    const double* pc = reinterpret_cast<const double*>(c->bytes());
    for (int x = 0; x < batch; ++x)
      for (int i = 0; i < m; ++i)
        for (int j = 0; j < n; ++j) {
          double sum = 0;
          for (int q = 0; q < k; ++q) sum += pa[(x * m + i) * k + q] * pb[(x * k + q) * n + j];
          ASSERT_NEAR(pc[(x * m + i) * n + j], sum, 1e-11) << batch << " " << m << " " << k << " " << n;
        }
  }
}

// The number of steps depends on the length, so each length needs a program of its own, forward and backward.
TEST(Eager, complex_products_at_several_lengths) {
  for (const int64_t n : {3, 5, 4, 3, 0}) {
    Tensor x = make_tensor(cpu_device(), DType::c64, {2, n}), one = make_tensor(cpu_device(), DType::c64, {2});
    float* px = reinterpret_cast<float*>(x->bytes());
    for (int64_t i = 0; i < x->numel(); ++i) { px[2 * i] = 0; px[2 * i + 1] = 2; }
    float* pc = reinterpret_cast<float*>(one->bytes());
    for (int i = 0; i < 2; ++i) { pc[2 * i] = 1; pc[2 * i + 1] = 0; }
    x->requires_grad = true;
    const Tensor y = call1("prod.dim_int", {tensor_arg(x), Arg::of_dim(1)});
    const float* py = reinterpret_cast<const float*>(y->bytes());
    const std::complex<double> want = std::pow(std::complex<double>(0, 2), double(n));
    EXPECT_NEAR(py[0], want.real(), 1e-4);
    EXPECT_NEAR(py[3], want.imag(), 1e-4);
    const std::vector<Tensor> wrt{x};
    const Tensor g = contiguous(run_backward({y}, {one}, false, false, &wrt)[0]);
    const std::complex<double> others = std::conj(std::pow(std::complex<double>(0, 2), double(n - 1)));
    const float* pg = reinterpret_cast<const float*>(g->bytes());
    for (int64_t i = 0; i < 2 * n; ++i) {
      EXPECT_NEAR(pg[2 * i], others.real(), 1e-4) << n;
      EXPECT_NEAR(pg[2 * i + 1], others.imag(), 1e-4) << n;
    }
  }
}

// Each size of a dimension that is not symbolic to the op is a kind of call of its own. Old kinds go, and what still uses
// them (a recorded gradient, a view) keeps them.
TEST(Eager, kinds_of_calls_are_forgotten_at_a_limit) {
  const InterpretKernels interpreted;
  Tensor x = make({2, 3}, {1, 2, 3, 4, 5, 6});
  x->requires_grad = true;
  const Tensor y = mul(x, x);
  const Tensor view = call1("transpose.int", {tensor_arg(x), Arg::of_dim(0), Arg::of_dim(1)});
  const Tensor plain = make({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto shifted = [&](int64_t by) {  // which elements are rolled is static
    const Arg shifts[] = {Arg::of_dim(by)}, dims[] = {Arg::of_dim(1)};
    return call1("roll", {tensor_arg(plain), Arg::of_list(shifts), Arg::of_list(dims)});
  };
  const size_t limit = signature_limit();
  for (int64_t k = 0; k < int64_t(limit) + 200; ++k) {
    shifted(-k);
    ASSERT_LE(signature_count(), limit);
  }
  EXPECT_GE(signature_count(), limit / 2);
  bool told = false;
  for (const Event& e : recent_events()) told |= e.kind == EventKind::cache && e.subject == "eager calls";
  EXPECT_TRUE(told);
  EXPECT_EQ(values(shifted(-4)), (std::vector<float>{2, 3, 1, 5, 6, 4}));
  run_backward({y}, {make({2, 3}, {1, 1, 1, 1, 1, 1})}, false, false, nullptr);
  EXPECT_EQ(values(find_autograd_extra(*x)->grad), (std::vector<float>{2, 4, 6, 8, 10, 12}));
  const Tensor z = call1("sum", {tensor_arg(view)});
  run_backward({z}, {full_tensor(cpu_device(), DType::f32, {}, 1)}, false, false, nullptr);
  EXPECT_EQ(values(find_autograd_extra(*x)->grad), (std::vector<float>{3, 5, 7, 9, 11, 13}));
}

}  // namespace
}  // namespace phlox
