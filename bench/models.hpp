// The models of compile-cold, compile-warm and train-cpu, with a whole train step each; bench/peers/models.py says the same
// in PyTorch.
#pragma once
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "phlox/compile.hpp"
#include "phlox/nn.hpp"
#include "phlox/optim.hpp"

namespace bench {

using phlox::Tensor;
namespace nn = phlox::nn;

struct Cnn : nn::Module {
  nn::Sequential net = register_module(
      "net", nn::Sequential(nn::Conv2d(1, 32, 3, {.padding = 1}), nn::BatchNorm2d(32), nn::ReLU(),
                            nn::Conv2d(32, 64, 3, {.padding = 1}), nn::BatchNorm2d(64), nn::ReLU(), nn::MaxPool2d(2),
                            nn::Conv2d(64, 128, 3, {.padding = 1}), nn::BatchNorm2d(128), nn::ReLU(), nn::MaxPool2d(2),
                            nn::Flatten(), nn::Dropout(0.25), nn::Linear(6272, 128), nn::ReLU(), nn::Linear(128, 10)));
  Tensor forward(const Tensor& x) { return net(x); }
};

struct GptShape {
  int64_t vocabulary, width, layers, heads, context;
};

struct Block : nn::Module {
  int64_t heads;
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, out, up, down;
  explicit Block(const GptShape& s)
      : heads(s.heads),
        norm1(register_module("norm1", nn::LayerNorm(s.width))),
        norm2(register_module("norm2", nn::LayerNorm(s.width))),
        qkv(register_module("qkv", nn::Linear(s.width, 3 * s.width))),
        out(register_module("out", nn::Linear(s.width, s.width))),
        up(register_module("up", nn::Linear(s.width, 4 * s.width))),
        down(register_module("down", nn::Linear(4 * s.width, s.width))) {}

  Tensor forward(const Tensor& x) {
    const int64_t batch = x.size(0), length = x.size(1), d = x.size(2);
    const std::vector<Tensor> parts = phlox::chunk(qkv(norm1(x)), 3, -1);
    auto split = [&](const Tensor& t) { return t.reshape({batch, length, heads, d / heads}).transpose(1, 2); };
    const Tensor a = nn::functional::scaled_dot_product_attention(split(parts[0]), split(parts[1]), split(parts[2]),
                                                                  {.is_causal = true});
    const Tensor h = x + out(a.transpose(1, 2).reshape({batch, length, d}));
    return h + down(phlox::gelu(up(norm2(h))));
  }
};

struct Gpt : nn::Module {
  GptShape shape;
  nn::Embedding tokens, positions;
  nn::ModuleList<Block> blocks;
  nn::LayerNorm norm;
  Tensor places;  // 0 to context - 1
  explicit Gpt(const GptShape& s)
      : shape(s),
        tokens(register_module("tokens", nn::Embedding(s.vocabulary, s.width))),
        positions(register_module("positions", nn::Embedding(s.context, s.width))),
        blocks(register_module("blocks", nn::ModuleList<Block>(s.layers, s))),
        norm(register_module("norm", nn::LayerNorm(s.width))),
        places(phlox::arange(s.context)) {
    nn::init::normal_(tokens.weight, 0, 0.02);
    nn::init::normal_(positions.weight, 0, 0.02);
  }
  Tensor forward(const Tensor& ids) {
    Tensor h = tokens(ids) + positions(places);
    for (Block& b : blocks) h = b.forward(h);
    return phlox::linear(norm(h), tokens.weight);
  }
};

// A model, its optimizer, one batch, and the step as a function of the batch.
template <class Model>
struct Training {
  Model model;
  phlox::optim::AdamW optimizer;
  Tensor x, y;
  int64_t samples;  // what a step's rate counts: pictures or tokens

  template <class... A>
  Training(Tensor x, Tensor y, int64_t samples, const A&... a)
      : model(a...), optimizer(model.parameters(), {.lr = 1e-3, .weight_decay = 0.01}), x(x), y(y), samples(samples) {}

  auto step() {
    return [this](Tensor input, Tensor target) {
      const Tensor scores = model.forward(input);
      const Tensor loss = nn::functional::cross_entropy(scores.reshape({-1, scores.size(-1)}), target.reshape({-1}));
      loss.backward();
      optimizer.step();
      optimizer.zero_grad();
      return loss.detach();
    };
  }
};

inline std::shared_ptr<Training<Cnn>> cnn() {
  return std::make_shared<Training<Cnn>>(phlox::randn({128, 1, 28, 28}), phlox::randint(10, {128}), 128);
}
inline std::shared_ptr<Training<Gpt>> gpt(const GptShape& s, int64_t batch) {
  return std::make_shared<Training<Gpt>>(phlox::randint(s.vocabulary, {batch, s.context}),
                                         phlox::randint(s.vocabulary, {batch, s.context}), batch * s.context, s);
}
inline std::shared_ptr<Training<Gpt>> small_gpt() { return gpt({256, 192, 6, 6, 128}, 16); }
inline std::shared_ptr<Training<Gpt>> gpt2(int64_t layers) { return gpt({50304, 768, layers, 12, 64}, 1); }

}  // namespace bench
