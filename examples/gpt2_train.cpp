// Trains GPT-2 (124M parameters unless told otherwise) in bfloat16 by autocast with AdamW; the whole step is one
// compiled program. The tokens are the bytes of a text, or numbers that a simple rule makes, where no text is named: the
// point is the training, not the language.
//   gpt2_train [--device cuda] [--steps N] [--batch B] [--length T] [--layers L] [--lr X] [--text FILE] [--prepare]
//              [--trace FILE]: what runs when in the last step, as trace-event JSON
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <vector>

#include "gpt2.hpp"
#include "phlox/amp.hpp"
#include "phlox/compile.hpp"
#include "phlox/optim.hpp"
#include "progress.hpp"

using phlox::Tensor;
namespace nn = phlox::nn;

namespace {

// Numbers with something to learn in them: each depends on the two before it.
std::vector<int64_t> made_up_tokens(size_t n, int64_t vocabulary, uint64_t seed) {
  std::vector<int64_t> t(n);
  for (size_t i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const int64_t before = i > 1 ? t[i - 1] * 31 + t[i - 2] * 17 : 7;
    t[i] = (before + int64_t(seed >> 62)) % std::min<int64_t>(vocabulary, 4096);
  }
  return t;
}

std::vector<int64_t> tokens_of(const std::string& file, int64_t vocabulary) {
  if (file.empty()) return made_up_tokens(size_t(1) << 22, vocabulary, 1);
  std::ifstream in(file, std::ios::binary);
  std::vector<int64_t> t;
  for (std::istreambuf_iterator<char> i(in), end; i != end; ++i) t.push_back(static_cast<unsigned char>(*i));
  if (t.size() < 4096)
    throw phlox::Error(phlox::ErrorCode::not_found, "text", "there is no text to learn from", file, "4 kB at least");
  return t;
}

}  // namespace

int main(int argc, char** argv) try {
  const examples::Arguments a(argc, argv,
                              "usage: gpt2_train [--layers N] [--batch N] [--length N] [--steps N] [--lr X] [--device DEVICE]\n"
                              "                  [--text FILE] [--prepare] [--trace FILE]\n"
                              "Trains GPT-2 on the bytes of a text; --prepare compiles the step and stops.");
  const phlox::Device device(a.text("--device", phlox::cuda_is_available() ? "cuda" : "cpu"));
  examples::Gpt2Shape shape;
  shape.layers = a.number<int64_t>("--layers", 12);
  const int64_t batch = a.number<int64_t>("--batch", 16), length = a.number<int64_t>("--length", 1024);
  const int steps = int(a.number("--steps", 200));
  const double lr = a.number("--lr", 6e-4);

  phlox::manual_seed(1);
  examples::Gpt2 model(shape);
  model.to(device);
  phlox::optim::AdamW optimizer(model.parameters(), {.lr = lr, .beta2 = 0.95, .weight_decay = 0.1});
  phlox::optim::CosineAnnealingLR schedule(optimizer, steps, lr / 10, /*warmup=*/std::max(1, steps / 10));
  std::printf("%lld parameters on %s, %d steps of %lld x %lld tokens\n", static_cast<long long>(model.num_parameters()),
              device.str().c_str(), steps, static_cast<long long>(batch), static_cast<long long>(length));

  auto step = phlox::compile(
      [&](Tensor x, Tensor y) {
        Tensor loss;
        {
          const phlox::amp::Autocast guard(device, phlox::bf16);
          const Tensor scores = model.forward(x);
          loss = nn::functional::cross_entropy(scores.reshape({-1, shape.vocabulary}), y.reshape({-1}));
        }
        loss.backward();
        optimizer.step();
        optimizer.zero_grad();
        return loss.detach();
      },
      "gpt2_step");

  const std::vector<int64_t> tokens = tokens_of(a.text("--text", ""), shape.vocabulary);
  size_t at = 0;
  auto next = [&](int64_t shift) { return phlox::from_data(&tokens[at + size_t(shift)], {batch, length}).to(device); };
  const auto advance = [&] {
    at += size_t(batch * length);
    if (at + size_t(batch * length) + 1 >= tokens.size()) at = 0;
  };
  examples::Clock clock;
  if (a.has("--prepare")) {
    step.prepare(next(0), next(1));
    std::printf("%s\n", step.report().c_str());
    return 0;
  }
  double from = 0, first = 0;
  Tensor loss;
  for (int i = 0; i < steps; ++i) {
    const Tensor x = next(0), y = next(1);
    advance();
    const std::string trace = i + 1 == steps ? a.text("--trace", "") : "";
    if (!trace.empty()) phlox::detail::check(phlox_trace_start(0));
    loss = step(x, y);
    if (!trace.empty()) phlox::detail::check(phlox_trace_stop(trace.c_str()));
    schedule.step();
    if (i == 0) {
      const float value = loss.item<float>();
      first = clock.seconds();
      std::printf("step 1: loss %.3f, after %.1f s\n", double(value), first);
    }
    if (i == 4) {
      phlox::synchronize(device);
      from = clock.seconds();
    }
    if ((i + 1) % 20 == 0) std::printf("step %d: loss %.3f\n", i + 1, double(loss.item<float>()));
  }
  phlox::synchronize(device);
  if (steps > 5) {
    const double seconds = clock.seconds() - from;
    std::printf("%.0f tokens/s, %.2f ms a step\n", double(batch * length) * double(steps - 5) / seconds,
                1000 * seconds / double(steps - 5));
  }
  std::printf("%s\n%s\n", step.report().c_str(), phlox::report("memory").c_str());
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "gpt2_train: %s\n", e.what());
  return 1;
}
