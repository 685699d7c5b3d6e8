// Optimisers against PyTorch's algorithms written out in double precision, and schedules against their
// formulas.
#include "check.h"

namespace phlox_test {
namespace {

// Three parameters with the loss sum(c * x^2 / 2): the gradient is c * x.
constexpr double start[3] = {1, -2, 0.5}, curve[3] = {1, 0.5, 4};
struct Problem {
  Tensor x = tensor({start[0], start[1], start[2]}).requires_grad_();
  Tensor c = tensor({curve[0], curve[1], curve[2]});
  template <class Opt>
  void run(Opt& opt, int steps) {
    for (int i = 0; i < steps; ++i) {
      opt.zero_grad();
      (c * x * x * 0.5).sum().backward();
      opt.step();
    }
  }
};
// What `update(x, gradient, step)` makes of each parameter.
template <class U>
std::vector<double> by_hand(int steps, U make_update) {
  std::vector<double> r;
  for (int i = 0; i < 3; ++i) {
    double x = start[i];
    auto update = make_update();
    for (int t = 1; t <= steps; ++t) update(x, curve[i] * x, t);
    r.push_back(x);
  }
  return r;
}

TEST(Optim, sgd) {
  Problem plain, momentum, nesterov, damped;
  optim::SGD a({plain.x}, {.lr = 0.1, .weight_decay = 0.01});
  plain.run(a, 5);
  expect_near(plain.x,
              by_hand(5, [] { return [](double& x, double g, int) { x -= 0.1 * (g + 0.01 * x); }; }));
  optim::SGD b({momentum.x}, {.lr = 0.1, .momentum = 0.9});
  momentum.run(b, 5);
  expect_near(momentum.x, by_hand(5, [] {
                return [m = 0.0](double& x, double g, int) mutable { m = 0.9 * m + g, x -= 0.1 * m; };
              }));
  optim::SGD c({nesterov.x}, {.lr = 0.1, .momentum = 0.9, .nesterov = true});
  nesterov.run(c, 5);
  expect_near(nesterov.x, by_hand(5, [] {
                return [m = 0.0](double& x, double g, int) mutable {
                  m = 0.9 * m + g, x -= 0.1 * (g + 0.9 * m);
                };
              }));
  optim::SGD d({damped.x}, {.lr = 0.1, .momentum = 0.9, .dampening = 0.5});
  damped.run(d, 5);
  expect_near(damped.x, by_hand(5, [] {
                return [m = 0.0](double& x, double g, int t) mutable {
                  m = t == 1 ? g : 0.9 * m + 0.5 * g, x -= 0.1 * m;
                };
              }));
}

template <bool decoupled>
auto adam(double lr, double decay) {
  return [=] {
    return [=, m = 0.0, v = 0.0](double& x, double g, int t) mutable {
      if (decoupled)
        x *= 1 - lr * decay;
      else
        g += decay * x;
      m = 0.9 * m + 0.1 * g, v = 0.999 * v + 0.001 * g * g;
      const double m_hat = m / (1 - std::pow(0.9, t)), v_hat = v / (1 - std::pow(0.999, t));
      x -= lr * m_hat / (std::sqrt(v_hat) + 1e-8);
    };
  };
}

TEST(Optim, adam_and_adamw) {
  Problem a, w;
  optim::Adam adam_opt({a.x}, {.lr = 0.05, .weight_decay = 0.1});
  a.run(adam_opt, 10);
  expect_near(a.x, by_hand(10, adam<false>(0.05, 0.1)), 2e-6);
  optim::AdamW adamw({w.x}, {.lr = 0.05, .weight_decay = 0.1});
  w.run(adamw, 10);
  expect_near(w.x, by_hand(10, adam<true>(0.05, 0.1)), 2e-6);
  EXPECT_EQ(adamw.state_dict().at("group0.step").item<double>(), 10);
}

TEST(Optim, values_that_pytorch_gives) {
  // torch.optim.AdamW([x], lr=0.1, weight_decay=0.01), x = 1, gradient x, three steps: worked through by the
  // formulas of its documentation. Step 1 moves by lr * g / |g| whatever the gradient is: 1 * 0.999 - 0.1.
  Problem p;
  optim::AdamW opt({p.x}, {.lr = 0.1});
  p.run(opt, 1);
  expect_near(p.x, {0.899, -1.998 + 0.1, 0.4995 - 0.1}, 1e-6);
}

TEST(Optim, rmsprop) {
  Problem p;
  optim::RMSprop opt({p.x}, {.lr = 0.01, .alpha = 0.9, .momentum = 0.5});
  p.run(opt, 5);
  expect_near(p.x, by_hand(5, [] {
                return [v = 0.0, m = 0.0](double& x, double g, int) mutable {
                  v = 0.9 * v + 0.1 * g * g;
                  m = 0.5 * m + g / (std::sqrt(v) + 1e-8), x -= 0.01 * m;
                };
              }));
}

TEST(Optim, groups_have_rates_of_their_own) {
  Problem a, b;
  optim::SGD opt({{{a.x}, {.lr = 0.1}}, {{b.x}, {.lr = 0.01}}});
  for (const Problem* p : {&a, &b}) (p->c * p->x * p->x * 0.5).sum().backward();
  opt.step();
  expect_near(a.x, {0.9, -1.9, 0.3});
  expect_near(b.x, {0.99, -1.99, 0.48});
  opt.set_lr(1, 0.5);
  EXPECT_EQ(opt.lr(0), 0.1);
  EXPECT_EQ(opt.lr(1), 0.5);
  EXPECT_NE(error_of([&] { optim::SGD twice({{{a.x}, {}}, {{a.x}, {}}}); }).find("two groups"),
            std::string::npos);
  EXPECT_NE(error_of([&] { optim::SGD none({tensor({1.0})}); }).find("requires grad"), std::string::npos);
}

TEST(Optim, state_goes_on_where_it_was) {
  Problem a, b;
  optim::AdamW first({a.x}, {.lr = 0.05}), second({b.x}, {.lr = 0.7});
  a.run(first, 3);
  {
    const NoGrad guard;
    b.x.copy_(a.x);
  }
  second.load_state_dict(first.state_dict().clone());
  a.run(first, 4);
  b.run(second, 4);
  expect_same(a.x, b.x);
  expect_same(first.state_dict(), second.state_dict());
}

TEST(Optim, schedules) {
  Problem p;
  optim::SGD opt({p.x}, {.lr = 0.8});
  optim::StepLR step(opt, 2, 0.5);
  std::vector<double> rates;
  for (int i = 0; i < 5; ++i, step.step()) rates.push_back(opt.lr());
  EXPECT_EQ(rates, (std::vector<double>{0.8, 0.8, 0.4, 0.4, 0.2}));
  optim::CosineAnnealingLR cosine(opt, 4, 0.1);
  EXPECT_DOUBLE_EQ(opt.lr(), 0.8);
  cosine.set(2);
  EXPECT_NEAR(opt.lr(), 0.45, 1e-12);
  cosine.set(4);
  EXPECT_NEAR(opt.lr(), 0.1, 1e-12);
  optim::LambdaLR warm(opt, [](int64_t k) { return std::min(1.0, double(k + 1) / 4); });
  EXPECT_DOUBLE_EQ(opt.lr(), 0.2);
  warm.step();
  EXPECT_DOUBLE_EQ(opt.lr(), 0.4);
  optim::LinearLR linear(opt, 0.5, 1, 2);
  EXPECT_DOUBLE_EQ(opt.lr(), 0.4);
  linear.step();
  EXPECT_NEAR(opt.lr(), 0.6, 1e-12);
}

TEST(Optim, clipping_scales_all_gradients_by_one_factor) {
  Tensor a = tensor({3.0}).requires_grad_(), b = tensor({4.0}).requires_grad_();
  (a * a / 2 + b * b / 2).sum().backward();
  EXPECT_FLOAT_EQ(optim::clip_grad_norm_({a, b}, 1).item<float>(), 5);
  expect_near(a.grad(), {0.6}, 1e-6);
  expect_near(b.grad(), {0.8}, 1e-6);
  optim::clip_grad_norm_({a, b}, 10);
  expect_near(a.grad(), {0.6}, 1e-6);
  optim::clip_grad_value_({a, b}, 0.7);
  expect_near(b.grad(), {0.7}, 1e-6);
}

}  // namespace
}  // namespace phlox_test
