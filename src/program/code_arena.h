// CodeArena: where kernel images become callable. Memory comes in chunks that are mapped twice from one
// memfd: one view can be written, the other executed, so no address is ever both. Loading is a copy into the
// writable view and a few stores for imports: microseconds, and about the image's own size of memory.
//
// Invariants: blocks never move; a block's code is complete before load() returns; every entry lies inside
// its block. After a fork parent and child share the chunks they had, so both stop writing to those and go on
// in new ones. Refuses: images with faults (see image_fault), systems that forbid executable memory:
// Error(device).
#pragma once
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

#include "program/image.h"

namespace phlox {

class CodeArena {
 public:
  // A loaded image: `code` is its executable base. Valid until unload.
  struct Block {
    const std::byte* code = nullptr;
    size_t size = 0;
    void* at(uint64_t offset) const { return const_cast<std::byte*>(code + offset); }
  };
  struct Stats {
    uint64_t blocks, bytes_used, bytes_mapped;  // now
  };

  CodeArena() = default;
  CodeArena(const CodeArena&) = delete;
  CodeArena& operator=(const CodeArena&) = delete;
  ~CodeArena();  // unmaps everything

  Block load(const Image& image);
  void unload(Block block) noexcept;  // no thread may be in the code, or call it again
  Stats stats() const;
  std::mutex& mutex() { return mutex_; }  // for fork handlers

 private:
  struct Range {
    size_t offset, size;
  };  // free, sorted by offset, never adjacent
  struct Chunk {
    std::byte* rw = nullptr;
    std::byte* rx = nullptr;
    size_t size = 0;
    uint32_t fork_count = 0;
    std::vector<Range> free;
  };
  Chunk& chunk_with(size_t bytes, size_t& offset);
  void add_chunk(size_t bytes);

  mutable std::mutex mutex_;
  std::vector<Chunk> chunks_;
  uint64_t blocks_ = 0, used_ = 0;
};

CodeArena& code_arena();  // the process-wide one

// The offset of entry `name`. Throws Error(not_found).
uint64_t entry_offset(const Image& image, std::string_view name);

}  // namespace phlox
