// Trains a classifier of clothes. usage: train_images [--quick] [--epochs N] [--batch N] [--lr X] [--seed N]
//                                        [--eager-steps N] [--data FOLDER] [--save FILE]
#include "train_images.hpp"

int main(int argc, char** argv) try {
  const examples::Arguments a(argc, argv,
                              "usage: train_images [--quick] [--epochs N] [--steps N] [--eager-steps N] [--batch N] [--lr X] [--seed N]\n"
                              "                    [--device DEVICE] [--data FOLDER] [--save FILE]\n"
                              "Trains a CNN on Fashion-MNIST: some steps eager, the rest compiled.");
  examples::ImageOptions o;
  if (a.has("--quick")) o.max_steps = 60, o.eager_steps = 20, o.test_images = 1000;
  o.epochs = a.number("--epochs", o.epochs);
  o.batch_size = a.number("--batch", o.batch_size);
  o.lr = a.number("--lr", o.lr);
  o.seed = a.number("--seed", o.seed);
  o.eager_steps = a.number("--eager-steps", o.eager_steps);
  o.max_steps = a.number("--steps", o.max_steps);
  o.folder = a.text("--data", o.folder);
  o.save = a.text("--save", o.save);
  o.device = phlox::Device(a.text("--device", "cpu"));
  const examples::ImageResult r = examples::train_images(o);
  std::printf(
      "test accuracy %.2f %%\neager    %6.0f images/s\ncompiled %6.0f images/s, %d kernels a step, compiled "
      "in %.0f ms\n",
      100 * r.accuracy, r.eager_images_s, r.compiled_images_s, r.kernels, r.compile_ms);
} catch (const std::exception& e) {
  std::fprintf(stderr, "train_images: %s\n", e.what());
  return 1;
}
