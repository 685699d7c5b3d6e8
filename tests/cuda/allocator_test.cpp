#include <gtest/gtest.h>

#include <thread>

#include "base/error.h"
#include "base/sanitizer.h"
#include "mock_memory.h"

namespace phlox {
namespace {

constexpr int64_t mib = 1 << 20;
constexpr int slowdown = PHLOX_ASAN || PHLOX_TSAN ? 10 : 1;  // of sanitized builds, which run fewer programs

struct Held {
  void* p;
  int64_t bytes;
  StreamId stream;
  std::vector<StreamId> uses;
};

struct ProgramOptions {
  bool tell_uses = true;  // false: the program hides its cross-stream uses, as a buggy caller would
  bool capture = false;
  bool caching = true;
};

// A random program over streams: allocate, use here and there with proper events, free in the order of any
// stream.
class RandomProgram {
 public:
  RandomProgram(uint64_t seed, ProgramOptions options)
      : options_(options),
        random_(seed),
        memory_(96 * mib, seed * 77 + 1),
        allocator_(memory_,
                   {.name = "mock", .limit_bytes = seed % 3 ? 0 : 48 * mib, .caching = options.caching}) {}

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      switch (below(8)) {
        case 0:
        case 1:
        case 2: allocate(); break;
        case 3:
        case 4: use(); break;
        case 5:
        case 6: release(); break;
        default: memory_.run_some();
      }
      if (options_.capture && below(8) == 0) toggle_capture();
      if (below(200) == 0) allocator_.release_cached();
    }
    if (routed_) toggle_capture();
    while (!held_.empty()) release();
    while (!graphs_.empty()) destroy_graph();
    allocator_.release_cached();
  }
  void expect_clean() {
    EXPECT_EQ(allocator_.find_corruption(), "");
    const AllocatorStats s = allocator_.stats();
    EXPECT_EQ(s.allocated_bytes, 0);
    EXPECT_EQ(s.pending_bytes, 0);
    EXPECT_EQ(memory_.marks_open, 0);
    EXPECT_EQ(s.reserved_bytes, 0);
    EXPECT_EQ(memory_.raw_live, 0);
  }
  const std::vector<std::string>& violations() const { return memory_.violations; }
  int64_t reuses() const { return allocator_.stats().hits; }

 private:
  uint64_t below(uint64_t n) { return random_() % n; }
  int64_t random_size() {
    switch (below(4)) {
      case 0: return int64_t(below(4096));
      case 1: return int64_t(below(mib));
      case 2: return int64_t(below(8 * mib));
      default: return int64_t(1 + below(3)) * 3 * mib;
    }
  }
  void allocate() {
    const StreamId stream = below(8) == 0 && !routed_ ? host_stream : StreamId(below(MockMemory::streams));
    const int64_t bytes = random_size();
    try {
      void* p = allocator_.alloc(bytes, stream);
      memory_.handed_out(p, std::max<int64_t>(bytes, 1), stream);
      memory_.claim(routed_ && stream == stream_ ? graph_ : 0, p, std::max<int64_t>(bytes, 1));
      held_.push_back({p, bytes, stream, {}});
      if (stream != host_stream) memory_.used(p, int(stream));
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::out_of_memory);
      EXPECT_EQ(allocator_.find_corruption(), "");
      if (!held_.empty()) release();
    }
  }
  void use() {
    if (held_.empty()) return;
    Held& h = held_[below(held_.size())];
    const StreamId s = StreamId(below(MockMemory::streams));
    if (h.stream != host_stream && s != h.stream) memory_.order(int(h.stream), int(s));
    memory_.used(h.p, int(s));
    if (options_.tell_uses) allocator_.record_use(h.p, s);
    h.uses.push_back(s);
  }
  void release() {
    if (held_.empty()) return;
    const size_t i = below(held_.size());
    Held h = held_[i];
    held_[i] = held_.back();
    held_.pop_back();
    const StreamId s =
        options_.tell_uses && !h.uses.empty() && below(2) ? h.uses[below(h.uses.size())] : h.stream;
    memory_.given_back(h.p);
    EXPECT_TRUE(allocator_.free(h.p, s));
    EXPECT_FALSE(allocator_.free(h.p, s));
  }
  // Between begin and end of a capture, the stream cannot be marked. Several graphs live at a time.
  void toggle_capture() {
    if (routed_) {
      memory_.capturing[stream_] = false;
      allocator_.unroute(stream_);
      graphs_.push_back({graph_, pool_});
      while (graphs_.size() > below(4)) destroy_graph();
    } else {
      stream_ = StreamId(below(MockMemory::streams));
      ++graph_;
      pool_ = allocator_.create_pool();
      allocator_.route(stream_, pool_);
      memory_.capturing[stream_] = true;
    }
    routed_ = !routed_;
  }
  void destroy_graph() {
    const size_t i = below(graphs_.size());
    memory_.unclaim(graphs_[i].first);
    allocator_.release_pool(graphs_[i].second);
    graphs_[i] = graphs_.back();
    graphs_.pop_back();
  }

  ProgramOptions options_;
  std::mt19937_64 random_;
  MockMemory memory_;
  CachingAllocator allocator_;
  std::vector<Held> held_;
  std::vector<std::pair<int, PoolId>> graphs_;
  int graph_ = 0;
  bool routed_ = false;
  StreamId stream_ = 0;
  PoolId pool_ = 0;
};

