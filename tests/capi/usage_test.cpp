// Calls as users of PyTorch's C++ API write them: that they compile without ambiguity, and what they give.
#include <gtest/gtest.h>

#include <cmath>
#include <phlox/tensor.hpp>

using namespace phlox;
using Floats = std::vector<float>;
using Longs = std::vector<int64_t>;

static Floats floats(const Tensor& t) { return t.to_vector<float>(); }
static Longs longs(const Tensor& t) { return t.to_vector<int64_t>(); }
static Longs shape(const Tensor& t) { return t.sizes().vec(); }

TEST(Usage, creation) {
  EXPECT_EQ(floats(linspace(0, 1, 3)), (Floats{0, 0.5, 1}));
  EXPECT_EQ(floats(eye(2)), (Floats{1, 0, 0, 1}));
  EXPECT_EQ(shape(eye(2, 3)), (Longs{2, 3}));
  EXPECT_EQ(longs(full({2}, 3)), (Longs{3, 3}));
  EXPECT_EQ(full({2}, 3, f64).dtype(), f64);
  EXPECT_EQ(shape(randn({2, 3})), (Longs{2, 3}));
  EXPECT_EQ(rand({2}, f64).dtype(), f64);
  EXPECT_EQ(randint(10, {4}).dtype(), i64);
  EXPECT_EQ(shape(randint(5, 10, {4})), (Longs{4}));
  EXPECT_EQ(longs(arange(1, 7, 2)), (Longs{1, 3, 5}));
  const std::vector<int64_t> sizes = {2, 2};
  EXPECT_EQ(shape(zeros(sizes)), sizes);
  const Tensor x = ones({2, 3});
  EXPECT_EQ(shape(x.new_zeros({4})), (Longs{4}));
  EXPECT_EQ(shape(zeros(x.sizes())), (Longs{2, 3}));
  EXPECT_EQ(shape(ones_like(x)), (Longs{2, 3}));
  EXPECT_EQ(rand_like(x, {.dtype = f64}).dtype(), f64);
  EXPECT_EQ(shape(empty(3)), (Longs{3}));
}

TEST(Usage, shapes) {
  const Tensor x = arange(24, f32).view({2, 3, 4});
  EXPECT_EQ(shape(x.permute({2, 0, 1})), (Longs{4, 2, 3}));
  EXPECT_EQ(shape(x.flatten()), (Longs{24}));
  EXPECT_EQ(shape(x.flatten(1)), (Longs{2, 12}));
  EXPECT_EQ(shape(x.unsqueeze(0).squeeze(0)), (Longs{2, 3, 4}));
  EXPECT_EQ(shape(x.unsqueeze(-1).squeeze()), (Longs{2, 3, 4}));
  EXPECT_EQ(shape(x.reshape({6, -1})), (Longs{6, 4}));
  EXPECT_EQ(x.chunk(2, 2).size(), 2u);
  EXPECT_EQ(x.split({1, 3}, 2)[1].size(2), 3);
  EXPECT_EQ(x.unbind(1).size(), 3u);
  EXPECT_EQ(shape(stack({x, x}, 1)), (Longs{2, 2, 3, 4}));
  EXPECT_EQ(shape(stack({x[0], x[1]})), (Longs{2, 3, 4}));
  EXPECT_EQ(shape(x.repeat({1, 2, 1})), (Longs{2, 6, 4}));
  EXPECT_EQ(shape(x.expand({5, 2, 3, 4})), (Longs{5, 2, 3, 4}));
  EXPECT_EQ(floats(x.select(0, 1).narrow(0, 1, 1).flip({1})), (Floats{19, 18, 17, 16}));
  EXPECT_EQ(shape(x.movedim(0, 2)), (Longs{3, 4, 2}));
  EXPECT_EQ(floats(roll(arange(3, f32), 1)), (Floats{2, 0, 1}));
  EXPECT_EQ(floats(tril(ones({2, 2}))), (Floats{1, 0, 1, 1}));
  EXPECT_EQ(floats(triu(ones({2, 2}), 1)), (Floats{0, 1, 0, 0}));
}

