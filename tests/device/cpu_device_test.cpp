#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/sanitizer.h"
#include "base/team.h"
#include "device/registry.h"
#include "program/code_arena.h"

namespace phlox {

static std::vector<std::byte> bytes_of(std::initializer_list<int> v) {
  std::vector<std::byte> r;
  for (int b : v) r.push_back(std::byte(b));
  return r;
}

#if defined(__x86_64__)
// for (i = begin; i < end; ++i) ((int64_t*)words[0])[i] = i * words[1]
static Image fill_image() {
  Image image;
  image.bytes = bytes_of({0x48, 0x8b, 0x07, 0x48, 0x39, 0xd6, 0x7d, 0x1c, 0x48, 0x8d, 0x04, 0xf0, 0x48,
                          0x89, 0xf1, 0x48, 0x0f, 0xaf, 0x4f, 0x08, 0x48, 0x89, 0x08, 0x48, 0x83, 0xc6,
                          0x01, 0x48, 0x83, 0xc0, 0x08, 0x48, 0x39, 0xf2, 0x75, 0xe8, 0xc3});
  image.entries = {{"k_fill", 0}};
  return image;
}

// memset((char*)words[0] + begin, words[1], end - begin), jumping through the import cell at 64
static Image memset_image() {
  Image image;
  image.bytes = bytes_of({0x48, 0x8b, 0x07, 0x48, 0x8b, 0x4f, 0x08, 0x48, 0x29, 0xf2, 0x48,
                          0x8d, 0x3c, 0x30, 0x89, 0xce, 0xff, 0x25, 0x2a, 0x00, 0x00, 0x00});
  image.bytes.resize(72);
  image.entries = {{"k_zero", 0}, {"k_also", 0}};
  image.imports = {{"memset", 64}};
  return image;
}

static std::vector<int64_t> run_fill(void* entry, int64_t factor, int64_t items) {
  std::vector<int64_t> out(size_t(items), -1);
  const uint64_t words[] = {reinterpret_cast<uint64_t>(out.data()), uint64_t(factor)};
  cpu_device().launch({.entry = entry, .words = words, .items = items, .grain = 100}, 0);
  return out;
}

TEST(CpuDevice, loads_and_launches_on_the_team) {
  const int saved = team().num_threads();
  team().set_num_threads(3);
  Ref<Module> m = cpu_device().load(fill_image());
  const auto out = run_fill(m->entry("k_fill"), 7, 10000);
  for (int64_t i = 0; i < 10000; ++i) ASSERT_EQ(out[size_t(i)], 7 * i);
  cpu_device().launch({.entry = m->entry("k_fill"), .words = {}, .items = 0, .grain = 1},
                      0);  // nothing to do
  team().set_num_threads(saved);
}

TEST(CpuDevice, imports_are_patched) {
  Ref<Module> m = cpu_device().load(memset_image());
  std::vector<char> data(5000, 1);
  const uint64_t words[] = {reinterpret_cast<uint64_t>(data.data()), 9};
  cpu_device().launch({.entry = m->entry("k_also"), .words = words, .items = 5000, .grain = 64}, 0);
  EXPECT_EQ(data, std::vector<char>(5000, 9));
}

TEST(CpuModule, modules_give_their_bytes_back) {
  const CodeArena::Stats before = code_arena().stats();
  std::vector<Ref<Module>> live;
  for (int round = 0; round < 2000; ++round) {
    Image image = fill_image();
    image.bytes.resize(64 + size_t(round) * 37 % 3000);
    live.push_back(cpu_device().load(image));
    ASSERT_EQ(reinterpret_cast<uintptr_t>(live.back()->entry("k_fill")) % 64, 0u);
    if (live.size() > 20) live.erase(live.begin() + round % 20);
    if (round % 100 == 0) {
      ASSERT_EQ(run_fill(live[size_t(round) / 100 % live.size()]->entry("k_fill"), 3, 50)[49], 147);
    }
  }
  for (auto& m : live) ASSERT_EQ(run_fill(m->entry("k_fill"), 2, 10)[9], 18);
  const CodeArena::Stats with = code_arena().stats();
  EXPECT_EQ(with.blocks - before.blocks, 20u);
  EXPECT_LE(with.bytes_mapped - before.bytes_mapped, 1u << 20);  // 3 MB went through one segment
  live.clear();
  EXPECT_EQ(code_arena().stats().bytes_used, before.bytes_used);
}

TEST(CpuModule, large_images_get_a_segment_of_their_own) {
  Image image = fill_image();
  image.bytes.resize(3 << 20);
  Ref<Module> m = cpu_device().load(image);
  EXPECT_EQ(run_fill(m->entry("k_fill"), 5, 10)[9], 45);
}

TEST(CpuModule, several_threads_load_and_run) {
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        Ref<Module> m = cpu_device().load(fill_image());
        wrong += run_fill(m->entry("k_fill"), t, 30)[29] != 29 * t;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong.load(), 0);
}

