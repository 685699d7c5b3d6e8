// Files: reading a whole file, and replacing one so that readers see the old content or the new, never a
// mixture.
//
// FileReplacement writes a temporary file in the target's folder, and commit() makes it durable and renames
// it over the target. Invariant: until commit() returns, the target is what it was; after any failure, and in
// the destructor without commit(), the temporary file is gone. (A crash can leave "<name>.tmp-<random>"
// behind, never a torn target.) Refuses: appending, and following a symbolic link at the target: the link
// itself is replaced.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace phlox {

// Throws Error(not_found | io): "<action>: <system's reason>; got <path>".
[[noreturn]] void fail_io(const char* action, const std::string& path, int error_number);

std::string read_file(const std::string& path);  // throws Error(not_found | io)

class FileReplacement {
 public:
  // `mode` is narrowed by the process's umask, as for any new file.
  explicit FileReplacement(std::string target, unsigned mode = 0666);
  FileReplacement(const FileReplacement&) = delete;
  FileReplacement& operator=(const FileReplacement&) = delete;
  ~FileReplacement();

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  int64_t position() const { return position_; }
  const std::string& temporary_path() const { return temporary_; }
  // fsync, rename, fsync of the folder. Throws Error(io): the target is then intact, unless only the last
  // step failed, which the text says.
  void commit();

 private:
  void discard() noexcept;
  std::string target_, temporary_;
  int fd_ = -1;
  int64_t position_ = 0;
};

void replace_file(const std::string& path, std::span<const std::byte> bytes, unsigned mode = 0666);

}  // namespace phlox
