// Linear algebra: products of factors give the matrix back, and gradients; every check in float64.
#include "op_check.h"

namespace phlox::test {

// A well-conditioned matrix, and a positive definite one.
static HostTensor regular(int64_t n, uint32_t seed) {
  HostTensor t = random_tensor({n, n}, seed);
  for (int64_t i = 0; i < n; ++i) t.as<double>()[i * n + i] += 3;
  return t;
}
static HostTensor positive(int64_t n, uint32_t seed) {
  const HostTensor m = regular(n, seed);
  HostTensor t = make_host_tensor(DType::f64, {n, n});
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double s = 0;
      for (int64_t k = 0; k < n; ++k) s += at(m, i * n + k) * at(m, j * n + k);
      t.as<double>()[i * n + j] = s;
    }
  return t;
}
static std::vector<double> product(const HostTensor& a, const HostTensor& b) {
  const int64_t m = a.shape[0], k = a.shape[1], n = b.shape[1];
  std::vector<double> r(size_t(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t q = 0; q < k; ++q) r[size_t(i * n + j)] += at(a, i * k + q) * at(b, q * n + j);
  return r;
}
TEST(Linalg, FactorsMultiplyToTheMatrix) {
  for (const Ints& shape : {Ints{4, 4}, Ints{5, 3}, Ints{3, 5}}) {
    const HostTensor a = random_tensor(shape, 3);
    const auto qr = run("linalg_qr", {a, "reduced"});
    expect_near(a, shape, product(qr[0], qr[1]), 1e-12);
    const auto svd = run("linalg_svd", {a, false});
    HostTensor us = svd[0];
    for (int64_t i = 0; i < us.numel(); ++i) us.as<double>()[i] *= at(svd[1], i % us.shape[1]);
    expect_near(a, shape, product(us, svd[2]), 1e-12);
  }
  const HostTensor p = positive(4, 7);
  const HostTensor l = run("linalg_cholesky", {p})[0], up = run("linalg_cholesky", {p, true})[0];
  expect_near(p, {4, 4}, product(l, up), 1e-11);
  const auto e = run("linalg_eigh", {p});
  for (int i = 0; i + 1 < 4; ++i) EXPECT_LT(at(e[0], i), at(e[0], i + 1));
  const HostTensor m = regular(4, 5), inverse = run("linalg_inv", {m})[0];
  const HostTensor one = f64s({4, 4}, {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1});
  expect_near(one, {4, 4}, product(m, inverse), 1e-12);
  expect_near(run("linalg_matrix_exp", {f64s({2, 2}, {0, 1, -1, 0})})[0], {2, 2}, {std::cos(1.0), std::sin(1.0), -std::sin(1.0), std::cos(1.0)}, 1e-12);
  expect_near(run("linalg_det", {f64s({2, 2}, {1, 2, 3, 4})})[0], {}, {-2}, 1e-12);
  expect_near(run("linalg_solve", {f64s({2, 2}, {2, 0, 0, 4}), f64s({2}, {2, 2})})[0], {2}, {1, 0.5}, 1e-12);
}

TEST(Linalg, SingularMatricesAreTold) {
  const auto r = run("linalg_inv_ex", {f64s({2, 2}, {1, 2, 2, 4})});
  EXPECT_EQ(at(r[1], 0), 2);
  EXPECT_EQ(at(run("linalg_cholesky_ex", {f64s({2, 2}, {1, 0, 0, -1})})[1], 0), 2);
  EXPECT_THROW(run("linalg_inv", {f64s({2, 3}, {1, 2, 3, 4, 5, 6})}), Error);
  EXPECT_THROW(run("linalg_det", {f64s({3}, {1, 2, 3})}), Error);
  EXPECT_THROW(run("linalg_solve", {i64s({2, 2}, {1, 2, 3, 4}), i64s({2}, {1, 2})}), Error);
  EXPECT_EQ(run("linalg_inv", {f64s({0, 0}, {})})[0].numel(), 0);
}

TEST(Linalg, Gradients) {
  const HostTensor m = regular(3, 11), p = positive(3, 12), b = random_tensor({3, 2}, 13);
  check_gradients("linalg_inv", {m});
  check_gradients("linalg_solve", {m, b});
  check_gradients("linalg_det", {m});
  check_gradients("linalg_qr", {m, "reduced"});
  check_gradients("linalg_qr", {random_tensor({2, 4}, 5), "reduced"});
  check_gradients("linalg_svdvals", {random_tensor({4, 3}, 6)});
  check_gradients("linalg_lu_factor", {m});
  check_gradients("linalg_lu_factor", {random_tensor({3, 5}, 7)});
  check_gradients("linalg_lu_factor", {random_tensor({5, 3}, 8)});
  check_gradients("linalg_matrix_exp", {m});
  check_gradients("linalg_solve_triangular", {p, b, true});
  check_gradients("cholesky_solve", {b, run("linalg_cholesky", {p})[0]}, 2e-6, 1);
  check_gradients("linalg_householder_product", {random_tensor({4, 3}, 9), random_tensor({3}, 10, 0.5, 1.5)});
}

}  // namespace phlox::test
