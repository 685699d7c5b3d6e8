// MappedFile: a whole file as read-only bytes, mapped on demand. Move-only; unmapped by the destructor.
// Invariant: bytes() stays valid and 4096-byte aligned for the life of the object, also when the name is
// removed or replaced meanwhile (see base/file.h: replacing never changes a mapped file). Refuses:
// directories, devices and pipes; writing to the file (Contents::copy_on_write: bytes may be changed in memory, the
// file never is). A file that another process truncates in place raises SIGBUS on
// access: files that phlox reads are replaced, never rewritten.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>

namespace phlox {

class MappedFile {
 public:
  enum class Access : uint8_t { sequential, random, will_need };

  MappedFile() = default;                        // no file, no bytes
  enum class Contents : uint8_t { read_only, copy_on_write };
  // Throws Error(not_found | io) naming path and reason.
  explicit MappedFile(const std::string& path, Contents contents = Contents::read_only);
  MappedFile(MappedFile&& o) noexcept { swap(o); }
  MappedFile& operator=(MappedFile&& o) noexcept {
    MappedFile(std::move(o)).swap(*this);
    return *this;
  }
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  int64_t size() const { return int64_t(size_); }
  const std::string& path() const { return path_; }
  // A hint about the range [offset, offset + bytes), clipped to the file. Never fails.
  void advise(Access access, int64_t offset = 0, int64_t bytes = INT64_MAX) const noexcept;

 private:
  void swap(MappedFile& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    path_.swap(o.path_);
  }
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  std::string path_;
};

}  // namespace phlox
