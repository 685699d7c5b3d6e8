#include <gtest/gtest.h>

#include <phlox/autograd.hpp>
#include <phlox/tensor.hpp>
#include <sstream>

using namespace phlox;

static std::vector<float> floats(const Tensor& t) { return t.to_vector<float>(); }
using Floats = std::vector<float>;

TEST(Tensor, what_it_is) {
  const Tensor t = tensor({{1., 2., 3.}, {4., 5., 6.}});
  EXPECT_EQ(t.dim(), 2);
  EXPECT_EQ(t.sizes().vec(), (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(t.size(-1), 3);
  EXPECT_EQ(t.stride(0), 3);
  EXPECT_EQ(t.dtype(), f32);
  EXPECT_TRUE(t.is_contiguous() && t.is_leaf() && t.is_cpu() && !t.requires_grad());
  EXPECT_EQ(t.describe(), "f32[2,3]");
  EXPECT_EQ(tensor({1, 2}).dtype(), i64);
  EXPECT_EQ(tensor({true, false}).dtype(), boolean);
  EXPECT_EQ(tensor(1.5).dim(), 0);
  EXPECT_EQ(tensor(1.5).item<double>(), 1.5);
  EXPECT_EQ(tensor({1, 2}, {.dtype = f64}).dtype(), f64);
  EXPECT_FALSE(Tensor().defined());
}

TEST(Tensor, errors_name_what_is_wrong) {
  try {
    tensor({1., 2.}).item();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::invalid_argument);
    EXPECT_STREQ(e.what(), "item: only a tensor of one element is a number; got f32[2]; expected one element");
    EXPECT_EQ(e.op(), "item");
  }
  EXPECT_THROW(tensor({1.}).size(1), Error);
  EXPECT_THROW(tensor({1.}).data<double>(), Error);
  EXPECT_THROW(Tensor().dim(), Error);
  EXPECT_THROW(tensor({1., 2.}) + tensor({1., 2., 3.}), Error);
  EXPECT_THROW(Device("tpu"), Error);
}

TEST(Tensor, arithmetic) {
  const Tensor a = tensor({1., 2.}), b = tensor({10., 20.});
  EXPECT_EQ(floats(a + b), (Floats{11, 22}));
  EXPECT_EQ(floats(a * 3 - 1), (Floats{2, 5}));
  EXPECT_EQ(floats(2 * a / b), (Floats{0.2f, 0.2f}));
  EXPECT_EQ(floats(-a), (Floats{-1, -2}));
  EXPECT_EQ(floats(a.add(b, 0.5)), (Floats{6, 12}));
  EXPECT_EQ(floats(add(a, 1)), (Floats{2, 3}));
  EXPECT_EQ(floats(relu(a - 1.5)), (Floats{0, 0.5}));
  EXPECT_EQ((tensor({1, 2}) + tensor({0.5, 0.5})).dtype(), f32);
  EXPECT_EQ((tensor({1, 2}) + 1).dtype(), i64);
  EXPECT_EQ((tensor({1, 2}) / 2).dtype(), f32);
}

TEST(Tensor, in_place_and_out) {
  Tensor a = tensor({1., 2.});
  const Tensor same = a;
  a += 1;
  EXPECT_EQ(floats(same), (Floats{2, 3}));
  a.mul_(a);
  EXPECT_EQ(floats(same), (Floats{4, 9}));
  EXPECT_EQ(a.version(), 2u);
  add_out(a, tensor({1., 1.}), tensor({2., 2.}));
  EXPECT_EQ(floats(same), (Floats{3, 3}));
  EXPECT_THROW(tensor({1, 2}).div_(2), Error);  // the result is no integer
  a.fill_(7);
  EXPECT_EQ(floats(a), (Floats{7, 7}));
  a.copy_(tensor({1, 2}));
  EXPECT_EQ(floats(a), (Floats{1, 2}));
}

TEST(Tensor, memory_of_the_callers) {
  float memory[4] = {1, 2, 3, 4};
  int deleted = 0;
  {
    const Tensor t = from_blob(memory, {2}, {2}, [&](void*) { ++deleted; });
    EXPECT_EQ(floats(t), (Floats{1, 3}));
    t.add_(1);
    EXPECT_EQ(memory[2], 4);
    EXPECT_EQ(memory[1], 2);
  }
  EXPECT_EQ(deleted, 1);
  EXPECT_THROW(from_blob(memory, {2}, {-1}, [&](void*) { ++deleted; }), Error);
  EXPECT_EQ(deleted, 1);
}

TEST(Tensor, conversions) {
  const Tensor t = tensor({1.5, -2.5});
  EXPECT_EQ(t.to(i64).to_vector<int64_t>(), (std::vector<int64_t>{1, -2}));
  EXPECT_TRUE(t.to(f32).is_same(t));
  EXPECT_TRUE(t.to("cpu").is_same(t));
  const Tensor c = t.clone();
  c.zero_();
  EXPECT_EQ(floats(t), (Floats{1.5, -2.5}));
  EXPECT_EQ(tensor({{1., 2.}, {3., 4.}}).T().to_vector<float>(), (Floats{1, 3, 2, 4}));
  EXPECT_FALSE(tensor({{1., 2.}, {3., 4.}}).T().is_contiguous());
}

TEST(Tensor, creation) {
  EXPECT_EQ(floats(zeros({2, 2})), (Floats{0, 0, 0, 0}));
  EXPECT_EQ(ones({2}, f64).dtype(), f64);
  EXPECT_EQ(ones({3}, {.dtype = i32, .device = "cpu"}).to_vector<int32_t>(), (std::vector<int32_t>{1, 1, 1}));
  EXPECT_TRUE(zeros({1}, {.requires_grad = true}).requires_grad());
  EXPECT_EQ(floats(full({2}, 2.5)), (Floats{2.5, 2.5}));
  EXPECT_EQ(arange(4).to_vector<int64_t>(), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(floats(arange(0, 1, 0.5)), (Floats{0, 0.5}));
  EXPECT_EQ(floats(arange(1, 3, {.dtype = f32})), (Floats{1, 2}));
  EXPECT_EQ(zeros_like(tensor({1, 2})).dtype(), i64);
  EXPECT_EQ(empty({2, 0}).numel(), 0);
  EXPECT_EQ(tensor(3).dtype(), i64);
  manual_seed(7);
  const Tensor a = randn({4});
  manual_seed(7);
  EXPECT_EQ(floats(randn({4})), floats(a));
  EXPECT_NE(floats(randn({4})), floats(a));
}

TEST(Tensor, overloads) {
  const Tensor x = arange(6, f32).view({2, 3});
  EXPECT_EQ(sum(x).item<float>(), 15);
  EXPECT_EQ(floats(sum(x, 1)), (Floats{3, 12}));
  EXPECT_EQ(x.sum({0, 1}, true).sizes().vec(), (std::vector<int64_t>{1, 1}));
  EXPECT_EQ(x.sum(f64).dtype(), f64);
  EXPECT_EQ(x.mean().item<float>(), 2.5);
  const auto [values, indices] = x.max(1);
  EXPECT_EQ(floats(values), (Floats{2, 5}));
  EXPECT_EQ(indices.to_vector<int64_t>(), (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(x.t().sizes().vec(), (std::vector<int64_t>{3, 2}));
  EXPECT_EQ(x.transpose(0, 1).reshape({-1}).size(0), 6);
  const auto parts = x.split(2, 1);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(floats(parts[1]), (Floats{2, 5}));
  EXPECT_EQ(floats(cat({x, x}, 0).index({3})), (Floats{3, 4, 5}));
  EXPECT_EQ(floats(softmax(zeros({1, 2}), -1)), (Floats{0.5, 0.5}));
  EXPECT_EQ(floats(matmul(x, ones({3, 1}))), (Floats{3, 12}));
  EXPECT_EQ(floats(where(x > 2, x, 0)), (Floats{0, 0, 0, 3, 4, 5}));
  EXPECT_EQ(floats(linear(x, ones({1, 3}))), (Floats{3, 12}));
  EXPECT_EQ(floats(linear(x, ones({1, 3}), ones({1}))), (Floats{4, 13}));
}

TEST(Tensor, indexing) {
  const Tensor x = arange(12, f32).view({3, 4});
  EXPECT_EQ(floats(x[1]), (Floats{4, 5, 6, 7}));
  EXPECT_EQ(floats(x.index({-1, 0})), (Floats{8}));
  EXPECT_EQ(floats(x.index({Slice(), Slice(1, 3)})), (Floats{1, 2, 5, 6, 9, 10}));
  EXPECT_EQ(floats(x.index({Ellipsis, -1})), (Floats{3, 7, 11}));
  EXPECT_EQ(floats(x.index({"...", Slice(None, None, 3)})), (Floats{0, 3, 4, 7, 8, 11}));
  EXPECT_EQ(x.index({None, 0, None}).sizes().vec(), (std::vector<int64_t>{1, 1, 4}));
  EXPECT_EQ(x.index({Slice(5, 9)}).sizes().vec(), (std::vector<int64_t>{0, 4}));
  EXPECT_TRUE(x[1].is_alias_of(x));
  EXPECT_EQ(floats(x.index({tensor({2, 0}), 1})), (Floats{9, 1}));
  EXPECT_EQ(floats(x.index({x > 9})), (Floats{10, 11}));
  EXPECT_THROW(x.index({3}), Error);
  EXPECT_THROW(x.index({0, 0, 0}), Error);
  EXPECT_THROW(x.index({Ellipsis, Ellipsis}), Error);
  x.index_put_({Slice(), 0}, 0);
  x.index_put_({0}, tensor({1., 1., 1., 1.}));
  EXPECT_EQ(floats(x), (Floats{1, 1, 1, 1, 0, 5, 6, 7, 0, 9, 10, 11}));
  x.index_put_({tensor({0, 0})}, tensor(1.), true);
  EXPECT_EQ(floats(x[0]), (Floats{3, 3, 3, 3}));
  x.index_put_({x > 5}, -1);
  EXPECT_EQ(floats(x[2]), (Floats{0, -1, -1, -1}));
}

TEST(Tensor, streams) {
  std::ostringstream s;
  s << tensor({1, 2}) << "\n" << Tensor();
  EXPECT_EQ(s.str(), "tensor([1, 2])\ntensor(undefined)");
}
