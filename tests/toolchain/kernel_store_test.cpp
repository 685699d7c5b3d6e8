#include "toolchain/kernel_store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bit>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/error.h"
#include "base/event.h"
#include "base/file.h"
#include "kernels.h"
#include "toolchain/kernel_pack.h"

using namespace phlox;
using namespace phlox::test;

namespace {

// The real compiler, counted; can be told to be slow.
class Counted final : public Compiler {
 public:
  Counted() : inner_(find_compiler(Target{})) {}
  bool real() const { return inner_ != nullptr; }
  Image compile(std::span<const KernelText> batch, const Target& t) override {
    return inner_->compile(batch, t);
  }
  std::vector<Image> compile_each(std::span<const KernelText> batch, const Target& t) override {
    ++batches;
    kernels += int(batch.size());
    most = std::max(most.load(), int(batch.size()));
    if (delay_ms) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    return inner_->compile_each(batch, t);
  }
  std::string fingerprint() const override { return inner_->fingerprint(); }
  const char* name() const override { return inner_->name(); }
  std::atomic<int> batches{0}, kernels{0}, most{0};
  int delay_ms = 0;

 private:
  Compiler* inner_;
};

class KernelStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!cc_.real()) GTEST_SKIP() << "no C compiler";
    char name[] = "/tmp/phlox-store-XXXXXX";
    ASSERT_TRUE(::mkdtemp(name));
    base_ = name;
    target_.arch = "x86-64-v3";
  }
  void TearDown() override {
    if (!base_.empty()) std::filesystem::remove_all(base_);
  }
  std::vector<KernelText> texts(int n, int from = 0) {
    std::vector<KernelText> r;
    for (int i = 0; i < n; ++i) r.push_back(numbered(from + i, 256));
    return r;
  }
  static float call(KernelFn f, float x) {
    float in[3] = {x, x, x}, out[3] = {};
    const uint64_t words[] = {uint64_t(in), uint64_t(out), std::bit_cast<uint32_t>(1.0f)};
    f(words, 0, 3);
    return out[2];
  }
  void expect_all_run(const std::vector<KernelFn>& fns, int from = 0) {
    for (size_t i = 0; i < fns.size(); ++i)
      EXPECT_EQ(call(fns[i], 2.0f), 2.0f + float(from + int(i)) + 0.125f);
  }
  DiskCache::Options disk_options() {
    return {base_ + "/cache", DiskCache::Mode::read_write, int64_t(64) << 20};
  }

  Counted cc_;
  std::string base_;
  Target target_;
};

TEST_F(KernelStoreTest, CompilesInBatchesThenRemembers) {
  KernelStore store({.compiler = &cc_, .threads = 2});
  const auto t = texts(60);
  expect_all_run(store.get(t, target_));
  EXPECT_EQ(cc_.kernels, 60);
  EXPECT_EQ(cc_.batches, 3);
  EXPECT_LE(cc_.most, 25);
  const auto again = store.get(t, target_);
  expect_all_run(again);
  const auto s = store.stats();
  EXPECT_EQ(s.compiled, 60u);
  EXPECT_EQ(s.memory_hits, 60u);
  EXPECT_GT(s.compile_us, 0u);
  EXPECT_EQ(store.get(t, target_), again);
}

TEST_F(KernelStoreTest, SameTextTwiceInOneRequest) {
  KernelStore store({.compiler = &cc_});
  auto t = texts(2);
  t.push_back(t[0]);
  const auto f = store.get(t, target_);
  EXPECT_EQ(f[0], f[2]);
  EXPECT_EQ(cc_.kernels, 2);
}

TEST_F(KernelStoreTest, EmptyRequest) {
  KernelStore store({.compiler = &cc_});
  EXPECT_TRUE(store.get({}, target_).empty());
}

