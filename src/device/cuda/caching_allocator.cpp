#include "device/cuda/caching_allocator.h"

#include <algorithm>
#include <bit>

#include "base/checked.h"
#include "base/error.h"
#include "base/small_vector.h"

namespace phlox {

namespace {
constexpr int64_t mib = 1 << 20;
// Small blocks live in segments of their own, so that one long-lived scalar does not pin a big segment.
constexpr int64_t small_limit = 1 * mib, small_segment = 2 * mib;
// Middle sizes share segments; beyond, a segment is made to measure. Drivers map memory in steps of 2 MiB
// anyway.
constexpr int64_t shared_limit = 10 * mib, shared_segment = 20 * mib, segment_step = 2 * mib;
// What is left of a large block is split off only where another large block could use it.
constexpr int64_t large_remainder = 1 * mib;
constexpr uint32_t poll_interval = 32;
constexpr int bin_rows = 40, bin_columns = 16;
constexpr int64_t largest_request = int64_t(1) << 50;  // the last row of the bins; no memory is near it

int64_t round_up(int64_t n, int64_t step) { return checked_add(n, step - 1, "allocation") / step * step; }
}  // namespace

std::string byte_text(int64_t bytes) {
  const char* const units[] = {" bytes", " KiB", " MiB", " GiB", " TiB"};
  int unit = 0;
  double v = double(bytes);
  while (v >= 1024 && unit < 4) {
    v /= 1024;
    ++unit;
  }
  // Three significant digits are what a reader compares.
  const double step = unit == 0 || v >= 100 ? 1 : v >= 10 ? 10 : 100;
  return cat(double(int64_t(v * step + 0.5)) / step, units[unit]);
}

struct CachingAllocator::Block {
  enum State : uint8_t { free, live, waiting };
  char* start = nullptr;
  int64_t bytes = 0, requested = 0;
  Segment* segment = nullptr;
  Block *previous = nullptr, *next = nullptr;          // neighbours in the segment
  Block *bin_previous = nullptr, *bin_next = nullptr;  // in the bin, while free
  SmallVector<StreamId, 2> uses;                       // streams other than the segment's
  uint32_t marks = 0;                                  // not yet done
  State state = free;
};

// Free blocks by size class: rows of powers of two, each in 16 columns, with bitmaps, so that the smallest
// class that surely fits is found in a few instructions whatever the number of blocks.
struct CachingAllocator::Bins {
  uint64_t rows = 0;
  uint16_t columns[bin_rows] = {};
  Block* heads[bin_rows][bin_columns] = {};

