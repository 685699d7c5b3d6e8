#include "device/cpu/arena.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "base/error.h"
#include "base/sanitizer.h"

namespace phlox {

static Arena& arena() { return Arena::host(); }
static constexpr int64_t mib = 1 << 20;

namespace {
// A block whose bytes say who owns it.
struct Filled {
  unsigned char* p = nullptr;
  int64_t bytes = 0;
  unsigned char mark = 0;
  static Filled make(int64_t bytes, unsigned char mark) {
    Filled f{static_cast<unsigned char*>(arena().alloc(bytes)), bytes, mark};
    EXPECT_EQ(reinterpret_cast<uintptr_t>(f.p) % 64, 0u);
    std::memset(f.p, mark, size_t(bytes));
    return f;
  }
  bool intact() const {
    for (int64_t i = 0; i < bytes; ++i)
      if (p[i] != mark) return false;
    return true;
  }
};
}  // namespace

static int64_t random_size(std::mt19937& rng) {
  switch (rng() % 8) {
    case 0: return 1 + rng() % 200000;
    case 1: return rng() % 20 ? 1 + rng() % 65536 : 1 + rng() % (3 * mib);
    default: return 1 + rng() % 2000;
  }
}

TEST(Arena, zero_bytes_and_null) {
  EXPECT_EQ(arena().alloc(0), nullptr);
  arena().free(nullptr);
}

TEST(Arena, every_size_fits_aligned_and_within_a_quarter) {
  for (int64_t n = 1; n < 4 * mib; n += n < 5000 ? 7 : n / 13) {
    void* p = arena().alloc(n);
    ASSERT_EQ(reinterpret_cast<uintptr_t>(p) % 64, 0u);
    const int64_t got = arena().block_bytes(p);
    EXPECT_GE(got, n);
    if (n > 512) {
      EXPECT_LE(double(got - n), 0.25 * double(got)) << n;
    }
    std::memset(p, 1, size_t(n));
    arena().free(p);
  }
  arena().verify();
}

TEST(Arena, random_program_with_patterns) {
  std::mt19937 rng(3);
  std::vector<Filled> live;
  const int64_t before = arena().stats().allocated_bytes;
  for (int step = 0; step < 20000; ++step) {
    if (rng() % 100 < 52 && live.size() < 500) {
      live.push_back(Filled::make(random_size(rng), static_cast<unsigned char>(rng())));
    } else if (!live.empty()) {
      const size_t i = rng() % live.size();
      ASSERT_TRUE(live[i].intact()) << "step " << step;
      arena().free(live[i].p);
      live[i] = live.back();
      live.pop_back();
    }
    if (step % 2000 == 1999) {
      arena().release_cached();
      arena().verify();
    }
  }
  int64_t held = 0;
  for (Filled& f : live) held += arena().block_bytes(f.p);
  EXPECT_EQ(arena().stats().allocated_bytes - before, held);
  for (Filled& f : live) {
    ASSERT_TRUE(f.intact());
    arena().free(f.p);
  }
  EXPECT_EQ(arena().stats().allocated_bytes, before);
  arena().verify();
}

TEST(Arena, threads_free_each_others_blocks) {
  const int64_t before = arena().stats().allocated_bytes;
  constexpr int threads = 4, steps = 4000;
  std::mutex mutex;
  std::vector<Filled> pool;
  std::atomic<int> damaged{0};
  std::vector<std::thread> t;
  for (int n = 0; n < threads; ++n)
    t.emplace_back([&, n] {
      std::mt19937 rng(uint32_t(n) + 10);
      for (int step = 0; step < steps; ++step) {
        if (rng() % 2) {
          const Filled f = Filled::make(random_size(rng), static_cast<unsigned char>(rng()));
          std::lock_guard lock(mutex);
          pool.push_back(f);
        } else {
          Filled f;
          {
            std::lock_guard lock(mutex);
            if (pool.empty()) continue;
            const size_t i = rng() % pool.size();
            f = pool[i];
            pool[i] = pool.back();
            pool.pop_back();
          }
          damaged += !f.intact();
          arena().free(f.p);
        }
        if (n == 0 && step % 500 == 0) arena().release_cached();
      }
    });
  for (auto& x : t) x.join();
  for (Filled& f : pool) {
    damaged += !f.intact();
    arena().free(f.p);
  }
  EXPECT_EQ(damaged.load(), 0);
  EXPECT_EQ(arena().stats().allocated_bytes, before);
  arena().verify();
}

TEST(Arena, limit_refuses_with_an_error_and_recovers) {
  arena().release_cached();
  const int64_t old_limit = arena().limit(), used = arena().stats().reserved_bytes;
  arena().set_limit(used + 64 * mib);
  for (int round = 0; round < 100; ++round) {
    std::vector<void*> blocks;
    try {
      while (true) {
        ASSERT_LT(blocks.size(), 200u);
        blocks.push_back(arena().alloc(mib + round * 1000));
      }
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::out_of_memory);
      const std::string text = e.what();
      EXPECT_TRUE(text.find(cat("out of memory; got a request for ", mib + round * 1000, " bytes; ")) !=
                  text.npos)
          << text;
      EXPECT_TRUE(text.find("the largest free block is ") != text.npos) << text;
    }
    EXPECT_GE(blocks.size(), 55u) << round;
    EXPECT_LE(arena().stats().reserved_bytes, used + 64 * mib);
    for (void* p : blocks) arena().free(p);
    // The freed small blocks become one large one again.
    void* p = arena().alloc(60 * mib);
    arena().free(p);
    // Small blocks come from the same memory.
    blocks.clear();
    EXPECT_THROW(while (true) blocks.push_back(arena().alloc(40000)), Error);
    EXPECT_GE(int64_t(blocks.size()) * 40000, 48 * mib);
    for (void* b : blocks) arena().free(b);
  }
  EXPECT_THROW(arena().alloc(int64_t(1) << 60), Error);
  arena().set_limit(old_limit);
  arena().verify();
}