TEST(Usage, reductions) {
  const Tensor x = tensor({{1., 5., 3.}, {4., 2., 6.}});
  EXPECT_EQ(x.max().item<float>(), 6);
  EXPECT_EQ(floats(std::get<0>(x.max(1))), (Floats{5, 6}));
  EXPECT_EQ(floats(maximum(x[0], x[1])), (Floats{4, 5, 6}));
  EXPECT_EQ(floats(max(x[0], x[1])), (Floats{4, 5, 6}));
  EXPECT_EQ(longs(x.argmax(1)), (Longs{1, 2}));
  EXPECT_EQ(x.argmax().item<int64_t>(), 5);
  EXPECT_EQ(floats(x.mean(0)), (Floats{2.5, 3.5, 4.5}));
  EXPECT_EQ(floats(x.sum({0}, true)), (Floats{5, 7, 9}));
  EXPECT_EQ(shape(x.mean({0, 1}, true)), (Longs{1, 1}));
  EXPECT_FLOAT_EQ(x.var().item<float>(), 3.5);
  EXPECT_EQ(shape(x.var(1)), (Longs{2}));
  EXPECT_EQ(shape(x.std(1, true)), (Longs{2}));
  EXPECT_FLOAT_EQ(x.norm().item<float>(), std::sqrt(91.f));
  EXPECT_TRUE(x.gt(0).all().item<bool>());
  EXPECT_FALSE((x > 6).any().item<bool>());
  EXPECT_EQ(longs((x > 2).sum(1)), (Longs{2, 2}));
  EXPECT_EQ(floats(cumsum(x, 1)), (Floats{1, 6, 9, 4, 6, 12}));
  const auto [values, order] = x.sort(1, true);
  EXPECT_EQ(floats(values), (Floats{5, 3, 1, 6, 4, 2}));
  EXPECT_EQ(longs(order), (Longs{1, 2, 0, 2, 0, 1}));
  const auto [top, at] = x.topk(1);
  EXPECT_EQ(floats(top), (Floats{5, 6}));
  EXPECT_EQ(longs(at), (Longs{1, 2}));
  EXPECT_TRUE(allclose(x, x + 1e-9));
}

TEST(Usage, arithmetic) {
  const Tensor x = tensor({-1.5, 2.5});
  EXPECT_EQ(floats(x.pow(2)), (Floats{2.25, 6.25}));
  EXPECT_EQ(floats(pow(2, tensor({1., 3.}))), (Floats{2, 8}));
  EXPECT_EQ(floats(x.clamp(-1, 1)), (Floats{-1, 1}));
  EXPECT_EQ(floats(x.clamp_min(0)), (Floats{0, 2.5}));
  EXPECT_EQ(floats(clamp(x, std::nullopt, 0)), (Floats{-1.5, 0}));
  EXPECT_EQ(floats(div(x, 2, "floor")), (Floats{-1, 1}));
  EXPECT_EQ(floats(x.div(tensor({2., 2.}), "trunc")), (Floats{0, 1}));
  EXPECT_EQ(floats(1 - x), (Floats{2.5, -1.5}));
  EXPECT_EQ(floats(1 / tensor({2., 4.})), (Floats{0.5, 0.25}));
  EXPECT_EQ(floats(x % 2), (Floats{0.5, 0.5}));
  EXPECT_EQ(floats(x.abs().sqrt().square()).size(), 2u);
  EXPECT_EQ(floats(where(x > 0, x, zeros_like(x))), (Floats{0, 2.5}));
  EXPECT_EQ(floats(x.masked_fill(x < 0, 7)), (Floats{7, 2.5}));
  EXPECT_EQ(floats(addmm(ones({1}), ones({1, 2}), ones({2, 1}), 2, 3)), (Floats{8}));
  EXPECT_EQ(floats(lerp(zeros({1}), ones({1}), 0.25)), (Floats{0.25}));
  EXPECT_TRUE((tensor({1, 2}) == tensor({1, 2})).all().item<bool>());
  EXPECT_TRUE(equal(x, x.clone()));
  EXPECT_EQ(floats(-x.round()), (Floats{2, -2}));
}

TEST(Usage, products) {
  const Tensor a = arange(6, f32).view({2, 3}), b = arange(6, f32).view({3, 2});
  EXPECT_EQ(floats(a.matmul(b)), (Floats{10, 13, 28, 40}));
  EXPECT_EQ(floats(mm(a, b)), floats(einsum("ij,jk->ik", {a, b})));
  EXPECT_EQ(floats(dot(a[0], a[1])), (Floats{14}));
  EXPECT_EQ(shape(bmm(ones({2, 3, 4}), ones({2, 4, 5}))), (Longs{2, 3, 5}));
  EXPECT_EQ(shape(outer(a[0], a[1])), (Longs{3, 3}));
}

