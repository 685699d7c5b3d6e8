#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>

#include "base/mmap.h"

namespace phlox {
namespace fs = std::filesystem;

namespace {
struct Folder {
  std::string path;
  Folder() {
    std::string name = (fs::temp_directory_path() / "phlox-file-test-XXXXXX").string();
    path = ::mkdtemp(name.data());
  }
  ~Folder() { fs::remove_all(path); }
  std::string operator/(const char* name) const { return path + "/" + name; }
  int files() const { return int(std::distance(fs::directory_iterator(path), fs::directory_iterator())); }
};
}  // namespace

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

static void put(const std::string& path, std::string_view text) {
  replace_file(path, std::as_bytes(std::span(text.data(), text.size())));
}

TEST(File, replaces_and_reads_back) {
  Folder d;
  put(d / "a", "first");
  put(d / "a", "second");
  EXPECT_EQ(read_file(d / "a"), "second");
  EXPECT_EQ(d.files(), 1);
  put(d / "a", "");
  EXPECT_EQ(read_file(d / "a"), "");
  EXPECT_GT(read_file("/proc/self/status").size(), 100u);  // claims size 0
}

TEST(File, without_commit_the_old_file_stays_and_nothing_is_left) {
  Folder d;
  put(d / "a", "old");
  {
    FileReplacement f(d / "a");
    f.write("half of the ne");
    EXPECT_EQ(f.position(), 14);
    EXPECT_EQ(d.files(), 2);
    EXPECT_TRUE(f.temporary_path().starts_with(d.path));
  }
  EXPECT_EQ(read_file(d / "a"), "old");
  EXPECT_EQ(d.files(), 1);
}

TEST(File, a_failed_write_keeps_the_old_file) {
  Folder d;
  put(d / "a", "old");
  // A file size limit makes write fail as a full disk does.
  struct rlimit saved;
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &saved), 0);
  std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit tiny = saved;
  tiny.rlim_cur = 100;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &tiny), 0);
  const std::string text = error_of([&] { put(d / "a", std::string(200, 'x')); }, ErrorCode::io);
  ::setrlimit(RLIMIT_FSIZE, &saved);
  std::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(text, "write: File too large; got " + (d / "a"));
  EXPECT_EQ(read_file(d / "a"), "old");
  EXPECT_EQ(d.files(), 1);
}

TEST(File, a_failed_rename_cleans_up) {
  Folder d;
  fs::create_directory(d / "dir");
  fs::create_directory(d / "dir/sub");
  error_of([&] { put(d / "dir", "x"); }, ErrorCode::io);
  EXPECT_EQ(d.files(), 1);
}

TEST(File, errors_name_the_path) {
  Folder d;
  EXPECT_EQ(error_of([&] { read_file(d / "none"); }, ErrorCode::not_found),
            "open: No such file or directory; got " + (d / "none"));
  EXPECT_EQ(error_of([&] { put(d / "no/such", "x"); }, ErrorCode::not_found),
            "create: No such file or directory; got " + (d / "no/such"));
  EXPECT_EQ(error_of([&] { read_file(d.path); }, ErrorCode::io), "read: Is a directory; got " + d.path);
}

TEST(File, mode_is_narrowed_by_umask) {
  Folder d;
  const mode_t old = ::umask(022);
  replace_file(d / "open", {}, 0666);
  replace_file(d / "secret", {}, 0600);
  ::umask(old);
  struct stat st;
  ::stat((d / "open").c_str(), &st);
  EXPECT_EQ(st.st_mode & 0777, 0644u);
  ::stat((d / "secret").c_str(), &st);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

TEST(MappedFile, maps_and_survives_replacement) {
  Folder d;
  put(d / "a", "mapped bytes");
  MappedFile m(d / "a");
  put(d / "a", "others");
  ASSERT_EQ(m.size(), 12);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(m.bytes().data()), 12), "mapped bytes");
  m.advise(MappedFile::Access::will_need, 5, 100);
  m.advise(MappedFile::Access::random);
  m.advise(MappedFile::Access::sequential, 100, 1);
  MappedFile n = std::move(m);
  EXPECT_EQ(m.size(), 0);
  EXPECT_EQ(n.size(), 12);
  n = MappedFile();
  EXPECT_EQ(n.size(), 0);
}

TEST(MappedFile, empty_files_and_errors) {
  Folder d;
  put(d / "empty", "");
  EXPECT_EQ(MappedFile(d / "empty").size(), 0);
  EXPECT_EQ(error_of([&] { MappedFile m(d / "none"); }, ErrorCode::not_found),
            "open: No such file or directory; got " + (d / "none"));
  EXPECT_EQ(error_of([&] { MappedFile m(d.path); }, ErrorCode::io), "map: Is a directory; got " + d.path);
  EXPECT_EQ(
      error_of([&] { MappedFile m("/dev/null"); }, ErrorCode::io),
      "open: cannot map a file that is not a regular file; got /dev/null; copy its contents to a file first");
}

}  // namespace phlox
