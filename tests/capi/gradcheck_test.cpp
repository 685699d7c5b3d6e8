#include <gtest/gtest.h>

#include <phlox/gradcheck.hpp>

using namespace phlox;
using Tensors = std::vector<Tensor>;

static Tensor input(IntList sizes) { return randn(sizes, {.dtype = f64}).requires_grad_(); }

TEST(Gradcheck, right_gradients_pass) {
  manual_seed(1);
  auto f = [](const Tensors& in) { return sigmoid(in[0] * in[1]).sum(1); };
  EXPECT_TRUE(gradcheck(f, {input({2, 3}), input({3})}));
  EXPECT_TRUE(gradgradcheck(f, {input({2, 3}), input({3})}));
}

TEST(Gradcheck, several_results_and_views) {
  auto f = [](const Tensors& in) {
    return Tensors{in[0].transpose(0, 1).matmul(in[0]), in[0].index({0}).exp()};
  };
  EXPECT_TRUE(gradcheck(f, {input({2, 2})}));
  EXPECT_TRUE(gradgradcheck(f, {input({2, 2})}));
}

TEST(Gradcheck, changes_in_place) {
  auto f = [](const Tensors& in) {
    const Tensor y = in[0] * 2;
    y.index({Slice(0, 1)}).mul_(in[1]);
    return y * y;
  };
  EXPECT_TRUE(gradcheck(f, {input({2, 2}), input({2})}));
}

namespace {
struct Wrong : Function<Wrong> {
  static Tensor forward(Context&, const Tensor& x) { return x * 3; }
  static std::vector<Tensor> backward(Context&, const Tensors& g) { return {g[0] * 2}; }
};
}  // namespace

TEST(Gradcheck, wrong_gradients_are_named) {
  auto f = [](const Tensors& in) { return Wrong::apply(in[0]); };
  try {
    gradcheck(f, {input({2})});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.fact(), "the gradient of output 0 element 0 by input 0 element 0 is wrong");
    EXPECT_EQ(e.got(), "2.000000");
  }
  EXPECT_FALSE(gradcheck(f, {input({2})}, {.raise = false}));
  EXPECT_THROW(gradcheck(f, {randn({2}).requires_grad_()}), Error);
}