int64_t run_programs(int count, ProgramOptions options, int* violations) {
  int64_t reuses = 0;
  for (int seed = 1; seed <= count; ++seed) {
    RandomProgram program(uint64_t(seed), options);
    program.run(options.capture ? 250 : 60);
    *violations += int(program.violations().size());
    if (options.tell_uses) {
      EXPECT_TRUE(program.violations().empty()) << "seed " << seed << ": " << program.violations().front();
      program.expect_clean();
    }
    reuses += program.reuses();
    if (testing::Test::HasFailure()) break;
  }
  return reuses;
}

}  // namespace

TEST(Allocator, random_stream_programs_have_no_unordered_reuse) {
  int violations = 0;
  const int64_t reuses = run_programs(50000 / slowdown, {}, &violations);
  EXPECT_EQ(violations, 0);
  EXPECT_GT(reuses, 100000 / slowdown);  // the programs do exercise the cache
}

TEST(Allocator, random_programs_with_captures) {
  int violations = 0;
  run_programs(4000 / slowdown, {.capture = true}, &violations);
  EXPECT_EQ(violations, 0);
}

TEST(Allocator, random_programs_without_caching) {
  int violations = 0;
  run_programs(3000 / slowdown, {.caching = false}, &violations);
  EXPECT_EQ(violations, 0);
}

TEST(Allocator, checker_sees_hidden_uses) {
  int violations = 0;
  run_programs(300, {.tell_uses = false}, &violations);
  EXPECT_GT(violations, 100);
}

TEST(Allocator, same_stream_reuse_is_immediate) {
  MockMemory memory(100 * mib);
  CachingAllocator a(memory);
  void* p = a.alloc(1000, 0);
  a.free(p, 0);
  EXPECT_EQ(a.alloc(1000, 0), p);
  void* q = a.alloc(1000, 1);
  EXPECT_NE(q, p);
  EXPECT_EQ(uintptr_t(p) % CachingAllocator::alignment, 0u);
  EXPECT_EQ(a.stats().marks, 0);
}

