#include "toolchain/disk_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "base/error.h"
#include "base/event.h"

namespace phlox {

namespace {

constexpr const char* version_folder = "v1";
constexpr int64_t max_file = 192 << 20;
constexpr time_t touch_after_s = 3600, stale_after_s = 3600;

// Why something on disk cannot be trusted as ours, or null.
const char* distrust(const struct stat& st) {
  if (st.st_uid != ::geteuid()) return "it belongs to another user";
  if (st.st_mode & 022) return "others may write to it";
  return nullptr;
}

// Opens a folder of ours below `at`, making it when asked. -1 with `why`.
int open_folder(int at, const std::string& path, bool make, std::string& why) {
  if (make && ::mkdirat(at, path.c_str(), 0700) != 0 && errno != EEXIST) {
    why = cat("cannot make ", path, ": ", std::strerror(errno));
    return -1;
  }
  const int fd = ::openat(at, path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  struct stat st;
  if (fd < 0 || ::fstat(fd, &st) != 0) {
    // O_DIRECTORY makes a link at the end look like a file.
    why = errno == ENOTDIR || errno == ELOOP ? cat(path, " is a link or no folder")
                                             : cat("cannot open ", path, ": ", std::strerror(errno));
  } else if (const char* fault = distrust(st)) {
    why = cat("refused ", path, ": ", fault);
  } else {
    return fd;
  }
  if (fd >= 0) ::close(fd);
  return -1;
}

// The folders above ours, as far as they are missing.
void make_parents(const std::string& path) {
  for (size_t slash = path.find('/', 1); slash != path.npos; slash = path.find('/', slash + 1))
    ::mkdir(path.substr(0, slash).c_str(), 0700);
}

std::string random_name(const char* prefix) {
  uint64_t r[2] = {};
  if (::getrandom(r, sizeof r, 0) != ssize_t(sizeof r))
    r[0] = uint64_t(::getpid()), r[1] = uint64_t(::clock());
  std::string s = prefix;
  for (uint64_t v : r)
    for (int shift = 60; shift >= 0; shift -= 4) s += "0123456789abcdef"[v >> shift & 15];
  return s;
}

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    bytes = bytes.subspan(size_t(n));
  }
  return true;
}

bool read_all(int fd, std::span<std::byte> to) {
  while (!to.empty()) {
    const ssize_t n = ::read(fd, to.data(), to.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to = to.subspan(size_t(n));
  }
  return true;
}

std::string file_name(const CacheKey& key) { return hex(key.hash) + ".k"; }
std::string subject(const std::string& name) { return cat("cache file ", name); }

}  // namespace

DiskCache::Options DiskCache::environment_options() {
  Options o;
  const auto env = [](const char* name) {
    const char* v = std::getenv(name);
    return std::string(v ? v : "");
  };
  const std::string mode = env("PHLOX_CACHE");
  if (mode == "off")
    o.mode = Mode::off;
  else if (mode == "ro")
    o.mode = Mode::read_only;
  else if (!mode.empty() && mode != "on")
    fail(ErrorCode::invalid_argument, {.op = "PHLOX_CACHE",
                                       .fact = "unknown mode",
                                       .got = cat("'", mode, "'"),
                                       .expected = "on, off or ro"});
  if (const std::string size = env("PHLOX_CACHE_SIZE"); !size.empty()) {
    int64_t mib = 0;
    const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), mib);
    if (error != std::errc() || end != size.data() + size.size() || mib < 1 || mib > int64_t(1) << 30)
      fail(ErrorCode::invalid_argument, {.op = "PHLOX_CACHE_SIZE",
                                         .fact = "not a size",
                                         .got = cat("'", size, "'"),
                                         .expected = "MiB, from 1"});
    o.max_bytes = mib << 20;
  }
  o.folder = env("PHLOX_CACHE_DIR");
  if (o.folder.empty() && env("XDG_CACHE_HOME").starts_with("/")) o.folder = env("XDG_CACHE_HOME") + "/phlox";
  if (o.folder.empty() && env("HOME").starts_with("/")) o.folder = env("HOME") + "/.cache/phlox";
  return o;
}

DiskCache::DiskCache(Options options) : options_(std::move(options)) {
  while (options_.folder.size() > 1 && options_.folder.back() == '/') options_.folder.pop_back();
  if (options_.mode == Mode::off) return;
  if (!options_.folder.starts_with("/")) {
    turn_off(options_.folder.empty() ? "no home folder"
                                     : cat("'", options_.folder, "' is not an absolute path"));
    return;
  }
  const bool make = options_.mode == Mode::read_write;
  if (make) make_parents(options_.folder);
  std::string why;
  const int root = open_folder(AT_FDCWD, options_.folder, make, why);
  if (root >= 0) {
    folder_ = open_folder(root, version_folder, make, why);
    ::close(root);
  }
  if (folder_ < 0) turn_off(std::move(why));
}

DiskCache::~DiskCache() {
  if (folder_ >= 0) ::close(folder_);
}

void DiskCache::turn_off(std::string why) {
  options_.mode = Mode::off;
  emit_event(EventKind::cache, "kernel cache", cat("kernels are not kept on disk: ", why));
}

std::string DiskCache::file_path(const CacheKey& key) const {
  return cat(options_.folder, "/", version_folder, "/", file_name(key));
}

void DiskCache::refuse(const std::string& name, std::string why) {
  ++refused_;
  if (options_.mode == Mode::read_write && ::unlinkat(folder_, name.c_str(), 0) != 0 && errno == EISDIR)
    ::unlinkat(folder_, name.c_str(), AT_REMOVEDIR);
  emit_event(EventKind::cache, subject(name), cat("refused: ", why));
}