TEST_F(KernelStoreTest, DiskServesTheNextProcess) {
  const auto t = texts(30);
  {
    DiskCache disk(disk_options());
    KernelStore store({.compiler = &cc_, .disk = &disk});
    store.get(t, target_);
    EXPECT_EQ(disk.stats().written, 30u);
  }
  cc_.kernels = 0;
  DiskCache disk(disk_options());
  KernelStore store({.compiler = &cc_, .disk = &disk});
  expect_all_run(store.get(t, target_));
  EXPECT_EQ(cc_.kernels, 0);
  EXPECT_EQ(store.stats().disk_hits, 30u);
  // Locks leave nothing behind.
  for (const auto& e : std::filesystem::directory_iterator(base_ + "/cache/v1"))
    EXPECT_EQ(e.path().extension(), ".k") << e.path();
}

TEST_F(KernelStoreTest, EightThreadsOneCompile) {
  DiskCache disk(disk_options());
  KernelStore store({.compiler = &cc_, .disk = &disk});
  cc_.delay_ms = 30;
  const auto t = texts(1);
  std::vector<std::thread> threads;
  std::vector<KernelFn> got(8);
  for (int i = 0; i < 8; ++i) threads.emplace_back([&, i] { got[size_t(i)] = store.get(t, target_)[0]; });
  for (auto& th : threads) th.join();
  EXPECT_EQ(cc_.kernels, 1);
  EXPECT_EQ(store.stats().compiled, 1u);
  for (KernelFn f : got) EXPECT_EQ(f, got[0]);
}

TEST_F(KernelStoreTest, OverlappingRequestsFromManyThreads) {
  DiskCache disk(disk_options());
  KernelStore store({.compiler = &cc_, .disk = &disk, .threads = 2, .batch = 4});
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&, i] {
      for (int round = 0; round < 3; ++round) {
        const int from = (i * 5 + round * 7) % 20;
        expect_all_run(store.get(texts(12, from), target_), from);
      }
    });
  for (auto& th : threads) th.join();
  EXPECT_EQ(cc_.kernels, int(store.stats().compiled));
  EXPECT_LE(cc_.kernels, 32);
}

TEST_F(KernelStoreTest, OneBadTextDoesNotSpoilItsBatch) {
  KernelStore store({.compiler = &cc_, .threads = 1});
  auto t = texts(5);
  t.insert(t.begin() + 2, KernelText{"void k_bad(int) { frob }", "k_bad"});
  try {
    store.get(t, target_);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("frob"), std::string::npos) << e.what();
  }
  EXPECT_EQ(store.stats().failed, 1u);
  EXPECT_EQ(store.stats().compiled, 5u);
  const int before = cc_.kernels;
  t.erase(t.begin() + 2);
  expect_all_run(store.get(t, target_));
  EXPECT_EQ(cc_.kernels, before);
}

TEST_F(KernelStoreTest, FailureReachesEveryWaiter) {
  KernelStore store({.compiler = &cc_});
  cc_.delay_ms = 20;
  const KernelText bad{"void k_bad(int) { frob }", "k_bad"};
  std::atomic<int> errors{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      try {
        store.get({&bad, 1}, target_);
      } catch (const Error&) {
        ++errors;
      }
    });
  for (auto& th : threads) th.join();
  EXPECT_EQ(errors, 4);
}

TEST_F(KernelStoreTest, PrefetchWorksBehind) {
  KernelStore store({.compiler = &cc_});
  cc_.delay_ms = 20;
  const auto t = texts(3);
  EXPECT_EQ(store.find(t[0], target_), nullptr);
  const auto p = store.prefetch(t, target_);
  EXPECT_EQ(p->state.load(), KernelStore::Prefetch::running);
  while (p->state.load() == KernelStore::Prefetch::running)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  ASSERT_EQ(p->state.load(), KernelStore::Prefetch::ready) << p->error;
  expect_all_run(p->entries);
  EXPECT_EQ(store.find(t[1], target_), p->entries[1]);
  const auto bad = store.prefetch({{"void k_bad(int) { frob }", "k_bad"}}, target_);
  while (bad->state.load() == KernelStore::Prefetch::running)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(bad->state.load(), KernelStore::Prefetch::failed);
  EXPECT_NE(bad->error.find("frob"), std::string::npos);
}

