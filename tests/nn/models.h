// Small models that train in tests: a convolutional net and a byte-level transformer.
#pragma once
#include "check.h"

namespace phlox_test {

namespace F = nn::functional;

struct SmallCnn : nn::Module {
  nn::Conv2d c1 = register_module("c1", nn::Conv2d(1, 4, 3, {.padding = 1}));
  nn::BatchNorm2d n1 = register_module("n1", nn::BatchNorm2d(4));
  nn::Conv2d c2 = register_module("c2", nn::Conv2d(4, 8, 3, {.padding = 1}));
  nn::Dropout drop = register_module("drop", nn::Dropout(0.1));
  nn::Linear fc = register_module("fc", nn::Linear(8 * 4 * 4, 10));
  Tensor forward(const Tensor& x) {
    Tensor h = max_pool2d(relu(n1(c1(x))), 2);
    h = relu(c2(h));
    return fc(drop(h.flatten(1)));
  }
};

struct SmallBlock : nn::Module {
  int64_t heads;
  nn::LayerNorm n1, n2;
  nn::Linear qkv, out, up, down;
  SmallBlock(int64_t d, int64_t heads)
      : heads(heads), n1(d), n2(d), qkv(d, 3 * d), out(d, d), up(d, 2 * d), down(2 * d, d) {
    link("n1", n1), link("n2", n2), link("qkv", qkv), link("out", out), link("up", up), link("down", down);
  }
  Tensor forward(const Tensor& x) {
    const int64_t b = x.size(0), t = x.size(1), d = x.size(2);
    const std::vector<Tensor> parts = chunk(qkv(n1(x)), 3, -1);
    auto split = [&](const Tensor& v) { return v.reshape({b, t, heads, d / heads}).transpose(1, 2); };
    const Tensor a = F::scaled_dot_product_attention(split(parts[0]), split(parts[1]), split(parts[2]),
                                                     {.is_causal = true});
    const Tensor h = x + out(a.transpose(1, 2).reshape({b, t, d}));
    return h + down(gelu(up(n2(h))));
  }
};
struct SmallGpt : nn::Module {
  nn::Embedding tokens = register_module("tokens", nn::Embedding(32, 16));
  Tensor positions = register_parameter("positions", randn({8, 16}) * 0.02);
  nn::ModuleList<SmallBlock> blocks = register_module("blocks", nn::ModuleList<SmallBlock>(2, 16, 2));
  nn::LayerNorm norm = register_module("norm", nn::LayerNorm(16));
  Tensor forward(const Tensor& x) {
    Tensor h = tokens(x) + positions;
    for (SmallBlock& b : blocks) h = b.forward(h);
    return linear(norm(h), tokens.weight);
  }
};

}  // namespace phlox_test
