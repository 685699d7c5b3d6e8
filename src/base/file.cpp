#include "base/file.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace phlox {

void fail_io(const char* action, const std::string& path, int error_number) {
  const ErrorCode code =
      error_number == ENOENT || error_number == ENOTDIR ? ErrorCode::not_found : ErrorCode::io;
  const char* reason = strerrordesc_np(error_number);
  std::string remedy;
  if (error_number == ENOSPC || error_number == EDQUOT) remedy = "free some space on that file system";
  if (error_number == EACCES || error_number == EPERM)
    remedy = "check the permissions of the file and its folder";
  fail(code, {.op = action,
              .fact = reason ? reason : cat("system error ", error_number),
              .got = path,
              .remedy = remedy});
}

std::string read_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_io("open", path, errno);
  struct stat st;
  std::string s;
  size_t used = 0;
  int error = ::fstat(fd, &st) ? errno : 0;
  if (!error)
    s.resize(size_t(st.st_size) + 1);  // one more, so that a file of the expected size ends in one read
  while (!error) {
    if (used == s.size()) s.resize(s.size() * 2);  // grew meanwhile, or a /proc file that claims to be empty
    const ssize_t n = ::read(fd, s.data() + used, s.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) error = errno;
    if (n <= 0) break;
    used += size_t(n);
  }
  ::close(fd);
  if (error) fail_io("read", path, error);
  s.resize(used);
  return s;
}

static std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash ? path.substr(0, slash) : "/";
}

// A name that others can neither guess nor already have opened.
static std::string temporary_name(const std::string& target) {
  uint64_t random = 0;
  if (::getrandom(&random, sizeof random, 0) != ssize_t(sizeof random)) fail_io("getrandom", target, errno);
  static const char digits[] = "0123456789abcdef";
  std::string s = target + ".tmp-";
  for (int i = 0; i < 16; ++i) s += digits[(random >> (4 * i)) & 15];
  return s;
}

FileReplacement::FileReplacement(std::string target, unsigned mode) : target_(std::move(target)) {
  do {
    temporary_ = temporary_name(target_);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  } while (fd_ < 0 && (errno == EEXIST || errno == EINTR));
  if (fd_ < 0) fail_io("create", target_, errno);
}

FileReplacement::~FileReplacement() { discard(); }

void FileReplacement::discard() noexcept {
  if (fd_ < 0) return;
  ::close(std::exchange(fd_, -1));
  ::unlink(temporary_.c_str());
}

void FileReplacement::write(std::span<const std::byte> bytes) {
  PHLOX_CHECK(fd_ >= 0, "write after commit or failure: ", target_);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      discard();
      fail_io("write", target_, error);
    }
    position_ += n;
    bytes = bytes.subspan(size_t(n));
  }
}

void FileReplacement::commit() {
  PHLOX_CHECK(fd_ >= 0, "commit after commit or failure: ", target_);
  int error = 0;
  const char* action = "fsync";
  if (::fsync(fd_)) error = errno;
  // Some file systems report a failed write only here.
  if (!error) {
    action = "close";
    if (::close(std::exchange(fd_, -1)) && errno != EINTR) error = errno;
  }
  if (!error) {
    action = "rename";
    if (::rename(temporary_.c_str(), target_.c_str())) error = errno;
  }
  if (error) {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
    ::unlink(temporary_.c_str());
    fail_io(action, target_, error);
  }
  // Without this a power loss may bring the old name back; folders of some file systems cannot be synced
  // (EINVAL).
  const std::string folder = folder_of(target_);
  const int dir = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir < 0) return;
  if (::fsync(dir) && errno != EINVAL && errno != EROFS) error = errno;
  ::close(dir);
  if (error) fail_io("fsync of the folder after the file was replaced", folder, error);
}

void replace_file(const std::string& path, std::span<const std::byte> bytes, unsigned mode) {
  FileReplacement f(path, mode);
  f.write(bytes);
  f.commit();
}

}  // namespace phlox