#if !PHLOX_TSAN
TEST(CpuModule, a_forked_child_and_its_parent_do_not_disturb_each_other) {
  Ref<Module> mine = cpu_device().load(fill_image());
  int ready[2];
  ASSERT_EQ(::pipe(ready), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    char go;
    if (::read(ready[0], &go, 1) != 1) ::_exit(2);
    // The parent has freed this module and loaded others meanwhile.
    bool good = run_fill(mine->entry("k_fill"), 3, 10)[9] == 27;
    Ref<Module> own = cpu_device().load(memset_image());
    good = good && run_fill(cpu_device().load(fill_image())->entry("k_fill"), 4, 10)[9] == 36;
    mine = nullptr;
    ::_exit(good ? 0 : 1);
  }
  mine = nullptr;
  std::vector<Ref<Module>> others;
  for (int i = 0; i < 50; ++i) others.push_back(cpu_device().load(memset_image()));
  ASSERT_EQ(::write(ready[1], "x", 1), 1);
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  std::vector<char> data(10, 1);
  const uint64_t words[] = {reinterpret_cast<uint64_t>(data.data()), 9};
  for (auto& m : others)
    cpu_device().launch({.entry = m->entry("k_zero"), .words = words, .items = 10, .grain = 64}, 0);
  EXPECT_EQ(data, std::vector<char>(10, 9));
  ::close(ready[0]);
  ::close(ready[1]);
}
#endif
#endif  // __x86_64__

template <class F>
static std::string error_of(F f, ErrorCode code) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "";
}

TEST(CpuModule, inconsistent_images_are_refused) {
  Image image;
  image.bytes.resize(80);
  image.entries = {{"k_1", 80}};
  error_of([&] { cpu_device().load(image); }, ErrorCode::bad_file);
  image.entries = {{"k_1", 0}};
  image.imports = {{"system", 0}};
  error_of([&] { cpu_device().load(image); }, ErrorCode::bad_file);
  image.imports = {{"memset", 72}};
  Ref<Module> m = cpu_device().load(image);
  EXPECT_EQ(error_of([&] { m->entry("none"); }, ErrorCode::not_found), "cpu module: no such entry; got none");
}

TEST(CpuDevice, copies_and_zeroes_any_length) {
  Device& d = cpu_device();
  for (int64_t n : {0, 1, 1000, 131072, 131073, 3000001}) {
    auto* a = static_cast<unsigned char*>(d.alloc(n + 1, 0));
    auto* b = static_cast<unsigned char*>(d.alloc(n + 1, 0));
    for (int64_t i = 0; i <= n; ++i) a[i] = static_cast<unsigned char>(i * 7 + i / 1000);
    std::memset(b, 1, size_t(n + 1));
    d.copy(b, a, n, Device::CopyKind::on_device, 0);
    EXPECT_EQ(std::memcmp(a, b, size_t(n)), 0);
    EXPECT_EQ(b[n], 1);
    d.fill_zero(b, n, 0);
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(b[i], 0);
    EXPECT_EQ(b[n], 1);
    d.free(a, 0);
    d.free(b, 0);
  }
}

TEST(CpuDevice, describes_itself) {
  Device& d = cpu_device();
  EXPECT_EQ(cat(d.id()), "cpu");
  EXPECT_EQ(d.target().kind, DeviceKind::cpu);
  EXPECT_GE(d.target().threads, 1);
  const StreamId s = d.create_stream();
  EXPECT_NE(s, 0u);
  EXPECT_NE(d.create_stream(), s);
  d.wait_event(s, d.record_event(0));
  d.synchronize(s);
  void* p = d.alloc(1000, s);
  d.record_use(p, 0);
  EXPECT_GE(d.memory_stats().allocated_bytes, 1000);
  d.free(p, 0);
  d.release_cached();
}

TEST(Registry, cpu_is_there_and_others_are_clear_errors) {
  EXPECT_EQ(&get_device({DeviceKind::cpu, 0}), &cpu_device());
  EXPECT_EQ(device_count(DeviceKind::cpu), 1);
  EXPECT_EQ(device_count(DeviceKind::cuda), 0);
  EXPECT_EQ(error_of([] { get_device({DeviceKind::cpu, 1}); }, ErrorCode::device),
            "device: there is one CPU device; got cpu:1; expected cpu");
  EXPECT_EQ(error_of([] { get_device({DeviceKind::cuda, 0}); }, ErrorCode::device),
            "device: this build has no cuda support; got cuda:0; expected cpu; use a build or package that "
            "includes it");
  register_device_provider({DeviceKind::cuda, [] { return 3; },
                            [](int i) -> Device& {
                              if (i == 3) fail(ErrorCode::device, {.op = "cuda", .fact = "no such GPU"});
                              return cpu_device();
                            }});
  EXPECT_EQ(device_count(DeviceKind::cuda), 3);
  EXPECT_EQ(&get_device({DeviceKind::cuda, 2}), &cpu_device());
  EXPECT_EQ(error_of([] { get_device({DeviceKind::cuda, 3}); }, ErrorCode::device), "cuda: no such GPU");
}

}  // namespace phlox