TEST_F(KernelStoreTest, ClosingFailsWhatIsQueued) {
  std::vector<std::shared_ptr<const KernelStore::Prefetch>> all;
  {
    KernelStore store({.compiler = &cc_});
    cc_.delay_ms = 20;
    for (int i = 0; i < 5; ++i) all.push_back(store.prefetch(texts(1, i), target_));
  }
  for (const auto& p : all) EXPECT_NE(p->state.load(), KernelStore::Prefetch::running);
  EXPECT_EQ(all.back()->error, "the kernel store was closed");
}

class OneKernel final : public KernelPack {
 public:
  OneKernel(const KernelText& t, Image image) : hash_(kernel_text_hash(t)), image_(std::move(image)) {}
  std::optional<Image> find(const Hash256& text, const Target& target) const override {
    if (text != hash_ || !target.has("avx2")) return std::nullopt;
    return image_;
  }

 private:
  Hash256 hash_;
  Image image_;
};

TEST_F(KernelStoreTest, PacksServeHigherTargets) {
  const auto t = texts(2);
  KernelStore store({.compiler = &cc_});
  store.add_pack(std::make_shared<OneKernel>(t[0], cc_.compile({&t[0], 1}, target_)));
  Target higher = target_;
  higher.arch = "x86-64-v4";
  EXPECT_NE(store.find(t[0], higher), nullptr);
  EXPECT_EQ(store.find(t[1], higher), nullptr);
  EXPECT_EQ(store.stats().pack_hits, 1u);
  expect_all_run(store.get({&t[0], 1}, target_));
  EXPECT_EQ(store.stats().pack_hits, 2u);
  EXPECT_EQ(cc_.kernels, 0);
  Target lower;
  lower.arch = "x86-64-v2";
  lower.vector_bits = 128;
  EXPECT_EQ(store.find(t[0], lower), nullptr);
}

TEST_F(KernelStoreTest, PackFiles) {
  const auto t = texts(30);
  const std::string path = base_ + "/kernels.pack";
  {
    KernelStore store({.compiler = &cc_});
    auto twice = t;
    twice.push_back(t[3]);
    write_kernel_pack(path, "x86-64-v3", twice, store.images(twice, target_));
  }
  cc_.kernels = 0;
  const auto pack = std::make_shared<PackFile>(path);
  EXPECT_EQ(pack->size(), 30u);
  EXPECT_EQ(pack->arch(), "x86-64-v3");
  KernelStore store({.compiler = &cc_});
  store.add_pack(pack);
  Target higher = host_target();
  if (cpu_level(higher) >= 3) expect_all_run(store.get(t, higher));
  expect_all_run(store.get(t, target_));
  EXPECT_EQ(cc_.kernels, 0);
  EXPECT_EQ(store.find(texts(1, 31)[0], target_), nullptr);
  Target lower;
  lower.arch = "x86-64-v2";
  EXPECT_FALSE(pack->find(kernel_text_hash(t[0]), lower));
}

TEST_F(KernelStoreTest, PackFilesOfStrangersAreRefused) {
  const auto t = texts(1);
  const std::string path = base_ + "/kernels.pack";
  KernelStore store({.compiler = &cc_});
  write_kernel_pack(path, "x86-64-v3", t, store.images(t, target_));
  EXPECT_NO_THROW(PackFile{path});
  ASSERT_EQ(::chmod(path.c_str(), 0666), 0);
  EXPECT_THROW(PackFile{path}, Error);
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  if (::geteuid() == 0 && ::chown(path.c_str(), 12345, 12345) == 0) {
    EXPECT_THROW(PackFile{path}, Error);
  }
}

