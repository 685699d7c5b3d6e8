#include "device/cpu/page_heap.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>

#include "base/error.h"

namespace phlox {

namespace {

constexpr int64_t min_reservation = int64_t(64) << 20, max_reservation = int64_t(32) << 40;
constexpr int records_per_block = 128;

void* reserve(size_t bytes, int protection) {
  void* p = ::mmap(nullptr, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

}  // namespace

PageHeap::PageHeap(int64_t bytes) {
  bytes = std::clamp(bytes, min_reservation, max_reservation) & -chunk_bytes;
  // A limit on the address space (ulimit -v) may leave room for less.
  for (; bytes >= min_reservation; bytes = bytes / 2 & -chunk_bytes) {
    reservation_bytes_ = size_t(bytes + chunk_bytes);  // one more, to align the start
    reservation_ = reserve(reservation_bytes_, PROT_NONE);
    const size_t map_bytes = (size_t(bytes) >> unit_shift) * sizeof(PageSpan*);
    map_ = reservation_ ? static_cast<PageSpan**>(reserve(map_bytes, PROT_READ | PROT_WRITE)) : nullptr;
    if (map_) break;
    if (reservation_) ::munmap(reservation_, reservation_bytes_);
    reservation_ = nullptr;
  }
  if (!reservation_)
    fail(ErrorCode::out_of_memory, {.op = "cpu memory",
                                    .fact = "the system refuses to reserve address space",
                                    .got = cat(min_reservation, " bytes"),
                                    .remedy = "raise the limit (ulimit -v)"});
  base_ = reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(reservation_) + chunk_bytes - 1) &
                                       -chunk_bytes);
  capacity_ = uint32_t(bytes >> unit_shift);
}

PageHeap::~PageHeap() {
  ::munmap(reservation_, reservation_bytes_);
  ::munmap(map_, size_t(capacity_) * sizeof(PageSpan*));
  for (PageSpan* b : record_blocks_) delete[] b;
}

// Sizes up to a chunk have a bin each; above, every doubling is cut into eight.
int PageHeap::bin_of(uint32_t units) {
  if (units < chunk_units) return int(units);
  const int log = std::bit_width(units) - 1;
  return exact_bins + 8 * (log - (chunk_shift - unit_shift)) + int(units >> (log - 3) & 7);
}

// Records exist before anything changes, so that freeing and releasing never allocate.
void PageHeap::reserve_records(size_t n) {
  while (free_records_ < n) {
    record_blocks_.reserve(record_blocks_.size() + 1);
    PageSpan* block = new PageSpan[records_per_block];
    record_blocks_.push_back(block);
    for (int i = 0; i < records_per_block; ++i) drop_record(&block[i]);
  }
}

PageSpan* PageHeap::new_record() {
  PHLOX_CHECK(records_, "no span record in reserve");
  PageSpan* s = records_;
  records_ = s->next;
  --free_records_;
  s->next = nullptr;
  return s;
}

void PageHeap::drop_record(PageSpan* s) noexcept {
  *s = PageSpan{};
  s->next = records_;
  records_ = s;
  ++free_records_;
}

void PageHeap::set_ends(PageSpan* s) noexcept { map_[s->start] = map_[s->start + s->units - 1] = s; }

PageSpan* PageHeap::make(uint32_t start, uint32_t units, PageSpan::State state) {
  PageSpan* s = new_record();
  s->start = start;
  s->units = units;
  s->state = state;
  set_ends(s);
  return s;
}

void PageHeap::map_all_units(PageSpan* s) { std::fill_n(map_ + s->start, s->units, s); }

void PageHeap::link(PageSpan* s) noexcept {
  PageSpan** head = &holes_;
  if (s->state == PageSpan::State::free) {
    const int b = bin_of(s->units);
    head = &bin_[b];
    occupied_[b / 64] |= uint64_t(1) << (b % 64);
  }
  s->prev = nullptr;
  s->next = *head;
  if (s->next) s->next->prev = s;
  *head = s;
}

void PageHeap::unlink(PageSpan* s) noexcept {
  if (s->next) s->next->prev = s->prev;
  if (s->prev) {
    s->prev->next = s->next;
  } else if (s->state == PageSpan::State::hole) {
    holes_ = s->next;
  } else {
    const int b = bin_of(s->units);
    bin_[b] = s->next;
    if (!bin_[b]) occupied_[b / 64] &= ~(uint64_t(1) << (b % 64));
  }
  s->prev = s->next = nullptr;
}

// The tightest of the first spans in the request's own bin, where spans may also be too small; else the first
// of the next bin that has any; else whatever fits in the own bin.
PageSpan* PageHeap::find(uint32_t units) const {
  int b = bin_of(units);
  PageSpan* best = nullptr;
  PageSpan* s = bin_[b];
  for (int looked_at = 0; s && looked_at < 64; s = s->next, ++looked_at) {
    if (s->units == units) return s;
    if (s->units > units && (!best || s->units < best->units)) best = s;
  }
  if (best) return best;
  ++b;
  for (int w = b / 64; w < words; ++w) {
    const uint64_t mask = w == b / 64 ? ~uint64_t(0) << (b % 64) : ~uint64_t(0);
    if (const uint64_t m = occupied_[w] & mask) return bin_[w * 64 + std::countr_zero(m)];
  }
  while (s && s->units < units) s = s->next;
  return s;
}

PageSpan* PageHeap::take(uint32_t units, int64_t limit_bytes) {
  reserve_records(4);
  PageSpan* s = find(units);
  if (!s) {
    if (!grow(units, limit_bytes)) return nullptr;
    s = find(units);
    PHLOX_CHECK(s, "grown by too little for ", units, " units");
  }
  unlink(s);
  if (s->units > units) {
    PageSpan* rest = make(s->start + units, s->units - units, PageSpan::State::free);
    link(rest);
    s->units = units;
  }
  s->state = PageSpan::State::large;
  set_ends(s);
  return s;
}

// Links a committed span, merged with its free neighbours.
void PageHeap::add_free(PageSpan* s) noexcept {
  s->state = PageSpan::State::free;
  if (s->start > 0) {
    PageSpan* before = map_[s->start - 1];
    if (before->state == PageSpan::State::free) {
      unlink(before);
      s->start = before->start;
      s->units += before->units;
      drop_record(before);
    }
  }
  if (s->start + s->units < top_) {
    PageSpan* after = map_[s->start + s->units];
    if (after->state == PageSpan::State::free) {
      unlink(after);
      s->units += after->units;
      drop_record(after);
    }
  }
  set_ends(s);
  link(s);
}

void PageHeap::give(PageSpan* s) noexcept { add_free(s); }

bool PageHeap::commit(uint32_t start, uint32_t units) noexcept {
  std::byte* p = base_ + (int64_t(start) << unit_shift);
  const size_t bytes = size_t(units) << unit_shift;
  if (::mprotect(p, bytes, PROT_READ | PROT_WRITE)) return false;
  (void)::madvise(p, bytes, MADV_HUGEPAGE);  // without huge pages everything works, slower
  committed_units_ += units;
  peak_units_ = std::max(peak_units_, committed_units_);
  return true;
}

// Commits enough for a span of `units`: at a hole, else at the top, where a free span at the end counts.
bool PageHeap::grow(uint32_t units, int64_t limit_bytes) {
  auto whole_chunks = [](uint64_t u) { return (u + chunk_units - 1) / chunk_units * chunk_units; };
  const uint64_t limit = uint64_t(std::max<int64_t>(limit_bytes, 0)) >> unit_shift;
  auto allowed = [&](uint64_t more) { return committed_units_ + more <= limit; };

  const uint64_t in_hole = whole_chunks(units);
  PageSpan* hole = nullptr;
  for (PageSpan* h = holes_; h; h = h->next)
    if (h->units >= in_hole && (!hole || h->units < hole->units)) hole = h;
  if (hole && allowed(in_hole) && commit(hole->start, uint32_t(in_hole))) {
    unlink(hole);
    if (hole->units > in_hole)
      link(make(hole->start + uint32_t(in_hole), hole->units - uint32_t(in_hole), PageSpan::State::hole));
    hole->units = uint32_t(in_hole);
    add_free(hole);
    return true;
  }

  const PageSpan* last = top_ ? map_[top_ - 1] : nullptr;
  const uint32_t tail = last && last->state == PageSpan::State::free ? last->units : 0;
  const uint64_t needed = whole_chunks(units - std::min(tail, units));
  // More at once as the heap gets larger, so that growing is rare; never more than the request needs near the
  // limit.
  uint64_t more = std::max<uint64_t>(needed, whole_chunks(std::min(committed_units_ / 8, 32 * chunk_units)));
  if (!allowed(more) || top_ + more > capacity_) more = needed;
  if (!allowed(more) || top_ + more > capacity_ || !commit(top_, uint32_t(more))) return false;
  const uint32_t start = top_;
  top_ += uint32_t(more);
  add_free(make(start, uint32_t(more), PageSpan::State::free));
  return true;
}

void PageHeap::release() {
  for (uint32_t u = 0; u < top_;) {
    PageSpan* s = map_[u];
    u = s->start + s->units;
    if (s->state != PageSpan::State::free) continue;
    const uint32_t from = (s->start + chunk_units - 1) / chunk_units * chunk_units;
    const uint32_t to = (s->start + s->units) / chunk_units * chunk_units;
    if (from >= to) continue;
    reserve_records(2);
    if (::madvise(base_ + (int64_t(from) << unit_shift), size_t(to - from) << unit_shift, MADV_DONTNEED))
      continue;
    make_hole(s, from, to);
    u = s->start + s->units;  // the hole may have grown over what followed, or left a free span behind it
  }
  // A hole at the end is no hole but untouched space again.
  while (top_ && map_[top_ - 1]->state == PageSpan::State::hole) {
    PageSpan* h = map_[top_ - 1];
    unlink(h);
    top_ = h->start;
    drop_record(h);
  }
}

// Turns the chunks [from, to) of a free span into a hole, merged with neighbouring holes.
void PageHeap::make_hole(PageSpan* s, uint32_t from, uint32_t to) noexcept {
  unlink(s);
  const uint32_t start = s->start, end = s->start + s->units;
  committed_units_ -= to - from;
  s->start = from;
  s->units = to - from;
  s->state = PageSpan::State::hole;
  if (start < from) {
    link(make(start, from - start, PageSpan::State::free));
  } else if (start > 0 && map_[start - 1]->state == PageSpan::State::hole) {
    PageSpan* before = map_[start - 1];
    unlink(before);
    s->start = before->start;
    s->units += before->units;
    drop_record(before);
  }
  if (to < end) {
    link(make(to, end - to, PageSpan::State::free));
  } else if (end < top_ && map_[end]->state == PageSpan::State::hole) {
    PageSpan* after = map_[end];
    unlink(after);
    s->units += after->units;
    drop_record(after);
  }
  set_ends(s);
  link(s);
}

int64_t PageHeap::largest_available(int64_t limit_bytes) const {
  uint64_t best = 0;
  for (const PageSpan* s : bin_)
    for (; s; s = s->next) best = std::max<uint64_t>(best, s->units);
  const uint64_t limit = uint64_t(std::max<int64_t>(limit_bytes, 0)) >> unit_shift;
  const uint64_t may_commit =
      (limit > committed_units_ ? limit - committed_units_ : 0) / chunk_units * chunk_units;
  for (const PageSpan* h = holes_; h; h = h->next)
    best = std::max(best, std::min<uint64_t>(h->units, may_commit));
  const PageSpan* last = top_ ? map_[top_ - 1] : nullptr;
  const uint64_t tail = last && last->state == PageSpan::State::free ? last->units : 0;
  best = std::max(best, tail + std::min<uint64_t>(capacity_ - top_, may_commit));
  return int64_t(best) << unit_shift;
}

int64_t PageHeap::segments() const {
  int64_t n = 0;
  bool in_hole = true;
  for (uint32_t u = 0; u < top_; u += map_[u]->units) {
    const bool hole = map_[u]->state == PageSpan::State::hole;
    n += in_hole && !hole;
    in_hole = hole;
  }
  return n;
}

void PageHeap::verify() const {
  uint64_t committed = 0;
  const PageSpan* before = nullptr;
  for (uint32_t u = 0; u < top_;) {
    const PageSpan* s = map_[u];
    PHLOX_CHECK(s && s->start == u && s->units > 0 && u + s->units <= top_, "span at unit ", u);
    PHLOX_CHECK(map_[u + s->units - 1] == s, "end of the span at unit ", u);
    PHLOX_CHECK(s->state != PageSpan::State::unused, "unused record at unit ", u);
    const bool mergeable = s->state == PageSpan::State::free || s->state == PageSpan::State::hole;
    PHLOX_CHECK(!before || !mergeable || before->state != s->state, "unmerged spans at unit ", u);
    if (s->state == PageSpan::State::hole)
      PHLOX_CHECK(s->start % chunk_units == 0 && s->units % chunk_units == 0, "hole at unit ", u);
    else
      committed += s->units;
    if (s->state == PageSpan::State::free) {
      bool linked = false;
      for (const PageSpan* b = bin_[bin_of(s->units)]; b; b = b->next) linked |= b == s;
      PHLOX_CHECK(linked, "free span not in its bin at unit ", u);
    }
    before = s;
    u += s->units;
  }
  PHLOX_CHECK(committed == committed_units_, committed, " units committed, counted ", committed_units_);
}

}  // namespace phlox
