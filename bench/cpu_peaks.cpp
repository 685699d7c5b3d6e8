// cpu_peaks: the ceilings of this machine that everything else is measured against. Prints JSON lines: FMA
// peak, read and copy bandwidth by size, fork-join latency of the team, latency of the host arena, and the
// price of fresh pages. Every number is the best and the median of many short runs: best is the ceiling,
// median tells how busy the machine is. usage: cpu_peaks [seconds per measurement, default 0.2]
#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/file.h"
#include "base/json.h"
#include "base/team.h"
#include "device/cpu/arena.h"
#include "device/device.h"

namespace phlox {
namespace {

double seconds_each = 0.2;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

template <class T>
void keep(const T& v) {
  asm volatile("" : : "g"(&v) : "memory");
}

struct Times {
  double best, median, p99;
};

// Runs f repeatedly for about the time of a measurement and at least a few times; f is warm when timing
// starts.
template <class F>
Times measure(F f) {
  f();
  std::vector<double> t;
  const double end = now() + seconds_each;
  while (t.size() < 5 || (now() < end && t.size() < 200000)) {
    const double start = now();
    f();
    t.push_back(now() - start);
  }
  std::sort(t.begin(), t.end());
  return {t[0], t[t.size() / 2], t[t.size() * 99 / 100]};
}

class Line {
 public:
  explicit Line(const char* name) : writer_(text_) { writer_.begin_object().member("bench", name); }
  ~Line() {
    writer_.end_object();
    std::puts(text_.c_str());
    std::fflush(stdout);
  }
  template <class T>
  Line& with(const char* key, const T& v) {
    if constexpr (std::is_floating_point_v<T>) {
      char b[32];
      std::snprintf(b, sizeof b, "%.4g", v);
      writer_.key(key).raw(b);
    } else {
      writer_.member(key, v);
    }
    return *this;
  }

