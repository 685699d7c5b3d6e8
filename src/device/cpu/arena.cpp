#include "device/cpu/arena.h"

#include "base/sanitizer.h"
#if !PHLOX_ASAN

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>

#include "base/error.h"
#include "base/root.h"
#include "device/cpu/page_heap.h"

namespace phlox {

namespace {

constexpr int64_t largest_small = 64 << 10;

// Classes: every multiple of 64 bytes to 512, then four to each doubling.
constexpr int class_count = 8 + 4 * 7;
struct SizeClass {
  uint32_t bytes;
  uint16_t slab_units;  // a slab wastes at most 1/16 of itself at its end
  uint16_t cached;      // a thread keeps at most so many free blocks: about 256 KiB, and at least 8
};
constexpr std::array<SizeClass, class_count> make_classes() {
  std::array<SizeClass, class_count> r{};
  for (int i = 0; i < class_count; ++i) {
    const uint32_t bytes = i < 8 ? 64u * uint32_t(i + 1) : (640u + 128u * uint32_t(i % 4)) << ((i - 8) / 4);
    uint32_t units = 1;
    while (true) {
      const uint64_t slab = uint64_t(units) << PageHeap::unit_shift;
      if (slab / bytes >= 4 && slab % bytes * 16 <= slab) break;
      ++units;
    }
    r[size_t(i)] = {bytes, uint16_t(units), uint16_t(std::clamp((256u << 10) / bytes, 8u, 512u))};
  }
  return r;
}
constexpr auto classes = make_classes();
static_assert(classes[class_count - 1].bytes == largest_small);

// Size in 64-byte steps, rounded up -> class.
constexpr auto class_of_steps = [] {
  std::array<uint8_t, largest_small / 64 + 1> r{};
  int c = 0;
  for (size_t i = 0; i < r.size(); ++i) {
    while (classes[size_t(c)].bytes < i * 64) ++c;
    r[i] = uint8_t(c);
  }
  return r;
}();

// Only the owning thread writes; others read for statistics.
struct Counter {
  std::atomic<int64_t> value{0};
  void add(int64_t n) { value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  int64_t get() const { return value.load(std::memory_order_relaxed); }
};

struct FreeList {
  void* head = nullptr;
  uint16_t count = 0;
  uint16_t batch = 4;  // how many to fetch next time: doubles, so that a class used once costs little
};

struct ThreadCache {
  Counter allocated, calls;
  FreeList lists[class_count];
  ThreadCache *prev = nullptr, *next = nullptr;
};

// Initial-exec: one load instead of a call when phlox is a shared library.
[[gnu::tls_model("initial-exec")]] thread_local constinit ThreadCache* thread_cache = nullptr;

inline void* pop(void*& head) {
  void* p = head;
  head = *static_cast<void**>(p);
  return p;
}
inline void push(void*& head, void* p) {
  *static_cast<void**>(p) = head;
  head = p;
}

}  // namespace

struct Arena::State {
  // Read without the lock: the base and the table are fixed, an entry is written before its blocks are handed
  // out.
  std::byte* base;
  uint64_t reserved_bytes;
  uint8_t* class_at;  // by unit: size class + 1 in slabs, else 0

  mutable std::mutex
      mutex;  // guards all that follows, and lists of threads only when they are merged into slabs
  PageHeap heap;
  PageSpan* slabs[class_count] = {};  // those with available blocks
  ThreadCache* threads = nullptr;
  int64_t allocated = 0, calls = 0, peak_allocated = 0;  // without what threads have not yet reported
  int64_t limit;
  pthread_key_t at_thread_exit;

