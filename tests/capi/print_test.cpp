// The texts are what PyTorch prints for the same tensors, dtype names apart.
#include <gtest/gtest.h>

#include <cmath>
#include <phlox/autograd.hpp>

using namespace phlox;

static std::vector<float> ramp(int n, float step = 1) {
  std::vector<float> v;
  for (int i = 0; i < n; ++i) v.push_back(float(i) * step);
  return v;
}

TEST(Print, numbers) {
  EXPECT_EQ(tensor({1., 2.5}).str(), "tensor([1.0000, 2.5000])");
  EXPECT_EQ(tensor({1., -2.}).str(), "tensor([ 1., -2.])");
  EXPECT_EQ(tensor({0., 0.}).str(), "tensor([0., 0.])");
  EXPECT_EQ(tensor({1, -20}).str(), "tensor([  1, -20])");
  EXPECT_EQ(tensor({true, false}).str(), "tensor([ True, False])");
  EXPECT_EQ(tensor(3.5).str(), "tensor(3.5000)");
  EXPECT_EQ(tensor(3).str(), "tensor(3)");
  EXPECT_EQ(tensor({1e-5, 1.}).str(), "tensor([1.0000e-05, 1.0000e+00])");
  EXPECT_EQ(tensor({0.5, 2000.}).str(), "tensor([5.0000e-01, 2.0000e+03])");
  EXPECT_EQ(tensor({1., 2000.}).str(), "tensor([1.0000e+00, 2.0000e+03])");
  EXPECT_EQ(tensor({100., 2000.}).str(), "tensor([ 100., 2000.])");
  EXPECT_EQ(tensor({1., double(NAN), double(INFINITY)}).str(), "tensor([1., nan, inf])");
  EXPECT_EQ(tensor({1.5, double(NAN), -double(INFINITY)}).str(), "tensor([1.5000,    nan,   -inf])");
}

TEST(Print, dtypes_that_are_not_the_default_are_named) {
  EXPECT_EQ(tensor({1., 2.}, {.dtype = f64}).str(), "tensor([1., 2.], dtype=float64)");
  EXPECT_EQ(tensor({1, 2}, {.dtype = i32}).str(), "tensor([1, 2], dtype=int32)");
  EXPECT_EQ(tensor({1.5}, {.dtype = bf16}).str(), "tensor([1.5000], dtype=bfloat16)");
  EXPECT_EQ(tensor({1.5}, {.dtype = f16}).str(), "tensor([1.5000], dtype=float16)");
}

TEST(Print, shapes) {
  EXPECT_EQ(tensor({{1, 2}, {3, 4}}).str(), "tensor([[1, 2],\n        [3, 4]])");
  EXPECT_EQ(from_data(ramp(8).data(), {2, 2, 2}).str(),
            "tensor([[[0., 1.],\n         [2., 3.]],\n\n        [[4., 5.],\n         [6., 7.]]])");
  EXPECT_EQ(from_data(ramp(0).data(), {0}).str(), "tensor([])");
  EXPECT_EQ(from_data(ramp(0).data(), {2, 0}).str(), "tensor([], size=(2, 0))");
  EXPECT_EQ(from_data(std::vector<int64_t>().data(), {0}).str(), "tensor([], dtype=int64)");
}

TEST(Print, long_lines_break) {
  EXPECT_EQ(tensor(ramp(20)).str(),
            "tensor([ 0.,  1.,  2.,  3.,  4.,  5.,  6.,  7.,  8.,  9., 10., 11., 12., 13.,\n"
            "        14., 15., 16., 17., 18., 19.])");
}

TEST(Print, long_tensors_are_cut) {
  EXPECT_EQ(tensor(ramp(1001)).str(), "tensor([   0.,    1.,    2.,  ...,  998.,  999., 1000.])");
  EXPECT_EQ(from_data(ramp(2000, 0.5).data(), {500, 4}).str(),
            "tensor([[0.0000e+00, 5.0000e-01, 1.0000e+00, 1.5000e+00],\n"
            "        [2.0000e+00, 2.5000e+00, 3.0000e+00, 3.5000e+00],\n"
            "        [4.0000e+00, 4.5000e+00, 5.0000e+00, 5.5000e+00],\n"
            "        ...,\n"
            "        [9.9400e+02, 9.9450e+02, 9.9500e+02, 9.9550e+02],\n"
            "        [9.9600e+02, 9.9650e+02, 9.9700e+02, 9.9750e+02],\n"
            "        [9.9800e+02, 9.9850e+02, 9.9900e+02, 9.9950e+02]])");
}

TEST(Print, gradients) {
  const Tensor x = tensor({1.}).requires_grad_();
  EXPECT_EQ(x.str(), "tensor([1.], requires_grad=True)");
  EXPECT_EQ((x + 1).str(), "tensor([2.], grad_fn=<AddBackward0>)");
}
