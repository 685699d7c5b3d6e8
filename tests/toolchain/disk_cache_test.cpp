// The disk cache under attack: whatever is done to its files and folders, it gives the image that was put
// under exactly this key, or none and an event, and the store compiles again.
#include "toolchain/disk_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "base/error.h"
#include "base/event.h"
#include "kernels.h"
#include "toolchain/kernel_store.h"

using namespace phlox;
using namespace phlox::test;
namespace fs = std::filesystem;

namespace {

// A compiler that only counts: its image returns at once, and holds a number made from the text.
class CountingCompiler final : public Compiler {
 public:
  Image compile(std::span<const KernelText> batch, const Target&) override {
    compiled += int(batch.size());
    Image image;
    image.bytes.assign(64, std::byte{0xcc});
    image.bytes[0] = std::byte{0xc3};
    const uint64_t number = hash_text(batch[0].source);
    std::memcpy(image.bytes.data() + 8, &number, 8);
    image.entries = {{batch[0].entry, 0}};
    image.imports = {{"memset", 56}};
    return image;
  }
  std::string fingerprint() const override { return version; }
  const char* name() const override { return "counting"; }
  std::atomic<int> compiled{0};
  std::string version = "counting 1";
};

class DiskCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/phlox-cache-XXXXXX";
    ASSERT_TRUE(::mkdtemp(name));
    base_ = name;
    root_ = base_ + "/cache";
    target_.arch = "x86-64-v3";
  }
  void TearDown() override { fs::remove_all(base_); }

  DiskCache::Options options(DiskCache::Mode mode = DiskCache::Mode::read_write) {
    return {root_, mode, int64_t(64) << 20};
  }
  CacheKey key(const std::string& source = "source", const std::string& entry = "k_1") {
    return cache_key({source, entry}, target_, cc_.fingerprint());
  }
  Image image() {
    const KernelText text{"source", "k_1"};
    Image i = cc_.compile({&text, 1}, target_);
    cc_.compiled = 0;
    return i;
  }
  static bool same(const Image& a, const Image& b) {
    return a.bytes == b.bytes && a.entries.size() == b.entries.size() &&
           a.entries[0].name == b.entries[0].name && a.entries[0].offset == b.entries[0].offset &&
           a.imports.size() == b.imports.size();
  }
  static std::string slurp(const std::string& path) {
    std::ifstream f(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(f), {}};
  }
  static void spill(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    ::chmod(path.c_str(), 0600);
  }

  // Puts a good entry, lets `attack` at its file, and expects a refusal, an event, a recompile, and a good
  // file after.
  void attack(const char* what, const std::function<void(const std::string&)>& attack) {
    SCOPED_TRACE(what);
    fs::remove_all(root_);
    const std::string path = [&] {
      DiskCache cache(options());
      cache.put(key(), image());
      EXPECT_TRUE(cache.get(key()));
      return cache.file_path(key());
    }();
    attack(path);
    DiskCache cache(options());
    KernelStore store({.compiler = &cc_, .disk = &cache});
    cc_.compiled = 0;
    const KernelText text{"source", "k_1"};
    const auto got = store.images({&text, 1}, target_);
    EXPECT_TRUE(same(*got[0], image()));
    EXPECT_EQ(store.stats().compiled, 1u);
    EXPECT_EQ(store.stats().disk_hits, 0u);
    EXPECT_EQ(cache.stats().refused, 1u);
    bool said = false;
    for (const Event& e : recent_events())
      said |= e.kind == EventKind::cache && e.reason.find("refused: ") == 0;
    EXPECT_TRUE(said);
    DiskCache again(options());
    const auto kept = again.get(key());
    ASSERT_TRUE(kept);
    EXPECT_TRUE(same(*kept, image()));
  }

  std::string base_, root_;
  Target target_;
  CountingCompiler cc_;
};

