// train-cpu: samples or tokens a second of whole train steps: forward, loss, backward, AdamW.
//   cnn-eager, cnn-compiled, gpt-eager, gpt-compiled
#include "bench/harness.h"
#include "bench/models.hpp"

namespace {

template <class T>
bench::Round rounds(std::shared_ptr<T> t, bool compiled) {
  auto timed = [t](auto step) -> bench::Round {
    auto kept = std::make_shared<decltype(step)>(std::move(step));
    for (int i = 0; i < 3; ++i) (*kept)(t->x, t->y);
    return [t, kept] {
      constexpr int steps = 2;
      (*kept)(t->x, t->y);
      const double start = bench::now();
      for (int i = 0; i < steps; ++i) (*kept)(t->x, t->y).template item<float>();
      return double(t->samples) * steps / (bench::now() - start);
    };
  };
  return compiled ? timed(phlox::compile(t->step(), "train_step")) : timed(t->step());
}

}  // namespace

int main() {
  return bench::serve([](const std::string& line) -> bench::Round {
    const bool compiled = line.ends_with("-compiled");
    if (!compiled && !line.ends_with("-eager")) return nullptr;
    if (line.starts_with("cnn-")) return rounds(bench::cnn(), compiled);
    if (line.starts_with("gpt-")) return rounds(bench::small_gpt(), compiled);
    return nullptr;
  });
}