  static std::pair<int, int> place(int64_t bytes) {
    const uint64_t n = uint64_t(bytes) / alignment;
    if (n < bin_columns) return {0, int(n)};
    const int log = 63 - std::countl_zero(n);
    return {log - 3, int(n >> (log - 4)) & 15};
  }
  void insert(Block* b) {
    const auto [r, c] = place(b->bytes);
    b->bin_previous = nullptr;
    b->bin_next = heads[r][c];
    if (b->bin_next) b->bin_next->bin_previous = b;
    heads[r][c] = b;
    columns[r] |= uint16_t(1u << c);
    rows |= uint64_t(1) << r;
  }
  void remove(Block* b) {
    const auto [r, c] = place(b->bytes);
    if (b->bin_previous)
      b->bin_previous->bin_next = b->bin_next;
    else
      heads[r][c] = b->bin_next;
    if (b->bin_next) b->bin_next->bin_previous = b->bin_previous;
    b->bin_previous = b->bin_next = nullptr;
    if (heads[r][c]) return;
    columns[r] &= uint16_t(~(1u << c));
    if (!columns[r]) rows &= ~(uint64_t(1) << r);
  }
  // The request's own class holds smaller blocks too, so only its first few are looked at: training asks for
  // the same sizes again and again, and finds them at the head.
  Block* find(int64_t bytes) const {
    auto [r, c] = place(bytes);
    Block* b = heads[r][c];
    for (int i = 0; b && i < 8; ++i, b = b->bin_next)
      if (b->bytes >= bytes) return b;
    const unsigned here = c + 1 < bin_columns ? columns[r] & (~0u << (c + 1)) : 0;
    if (here) return heads[r][std::countr_zero(here)];
    const uint64_t above = rows & (~uint64_t(0) << (r + 1));
    if (!above) return nullptr;
    r = std::countr_zero(above);
    return heads[r][std::countr_zero(unsigned(columns[r]))];
  }
  int64_t largest() const {
    if (!rows) return 0;
    const int r = 63 - std::countl_zero(rows);
    int64_t most = 0;
    for (Block* b = heads[r][31 - std::countl_zero(unsigned(columns[r]))]; b; b = b->bin_next)
      most = std::max(most, b->bytes);
    return most;
  }
};

struct CachingAllocator::Heap {
  PoolId pool;
  StreamId stream;
  Bins small, large;
};

struct CachingAllocator::Pool {
  std::vector<std::unique_ptr<Heap>> heaps;  // by stream + 1: host_stream is slot 0
  int64_t segments = 0;
  bool released = false;
};

struct CachingAllocator::Segment {
  char* start;
  int64_t bytes;
  Heap* heap;
  bool small;
  Block* first;
  size_t index;
  Bins& bins() const { return small ? heap->small : heap->large; }
};

CachingAllocator::CachingAllocator(RawMemory& raw, AllocatorOptions options)
    : raw_(raw), options_(std::move(options)) {
  pools_.push_back(std::make_unique<Pool>());
  table_.resize(64);
}

CachingAllocator::~CachingAllocator() {
  // Live blocks go with the memory: whoever still holds one outlived its device.
  for (auto& queue : waiting_)
    for (const Waiting& w : queue) {
      raw_.wait(w.mark);
      raw_.forget(w.mark);
    }
  if (!segments_.empty()) raw_.quiesce();
  for (Segment* s : segments_) {
    for (Block* b = s->first; b;) {
      Block* next = b->next;
      delete b;
      b = next;
    }
    raw_.release(s->start, s->bytes);
    delete s;
  }
  for (Block* b : spare_) delete b;
}

// ---- Live blocks by address
// ---------------------------------------------------------------------------------------

// The slot that holds p, or the empty one where it would go.
size_t CachingAllocator::slot_of(const void* p) const {
  const size_t mask = table_.size() - 1;
  size_t i = mix64(uint64_t(reinterpret_cast<uintptr_t>(p)) / alignment) & mask;
  while (table_[i] && table_[i]->start != p) i = (i + 1) & mask;
  return i;
}

void CachingAllocator::table_erase(size_t slot) {
  const size_t mask = table_.size() - 1;
  size_t hole = slot;
  for (size_t i = (slot + 1) & mask; table_[i]; i = (i + 1) & mask) {
    const size_t home = mix64(uint64_t(reinterpret_cast<uintptr_t>(table_[i]->start)) / alignment) & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;  // it may not move before its home
    table_[hole] = table_[i];
    hole = i;
  }
  table_[hole] = nullptr;
}

// Everything an allocation may need from the host's heap, before anything is changed.
void CachingAllocator::reserve_records() {
  while (spare_.size() < 2) spare_.push_back(new Block());
  if (size_t(stats_.live_blocks + 1) * 2 <= table_.size()) return;
  std::vector<Block*> old(table_.size() * 2);
  old.swap(table_);
  for (Block* b : old)
    if (b) table_[slot_of(b->start)] = b;
}

// ---- Finding memory
// -----------------------------------------------------------------------------------------------

CachingAllocator::Heap& CachingAllocator::heap(PoolId pool, StreamId stream) {
  Pool& p = *pools_[pool];
  const size_t slot = StreamId(stream + 1);
  if (slot >= p.heaps.size()) p.heaps.resize(slot + 1);
  if (!p.heaps[slot]) p.heaps[slot] = std::unique_ptr<Heap>(new Heap{pool, stream, {}, {}});
  return *p.heaps[slot];
}

void* CachingAllocator::alloc(int64_t bytes, StreamId stream, PoolId pool) {
  PHLOX_CHECK(bytes >= 0, bytes);
  std::lock_guard lock(mutex_);
  for (const Route& r : routes_)
    if (r.stream == stream) pool = r.pool;
  PHLOX_CHECK(pool < pools_.size(), pool);
  if (bytes > largest_request) out_of_memory(bytes);
  const int64_t rounded = round_up(std::max<int64_t>(bytes, 1), alignment);
  reserve_records();
  Heap& h = heap(pool, stream);
  const bool small = rounded <= small_limit;
  Block* block = acquire(h, rounded, small);
  if (!block) out_of_memory(bytes);
  hand_out(block, rounded, bytes);
  return block->start;
}

CachingAllocator::Block* CachingAllocator::acquire(Heap& h, int64_t bytes, bool small) {
  if (!options_.caching && h.pool == 0) return grow(h, bytes, small);
  if (waiting_count_ && ++allocs_since_poll_ >= poll_interval) finish_marks(false);
  Block* block = find_free(h, bytes, small);
  if (!block && waiting_count_) {
    finish_marks(false);
    block = find_free(h, bytes, small);
  }
  if (block) {
    ++stats_.hits;
    return block;
  }
  return grow(h, bytes, small);
}

CachingAllocator::Block* CachingAllocator::find_free(Heap& h, int64_t bytes, bool small) {
  return small ? h.small.find(bytes) : h.large.find(bytes);
}

CachingAllocator::Block* CachingAllocator::grow(Heap& h, int64_t bytes, bool small) {
  const bool caching = options_.caching || h.pool != 0;
  const int64_t least = !caching ? bytes : small ? small_segment : round_up(bytes, segment_step);
  // A shared segment holds a whole number of blocks like this one: the next ones will be like it.
  const int64_t wanted = caching && !small && bytes <= shared_limit
                             ? round_up(shared_segment / bytes * bytes, segment_step)
                             : least;
  if (Block* b = new_segment(h, wanted, small)) return b;
  if (wanted > least)
    if (Block* b = new_segment(h, least, small)) return b;
  ++stats_.reclaims;
  finish_marks(true);
  if (Block* b = find_free(h, bytes, small)) return b;
  release_unused();
  if (Block* b = new_segment(h, least, small)) return b;
  // A segment of 2 MiB cannot be had, but what is left of larger ones serves a small request as well.
  return small ? h.large.find(bytes) : nullptr;
}

CachingAllocator::Block* CachingAllocator::new_segment(Heap& h, int64_t bytes, bool small) {
  if (options_.limit_bytes && stats_.reserved_bytes + bytes > options_.limit_bytes) return nullptr;
  segments_.reserve(segments_.size() + 1);
  auto segment = std::make_unique<Segment>();
  auto block = std::make_unique<Block>();
  void* p = raw_.allocate(bytes);
  if (!p) return nullptr;
  *segment = {.start = static_cast<char*>(p),
              .bytes = bytes,
              .heap = &h,
              .small = small,
              .first = block.get(),
              .index = segments_.size()};
  block->start = segment->start;
  block->bytes = bytes;
  block->segment = segment.get();
  segment->bins().insert(block.get());
  segments_.push_back(segment.release());
  ++pools_[h.pool]->segments;
  ++stats_.raw_allocs;
  ++stats_.segments;
  stats_.reserved_bytes += bytes;
  stats_.peak_reserved_bytes = std::max(stats_.peak_reserved_bytes, stats_.reserved_bytes);
  return block.release();
}

void CachingAllocator::hand_out(Block* block, int64_t bytes, int64_t requested) {
  Segment& segment = *block->segment;
  segment.bins().remove(block);
  const int64_t rest = block->bytes - bytes;
  if (rest >= (segment.small ? alignment : large_remainder)) {
    Block* remainder = spare_.back();
    spare_.pop_back();
    remainder->start = block->start + bytes;
    remainder->bytes = rest;
    remainder->segment = &segment;
    remainder->state = Block::free;
    remainder->previous = block;
    remainder->next = block->next;
    if (block->next) block->next->previous = remainder;
    block->next = remainder;
    block->bytes = bytes;
    segment.bins().insert(remainder);
    ++stats_.splits;
  }
  block->state = Block::live;
  block->requested = requested;
  table_[slot_of(block->start)] = block;
  ++stats_.allocs;
  ++stats_.live_blocks;
  stats_.allocated_bytes += block->bytes;
  stats_.requested_bytes += requested;
  stats_.peak_allocated_bytes = std::max(stats_.peak_allocated_bytes, stats_.allocated_bytes);
}

void CachingAllocator::out_of_memory(int64_t requested) {
  ++stats_.failures;
  std::string got = cat("a request of ", byte_text(requested), "; largest free block ",
                        byte_text(largest_free_locked()), "; allocated ", byte_text(stats_.allocated_bytes),
                        " of ", byte_text(stats_.reserved_bytes), " reserved");
  if (options_.limit_bytes) got += cat("; limit ", byte_text(options_.limit_bytes));
  if (const std::string memory = raw_.describe(); !memory.empty()) got += cat("; ", memory);
  fail(ErrorCode::out_of_memory,
       {.op = cat(options_.name, " alloc"),
        .fact = "out of memory",
        .got = std::move(got),
        .remedy = "free tensors, use smaller batches or recompute activations; nothing was "
                  "changed and smaller requests may still succeed"});
}

// ---- Giving it back
// -----------------------------------------------------------------------------------------------

bool CachingAllocator::free(void* p, StreamId stream) noexcept {
  std::lock_guard lock(mutex_);
  const size_t slot = slot_of(p);
  Block* block = table_[slot];
  if (!block) return false;
  table_erase(slot);
  ++stats_.frees;
  --stats_.live_blocks;
  stats_.allocated_bytes -= block->bytes;
  stats_.requested_bytes -= block->requested;
  stats_.pending_bytes += block->bytes;
  block->state = Block::waiting;
  if (stream != block->segment->heap->stream &&
      std::find(block->uses.begin(), block->uses.end(), stream) == block->uses.end())
    block->uses.push_back(stream);
  start_free(block);
  return true;
}

bool CachingAllocator::record_use(void* p, StreamId stream) {
  std::lock_guard lock(mutex_);
  Block* block = table_[slot_of(p)];
  if (!block) return false;
  if (stream == block->segment->heap->stream) return true;
  if (std::find(block->uses.begin(), block->uses.end(), stream) == block->uses.end())
    block->uses.push_back(stream);
  return true;
}

bool CachingAllocator::owns(const void* p) const {
  std::lock_guard lock(mutex_);
  return table_[slot_of(p)] != nullptr;
}

bool CachingAllocator::routed(StreamId stream) const {
  for (const Route& r : routes_)
    if (r.stream == stream) return true;
  return false;
}

bool CachingAllocator::must_defer(const Block* block) const {
  if (routes_.empty()) return false;
  const Heap& h = *block->segment->heap;
  for (const Route& r : routes_)
    if (r.stream == h.stream && r.pool != h.pool) return true;
  for (StreamId s : block->uses)
    if (routed(s)) return true;
  return false;
}

void CachingAllocator::start_free(Block* block) noexcept {
  if (must_defer(block)) {
    try {
      deferred_.push_back(block);
    } catch (...) {
      // No room to remember it: it stays unused, which costs memory and breaks nothing.
    }
    return;
  }
  if (block->uses.empty())
    make_free(block);
  else
    record_marks(block);
}

void CachingAllocator::record_marks(Block* block) noexcept {
  for (StreamId s : block->uses) {
    // The host marks its own progress by calling free.
    if (s == host_stream) continue;
    const uint64_t mark = raw_.record(s);
    if (!mark) {
      raw_.quiesce();
      continue;
    }
    ++stats_.marks;
    try {
      const size_t slot = StreamId(s + 1);
      if (slot >= waiting_.size()) waiting_.resize(slot + 1);
      waiting_[slot].push_back({mark, block});
      ++block->marks;
      ++waiting_count_;
    } catch (...) {
      raw_.wait(mark);
      raw_.forget(mark);
    }
  }
  block->uses.clear();
  if (!block->marks) make_free(block);
}

void CachingAllocator::finish_marks(bool wait) noexcept {
  allocs_since_poll_ = 0;
  for (auto& queue : waiting_) {
    while (!queue.empty()) {
      const Waiting w = queue.front();
      if (wait)
        raw_.wait(w.mark);
      else if (!raw_.done(w.mark))
        break;
      raw_.forget(w.mark);
      queue.pop_front();
      --waiting_count_;
      if (--w.block->marks == 0) make_free(w.block);
    }
  }
}

void CachingAllocator::absorb_next(Block* block) noexcept {
  Block* gone = block->next;
  block->bytes += gone->bytes;
  block->next = gone->next;
  if (gone->next) gone->next->previous = block;
  gone->previous = gone->next = nullptr;
  ++stats_.merges;
  try {
    spare_.push_back(gone);
  } catch (...) {
    delete gone;
  }
}

CachingAllocator::Block* CachingAllocator::merge(Block* block) noexcept {
  Bins& bins = block->segment->bins();
  if (Block* n = block->next; n && n->state == Block::free) {
    bins.remove(n);
    absorb_next(block);
  }
  if (Block* p = block->previous; p && p->state == Block::free) {
    bins.remove(p);
    absorb_next(p);
    return p;
  }
  return block;
}

bool CachingAllocator::keeps_segments(const Pool& pool) const {
  return !pool.released && (options_.caching || &pool != pools_[0].get());
}

void CachingAllocator::make_free(Block* block) noexcept {
  stats_.pending_bytes -= block->bytes;
  block->state = Block::free;
  block->requested = 0;
  block = merge(block);
  Segment* segment = block->segment;
  segment->bins().insert(block);
  if (block->bytes == segment->bytes && !keeps_segments(*pools_[segment->heap->pool])) {
    raw_.quiesce();
    release_segment(segment);
  }
}

void CachingAllocator::release_segment(Segment* segment) noexcept {
  segment->bins().remove(segment->first);
  delete segment->first;
  segments_[segment->index] = segments_.back();
  segments_[segment->index]->index = segment->index;
  segments_.pop_back();
  raw_.release(segment->start, segment->bytes);
  ++stats_.raw_releases;
  --stats_.segments;
  stats_.reserved_bytes -= segment->bytes;
  const PoolId id = segment->heap->pool;
  delete segment;
  Pool& pool = *pools_[id];
  if (--pool.segments == 0 && pool.released) {
    pool.heaps.clear();
    try {
      free_pools_.push_back(id);
    } catch (...) {
      // The number is not used again.
    }
  }
}

// Gives back the segments without blocks that no graph can write to, of all pools or of one.
void CachingAllocator::release_unused(const Pool* only) noexcept {
  bool quiet = false;
  for (size_t i = segments_.size(); i-- > 0;) {
    Segment* s = segments_[i];
    const PoolId id = s->heap->pool;
    const Pool* pool = pools_[id].get();
    if ((only && pool != only) || (id != 0 && !pool->released)) continue;
    if (s->first->state != Block::free || s->first->next) continue;
    if (!quiet) raw_.quiesce();
    quiet = true;
    release_segment(s);
  }
}

void CachingAllocator::release_cached() {
  std::lock_guard lock(mutex_);
  finish_marks(true);
  release_unused();
}

// ---- Pools and capture
// --------------------------------------------------------------------------------------------

PoolId CachingAllocator::create_pool() {
  std::lock_guard lock(mutex_);
  if (!free_pools_.empty()) {
    const PoolId id = free_pools_.back();
    free_pools_.pop_back();
    pools_[id]->released = false;
    return id;
  }
  pools_.push_back(std::make_unique<Pool>());
  return PoolId(pools_.size() - 1);
}

void CachingAllocator::release_pool(PoolId pool) noexcept {
  std::lock_guard lock(mutex_);
  Pool& p = *pools_[pool];
  if (pool == 0 || p.released) return;
  // Before the pool counts as released: its last segment to go makes its number free, and that must happen
  // once.
  finish_marks(false);
  p.released = true;
  if (p.segments) return release_unused(&p);
  p.heaps.clear();
  try {
    free_pools_.push_back(pool);
  } catch (...) {
  }
}

void CachingAllocator::route(StreamId stream, PoolId pool) {
  std::lock_guard lock(mutex_);
  PHLOX_CHECK(!routed(stream), "stream ", stream, " is already routed");
  routes_.push_back({stream, pool});
}

void CachingAllocator::unroute(StreamId stream) noexcept {
  std::lock_guard lock(mutex_);
  std::erase_if(routes_, [&](const Route& r) { return r.stream == stream; });
  std::vector<Block*> again;
  again.swap(deferred_);
  for (Block* b : again) start_free(b);
}

// ---- Reports
// ------------------------------------------------------------------------------------------------------

void CachingAllocator::set_limit(int64_t bytes) {
  std::lock_guard lock(mutex_);
  options_.limit_bytes = bytes;
}

AllocatorStats CachingAllocator::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

int64_t CachingAllocator::largest_free_locked() const {
  int64_t most = 0;
  for (const auto& pool : pools_)
    for (const auto& h : pool->heaps)
      if (h) most = std::max({most, h->small.largest(), h->large.largest()});
  return most;
}

int64_t CachingAllocator::largest_free_block() const {
  std::lock_guard lock(mutex_);
  return largest_free_locked();
}

std::string CachingAllocator::memory_summary() const {
  std::lock_guard lock(mutex_);
  const AllocatorStats& s = stats_;
  std::string text = cat(options_.name, " memory\n");
  const auto bytes = [&](const char* label, int64_t n, int64_t peak) {
    text += cat("  ", label, byte_text(n), peak ? cat(" (peak ", byte_text(peak), ")") : std::string(), "\n");
  };
  bytes("allocated      ", s.allocated_bytes, s.peak_allocated_bytes);
  bytes("  asked for    ", s.requested_bytes, 0);
  bytes("waiting        ", s.pending_bytes, 0);
  bytes("cached         ", s.reserved_bytes - s.allocated_bytes - s.pending_bytes, 0);
  bytes("reserved       ", s.reserved_bytes, s.peak_reserved_bytes);
  bytes("largest free   ", largest_free_locked(), 0);
  if (options_.limit_bytes) bytes("limit          ", options_.limit_bytes, 0);
  if (const std::string memory = raw_.describe(); !memory.empty())
    text += cat("  device         ", memory, "\n");
  text += cat("  live blocks ", s.live_blocks, " in ", s.segments, " segments; ", s.allocs, " allocations, ",
              s.hits, " from cache, ", s.splits, " splits, ", s.merges, " merges\n");
  text += cat("  raw allocations ", s.raw_allocs, ", releases ", s.raw_releases, ", marks ", s.marks,
              ", reclaims ", s.reclaims, ", failures ", s.failures, "\n");
  for (size_t i = 1; i < pools_.size(); ++i)
    if (pools_[i]->segments) text += cat("  private pool ", i, ": ", pools_[i]->segments, " segments\n");
  return text;
}

std::string CachingAllocator::find_corruption() const {
  std::lock_guard lock(mutex_);
  int64_t live = 0, pending = 0, reserved = 0, live_blocks = 0;
  for (const Segment* s : segments_) {
    reserved += s->bytes;
    const char* at = s->start;
    const Block* previous = nullptr;
    for (const Block* b = s->first; b; previous = b, b = b->next) {
      if (b->start != at) return "a gap or overlap between blocks";
      if (b->bytes <= 0 || b->bytes % alignment) return "a block of odd size";
      if (b->previous != previous || b->segment != s) return "a broken link";
      if (previous && previous->state == Block::free && b->state == Block::free)
        return "free neighbours not merged";
      if (b->state == Block::live) {
        live += b->bytes;
        ++live_blocks;
        if (table_[slot_of(b->start)] != b) return "a live block missing from the table";
      } else if (b->state == Block::waiting) {
        pending += b->bytes;
      }
      at += b->bytes;
    }
    if (at != s->start + s->bytes) return "blocks do not fill their segment";
  }
  if (live != stats_.allocated_bytes || pending != stats_.pending_bytes ||
      reserved != stats_.reserved_bytes || live_blocks != stats_.live_blocks)
    return "statistics do not add up";
  return {};
}

}  // namespace phlox
