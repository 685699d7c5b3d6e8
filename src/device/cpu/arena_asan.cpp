// The arena for builds with the address sanitizer: every block comes from the instrumented heap with its
// exact size.
#include "base/sanitizer.h"
#if PHLOX_ASAN

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "base/error.h"
#include "base/root.h"
#include "device/cpu/arena.h"

namespace phlox {

struct Arena::State {
  std::atomic<int64_t> allocated{0}, peak{0}, calls{0}, limit{0};
};

Arena& Arena::host() { return root_object<Arena>(); }

Arena::Arena() : state_(new State) {
  const char* text = std::getenv("PHLOX_CPU_MEMORY_LIMIT");
  state_->limit = text && *text ? parse_bytes(text, "PHLOX_CPU_MEMORY_LIMIT") : available_memory();
}

void* Arena::alloc(int64_t bytes) {
  PHLOX_CHECK(bytes >= 0, bytes, " bytes");
  if (bytes == 0) return nullptr;
  State& s = *state_;
  const int64_t limit = s.limit;
  if (bytes > limit - std::min(limit, s.allocated.load()))
    out_of_memory(bytes, stats(), limit - s.allocated, limit);
  void* p = nullptr;
  if (::posix_memalign(&p, 64, size_t(bytes))) out_of_memory(bytes, stats(), 0, limit);
  const int64_t now = s.allocated += int64_t(::malloc_usable_size(p));
  int64_t peak = s.peak;
  while (now > peak && !s.peak.compare_exchange_weak(peak, now)) {
  }
  ++s.calls;
  return p;
}

void Arena::free(void* p) noexcept {
  if (!p) return;
  state_->allocated -= int64_t(::malloc_usable_size(p));
  ::free(p);
}

int64_t Arena::block_bytes(const void* p) const {
  return int64_t(::malloc_usable_size(const_cast<void*>(p)));
}

MemoryStats Arena::stats() const {
  const int64_t now = state_->allocated, peak = state_->peak;
  return {now, now, peak, peak, state_->calls, 0};
}

void Arena::reset_peaks() { state_->peak = state_->allocated.load(); }
void Arena::release_cached() {}
int64_t Arena::limit() const { return state_->limit; }
void Arena::set_limit(int64_t bytes) { state_->limit = bytes; }
void Arena::verify() const {}

}  // namespace phlox

#endif
