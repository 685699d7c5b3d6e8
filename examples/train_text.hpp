// A byte-level transformer on a book: 6 layers of width 192 with 6 heads, 128 bytes of context, the output
// layer tied to the embedding. The whole train step is one compiled program. It saves its state and goes on
// from it with the same bits.
#pragma once
#include <cmath>
#include <cstdio>
#include <memory>

#include "phlox/compile.hpp"
#include "phlox/data.hpp"
#include "phlox/io.hpp"
#include "phlox/nn.hpp"
#include "phlox/optim.hpp"
#include "progress.hpp"

namespace examples {

using phlox::Tensor;
namespace nn = phlox::nn;

struct Block : nn::Module {
  int64_t heads;
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, out, up, down;
  Block(int64_t d, int64_t heads)
      : heads(heads),
        norm1(register_module("norm1", nn::LayerNorm(d))),
        norm2(register_module("norm2", nn::LayerNorm(d))),
        qkv(register_module("qkv", nn::Linear(d, 3 * d))),
        out(register_module("out", nn::Linear(d, d))),
        up(register_module("up", nn::Linear(d, 4 * d))),
        down(register_module("down", nn::Linear(4 * d, d))) {}

  Tensor forward(const Tensor& x) {
    const int64_t batch = x.size(0), length = x.size(1), d = x.size(2);
    const std::vector<Tensor> parts = phlox::chunk(qkv(norm1(x)), 3, -1);
    auto split = [&](const Tensor& t) {
      return t.reshape({batch, length, heads, d / heads}).transpose(1, 2);
    };
    const Tensor a = nn::functional::scaled_dot_product_attention(split(parts[0]), split(parts[1]),
                                                                  split(parts[2]), {.is_causal = true});
    const Tensor h = x + out(a.transpose(1, 2).reshape({batch, length, d}));
    return h + down(phlox::gelu(up(norm2(h)), "tanh"));
  }
};

struct Gpt : nn::Module {
  int64_t context;
  nn::Embedding tokens;
  Tensor positions;
  nn::ModuleList<Block> blocks;
  nn::LayerNorm norm;
  Gpt(int64_t context, int64_t d, int64_t layers, int64_t heads)
      : context(context),
        tokens(register_module("tokens", nn::Embedding(256, d))),
        positions(register_parameter("positions", phlox::randn({context, d}) * 0.02)),
        blocks(register_module("blocks", nn::ModuleList<Block>(layers, d, heads))),
        norm(register_module("norm", nn::LayerNorm(d))) {
    nn::init::normal_(tokens.weight, 0, 0.02);
    for (const auto& [name, p] :
         named_parameters())  // as GPT-2: small weights, smaller on the way into the residual
      if (name.ends_with("out.weight") || name.ends_with("down.weight"))
        nn::init::normal_(p, 0, 0.02 / std::sqrt(2.0 * double(layers)));
      else if (name.ends_with("qkv.weight") || name.ends_with("up.weight"))
        nn::init::normal_(p, 0, 0.02);
      else if (name.ends_with("bias"))
        nn::init::zeros_(p);
  }
  Tensor forward(const Tensor& bytes) {  // [batch, length] to scores of the next byte [batch, length, 256]
    Tensor h = tokens(bytes) + positions.narrow(0, 0, bytes.size(1));
    for (Block& b : blocks) h = b.forward(h);
    return phlox::linear(norm(h), tokens.weight);
  }
};

struct TextOptions {
  std::string
      file;  // a text; empty: the King James Bible, from Debian's packages bible-kjv and bible-kjv-text
  int steps = 400;  // of the whole run
  int stop = 0;     // end after this many, as if interrupted; 0: at the end
  int batch_size = 16;
  int eager_steps = 4;  // to compare the speeds
  double lr = 2e-3;
  uint64_t seed = 1;
  int64_t context = 128, width = 192, layers = 6, heads = 6;
  int held_out_batches = 16;
  int generate = 200;  // bytes
  std::string save = "text.safetensors";
  bool resume = false;  // from `save`
  phlox::Device device;
};
struct TextResult {
  double perplexity = 0, eager_tokens_s = 0, compiled_tokens_s = 0, compile_ms = 0;
  int kernels = 0, steps = 0;
  std::vector<float> losses;
  std::string sample;
};

// A file, or what a command prints.
inline std::string read_all(const std::string& file) {
  const std::string command = "bible -f gen1:1-rev22:21 </dev/null 2>/dev/null";
  const std::unique_ptr<FILE, int (*)(FILE*)> from =
      file.empty() ? std::unique_ptr<FILE, int (*)(FILE*)>(popen(command.c_str(), "r"), pclose)
                   : std::unique_ptr<FILE, int (*)(FILE*)>(std::fopen(file.c_str(), "rb"), std::fclose);
  std::string text;
  char buffer[1 << 16];
  while (const size_t n = from ? std::fread(buffer, 1, sizeof buffer, from.get()) : 0) text.append(buffer, n);
  if (text.size() < 100000)
    throw phlox::Error(phlox::ErrorCode::not_found, "text", "there is no text to learn from",
                       std::to_string(text.size()) + " bytes", "100 kB at least",
                       "apt-get install bible-kjv bible-kjv-text, or name a file with --text");
  return text;
}

inline std::string generate(Gpt& model, const std::string& prompt, int n, double temperature = 0.8) {
  model.eval();
  auto next = phlox::compile(
      [&](Tensor bytes, Tensor at) {
        const phlox::NoGrad guard;
        const Tensor scores = model.forward(bytes).reshape({-1, 256}).index({at}) / temperature;
        // The largest of scores with Gumbel noise is a draw from softmax(scores).
        const Tensor noise = -phlox::log(-phlox::log(phlox::rand({1, 256}, {.device = bytes.device()}) * 0.999998 + 1e-6));
        return (scores + noise).argmax(-1);
      },
      "next_byte");
  std::string text = prompt;
  for (int i = 0; i < n; ++i) {
    const size_t from = text.size() > size_t(model.context) ? text.size() - size_t(model.context) : 0;
    std::vector<int64_t> window(size_t(model.context), 0);
    for (size_t k = from; k < text.size(); ++k) window[k - from] = static_cast<unsigned char>(text[k]);
    const phlox::Device device = model.positions.device();
    text += char(next(phlox::from_data(window.data(), {1, model.context}).to(device),
                      phlox::tensor({int64_t(text.size() - from) - 1}).to(device))
                     .item<int64_t>());
  }
  model.train();
  return text;
}

inline TextResult train_text(const TextOptions& o) {
  phlox::manual_seed(o.seed);
  std::string text = read_all(o.file);
  const size_t held_out =
      std::max<size_t>(text.size() / 20, 50000);  // the end of the book is never trained on
  const phlox::data::DataLoader held(phlox::data::TextDataset(text.substr(text.size() - held_out), o.context),
                                     {.batch_size = o.batch_size, .drop_last = true});
  text.resize(text.size() - held_out);
  const phlox::data::DataLoader loader(
      phlox::data::TextDataset(std::move(text), o.context),
      {.batch_size = o.batch_size, .shuffle = true, .seed = o.seed, .drop_last = true});
  Gpt model(o.context, o.width, o.layers, o.heads);
  model.to(o.device);
  phlox::optim::AdamW optimizer(model.parameters(), {.lr = o.lr, .beta2 = 0.98, .weight_decay = 0.05});
  phlox::optim::CosineAnnealingLR schedule(optimizer, std::max(1, o.steps), o.lr / 20,
                                           /*warmup=*/std::min(40, o.steps / 4));
  TextResult r;
  if (o.resume)
    r.steps =
        int(phlox::load_checkpoint(o.save, {.model = &model, .optimizer = &optimizer, .scheduler = &schedule})
                .step);
  const int first = r.steps, last = o.stop ? std::min(o.stop, o.steps) : o.steps;
  std::printf("text: %lld parameters, steps %d to %d of %d x %lld bytes\n",
              static_cast<long long>(model.num_parameters()), first, last, o.batch_size,
              static_cast<long long>(o.context));

  auto loss_of = [&](const Tensor& x, const Tensor& y) {
    return nn::functional::cross_entropy(model.forward(x).reshape({-1, 256}), y.reshape({-1}));
  };
  auto step = [&](Tensor x, Tensor y) {
    const Tensor loss = loss_of(x, y);
    loss.backward();
    phlox::optim::clip_grad_norm_(model.parameters(), 1.0);
    optimizer.step();
    optimizer.zero_grad();
    return loss.detach();
  };
  auto compiled_step = phlox::compile(step, "text_step");

  Progress progress("text", last);
  Clock clock;
  double eager_from = 0, eager_to = 0, compiled_from = 0;
  const int64_t per_epoch = loader.size();
  const int compiled_at = first + o.eager_steps;
  while (r.steps < last) {
    for (auto& [x, y] : loader.epoch(r.steps / per_epoch, r.steps % per_epoch)) {
      if (r.steps == last) break;
      if (r.steps == first + 1) eager_from = clock.seconds();
      if (r.steps == compiled_at) eager_to = clock.seconds();
      if (r.steps == compiled_at + 2) compiled_from = clock.seconds();
      const Tensor in = x.to(o.device), out = y.to(o.device);
      const Tensor loss = r.steps < compiled_at ? step(in, out) : compiled_step(in, out);
      schedule.step();
      r.losses.push_back(loss.item<float>());
      ++r.steps;
      const bool eager = r.steps <= compiled_at;
      const double timed =
          double(o.batch_size * o.context) * (eager ? r.steps - first - 1 : r.steps - compiled_at - 2);
      const std::string speed = rate(timed, clock.seconds() - (eager ? eager_from : compiled_from), "tokens");
      progress.update(r.steps, format("%s  loss %.3f  %s", eager ? "eager   " : "compiled",
                                      double(r.losses.back()), speed.c_str()));
    }
  }
  const double tokens = double(o.batch_size * o.context);
  if (r.steps > compiled_at && o.eager_steps > 1)
    r.eager_tokens_s = tokens * (o.eager_steps - 1) / (eager_to - eager_from);
  if (r.steps > compiled_at + 2)
    r.compiled_tokens_s = tokens * (r.steps - compiled_at - 2) / (clock.seconds() - compiled_from);
  const std::string report = compiled_step.report();
  r.kernels = int(total_of(report, "launches"));
  r.compile_ms = total_of(report, "trace_ms") + total_of(report, "compile_ms") + total_of(report, "code_ms");
  if (!o.save.empty())
    phlox::save_checkpoint(
        o.save, {.model = &model, .optimizer = &optimizer, .scheduler = &schedule, .step = r.steps});

  model.eval();
  auto held_loss = phlox::compile(
      [&](Tensor x, Tensor y) {
        const phlox::NoGrad guard;
        return loss_of(x, y);
      },
      "held_out");
  double sum = 0;
  int batches = 0;
  for (auto& [x, y] : held.epoch(0)) {
    if (batches == o.held_out_batches) break;
    sum += held_loss(x.to(o.device), y.to(o.device)).item<float>();
    ++batches;
  }
  r.perplexity = std::exp(sum / std::max(1, batches));
  if (o.generate > 0) r.sample = generate(model, "And God said, ", o.generate);
  return r;
}

}  // namespace examples
