// The public API on a GPU: tensors, modules and optimisers that are moved there, compiled train steps that are replayed
// with the same bits, mixed precision. Skipped where there is no GPU.
#include <cstdlib>

#include "phlox/amp.hpp"
#include "phlox/compile.hpp"

#include "check.h"

namespace phlox_test {
namespace {

#define NEED_GPU() \
  if (!cuda_is_available()) GTEST_SKIP() << "no GPU here"

const Device cpu;

struct Small : nn::Module {
  nn::Embedding table = register_module("table", nn::Embedding(50, 32));
  nn::Linear up = register_module("up", nn::Linear(32, 64)), down = register_module("down", nn::Linear(64, 10));
  nn::LayerNorm norm = register_module("norm", nn::LayerNorm(32));
  nn::Dropout drop = register_module("drop", nn::Dropout(0.1));
  Tensor forward(const Tensor& ids) { return down(phlox::gelu(up(drop(norm(table(ids)))))); }
};

struct Trainer {
  Small net;
  std::unique_ptr<optim::AdamW> opt;
  Device device;
  static Small seeded() {
    manual_seed(3);
    return Small();
  }
  explicit Trainer(const Device& d) : net(seeded()), device(d) {
    net.to(d);
    opt = std::make_unique<optim::AdamW>(net.parameters(), optim::AdamWOptions{.lr = 1e-2});
    manual_seed(4);
  }
  Tensor step(const Tensor& x, const Tensor& y) {
    const Tensor loss = nn::functional::cross_entropy(net.forward(x), y);
    loss.backward();
    opt->step();
    opt->zero_grad();
    return loss.detach();
  }
};

// Losses of a few steps on batches in memory of their own, all kept.
template <class F>
std::vector<float> losses(F&& step, const Device& d, int n) {
  std::vector<Tensor> all;
  for (int i = 0; i < n; ++i) {
    std::vector<int64_t> x(64), y(64);
    for (int64_t k = 0; k < 64; ++k) x[size_t(k)] = (k * 7 + i * 3) % 50, y[size_t(k)] = (k + i) % 10;
    all.push_back(step(from_data(x.data(), {64}).to(d), from_data(y.data(), {64}).to(d)));
  }
  std::vector<float> r;
  for (const Tensor& t : all) r.push_back(t.item<float>());
  return r;
}

TEST(Cuda, EverythingMoves) {
  NEED_GPU();
  const Tensor a = randn({5, 7}), b = a.to("cuda");
  EXPECT_TRUE(b.is_cuda());
  EXPECT_EQ(b.cpu().to_vector<float>(), a.to_vector<float>());
  const Tensor w = a.to("cuda").requires_grad_();
  (w * w).sum().backward();
  EXPECT_TRUE(w.grad().is_cuda());
  EXPECT_EQ(w.grad().cpu().to_vector<float>(), (a * 2.0).to_vector<float>());
  Small net;
  net.to("cuda");
  for (const Tensor& p : net.parameters()) EXPECT_TRUE(p.is_cuda() && p.is_leaf() && p.requires_grad());
  try {
    (void)(a + b);
    FAIL() << "two devices";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("cuda:0"), std::string::npos) << e.what();
    EXPECT_NE(std::string(e.what()).find(".to("), std::string::npos) << e.what();
  }
}

TEST(Cuda, TrainsAsTheCpuDoes) {
  NEED_GPU();
  Trainer here(cpu), there("cuda");
  here.net.eval(), there.net.eval();  // dropout draws the same numbers, but rounding differs
  const auto a = losses([&](Tensor x, Tensor y) { return here.step(x, y); }, cpu, 5);
  const auto b = losses([&](Tensor x, Tensor y) { return there.step(x, y); }, "cuda", 5);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 2e-3 * std::abs(a[i])) << i;
}

TEST(Cuda, ReplayHasTheBitsOfThePlainRun) {
  NEED_GPU();
  setenv("PHLOX_CAPTURE", "off", 1);
  Trainer plain("cuda");
  auto plain_step = compile([&](Tensor x, Tensor y) { return plain.step(x, y); }, "plain");
  const auto a = losses([&](Tensor x, Tensor y) { return plain_step(x, y); }, "cuda", 8);
  unsetenv("PHLOX_CAPTURE");
  Trainer replayed("cuda");
  auto replayed_step = compile([&](Tensor x, Tensor y) { return replayed.step(x, y); }, "replayed");
  const auto b = losses([&](Tensor x, Tensor y) { return replayed_step(x, y); }, "cuda", 8);
  EXPECT_EQ(a, b);
  EXPECT_NE(replayed_step.report().find("\"replays\": 7, \"recordings\": 1, \"graphs\": 1, \"cuts\": 0"), std::string::npos)
      << replayed_step.report();
  const auto p = plain.net.parameters(), q = replayed.net.parameters();
  for (size_t i = 0; i < p.size(); ++i) EXPECT_EQ(p[i].detach().cpu().to_vector<float>(), q[i].detach().cpu().to_vector<float>());
}

