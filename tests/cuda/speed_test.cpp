// What the device layer costs, printed next to the bare driver calls it stands on. Skipped without a GPU.
// Only gross regressions fail: the numbers are for reading.
#include <algorithm>
#include <chrono>
#include <cstring>

#include "gpu.h"

namespace phlox {
namespace {

constexpr int64_t kib = 1 << 10, mib = 1 << 20;

double now_ns() {
  return double(std::chrono::duration_cast<std::chrono::nanoseconds>(
                    std::chrono::steady_clock::now().time_since_epoch())
                    .count());
}

template <class F>
double median_ns(int rounds, F&& f) {
  std::vector<double> times;
  f();
  for (int i = 0; i < rounds; ++i) {
    const double start = now_ns();
    f();
    times.push_back(now_ns() - start);
  }
  std::nth_element(times.begin(), times.begin() + rounds / 2, times.end());
  return times[size_t(rounds / 2)];
}

}  // namespace

TEST(CudaSpeed, launches) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  const Ref<Module> m = build(d, {empty_kernel(), wide_kernel()});
  const auto& entry = *static_cast<const CudaEntry*>(m->entry("k_e0"));
  const std::vector<uint64_t> words = {1, 2, 3, 4};
  constexpr int count = 1000;
  const Launch l{.entry = m->entry("k_e0"), .words = words, .items = 1, .grain = 1, .block = {32, 1, 1}};
  CudaDevice::Current current(d);
  double submit = 0;
  const auto chain = [&](auto&& one) {
    std::vector<double> submits;
    const double total = median_ns(30, [&] {
      const double start = now_ns();
      for (int i = 0; i < count; ++i) one();
      submits.push_back(now_ns() - start);
      d.synchronize(0);
    });
    std::sort(submits.begin(), submits.end());
    submit = submits[submits.size() / 2] / count;
    return total / count;
  };
  const double raw = chain([&] {
    void* parameters[] = {const_cast<uint64_t*>(words.data())};
    d.driver().launch_kernel(entry.function, 1, 1, 1, 32, 1, 1, 0, d.native_stream(0), parameters, nullptr);
  });
  const double raw_submit = submit;
  const double own = chain([&] { d.launch(l, 0); });
  const double own_submit = submit;
  std::printf(
      "launch, chain of %d empty kernels: bare driver %.0f ns each (submitting %.0f), phlox %.0f (%.0f)\n",
      count, raw, raw_submit, own, own_submit);
  EXPECT_LT(own, raw * 1.3 + 200);

  const std::vector<uint64_t> many(512, 1);
  const Launch wide{.entry = m->entry("k_e512"), .words = many, .items = 1, .grain = 1, .block = {32, 1, 1}};
  const double own_wide = chain([&] { d.launch(wide, 0); });
  std::printf("the same with 512 words: %.0f ns (%.0f)\n", own_wide, submit);

  const double capture = median_ns(10, [&] {
    d.begin_capture(0);
    for (int i = 0; i < count; ++i) d.launch(l, 0);
    d.end_capture(0);
  });
  d.begin_capture(0);
  for (int i = 0; i < count; ++i) d.launch(l, 0);
  const Ref<GraphExec> graph = d.end_capture(0);
  double graph_submit = 0;
  const double replay = median_ns(30, [&] {
    const double start = now_ns();
    d.launch(*graph, 0);
    graph_submit = now_ns() - start;
    d.synchronize(0);
  });
  const double update = median_ns(10, [&] {
    d.begin_capture(0, graph->pool());
    for (int i = 0; i < count; ++i) d.launch(l, 0);
    EXPECT_TRUE(d.end_capture(0, *graph));
  });
  std::printf(
      "graph of %d empty kernels: %.0f ns each (submit %.1f us in all); capture %.0f us, update %.0f us\n",
      count, replay / count, graph_submit / 1000, capture / 1000, update / 1000);
  d.begin_capture(0);
  d.launch(l, 0);
  const Ref<GraphExec> one = d.end_capture(0);
  const double single_graph = median_ns(200, [&] {
    d.launch(*one, 0);
    d.synchronize(0);
  });
  const double single = median_ns(200, [&] {
    d.launch(l, 0);
    d.synchronize(0);
  });
  const double ticket = median_ns(200,
                                  [&] {
                                    for (int i = 0; i < 10; ++i) d.wait_event(0, d.record_event(0));
                                  }) /
                        10;
  d.synchronize(0);
  std::printf(
      "one kernel and its end: launch %.1f us, as a graph %.1f us; ticket recorded and awaited %.0f ns\n",
      single / 1000, single_graph / 1000, ticket);
}

TEST(CudaSpeed, allocations) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  CudaDevice::Current current(d);
  const StreamId s = d.create_stream();
  for (const int64_t bytes : {int64_t(256), 64 * kib, 8 * mib, 256 * mib}) {
    const double own = median_ns(50,
                                 [&] {
                                   for (int i = 0; i < 100; ++i) d.free(d.alloc(bytes, 0), 0);
                                 }) /
                       100;
    const double raw = median_ns(20, [&] {
      cuda::DevicePtr p = 0;
      d.driver().memory_alloc(&p, size_t(bytes));
      d.driver().memory_free(p);
    });
    const double crossed = median_ns(20,
                                     [&] {
                                       for (int i = 0; i < 10; ++i) d.free(d.alloc(bytes, 0), s);
                                     }) /
                           10;
    std::printf(
        "alloc and free of %s: %.0f ns from the cache, %.0f ns freed on another stream; driver %.1f us\n",
        byte_text(bytes).c_str(), own, crossed, raw / 1000);
  }
}

