// Both trainings, then one table and a picture of the losses.
#include "svg.hpp"
#include "train_images.hpp"
#include "train_text.hpp"

int main(int argc, char** argv) try {
  const examples::Arguments a(argc, argv,
                              "usage: demo [--quick] [--device DEVICE] [--svg FILE] [--data FOLDER] [--text FILE]\n"
                              "Trains an image and a text model, eager and compiled. DEVICE: cpu, cuda or cuda:1.\n"
                              "FOLDER: of Fashion-MNIST's four files. FILE: a text to learn from.");
  const bool quick = a.has("--quick");
  const examples::Clock clock;
  examples::ImageOptions images;
  examples::TextOptions text;
  images.folder = a.text("--data", images.folder);
  text.file = a.text("--text", text.file);
  images.device = text.device = phlox::Device(a.text("--device", "cpu"));
  if (quick) {
    images.max_steps = 60, images.eager_steps = 20, images.test_images = 1000;
    text.steps = 20, text.held_out_batches = 2, text.generate = 40;
  }
  const examples::ImageResult i = examples::train_images(images);
  const examples::TextResult t = examples::train_text(text);

  std::printf("\n%-22s %14s %14s\n", "", "images", "text");
  std::printf("%-22s %14d %14d\n", "train steps", i.steps, t.steps);
  std::printf("%-22s %10.0f /s  %10.0f /s\n", "eager (images, tokens)", i.eager_images_s, t.eager_tokens_s);
  std::printf("%-22s %10.0f /s  %10.0f /s\n", "compiled", i.compiled_images_s, t.compiled_tokens_s);
  std::printf("%-22s %14d %14d\n", "kernels a step", i.kernels, t.kernels);
  std::printf("%-22s %11.0f ms %11.0f ms\n", "compile time", i.compile_ms, t.compile_ms);
  std::printf("%-22s %12.2f %% %14s\n", "test accuracy", 100 * i.accuracy, "");
  std::printf("%-22s %14s %14.2f\n", "held-out perplexity", "", t.perplexity);
  std::printf("\nthe text model writes:\n%s\n", t.sample.c_str());

  const std::string file = a.text("--svg", "demo.svg");
  examples::write_svg(file, {{"images: cross entropy", i.losses}, {"text: cross entropy a byte", t.losses}});
  std::printf("\nlosses: %s; text checkpoint: %s (train_text --resume goes on from it); %.0f s in all\n",
              file.c_str(), text.save.c_str(), clock.seconds());
  return !quick && i.accuracy < 0.9 ? 1 : 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "demo: %s\n", e.what());
  return 1;
}
