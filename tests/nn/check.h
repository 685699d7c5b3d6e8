// Comparisons of tensors in tests.
#pragma once
#include <gtest/gtest.h>

#include <cmath>

#include "phlox/compile.hpp"
#include "phlox/data.hpp"
#include "phlox/io.hpp"
#include "phlox/nn.hpp"
#include "phlox/optim.hpp"

namespace phlox_test {

using namespace phlox;  // NOLINT: a test

inline std::vector<float> floats(const Tensor& t) { return t.detach().to(f32).to_vector<float>(); }
inline void expect_near(const Tensor& t, const std::vector<double>& want, double tolerance = 1e-6) {
  const std::vector<float> got = floats(t);
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_NEAR(got[i], want[i], tolerance * (1 + std::fabs(want[i]))) << "element " << i;
}
// The same bits.
inline void expect_same(const Tensor& a, const Tensor& b, const std::string& what = {}) {
  ASSERT_EQ(a.describe(), b.describe()) << what;
  std::vector<char> x(size_t(a.numel() * a.element_size())), y(x.size());
  ASSERT_EQ(phlox_tensor_read(a.handle(), x.data(), x.size()), PHLOX_OK);
  ASSERT_EQ(phlox_tensor_read(b.handle(), y.data(), y.size()), PHLOX_OK);
  EXPECT_TRUE(x == y) << what << "\n" << a.str() << "\n" << b.str();
}
inline void expect_same(const StateDict& a, const StateDict& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].first, b[i].first);
    expect_same(a[i].second, b[i].second, a[i].first);
  }
}
inline Tensor make(std::initializer_list<double> values, const IntList& sizes) {
  return tensor(values).reshape(sizes);
}
template <class F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace phlox_test