  State(int64_t memory_limit, int64_t address_bytes);
  ThreadCache* make_cache();
  void drop_cache(ThreadCache* t);
  void free_without_cache(void* p, int c);
  void report(ThreadCache* t);
  void* refill(ThreadCache* t, int c);
  bool take_blocks(FreeList& l, int c, int n);
  PageSpan* new_slab(int c);
  void give_blocks(FreeList& l, int c, int keep);
  void* alloc_large(int64_t bytes);
  void free_large(uint64_t offset);
  PageSpan* take_span(uint32_t units);
  void release();
  [[noreturn]] void refuse(std::unique_lock<std::mutex>& lock, int64_t bytes);
  MemoryStats stats() const;  // under the lock
  void link_slab(PageSpan* s);
  void unlink_slab(PageSpan* s);
};

Arena& Arena::host() { return root_object<Arena>(); }

Arena::Arena() {
  const char* text = std::getenv("PHLOX_CPU_MEMORY_LIMIT");
  const int64_t limit = text && *text ? parse_bytes(text, "PHLOX_CPU_MEMORY_LIMIT") : available_memory();
  // Address space is free: several times the memory, so that it never runs out by fragmentation or a raised
  // limit.
  state_ = new State(limit, std::max(4 * std::min(available_memory(), int64_t(8) << 40), int64_t(64) << 30));
  // A child of fork() finds the arena whole: no other thread is inside it at that moment.
  ::pthread_atfork([] { host().state_->mutex.lock(); }, [] { host().state_->mutex.unlock(); },
                   [] { host().state_->mutex.unlock(); });
}

Arena::State::State(int64_t memory_limit, int64_t address_bytes) : heap(address_bytes), limit(memory_limit) {
  base = heap.base();
  reserved_bytes = uint64_t(heap.reserved_address_bytes());
  void* p = ::mmap(nullptr, reserved_bytes >> PageHeap::unit_shift, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED)
    fail(ErrorCode::out_of_memory, {.op = "cpu memory",
                                    .fact = "the system refuses address space for a table",
                                    .remedy = "raise the limit (ulimit -v)"});
  class_at = static_cast<uint8_t*>(p);
  ::pthread_key_create(&at_thread_exit,
                       [](void* t) { host().state_->drop_cache(static_cast<ThreadCache*>(t)); });
}

void* Arena::alloc(int64_t bytes) {
  if (uint64_t(bytes) - 1 < uint64_t(largest_small)) [[likely]] {
    const int c = class_of_steps[(uint64_t(bytes) + 63) / 64];
    ThreadCache* t = thread_cache;
    if (!t) [[unlikely]] {
      t = state_->make_cache();
      if (!t) throw std::bad_alloc();
    }
    FreeList& l = t->lists[c];
    if (!l.head) [[unlikely]]
      return state_->refill(t, c);
    --l.count;
    t->allocated.add(classes[size_t(c)].bytes);
    t->calls.add(1);
    return pop(l.head);
  }
  PHLOX_CHECK(bytes >= 0, bytes, " bytes");
  return bytes ? state_->alloc_large(bytes) : nullptr;
}

void Arena::free(void* p) noexcept {
  if (!p) return;
  State& s = *state_;
  const uint64_t offset = uint64_t(static_cast<std::byte*>(p) - s.base);
  PHLOX_CHECK(offset < s.reserved_bytes, "free of a pointer that is not the arena's");
  const int c = s.class_at[offset >> PageHeap::unit_shift] - 1;
  if (c < 0) return s.free_large(offset);
  ThreadCache* t = thread_cache;
  if (!t) [[unlikely]] {
    t = s.make_cache();
    if (!t) return s.free_without_cache(p, c);
  }
  FreeList& l = t->lists[c];
  push(l.head, p);
  t->allocated.add(-int64_t(classes[size_t(c)].bytes));
  if (++l.count > classes[size_t(c)].cached) [[unlikely]] {
    std::lock_guard lock(s.mutex);
    s.give_blocks(l, c, l.count / 2);
  }
}

ThreadCache* Arena::State::make_cache() {
  ThreadCache* t = new (std::nothrow) ThreadCache;
  if (!t) return nullptr;
  {
    std::lock_guard lock(mutex);
    t->next = threads;
    if (threads) threads->prev = t;
    threads = t;
  }
  thread_cache = t;
  // Runs after the thread's C++ destructors; should those of other keys allocate again, it runs once more.
  ::pthread_setspecific(at_thread_exit, t);
  return t;
}

// For a thread that could not get a cache: freeing must not fail.
void Arena::State::free_without_cache(void* p, int c) {
  std::lock_guard lock(mutex);
  FreeList l;
  push(l.head, p);
  l.count = 1;
  allocated -= classes[size_t(c)].bytes;
  give_blocks(l, c, 0);
}

void Arena::State::drop_cache(ThreadCache* t) {
  thread_cache = nullptr;
  {
    std::lock_guard lock(mutex);
    for (int c = 0; c < class_count; ++c) give_blocks(t->lists[c], c, 0);
    report(t);
    (t->prev ? t->prev->next : threads) = t->next;
    if (t->next) t->next->prev = t->prev;
  }
  delete t;
}

// Moves a thread's counts to the common ones.
void Arena::State::report(ThreadCache* t) {
  allocated += t->allocated.get();
  calls += t->calls.get();
  t->allocated.add(-t->allocated.get());
  t->calls.add(-t->calls.get());
  peak_allocated = std::max(peak_allocated, allocated);
}

void* Arena::State::refill(ThreadCache* t, int c) {
  FreeList& l = t->lists[c];
  const SizeClass& k = classes[size_t(c)];
  std::unique_lock lock(mutex);
  if (!take_blocks(l, c, l.batch)) refuse(lock, k.bytes);
  l.batch = uint16_t(std::min(l.batch * 2, k.cached / 2));
  --l.count;
  t->allocated.add(k.bytes);
  t->calls.add(1);
  report(t);
  return pop(l.head);
}

// Fetches up to n blocks, at least one unless memory is out.
bool Arena::State::take_blocks(FreeList& l, int c, int n) {
  const int64_t bytes = classes[size_t(c)].bytes;
  for (; n > 0; --n) {
    PageSpan* s = slabs[c];
    if (!s && !(s = l.head ? nullptr : new_slab(c))) break;  // one new slab at most, and only for need
    void* p;
    if (s->returned)
      p = pop(s->returned);
    else
      p = heap.address(*s) + bytes * s->carved++;
    push(l.head, p);
    ++l.count;
    if (--s->available == 0) unlink_slab(s);
  }
  return l.head;
}

PageSpan* Arena::State::new_slab(int c) {
  const SizeClass& k = classes[size_t(c)];
  PageSpan* s = take_span(k.slab_units);
  if (!s) return nullptr;
  s->state = PageSpan::State::slab;
  s->size_class = uint8_t(c);
  s->blocks = s->available = uint32_t((int64_t(k.slab_units) << PageHeap::unit_shift) / k.bytes);
  s->carved = 0;
  s->returned = nullptr;
  heap.map_all_units(s);
  std::fill_n(class_at + s->start, s->units, uint8_t(c + 1));
  link_slab(s);
  return s;
}

// Returns blocks to their slabs until `keep` are left, and empty slabs to the heap.
void Arena::State::give_blocks(FreeList& l, int c, int keep) {
  while (l.count > keep) {
    void* p = pop(l.head);
    --l.count;
    PageSpan* s = heap.span_at(uint32_t((static_cast<std::byte*>(p) - base) >> PageHeap::unit_shift));
    push(s->returned, p);
    if (s->available++ == 0) link_slab(s);
    if (s->available < s->blocks || (slabs[c] == s && !s->next))
      continue;  // the last one stays: it is soon needed
    unlink_slab(s);
    std::fill_n(class_at + s->start, s->units, uint8_t(0));
    heap.give(s);
  }
}

void Arena::State::link_slab(PageSpan* s) {
  PageSpan*& head = slabs[s->size_class];
  s->prev = nullptr;
  s->next = head;
  if (head) head->prev = s;
  head = s;
}

void Arena::State::unlink_slab(PageSpan* s) {
  (s->prev ? s->prev->next : slabs[s->size_class]) = s->next;
  if (s->next) s->next->prev = s->prev;
  s->prev = s->next = nullptr;
}

PageSpan* Arena::State::take_span(uint32_t units) {
  PageSpan* s = heap.take(units, limit);
  if (s) return s;
  release();  // free memory in the wrong places counts against the limit
  return heap.take(units, limit);
}

void* Arena::State::alloc_large(int64_t bytes) {
  std::unique_lock lock(mutex);
  if (bytes > limit || bytes > int64_t(reserved_bytes)) refuse(lock, bytes);
  const uint32_t units = uint32_t((bytes + PageHeap::unit_bytes - 1) >> PageHeap::unit_shift);
  PageSpan* s = take_span(units);
  if (!s) refuse(lock, bytes);
  if (thread_cache) report(thread_cache);
  allocated += int64_t(units) << PageHeap::unit_shift;
  peak_allocated = std::max(peak_allocated, allocated);
  ++calls;
  return heap.address(*s);
}

void Arena::State::free_large(uint64_t offset) {
  std::lock_guard lock(mutex);
  const uint32_t unit = uint32_t(offset >> PageHeap::unit_shift);
  PageSpan* s = heap.span_at(unit);
  PHLOX_CHECK(
      s && s->start == unit && s->state == PageSpan::State::large && offset % PageHeap::unit_bytes == 0,
      "free of a pointer that is not an allocated block, or was freed before");
  allocated -= int64_t(s->units) << PageHeap::unit_shift;
  heap.give(s);
}

void Arena::State::refuse(std::unique_lock<std::mutex>& lock, int64_t bytes) {
  const MemoryStats now = stats();
  const int64_t largest = heap.largest_available(limit), l = limit;
  lock.unlock();
  out_of_memory(bytes, now, largest, l);
}

void Arena::State::release() {
  if (ThreadCache* t = thread_cache)
    for (int c = 0; c < class_count; ++c) give_blocks(t->lists[c], c, 0);
  for (PageSpan*& head : slabs)
    for (PageSpan *s = head, *next; s; s = next) {
      next = s->next;
      if (s->available < s->blocks) continue;
      unlink_slab(s);
      std::fill_n(class_at + s->start, s->units, uint8_t(0));
      heap.give(s);
    }
  heap.release();
}

MemoryStats Arena::State::stats() const {
  int64_t bytes = allocated, n = calls;
  for (const ThreadCache* t = threads; t; t = t->next) {
    bytes += t->allocated.get();
    n += t->calls.get();
  }
  return {bytes, heap.committed_bytes(), std::max(peak_allocated, bytes), heap.peak_committed_bytes(),
          n,     heap.segments()};
}

int64_t Arena::block_bytes(const void* p) const {
  const uint64_t offset = uint64_t(static_cast<const std::byte*>(p) - state_->base);
  PHLOX_CHECK(offset < state_->reserved_bytes, "not a pointer of the arena's");
  const uint32_t unit = uint32_t(offset >> PageHeap::unit_shift);
  if (const int c = state_->class_at[unit]) return classes[size_t(c - 1)].bytes;
  std::lock_guard lock(state_->mutex);
  const PageSpan* s = state_->heap.span_at(unit);
  PHLOX_CHECK(s && s->start == unit && s->state == PageSpan::State::large, "not an allocated block");
  return int64_t(s->units) << PageHeap::unit_shift;
}

MemoryStats Arena::stats() const {
  std::lock_guard lock(state_->mutex);
  return state_->stats();
}

void Arena::reset_peaks() {
  std::lock_guard lock(state_->mutex);
  state_->peak_allocated = state_->stats().allocated_bytes;
  state_->heap.reset_peak();
}

void Arena::release_cached() {
  std::lock_guard lock(state_->mutex);
  state_->release();
}

int64_t Arena::limit() const {
  std::lock_guard lock(state_->mutex);
  return state_->limit;
}

void Arena::set_limit(int64_t bytes) {
  std::lock_guard lock(state_->mutex);
  state_->limit = bytes;
}

void Arena::verify() const {
  std::lock_guard lock(state_->mutex);
  state_->heap.verify();
  for (int c = 0; c < class_count; ++c)
    for (const PageSpan* s = state_->slabs[c]; s; s = s->next) {
      PHLOX_CHECK(s->state == PageSpan::State::slab && s->size_class == c && s->available > 0,
                  "slab of class ", c);
      uint32_t returned = 0;
      for (void* p = s->returned; p; p = *static_cast<void**>(p)) ++returned;
      PHLOX_CHECK(returned + s->blocks - s->carved == s->available, "blocks of a slab of class ", c);
    }
}

}  // namespace phlox

#endif