std::optional<Image> DiskCache::get(const CacheKey& key) {
  if (options_.mode == Mode::off) return std::nullopt;
  const std::string name = file_name(key);
  // O_NONBLOCK: a fifo in the file's place must not hold us.
  const int fd = ::openat(folder_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) {
    if (errno == ENOENT)
      ++misses_;
    else
      refuse(name, errno == ELOOP ? "it is a link" : std::strerror(errno));
    return std::nullopt;
  }
  std::string fault;
  std::optional<Image> image;
  struct stat st;
  if (::fstat(fd, &st) != 0)
    fault = std::strerror(errno);
  else if (!S_ISREG(st.st_mode))
    fault = "it is no plain file";
  else if (const char* why = distrust(st))
    fault = why;
  else if (st.st_size > max_file)
    fault = "it is too large";
  else {
    std::vector<std::byte> bytes(static_cast<size_t>(st.st_size));
    if (!read_all(fd, bytes))
      fault = "it could not be read";
    else
      image = decode_cache_file(bytes, key, fault);
    // The time of last use, coarse, so that hits do not write.
    if (image && options_.mode == Mode::read_write && ::time(nullptr) - st.st_mtime > touch_after_s)
      ::futimens(fd, nullptr);
  }
  ::close(fd);
  if (image)
    ++hits_;
  else
    refuse(name, std::move(fault));
  return image;
}

void DiskCache::put(const CacheKey& key, const Image& image) {
  if (options_.mode != Mode::read_write) return;
  const std::vector<std::byte> bytes = encode_cache_file(key, image);
  const std::string name = file_name(key), temporary = random_name(".tmp-");
  const int fd =
      ::openat(folder_, temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) {
    emit_event(EventKind::cache, subject(name), cat("not written: ", std::strerror(errno)));
    return;
  }
  bool good = write_all(fd, bytes);
  int error = errno;
  if (::close(fd) != 0 && good) good = false, error = errno;
  if (good && ::renameat(folder_, temporary.c_str(), folder_, name.c_str()) != 0) good = false, error = errno;
  if (!good) {
    ::unlinkat(folder_, temporary.c_str(), 0);
    emit_event(EventKind::cache, subject(name), cat("not written: ", std::strerror(error)));
    return;
  }
  ++written_;
  std::lock_guard lock(room_mutex_);
  if (bytes_ >= 0) bytes_ += int64_t(bytes.size());
  if (bytes_ < 0 || bytes_ > options_.max_bytes) make_room();
}

// Looks at the whole folder: drops forgotten temporary files and, above the limit, the kernels used longest
// ago until a fifth is free. Other processes may do the same at once; a file that vanishes is no matter.
void DiskCache::make_room() {
  struct File {
    std::string name;
    int64_t bytes;
    time_t used;
  };
  std::vector<File> files;
  bytes_ = 0;
  const int copy = ::openat(folder_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* const list = copy < 0 ? nullptr : ::fdopendir(copy);
  if (!list) {
    if (copy >= 0) ::close(copy);
    return;
  }
  const time_t now = ::time(nullptr);
  while (const dirent* e = ::readdir(list)) {
    struct stat st;
    if (::fstatat(folder_, e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) continue;
    const std::string_view name = e->d_name;
    if (name.starts_with(".tmp-") || name.starts_with(".lock-")) {
      if (now - st.st_mtime > stale_after_s) ::unlinkat(folder_, e->d_name, 0);
      continue;
    }
    files.push_back({e->d_name, st.st_size, st.st_mtime});
    bytes_ += st.st_size;
  }
  ::closedir(list);
  if (bytes_ <= options_.max_bytes) return;
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) {
    return a.used != b.used ? a.used < b.used : a.name < b.name;
  });
  uint64_t dropped = 0;
  for (const File& f : files) {
    if (bytes_ <= options_.max_bytes / 5 * 4) break;
    ::unlinkat(folder_, f.name.c_str(), 0);
    bytes_ -= f.bytes;
    ++dropped;
  }
  evicted_ += dropped;
  emit_event(EventKind::cache, "kernel cache",
             cat("dropped the ", dropped, " kernels used longest ago to stay below ",
                 options_.max_bytes >> 20, " MiB"));
}

std::optional<DiskCache::Lock> DiskCache::try_lock(const CacheKey& key) {
  std::string name = cat(".lock-", hex(key.hash));
  if (options_.mode != Mode::read_write) return Lock(-1, -1, {});
  const int fd =
      ::openat(folder_, name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
  if (fd < 0) return Lock(-1, -1, {});
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
    ::close(fd);
    return std::nullopt;
  }
  return Lock(folder_, fd, std::move(name));
}

DiskCache::Lock::Lock(Lock&& o) noexcept : folder_(o.folder_), fd_(o.fd_), name_(std::move(o.name_)) {
  o.fd_ = -1;
}

DiskCache::Lock& DiskCache::Lock::operator=(Lock&& o) noexcept {
  std::swap(folder_, o.folder_);
  std::swap(fd_, o.fd_);
  std::swap(name_, o.name_);
  return *this;
}

// The name goes first: who opened it before still holds a lock on a file without a name, and may compile once
// more.
DiskCache::Lock::~Lock() {
  if (fd_ < 0) return;
  ::unlinkat(folder_, name_.c_str(), 0);
  ::close(fd_);
}

DiskCache::Stats DiskCache::stats() const { return {hits_, misses_, refused_, written_, evicted_}; }

}  // namespace phlox
