// Matrix products and convolutions against hand-computed values, and their gradients.
#include "op_check.h"

namespace phlox::test {

TEST(Contract, Matmul) {
  expect_near(run("matmul", {f32s({2, 3}, {1, 2, 3, 4, 5, 6}), f32s({3}, {1, 0, -1})})[0], {2}, {-2, -2});
  expect_near(run("matmul", {f32s({3}, {1, 2, 3}), f32s({2, 3, 1}, {1, 1, 1, 1, 0, -1})})[0], {2, 1}, {6, -2});
  expect_near(run("linear", {f32s({1, 2}, {1, 2}), f32s({2, 2}, {1, 1, 2, 0}), f32s({2}, {10, 20})})[0], {1, 2}, {13, 22});
  check_gradients("matmul", {random_tensor({2, 1, 2, 3}), random_tensor({3, 3, 2}, 2)});
  check_gradients("addmm", {random_tensor({2}), random_tensor({2, 3}, 2), random_tensor({3, 2}, 3), 0.5, 2.0});
  check_gradients("bilinear", {random_tensor({2, 2}), random_tensor({2, 3}, 2), random_tensor({2, 2, 3}, 3), random_tensor({2}, 4)});
  check_gradients("linalg_multi_dot", {std::vector<HostTensor>{random_tensor({2, 3}), random_tensor({3, 1}, 2), random_tensor({1, 2}, 3)}});
}

TEST(Contract, ErrorsNameShapes) {
  try {
    run("mm", {f32s({2, 2}, {1, 2, 3, 4}), f32s({3, 1}, {1, 2, 3})});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("inner sizes differ"), std::string::npos) << e.what();
  }
}

TEST(Contract, Convolutions) {
  const HostTensor x = f32s({1, 1, 3, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9}), w = f32s({1, 1, 2, 2}, {1, 0, 0, 1});
  expect_near(run("conv2d", {x, w})[0], {1, 1, 2, 2}, {6, 8, 12, 14});
  expect_near(run("conv_transpose2d.input", {f32s({1, 1, 2, 2}, {1, 2, 3, 4}), w})[0], {1, 1, 3, 3}, {1, 2, 0, 3, 5, 2, 0, 3, 4});
  expect_near(run("conv1d.padding", {f32s({1, 3}, {1, 2, 3}), f32s({1, 1, 2}, {1, 10}), In(), Ints{1}, "same"})[0], {1, 3}, {21, 32, 3});
  check_gradients("conv2d", {random_tensor({2, 4, 4, 5}), random_tensor({6, 2, 3, 2}, 2), random_tensor({6}, 3), Ints{2, 1}, Ints{1, 0}, Ints{1, 2}, 2});
  check_gradients("conv_transpose1d", {random_tensor({1, 4, 4}), random_tensor({4, 2, 3}, 2), random_tensor({4}, 3), Ints{2}, Ints{1}, Ints{1}, 2, Ints{2}});
}

}  // namespace phlox::test
