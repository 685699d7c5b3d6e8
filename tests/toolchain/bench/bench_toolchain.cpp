// Times of the toolchain: opening the plug-in, compiling kernels one by one, in batches and on two threads,
// loading. usage: bench_toolchain [kernels]   (prints a table; medians over rounds, each with kernels not
// seen before)
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "../kernels.h"
#include "base/error.h"
#include "program/code_arena.h"
#include "toolchain/clang_plugin.h"
#include "toolchain/kernel_store.h"
#include "toolchain/spawn_cc.h"

using namespace phlox;
using namespace phlox::test;

namespace {

double now_ms() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

template <class F>
void report(const char* what, int rounds, double per, F&& f) {
  std::vector<double> t;
  for (int i = 0; i < rounds; ++i) {
    const double start = now_ms();
    f();
    t.push_back((now_ms() - start) / per);
  }
  std::sort(t.begin(), t.end());
  std::printf("  %-44s %9.3f ms  [min %.3f]\n", what, t[t.size() / 2], t[0]);
}

int serial = 0;
std::vector<KernelText> fresh(int n, int bits) {
  std::vector<KernelText> r;
  for (int i = 0; i < n; ++i) {
    const int k = serial++;
    r.push_back(k % 4 == 3 ? mixed(entry_name(k), bits) : numbered(k, bits));
  }
  return r;
}

void time_compiler(Compiler& cc, const Target& t, int rounds) {
  std::printf("%s, %s\n", cc.name(), t.arch.c_str());
  report("first", 1, 1, [&] { cc.compile_each(fresh(1, t.vector_bits), t); });
  report("one kernel (map)", rounds, 1, [&] {
    const KernelText k = numbered(serial++, t.vector_bits);
    cc.compile_each({&k, 1}, t);
  });
  report("one kernel (branches, tables)", rounds, 1, [&] {
    const KernelText k = mixed(entry_name(serial++), t.vector_bits);
    cc.compile_each({&k, 1}, t);
  });
  report("batch of 25, per kernel", std::max(3, rounds / 5), 25,
         [&] { cc.compile_each(fresh(25, t.vector_bits), t); });
  report("2 threads, a batch of 25 each, per kernel", std::max(3, rounds / 5), 50, [&] {
    const auto a = fresh(25, t.vector_bits), b = fresh(25, t.vector_bits);
    std::thread other([&] { cc.compile_each(a, t); });
    cc.compile_each(b, t);
    other.join();
  });
}

// A second process: everything from disk; and a lookup of what is in memory.
void time_store(Compiler& cc, const Target& t) {
  char folder[] = "/tmp/phlox-bench-XXXXXX";
  if (!::mkdtemp(folder)) return;
  const std::vector<KernelText> texts = fresh(500, t.vector_bits);
  {
    DiskCache disk({folder, DiskCache::Mode::read_write, int64_t(64) << 20});
    KernelStore store({.compiler = &cc, .disk = &disk});
    report("store: 500 kernels, cold, per kernel", 1, 500, [&] { store.get(texts, t); });
    report("store: found in memory, per kernel", 20, 500, [&] { store.get(texts, t); });
    report("store: find() of one in memory (x1000)", 20, 1, [&] {
      for (int i = 0; i < 1000; ++i) store.find(texts[size_t(i) % 500], t);
    });
  }
  report("store: from disk to callable, per kernel", 10, 500, [&] {
    DiskCache disk({folder, DiskCache::Mode::read_write, int64_t(64) << 20});
    KernelStore store({.compiler = &cc, .disk = &disk});
    store.get(texts, t);
  });
  std::filesystem::remove_all(folder);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 20;
  const Target t = host_target();
  try {
    std::string why;
    if (auto plugin = ClangPlugin::find(why)) {
      struct stat st;
      ::stat(plugin->path().c_str(), &st);
      std::printf("plug-in %s: %.1f MB\n", plugin->path().c_str(), double(st.st_size) / 1e6);
      plugin->open();
      std::printf("  opened in %.2f ms\n", double(plugin->times().open_us) / 1e3);
      time_compiler(*plugin, t, rounds);
      const ClangPlugin::Times s = plugin->times();
      std::printf("  %d compiles: parse %.0f, passes %.0f, code %.0f ms in all\n", int(s.compiles),
                  double(s.parse_us) / 1e3, double(s.passes_us) / 1e3, double(s.code_us) / 1e3);
      const std::vector<Image> images = plugin->compile_each(fresh(25, t.vector_bits), t);
      size_t bytes = 0;
      for (const Image& i : images) bytes += i.bytes.size();
      std::printf("  image bytes per kernel: %zu\n", bytes / images.size());
      time_store(*plugin, t);
      CodeArena arena;
      report("load an image into the arena (x1000)", 10, 1, [&] {
        for (int i = 0; i < 1000; ++i) arena.load(images[size_t(i) % images.size()]);
      });
    } else {
      std::printf("no plug-in: %s\n", why.c_str());
    }
    for (const char* name : {"gcc", "clang-19"})
      if (auto cc = SpawnCc::find(name)) time_compiler(*cc, t, std::max(3, rounds / 4));
  } catch (const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
