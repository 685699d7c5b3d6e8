// Promises of parse_loop under any text: no crash, every refusal is Error(invalid_argument) of bounded text that names a
// line, and what is accepted is well formed and prints to a text that reads back as the same loop.
#include <algorithm>
#include <cstring>
#include <random>

#include "../loop/samples.h"
#include "base/error.h"
#include "fuzz_target.h"
#include "loop/verify.h"

namespace phlox {

std::vector<std::string> fuzz_seeds() {
  std::vector<std::string> seeds;
  for (const samples::Named& n : samples::all()) seeds.push_back(print_loop(n.loop));
  seeds.push_back("loop {\n}\n");
  seeds.push_back("loop {\n  axes a0: floordiv(s0 + 3, max(s1, 2))*4 - mod(s2, 7)\n  %0 = constant nan(0x7fc00001) : f32\n}\n");
  return seeds;
}

static void require(bool ok, const char* promise) {
  if (!ok) fuzz_failure(promise);
}

static void check_accepted(const Loop& loop) {
  require(loop_defect(loop).text.empty(), "what is accepted is well formed");
  const std::string text = print_loop(loop);
  const Loop again = parse_loop(text);
  require(again.insts == loop.insts && again.depends == loop.depends && again.stores == loop.stores, "instructions read back");
  require(hash_of(again) == hash_of(loop) && print_loop(again) == text, "everything reads back");
  for (size_t id = 0; id < loop.insts.size(); ++id) affine_of(loop, ValueId(id));  // terminates
}

// Moves whole lines and words about, which bytes alone seldom do.
static std::string mutate(const std::string& text, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<std::string> lines(1);
  for (char c : text) {
    lines.back() += c;
    if (c == '\n') lines.emplace_back();
  }
  const size_t at = rng() % lines.size(), other = rng() % lines.size();
  switch (rng() % 4) {
    case 0: lines.insert(lines.begin() + long(at), lines[other]); break;
    case 1: lines.erase(lines.begin() + long(at)); break;
    case 2: std::swap(lines[at], lines[other]); break;
    case 3: {  // one word becomes another one of the text
      const auto words = words_of(text, " \n");
      if (words.empty()) break;
      const auto [b, n] = words[rng() % words.size()];
      const auto [b2, n2] = words[rng() % words.size()];
      return text.substr(0, b) + text.substr(b2, n2) + text.substr(b + n);
    }
  }
  return join(lines, "");
}

}  // namespace phlox

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace phlox;
  check_text_parser(data, size, "parse_loop", [](const std::string& text) { check_accepted(parse_loop(text)); });
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  if (seed % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  return phlox::mutate_text(data, size, max_size, [&](const std::string& text) { return phlox::mutate(text, seed); });
}