TEST(Arena, statistics) {
  arena().release_cached();
  const MemoryStats before = arena().stats();
  arena().reset_peaks();
  void* p = arena().alloc(10 * mib);
  const MemoryStats with = arena().stats();
  EXPECT_EQ(with.allocated_bytes - before.allocated_bytes, arena().block_bytes(p));
  EXPECT_EQ(with.alloc_count - before.alloc_count, 1);
  EXPECT_GE(with.reserved_bytes, with.allocated_bytes);
  arena().free(p);
  const MemoryStats after = arena().stats();
  EXPECT_EQ(after.allocated_bytes, before.allocated_bytes);
  EXPECT_GE(after.peak_allocated_bytes, before.allocated_bytes + 10 * mib);
  arena().release_cached();
  arena().reset_peaks();
  EXPECT_LT(arena().stats().peak_allocated_bytes, before.allocated_bytes + 10 * mib);
}

#if !PHLOX_ASAN && !PHLOX_TSAN
TEST(Arena, reuse_causes_no_page_faults) {
  auto faults = [] {
    struct rusage u;
    ::getrusage(RUSAGE_THREAD, &u);
    return u.ru_minflt + u.ru_majflt;
  };
  auto use = [](int64_t bytes) {
    auto* p = static_cast<volatile char*>(arena().alloc(bytes));
    for (int64_t i = 0; i < bytes; i += 4096) p[i] = 1;
    arena().free(const_cast<char*>(p));
  };
  use(64 * mib);
  const long before = faults();
  for (int64_t bytes : {64 * mib, 63 * mib, 10 * mib, 100000 * int64_t(1), 64 * mib}) use(bytes);
  EXPECT_LE(faults() - before, 2);
}

TEST(Arena, release_returns_memory_to_the_system) {
  auto resident = [] {
    FILE* f = std::fopen("/proc/self/statm", "r");
    long total = 0, pages = 0;
    const int n = std::fscanf(f, "%ld %ld", &total, &pages);
    std::fclose(f);
    return n == 2 ? pages * 4096l : 0l;
  };
  void* p = arena().alloc(64 * mib);
  std::memset(p, 1, size_t(64 * mib));
  const long with = resident();
  arena().free(p);
  EXPECT_GE(resident(), with - mib);
  arena().release_cached();
  EXPECT_LE(resident(), with - 60 * mib);
}

TEST(ArenaDeathTest, misuse_of_large_blocks_stops_the_process) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        void* p = arena().alloc(mib);
        arena().free(p);
        arena().free(p);
      },
      "freed before");
  EXPECT_DEATH(arena().free(static_cast<char*>(arena().alloc(mib)) + 64), "not an allocated block");
  EXPECT_DEATH(
      {
        int x;
        arena().free(&x);
      },
      "not the arena's");
}
#endif

#if !PHLOX_TSAN
TEST(Arena, works_in_a_forked_child_while_other_threads_allocate) {
  std::atomic<bool> stop{false};
  std::thread busy([&] {
    std::mt19937 rng(1);
    while (!stop) arena().free(arena().alloc(random_size(rng)));
  });
  for (int i = 0; i < 10; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::alarm(20);
      for (int64_t n : {100, 100000, 5000000}) std::memset(arena().alloc(n), 1, size_t(n));
      ::_exit(0);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  stop = true;
  busy.join();
}
#endif

TEST(Arena, byte_counts_are_parsed_strictly) {
  EXPECT_EQ(parse_bytes("12345", "x"), 12345);
  EXPECT_EQ(parse_bytes("2K", "x"), 2048);
  EXPECT_EQ(parse_bytes("3G", "x"), int64_t(3) << 30);
  for (const char* bad :
       {"0", "-1", "1X", "1KB", "K", "1.5G", "99999999999999999999", "9223372036854775807K"})
    EXPECT_THROW(parse_bytes(bad, "x"), Error) << bad;
  EXPECT_GT(available_memory(), 64 * mib);
}

}  // namespace phlox
