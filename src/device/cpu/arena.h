// Arena: the caching allocator of host memory. Fresh pages cost more than most arithmetic done on them, so
// memory once obtained is kept: small blocks (to 64 KiB) in free lists of the thread and behind them in slabs
// of one size class, large ones in spans of huge-page-advised segments, which split and merge.
//
// Invariants: blocks are 64-byte aligned and contents undefined; a block is at most 25 % (large: one 16 KiB
// unit) longer than its request; reusing memory causes no page fault; committed memory never exceeds the
// limit. Any thread may free any block. free() finds a block's size in a table indexed by the address, so
// blocks carry no headers. Nothing returns to the system before release_cached(), or before the limit would
// refuse a request. Refuses: foreign, interior and twice freed large pointers (the process stops);
// reallocation. With the address sanitizer each block is a heap block of its own, so that the sanitizer sees
// all misuse.
#pragma once
#include <cstddef>
#include <cstdint>

#include "device/device.h"

namespace phlox {

class Arena {
 public:
  // The process's arena. PHLOX_CPU_MEMORY_LIMIT (bytes, with K, M, G or T for powers of 1024) sets its limit,
  // else the memory that this machine or its control group has.
  static Arena& host();

  // Null only for bytes == 0. Throws Error(out_of_memory), which leaves everything as it was.
  void* alloc(int64_t bytes);
  void free(void* p) noexcept;
  int64_t block_bytes(const void* p) const;  // what alloc really gave

  // allocated: in blocks of the user's; reserved: committed from the system; alloc_count: calls so far. Peaks
  // may miss small blocks that threads took from their own lists.
  MemoryStats stats() const;
  void reset_peaks();
  // Gives free memory back to the system, with this thread's lists but not those of other threads.
  void release_cached();
  int64_t limit() const;
  void set_limit(int64_t bytes);  // below what is in use now: only new requests are refused
  void verify() const;            // checks the invariants; for tests

  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

 private:
  template <class T>
  friend T& root_object();
  Arena();
  ~Arena() = delete;
  struct State;
  State* state_;
};

// "12345", "512M", "3G"; throws Error(invalid_argument) naming `what`.
int64_t parse_bytes(const char* text, const char* what);
// Main memory of the machine, or of the control group where that is less.
int64_t available_memory();
[[noreturn]] void out_of_memory(int64_t request, const MemoryStats& stats, int64_t largest, int64_t limit);

}  // namespace phlox