TEST(Allocator, other_stream_use_delays_reuse_until_done) {
  MockMemory memory(100 * mib);
  CachingAllocator a(memory);
  void* p = a.alloc(5 * mib, 0);
  memory.used(p, 1);
  a.record_use(p, 1);
  a.free(p, 0);
  EXPECT_EQ(a.stats().pending_bytes, 5 * mib);
  void* q = a.alloc(5 * mib, 0);
  EXPECT_NE(q, p);
  memory.quiesce();
  void* r = a.alloc(16 * mib, 0);  // a miss asks the marks
  EXPECT_EQ(a.stats().pending_bytes, 0);
  a.free(q, 0);
  a.free(r, 0);
  EXPECT_EQ(a.find_corruption(), "");
}

TEST(Allocator, out_of_memory_a_hundred_times_leaves_all_usable) {
  MockMemory memory(1024 * mib);
  CachingAllocator a(memory, {.name = "cuda:0"});
  std::vector<void*> kept;
  for (int i = 0; i < 100; ++i) kept.push_back(a.alloc(1000, 0));
  const int64_t before = a.stats().allocated_bytes;
  for (int cycle = 0; cycle < 100; ++cycle) {
    std::vector<void*> blocks;
    const int64_t size = (cycle % 7 + 1) * 3 * mib + cycle;
    try {
      for (;;) blocks.push_back(a.alloc(size, 0));
    } catch (const Error& e) {
      ASSERT_EQ(e.code(), ErrorCode::out_of_memory);
    }
    ASSERT_GE(double(int64_t(blocks.size()) * size), 0.97 * 1024 * mib) << cycle;
    for (void* p : blocks) a.free(p, 0);
    ASSERT_EQ(a.stats().allocated_bytes, before);
    ASSERT_EQ(a.find_corruption(), "");
    // The largest thing that ever fitted still fits.
    void* big = a.alloc(1000 * mib, 0);
    a.free(big, 0);
  }
  EXPECT_EQ(a.stats().failures, 100);
  for (void* p : kept) a.free(p, 0);
  a.release_cached();
  EXPECT_EQ(memory.raw_live, 0);
}

TEST(Allocator, out_of_memory_text) {
  MockMemory memory(64 * mib);
  CachingAllocator a(memory, {.name = "cuda:0", .limit_bytes = 32 * mib});
  void* p = a.alloc(19 * mib, 0);
  void* q = a.alloc(3 * mib, 1);
  try {
    a.alloc(int64_t(1) << 33, 0);
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(
        e.what(),
        "cuda:0 alloc: out of memory; got a request of 8 GiB; largest free block 1 MiB; allocated 22 MiB of "
        "24 MiB reserved; limit 32 MiB; mock; free tensors, use smaller batches or recompute activations; "
        "nothing was changed and smaller requests may still succeed");
  }
  EXPECT_THROW(a.alloc(INT64_MAX, 0), Error);
  a.free(p, 0);
  a.free(q, 1);
  EXPECT_NE(a.memory_summary().find("failures 2"), std::string::npos) << a.memory_summary();
  EXPECT_EQ(a.find_corruption(), "");
}

TEST(Allocator, reclaim_gives_other_sizes_their_memory) {
  MockMemory memory(64 * mib);
  CachingAllocator a(memory);
  void* p = a.alloc(40 * mib, 0);
  a.record_use(p, 2);
  a.free(p, 0);  // waits for stream 2, and belongs to stream 0
  void* q = a.alloc(50 * mib, 1);
  EXPECT_EQ(a.stats().reclaims, 1);
  EXPECT_EQ(a.stats().reserved_bytes, 50 * mib);
  a.free(q, 1);
}

TEST(Allocator, refuses_foreign_pointers) {
  MockMemory memory(64 * mib);
  CachingAllocator a(memory);
  int x = 0;
  EXPECT_FALSE(a.free(&x, 0));
  EXPECT_FALSE(a.record_use(&x, 0));
  void* p = a.alloc(0, 0);
  ASSERT_NE(p, nullptr);
  EXPECT_TRUE(a.owns(p));
  EXPECT_TRUE(a.free(p, 0));
  EXPECT_FALSE(a.owns(p));
}

