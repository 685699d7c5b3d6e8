// What a fuzz target provides. The names are libFuzzer's; replay_main.cpp calls the same functions without
// it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

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
}  // namespace phlox
