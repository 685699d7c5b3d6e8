// Mixed precision on the CPU: what is cast and what is not, gradients through the casts, and the scale's rules.
#include "phlox/amp.hpp"
#include "phlox/compile.hpp"

#include "check.h"

namespace phlox_test {
namespace {

const Device cpu;

TEST(Autocast, casts_by_op) {
  const Tensor a = randn({8, 16}), b = randn({16, 4}), wide = randn({8, 16}, {.dtype = f64});
  {
    const amp::Autocast guard(cpu, bf16);
    EXPECT_TRUE(amp::is_autocast_enabled(cpu));
    EXPECT_EQ(matmul(a, b).dtype(), bf16);
    EXPECT_EQ((a + a).dtype(), f32);
    EXPECT_EQ(phlox::softmax(matmul(a, b), -1).dtype(), f32);
    EXPECT_EQ(matmul(wide, wide.T()).dtype(), f64);
    EXPECT_EQ(einsum("ij,jk->ik", {a, b}).dtype(), bf16);
    {
      const amp::Autocast off(cpu, bf16, false);
      EXPECT_EQ(matmul(a, b).dtype(), f32);
    }
    EXPECT_EQ(matmul(a, b).dtype(), bf16);
  }
  EXPECT_FALSE(amp::is_autocast_enabled(cpu));
  EXPECT_EQ(matmul(a, b).dtype(), f32);
}

TEST(Autocast, gradients_are_of_the_parameter) {
  const Tensor w = randn({16, 4}).requires_grad_(), x = randn({8, 16});
  Tensor loss;
  {
    const amp::Autocast guard(cpu, bf16);
    loss = (matmul(x, w) * matmul(x, w)).sum();  // the cast of w is made once
  }
  loss.backward();
  EXPECT_EQ(w.grad().dtype(), f32);
  const Tensor exact = randn({16, 4}).copy_(w.detach()).requires_grad_();
  (matmul(x, exact) * matmul(x, exact)).sum().backward();
  const float off = (w.grad() - exact.grad()).abs().max().item<float>(), size = exact.grad().abs().max().item<float>();
  EXPECT_LT(off, 0.03f * size);
}

TEST(Autocast, changed_leaves_are_cast_again) {
  const Tensor w = ones({4, 4}).requires_grad_(), x = ones({2, 4});
  const amp::Autocast guard(cpu, bf16);
  EXPECT_EQ(matmul(x, w).to(f32).sum().item<float>(), 32);
  {
    const NoGrad no_grad;
    w.fill_(2);
  }
  EXPECT_EQ(matmul(x, w).to(f32).sum().item<float>(), 64);
}

TEST(Autocast, compiled_functions_depend_on_it) {
  const Tensor a = randn({8, 16}), b = randn({16, 4});
  auto f = compile([&](Tensor x) { return matmul(x, b); });
  EXPECT_EQ(f(a).dtype(), f32);
  {
    const amp::Autocast guard(cpu, bf16);
    EXPECT_EQ(f(a).dtype(), bf16);
  }
  EXPECT_EQ(f(a).dtype(), f32);
  auto inside = compile([&](Tensor x) {
    const amp::Autocast guard(cpu, bf16);
    return matmul(x, b);
  });
  EXPECT_EQ(inside(a).dtype(), bf16);
}

// y = w x with a gradient that overflows on demand.
struct Scaled {
  Tensor w = full({3}, 1.0).requires_grad_();
  optim::AdamW opt{{w}, {.lr = 0.1}};
  amp::GradScaler scaler{cpu, {.init_scale = 1024, .growth_interval = 2}};
  Tensor step(const Tensor& x) {
    const Tensor loss = (w * x).sum();
    scaler.scale(loss).backward();
    scaler.step(opt);
    scaler.update();
    opt.zero_grad();
    return loss.detach();
  }
};

TEST(GradScaler, skips_bad_steps_and_adapts) {
  Scaled s;
  const Tensor good = full({3}, 1.0), bad = tensor({1.0, 1.0 / 0.0, 1.0}).to(f32);
  s.step(good);
  EXPECT_EQ(s.scaler.get_scale(), 1024);
  const std::vector<float> before = s.w.detach().to_vector<float>();
  s.step(bad);
  EXPECT_EQ(s.w.detach().to_vector<float>(), before);
  EXPECT_EQ(s.scaler.get_scale(), 512);
  s.step(good);
  s.step(good);
  EXPECT_EQ(s.scaler.get_scale(), 1024);
  EXPECT_NE(s.w.detach().to_vector<float>(), before);
}

TEST(GradScaler, compiled_equals_eager) {
  Scaled eager, compiled;
  auto step = compile([&](Tensor x) { return compiled.step(x); });
  const Tensor good = full({3}, 1.0), bad = tensor({1.0, 1.0 / 0.0, 1.0}).to(f32);
  for (const Tensor& x : {good, good, bad, good, bad, good, good}) {
    eager.step(x);
    step(x);
    EXPECT_EQ(eager.scaler.get_scale(), compiled.scaler.get_scale());
    const auto a = eager.w.detach().to_vector<float>(), b = compiled.w.detach().to_vector<float>();
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6);
  }
}

TEST(GradScaler, unscaled_twice_is_an_error) {
  Scaled s;
  s.scaler.scale((s.w * 2.0).sum()).backward();
  s.scaler.unscale_(s.opt);
  EXPECT_FLOAT_EQ(s.w.grad().to_vector<float>()[0], 2);
  EXPECT_THROW(s.scaler.unscale_(s.opt), Error);
}

}  // namespace
}  // namespace phlox_test
