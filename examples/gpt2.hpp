// GPT-2: the model, its sizes and its initial weights, with PyTorch users' names (wte, wpe, h.0.attn...).
#pragma once
#include <cmath>

#include "phlox/nn.hpp"

namespace examples {

using phlox::Tensor;
namespace nn = phlox::nn;

// The vocabulary is 50257 rounded up to a multiple of 64, which matrix units like.
struct Gpt2Shape {
  int64_t vocabulary = 50304, context = 1024, width = 768, layers = 12, heads = 12;
};

struct Gpt2Attention : nn::Module {
  int64_t heads;
  nn::Linear c_attn, c_proj;
  Gpt2Attention(int64_t d, int64_t heads)
      : heads(heads),
        c_attn(register_module("c_attn", nn::Linear(d, 3 * d))),
        c_proj(register_module("c_proj", nn::Linear(d, d))) {}
  Tensor forward(const Tensor& x) {
    const int64_t batch = x.size(0), length = x.size(1), d = x.size(2);
    const std::vector<Tensor> qkv = phlox::chunk(c_attn(x), 3, -1);
    auto split = [&](const Tensor& t) {
      return t.reshape({batch, length, heads, d / heads}).transpose(1, 2);
    };
    const Tensor y = nn::functional::scaled_dot_product_attention(split(qkv[0]), split(qkv[1]), split(qkv[2]),
                                                                  {.is_causal = true});
    return c_proj(y.transpose(1, 2).reshape({batch, length, d}));
  }
};

struct Gpt2Mlp : nn::Module {
  nn::Linear c_fc, c_proj;
  explicit Gpt2Mlp(int64_t d)
      : c_fc(register_module("c_fc", nn::Linear(d, 4 * d))),
        c_proj(register_module("c_proj", nn::Linear(4 * d, d))) {}
  Tensor forward(const Tensor& x) { return c_proj(phlox::gelu(c_fc(x), "tanh")); }
};

struct Gpt2Block : nn::Module {
  nn::LayerNorm ln_1, ln_2;
  Gpt2Attention attn;
  Gpt2Mlp mlp;
  explicit Gpt2Block(const Gpt2Shape& s)
      : ln_1(register_module("ln_1", nn::LayerNorm(s.width))),
        ln_2(register_module("ln_2", nn::LayerNorm(s.width))),
        attn(register_module("attn", Gpt2Attention(s.width, s.heads))),
        mlp(register_module("mlp", Gpt2Mlp(s.width))) {}
  Tensor forward(const Tensor& x) {
    const Tensor h = x + attn.forward(ln_1(x));
    return h + mlp.forward(ln_2(h));
  }
};

struct Gpt2 : nn::Module {
  Gpt2Shape shape;
  nn::Embedding wte, wpe;
  nn::ModuleList<Gpt2Block> h;
  nn::LayerNorm ln_f;
  explicit Gpt2(const Gpt2Shape& s)
      : shape(s),
        wte(register_module("wte", nn::Embedding(s.vocabulary, s.width))),
        wpe(register_module("wpe", nn::Embedding(s.context, s.width))),
        h(register_module("h", nn::ModuleList<Gpt2Block>(s.layers, s))),
        ln_f(register_module("ln_f", nn::LayerNorm(s.width))) {
    for (const auto& [name, p] : named_parameters()) {
      if (name.ends_with("c_proj.weight"))  // the residual stream sums two of them a layer
        nn::init::normal_(p, 0, 0.02 / std::sqrt(2.0 * double(s.layers)));
      else if (name.ends_with("bias"))
        nn::init::zeros_(p);
      else if (name.find("ln_") == std::string::npos)
        nn::init::normal_(p, 0, 0.02);
    }
  }
  // Token numbers [batch, length] to scores of the next token [batch, length, vocabulary]. The output layer is the
  // table of embeddings.
  Tensor forward(const Tensor& tokens) {
    Tensor x = wte(tokens) + wpe.weight.narrow(0, 0, tokens.size(1));
    for (Gpt2Block& b : h) x = b.forward(x);
    return phlox::linear(ln_f(x), wte.weight);
  }
};

}  // namespace examples
