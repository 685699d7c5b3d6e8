// decode-cuda: one token of a Llama-like model on a GPU, bf16, batch 1, as one graph. The model reads the last token and its
// place from the device, writes keys and values into its cache there, and leaves the next token for itself: a step waits for
// nothing on the host. Seconds of a step.
//   decode_cuda            serves bench/run: llama-1b, llama-8b, and llama-1b-first, the first call
//   decode_cuda NAME ...   measures these by itself, JSON lines, with the share of the floor: the time to read the weights at
//                          the copy rate measured here
#include <cmath>
#include <cstring>
#include <memory>

#include "bench/cuda.h"
#include "phlox/compile.hpp"
#include "phlox/nn.hpp"

namespace {

using phlox::Tensor;
namespace nn = phlox::nn;

struct Shape {
  int64_t width, layers, heads, key_heads, head, inner, vocabulary;
  bool tied;             // the output layer is the table of embeddings
  int64_t length = 512;  // of the cache
};
constexpr Shape llama_1b{2048, 16, 32, 8, 64, 8192, 128256, true};
constexpr Shape llama_8b{4096, 32, 32, 8, 128, 14336, 128256, false};

Tensor weight(std::initializer_list<int64_t> sizes, double deviation) {
  return phlox::randn(std::vector<int64_t>(sizes), {.dtype = phlox::bf16, .device = "cuda"}).mul_(deviation);
}

struct Layer {
  Tensor norm_1, qkv, out, norm_2, gate, up, down;
  Tensor cache;  // [keys and values, key heads, length, head]
  explicit Layer(const Shape& s)
      : norm_1(phlox::ones({s.width}, {.dtype = phlox::bf16, .device = "cuda"})),
        qkv(weight({(s.heads + 2 * s.key_heads) * s.head, s.width}, 0.02)),
        out(weight({s.width, s.heads * s.head}, 0.02)),
        norm_2(phlox::ones({s.width}, {.dtype = phlox::bf16, .device = "cuda"})),
        gate(weight({s.inner, s.width}, 0.02)),
        up(weight({s.inner, s.width}, 0.02)),
        down(weight({s.width, s.inner}, 0.02)),
        cache(phlox::zeros({2, s.key_heads, s.length, s.head}, {.dtype = phlox::bf16, .device = "cuda"})) {}
};

struct Llama {
  Shape s;
  Tensor embeddings, norm, head;
  std::vector<Layer> layers;
  Tensor cosines, sines;  // [length, head]
  Tensor token, place;    // i64[1]: the last token, and where it stands

  explicit Llama(const Shape& shape) : s(shape), embeddings(weight({s.vocabulary, s.width}, 0.02)) {
    norm = phlox::ones({s.width}, {.dtype = phlox::bf16, .device = "cuda"});
    head = s.tied ? embeddings : weight({s.vocabulary, s.width}, 0.02);
    for (int64_t i = 0; i < s.layers; ++i) layers.emplace_back(s);
    const Tensor steps = phlox::arange(s.head / 2, {.dtype = phlox::f32, .device = "cuda"});
    const Tensor speed = phlox::exp(steps * (-std::log(500000.0) * 2 / double(s.head)));
    const Tensor angles = phlox::arange(s.length, {.dtype = phlox::f32, .device = "cuda"}).unsqueeze(1) * speed.unsqueeze(0);
    const Tensor both = phlox::cat({angles, angles}, 1);
    cosines = phlox::cos(both).to(phlox::bf16);
    sines = phlox::sin(both).to(phlox::bf16);
    token = phlox::ones({1}, {.dtype = phlox::i64, .device = "cuda"});
    place = phlox::zeros({1}, {.dtype = phlox::i64, .device = "cuda"});
  }

  int64_t weight_bytes() const {
    int64_t n = head.numel();
    for (const Layer& l : layers)
      for (const Tensor* t : {&l.qkv, &l.out, &l.gate, &l.up, &l.down}) n += t->numel();
    return 2 * n;
  }

  // The two halves of each head as the parts of complex numbers, turned by the place's angles.
  static Tensor turned(const Tensor& x, const Tensor& cosine, const Tensor& sine) {
    const std::vector<Tensor> halves = phlox::chunk(x, 2, -1);
    return x * cosine + phlox::cat({-halves[1], halves[0]}, -1) * sine;
  }