TEST_F(KernelStoreTest, DamagedPackFiles) {
  const auto t = texts(3);
  const std::string path = base_ + "/kernels.pack";
  KernelStore store({.compiler = &cc_});
  write_kernel_pack(path, "x86-64-v3", t, store.images(t, target_));
  const std::string good = read_file(path);
  int opened = 0;
  for (size_t bit = 0; bit < good.size() * 8; bit += bit < 2000 ? 1 : 37) {
    std::string bad = good;
    bad[bit / 8] = char(bad[bit / 8] ^ 1 << bit % 8);
    std::ofstream(path, std::ios::binary) << bad;
    try {
      const PackFile pack(path);
      ++opened;
      int found = 0;
      for (const KernelText& k : t) found += pack.find(kernel_text_hash(k), target_).has_value();
      EXPECT_EQ(found, 2) << bit;  // only the damaged kernel is gone
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::bad_file);
    }
  }
  EXPECT_GT(opened, 0);
  for (size_t n = 0; n < good.size(); n += 13) {
    std::ofstream(path, std::ios::binary).write(good.data(), long(n));
    EXPECT_THROW(PackFile{path}, Error) << n;
  }
  EXPECT_THROW(PackFile(base_ + "/none"), Error);
}

// Two texts that define one name without a guard cannot share a translation unit: they still compile.
TEST_F(KernelStoreTest, ClashingTextsCompileApart) {
  const auto text = [](const char* entry, const char* value) {
    return KernelText{cat("static float bias(void) { return ", value, "; }\nvoid ", entry,
                          "(const unsigned long long* words, long long begin, long long end) {\n"
                          "  for (long long i = begin; i < end; ++i) ((float*)words[1])[i] = bias();\n}\n"),
                      entry};
  };
  const std::vector<KernelText> t = {text("k_1", "1.5f"), text("k_2", "2.5f")};
  KernelStore store({.compiler = &cc_, .threads = 1});
  const auto f = store.get(t, target_);
  EXPECT_EQ(call(f[0], 0), 1.5f);
  EXPECT_EQ(call(f[1], 0), 2.5f);
  EXPECT_EQ(store.stats().failed, 0u);
}

TEST_F(KernelStoreTest, OnlyCpuKernelsHaveAddresses) {
  KernelStore store({.compiler = &cc_});
  Target gpu;
  gpu.kind = DeviceKind::cuda;
  gpu.arch = "sm_90a";
  EXPECT_THROW(store.get(texts(1), gpu), InternalError);
  EXPECT_THROW(store.find(texts(1)[0], gpu), InternalError);
}

// The process store in a process of its own: what happens to it at exit and across fork.
class ProcessStoreTest : public KernelStoreTest {
 protected:
  // Runs f in a child and returns its exit status.
  template <class F>
  int in_child(F&& f) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::setenv("PHLOX_CACHE_DIR", (base_ + "/cache").c_str(), 1);
      ::alarm(60);
      f();
      ::_exit(1);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    return status;
  }
};

TEST_F(ProcessStoreTest, ExitsWhileCompiling) {
  for (int ms : {0, 3, 10, 30})
    EXPECT_EQ(in_child([&] {
                kernel_store().prefetch(texts(60, ms * 100), target_);
                std::this_thread::sleep_for(std::chrono::milliseconds(ms));
                std::exit(0);
              }),
              0);
}

TEST_F(ProcessStoreTest, ForksWhileCompiling) {
  EXPECT_EQ(
      in_child([&] {
        const auto t = texts(20);
        const auto p = kernel_store().prefetch(t, target_);
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        const pid_t grandchild = ::fork();
        const auto f = kernel_store().get(t, target_);
        if (call(f[3], 1.0f) != 4.125f) ::_exit(2);
        if (grandchild == 0) {
          const auto mine = kernel_store().prefetch(texts(2, 900), target_);
          while (mine->state == KernelStore::Prefetch::running)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
          ::_exit(p->state != KernelStore::Prefetch::running && mine->state == KernelStore::Prefetch::ready
                      ? 0
                      : 3);
        }
        int status = -1;
        ::waitpid(grandchild, &status, 0);
        ::_exit(status == 0 ? 0 : 4);
      }),
      0);
}

}  // namespace