TEST(CudaSpeed, copies) {
  PHLOX_NEED_GPU();
  CudaDevice& d = cuda_device(0);
  CudaDevice::Current current(d);
  const cuda::Driver& driver = d.driver();
  const cuda::Stream stream = d.native_stream(0);
  const int64_t most = 256 * mib;
  std::vector<char> pageable(static_cast<size_t>(most), 1);
  auto* pinned = static_cast<char*>(d.alloc_host(most));
  std::memset(pinned, 1, size_t(most));
  Buffer<char> buffer(d, most);
  const cuda::DevicePtr device = cuda::DevicePtr(word(buffer.data()));
  std::printf("copies, host <-> device, to their end: pageable phlox | pageable bare driver | pinned\n");
  for (const int64_t n : {int64_t(64), 4 * kib, 64 * kib, 256 * kib, mib, 4 * mib, 16 * mib, most}) {
    const int rounds = n >= mib ? 9 : 101;
    const double in[] = {median_ns(rounds,
                                   [&] {
                                     d.copy(buffer.data(), pageable.data(), n, Device::CopyKind::to_device,
                                            0);
                                     d.synchronize(0);
                                   }),
                         median_ns(rounds,
                                   [&] {
                                     driver.copy_to_device(device, pageable.data(), size_t(n), stream);
                                     d.synchronize(0);
                                   }),
                         median_ns(rounds, [&] {
                           d.copy(buffer.data(), pinned, n, Device::CopyKind::to_device, 0);
                           d.synchronize(0);
                         })};
    const double out[] = {median_ns(rounds,
                                    [&] {
                                      d.copy(pageable.data(), buffer.data(), n, Device::CopyKind::to_host, 0);
                                      d.synchronize(0);
                                    }),
                          median_ns(rounds,
                                    [&] {
                                      driver.copy_to_host(pageable.data(), device, size_t(n), stream);
                                      d.synchronize(0);
                                    }),
                          median_ns(rounds, [&] {
                            d.copy(pinned, buffer.data(), n, Device::CopyKind::to_host, 0);
                            d.synchronize(0);
                          })};
    const double submit[] = {
        median_ns(rounds, [&] { d.copy(buffer.data(), pageable.data(), n, Device::CopyKind::to_device, 0); }),
        median_ns(rounds, [&] { driver.copy_to_device(device, pageable.data(), size_t(n), stream); })};
    d.synchronize(0);
    std::printf(
        "%9s in  %8.1f | %8.1f | %8.1f us (%5.1f | %5.1f | %5.1f GB/s), returning after %.1f | %.1f us\n",
        byte_text(n).c_str(), in[0] / 1000, in[1] / 1000, in[2] / 1000, double(n) / in[0], double(n) / in[1],
        double(n) / in[2], submit[0] / 1000, submit[1] / 1000);
    std::printf("%9s out %8.1f | %8.1f | %8.1f us (%5.1f | %5.1f | %5.1f GB/s)\n", byte_text(n).c_str(),
                out[0] / 1000, out[1] / 1000, out[2] / 1000, double(n) / out[0], double(n) / out[1],
                double(n) / out[2]);
  }
  d.free_host(pinned);
  const int64_t big = 4096 * mib;
  Buffer<char> from(d, big), to(d, big);
  CudaTimer timer(d);
  std::vector<double> ms;
  for (int i = 0; i < 9; ++i) {
    timer.start(0);
    d.copy(to.data(), from.data(), big, Device::CopyKind::on_device, 0);
    timer.stop(0);
    ms.push_back(timer.milliseconds());
  }
  std::sort(ms.begin(), ms.end());
  std::printf("on the device: %.0f GB/s, read and written\n", 2.0 * double(big) / ms[4] / 1e6);
}

TEST(CudaSpeed, compiling) {
  std::string why;
  Nvrtc* c = Nvrtc::find(why);
  if (!c || (cuda::cuda_device_count() == 0 && !std::getenv("PHLOX_NVRTC_SPEED")))
    GTEST_SKIP() << "no GPU here";
  Target target;
  target.kind = DeviceKind::cuda;
  target.arch = "sm_90a";
  std::vector<KernelText> batch;
  for (int i = 0; i < 16; ++i) {
    KernelText t = add_kernel();
    const std::string entry = cat("k_add0", i < 16 ? "0" : "1", std::string(1, "0123456789abcdef"[i % 16]));
    for (size_t at; (at = t.source.find("k_add0_")) != std::string::npos;)
      t.source.replace(at, 7, entry + "W");
    t.source.replace(t.source.find("k_add0("), 7, entry + "(");
    t.entry = entry;
    batch.push_back(t);
  }
  const double one = median_ns(3, [&] { c->compile(std::span(batch).first(1), target); });
  const double together = median_ns(1, [&] { c->compile(batch, target); });
  std::vector<Image> images;
  const double apart = median_ns(1, [&] { images = c->compile_each(batch, target); });
  std::printf("NVRTC %d.%d: one kernel %.0f ms; 16 in one program %.0f ms, one by one %.0f ms\n", c->major(),
              c->minor(), one / 1e6, together / 1e6, apart / 1e6);
}

}  // namespace phlox
