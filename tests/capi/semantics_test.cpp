// Views, changes in place and the tape as PyTorch has them.
#include <gtest/gtest.h>

#include <cmath>

#include <phlox/autograd.hpp>
#include <thread>

using namespace phlox;
using Floats = std::vector<float>;

static Tensor leaf(std::initializer_list<double> v) { return tensor(v).requires_grad_(); }
static Floats floats(const Tensor& t) { return t.to_vector<float>(); }
template <class F>
static std::string error_of(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
#define EXPECT_ERROR(statement, part) \
  EXPECT_NE(error_of([&] { statement; }).find(part), std::string::npos) << error_of([&] { statement; })

TEST(Views, share_memory_and_version) {
  const Tensor x = arange(6, f32), m = x.view({2, 3}), row = m[1], t = m.t();
  row.fill_(9);
  EXPECT_EQ(floats(x), (Floats{0, 1, 2, 9, 9, 9}));
  EXPECT_EQ(floats(t), (Floats{0, 9, 1, 9, 2, 9}));
  EXPECT_EQ(x.version(), row.version());
  EXPECT_EQ(t.version(), 1u);
  t.mul_(2);
  EXPECT_EQ(floats(x), (Floats{0, 2, 4, 18, 18, 18}));
  EXPECT_EQ(floats(t.reshape({-1})), (Floats{0, 18, 2, 18, 4, 18}));
  EXPECT_FALSE(t.reshape({-1}).is_alias_of(x));
  EXPECT_TRUE(m.reshape({-1}).is_alias_of(x));
  EXPECT_TRUE(x.index({Slice(None, None, 2)}).is_alias_of(x));
  EXPECT_FALSE(x.index({tensor({0})}).is_alias_of(x));
  EXPECT_ERROR(t.view({6}), "use reshape, which copies");
}

TEST(Views, several_elements_in_one_place_cannot_be_written) {
  const Tensor x = tensor({1.}).expand({3});
  EXPECT_EQ(x.stride(0), 0);
  EXPECT_ERROR(x.add_(1), "clone it before writing");
  EXPECT_EQ(floats(x + 1), (Floats{2, 2, 2}));
}

TEST(InPlace, keeps_shape_and_dtype) {
  const Tensor x = ones({2});
  EXPECT_ERROR(x.add_(ones({3, 2})), "does not have the shape of the tensor");
  EXPECT_ERROR(tensor({1, 2}).add_(0.5), "cannot be cast");
  const Tensor i = tensor({1, 2});
  EXPECT_ERROR(i.mul_(0.5), "cannot be cast");
  i.mul_(2);
  EXPECT_EQ(i.to_vector<int64_t>(), (std::vector<int64_t>{2, 4}));
  const Tensor h = ones({2}, f16);
  h.add_(ones({2}, f64));
  EXPECT_EQ(h.dtype(), f16);
}

TEST(InPlace, shifted_copies_read_the_old_values) {
  const Tensor x = arange(5, f32);
  x.index({Slice(1, None)}).copy_(x.index({Slice(None, -1)}));
  EXPECT_EQ(floats(x), (Floats{0, 0, 1, 2, 3}));
  const Tensor y = arange(4, f32);
  y.index({Slice(1, None)}).add_(y.index({Slice(None, -1)}));
  EXPECT_EQ(floats(y), (Floats{0, 1, 3, 5}));
  const Tensor m = arange(4, f32).view({2, 2});
  m.add_(m.t());
  EXPECT_EQ(floats(m), (Floats{0, 3, 3, 6}));
}

TEST(InPlace, out_takes_the_result_s_size) {
  const Tensor out = empty({0});
  add_out(out, ones({2}), ones({2}));
  EXPECT_EQ(floats(out), (Floats{2, 2}));
  const Tensor w = leaf({1, 1});
  EXPECT_ERROR(add_out(out, w, w), "does not take part in gradients");
}

TEST(InPlace, leaves_and_their_views_are_protected) {
  const Tensor w = leaf({1, 2});
  EXPECT_ERROR(w.add_(1), "a leaf that requires grad");
  EXPECT_ERROR(w.index({0}).add_(1), "leaf");
  EXPECT_ERROR(w.index_put_({0}, 5), "leaf");
  EXPECT_EQ(floats(w), (Floats{1, 2}));
  {
    const NoGrad guard;
    w.index({0}).add_(1);
  }
  EXPECT_EQ(floats(w), (Floats{2, 2}));
  EXPECT_TRUE(w.requires_grad() && w.is_leaf());
}

TEST(InPlace, a_plain_tensor_becomes_part_of_the_tape) {
  const Tensor w = leaf({3}), x = zeros({2});
  x.index({Slice(0, 1)}).copy_(w);
  EXPECT_TRUE(x.requires_grad());
  (x * 2).sum().backward();
  EXPECT_EQ(floats(w.grad()), (Floats{2}));
}

TEST(InPlace, a_view_follows_its_base) {
  const Tensor w = leaf({1, 2, 3}), y = w * 1;
  const Tensor v = y.index({Slice(0, 2)});
  y.mul_(5);
  v.sum().backward();
  EXPECT_EQ(floats(w.grad()), (Floats{5, 5, 0}));
}

TEST(InPlace, a_chain_of_views_and_changes) {
  const Tensor w = leaf({1, 2, 3, 4}), y = w * 1, m = y.view({2, 2});
  m[0].mul_(2);
  m.t()[0].add_(w.index({Slice(0, 2)}));
  EXPECT_EQ(floats(y), (Floats{3, 4, 5, 4}));
  y.backward(tensor({1., 10., 100., 1000.}));
  EXPECT_EQ(floats(w.grad()), (Floats{2 + 1, 20 + 100, 100, 1000}));
}

TEST(InPlace, stale_values_are_caught_only_where_they_matter) {
  const Tensor x = leaf({2}), a = x * 1;
  const Tensor sum = a + 1;  // needs no values
  a.add_(1);
  sum.backward();
  EXPECT_EQ(floats(x.grad()), (Floats{1}));
  const Tensor b = x * 1, e = b.exp();  // needs its result
  b.add_(1);
  e.backward();
  const Tensor c = (x * 1).exp();
  c.add_(1);
  EXPECT_ERROR(c.backward(), "exp needs for its gradient was changed in place");
}

TEST(Tape, gradients_do_not_share_memory) {
  const Tensor a = leaf({1}), b = leaf({2}), seed = tensor({3.});
  (a + b).backward(seed);
  a.grad().add_(100);
  EXPECT_EQ(floats(b.grad()), (Floats{3}));
  EXPECT_EQ(floats(seed), (Floats{3}));
}

TEST(Tape, one_tensor_used_many_times) {
  const Tensor x = leaf({3});
  (x * x + x * 2 + x).backward();
  EXPECT_EQ(floats(x.grad()), (Floats{9}));
}

TEST(Tape, unbroadcasts) {
  const Tensor a = leaf({1, 2, 3}), b = ones({2, 1}).requires_grad_();
  (a * b).sum().backward();
  EXPECT_EQ(floats(a.grad()), (Floats{2, 2, 2}));
  EXPECT_EQ(b.grad().sizes().vec(), (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(floats(b.grad()), (Floats{6, 6}));
}

TEST(Tape, integers_have_no_gradients) {
  const Tensor x = leaf({1, 3, 2});
  const auto [values, indices] = x.max(0);
  EXPECT_TRUE(values.requires_grad());
  EXPECT_FALSE(indices.requires_grad());
  EXPECT_FALSE((x > 2).requires_grad());
  EXPECT_FALSE(x.to(i64).requires_grad());
  values.backward();
  EXPECT_EQ(floats(x.grad()), (Floats{0, 1, 0}));
}

TEST(Tape, dtypes_change_and_change_back) {
  const Tensor x = leaf({1, 2});
  (x.to(f64) * x.to(f16).to(f64)).sum().backward();
  EXPECT_EQ(x.grad().dtype(), f32);
  EXPECT_EQ(floats(x.grad()), (Floats{2, 4}));
}

TEST(Tape, create_graph_accumulates_with_history) {
  const Tensor x = leaf({2});
  (x * x * x).backward({}, true, true);
  EXPECT_TRUE(x.grad().requires_grad());
  const Tensor g = x.grad();
  EXPECT_EQ(floats(grad({g}, {x})[0]), (Floats{12}));
}

TEST(Tape, long_chains_are_freed_without_recursion) {
  Tensor x = leaf({1});
  for (int i = 0; i < 100000; ++i) x = x + 1;
  EXPECT_EQ(x.item<float>(), 100001);
}

TEST(Tape, inference_tensors_stay_out) {
  Tensor t;
  {
    const InferenceMode guard;
    t = ones({2});
    t.add_(1);  // allowed inside
  }
  const Tensor w = leaf({1, 1});
  EXPECT_FALSE((t + 1).is_inference());
  EXPECT_FALSE(t.clone().is_inference());
  EXPECT_ERROR((w * t).sum(), "inference");
}

TEST(Hooks, on_leaves_see_the_whole_gradient) {
  const Tensor x = leaf({1});
  Floats seen;
  x.register_hook([&](const Tensor& g) { seen.push_back(g.item<float>()); });
  (x * 2 + x * 3).backward();
  EXPECT_EQ(seen, (Floats{5}));
  (x * 2).backward();
  EXPECT_EQ(seen, (Floats{5, 2}));
  grad({x * 7}, {x});
  EXPECT_EQ(seen, (Floats{5, 2, 7}));
}

TEST(Hooks, run_in_the_order_of_registration) {
  const Tensor x = leaf({1}), y = x * 1;
  y.register_hook([](const Tensor& g) { return g + 1; });
  y.register_hook([](const Tensor& g) { return g * 10; });
  y.backward();
  EXPECT_EQ(floats(x.grad()), (Floats{20}));
}

TEST(Threads, share_ops_and_keep_their_own_modes) {
  const Tensor w = leaf({2});
  const NoGrad here;
  std::vector<std::thread> threads;
  std::vector<float> results(4);
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&, k] {
      EXPECT_TRUE(is_grad_enabled());
      const Tensor x = leaf({double(k)});
      for (int i = 0; i < 50; ++i) {
        const Tensor y = (x * w.detach()).exp().sum();
        results[size_t(k)] = grad({y}, {x})[0].item<float>();
      }
    });
  for (std::thread& t : threads) t.join();
  for (int k = 0; k < 4; ++k) EXPECT_FLOAT_EQ(results[size_t(k)], 2 * std::exp(2.0f * float(k)));
}