TEST(Allocator, private_pool_keeps_its_memory) {
  MockMemory memory(256 * mib);
  CachingAllocator a(memory);
  const PoolId pool = a.create_pool();
  a.route(1, pool);
  memory.capturing[1] = true;
  void* p = a.alloc(30 * mib, 1);
  void* before = a.alloc(30 * mib, 0);
  a.free(p, 1);
  EXPECT_EQ(a.alloc(30 * mib, 1), p);  // inside one capture, order is the graph's
  a.record_use(before, 1);
  a.free(before, 0);  // cannot be marked on stream 1 now
  EXPECT_NE(a.alloc(30 * mib, 0), before);
  memory.capturing[1] = false;
  a.unroute(1);
  a.free(p, 1);
  EXPECT_NE(a.alloc(30 * mib, 1), p);
  EXPECT_NE(a.memory_summary().find("private pool 1: 1 segments"), std::string::npos);
  a.release_cached();
  EXPECT_NE(a.memory_summary().find("private pool 1"), std::string::npos);
  a.release_pool(pool);
  EXPECT_EQ(a.memory_summary().find("private pool"), std::string::npos);
  EXPECT_EQ(a.create_pool(), pool);
  EXPECT_EQ(a.find_corruption(), "");
}

TEST(Allocator, a_pool_number_becomes_free_once) {
  MockMemory memory(256 * mib);
  CachingAllocator a(memory);
  const PoolId pool = a.create_pool();
  void* p = a.alloc(30 * mib, 1, pool);
  a.record_use(p, 2);
  a.free(p, 1);
  memory.quiesce();
  a.release_pool(pool);  // the mark is done: the last segment goes inside this call
  EXPECT_EQ(a.create_pool(), pool);
  EXPECT_NE(a.create_pool(), pool);
}

TEST(Allocator, releasing_a_pool_leaves_other_caches) {
  MockMemory memory(256 * mib);
  CachingAllocator a(memory);
  a.free(a.alloc(30 * mib, 0), 0);
  const PoolId pool = a.create_pool();
  a.free(a.alloc(20 * mib, 0, pool), 0);
  a.release_pool(pool);
  EXPECT_EQ(a.stats().reserved_bytes, 30 * mib);
}

TEST(Allocator, threads) {
  struct Heap final : RawMemory {
    void* allocate(int64_t n) noexcept override { return std::aligned_alloc(256, size_t(n)); }
    void release(void* p, int64_t) noexcept override { std::free(p); }
    void quiesce() noexcept override {}
    uint64_t record(StreamId) noexcept override { return 1; }
    bool done(uint64_t) noexcept override { return true; }
    void wait(uint64_t) noexcept override {}
    void forget(uint64_t) noexcept override {}
  } heap;
  CachingAllocator a(heap);
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&a, t] {
      std::mt19937 random(t);
      std::vector<unsigned char*> held;
      for (int i = 0; i < 20000; ++i) {
        if (held.size() < 50 && random() % 2) {
          auto* p = static_cast<unsigned char*>(a.alloc(1 + random() % 5000, t % 2));
          *p = (unsigned char)(t + 1);
          held.push_back(p);
        } else if (!held.empty()) {
          ASSERT_EQ(*held.back(), t + 1);
          a.free(held.back(), random() % 3);
          held.pop_back();
        }
      }
      for (auto* p : held) a.free(p, 0);
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(a.find_corruption(), "");
  EXPECT_EQ(a.stats().allocated_bytes, 0);
}

TEST(Allocator, byte_text) {
  EXPECT_EQ(byte_text(0), "0 bytes");
  EXPECT_EQ(byte_text(1023), "1023 bytes");
  EXPECT_EQ(byte_text(1536), "1.5 KiB");
  EXPECT_EQ(byte_text(int64_t(79) << 30), "79 GiB");
}

}  // namespace phlox
