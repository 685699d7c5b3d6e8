// Graph capture on a real GPU; every test is skipped where there is none.
#include "base/event.h"
#include "gpu.h"

namespace phlox {
namespace {
constexpr int64_t mib = 1 << 20;

struct Step {  // out = 3 * (3 * a + b) + b through a temporary
  CudaDevice& d;
  Ref<Module> m;
  void* temporary = nullptr;
  void operator()(float* out, const float* a, const float* b, int64_t n, StreamId s) {
    temporary = d.alloc(n * 4, s);
    run(d, m->entry("k_add0"), {word(temporary), word(a), word(b), uint64_t(n)}, s, n);
    run(d, m->entry("k_add0"), {word(out), word(temporary), word(b), uint64_t(n)}, s, n);
    d.free(temporary, s);
  }
};
}  // namespace

TEST(CudaGraph, replays_read_new_inputs) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  Step step{d, build(d, {add_kernel(), fill_kernel()})};
  const int64_t n = 300000;
  Buffer<float> a(d, n), b(d, n), out(d, n);
  d.begin_capture(0);
  step(out.data(), a.data(), b.data(), n, 0);
  const Ref<GraphExec> graph = d.end_capture(0);
  EXPECT_EQ(graph->nodes(), 2);
  // Eager allocations of the same size never get the graph's temporary.
  std::vector<void*> others;
  for (int i = 0; i < 20; ++i) {
    others.push_back(d.alloc(n * 4, 0));
    EXPECT_NE(others.back(), step.temporary);
    run(d, step.m->entry("k_f111"), {word(others.back()), uint64_t(n), 0x7fc00000}, 0, n);
  }
  for (int i = 0; i < 10; ++i) {
    a.put(std::vector<float>(size_t(n), float(i)));
    b.put(std::vector<float>(size_t(n), float(100 * i)));
    d.launch(*graph, 0);
    EXPECT_EQ(out.get(), std::vector<float>(size_t(n), 3 * (3 * float(i) + float(100 * i)) + float(100 * i)));
  }
  for (void* p : others) d.free(p, 0);
}

TEST(CudaGraph, updates_in_place_when_the_shape_is_the_same) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  Step step{d, build(d, {add_kernel()})};
  const int64_t n = 1000;
  Buffer<float> a(d, std::vector<float>(size_t(n), 1)), b(d, std::vector<float>(size_t(n), 2)), out(d, n),
      other(d, n);
  d.begin_capture(0);
  step(out.data(), a.data(), b.data(), n, 0);
  const Ref<GraphExec> graph = d.end_capture(0);
  d.begin_capture(0, graph->pool());
  step(other.data(), b.data(), a.data(), n, 0);
  EXPECT_TRUE(d.end_capture(0, *graph));
  d.launch(*graph, 0);
  EXPECT_EQ(other.get(), std::vector<float>(size_t(n), 3 * (3 * 2 + 1) + 1));
  d.begin_capture(0, graph->pool());
  step(other.data(), a.data(), b.data(), n, 0);
  step(out.data(), a.data(), b.data(), n, 0);
  EXPECT_FALSE(d.end_capture(0, *graph));
  EXPECT_EQ(graph->nodes(), 4);
  EXPECT_EQ(recent_events().back().kind, EventKind::capture);
  d.launch(*graph, 0);
  EXPECT_EQ(out.get(), std::vector<float>(size_t(n), 3 * (3 * 1 + 2) + 2));
}

TEST(CudaGraph, streams_join_by_waiting) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  const Ref<Module> m = build(d, {fill_kernel(), add_kernel()});
  const StreamId s = d.create_stream();
  const int64_t n = 100000;
  Buffer<float> out(d, n);
  Buffer<unsigned> a(d, n), b(d, n);
  d.begin_capture(0);
  d.wait_event(s, d.record_event(0));
  EXPECT_TRUE(d.is_capturing(s));
  run(d, m->entry("k_f111"), {word(a.data()), uint64_t(n), 0x3f800000}, 0, n);  // 1.0f
  run(d, m->entry("k_f111"), {word(b.data()), uint64_t(n), 0x40000000}, s, n);  // 2.0f
  void* on_other = d.alloc(1000, s);
  d.record_use(on_other, 0);
  d.free(on_other, s);
  d.wait_event(0, d.record_event(s));
  run(d, m->entry("k_add0"), {word(out.data()), word(a.data()), word(b.data()), uint64_t(n)}, 0, n);
  const Ref<GraphExec> graph = d.end_capture(0);
  EXPECT_FALSE(d.is_capturing(s));
  EXPECT_FALSE(d.capturing());
  EXPECT_EQ(graph->nodes(), 3);
  for (int i = 0; i < 3; ++i) {
    d.fill_zero(out.data(), n * 4, 0);
    d.launch(*graph, 0);
    EXPECT_EQ(out.get(), std::vector<float>(size_t(n), 5));
  }
  EXPECT_EQ(d.allocator().find_corruption(), "");
}

