// What a fuzz target provides. The names are libFuzzer's; replay_main.cpp calls the same functions without
// it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"

// Runs the parser on one input; aborts when it breaks a promise.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// Changes `data` in place within `max_size`; returns the new size. Equal seeds make equal changes.
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed);
// A byte-level change, for mutators that want one: libFuzzer's own, or replay_main.cpp's.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace phlox {
std::vector<std::string> fuzz_seeds();
[[noreturn]] inline void fuzz_failure(const char* promise) {
  std::fprintf(stderr, "broken promise: %s\n", promise);
  std::abort();
}

// What a target of a text parser checks of it: `accepted` is called with a text and throws what the parser throws.
template <class F>
void check_text_parser(const uint8_t* data, size_t size, const char* op, F&& accepted) {
  const std::string text(static_cast<const char*>(static_cast<const void*>(data)), size);
  const auto require = [](bool ok, const char* promise) { if (!ok) fuzz_failure(promise); };
  try {
    accepted(text);
  } catch (const Error& e) {
    require(e.code() == ErrorCode::invalid_argument && e.parts().op == op, e.what());
    require(e.parts().fact.starts_with("line "), "errors name their line");
    require(std::strlen(e.what()) <= 1000, "errors are short");
  }
}
// Changes the text in place by `change`, or its bytes where the result would be too long.
template <class F>
size_t mutate_text(uint8_t* data, size_t size, size_t max_size, F&& change) {
  const std::string changed = change(std::string(static_cast<const char*>(static_cast<const void*>(data)), size));
  if (changed.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, changed.data(), changed.size());
  return changed.size();
}
// Where the words of a text begin and how long they are.
inline std::vector<std::pair<size_t, size_t>> words_of(const std::string& text, const char* ends) {
  std::vector<std::pair<size_t, size_t>> words;
  for (size_t i = 0; i < text.size();) {
    const size_t begin = text.find_first_not_of(ends, i), end = text.find_first_of(ends, begin);
    if (begin == text.npos || end == text.npos) break;
    words.emplace_back(begin, end - begin);
    i = end;
  }
  return words;
}
}  // namespace phlox