TEST(Cuda, ResultsAreTheCallers) {
  NEED_GPU();
  auto small = compile([](Tensor x) { return phlox::gelu(x * 2.0) + phlox::softmax(x, -1).cumsum(-1) + std::get<0>(x.sort(-1)); });
  auto large = compile([](Tensor x) { return phlox::softmax(phlox::gelu(x * 2.0).cumsum(-1), -1).cumsum(-1).cumsum(0); });
  for (int64_t n : {100, 2000}) {
    std::vector<Tensor> in, out;
    for (int i = 0; i < 7; ++i) {
      in.push_back(full({n, n}, 0.1 * (i + 1), {.dtype = f32, .device = "cuda"}));
      out.push_back(n == 100 ? small(in.back()) : large(in.back()));
    }
    for (int i = 0; i < 7; ++i) {
      const Tensor again = n == 100 ? small(in[size_t(i)]) : large(in[size_t(i)]);
      EXPECT_EQ((again - out[size_t(i)]).abs().max().item<float>(), 0) << n << " " << i;
    }
  }
}

TEST(Cuda, Attention) {
  NEED_GPU();
  struct Case { int64_t batch, heads, kv_heads, queries, keys, width; bool causal; };
  for (const Case& c : {Case{2, 3, 3, 128, 128, 64, true}, Case{1, 2, 2, 200, 200, 64, true}, Case{2, 2, 2, 77, 301, 64, false},
                        Case{1, 4, 2, 256, 256, 128, true}, Case{1, 2, 2, 130, 61, 128, false}, Case{1, 1, 1, 1, 500, 64, false}}) {
    manual_seed(5);
    const Tensor q = randn({c.batch, c.queries, c.heads, c.width}), k = randn({c.batch, c.keys, c.kv_heads, c.width}),
                 v = randn({c.batch, c.keys, c.kv_heads, c.width}), g = randn({c.batch, c.heads, c.queries, c.width});
    std::vector<std::vector<float>> results[2];
    for (const bool gpu : {false, true}) {
      // What bf16 holds, on the CPU in f32.
      const auto place = [&](const Tensor& t) { return gpu ? t.to(bf16).to("cuda") : t.to(bf16).to(f32); };
      std::vector<Tensor> leaves{place(q), place(k), place(v)};
      for (const Tensor& t : leaves) t.requires_grad_();
      const Tensor y = nn::functional::scaled_dot_product_attention(leaves[0].transpose(1, 2), leaves[1].transpose(1, 2), leaves[2].transpose(1, 2),
                                                                    {.is_causal = c.causal, .enable_gqa = c.heads != c.kv_heads});
      y.backward(place(g));
      results[gpu].push_back(y.detach().to(f32).cpu().to_vector<float>());
      for (const Tensor& t : leaves) results[gpu].push_back(t.grad().to(f32).cpu().to_vector<float>());
    }
    for (size_t r = 0; r < 4; ++r) {
      double off = 0, size = 0;
      ASSERT_EQ(results[0][r].size(), results[1][r].size());
      for (size_t i = 0; i < results[0][r].size(); ++i) {
        const double d = double(results[0][r][i]) - double(results[1][r][i]);
        off += d * d, size += double(results[0][r][i]) * double(results[0][r][i]);
      }
      EXPECT_LT(std::sqrt(off / size), 1e-2) << "result " << r << " of " << c.queries << " x " << c.keys << " x " << c.width;
    }
  }
}

TEST(Cuda, Autocast) {
  NEED_GPU();
  for (const DType low : {bf16, f16}) {
    Trainer exact("cuda"), mixed("cuda");
    exact.net.eval(), mixed.net.eval();
    amp::GradScaler scaler("cuda", {.init_scale = 256, .enabled = low == f16});
    auto step = compile([&](Tensor x, Tensor y) {
      Tensor loss;
      {
        const amp::Autocast guard("cuda", low);
        loss = nn::functional::cross_entropy(mixed.net.forward(x), y);
      }
      scaler.scale(loss).backward();
      scaler.step(*mixed.opt);
      scaler.update();
      mixed.opt->zero_grad();
      return loss.detach();
    });
    const auto a = losses([&](Tensor x, Tensor y) { return exact.step(x, y); }, "cuda", 5);
    const auto b = losses([&](Tensor x, Tensor y) { return step(x, y); }, "cuda", 5);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 5e-2 * std::abs(a[i])) << i;
  }
}

}  // namespace
}  // namespace phlox_test