TEST(Usage, indexing_ops) {
  const Tensor x = arange(6, f32).view({2, 3});
  EXPECT_EQ(floats(x.gather(1, tensor({{2}, {0}}))), (Floats{2, 3}));
  EXPECT_EQ(floats(x.index_select(1, tensor({1}))), (Floats{1, 4}));
  EXPECT_EQ(floats(zeros({3}).scatter(0, tensor({1}), 5)), (Floats{0, 5, 0}));
  EXPECT_EQ(floats(zeros({2}).scatter_add(0, tensor({1, 1}), ones({2}))), (Floats{0, 2}));
  EXPECT_EQ(floats(masked_select(x, x > 3)), (Floats{4, 5}));
  EXPECT_EQ(longs(nonzero(x > 3)), (Longs{1, 1, 1, 2}));
  EXPECT_EQ(floats(index(x, {tensor({1}), tensor({2})})), (Floats{5}));
  EXPECT_EQ(floats(x.take(tensor({5}))), (Floats{5}));
  EXPECT_EQ(longs(one_hot(tensor({1, 0}), 2)), (Longs{0, 1, 1, 0}));
}

TEST(Usage, layers) {
  const Tensor image = ones({1, 1, 4, 4}), kernel = ones({1, 1, 3, 3});
  EXPECT_EQ(shape(conv2d(image, kernel)), (Longs{1, 1, 2, 2}));
  EXPECT_EQ(shape(conv2d(image, kernel, {}, 1, 1)), (Longs{1, 1, 4, 4}));
  EXPECT_EQ(shape(conv2d(image, kernel, {}, {2, 1}, {1, 1})), (Longs{1, 1, 2, 4}));
  EXPECT_EQ(shape(conv2d(image, kernel, {}, 1, "same")), (Longs{1, 1, 4, 4}));
  EXPECT_EQ(shape(max_pool2d(image, 2)), (Longs{1, 1, 2, 2}));
  EXPECT_EQ(shape(max_pool2d(image, {2, 2}, {1, 1})), (Longs{1, 1, 3, 3}));
  EXPECT_EQ(shape(adaptive_avg_pool2d(image, 1)), (Longs{1, 1, 1, 1}));
  EXPECT_EQ(floats(softmax(zeros({2}), 0)), (Floats{0.5, 0.5}));
  EXPECT_EQ(softmax(zeros({2}), 0, f64).dtype(), f64);
  EXPECT_EQ(floats(log_softmax(zeros({1, 1}), 1)), (Floats{0}));
  EXPECT_EQ(shape(layer_norm(ones({2, 4}), {4})), (Longs{2, 4}));
  EXPECT_EQ(floats(dropout(ones({2}), 0.5, false)), (Floats{1, 1}));
  EXPECT_EQ(shape(embedding(ones({5, 3}), tensor({1, 4}))), (Longs{2, 3}));
  EXPECT_FLOAT_EQ(cross_entropy_loss(zeros({1, 2}), tensor({0})).item<float>(), std::log(2.f));
  EXPECT_EQ(mse_loss(ones({2}), zeros({2})).item<float>(), 1);
  EXPECT_EQ(mse_loss(ones({2}), zeros({2}), 2).item<float>(), 2);  // sum
  EXPECT_EQ(shape(scaled_dot_product_attention(ones({1, 2, 3, 4}), ones({1, 2, 3, 4}), ones({1, 2, 3, 4}), {}, 0.0, true)),
            (Longs{1, 2, 3, 4}));
  EXPECT_EQ(floats(gelu(zeros({1}), "tanh")), (Floats{0}));
  EXPECT_EQ(floats(leaky_relu(tensor({-1.}), 0.5)), (Floats{-0.5}));
}

TEST(Usage, in_place) {
  const Tensor x = zeros({3});
  x.fill_(2).mul_(3).add_(1).div_(7);
  EXPECT_EQ(floats(x), (Floats{1, 1, 1}));
  x.uniform_(0, 1);
  EXPECT_TRUE(((x >= 0) & (x < 1)).all().item<bool>());
  x.normal_(0, 1);
  x.zero_().clamp_(1);
  EXPECT_EQ(floats(x), (Floats{1, 1, 1}));
  x.masked_fill_(tensor({true, false, true}), 5);
  EXPECT_EQ(floats(x), (Floats{5, 1, 5}));
  relu_(x);
  x.addcmul_(ones({3}), ones({3}), 2);
  EXPECT_EQ(floats(x), (Floats{7, 3, 7}));
}
