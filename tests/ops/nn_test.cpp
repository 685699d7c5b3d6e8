// Normalisations, activations, losses, pooling, attention and random ops: hand-computed values and gradients.
#include "op_check.h"

namespace phlox::test {

TEST(Softmax, ValuesAndGradients) {
  const HostTensor x = random_tensor({2, 3, 4});
  const HostTensor y = run("softmax.int", {x, 1})[0];
  for (int b = 0; b < 2; ++b)
    for (int k = 0; k < 4; ++k) EXPECT_NEAR(at(y, b * 12 + k) + at(y, b * 12 + 4 + k) + at(y, b * 12 + 8 + k), 1, 1e-12);
  check_gradients("softmax.int", {x, -1});
  check_gradients("log_softmax.int", {x, 1});
  const double inf = INFINITY;
  expect_near(run("_safe_softmax", {f64s({2, 2}, {-inf, -inf, 0, -inf}), 1})[0], {2, 2}, {0, 0, 1, 0});
  expect_near(run("softmax.int", {f64s({}, {3}), 0})[0], {}, {1});
}

TEST(Norm, Gradients) {
  const HostTensor x = random_tensor({3, 4, 5}), w = random_tensor({4}, 2), b = random_tensor({4}, 3);
  check_gradients("layer_norm", {x, Ints{4, 5}, random_tensor({4, 5}, 2), random_tensor({4, 5}, 3)});
  check_gradients("layer_norm", {x, Ints{5}});
  check_gradients("rms_norm", {x, Ints{5}, random_tensor({5}, 2)});
  check_gradients("native_batch_norm", {x, w, b, random_tensor({4}, 4), random_tensor({4}, 5, 0.5, 1), true, 0.1, 1e-5});
  check_gradients("group_norm", {x, 2, w, b, 1e-5});
  check_gradients("instance_norm", {x, w, b, In(), In(), true, 0.1, 1e-5, false});
}

TEST(Norm, BatchNormRunningStatistics) {
  const auto r = run("_native_batch_norm_legit_functional",
                     {f64s({2, 1, 2}, {1, 2, 3, 4}), In(), In(), f64s({1}, {1}), f64s({1}, {2}), true, 0.5, 0.0});
  ASSERT_EQ(r.size(), 5u);
  const double s = std::sqrt(1.25);
  expect_near(r[0], {2, 1, 2}, {-1.5 / s, -0.5 / s, 0.5 / s, 1.5 / s});
  expect_near(r[1], {1}, {2.5});
  expect_near(r[2], {1}, {1 / s});
  expect_near(r[3], {1}, {1.75});
  expect_near(r[4], {1}, {(2 + 5.0 / 3) / 2});
}

TEST(Activation, Gradients) {
  const HostTensor x = f64s({2, 4}, {-4, -1.2, -0.3, 0.2, 0.7, 1.4, 2.5, 6.7});
  for (const char* name : {"relu6", "hardswish", "hardsigmoid", "leaky_relu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus",
                           "log_sigmoid", "softshrink", "hardshrink", "hardtanh", "glu"})
    check_gradients(name, {x});
  check_gradients("gelu", {x, "tanh"});
  check_gradients("prelu", {x, random_tensor({4}, 2)});
  expect_near(run("softplus", {f64s({2}, {1000, -1000})})[0], {2}, {1000, 0});
}

TEST(Loss, CrossEntropy) {
  const HostTensor x = random_tensor({4, 3}), t = i64s({4}, {2, 0, -100, 1}), w = random_tensor({3}, 2, 0.5, 1);
  for (int reduction = 0; reduction < 3; ++reduction) {
    check_gradients("cross_entropy_loss", {x, t, w, reduction}, 2e-6, 1);
    check_gradients("cross_entropy_loss", {x, t, In(), reduction, -100, 0.2});
    check_gradients("cross_entropy_loss", {x, random_tensor({4, 3}, 7, 0, 1), In(), reduction, -100, 0.1});
  }
  check_gradients("nll_loss_nd", {random_tensor({2, 3, 2, 2}), i64s({2, 2, 2}, {0, 1, 2, 0, 1, 1, 0, 2})});
  expect_near(run("nll_loss_nd", {f64s({2, 2}, {1, 2, 3, 5}), i64s({2}, {1, 0}), f64s({2}, {3, 1})})[0], {}, {-(2 + 9) / 4.0});
}

TEST(Loss, Elementwise) {
  const HostTensor x = random_tensor({3, 4}, 1, 0.1, 0.9), t = random_tensor({3, 4}, 2, 0.1, 0.9);
  for (const char* name : {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "binary_cross_entropy",
                           "binary_cross_entropy_with_logits", "kl_div"})
    check_gradients(name, {x, t});
}

TEST(Pool, MaxPool) {
  const HostTensor x = f32s({1, 3, 4}, {1, 5, 2, 0, 5, 5, 1, 3, 0, 2, 9, 9});
  const auto r = run("max_pool2d_with_indices", {x, Ints{2}, Ints{1, 2}});
  expect_near(r[0], {1, 2, 2}, {5, 3, 5, 9});
  expect_near(r[1], {1, 2, 2}, {1, 7, 4, 10});
  check_gradients("max_pool2d_with_indices", {random_tensor({2, 2, 4, 6}), Ints{2}});
  check_gradients("max_pool2d", {random_tensor({2, 5, 5}), Ints{3}, Ints{2}, Ints{1}, Ints{1}, true});
  check_gradients("max_pool1d", {random_tensor({1, 2, 7}), Ints{2}, Ints{1}, Ints{0}, Ints{2}});
}

TEST(Pool, AvgPool) {
  expect_near(run("avg_pool2d", {f32s({1, 2, 2}, {1, 2, 3, 4}), Ints{2}, Ints{1}, Ints{1}, false, false})[0], {1, 3, 3},
              {1, 1.5, 2, 2, 2.5, 3, 3, 3.5, 4});
  check_gradients("avg_pool2d", {random_tensor({2, 2, 5, 5}), Ints{3, 2}, Ints{2}, Ints{1}, true});
  check_gradients("avg_pool3d", {random_tensor({1, 3, 4, 3}), Ints{2}});
}

TEST(Attention, Gradients) {
  const HostTensor q = random_tensor({2, 3, 4}), k = random_tensor({2, 5, 4}, 2), v = random_tensor({2, 5, 3}, 3);
  check_gradients("scaled_dot_product_attention", {q, k, v});
  check_gradients("scaled_dot_product_attention", {q, k, v, In(), 0.0, true});
  check_gradients("scaled_dot_product_attention", {q, k, v, random_tensor({3, 5}, 4)});
  check_gradients("scaled_dot_product_attention",
                  {random_tensor({1, 4, 2, 3}), random_tensor({1, 2, 2, 3}, 2), random_tensor({1, 2, 2, 3}, 3), In(), 0.0, false, 0.7, true});
  const HostTensor mask = tensor<uint8_t>(DType::boolean, {1, 2}, {0, 0});
  expect_near(run("scaled_dot_product_attention", {f64s({1, 1}, {1}), f64s({2, 1}, {1, 2}), f64s({2, 1}, {1, 2}), mask})[0], {1, 1}, {0});
}

TEST(Attention, Embedding) {
  check_gradients("embedding", {random_tensor({3, 2}), i64s({2, 2}, {0, 2, 2, 2})});
  expect_near(run("embedding", {f64s({2, 2}, {1, 2, 3, 4}), i64s({2}, {1, 1}), 1})[0], {2, 2}, {3, 4, 3, 4});
}

TEST(Random, Distributions) {
  auto moments = [](const HostTensor& t) {
    double s = 0, q = 0;
    for (int64_t i = 0; i < t.numel(); ++i) s += at(t, i), q += at(t, i) * at(t, i);
    return std::pair(s / double(t.numel()), q / double(t.numel()));
  };
  const auto [m, q] = moments(run("randn", {Ints{100, 200}})[0]);
  EXPECT_NEAR(m, 0, 0.03);
  EXPECT_NEAR(q, 1, 0.05);
  const auto [um, uq] = moments(run("rand", {Ints{100, 200}, DType::f64})[0]);
  EXPECT_NEAR(um, 0.5, 0.01);
  EXPECT_NEAR(uq, 1.0 / 3, 0.01);
  const auto [im, iq] = moments(run("randint.low", {-3, 4, Ints{20000}})[0]);
  EXPECT_NEAR(im, 0, 0.1);
  EXPECT_NEAR(iq, 4, 0.1);
  const auto dropped = run("dropout", {f32s({4}, {1, 1, 1, 1}), 0.5, true})[0];
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(at(dropped, i) == 0 || at(dropped, i) == 2);
  const auto r = run("native_dropout", {random_tensor({1000}, 1, 1, 1, DType::f32), 0.25, true});
  EXPECT_NEAR(moments(r[1]).first, 0.75, 0.05);
  check_gradients("dropout", {random_tensor({3, 3}), 0.4, true});
}

}  // namespace phlox::test
