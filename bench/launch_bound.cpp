// launch-bound: a model of many small layers on a GPU, compiled. Seconds of one call.
//   mlp-forward   50 layers of 256 x 256 with ReLU, batch 16, no gradients
//   mlp-step      the same with a squared loss, backward and AdamW
#include <memory>

#include "bench/cuda.h"
#include "phlox/compile.hpp"
#include "phlox/nn.hpp"
#include "phlox/optim.hpp"

namespace {

using phlox::Tensor;
namespace nn = phlox::nn;
constexpr int64_t layers = 50, width = 256, batch = 16;

struct Mlp : nn::Module {
  nn::ModuleList<nn::Linear> steps = register_module("steps", nn::ModuleList<nn::Linear>(layers, width, width));
  Tensor forward(Tensor x) {
    for (nn::Linear& l : steps) x = phlox::relu(l(x));
    return x;
  }
};

struct Training {
  Mlp model;
  std::unique_ptr<phlox::optim::AdamW> optimizer;
  Tensor x = bench::random_on_gpu({batch, width}, phlox::f32), y = bench::random_on_gpu({batch, width}, phlox::f32);
  Training() {
    model.to("cuda");
    optimizer = std::make_unique<phlox::optim::AdamW>(model.parameters(), phlox::optim::AdamWOptions{.lr = 1e-4});
  }
};

template <class F>
bench::Round rounds(std::shared_ptr<Training> t, F step) {
  auto kept = std::make_shared<F>(std::move(step));
  for (int i = 0; i < 3; ++i) (*kept)(t->x, t->y);
  return [t, kept] { return bench::per_call_cuda([&] { bench::keep((*kept)(t->x, t->y)); }); };
}

}  // namespace

int main() {
  return bench::serve([](const std::string& line) -> bench::Round {
    auto t = std::make_shared<Training>();
    if (line == "mlp-forward")
      return rounds(t, phlox::compile([t](Tensor x, Tensor) {
        const phlox::NoGrad guard;
        return t->model.forward(x);
      }, "mlp_forward"));
    if (line == "mlp-step")
      return rounds(t, phlox::compile([t](Tensor x, Tensor y) {
        const Tensor loss = nn::functional::mse_loss(t->model.forward(x), y);
        loss.backward();
        t->optimizer->step();
        t->optimizer->zero_grad();
        return loss.detach();
      }, "mlp_step"));
    return nullptr;
  });
}