TEST_F(DiskCacheTest, KeepsAndReturns) {
  DiskCache cache(options());
  EXPECT_EQ(cache.mode(), DiskCache::Mode::read_write);
  EXPECT_FALSE(cache.get(key()));
  cache.put(key(), image());
  const auto got = cache.get(key());
  ASSERT_TRUE(got);
  EXPECT_TRUE(same(*got, image()));
  EXPECT_EQ(got->imports[0].name, "memset");
  const auto s = cache.stats();
  EXPECT_EQ(s.hits, 1u);
  EXPECT_EQ(s.misses, 1u);
  EXPECT_EQ(s.written, 1u);
  struct stat st;
  ASSERT_EQ(::stat(root_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0700u);
  ASSERT_EQ(::stat(cache.file_path(key()).c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST_F(DiskCacheTest, KeysDifferInEverythingThatMatters) {
  const CacheKey base = key();
  std::vector<CacheKey> others = {key("source "), key("source", "k_2")};
  Target t = target_;
  t.arch = "x86-64-v4";
  others.push_back(cache_key({"source", "k_1"}, t, "counting 1"));
  t = target_;
  t.features = {"+avx512bf16"};
  others.push_back(cache_key({"source", "k_1"}, t, "counting 1"));
  t = target_;
  t.vector_bits = 128;
  others.push_back(cache_key({"source", "k_1"}, t, "counting 1"));
  others.push_back(cache_key({"source", "k_1"}, target_, "counting 2"));
  for (const CacheKey& k : others) EXPECT_NE(k.hash, base.hash) << k.text;
  // What code generation does not see makes no new kernels.
  t = target_;
  t.threads = 7;
  t.l2_bytes = 1;
  EXPECT_EQ(cache_key({"source", "k_1"}, t, "counting 1").hash, base.hash);
}

TEST_F(DiskCacheTest, EveryBitFlip) {
  const std::vector<std::byte> good = encode_cache_file(key(), image());
  std::string fault;
  ASSERT_TRUE(decode_cache_file(good, key(), fault));
  for (size_t bit = 0; bit < good.size() * 8; ++bit) {
    std::vector<std::byte> bad = good;
    bad[bit / 8] ^= std::byte(1 << bit % 8);
    EXPECT_FALSE(decode_cache_file(bad, key(), fault)) << bit;
    EXPECT_NE(fault, "") << bit;
  }
}

TEST_F(DiskCacheTest, EveryTruncationAndExtension) {
  const std::vector<std::byte> good = encode_cache_file(key(), image());
  std::string fault;
  for (size_t n = 0; n < good.size(); ++n) {
    std::vector<std::byte> cut(good.begin(), good.begin() + long(n));
    EXPECT_FALSE(decode_cache_file(cut, key(), fault)) << n;
  }
  std::vector<std::byte> longer = good;
  longer.push_back(std::byte{0});
  EXPECT_FALSE(decode_cache_file(longer, key(), fault));
}

// Damage with a checksum that fits again: the fields themselves are checked as well.
TEST_F(DiskCacheTest, RightChecksumWrongContents) {
  const auto fault_of = [&](const CacheKey& written, void (*damage)(Image&)) {
    Image i = image();
    damage(i);
    std::string fault;
    EXPECT_FALSE(decode_cache_file(encode_cache_file(written, i), key(), fault));
    return fault;
  };
  const auto nothing = [](Image&) {};
  EXPECT_EQ(fault_of(key("other"), nothing), "the file is for another kernel");
  CacheKey same_hash = key("other");
  same_hash.hash = key().hash;  // two texts with one hash
  EXPECT_EQ(fault_of(same_hash, nothing), "the file is for another kernel");
  EXPECT_EQ(fault_of(key(), [](Image& i) { i.entries[0].offset = 64; }), "entry 'k_1' lies outside the code");
  EXPECT_EQ(fault_of(key(), [](Image& i) { i.imports[0].name = "system"; }),
            "import 'system' is not offered to kernels");
  EXPECT_EQ(fault_of(key(), [](Image& i) { i.imports[0].slot = 60; }),
            "the slot of import 'memset' lies outside the code");
  EXPECT_EQ(fault_of(key(), [](Image& i) { i.entries.clear(); }), "no entries");
  EXPECT_EQ(fault_of(key(), [](Image& i) { i.bytes.clear(); }), "no code");
  EXPECT_EQ(fault_of(key(), [](Image& i) { i.entries[0].name.assign(300, 'k'); }), "bad entry table");
}

TEST_F(DiskCacheTest, AttacksOnFiles) {
  const auto edit = [](size_t at, int how) {
    return [=](const std::string& path) {
      std::string s = slurp(path);
      const size_t i = at % s.size();
      s[i] = char(s[i] ^ how);
      spill(path, s);
    };
  };
  for (size_t at : {0, 7, 8, 12, 16, 48, 80, 88, 96, 104, 108, 112, 150, 200, 230, 250, 270, 290})
    attack(cat("flipped bit at ", at).c_str(), edit(at, 1));
  attack("high bit", edit(20, 0x80));
  attack("empty", [](const std::string& p) { spill(p, ""); });
  attack("one byte", [](const std::string& p) { spill(p, "p"); });
  attack("half", [](const std::string& p) { spill(p, slurp(p).substr(0, slurp(p).size() / 2)); });
  attack("one byte short", [](const std::string& p) { spill(p, slurp(p).substr(0, slurp(p).size() - 1)); });
  attack("one byte long", [](const std::string& p) { spill(p, slurp(p) + "x"); });
  attack("zeros", [](const std::string& p) { spill(p, std::string(slurp(p).size(), '\0')); });
  attack("a huge file", [](const std::string& p) { fs::resize_file(p, uint64_t(1) << 33); });
  attack("text", [](const std::string& p) { spill(p, "#!/bin/sh\necho owned\n"); });
  attack("group may write", [](const std::string& p) { ::chmod(p.c_str(), 0620); });
  attack("world may write", [](const std::string& p) { ::chmod(p.c_str(), 0602); });
  attack("link to the good file", [](const std::string& p) {
    fs::rename(p, p + ".moved");
    fs::create_symlink(p + ".moved", p);
  });
  attack("link to nothing", [](const std::string& p) {
    fs::remove(p);
    fs::create_symlink("/no/such/file", p);
  });
  attack("a folder", [](const std::string& p) {
    fs::remove(p);
    fs::create_directory(p);
  });
  attack("a fifo", [](const std::string& p) {
    fs::remove(p);
    ASSERT_EQ(::mkfifo(p.c_str(), 0600), 0);
  });
  attack("another kernel's file", [&](const std::string& p) {
    DiskCache cache(options());
    cache.put(key("other"), image());
    fs::copy_file(cache.file_path(key("other")), p, fs::copy_options::overwrite_existing);
  });
  attack("another target's file", [&](const std::string& p) {
    Target t = target_;
    t.arch = "x86-64-v4";
    const CacheKey k = cache_key({"source", "k_1"}, t, cc_.fingerprint());
    DiskCache cache(options());
    cache.put(k, image());
    fs::copy_file(cache.file_path(k), p, fs::copy_options::overwrite_existing);
  });
  attack("another compiler's file", [&](const std::string& p) {
    const CacheKey k = cache_key({"source", "k_1"}, target_, "counting 0");
    DiskCache cache(options());
    cache.put(k, image());
    fs::copy_file(cache.file_path(k), p, fs::copy_options::overwrite_existing);
  });
  attack("another version", [](const std::string& p) {
    std::string s = slurp(p);
    s[8] = 2;
    spill(p, s);
  });
  attack("another kernel ABI", [](const std::string& p) {
    std::string s = slurp(p);
    s[12] = 2;
    spill(p, s);
  });
  if (::geteuid() == 0)
    attack("another owner", [](const std::string& p) { ASSERT_EQ(::chown(p.c_str(), 12345, 12345), 0); });
}

TEST_F(DiskCacheTest, FoldersThatCannotBeTrusted) {
  const auto refused = [&](const char* part) {
    DiskCache cache(options());
    EXPECT_EQ(cache.mode(), DiskCache::Mode::off) << part;
    cache.put(key(), image());
    EXPECT_FALSE(cache.get(key()));
    const auto events = recent_events();
    ASSERT_FALSE(events.empty());
    EXPECT_NE(events.back().reason.find(part), std::string::npos) << events.back().reason;
    // Work goes on without it.
    KernelStore store({.compiler = &cc_, .disk = &cache});
    const KernelText text{"source", "k_1"};
    EXPECT_TRUE(same(*store.images({&text, 1}, target_)[0], image()));
  };
  const auto fresh = [&] {
    fs::remove_all(root_);
    DiskCache cache(options());
    cache.put(key(), image());
  };
  fresh();
  ::chmod(root_.c_str(), 0770);
  refused("others may write to it");
  fresh();
  ::chmod(root_.c_str(), 0707);
  refused("others may write to it");
  fresh();
  ::chmod((root_ + "/v1").c_str(), 0777);
  refused("others may write to it");
  fresh();
  fs::rename(root_, root_ + ".real");
  fs::create_symlink(root_ + ".real", root_);
  refused("is a link or no folder");
  fs::remove(root_);
  fs::remove_all(root_ + ".real");
  fresh();
  fs::rename(root_ + "/v1", root_ + "/v1.real");
  fs::create_symlink("v1.real", root_ + "/v1");
  refused("is a link or no folder");
  fs::remove_all(root_);
  spill(root_, "a file");
  refused("is a link or no folder");
  fs::remove_all(root_);
  if (::geteuid() == 0) {
    fresh();
    ASSERT_EQ(::chown(root_.c_str(), 12345, 12345), 0);
    refused("another user");
    fresh();
    ASSERT_EQ(::chown((root_ + "/v1").c_str(), 12345, 12345), 0);
    refused("another user");
  }
  root_ = "relative/folder";
  refused("not an absolute path");
  root_ = "";
  refused("no home folder");
}

TEST_F(DiskCacheTest, ReadOnlyWritesNothing) {
  {
    DiskCache none(options(DiskCache::Mode::read_only));
  }
  EXPECT_FALSE(fs::exists(root_));
  {
    DiskCache cache(options());
    cache.put(key(), image());
  }
  DiskCache cache(options(DiskCache::Mode::read_only));
  EXPECT_TRUE(cache.get(key()));
  cache.put(key("other"), image());
  EXPECT_FALSE(cache.get(key("other")));
  EXPECT_TRUE(cache.try_lock(key()));
  const std::string path = cache.file_path(key());
  spill(path, "damaged");
  EXPECT_FALSE(cache.get(key()));
  EXPECT_TRUE(fs::exists(path));
  int files = 0;
  for (const auto& e : fs::directory_iterator(root_ + "/v1")) files += e.exists();
  EXPECT_EQ(files, 1);
}

TEST_F(DiskCacheTest, DropsWhatWasUsedLongestAgo) {
  DiskCache::Options o = options();
  const int64_t each = int64_t(encode_cache_file(key("source 00"), image()).size());
  o.max_bytes = each * 10;
  DiskCache cache(o);
  const auto nth = [&](int i) { return key(cat("source ", i < 10 ? "0" : "", i)); };
  const time_t now = ::time(nullptr);
  for (int i = 0; i < 10; ++i) {
    cache.put(nth(i), image());
    const timespec t[2] = {{now - 90000 + i, 0}, {now - 90000 + i, 0}};
    ::utimensat(AT_FDCWD, cache.file_path(nth(i)).c_str(), t, 0);
  }
  EXPECT_TRUE(cache.get(nth(0)));  // used now
  spill(root_ + "/v1/.tmp-forgotten", "x");
  const timespec old[2] = {{now - 90000, 0}, {now - 90000, 0}};
  ::utimensat(AT_FDCWD, (root_ + "/v1/.tmp-forgotten").c_str(), old, 0);
  cache.put(nth(10), image());
  EXPECT_EQ(cache.stats().evicted, 3u);
  EXPECT_TRUE(cache.get(nth(0)));
  EXPECT_TRUE(cache.get(nth(10)));
  for (int i : {1, 2, 3}) EXPECT_FALSE(fs::exists(cache.file_path(nth(i)))) << i;
  for (int i : {4, 9}) EXPECT_TRUE(cache.get(nth(i))) << i;
  EXPECT_FALSE(fs::exists(root_ + "/v1/.tmp-forgotten"));
}

TEST_F(DiskCacheTest, WriteFailuresLeaveNothing) {
  DiskCache cache(options());
  cache.put(key(), image());
  fs::remove(cache.file_path(key()));
  fs::create_directories(cache.file_path(key()) + "/full");  // rename cannot replace it
  cache.put(key(), image());
  EXPECT_FALSE(cache.get(key()));
  for (const auto& e : fs::directory_iterator(root_ + "/v1")) EXPECT_TRUE(e.is_directory()) << e.path();
}

TEST_F(DiskCacheTest, EnvironmentChoosesTheFolder) {
  const auto with = [](const char* name, const char* value) {
    value ? ::setenv(name, value, 1) : ::unsetenv(name);
  };
  const char* const names[] = {"PHLOX_CACHE", "PHLOX_CACHE_DIR", "PHLOX_CACHE_SIZE", "XDG_CACHE_HOME",
                               "HOME"};
  std::vector<std::optional<std::string>> before;
  for (const char* n : names)
    before.push_back(std::getenv(n) ? std::optional<std::string>(std::getenv(n)) : std::nullopt);
  for (const char* n : names) with(n, nullptr);
  EXPECT_EQ(DiskCache::environment_options().folder, "");
  with("HOME", "/home/x");
  EXPECT_EQ(DiskCache::environment_options().folder, "/home/x/.cache/phlox");
  with("XDG_CACHE_HOME", "relative");
  EXPECT_EQ(DiskCache::environment_options().folder, "/home/x/.cache/phlox");
  with("XDG_CACHE_HOME", "/var/c");
  EXPECT_EQ(DiskCache::environment_options().folder, "/var/c/phlox");
  with("PHLOX_CACHE_DIR", "/mine");
  EXPECT_EQ(DiskCache::environment_options().folder, "/mine");
  EXPECT_EQ(DiskCache::environment_options().mode, DiskCache::Mode::read_write);
  with("PHLOX_CACHE", "ro");
  EXPECT_EQ(DiskCache::environment_options().mode, DiskCache::Mode::read_only);
  with("PHLOX_CACHE", "off");
  EXPECT_EQ(DiskCache::environment_options().mode, DiskCache::Mode::off);
  with("PHLOX_CACHE", "maybe");
  EXPECT_THROW(DiskCache::environment_options(), Error);
  with("PHLOX_CACHE", nullptr);
  with("PHLOX_CACHE_SIZE", "3");
  EXPECT_EQ(DiskCache::environment_options().max_bytes, 3 << 20);
  for (const char* bad : {"0", "-1", "x", "3x", "99999999999999999999"}) {
    with("PHLOX_CACHE_SIZE", bad);
    EXPECT_THROW(DiskCache::environment_options(), Error) << bad;
  }
  for (size_t i = 0; i < before.size(); ++i) with(names[i], before[i] ? before[i]->c_str() : nullptr);
}

TEST_F(DiskCacheTest, OneProcessCompilesTheOtherWaits) {
  DiskCache cache(options());
  const pid_t child = ::fork();
  if (child == 0) {
    DiskCache mine(options());
    auto lock = mine.try_lock(key());
    if (!lock) ::_exit(1);
    std::ofstream(base_ + "/held") << "x";
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    mine.put(key(), image());
    lock.reset();
    ::_exit(0);
  }
  while (!fs::exists(base_ + "/held")) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_FALSE(cache.try_lock(key()));
  KernelStore store({.compiler = &cc_, .disk = &cache});
  const KernelText text{"source", "k_1"};
  EXPECT_TRUE(same(*store.images({&text, 1}, target_)[0], image()));
  EXPECT_EQ(store.stats().compiled, 0u);
  EXPECT_EQ(store.stats().disk_hits, 1u);
  int status = 1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_TRUE(cache.try_lock(key()));
}

}  // namespace