TEST(CudaGraph, what_cannot_be_captured_is_refused) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  const Ref<Module> m = build(d, {fill_kernel()});
  Buffer<unsigned> out(d, 1000);
  const uint64_t outside = d.record_event(0);
  std::vector<unsigned> host(1000);
  d.begin_capture(0);
  EXPECT_THROW(d.begin_capture(0), Error);
  EXPECT_THROW(out.put(host), Error);
  EXPECT_THROW(out.get(), Error);
  EXPECT_THROW(d.synchronize(0), Error);
  EXPECT_THROW(d.wait_event(0, outside), Error);
  const uint64_t inside = d.record_event(0);
  // Other streams, and allocation, go on meanwhile.
  const StreamId s = d.create_stream();
  Buffer<unsigned> eager(d, 5 * mib, s);
  run(d, m->entry("k_f111"), {word(eager.data()), uint64_t(5 * mib), 9}, s, 5 * mib);
  d.synchronize(s);
  void* big = d.alloc(300 * mib, 0);
  d.free(big, 0);
  // Refusals leave the capture intact.
  run(d, m->entry("k_f111"), {word(out.data()), 1000, 5}, 0, 1000);
  const Ref<GraphExec> graph = d.end_capture(0);
  EXPECT_THROW(d.wait_event(0, inside), Error);
  EXPECT_THROW(d.end_capture(0), Error);
  d.launch(*graph, 0);
  EXPECT_EQ(out.get(), std::vector<unsigned>(1000, 5));
}

TEST(CudaGraph, cancel_and_go_on) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  const Ref<Module> m = build(d, {fill_kernel()});
  Buffer<unsigned> out(d, 1000);
  const int64_t reserved = d.memory_stats().reserved_bytes;
  for (int i = 0; i < 5; ++i) {
    d.begin_capture(0);
    void* p = d.alloc(50 * mib, 0);
    run(d, m->entry("k_f111"), {word(p), 1000, 5}, 0, 1000);
    d.free(p, 0);
    d.cancel_capture(0);
    EXPECT_FALSE(d.capturing());
  }
  EXPECT_EQ(d.memory_stats().reserved_bytes, reserved);
  run(d, m->entry("k_f111"), {word(out.data()), 1000, 6}, 0, 1000);
  EXPECT_EQ(out.get(), std::vector<unsigned>(1000, 6));
}

TEST(CudaGraph, memory_goes_with_the_graph) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  Step step{d, build(d, {add_kernel()})};
  const int64_t n = 8 * mib;
  Buffer<float> a(d, std::vector<float>(size_t(n), 1)), out(d, n);
  const int64_t reserved = d.memory_stats().reserved_bytes;
  void* kept = nullptr;
  {
    d.begin_capture(0);
    step(out.data(), a.data(), a.data(), n, 0);
    kept = d.alloc(1000, 0);
    const Ref<GraphExec> graph = d.end_capture(0);
    EXPECT_GE(d.memory_stats().reserved_bytes, reserved + n * 4);
    d.release_cached();
    for (int i = 0; i < 20; ++i) d.launch(*graph, 0);
  }  // destroyed while it runs
  EXPECT_LT(d.memory_stats().reserved_bytes, reserved + n * 4);
  EXPECT_EQ(out.get(), std::vector<float>(size_t(n), 13));
  d.free(kept, 0);  // the pool's last block takes its segment along
  EXPECT_LE(d.memory_stats().reserved_bytes, reserved);
  EXPECT_EQ(d.allocator().find_corruption(), "");
}

TEST(CudaGraph, survives_out_of_memory_around_it) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  Step step{d, build(d, {add_kernel()})};
  const int64_t n = mib;
  Buffer<float> a(d, std::vector<float>(size_t(n), 1)), out(d, n);
  d.begin_capture(0);
  step(out.data(), a.data(), a.data(), n, 0);
  const Ref<GraphExec> graph = d.end_capture(0);
  d.release_cached();
  d.allocator().set_limit(d.memory_stats().reserved_bytes + 64 * mib);
  for (int i = 0; i < 100; ++i) {
    d.fill_zero(out.data(), n * 4, 0);
    d.launch(*graph, 0);
    EXPECT_THROW(d.alloc(100 * mib, 0), Error);
    // Inside a capture as well: the capture is cancelled, and the next one works.
    if (i % 10 == 0) {
      d.begin_capture(0);
      EXPECT_THROW(d.alloc(100 * mib, 0), Error);
      d.cancel_capture(0);
    }
    if (i % 20 == 0) {
      EXPECT_EQ(out.get(), std::vector<float>(size_t(n), 13));
    }
  }
  d.allocator().set_limit(0);
  EXPECT_EQ(d.allocator().find_corruption(), "");
}

}  // namespace phlox
