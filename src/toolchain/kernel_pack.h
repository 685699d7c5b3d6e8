// PackFile: kernels that ship with phlox, as one file for one level of x86-64: an index of text hashes and,
// behind it, one cache-file record a kernel. It is mapped, so a process pays for the kernels that it meets. A
// record is checked when it is first asked for, like a file of the disk cache; the index when the pack is
// opened.
//
// The file belongs to the installation and is trusted as far as the library beside it: it is refused when
// somebody else owns it or everybody may write to it; the other checks find damage.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mmap.h"
#include "toolchain/kernel_store.h"

namespace phlox {

class PackFile final : public KernelPack {
 public:
  explicit PackFile(const std::string& path);  // throws Error(not_found | io | bad_file)
  // Null for targets below the pack's level. A damaged record is null too, with an event.
  std::optional<Image> find(const Hash256& text, const Target& target) const override;
  size_t size() const { return count_; }
  const std::string& arch() const { return arch_; }

 private:
  struct IndexEntry {
    Hash256 text;
    uint64_t offset, bytes;
  };
  IndexEntry entry(size_t i) const;

  MappedFile file_;
  std::string arch_;
  size_t count_ = 0, index_ = 0;
};

// Writes the pack of these kernels, each with the image of the same place. `arch` is "x86-64-v3" or another
// level.
void write_kernel_pack(const std::string& path, const std::string& arch, std::span<const KernelText> texts,
                       std::span<const std::shared_ptr<const Image>> images);

// The packs of this installation ("phlox_kernels.x86-64-v4.pack", v3), those of them that exist and are
// sound.
std::vector<std::shared_ptr<const KernelPack>> shipped_packs();

}  // namespace phlox