 private:
  std::string text_;
  JsonWriter writer_;
};

// Runs f(bytes or items of one thread) on all threads of the team at once, one piece each.
template <class F>
void on_each_thread(int threads, F f) {
  team().run(threads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// --- FMA peak: independent chains, as many as registers allow, so that latency is hidden.

constexpr int fma_rounds = 20000;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) float fma_avx2() {
  constexpr int chains = 12;
  __m256 a[chains];
  for (int c = 0; c < chains; ++c) a[c] = _mm256_set1_ps(float(c));
  __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  asm volatile("" : "+x"(x), "+x"(y));
  for (int i = 0; i < fma_rounds; ++i)
#pragma GCC unroll 24
    for (int c = 0; c < chains; ++c) a[c] = _mm256_fmadd_ps(a[c], x, y);
  for (int c = 1; c < chains; ++c) a[0] = _mm256_add_ps(a[0], a[c]);
  return _mm256_cvtss_f32(a[0]);
}
constexpr double fma_avx2_flop = 2.0 * 8 * 12 * fma_rounds;

__attribute__((target("avx512f"))) float fma_avx512() {
  constexpr int chains = 24;
  __m512 a[chains];
  for (int c = 0; c < chains; ++c) a[c] = _mm512_set1_ps(float(c));
  __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  asm volatile("" : "+v"(x), "+v"(y));
  for (int i = 0; i < fma_rounds; ++i)
#pragma GCC unroll 24
    for (int c = 0; c < chains; ++c) a[c] = _mm512_fmadd_ps(a[c], x, y);
  for (int c = 1; c < chains; ++c) a[0] = _mm512_add_ps(a[0], a[c]);
  return _mm512_cvtss_f32(a[0]);
}
constexpr double fma_avx512_flop = 2.0 * 16 * 24 * fma_rounds;
#endif

void bench_fma(const char* isa, float (*f)(), double flop, int threads) {
  // Some pieces in a row per thread, so that a worker that starts late does not spoil the figure.
  constexpr int repeats = 4;
  const Times t = measure([&] {
    on_each_thread(threads, [&](int64_t) {
      for (int i = 0; i < repeats; ++i) keep(f());
    });
  });
  flop *= repeats * threads;
  Line("fma_f32")
      .with("isa", isa)
      .with("threads", threads)
      .with("gflops", flop / t.best * 1e-9)
      .with("gflops_median", flop / t.median * 1e-9);
}

// --- Memory

#if defined(__x86_64__)
#define PHLOX_BENCH_TARGET __attribute__((target("avx2")))
#else
#define PHLOX_BENCH_TARGET
#endif
typedef float Vec __attribute__((vector_size(32)));

PHLOX_BENCH_TARGET void read_range(const char* p, int64_t bytes) {
  const Vec* v = reinterpret_cast<const Vec*>(p);
  Vec s[8] = {};
  for (int64_t i = 0; i < bytes / 32; i += 8)
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) s[j] += v[i + j];
  for (int j = 1; j < 8; ++j) s[0] += s[j];
  keep(s[0]);
}

PHLOX_BENCH_TARGET void copy_range(char* to, const char* from, int64_t bytes) {
  Vec* d = reinterpret_cast<Vec*>(to);
  const Vec* s = reinterpret_cast<const Vec*>(from);
  for (int64_t i = 0; i < bytes / 32; i += 4)
#pragma GCC unroll 8
    for (int j = 0; j < 4; ++j) d[i + j] = s[i + j];
  keep(*to);
}

#if defined(__x86_64__)
PHLOX_BENCH_TARGET void stream_range(char* to, const char* from, int64_t bytes) {
  float* d = reinterpret_cast<float*>(to);
  const Vec* s = reinterpret_cast<const Vec*>(from);
  for (int64_t i = 0; i < bytes / 32; i += 4)
#pragma GCC unroll 8
    for (int j = 0; j < 4; ++j) _mm256_stream_ps(d + (i + j) * 8, s[i + j]);
  _mm_sfence();
}
#endif

void bench_memory(int threads) {
  const int saved = team().num_threads();
  team().set_num_threads(threads);
  for (int64_t mib : {1, 4, 16, 64}) {
    const int64_t bytes = mib << 20, grain = 64 << 10;
    char* a = static_cast<char*>(cpu_device().alloc(bytes, 0));
    char* b = static_cast<char*>(cpu_device().alloc(bytes, 0));
    cpu_device().fill_zero(a, bytes, 0);
    cpu_device().fill_zero(b, bytes, 0);
    auto report = [&](const char* name, double moved, auto f) {
      const Times t = measure([&] { team().run(bytes, grain, f); });
      Line(name)
          .with("bytes", bytes)
          .with("threads", threads)
          .with("gb_per_s", moved / t.best * 1e-9)
          .with("gb_per_s_median", moved / t.median * 1e-9);
    };
    // Copies move two bytes for each: one read, one written.
    report("read", double(bytes), [&](int64_t i, int64_t e) { read_range(a + i, e - i); });
    report("copy", 2.0 * double(bytes), [&](int64_t i, int64_t e) { copy_range(b + i, a + i, e - i); });
#if defined(__x86_64__)
    report("copy_streaming", 2.0 * double(bytes),
           [&](int64_t i, int64_t e) { stream_range(b + i, a + i, e - i); });
#endif
    report("memcpy", 2.0 * double(bytes),
           [&](int64_t i, int64_t e) { std::memcpy(b + i, a + i, size_t(e - i)); });
    cpu_device().free(a, 0);
    cpu_device().free(b, 0);
  }
  team().set_num_threads(saved);
}

// What a user sees who writes a new buffer of this size: first from the system, then from the arena again.
void bench_pages() {
  const int64_t bytes = 64 << 20;
  cpu_device().release_cached();
  auto use = [&] {
    const double start = now();
    void* p = cpu_device().alloc(bytes, 0);
    cpu_device().fill_zero(p, bytes, 0);
    const double t = now() - start;
    cpu_device().free(p, 0);
    return t;
  };
  const double fresh = use();
  double reused = use();
  for (int i = 0; i < 10; ++i) reused = std::min(reused, use());
  Line("alloc_and_zero").with("bytes", bytes).with("fresh_ms", fresh * 1e3).with("reused_ms", reused * 1e3);
}

// --- Fork-join. The body is arithmetic on registers, so that only coordination differs.

void work(int64_t steps) {
  float x = 1;
  for (int64_t i = 0; i < steps; ++i) {
    x = x * 0.999f + 0.001f;
    asm volatile("" : "+x"(x));
  }
  keep(x);
}

void bench_fork_join(int threads) {
  const double step = measure([] { work(100000); }).best / 100000;
  constexpr int64_t items = 64;
  for (double body_us : {0.0, 2.8, 11.2}) {
    const int64_t steps = int64_t(body_us * 1e-6 / step) / items;
    auto piece = [&](int64_t b, int64_t e) {
      if (steps) work(steps * (e - b));
    };
    const Times serial = measure([&] { piece(0, items); });
    const Times joined = measure([&] { team().run(items, 1, piece); });
    Line("fork_join")
        .with("threads", threads)
        .with("body_us", body_us)
        .with("serial_us", serial.median * 1e6)
        .with("median_us", joined.median * 1e6)
        .with("best_us", joined.best * 1e6)
        .with("p99_us", joined.p99 * 1e6);
  }
  // The same when the workers have gone to sleep.
  const int64_t steps = int64_t(200e-6 / step) / items;
  std::vector<double> t;
  for (int i = 0; i < 100; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const double start = now();
    team().run(items, 1, [&](int64_t b, int64_t e) { work(steps * (e - b)); });
    t.push_back(now() - start);
  }
  std::sort(t.begin(), t.end());
  Line("fork_join_asleep")
      .with("threads", threads)
      .with("body_us", 200)
      .with("median_us", t[50] * 1e6)
      .with("best_us", t[0] * 1e6)
      .with("p99_us", t[99] * 1e6);
}

// --- Allocation

void bench_alloc() {
  for (int64_t bytes : {int64_t(64), int64_t(1000), int64_t(65536), int64_t(1) << 20, int64_t(64) << 20}) {
    const int rounds = bytes > 65536 ? 100 : 1000;
    const Times arena = measure([&] {
      for (int i = 0; i < rounds; ++i) {
        void* p = cpu_device().alloc(bytes, 0);
        keep(p);
        cpu_device().free(p, 0);
      }
    });
    const Times heap = measure([&] {
      for (int i = 0; i < rounds; ++i) {
        void* p = std::malloc(size_t(bytes));
        keep(p);
        std::free(p);
      }
    });
    Line("alloc_free")
        .with("bytes", bytes)
        .with("ns", arena.best / rounds * 1e9)
        .with("ns_median", arena.median / rounds * 1e9)
        .with("malloc_ns", heap.best / rounds * 1e9);
  }
  std::vector<void*> live(1000);
  const Times many = measure([&] {
    for (void*& p : live) p = cpu_device().alloc(200, 0);
    for (void* p : live) cpu_device().free(p, 0);
  });
  Line("alloc_free_1000_live")
      .with("bytes", 200)
      .with("ns", many.best / 1000 * 1e9)
      .with("ns_median", many.median / 1000 * 1e9);
}

void bench_all() {
  const int threads = team().num_threads();
  {
    Line line("machine");
    line.with("target", target_text(cpu_device().target())).with("threads", threads);
    const std::string load = read_file("/proc/loadavg");
    line.with("load", load.substr(0, load.find(' ')));
  }
  const std::vector<int> counts = threads > 1 ? std::vector<int>{1, threads} : std::vector<int>{1};
#if defined(__x86_64__)
  for (int n : counts) {
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
      bench_fma("avx2", fma_avx2, fma_avx2_flop, n);
    if (__builtin_cpu_supports("avx512f")) bench_fma("avx512", fma_avx512, fma_avx512_flop, n);
  }
  if (!__builtin_cpu_supports("avx2")) return;
#endif
  bench_pages();
  for (int n : counts) bench_memory(n);
  if (threads > 1) bench_fork_join(threads);
  bench_alloc();
}

}  // namespace
}  // namespace phlox

int main(int argc, char** argv) {
  if (argc > 1) {
    const char* end = argv[1] + std::strlen(argv[1]);
    const auto r = std::from_chars(argv[1], end, phlox::seconds_each);
    if (argc > 2 || r.ec != std::errc() || r.ptr != end || !(phlox::seconds_each > 0)) {
      std::fputs("usage: cpu_peaks [seconds per measurement]\n", stderr);
      return 2;
    }
  }
  try {
    phlox::bench_all();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
