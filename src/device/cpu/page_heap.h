// PageHeap: address space for the host arena. One reservation made at the start is handed out in spans of 16
// KiB units; memory is committed from it in 2 MiB chunks that ask for huge pages, and stays committed until
// release().
//
// Invariants: spans tile [0, top) without gaps; two free spans are never neighbours; the first and the last
// unit of a span map to it (all units, when the span is a slab); committed bytes never exceed the limit given
// to take(). Refuses: locking (the owner holds a lock), spans under one unit, and returning memory by itself.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace phlox {

struct PageSpan {
  enum class State : uint8_t {
    unused,  // a record that describes nothing
    free,    // committed, in a bin
    hole,    // not committed
    large,   // one block of the user's
    slab,    // small blocks of one size class
  };
  uint32_t start = 0, units = 0;
  State state = State::unused;
  // Slabs only: which class, how many blocks it holds and has handed out at least once, and the returned
  // ones.
  uint8_t size_class = 0;
  uint32_t blocks = 0, carved = 0, available = 0;
  void* returned = nullptr;
  PageSpan *prev = nullptr,
           *next = nullptr;  // in a bin, or in the arena's list of slabs with available blocks
};

class PageHeap {
 public:
  static constexpr int unit_shift = 14, chunk_shift = 21;
  static constexpr int64_t unit_bytes = int64_t(1) << unit_shift, chunk_bytes = int64_t(1) << chunk_shift;
  static constexpr uint32_t chunk_units = 1u << (chunk_shift - unit_shift);

  // Reserves address space for up to `bytes`; takes less where the process may not have so much, and throws
  // Error(out_of_memory) below 64 MiB.
  explicit PageHeap(int64_t bytes);
  PageHeap(const PageHeap&) = delete;
  PageHeap& operator=(const PageHeap&) = delete;
  ~PageHeap();

  std::byte* base() const { return base_; }
  int64_t reserved_address_bytes() const { return int64_t(capacity_) << unit_shift; }
  std::byte* address(const PageSpan& s) const { return base_ + (int64_t(s.start) << unit_shift); }
  PageSpan* span_at(uint32_t unit) const { return map_[unit]; }
  void map_all_units(PageSpan* s);  // for slabs: any block's address then finds its span

  // A span of exactly `units`, in state `large`; null when that would commit more than limit_bytes or the
  // system refuses. Contents are undefined, zero where never used.
  PageSpan* take(uint32_t units, int64_t limit_bytes);
  void give(PageSpan* s) noexcept;  // s was taken; merges with free neighbours
  void release();                   // returns the memory of every free chunk to the system

  int64_t committed_bytes() const { return int64_t(committed_units_) << unit_shift; }
  int64_t peak_committed_bytes() const { return int64_t(peak_units_) << unit_shift; }
  void reset_peak() { peak_units_ = committed_units_; }
  // What take() could still give in one span under this limit.
  int64_t largest_available(int64_t limit_bytes) const;
  int64_t segments() const;  // committed runs of addresses
  void verify() const;       // checks the invariants; for tests

 private:
  static constexpr int exact_bins = int(chunk_units), bins = exact_bins + 8 * 26, words = (bins + 63) / 64;
  static int bin_of(uint32_t units);
  PageSpan* new_record();
  void drop_record(PageSpan* s) noexcept;
  PageSpan* make(uint32_t start, uint32_t units, PageSpan::State state);
  void set_ends(PageSpan* s) noexcept;
  void link(PageSpan* s) noexcept;
  void unlink(PageSpan* s) noexcept;
  PageSpan* find(uint32_t units) const;
  bool grow(uint32_t units, int64_t limit_bytes);
  bool commit(uint32_t start, uint32_t units) noexcept;
  void add_free(PageSpan* s) noexcept;
  void make_hole(PageSpan* s, uint32_t from, uint32_t to) noexcept;
  void reserve_records(size_t n);

  std::byte* base_ = nullptr;
  void* reservation_ = nullptr;
  size_t reservation_bytes_ = 0;
  PageSpan** map_ = nullptr;
  uint32_t capacity_ = 0,
           top_ = 0;  // in units; nothing at or above top_ was ever used or it was given up again
  uint32_t committed_units_ = 0, peak_units_ = 0;
  PageSpan* bin_[bins] = {};
  uint64_t occupied_[words] = {};
  PageSpan* holes_ = nullptr;
  PageSpan* records_ = nullptr;  // unused ones
  size_t free_records_ = 0;
  std::vector<PageSpan*> record_blocks_;
};

}  // namespace phlox
