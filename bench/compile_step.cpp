// compile-cold and compile-warm: milliseconds from the call to the program ready; no step is executed. bench/run starts a
// new process for each round, with an empty cache or one that an earlier process filled: a process does one round.
//   cnn-step, gpt-step, gpt2-12-step, gpt2-48-step
#include "bench/harness.h"
#include "bench/models.hpp"

namespace {

template <class T>
bench::Round once(std::shared_ptr<T> t) {
  return [t] {
    auto step = phlox::compile(t->step(), "train_step");
    const double start = bench::now();
    step.prepare(t->x, t->y);
    return 1e3 * (bench::now() - start);
  };
}

}  // namespace

int main() {
  return bench::serve([](const std::string& line) -> bench::Round {
    if (line == "cnn-step") return once(bench::cnn());
    if (line == "gpt-step") return once(bench::small_gpt());
    if (line == "gpt2-12-step") return once(bench::gpt2(12));
    if (line == "gpt2-48-step") return once(bench::gpt2(48));
    return nullptr;
  });
}
