#include <gtest/gtest.h>

#include <phlox/autograd.hpp>
#include <stdexcept>

using namespace phlox;
using Floats = std::vector<float>;

static Tensor leaf(std::initializer_list<double> v) { return tensor(v).requires_grad_(); }
static Floats floats(const Tensor& t) { return t.to_vector<float>(); }

TEST(Autograd, gradients_accumulate) {
  const Tensor x = leaf({3, 4});
  (x * x).backward(tensor({1., 1.}));
  EXPECT_EQ(floats(x.grad()), (Floats{6, 8}));
  (x * 2).backward(tensor({1., 10.}));
  EXPECT_EQ(floats(x.grad()), (Floats{8, 28}));
  x.set_grad({});
  EXPECT_FALSE(x.grad().defined());
  EXPECT_THROW(x.set_grad(tensor({1.})), Error);
  EXPECT_THROW((x * x).backward(), Error);  // two elements have no implicit gradient
}

TEST(Autograd, a_freed_tape_and_stale_values) {
  const Tensor x = leaf({2}), y = x.exp();
  y.backward();
  EXPECT_THROW(y.backward(), Error);
  const Tensor z = x.exp();
  z.backward({}, true);
  z.backward();
  const Tensor w = x * 1, v = w * w;
  w.add_(1);
  try {
    v.backward();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::autograd);
    EXPECT_NE(std::string(e.what()).find("was changed in place"), std::string::npos);
  }
  EXPECT_THROW(x.add_(1), Error);  // a leaf
  const NoGrad guard;
  x.add_(1);
  EXPECT_EQ(floats(x), (Floats{3}));
}

TEST(Autograd, modes) {
  const Tensor x = leaf({1});
  EXPECT_TRUE(is_grad_enabled());
  {
    const NoGrad guard;
    EXPECT_FALSE((x * 2).requires_grad());
    const EnableGrad on;
    EXPECT_TRUE((x * 2).requires_grad());
  }
  Tensor made;
  {
    const InferenceMode guard;
    made = x * 2;
    EXPECT_FALSE(made.requires_grad());
    const NoGrad inner;
  }
  EXPECT_TRUE(is_grad_enabled());
  EXPECT_TRUE(made.is_inference());
  EXPECT_THROW(made.requires_grad_(), Error);
  EXPECT_THROW(made.add_(1), Error);
  EXPECT_THROW(tensor({1, 2}).requires_grad_(), Error);
  EXPECT_THROW((x * 2).requires_grad_(false), Error);
}

TEST(Autograd, grad_leaves_no_trace) {
  const Tensor x = leaf({3}), y = leaf({5}), z = x * x * y;
  const auto g = grad({z}, {x, y}, {}, {.retain_graph = true});
  EXPECT_EQ(floats(g[0]), (Floats{30}));
  EXPECT_EQ(floats(g[1]), (Floats{9}));
  EXPECT_FALSE(x.grad().defined());
  const Tensor unused = leaf({1});
  EXPECT_THROW(grad({z}, {unused}, {}, {.retain_graph = true}), Error);
  EXPECT_FALSE(grad({z}, {unused}, {}, {.allow_unused = true})[0].defined());
}

TEST(Autograd, gradients_of_gradients) {
  const Tensor x = leaf({2}), y = x * x * x;
  const Tensor g = grad({y}, {x}, {}, {.create_graph = true})[0];
  EXPECT_EQ(floats(g), (Floats{12}));
  const Tensor h = grad({g}, {x}, {}, {.create_graph = true})[0];
  EXPECT_EQ(floats(h), (Floats{12}));
  EXPECT_EQ(floats(grad({h}, {x})[0]), (Floats{6}));
}

TEST(Autograd, hooks) {
  const Tensor x = leaf({1}), y = x * 2;
  int calls = 0;
  Hook h = y.register_hook([&](const Tensor& g) { ++calls; return g * 10; });
  x.register_hook([&](const Tensor&) { ++calls; });
  y.retain_grad();
  (y * 3).backward({}, true);
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(floats(x.grad()), (Floats{60}));
  EXPECT_TRUE(y.grad().defined());
  h.remove();
  x.set_grad({});
  (y * 3).backward();
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(floats(x.grad()), (Floats{6}));
  EXPECT_THROW(tensor({1.}).register_hook([](const Tensor&) {}), Error);
}

TEST(Autograd, a_hook_s_exception_comes_out) {
  const Tensor x = leaf({1});
  x.register_hook([](const Tensor&) { throw std::runtime_error("stop here"); });
  try {
    (x * 2).backward();
    FAIL();
  } catch (const std::runtime_error& e) {
    EXPECT_STREQ(e.what(), "stop here");
  }
}

TEST(Autograd, after_accumulation) {
  const Tensor w = leaf({1});
  w.register_post_accumulate_grad_hook([](const Tensor& t) {
    const NoGrad guard;
    t.sub_(t.grad(), 0.5);
    t.set_grad({});
  });
  (w * 4).backward();
  EXPECT_EQ(floats(w), (Floats{-1}));
  EXPECT_FALSE(w.grad().defined());
}

namespace {
struct Cube : Function<Cube> {
  static constexpr const char* name = "Cube";
  static Tensor forward(Context& ctx, const Tensor& x, double scale) {
    const Tensor y = x * x * x * scale;
    ctx.save_for_backward({x, y});
    return y;
  }
  static std::vector<Tensor> backward(Context& ctx, const std::vector<Tensor>& grads) {
    return {grads[0] * ctx.saved()[1] * 3 / ctx.saved()[0]};
  }
};
struct Pair : Function<Pair> {
  static std::vector<Tensor> forward(Context&, const Tensor& a, const Tensor& b) { return {a + b, a - b}; }
  static std::vector<Tensor> backward(Context& ctx, const std::vector<Tensor>& g) {
    return {g[0] + g[1], ctx.needs_input_grad(1) ? g[0] - g[1] : Tensor()};
  }
};
}  // namespace

TEST(Autograd, functions_of_the_user_s) {
  const Tensor x = leaf({2});
  const Tensor y = Cube::apply(x, 1.0);
  EXPECT_EQ(y.grad_fn_name(), "Cube");
  const Tensor g = grad({y}, {x}, {}, {.create_graph = true})[0];
  EXPECT_EQ(floats(g), (Floats{12}));
  EXPECT_EQ(floats(grad({g}, {x})[0]), (Floats{12}));  // through the saved result as well

  const Tensor a = leaf({1}), b = leaf({2});
  const auto r = Pair::apply(a, b);
  (r[0] * 3).backward({}, true);  // the other gradient comes as zeros
  EXPECT_EQ(floats(a.grad()), (Floats{3}));
  EXPECT_EQ(floats(b.grad()), (Floats{3}));
  EXPECT_FALSE(Pair::apply(tensor({1.}), tensor({2.}))[0].requires_grad());
}

TEST(Autograd, views_share_history) {
  const Tensor x = leaf({1, 2, 3, 4});
  const Tensor y = x * 1;
  const Tensor first = y.index({Slice(0, 2)});
  first.mul_(10);
  y.backward(tensor({1., 1., 1., 1.}));
  EXPECT_EQ(floats(x.grad()), (Floats{10, 10, 1, 1}));
}

TEST(Autograd, detach_shares_memory) {
  const Tensor x = leaf({1}), d = x.detach();
  EXPECT_FALSE(d.requires_grad());
  EXPECT_TRUE(d.is_alias_of(x));
}
