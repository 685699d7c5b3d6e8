// cpu-peaks: the ceilings of this machine that everything else is measured against, and the price of the runtime's own
// parts. Lines (threads: PHLOX_NUM_THREADS, which bench/run sets for -t1):
//   fma                                   f32 operations a second, two a fused multiply-add
//   read-SIZE, copy-SIZE, add-SIZE        bytes a second, read and written, of arrays of SIZE each: sums; b = a; c = a + b.
//                                         Plain and streaming stores are both tried: the faster counts
//   fork-join, fork-join-asleep           ns of a job of the team with an empty body; after a pause that lets workers sleep
//   alloc-SIZE, pages-SIZE                ns of a block from the arena and back; of one that is written throughout, from fresh pages
#include <chrono>
#include <memory>
#include <thread>
#include <vector>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/team.h"
#include "bench/harness.h"
#include "device/device.h"

namespace phlox {
namespace {

// --- FMA peak: independent chains, as many as registers allow, so that latency is hidden.

constexpr int64_t fma_rounds = 20000;

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) double fma_avx2() {
  constexpr int chains = 12;
  __m256 a[chains];
  for (int c = 0; c < chains; ++c) a[c] = _mm256_set1_ps(float(c));
  __m256 x = _mm256_set1_ps(0.999f), y = _mm256_set1_ps(0.001f);
  asm volatile("" : "+x"(x), "+x"(y));
  for (int64_t i = 0; i < fma_rounds; ++i)
#pragma GCC unroll 12
    for (int c = 0; c < chains; ++c) a[c] = _mm256_fmadd_ps(a[c], x, y);
  for (int c = 1; c < chains; ++c) a[0] = _mm256_add_ps(a[0], a[c]);
  bench::keep(a[0]);
  return 2.0 * 8 * chains * fma_rounds;
}
__attribute__((target("avx512f"))) double fma_avx512() {
  constexpr int chains = 24;
  __m512 a[chains];
  for (int c = 0; c < chains; ++c) a[c] = _mm512_set1_ps(float(c));
  __m512 x = _mm512_set1_ps(0.999f), y = _mm512_set1_ps(0.001f);
  asm volatile("" : "+v"(x), "+v"(y));
  for (int64_t i = 0; i < fma_rounds; ++i)
#pragma GCC unroll 24
    for (int c = 0; c < chains; ++c) a[c] = _mm512_fmadd_ps(a[c], x, y);
  for (int c = 1; c < chains; ++c) a[0] = _mm512_add_ps(a[0], a[c]);
  bench::keep(a[0]);
  return 2.0 * 16 * chains * fma_rounds;
}
double fma() { return __builtin_cpu_supports("avx512f") ? fma_avx512() : fma_avx2(); }
#define PHLOX_BENCH_TARGET __attribute__((target("avx2")))
#else
double fma() { return 0; }
#define PHLOX_BENCH_TARGET
#endif

double fma_rate() {
  const int threads = team().num_threads();
  std::vector<double> done(static_cast<size_t>(threads));
  // Some pieces in a row per thread, so that a worker that starts late does not spoil the figure.
  const double seconds = bench::per_call([&] {
    team().run(threads, 1, [&](int64_t b, int64_t e) {
      for (; b < e; ++b) {
        done[size_t(b)] = 0;
        for (int i = 0; i < 8; ++i) done[size_t(b)] += fma();
      }
    });
  });
  double all = 0;
  for (double d : done) all += d;
  return all / seconds;
}

// --- Memory

typedef float Vec __attribute__((vector_size(32), aligned(32)));
const Vec* vectors(const char* p) { return reinterpret_cast<const Vec*>(p); }
Vec* vectors(char* p) { return reinterpret_cast<Vec*>(p); }

PHLOX_BENCH_TARGET void read_range(const char* p, int64_t bytes) {
  Vec s[8] = {};
  for (int64_t i = 0; i < bytes / 32; i += 8)
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) s[j] += vectors(p)[i + j];
  for (int j = 1; j < 8; ++j) s[0] += s[j];
  bench::keep(s[0]);
}
template <bool streaming>
PHLOX_BENCH_TARGET inline void store(Vec* to, Vec v) {
#if defined(__x86_64__)
  if constexpr (streaming) return _mm256_stream_ps(reinterpret_cast<float*>(to), v);
#endif
  *to = v;
}
template <bool streaming>
PHLOX_BENCH_TARGET void copy_range(char* to, const char* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes / 32; i += 4)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) store<streaming>(vectors(to) + i + j, vectors(from)[i + j]);
  bench::keep(*to);
}
template <bool streaming>
PHLOX_BENCH_TARGET void add_range(char* to, const char* a, const char* b, int64_t bytes) {
  for (int64_t i = 0; i < bytes / 32; i += 4)
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) store<streaming>(vectors(to) + i + j, vectors(a)[i + j] + vectors(b)[i + j]);
  bench::keep(*to);
}

