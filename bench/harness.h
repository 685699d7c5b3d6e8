// The contender's side of a benchmark. bench/run starts every contender (phlox, its peers, the machine's peaks) as a
// process of its own and asks them in turn, so that whatever disturbs the machine disturbs all alike. One line a message:
//   prepare NAME  ->  ready, or refused REASON: gets what the line NAME needs, and warms it
//   round         ->  one number: what a round of some tens of milliseconds gave
// The end of input ends the process. Errors end it too, with the reason on stderr.
#pragma once
#include <time.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <string_view>

namespace bench {

inline double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

// Not optimised away, nor what it points to.
template <class T>
inline void keep(const T& v) {
  asm volatile("" : : "r"(&v) : "memory");
}

// Seconds that one call of f takes: the median of some batches of calls, over about `seconds`. The first calls, half as
// long, are not timed: another process had the caches until now, and a processor that rested takes some 10 ms to its full
// speed.
template <class F>
double per_call(F&& f, double seconds = 0.05) {
  const double start = now();
  int64_t n = 0;
  do f(), ++n;
  while (now() - start < seconds / 2);
  const double each = (now() - start) / double(n);
  constexpr int batches = 9;
  const int64_t calls = std::max<int64_t>(1, int64_t(seconds / batches / std::max(each, 1e-9)));
  double times[batches];
  for (double& t : times) {
    const double from = now();
    for (int64_t i = 0; i < calls; ++i) f();
    t = (now() - from) / double(calls);
  }
  std::nth_element(times, times + batches / 2, times + batches);
  return times[batches / 2];
}

using Round = std::function<double()>;

// `prepare` gives the rounds of a line, or nothing for a line that it does not know; it may throw.
inline int serve(const std::function<Round(const std::string&)>& prepare) {
  Round round;
  char line[256];
  while (std::fgets(line, sizeof line, stdin)) {
    std::string_view message(line);
    while (!message.empty() && message.back() == '\n') message.remove_suffix(1);
    try {
      if (message.starts_with("prepare ")) {
        round = nullptr;
        round = prepare(std::string(message.substr(8)));
        std::puts(round ? "ready" : "refused there is no such line");
      } else if (message == "round" && round) {
        std::printf("%.9g\n", round());
      } else {
        std::fprintf(stderr, "bench: cannot follow '%.*s'\n", int(message.size()), message.data());
        return 2;
      }
    } catch (const std::exception& e) {
      std::printf("refused %s\n", e.what());
    }
    std::fflush(stdout);
  }
  return 0;
}

// "add-16M" split at its last '-': what, and the number with K or M for powers of 1024; 0 when there is none.
struct SizedName {
  std::string what;
  int64_t size = 0;
};
inline SizedName sized_name(const std::string& name) {
  const size_t at = name.rfind('-');
  if (at == std::string::npos) return {name, 0};
  char* end;
  int64_t n = std::strtoll(name.c_str() + at + 1, &end, 10);
  if (*end == 'K') n <<= 10, ++end;
  else if (*end == 'M') n <<= 20, ++end;
  return *end ? SizedName{name, 0} : SizedName{name.substr(0, at), n};
}

}  // namespace bench
