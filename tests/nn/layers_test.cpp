// Layers against values worked out by hand or by the formulas that define them.
#include "check.h"

namespace phlox_test {
namespace {

namespace F = nn::functional;

void set(const Tensor& t, std::initializer_list<double> values) {
  const NoGrad guard;
  t.copy_(tensor(values).reshape(t.sizes()));
}

TEST(Layers, linear) {
  nn::Linear m(2, 2);
  set(m.weight, {1, 2, 3, 4});
  set(m.bias, {10, 20});
  expect_near(m(make({1, 1, 2, 0}, {2, 2})), {13, 27, 12, 26});
  m(make({1, 1, 2, 0}, {2, 2})).sum().backward();
  expect_near(m.weight.grad(), {3, 1, 3, 1});
  expect_near(m.bias.grad(), {2, 2});
}

TEST(Layers, convolutions_and_pools) {
  nn::Conv2d c(1, 1, 3, {.padding = 1});
  set(c.weight, {0, 0, 0, 0, 1, 0, 0, 0, 1});  // the pixel and the one right below
  set(c.bias, {0.5});
  const Tensor x = arange(9, {.dtype = f32}).reshape({1, 1, 3, 3});
  expect_near(c(x), {4.5, 6.5, 2.5, 10.5, 12.5, 5.5, 6.5, 7.5, 8.5});
  nn::Conv1d d(2, 1, 2, {.bias = false});
  set(d.weight, {1, 2, 3, 4});
  expect_near(d(make({1, 2, 3, 10, 20, 30}, {1, 2, 3})), {1 + 4 + 30 + 80, 2 + 6 + 60 + 120});
  const Tensor y = arange(16, {.dtype = f32}).reshape({1, 1, 4, 4});
  expect_near(nn::MaxPool2d(2)(y), {5, 7, 13, 15});
  expect_near(nn::AvgPool2d(2)(y), {2.5, 4.5, 10.5, 12.5});
  expect_near(nn::AdaptiveAvgPool2d(1)(y), {7.5});
  expect_near(nn::AdaptiveAvgPool2d(3)(y), {2.5, 3.5, 4.5, 6.5, 7.5, 8.5, 10.5, 11.5, 12.5});
}

TEST(Layers, batch_norm_follows_the_batch_and_then_the_running_statistics) {
  nn::BatchNorm1d m(2);
  const Tensor x = make({1, 10, 3, 20, 5, 60}, {3, 2});
  // Channel 0: mean 3, variance 8/3. Channel 1: mean 30, variance 1400/3.
  const double a = 2 / std::sqrt(8.0 / 3 + 1e-5), b = std::sqrt(1400.0 / 3 + 1e-5);
  expect_near(m(x), {-a, -20 / b, 0, -10 / b, a, 30 / b}, 1e-5);
  expect_near(m.running_mean, {0.3, 3});
  expect_near(m.running_var, {0.9 + 0.1 * 4, 0.9 + 0.1 * 700});
  EXPECT_EQ(m.num_batches_tracked.item<int64_t>(), 1);
  m.eval();
  expect_near(m(x).index({0}), {(1 - 0.3) / std::sqrt(1.3 + 1e-5), (10 - 3) / std::sqrt(70.9 + 1e-5)}, 1e-5);
  EXPECT_EQ(m.num_batches_tracked.item<int64_t>(), 1);
  EXPECT_NE(error_of([&] { m(zeros({2, 2, 2, 2})); }).find("BatchNorm1d"), std::string::npos);
}

TEST(Layers, other_norms) {
  const Tensor x = make({1, 2, 3, 4, 2, 0, 2, 0}, {2, 4});
  const double s = std::sqrt(1.25 + 1e-5), q = std::sqrt(1 + 1e-5);
  expect_near(nn::LayerNorm(4)(x), {-1.5 / s, -0.5 / s, 0.5 / s, 1.5 / s, 1 / q, -1 / q, 1 / q, -1 / q},
              1e-5);
  const double r = std::sqrt(7.5 + 1e-6), t = std::sqrt(2 + 1e-6);
  expect_near(nn::RMSNorm(4, 1e-6)(x), {1 / r, 2 / r, 3 / r, 4 / r, 2 / t, 0, 2 / t, 0}, 1e-5);
  const double g = std::sqrt(0.25 + 1e-5);
  expect_near(nn::GroupNorm(2, 4)(x.index({Slice(0, 1)})), {-0.5 / g, 0.5 / g, -0.5 / g, 0.5 / g}, 1e-5);
}

TEST(Layers, dropout_scales_what_stays) {
  manual_seed(1);
  nn::Dropout m(0.25);
  const Tensor x = ones({4000});
  int kept = 0;
  for (float v : floats(m(x))) {
    EXPECT_TRUE(v == 0 || std::fabs(v - 4.0 / 3) < 1e-6) << v;
    kept += v != 0;
  }
  EXPECT_NEAR(kept, 3000, 120);
  m.eval();
  expect_same(m(x), x);
}

TEST(Layers, embedding_and_shapes) {
  nn::Embedding e(3, 2, 1);
  set(e.weight, {1, 2, 3, 4, 5, 6});
  const Tensor i = tensor({2, 1, 2});
  expect_near(e(i), {5, 6, 3, 4, 5, 6});
  e(i).sum().backward();
  expect_near(e.weight.grad(), {0, 0, 0, 0, 2, 2});
  EXPECT_EQ(nn::Flatten()(zeros({2, 3, 4})).describe(), "f32[2,12]");
  EXPECT_EQ(nn::Unflatten(1, {3, 4})(zeros({2, 12})).describe(), "f32[2,3,4]");
}

TEST(Layers, losses) {
  const Tensor logits = make({1, 2, 3, 0, 0, 0}, {2, 3});
  const Tensor target = tensor({2, 0});
  const double l0 = std::log(std::exp(-2.0) + std::exp(-1.0) + 1), l1 = std::log(3.0);
  expect_near(nn::CrossEntropyLoss()(logits, target), {(l0 + l1) / 2});
  expect_near(F::cross_entropy(logits, target, {.reduction = nn::Reduction::none}), {l0, l1});
  expect_near(F::cross_entropy(logits, target, {.weight = tensor({1.0, 1.0, 3.0})}), {(3 * l0 + l1) / 4});
  expect_near(nn::NLLLoss()(log_softmax(logits, -1), target), {(l0 + l1) / 2});
  const Tensor a = tensor({1.0, -1.0}), b = tensor({0.0, 1.0});
  expect_near(nn::MSELoss()(a, b), {2.5});
  expect_near(nn::L1Loss(nn::Reduction::sum)(a, b), {3});
  expect_near(nn::SmoothL1Loss()(a, b), {(0.5 + 1.5) / 2});
  const double s = std::log(1 + std::exp(1.0));
  expect_near(nn::BCEWithLogitsLoss()(a, b), {s});
}

// Sizes that come again get programs of their own: with the same bits, and others between them.
TEST(Layers, convolutions_of_sizes_that_come_again) {
  manual_seed(3);
  nn::Conv2d conv(3, 8, 3, {.padding = 1});
  nn::MaxPool2d pool(2);
  const Tensor x = randn({6, 3, 48, 40}), other = randn({5, 3, 48, 40});
  const auto step = [&](const Tensor& in) {
    conv.zero_grad();
    const Tensor a = in.detach().requires_grad_();
    const Tensor y = pool(conv(a));
    (y * y).sum().backward();
    return std::vector<Tensor>{y.detach(), a.grad().clone(), conv.weight.grad().clone(), conv.bias.grad().clone()};
  };
  const std::vector<Tensor> first = step(x), between = step(other);
  for (int i = 0; i < 5; ++i) {
    const std::vector<Tensor> again = step(x), others = step(other);
    for (size_t k = 0; k < first.size(); ++k) {
      expect_same(again[k], first[k], "result " + std::to_string(k));
      expect_same(others[k], between[k], "result " + std::to_string(k) + " of the other size");
    }
  }
}

TEST(Layers, attention_is_softmax_of_scores_times_values) {
  manual_seed(5);
  const Tensor q = randn({2, 3, 4, 8}), k = randn({2, 3, 5, 8}), v = randn({2, 3, 5, 8});
  const Tensor want = matmul(softmax(matmul(q, k.transpose(-2, -1)) / std::sqrt(8.0), -1), v);
  const std::vector<float> w = floats(want);
  expect_near(F::scaled_dot_product_attention(q, k, v), std::vector<double>(w.begin(), w.end()), 1e-5);

  nn::MultiheadAttention m(8, 2);
  const Tensor x = randn({2, 4, 8});
  m.eval();
  EXPECT_EQ(m(x).describe(), "f32[2,4,8]");
  const std::vector<float> self = floats(m(x));
  expect_near(m(x, x.clone(), x.clone()), std::vector<double>(self.begin(), self.end()), 1e-5);
  EXPECT_TRUE(m.state_dict().contains("in_proj_weight"));
  EXPECT_TRUE(m.state_dict().contains("out_proj.bias"));
}

}  // namespace
}  // namespace phlox_test