  Tensor attend(const Layer& l, const Tensor& h, const Tensor& cosine, const Tensor& sine, const Tensor& mask) const {
    const Tensor qkv = phlox::linear(phlox::rms_norm(h, {s.width}, l.norm_1, 1e-5), l.qkv).reshape({s.heads + 2 * s.key_heads, s.head});
    const std::vector<Tensor> parts = phlox::split_with_sizes(qkv, {s.heads, s.key_heads, s.key_heads}, 0);
    const Tensor kv = phlox::stack({turned(parts[1], cosine, sine), parts[2]}).unsqueeze(2);
    l.cache.index_copy_(2, place, kv);
    const Tensor q = turned(parts[0], cosine, sine).reshape({1, s.heads, 1, s.head});
    const Tensor y = phlox::scaled_dot_product_attention(q, l.cache[0].unsqueeze(0), l.cache[1].unsqueeze(0), mask, 0.0, false, std::nullopt, true);
    return h + phlox::linear(y.reshape({1, s.heads * s.head}), l.out);
  }

  Tensor feed_forward(const Layer& l, const Tensor& h) const {
    const Tensor n = phlox::rms_norm(h, {s.width}, l.norm_2, 1e-5);
    return h + phlox::linear(phlox::silu(phlox::linear(n, l.gate)) * phlox::linear(n, l.up), l.down);
  }

  // Scores of the next token [1, vocabulary]; the token and its place move on.
  Tensor step() const {
    const Tensor cosine = cosines.index_select(0, place), sine = sines.index_select(0, place);
    const Tensor mask = (phlox::arange(s.length, {.dtype = phlox::i64, .device = "cuda"}) <= place).reshape({1, 1, 1, s.length});
    Tensor h = phlox::embedding(embeddings, token);
    for (const Layer& l : layers) h = feed_forward(l, attend(l, h, cosine, sine, mask));
    const Tensor scores = phlox::linear(phlox::rms_norm(h, {s.width}, norm, 1e-5), head);
    token.copy_(phlox::argmax(scores, -1));
    place.copy_(phlox::remainder(place + 1, s.length));
    return scores;
  }
};

auto compiled(std::shared_ptr<Llama> model) {
  return phlox::compile([model](Tensor unused) {
    const phlox::NoGrad guard;
    return model->step() + unused;
  }, "decode");
}

struct Decoder {
  std::shared_ptr<Llama> model;
  decltype(compiled(nullptr)) step;
  Tensor zero = phlox::zeros({1}, {.dtype = phlox::bf16, .device = "cuda"});
  explicit Decoder(const Shape& s) : model(std::make_shared<Llama>(s)), step(compiled(model)) {}
  void run() { bench::keep(step(zero)); }
};

bool shape_of(const std::string& name, Shape& s) {
  s = name.starts_with("llama-8b") ? llama_8b : llama_1b;
  return name.starts_with("llama-1b") || name.starts_with("llama-8b");
}

double copy_rate() {
  const Tensor a = phlox::zeros({int64_t(1) << 28}, {.dtype = phlox::bf16, .device = "cuda"}), b = phlox::empty_like(a);
  return 4 * double(a.numel()) / bench::per_call_cuda([&] { b.copy_(a); }, 0.1);
}

void measure(const std::string& name) {
  Shape s{};
  if (!shape_of(name, s)) {
    std::fprintf(stderr, "decode_cuda: no shape '%s'\n", name.c_str());
    return;
  }
  const double rate = copy_rate();
  Decoder d(s);
  phlox::synchronize(phlox::Device("cuda"));
  const double start = bench::now();
  d.run();
  phlox::synchronize(phlox::Device("cuda"));
  const double first = bench::now() - start;
  for (int i = 0; i < 5; ++i) d.run();
  const double seconds = bench::per_call_cuda([&] { d.run(); }, 1.0), floor = double(d.model->weight_bytes()) / rate;
  std::printf("{\"bench\": \"decode-cuda\", \"name\": \"%s\", \"value\": %.1f, \"unit\": \"tokens/s\", \"floor\": %.1f, \"of_floor\": %.3f, \"first_call_s\": %.2f, "
              "\"copy_tbps\": %.3f, \"report\": %s}\n", name.c_str(), 1 / seconds, 1 / floor, floor / seconds, first, rate / 1e12, d.step.report().c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) {
    for (int i = 1; i < argc; ++i) measure(argv[i]);
    return 0;
  }
  return bench::serve([](const std::string& line) -> bench::Round {
    Shape s{};
    if (!shape_of(line, s)) return nullptr;
    auto d = std::make_shared<Decoder>(s);
    phlox::synchronize(phlox::Device("cuda"));
    if (line.ends_with("-first"))
      return [d] {
        const double start = bench::now();
        d->run();
        phlox::synchronize(phlox::Device("cuda"));
        return bench::now() - start;
      };
    for (int i = 0; i < 5; ++i) d->run();
    return [d] { return bench::per_call_cuda([&] { d->run(); }, 0.3); };
  });
}
