#include "base/mmap.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/file.h"

namespace phlox {

MappedFile::MappedFile(const std::string& path, Contents contents) : path_(path) {
  // O_NONBLOCK: opening a pipe that nobody writes must not hang before it can be refused.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) fail_io("open", path, errno);
  struct stat st;
  int error = ::fstat(fd, &st) ? errno : 0;
  if (!error && !S_ISREG(st.st_mode)) error = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
  if (!error && st.st_size > 0) {
    const int access = contents == Contents::copy_on_write ? PROT_READ | PROT_WRITE : PROT_READ;
    void* p = ::mmap(nullptr, size_t(st.st_size), access, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
    if (p == MAP_FAILED) {
      error = errno;
    } else {
      data_ = static_cast<const std::byte*>(p);
      size_ = size_t(st.st_size);
    }
  }
  ::close(fd);
  if (error == EINVAL)
    fail(ErrorCode::io, {.op = "open",
                         .fact = "cannot map a file that is not a regular file",
                         .got = path,
                         .remedy = "copy its contents to a file first"});
  if (error) fail_io("map", path, error);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

void MappedFile::advise(Access access, int64_t offset, int64_t bytes) const noexcept {
  if (!data_ || bytes <= 0 || offset >= size()) return;
  offset = std::max<int64_t>(offset, 0);
  const int64_t end = offset + std::min(bytes, size() - offset);
  offset &= -int64_t(4096);  // madvise wants the start on a page
  static constexpr int advice[] = {MADV_SEQUENTIAL, MADV_RANDOM, MADV_WILLNEED};
  (void)::madvise(const_cast<std::byte*>(data_) + offset, size_t(end - offset), advice[int(access)]);
}

}  // namespace phlox
