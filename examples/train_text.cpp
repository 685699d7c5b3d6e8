// Trains a small language model and lets it write. usage: train_text [--quick] [--resume] [--text FILE]
// [--steps N]
//                                  [--stop N] [--batch N] [--lr X] [--seed N] [--save FILE] [--generate N]
#include "train_text.hpp"

int main(int argc, char** argv) try {
  const examples::Arguments a(argc, argv,
                              "usage: train_text [--quick] [--steps N] [--stop N] [--eager-steps N] [--batch N] [--lr X] [--seed N]\n"
                              "                  [--device DEVICE] [--text FILE] [--save FILE] [--resume] [--generate N]\n"
                              "Trains a byte-level GPT on a text; --resume continues what --save kept.");
  examples::TextOptions o;
  if (a.has("--quick")) o.steps = 20, o.held_out_batches = 2, o.generate = 40;
  o.resume = a.has("--resume");
  o.file = a.text("--text", o.file);
  o.steps = a.number("--steps", o.steps);
  o.stop = a.number("--stop", o.stop);
  o.batch_size = a.number("--batch", o.batch_size);
  o.eager_steps = a.number("--eager-steps", o.eager_steps);
  o.lr = a.number("--lr", o.lr);
  o.seed = a.number("--seed", o.seed);
  o.save = a.text("--save", o.save);
  o.device = phlox::Device(a.text("--device", "cpu"));
  o.generate = a.number("--generate", o.generate);
  const examples::TextResult r = examples::train_text(o);
  std::printf(
      "held-out perplexity %.2f a byte\neager    %6.0f tokens/s\ncompiled %6.0f tokens/s, %d kernels a step, "
      "compiled in %.0f ms\n",
      r.perplexity, r.eager_tokens_s, r.compiled_tokens_s, r.kernels, r.compile_ms);
  if (!r.losses.empty()) std::printf("last loss %.9g\n", double(r.losses.back()));
  if (!r.sample.empty()) std::printf("---\n%s\n---\n", r.sample.c_str());
} catch (const std::exception& e) {
  std::fprintf(stderr, "train_text: %s\n", e.what());
  return 1;
}
