// CachingAllocator: memory in blocks split from large segments, so that a tensor costs a table look-up
// instead of a driver call that stops the device. One allocator serves one memory: a GPU's, or the pinned
// memory of its host.
//
// The order contract. A block belongs to the stream it was allocated on. free(p, s) may be called while work
// that uses the block is still queued: the block is handed out again at once, but only to allocations on its
// own stream, whose later work runs after. If the block was also used on other streams (record_use, or s
// itself), a mark is recorded at the end of each of them, and the block is not handed out before all its
// marks are done. Hence: whoever gets a block runs after everybody who had it. Blocks of `host_stream` are
// used by the host itself, which no stream orders.
//
// Pools keep memory apart: pool 0 is everybody's; a private pool belongs to captured graphs, whose replays
// write to its addresses long after the blocks were freed, so none of its memory goes elsewhere before
// release_pool.
//
// Out of memory: pending blocks are awaited, unused segments are returned, the request is tried again, and
// only then Error(out_of_memory) is thrown; nothing has changed and the next smaller request may succeed.
// Refuses: foreign pointers and double frees (free returns false).
#pragma once
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device/device.h"

namespace phlox {

using PoolId = uint32_t;  // 0: the shared pool
inline constexpr StreamId host_stream =
    ~StreamId{0};  // no stream: the host reads and writes the block itself

// The few things the allocator asks of a memory. No function throws; the allocator calls them under its lock.
class RawMemory {
 public:
  virtual ~RawMemory() = default;
  virtual void* allocate(int64_t bytes) noexcept = 0;         // null: there is no such memory
  virtual void release(void* p, int64_t bytes) noexcept = 0;  // after a quiesce()
  virtual void quiesce() noexcept = 0;                        // waits for all work submitted so far
  virtual uint64_t record(StreamId stream) noexcept = 0;      // a mark at the end of a stream; 0: it cannot
  virtual bool done(uint64_t mark) noexcept = 0;
  virtual void wait(uint64_t mark) noexcept = 0;
  virtual void forget(uint64_t mark) noexcept = 0;     // called once for every mark
  virtual std::string describe() const { return {}; }  // "1.20 GiB of 79.1 GiB free", for error texts
};

struct AllocatorOptions {
  std::string name = "memory";  // in error texts: "cuda:0"
  int64_t limit_bytes = 0;      // of reserved memory; 0: what the memory has
  bool caching = true;  // false: every block is its own segment and goes back when freed (for sanitizers)
};

struct AllocatorStats {
  int64_t allocated_bytes = 0;  // in blocks that are handed out, rounded as they are
  int64_t requested_bytes = 0;  // of them, what was asked for
  int64_t pending_bytes = 0;    // freed, waiting for marks
  int64_t reserved_bytes = 0;   // in segments
  int64_t peak_allocated_bytes = 0, peak_reserved_bytes = 0;
  int64_t live_blocks = 0, segments = 0;
  int64_t allocs = 0, frees = 0, hits = 0, splits = 0, merges = 0;
  int64_t raw_allocs = 0, raw_releases = 0, marks = 0;
  int64_t reclaims = 0;  // times memory ran out and cached segments were given back
  int64_t failures = 0;  // times an allocation threw
};

class CachingAllocator {
 public:
  explicit CachingAllocator(RawMemory& raw, AllocatorOptions options = {});
  ~CachingAllocator();
  CachingAllocator(const CachingAllocator&) = delete;
  CachingAllocator& operator=(const CachingAllocator&) = delete;

  static constexpr int64_t alignment = 256;
  void* alloc(int64_t bytes, StreamId stream, PoolId pool = 0);  // never null
  bool free(void* p, StreamId stream) noexcept;                  // false: not a live block of this allocator
  bool record_use(void* p, StreamId stream);
  bool owns(const void* p) const;  // p is the start of a live block

  void release_cached();  // gives unused segments back; blocks that only wait for marks are awaited first
  void set_limit(int64_t bytes);
  AllocatorStats stats() const;
  int64_t largest_free_block() const;
  std::string memory_summary() const;

  // Graph capture. While a stream is routed, its allocations come from `pool`, and what is freed on it (or
  // was used on it) with an order that needs a mark waits for unroute: a capturing stream cannot be asked how
  // far it is.
  PoolId create_pool();
  void release_pool(
      PoolId pool) noexcept;  // no graph uses it any more; live blocks go back as they are freed
  void route(StreamId stream, PoolId pool);
  void unroute(StreamId stream) noexcept;

  // Walks every segment; the first broken invariant in words, or empty. For tests.
  std::string find_corruption() const;

 private:
  struct Block;
  struct Segment;
  struct Bins;
  struct Heap;
  struct Pool;
  struct Waiting {
    uint64_t mark;
    Block* block;
  };

  // Finding memory.
  Block* acquire(Heap& heap, int64_t bytes, bool small);
  Block* find_free(Heap& heap, int64_t bytes, bool small);
  Block* grow(Heap& heap, int64_t bytes, bool small);
  Block* new_segment(Heap& heap, int64_t bytes, bool small);
  void hand_out(Block* block, int64_t bytes, int64_t requested);
  [[noreturn]] void out_of_memory(int64_t requested);
  Heap& heap(PoolId pool, StreamId stream);
  // Giving it back.
  void start_free(Block* block) noexcept;
  void record_marks(Block* block) noexcept;
  void make_free(Block* block) noexcept;
  Block* merge(Block* block) noexcept;
  void absorb_next(Block* block) noexcept;
  bool keeps_segments(const Pool& pool) const;
  void release_segment(Segment* segment) noexcept;
  void release_unused(const Pool* only = nullptr) noexcept;
  void finish_marks(bool wait) noexcept;
  bool routed(StreamId stream) const;
  bool must_defer(const Block* block) const;
  int64_t largest_free_locked() const;
  // Live blocks by address.
  size_t slot_of(const void* p) const;
  void reserve_records();
  void table_erase(size_t slot);

  RawMemory& raw_;
  AllocatorOptions options_;
  mutable std::mutex mutex_;
  AllocatorStats stats_;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::vector<Segment*> segments_;
  std::vector<std::deque<Waiting>> waiting_;  // per stream: marks of one stream are done in order
  int64_t waiting_count_ = 0;
  uint32_t allocs_since_poll_ = 0;
  std::vector<Block*> deferred_;  // freed while captured: their marks are recorded at unroute
  struct Route {
    StreamId stream;
    PoolId pool;
  };
  std::vector<Route> routes_;
  std::vector<PoolId> free_pools_;  // numbers of private pools that are gone
  std::vector<Block*> table_;       // live blocks by address: open addressing, a power of two
  std::vector<Block*> spare_;       // block records for reuse, so that a split cannot fail halfway
};

std::string byte_text(int64_t bytes);  // "1.50 GiB"

}  // namespace phlox
