// Runs a fuzz target without libFuzzer: every seed, then a fixed number of mutations of them, within a time
// limit. Mutation i depends on i alone, so a crash names the one number that repeats it. usage:
// fuzz_replay_NAME [--count N] [--seconds S] [--first I] | --write-seeds FOLDER | FILE...
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

#include "fuzz_target.h"

static std::mt19937_64 rng;
static volatile uint64_t current = 0;
static constexpr size_t largest_input = 65536;
static constexpr size_t largest_mutated_seed = 4096;  // large seeds run once: mutating them spends the time on copying

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size) {
  if (size == 0) return 0;
  switch (rng() % 5) {
    case 0: data[rng() % size] ^= uint8_t(1u << (rng() % 8)); return size;
    case 1: data[rng() % size] = uint8_t(rng()); return size;
    case 2: {  // drop a piece
      const size_t at = rng() % size, n = 1 + rng() % std::min<size_t>(size - at, 16);
      std::memmove(data + at, data + at + n, size - at - n);
      return size - n;
    }
    case 3: {  // repeat a piece
      const size_t at = rng() % size,
                   n = std::min(1 + rng() % std::min<size_t>(size - at, 64), max_size - size);
      std::memmove(data + at + n, data + at, size - at);
      return size + n;
    }
    default: return 1 + rng() % size;  // cut
  }
}

static size_t run_one(const std::string& input) {
  const auto* data = static_cast<const uint8_t*>(static_cast<const void*>(input.data()));
  LLVMFuzzerTestOneInput(data, input.size());
  return input.size();
}

static std::string mutation(const std::vector<std::string>& seeds, uint64_t i) {
  rng.seed(i);
  const std::string& input = seeds[rng() % seeds.size()];
  static uint8_t buffer[largest_input];
  size_t size = input.size();
  std::memcpy(buffer, input.data(), size);
  for (uint64_t rounds = 1 + rng() % 4; rounds > 0; --rounds)
    size = LLVMFuzzerCustomMutator(buffer, size, largest_input, unsigned(rng()));
  return std::string(buffer, buffer + size);
}

extern "C" void report_crash(int signal_number) {
  std::fprintf(stderr, "signal %d; repeat with --first %llu --count 1\n", signal_number,
               (unsigned long long)current);
  std::signal(signal_number, SIG_DFL);
  std::raise(signal_number);
}

static void write_seeds(const char* folder, const std::vector<std::string>& seeds) {
  std::filesystem::create_directories(folder);
  for (size_t i = 0; i < seeds.size(); ++i)
    if (seeds[i].size() <= largest_input)
      std::ofstream(std::filesystem::path(folder) / ("seed-" + std::to_string(i)), std::ios::binary)
          << seeds[i];
}

static uint64_t number(const char* text) {
  uint64_t v = 0;
  const char* const end = text + std::strlen(text);
  if (std::from_chars(text, end, v).ptr != end) {
    std::fprintf(stderr, "not a number: %s\n", text);
    std::exit(2);
  }
  return v;
}

int main(int argc, char** argv) {
  uint64_t count = 200'000, seconds = 5, first = 0;
  const std::vector<std::string> seeds = phlox::fuzz_seeds();
  bool files = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view option = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : "";
    if (option == "--write-seeds") return write_seeds(value, seeds), 0;
    if (option == "--count")
      count = number(value), ++i;
    else if (option == "--seconds")
      seconds = number(value), ++i;
    else if (option == "--first")
      first = number(value), ++i;
    else {
      std::ifstream in(argv[i], std::ios::binary);
      run_one(std::string(std::istreambuf_iterator<char>(in), {}));
      files = true;
    }
  }
  if (files) return 0;
#if !defined(__SANITIZE_ADDRESS__)
  for (const int s : {SIGSEGV, SIGBUS, SIGFPE}) std::signal(s, report_crash);
#endif
  std::signal(SIGABRT, report_crash);

  std::vector<std::string> small;
  for (const std::string& seed : seeds) {
    run_one(seed);
    if (seed.size() <= largest_mutated_seed) small.push_back(seed);
  }
  using clock = std::chrono::steady_clock;
  const auto start = clock::now(), limit = start + std::chrono::seconds(seconds);
  uint64_t done = 0, bytes = 0;
  for (; done < count && clock::now() < limit; ++done) {
    current = first + done;
    bytes += run_one(mutation(small, current));
  }
  const double elapsed = std::chrono::duration<double>(clock::now() - start).count();
  std::printf("%zu seeds, %llu of %llu mutations, %.1f MB, %.1f s\n", seeds.size(), (unsigned long long)done,
              (unsigned long long)count, double(bytes) / 1e6, elapsed);
}