struct Block {
  char* p;
  explicit Block(int64_t bytes) : p(static_cast<char*>(cpu_device().alloc(bytes, 0))) { cpu_device().fill_zero(p, bytes, 0); }
  Block(const Block&) = delete;
  ~Block() { cpu_device().free(p, 0); }
};

bench::Round memory(const std::string& what, int64_t bytes) {
  auto block = [&] { return std::make_shared<Block>(bytes); };
  const auto a = block(), b = what == "read" ? a : block(), c = what == "add" ? block() : a;
  auto rate = [=](double arrays, auto f) {
    return arrays * double(bytes) / bench::per_call([&] { team().run(bytes, 64 << 10, f); }, 0.03);
  };
  if (what == "read") return [=] { return rate(1, [&](int64_t i, int64_t e) { read_range(a->p + i, e - i); }); };
  if (what == "copy")
    return [=] {
      return std::max(rate(2, [&](int64_t i, int64_t e) { copy_range<false>(b->p + i, a->p + i, e - i); }),
                      rate(2, [&](int64_t i, int64_t e) { copy_range<true>(b->p + i, a->p + i, e - i); }));
    };
  return [=] {
    return std::max(rate(3, [&](int64_t i, int64_t e) { add_range<false>(c->p + i, a->p + i, b->p + i, e - i); }),
                    rate(3, [&](int64_t i, int64_t e) { add_range<true>(c->p + i, a->p + i, b->p + i, e - i); }));
  };
}

// --- The runtime's parts

double fork_join_asleep() {
  double sum = 0;
  constexpr int times = 20;
  for (int i = 0; i < times; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const double start = bench::now();
    team().run(64, 1, [](int64_t, int64_t) {});
    sum += bench::now() - start;
  }
  return 1e9 * sum / times;
}

double fresh_pages(int64_t bytes) {
  cpu_device().release_cached();
  const double start = bench::now();
  const Block block(bytes);
  return 1e9 * (bench::now() - start);
}

bench::Round prepare(std::string line) {
  if (line.ends_with("-t1")) line.resize(line.size() - 3);
  if (line == "fma") return fma_rate;
  if (line == "fork-join") return [] { return 1e9 * bench::per_call([] { team().run(64, 1, [](int64_t, int64_t) {}); }); };
  if (line == "fork-join-asleep") return fork_join_asleep;
  const auto [what, bytes] = bench::sized_name(line);
  if (bytes <= 0) return nullptr;
  if (what == "read" || what == "copy" || what == "add") return memory(what, bytes);
  if (what == "alloc")
    return [n = bytes] { return 1e9 * bench::per_call([&] { cpu_device().free(cpu_device().alloc(n, 0), 0); }); };
  if (what == "pages") return [n = bytes] { return fresh_pages(n); };
  return nullptr;
}

}  // namespace
}  // namespace phlox

int main() { return bench::serve(phlox::prepare); }
