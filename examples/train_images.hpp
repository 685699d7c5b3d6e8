// A convolutional net on Fashion-MNIST: 60,000 pictures of clothes, 28 x 28, ten classes. The first steps run
// eagerly and the rest as one compiled program each: the same function, so the same numbers.
#pragma once
#include <cstdio>

#include "phlox/compile.hpp"
#include "phlox/data.hpp"
#include "phlox/data/fashion_mnist.hpp"
#include "phlox/io.hpp"
#include "phlox/nn.hpp"
#include "phlox/optim.hpp"
#include "progress.hpp"

namespace examples {

using phlox::Tensor;
namespace nn = phlox::nn;

struct ImageNet : nn::Module {
  nn::Sequential features = register_module(
      "features",
      nn::Sequential(nn::Conv2d(1, 32, 3, {.padding = 1, .bias = false}), nn::BatchNorm2d(32),
                     nn::ReLU(),  // 28 x 28
                     nn::Conv2d(32, 64, 3, {.padding = 1, .bias = false}), nn::BatchNorm2d(64), nn::ReLU(),
                     nn::MaxPool2d(2),  // 14 x 14
                     nn::Conv2d(64, 128, 3, {.padding = 1, .bias = false}), nn::BatchNorm2d(128), nn::ReLU(),
                     nn::MaxPool2d(2)));  // 7 x 7
  nn::Sequential head =
      register_module("head", nn::Sequential(nn::Flatten(), nn::Dropout(0.25), nn::Linear(128 * 7 * 7, 128),
                                             nn::ReLU(), nn::Linear(128, 10)));

  Tensor forward(const Tensor& bytes) {  // uint8 [n, 1, 28, 28]
    const Tensor x =
        (bytes.to(phlox::f32) / 255 - 0.2860) / 0.3530;  // mean and deviation of the training pictures
    return head(features(x));
  }
};

struct ImageOptions {
  std::string folder = "/usr/share/datasets/fashion-mnist";
  int epochs = 1;
  int batch_size = 100;
  int eager_steps = 200;
  int max_steps = 0;  // of all; 0: no limit
  int test_images = 10000;
  double lr = 2e-3;
  uint64_t seed = 1;
  std::string save;  // a checkpoint at the end
  phlox::Device device;
};
struct ImageResult {
  double accuracy = 0, eager_images_s = 0, compiled_images_s = 0, compile_ms = 0;
  int kernels = 0, steps = 0;
  std::vector<float> losses;  // by step
};

inline double test_accuracy(ImageNet& net, const ImageOptions& o) {
  const auto [images, labels] = phlox::data::fashion_mnist(false, o.folder);
  const phlox::data::DataLoader loader(phlox::data::TensorDataset(images.unsqueeze(1), labels),
                                       {.batch_size = 500, .drop_last = true});
  net.eval();
  auto count_right = phlox::compile(
      [&](Tensor x, Tensor y) {
        const phlox::NoGrad guard;
        return (net.forward(x).argmax(1) == y).sum();
      },
      "count_right");
  int64_t right = 0, seen = 0;
  for (auto& [x, y] : loader.epoch(0)) {
    if (seen >= o.test_images) break;
    right += count_right(x.to(o.device), y.to(o.device)).item<int64_t>();
    seen += x.size(0);
  }
  net.train();
  return double(right) / double(seen);
}

inline ImageResult train_images(const ImageOptions& o) {
  phlox::manual_seed(o.seed);
  const auto [images, labels] = phlox::data::fashion_mnist(true, o.folder);
  const phlox::data::DataLoader loader(
      phlox::data::TensorDataset(images.unsqueeze(1), labels),
      {.batch_size = o.batch_size, .shuffle = true, .seed = o.seed, .drop_last = true});
  ImageNet net;
  net.to(o.device);
  phlox::optim::AdamW optimizer(net.parameters(), {.lr = o.lr, .weight_decay = 0.01});
  long total = loader.size() * o.epochs;
  if (o.max_steps) total = std::min<long>(total, o.max_steps);
  phlox::optim::CosineAnnealingLR schedule(optimizer, total, 0, /*warmup=*/std::min(50L, total / 4));
  std::printf("images: %lld parameters, %ld steps of %d pictures\n",
              static_cast<long long>(net.num_parameters()), total, o.batch_size);

  auto step = [&](Tensor x, Tensor y) {
    const Tensor loss = nn::functional::cross_entropy(net.forward(x), y);
    loss.backward();
    optimizer.step();
    optimizer.zero_grad();
    return loss.detach();
  };
  auto compiled_step = phlox::compile(step, "image_step");

  ImageResult r;
  Progress progress("images", total);
  Clock clock;
  const int warm = 3;  // first uses compile kernels: not part of the rates
  double eager_from = 0, eager_to = 0, compiled_from = 0;
  for (int epoch = 0; epoch < o.epochs; ++epoch) {
    for (auto& [x, y] : loader.epoch(epoch)) {
      if (r.steps == total) break;
      const bool eager = r.steps < o.eager_steps;
      if (r.steps == warm) eager_from = clock.seconds();
      if (r.steps == o.eager_steps) eager_to = clock.seconds();
      if (r.steps == o.eager_steps + warm) compiled_from = clock.seconds();
      const Tensor in = x.to(o.device), out = y.to(o.device);
      const Tensor loss = eager ? step(in, out) : compiled_step(in, out);
      schedule.step();
      r.losses.push_back(loss.item<float>());
      ++r.steps;
      const double timed = o.batch_size * double(eager ? r.steps - warm : r.steps - o.eager_steps - warm);
      const std::string speed = rate(timed, clock.seconds() - (eager ? eager_from : compiled_from), "images");
      progress.update(r.steps, format("%s  loss %.3f  %s", eager ? "eager   " : "compiled",
                                      double(r.losses.back()), speed.c_str()));
    }
  }
  if (r.steps > o.eager_steps && o.eager_steps > warm)
    r.eager_images_s = o.batch_size * (o.eager_steps - warm) / (eager_to - eager_from);
  if (r.steps > o.eager_steps + warm)
    r.compiled_images_s = o.batch_size * (r.steps - o.eager_steps - warm) / (clock.seconds() - compiled_from);
  const std::string report = compiled_step.report();
  r.kernels = int(total_of(report, "launches"));
  r.compile_ms = total_of(report, "trace_ms") + total_of(report, "compile_ms") + total_of(report, "code_ms");
  r.accuracy = test_accuracy(net, o);
  if (!o.save.empty())
    phlox::save_checkpoint(o.save,
                           {.model = &net, .optimizer = &optimizer, .scheduler = &schedule, .step = r.steps});
  return r;
}

}  // namespace examples
